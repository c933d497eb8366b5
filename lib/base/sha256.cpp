#include "base/sha256.hpp"

#include <openssl/evp.h>

#include <cstdlib>

#include "base/handle.hpp"

namespace base {
namespace {

// OpenSSL fails here only without memory or without its default provider: nothing could be trusted.
void require(int result) {
  if (result != 1) {
    std::abort();
  }
}

}  // namespace

struct Sha256::State {
  Handle<EVP_MD_CTX, EVP_MD_CTX_free> context{EVP_MD_CTX_new()};
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  require(EVP_DigestInit_ex(state_->context.get(), EVP_sha256(), nullptr));
}
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;
Sha256::~Sha256() = default;

void Sha256::update(ByteView bytes) {
  require(EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()));
}

Sha256Hash Sha256::finish() {
  Sha256Hash hash{};
  require(EVP_DigestFinal_ex(state_->context.get(), hash.data(), nullptr));
  require(EVP_DigestInit_ex(state_->context.get(), EVP_sha256(), nullptr));
  return hash;
}

Sha256Hash sha256(ByteView bytes) {
  Sha256 hasher;
  hasher.update(bytes);
  return hasher.finish();
}

}  // namespace base

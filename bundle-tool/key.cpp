#include "key.hpp"

#include "bundle/signature.hpp"
#include "key_pair.hpp"

namespace tool {

base::Result<Outcome> key_generate(const KeyGenerateOptions& options) {
  const std::string name = options.name.string();
  return make_key_pair({.secret_path = name + ".key",
                        .public_path = name + ".pub",
                        .no_password = options.no_password,
                        .password_file = options.password_file,
                        .public_use = "devices and bundle-tool verify --trust take it"},
                       [](const auto& password) -> base::Result<KeyPair> {
                         OU_TRY(const auto key, bundle::SecretKey::generate());
                         OU_TRY(std::string secret, key.to_file(password));
                         const auto public_key = key.public_key();
                         return KeyPair{bundle::to_text(public_key.id), std::move(secret),
                                        bundle::to_public_key_file(public_key)};
                       });
}

}  // namespace tool

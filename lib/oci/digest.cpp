#include "oci/digest.hpp"

#include <algorithm>

#include "base/printable.hpp"

namespace oci {

base::Result<Digest> Digest::parse(std::string_view text) {
  constexpr std::string_view kAlgorithm = "sha256:";
  const auto bytes =
      text.starts_with(kAlgorithm) ? base::from_hex(text.substr(kAlgorithm.size())) : std::nullopt;
  base::Sha256Hash hash{};
  if (!bytes || bytes->size() != hash.size()) {
    return base::Error(base::ErrorCode::kImageInvalid,
                       "\"" + base::printable(text, 80) +
                           "\" is not sha256: and 64 lower-case hexadecimal digits");
  }
  std::copy(bytes->begin(), bytes->end(), hash.begin());
  return Digest(hash);
}

}  // namespace oci

// The gate of the agent: signature first, then the manifest, then the layout.
#include "intake/verified_bundle.hpp"

#include "base/files.hpp"
#include "base/printable.hpp"
#include "bundle/limits.hpp"

namespace agent::intake {

base::Result<VerifiedBundle> open_bundle(base::UntrustedDirectory directory,
                                         const std::string& name, const bundle::Trust& trust) {
  std::string shown = base::printable(name);
  OU_TRY(auto manifest, bundle::open_manifest(directory, trust).within("bundle " + shown));
  OU_TRY(auto files,
         bundle::check_layout(directory, manifest.manifest()).within("bundle " + shown));
  return VerifiedBundle(std::move(manifest), std::move(files), std::move(shown),
                        std::move(directory));
}

base::Result<bundle::Trust> load_trust(const std::filesystem::path& file) {
  const std::string doing = "trust file " + base::printable(file.string());
  const auto content = base::read_file(file, bundle::kMaxTrustFileBytes);
  if (!content) {
    return base::Error(content.error()).as(base::ErrorCode::kTrustInvalid).within(doing);
  }
  return bundle::parse_trust(base::as_text(*content)).within(doing);
}

}  // namespace agent::intake

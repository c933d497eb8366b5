#include "oci/named_files.hpp"

#include "base/directory.hpp"
#include "base/printable.hpp"
#include "oci/image_config.hpp"

namespace oci {
namespace {

using base::Error;
using base::ErrorCode;

class DirectoryFiles final : public NamedFiles {
 public:
  explicit DirectoryFiles(base::UntrustedDirectory directory) : directory_(std::move(directory)) {}

  [[nodiscard]] base::Result<std::uint64_t> size_of(const std::string& name) const override {
    OU_TRY(const base::OpenedFile file, open_file(name));
    return file.size_bytes;
  }

  [[nodiscard]] base::Result<std::unique_ptr<ByteSource>> open(
      const std::string& name) const override {
    OU_TRY(base::OpenedFile file, open_file(name));
    return std::unique_ptr<ByteSource>(std::make_unique<FileSource>(
        std::make_shared<const base::UniqueFd>(std::move(file.fd)), file.size_bytes));
  }

 private:
  [[nodiscard]] base::Result<base::OpenedFile> open_file(const std::string& name) const {
    auto file = directory_.open_file(name);
    if (!file && file.error().code() == ErrorCode::kMediumUnsafeEntry) {
      return std::move(file).error().as(ErrorCode::kImageInvalid);
    }
    return file;
  }

  base::UntrustedDirectory directory_;
};

}  // namespace

base::Result<std::string> read_document(const NamedFiles& files, const std::string& name) {
  const std::string shown = base::printable(name);
  OU_TRY(const std::uint64_t size_bytes, files.size_of(name));
  if (size_bytes > kMaxImageDocumentBytes) {
    return Error(ErrorCode::kLimitExceeded,
                 shown + " has " + std::to_string(size_bytes) + " bytes; at most " +
                     std::to_string(kMaxImageDocumentBytes) + " are allowed");
  }
  OU_TRY(const auto source, files.open(name));
  base::Bytes bytes(static_cast<std::size_t>(size_bytes));
  std::size_t have = 0;
  while (have < bytes.size()) {
    OU_TRY(const std::size_t got, source->read(std::span(bytes).subspan(have)));
    if (got == 0) {
      return Error(ErrorCode::kImageInvalid, shown + " is shorter than announced");
    }
    have += got;
  }
  return std::string(base::as_text(bytes));
}

base::Result<std::unique_ptr<NamedFiles>> open_directory_files(const std::filesystem::path& path) {
  auto directory = base::UntrustedDirectory::open(path);
  if (!directory && directory.error().code() == ErrorCode::kMediumUnsafeEntry) {
    return Error(ErrorCode::kImageInvalid,
                 "not a directory; an OCI image layout in a tar is named oci-archive:FILE")
        .within(path.string());
  }
  if (!directory) {
    return std::move(directory).error();
  }
  return std::unique_ptr<NamedFiles>(std::make_unique<DirectoryFiles>(*std::move(directory)));
}

}  // namespace oci

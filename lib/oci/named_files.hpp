// The files of one image archive or layout, found by the names that its documents use. A name is
// looked up, it never becomes a path of the host beyond the layout's own directory. Private to this
// library.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "oci/byte_source.hpp"
#include "oci/digest.hpp"
#include "oci/file_source.hpp"

namespace oci {

class NamedFiles {
 public:
  NamedFiles() = default;
  NamedFiles(const NamedFiles&) = delete;
  NamedFiles& operator=(const NamedFiles&) = delete;
  virtual ~NamedFiles() = default;

  /// \error ErrorCode::kNotFound; kImageInvalid when it is no file or cannot be reached safely; kIo
  [[nodiscard]] virtual base::Result<std::uint64_t> size_of(const std::string& name) const = 0;
  /// \error as size_of()
  [[nodiscard]] virtual base::Result<std::unique_ptr<ByteSource>> open(
      const std::string& name) const = 0;
};

/// All of a small file. \error ErrorCode::kLimitExceeded above kMaxImageDocumentBytes; as open()
base::Result<std::string> read_document(const NamedFiles& files, const std::string& name);

/// Files below a directory; symbolic links are refused. \error as UntrustedDirectory::open()
base::Result<std::unique_ptr<NamedFiles>> open_directory_files(const std::filesystem::path& path);

/// Members of an uncompressed tar. Symbolic and hard links between members are followed, as older
/// engines write them for layers that several images share.
/// \error ErrorCode::kImageInvalid, kLimitExceeded, kIo
base::Result<std::unique_ptr<NamedFiles>> open_tar_files(const SharedFd& archive);

inline constexpr std::size_t kMaxArchiveMembers = 65'536;
inline constexpr std::size_t kMaxMemberNameBytes = 512;

}  // namespace oci

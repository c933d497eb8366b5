#include "base/fatrw.hpp"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <vector>

#include "base/files.hpp"
#include "base/printable.hpp"

namespace base {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kChecksumEnding = ".md5sum";
constexpr std::string_view kTemporaryEnding = ".tmp";
constexpr std::size_t kMd5Digits = 32;
// Larger than any file of the boot partition that is replaced this way; bounds a copy in memory.
constexpr std::size_t kMaxLeftoverBytes = std::size_t{64} * 1024 * 1024;

Error system_error(const char* doing, const fs::path& path) {
  const int number = errno;
  return Error::from_errno(number, std::string(doing) + " " + printable(path.string()));
}

fs::path directory_of(const fs::path& file) {
  return file.has_parent_path() ? file.parent_path() : fs::path(".");
}

Result<std::string> md5_hex(ByteView bytes) {
  std::array<std::uint8_t, kMd5Digits / 2> hash{};
  unsigned size = 0;
  if (::EVP_Digest(bytes.data(), bytes.size(), hash.data(), &size, ::EVP_md5(), nullptr) != 1 ||
      size != hash.size()) {
    return Error(ErrorCode::kInternal, "MD5, which the boot partition's files need, is disabled");
  }
  return to_hex(hash);
}

/// A checksum file or a temporary one, and what its name says of its content.
struct Leftover {
  fs::path path;
  std::string md5;  // 32 digits, or something that no content has
};

/// Leftovers of `file` with this ending, in byte order of their names.
Result<std::vector<Leftover>> leftovers_of(const fs::path& file, std::string_view ending) {
  const std::string start = "." + file.filename().string() + ".";
  std::vector<Leftover> found;
  std::error_code failed;
  fs::directory_iterator entry(directory_of(file), failed);
  for (; !failed && entry != fs::directory_iterator(); entry.increment(failed)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(start) || !name.ends_with(ending) ||
        name.size() <= start.size() + ending.size()) {
      continue;
    }
    const auto middle = name.substr(start.size(), name.size() - start.size() - ending.size());
    const auto dot = middle.find('.');
    // Another dot: it belongs to a file with a longer name.
    if (dot == std::string::npos || middle.find('.', dot + 1) != std::string::npos) {
      continue;
    }
    found.push_back({directory_of(file) / name, middle.substr(dot + 1)});
  }
  if (failed) {
    return Error::from_errno(failed.value(), "list " + directory_of(file).string());
  }
  std::ranges::sort(found, {}, &Leftover::path);
  return found;
}

fs::path temporary_of(const fs::path& checksum_file) {
  auto path = checksum_file.string();
  path.resize(path.size() - kChecksumEnding.size());
  return path.append(kTemporaryEnding);
}

Result<Bytes> read_plain(const fs::path& path, std::uint64_t limit_bytes) {
  OU_TRY(const auto fd, open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  return read_to_end(fd.get(), limit_bytes).within("read " + printable(path.string()));
}

/// The leftover's content, if it is what its name says.
Result<std::optional<Bytes>> valid_content(const Leftover& leftover) {
  auto bytes = read_plain(leftover.path, kMaxLeftoverBytes);
  if (!bytes) {
    return std::move(bytes).error();
  }
  OU_TRY(const auto md5, md5_hex(*bytes));
  return md5 == leftover.md5 ? std::optional<Bytes>(*std::move(bytes)) : std::nullopt;
}

Status sync_file(const fs::path& path) {
  OU_TRY(const auto fd, open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  return ::fsync(fd.get()) == 0 ? ok() : Status(system_error("sync", path));
}

Status remove_and_sync(const fs::path& path) {
  if (::unlink(path.c_str()) != 0) {
    return system_error("remove", path);
  }
  return sync_directory(directory_of(path));
}

/// Best effort after an error, which matters more; what stays is found by its name later.
void discard(const fs::path& path) {
  if (::unlink(path.c_str()) == 0) {
    static_cast<void>(sync_directory(directory_of(path)));
  }
}

/// A new file that is on the disk, name and content, when this returns; none after an error.
Status create(const fs::path& path, ByteView bytes, unsigned mode) {
  OU_TRY(auto fd, open_file(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode));
  Status written = write_all(fd.get(), bytes);
  if (written && ::fsync(fd.get()) != 0) {
    written = system_error("sync", path);
  }
  fd.reset();
  if (written) {
    written = sync_directory(directory_of(path));
  }
  if (!written) {
    discard(path);
    return std::move(written).within("write " + printable(path.string()));
  }
  return ok();
}

/// Steps 2 to 4: the file gets the content of a checksum file that is on the disk. After an error
/// it has its old content.
Status put_in_place(const fs::path& checksum_file, const fs::path& file, ByteView content) {
  struct stat status {};
  if (::stat(checksum_file.c_str(), &status) != 0) {
    return system_error("stat", checksum_file);
  }
  const auto temporary = temporary_of(checksum_file);
  static_cast<void>(::unlink(temporary.c_str()));  // what a writer that was cut here left
  OU_CHECK(create(temporary, content, status.st_mode & 07777U));
  if (::rename(temporary.c_str(), file.c_str()) != 0) {
    auto error = system_error("replace", file);
    discard(temporary);
    return error;
  }
  return ok();
}

/// Steps 4 and 5: only when the rename is surely on the disk may the checksum file go.
Status finish(const fs::path& checksum_file, const fs::path& file) {
  OU_CHECK(sync_file(file));
  OU_CHECK(sync_directory(directory_of(file)));
  return remove_and_sync(checksum_file);
}

/// Brings what interrupted writers left to its end. \return the content that became the file's
Result<std::optional<Bytes>> settle(const fs::path& file) {
  std::optional<Bytes> content;
  OU_TRY(const auto found, leftovers_of(file, kChecksumEnding));
  for (const auto& leftover : found) {
    if (!content) {
      OU_TRY(content, valid_content(leftover));
      if (content) {
        OU_CHECK(put_in_place(leftover.path, file, *content));
        OU_CHECK(finish(leftover.path, file));
        continue;
      }
    }
    discard(leftover.path);
  }
  OU_TRY(const auto temporary_files, leftovers_of(file, kTemporaryEnding));
  for (const auto& temporary : temporary_files) {
    discard(temporary.path);
  }
  return content;
}

Result<Bytes> within_limit(Bytes content, std::uint64_t limit_bytes) {
  if (content.size() > limit_bytes) {
    return Error(ErrorCode::kLimitExceeded,
                 "larger than the limit of " + std::to_string(limit_bytes) + " bytes");
  }
  return content;
}

Result<fs::path> new_checksum_path(const fs::path& file, const std::string& md5) {
  std::array<std::uint8_t, 4> random{};
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
    return Error(ErrorCode::kInternal, "no randomness for a file name");
  }
  return directory_of(file) / ("." + file.filename().string() + "." + to_hex(random) + "." + md5 +
                               std::string(kChecksumEnding));
}

}  // namespace

Result<Bytes> fatrw_read(const fs::path& file, std::uint64_t limit_bytes) {
  auto settled = settle(file);
  if (!settled) {
    return std::move(settled).error().within("finish an interrupted write of " +
                                             printable(file.string()));
  }
  if (*settled) {
    return within_limit(**std::move(settled), limit_bytes);
  }
  return read_plain(file, limit_bytes);
}

Result<Bytes> fatrw_peek(const fs::path& file, std::uint64_t limit_bytes) {
  OU_TRY(const auto found, leftovers_of(file, kChecksumEnding));
  for (const auto& leftover : found) {
    auto content = valid_content(leftover);
    if (content && *content) {
      return within_limit(**std::move(content), limit_bytes);
    }
    // Gone: another program has just brought it to its end.
    if (!content && content.error().code() != ErrorCode::kNotFound) {
      return std::move(content).error();
    }
  }
  return read_plain(file, limit_bytes);
}

Status fatrw_write(const fs::path& file, ByteView bytes, unsigned mode) {
  const std::string doing = "replace " + printable(file.string());
  if (auto settled = settle(file); !settled) {
    return std::move(settled).error().within(doing);
  }
  OU_TRY(const auto md5, md5_hex(bytes));
  OU_TRY(const auto checksum_file, new_checksum_path(file, md5));
  OU_CHECK(create(checksum_file, bytes, mode).within(doing));
  auto read_back = valid_content({checksum_file, md5});
  if (!read_back || !*read_back) {
    discard(checksum_file);
    return Error(ErrorCode::kIo, "what was read back is not what was written").within(doing);
  }
  if (auto placed = put_in_place(checksum_file, file, bytes); !placed) {
    // Left there, the next reader would bring in content whose write is reported as failed.
    discard(checksum_file);
    return std::move(placed).within(doing);
  }
  return finish(checksum_file, file).within(doing);
}

unsigned mode_of_file(const fs::path& file, unsigned fallback) {
  struct stat status {};
  return ::stat(file.c_str(), &status) == 0 ? status.st_mode & 07777U : fallback;
}

}  // namespace base

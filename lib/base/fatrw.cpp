#include "base/fatrw.hpp"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <vector>

#include "base/files.hpp"

namespace base {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSum = ".md5sum";
constexpr std::string_view kTemporary = ".tmp";
constexpr std::size_t kRandomBytes = 4;

/// MD5 names a complete copy here; nothing rests on nobody being able to forge it.
std::string md5(ByteView bytes) {
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> hash{};
  unsigned length = 0;
  EVP_Digest(bytes.data(), bytes.size(), hash.data(), &length, EVP_md5(), nullptr);
  return to_hex({hash.data(), length});
}

fs::path with_suffix(const fs::path& file, std::string_view suffix) {
  return fs::path(file).concat(suffix);
}

/// Creates a new file and syncs it and its directory. On failure nothing of it stays.
Status write_new(const fs::path& file, ByteView bytes, unsigned mode) {
  const auto written = [&]() -> Status {
    OU_TRY(const auto fd, open_file(file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode));
    OU_CHECK(write_all(fd.get(), bytes));
    if (::fsync(fd.get()) != 0) {
      return Error::from_errno(errno, "sync " + file.string());
    }
    return sync_directory(file.parent_path());
  }();
  if (!written) {
    ::unlink(file.c_str());
  }
  return written;
}

/// The name of a sum file without its suffix: the beginning that both copies share.
fs::path stem_of(const fs::path& sum_file) {
  const auto text = sum_file.string();
  return text.substr(0, text.size() - kSum.size());
}

/// Steps 3 to 5: puts the content of a complete sum file in place, and removes the sum file.
Status commit(const fs::path& file, const fs::path& sum_file, ByteView bytes, unsigned mode) {
  const auto temporary = with_suffix(stem_of(sum_file), kTemporary);
  ::unlink(temporary.c_str());  // of an attempt that was broken off
  OU_CHECK(write_new(temporary, bytes, mode));
  if (::rename(temporary.c_str(), file.c_str()) != 0) {
    const int error_number = errno;
    ::unlink(temporary.c_str());
    return Error::from_errno(error_number, "rename to " + file.string());
  }
  OU_TRY(const auto fd, open_file(file, O_RDONLY));
  if (::fsync(fd.get()) != 0) {
    return Error::from_errno(errno, "sync " + file.string());
  }
  OU_CHECK(sync_directory(file.parent_path()));
  return remove_file_durably(sum_file);
}

/// ".NAME.<random>.<md5>.md5sum" beside `file`, in order of their names.
Result<std::vector<fs::path>> sum_files(const fs::path& file) {
  const std::string begin = "." + file.filename().string() + ".";
  std::vector<fs::path> found;
  std::error_code failed;
  for (fs::directory_iterator it(file.parent_path(), failed), end; !failed && it != end;
       it.increment(failed)) {
    const auto name = it->path().filename().string();
    if (name.starts_with(begin) && name.ends_with(kSum)) {
      found.push_back(it->path());
    }
  }
  if (failed) {
    return Error::from_errno(failed.value(), "list " + file.parent_path().string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

/// The content of a sum file, if it is what its name says.
std::optional<Bytes> complete_content(const fs::path& sum_file, std::uint64_t limit_bytes) {
  auto bytes = read_file(sum_file, limit_bytes);
  const auto stem = stem_of(sum_file).filename().string();
  if (bytes && stem.substr(stem.rfind('.') + 1) == md5(*bytes)) {
    return *std::move(bytes);
  }
  return std::nullopt;
}

Status discard(const fs::path& sum_file) {
  OU_CHECK(remove_file_durably(sum_file));
  return remove_file_durably(with_suffix(stem_of(sum_file), kTemporary));
}

unsigned mode_of(const fs::path& file) {
  std::error_code failed;
  const auto permissions = fs::status(file, failed).permissions();
  return failed || permissions == fs::perms::unknown ? 0644U : static_cast<unsigned>(permissions);
}

}  // namespace

Result<Bytes> fatrw_read(const fs::path& file, std::uint64_t limit_bytes) {
  OU_TRY(const auto candidates, sum_files(file));
  std::optional<Bytes> newer;
  for (const auto& sum_file : candidates) {
    if (!newer) {
      newer = complete_content(sum_file, limit_bytes);
      if (newer) {
        OU_CHECK(commit(file, sum_file, *newer, mode_of(file)));
        continue;
      }
    }
    OU_CHECK(discard(sum_file));
  }
  return newer ? Result<Bytes>(*std::move(newer)) : read_file(file, limit_bytes);
}

Status fatrw_write(const fs::path& file, ByteView bytes, unsigned mode) {
  // What another writer left would be taken for newer than this at the next reading.
  OU_TRY(const auto candidates, sum_files(file));
  for (const auto& sum_file : candidates) {
    OU_CHECK(discard(sum_file));
  }
  std::array<std::uint8_t, kRandomBytes> random{};
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
    return Error::from_errno(errno, "get random bytes");
  }
  const auto sum_file =
      file.parent_path() / ("." + file.filename().string() + "." + to_hex(random) + "." +
                            md5(bytes) + std::string(kSum));
  OU_CHECK(write_new(sum_file, bytes, mode));
  const auto back = complete_content(sum_file, bytes.size());
  if (!back) {
    ::unlink(sum_file.c_str());
    return Error(ErrorCode::kIo, sum_file.string() + " does not read as it was written");
  }
  if (auto done = commit(file, sum_file, *back, mode); !done) {
    // The old content has to stay, also at the next reading.
    static_cast<void>(discard(sum_file));
    return done;
  }
  return ok();
}

}  // namespace base

#include "base/mount_table.hpp"

#include <fcntl.h>
#include <libmount/libmount.h>

#include <algorithm>
#include <cerrno>

#include "base/files.hpp"
#include "base/handle.hpp"

namespace base {
namespace {

using Table = Handle<libmnt_table, mnt_unref_table>;
using Iterator = Handle<libmnt_iter, mnt_free_iter>;

std::string text_or_empty(const char* text) {
  return text == nullptr ? "" : text;
}

}  // namespace

Result<std::vector<MountedFileSystem>> read_mount_table(const std::filesystem::path& file) {
  // libmount takes a file that it cannot read for an empty one.
  OU_TRY(const auto readable, open_file(file, O_RDONLY));
  const Table table(::mnt_new_table_from_file(file.c_str()));
  const Iterator iterator(::mnt_new_iter(MNT_ITER_FORWARD));
  if (!table || !iterator) {
    return Error(ErrorCode::kIo, "read " + file.string());
  }
  std::vector<MountedFileSystem> mounts;
  libmnt_fs* mount = nullptr;
  while (::mnt_table_next_fs(table.get(), iterator.get(), &mount) == 0) {
    mounts.push_back({::mnt_fs_get_devno(mount), text_or_empty(::mnt_fs_get_source(mount)),
                      text_or_empty(::mnt_fs_get_target(mount))});
  }
  return mounts;
}

bool is_at_or_below(const std::filesystem::path& path, const std::filesystem::path& directory) {
  const auto difference =
      std::mismatch(directory.begin(), directory.end(), path.begin(), path.end());
  return difference.first == directory.end();
}

}  // namespace base

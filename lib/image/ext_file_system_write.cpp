// The changing half of ExtFileSystem: files and directories of root's, with fixed times.
#include <array>
#include <optional>
#include <utility>

#include "base/printable.hpp"
#include "image/ext_content.hpp"
#include "image/ext_errors.hpp"
#include "image/ext_state.hpp"

namespace image {

using base::Error;
using base::ErrorCode;

namespace {

constexpr std::uint32_t kPermissions = 07777;

/// A name in a directory that is there.
struct Place {
  std::uint32_t directory;
  std::string name;
  std::uint32_t inode;  // what has the name now; 0 if nothing has
};

base::Result<Place> find_place(const ExtFileSystem& files, const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "" : path.substr(0, slash);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (name.empty() || name == "." || name == ".." || name.size() > EXT2_NAME_LEN ||
      name.find('\0') != std::string::npos) {
    return Error(ErrorCode::kUsage, "this cannot be the name of a file");
  }
  OU_TRY(const auto directory, files.find(parent));
  if (!directory || directory->kind != NodeKind::kDirectory) {
    return Error(ErrorCode::kNotFound,
                 "there is no directory " + base::printable(parent) + " in the image");
  }
  OU_TRY(const std::uint32_t inode, find_in_directory(files.handle(), directory->inode, name));
  return Place{.directory = directory->inode, .name = name, .inode = inode};
}

/// Does `act`, which needs room for one entry in `directory`, making the directory larger if need
/// be.
template <typename Act>
errcode_t with_room(ext2_filsys handle, std::uint32_t directory, Act act) {
  const errcode_t error = act();
  if (error != EXT2_ET_DIR_NO_SPACE) {
    return error;
  }
  const errcode_t expanded = ext2fs_expand_dir(handle, directory);
  return expanded != 0 ? expanded : act();
}

base::Status unlink(ext2_filsys handle, const Place& place) {
  ext2_inode inode{};
  if (const errcode_t error = ext2fs_read_inode(handle, place.inode, &inode); error != 0) {
    return ext_error(error, "read inode " + std::to_string(place.inode));
  }
  if (LINUX_S_ISDIR(inode.i_mode)) {
    return Error(ErrorCode::kAlreadyExists, "it is a directory");
  }
  if (const errcode_t error =
          ext2fs_unlink(handle, place.directory, place.name.c_str(), place.inode, 0);
      error != 0) {
    return ext_error(error, "remove it from its directory");
  }
  if (inode.i_links_count > 1) {
    --inode.i_links_count;
    if (const errcode_t error = ext2fs_write_inode(handle, place.inode, &inode); error != 0) {
      return ext_error(error, "write inode " + std::to_string(place.inode));
    }
    return base::ok();
  }
  return release_inode(handle, place.inode, inode);
}

/// What removing it gives back.
base::Result<std::uint64_t> freed_by_unlink(ext2_filsys handle, std::uint32_t number) {
  if (number == 0) {
    return std::uint64_t{0};
  }
  OU_TRY(Inode inode, read_inode(handle, number));
  std::uint64_t freed = 0;
  if (LINUX_S_ISREG(inode.i_mode) && inode.i_links_count == 1) {
    std::vector<std::uint64_t> map_blocks;
    OU_TRY(const auto runs, read_runs(handle, number, inode, &map_blocks));
    freed = map_blocks.size();
    for (const Run& run : runs) {
      freed += run.count;
    }
  }
  return freed * handle->blocksize;
}

base::Status fill_new_inode(ext2_filsys handle, const Place& place, std::uint32_t number,
                            ext2_inode& inode, oci::ByteSource& content, std::uint64_t size_bytes) {
  OU_CHECK(write_content(handle, number, inode, content, size_bytes));
  if (const errcode_t error = ext2fs_write_inode(handle, number, &inode); error != 0) {
    return ext_error(error, "write inode " + std::to_string(number));
  }
  if (const errcode_t error = with_room(handle, place.directory,
                                        [&] {
                                          return ext2fs_link(handle, place.directory,
                                                             place.name.c_str(), number,
                                                             EXT2_FT_REG_FILE);
                                        });
      error != 0) {
    return ext_error(error, "enter it in its directory");
  }
  return base::ok();
}

base::Status create(ext2_filsys handle, const Place& place, oci::ByteSource& content,
                    std::uint64_t size_bytes, std::uint32_t permissions) {
  const auto mode = static_cast<std::uint16_t>(LINUX_S_IFREG | (permissions & kPermissions));
  ext2_ino_t number = 0;
  if (const errcode_t error = ext2fs_new_inode(handle, place.directory, mode, nullptr, &number);
      error != 0) {
    return ext_error(error, "find an inode");
  }
  ext2_inode inode{};
  inode.i_mode = mode;
  inode.i_links_count = 1;
  if (ext2fs_has_feature_extents(handle->super) != 0) {
    inode.i_flags = EXT4_EXTENTS_FL;
    ext2_extent_handle_t extents = nullptr;  // opening writes an empty tree into the inode
    if (const errcode_t error = ext2fs_extent_open2(handle, number, &inode, &extents); error != 0) {
      return ext_error(error, "make an inode");
    }
    ext2fs_extent_free(extents);
  }
  if (const errcode_t error = ext2fs_write_new_inode(handle, number, &inode); error != 0) {
    return ext_error(error, "write inode " + std::to_string(number));
  }
  ext2fs_inode_alloc_stats2(handle, number, +1, 0);
  auto status = fill_new_inode(handle, place, number, inode, content, size_bytes);
  if (!status) {
    // So that closing still leaves a file system without faults; the first error is the one to
    // tell.
    static_cast<void>(release_inode(handle, number, inode));
  }
  return status;
}

}  // namespace

base::Status ExtFileSystem::check_changeable() const {
  if (state_->access != Access::kChange) {
    return Error(ErrorCode::kInternal, "the file system is open for reading");
  }
  return base::ok();
}

base::Status ExtFileSystem::write_file(const std::string& path, oci::ByteSource& content,
                                       std::uint64_t size_bytes, std::uint32_t permissions) {
  const std::string doing = "write " + base::printable(path) + " in the image";
  OU_CHECK(check_changeable());
  OU_TRY(const Place place, find_place(*this, path).within(doing));
  OU_TRY(const std::uint64_t freed, freed_by_unlink(state_->handle, place.inode).within(doing));
  const std::uint64_t room = free().bytes + freed;
  if (size_bytes > room) {
    return Error(ErrorCode::kNoSpace, std::to_string(size_bytes) + " bytes do not fit into the " +
                                          std::to_string(room) + " bytes that are free")
        .within(doing);
  }
  if (place.inode != 0) {
    OU_CHECK(unlink(state_->handle, place).within(doing));
  }
  return create(state_->handle, place, content, size_bytes, permissions).within(doing);
}

base::Status ExtFileSystem::make_directory(const std::string& path, std::uint32_t permissions) {
  const std::string doing = "make the directory " + base::printable(path) + " in the image";
  OU_CHECK(check_changeable());
  OU_TRY(const Place place, find_place(*this, path).within(doing));
  ext2_filsys const handle = state_->handle;
  if (place.inode != 0) {
    OU_TRY(const ExtNode there, node(place.inode).within(doing));
    if (there.kind != NodeKind::kDirectory) {
      return Error(ErrorCode::kAlreadyExists, "it is something else already").within(doing);
    }
    return base::ok();
  }
  if (const errcode_t error =
          with_room(handle, place.directory,
                    [&] { return ext2fs_mkdir(handle, place.directory, 0, place.name.c_str()); });
      error != 0) {
    return ext_error(error, doing);
  }
  OU_TRY(const std::uint32_t made,
         find_in_directory(handle, place.directory, place.name).within(doing));
  ext2_inode inode{};
  if (const errcode_t error = ext2fs_read_inode(handle, made, &inode); error != 0) {
    return ext_error(error, doing);
  }
  inode.i_mode = static_cast<std::uint16_t>(LINUX_S_IFDIR | (permissions & kPermissions));
  if (const errcode_t error = ext2fs_write_inode(handle, made, &inode); error != 0) {
    return ext_error(error, doing);
  }
  return base::ok();
}

base::Status ExtFileSystem::remove_file(const std::string& path) {
  const std::string doing = "remove " + base::printable(path) + " in the image";
  OU_CHECK(check_changeable());
  const auto place = find_place(*this, path);
  if (!place && place.error().code() == ErrorCode::kNotFound) {
    return base::ok();
  }
  if (!place) {
    return Error(place.error()).within(doing);
  }
  return place->inode == 0 ? base::ok() : unlink(state_->handle, *place).within(doing);
}

}  // namespace image

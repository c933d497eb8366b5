#include "image/ext_errors.hpp"

#include <ext2fs/ext2fs.h>

#include <cerrno>
#include <cstdarg>
#include <mutex>
#include <utility>

namespace image {

using base::Error;
using base::ErrorCode;

namespace {

/// libext2fs calls this where it has no caller to tell, such as for a block number that cannot be.
void say_nothing(const char* /*program*/, long /*code*/, const char* /*format*/,
                 va_list /*arguments*/) {}

}  // namespace

void prepare_ext2fs() {
  static std::once_flag done;
  std::call_once(done, [] {
    initialize_ext2_error_table();
    static_cast<void>(set_com_err_hook(say_nothing));
  });
}

base::Error ext_error(long code, std::string doing) {
  prepare_ext2fs();
  switch (code) {
    case EXT2_ET_BLOCK_ALLOC_FAIL:
    case EXT2_ET_DIR_NO_SPACE:
      return Error(ErrorCode::kNoSpace, "the file system is full").within(std::move(doing));
    case EXT2_ET_INODE_ALLOC_FAIL:
      return Error(ErrorCode::kNoSpace, "the file system has no inode left")
          .within(std::move(doing));
    case ENOSPC:
      return Error::from_errno(ENOSPC, std::move(doing));
    case ENOMEM:
    case EXT2_ET_NO_MEMORY:
      return Error(ErrorCode::kInternal, "not enough memory").within(std::move(doing));
    case EIO:
      return Error::from_errno(EIO, std::move(doing));
    default:
      return Error(ErrorCode::kDiskImage,
                   std::string("the ext file system is damaged: ") + error_message(code))
          .within(std::move(doing));
  }
}

}  // namespace image

#include "image/ext_file_system.hpp"

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "image/ext_errors.hpp"
#include "image/ext_io.hpp"
#include "image/ext_state.hpp"
#include "image/ext_superblock.hpp"

namespace image {

using base::Error;
using base::ErrorCode;

namespace {

/// The time that everything written gets: the same input has to give the same bytes.
/// \source https://reproducible-builds.org/specs/source-date-epoch/
base::Result<time_t> time_for_changes(const ext2_super_block& super) {
  const char* const given = std::getenv("SOURCE_DATE_EPOCH");
  if (given == nullptr || *given == '\0') {
    // libext2fs takes 0 for "ask the clock".
    return super.s_wtime == 0 ? time_t{1} : static_cast<time_t>(super.s_wtime);
  }
  std::uint32_t seconds = 0;
  const char* const end = given + std::strlen(given);
  if (const auto [at, error] = std::from_chars(given, end, seconds);
      error != std::errc{} || at != end || seconds == 0) {
    return Error(ErrorCode::kConfigInvalid,
                 "SOURCE_DATE_EPOCH has to be seconds since 1970, from 1 to 4294967295");
  }
  return static_cast<time_t>(seconds);
}

}  // namespace

ExtFileSystem::State::~State() {
  if (handle != nullptr) {
    range_io_abandon(handle->io);
    ext2fs_free(handle);
  }
}

ExtFileSystem::ExtFileSystem(std::unique_ptr<State> state) : state_(std::move(state)) {}
ExtFileSystem::ExtFileSystem(ExtFileSystem&&) noexcept = default;
ExtFileSystem& ExtFileSystem::operator=(ExtFileSystem&&) noexcept = default;
ExtFileSystem::~ExtFileSystem() = default;

base::Result<ExtFileSystem> ExtFileSystem::open(const BlockRange& range, Access access) {
  OU_CHECK(check_superblock(range, access));
  prepare_ext2fs();
  auto state = std::make_unique<State>(range);
  state->access = access;
  const int flags = EXT2_FLAG_64BITS | EXT2_FLAG_SKIP_MMP |
                    (access == Access::kChange ? EXT2_FLAG_RW : EXT2_FLAG_SOFTSUPP_FEATURES);
  const std::string name = range_io_name(range);
  if (const errcode_t error =
          ext2fs_open2(name.c_str(), nullptr, flags, 0, 0, range_io_manager(), &state->handle);
      error != 0) {
    return ext_error(error, "open the ext file system");
  }
  if (access == Access::kChange) {
    OU_TRY(state->handle->now, time_for_changes(*state->handle->super));
    if (const errcode_t error = ext2fs_read_bitmaps(state->handle); error != 0) {
      return ext_error(error, "read the bitmaps of the ext file system");
    }
  }
  ExtFileSystem opened(std::move(state));
  OU_TRY(const ExtNode root, opened.node(EXT2_ROOT_INO));
  if (root.kind != NodeKind::kDirectory) {
    return Error(ErrorCode::kDiskImage, "the ext file system is damaged: its root is no directory");
  }
  return opened;
}

std::string ExtFileSystem::label() const {
  const auto& volume = state_->handle->super->s_volume_name;
  const auto* const text = reinterpret_cast<const char*>(volume);
  return {text, ::strnlen(text, sizeof(volume))};
}

std::uint32_t ExtFileSystem::block_bytes() const {
  return state_->handle->blocksize;
}

std::uint64_t ExtFileSystem::size_bytes() const {
  return ext2fs_blocks_count(state_->handle->super) * block_bytes();
}

base::Room ExtFileSystem::free() const {
  return {.bytes = ext2fs_free_blocks_count(state_->handle->super) * block_bytes(),
          .inodes = state_->handle->super->s_free_inodes_count};
}

base::Room ExtFileSystem::total() const {
  return {.bytes = size_bytes(), .inodes = state_->handle->super->s_inodes_count};
}

bool ExtFileSystem::unfinished_journal() const {
  return ext2fs_has_feature_journal_needs_recovery(state_->handle->super) != 0;
}

base::Status ExtFileSystem::close() {
  const auto state = std::exchange(state_, nullptr);
  if (state->access == Access::kChange) {
    // A file system in which nothing was changed keeps every byte.
    if ((state->handle->flags & EXT2_FLAG_DIRTY) != 0) {
      if (const errcode_t error = ext2fs_flush(state->handle); error != 0) {
        return ext_error(error, "write the ext file system");
      }
    }
    if (const errcode_t error = io_channel_flush(state->handle->io); error != 0) {
      return ext_error(error, "write the ext file system");
    }
  }
  return base::ok();
}

struct_ext2_filsys* ExtFileSystem::handle() const {
  return state_->handle;
}

const BlockRange& ExtFileSystem::range() const {
  return state_->range;
}

}  // namespace image

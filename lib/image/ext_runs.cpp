// Finds where a file's blocks are, with a bound on the work whatever the block maps look like.
#include <memory>

#include "base/handle.hpp"
#include "image/ext_errors.hpp"
#include "image/ext_state.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::uint16_t kMaxExtentDepth = 5;  // as in the kernel
constexpr std::size_t kMaxRuns = std::size_t{4} << 20U;

/// Collects runs in order; a file that uses more blocks than there are is caught, and so is every
/// loop in its block map.
class RunCollector {
 public:
  RunCollector(ext2_filsys handle, std::vector<std::uint64_t>* map_blocks)
      : blocks_(ext2fs_blocks_count(handle->super)), map_blocks_(map_blocks) {}

  base::Status add(const Run& run) {
    if (run.physical == 0 || run.physical >= blocks_ || run.count > blocks_ - run.physical) {
      return Error(ErrorCode::kDiskImage,
                   "the ext file system is damaged: a file has blocks outside of it");
    }
    if (run.count == 0 || run.first < next_) {
      return Error(ErrorCode::kDiskImage,
                   "the ext file system is damaged: a file's blocks are not in order");
    }
    OU_CHECK(count(run.count));
    next_ = run.first + run.count;
    if (!runs_.empty()) {
      Run& last = runs_.back();
      if (last.first + last.count == run.first && last.physical + last.count == run.physical &&
          last.zeros == run.zeros && last.count <= UINT32_MAX - run.count) {
        last.count += run.count;
        return base::ok();
      }
    }
    if (runs_.size() == kMaxRuns) {
      return Error(ErrorCode::kLimitExceeded,
                   "a file is in more than " + std::to_string(kMaxRuns) + " pieces");
    }
    runs_.push_back(run);
    return base::ok();
  }

  /// A block of the map itself.
  base::Status add_map_block(std::uint64_t block) {
    if (block == 0 || block >= blocks_) {
      return Error(ErrorCode::kDiskImage,
                   "the ext file system is damaged: the map of a file's blocks is outside of it");
    }
    if (map_blocks_ != nullptr) {
      map_blocks_->push_back(block);
    }
    return count(1);
  }

  std::vector<Run> take() { return std::move(runs_); }

 private:
  base::Status count(std::uint64_t more) {
    used_ += more;
    if (used_ > blocks_) {
      return Error(ErrorCode::kDiskImage,
                   "the ext file system is damaged: a file has more blocks than there are");
    }
    return base::ok();
  }

  std::uint64_t blocks_;
  std::vector<std::uint64_t>* map_blocks_;
  std::uint64_t used_ = 0;
  std::uint64_t next_ = 0;
  std::vector<Run> runs_;
};

using ExtentHandle = base::Handle<ext2_extent_handle, ext2fs_extent_free>;

base::Result<std::vector<Run>> extent_runs(ext2_filsys handle, std::uint32_t number, Inode& inode,
                                           std::vector<std::uint64_t>* map_blocks) {
  ext2_extent_handle_t opened = nullptr;
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): how libext2fs takes large inodes
  auto* const small = reinterpret_cast<ext2_inode*>(&inode);
  if (const errcode_t error = ext2fs_extent_open2(handle, number, small, &opened); error != 0) {
    return ext_error(error, "read the extents of inode " + std::to_string(number));
  }
  const ExtentHandle extents(opened);
  ext2_extent_info info{};
  if (ext2fs_extent_get_info(opened, &info) != 0 || info.max_depth > kMaxExtentDepth) {
    return Error(ErrorCode::kDiskImage,
                 "the ext file system is damaged: an extent tree is too deep");
  }
  RunCollector runs(handle, map_blocks);
  ext2fs_extent extent{};
  int move = EXT2_EXTENT_ROOT;
  for (;;) {
    const errcode_t error = ext2fs_extent_get(opened, move, &extent);
    if (error == EXT2_ET_EXTENT_NO_NEXT) {
      return runs.take();
    }
    if (error != 0) {
      return ext_error(error, "read the extents of inode " + std::to_string(number));
    }
    move = EXT2_EXTENT_NEXT;
    if ((extent.e_flags & EXT2_EXTENT_FLAGS_LEAF) == 0) {
      if ((extent.e_flags & EXT2_EXTENT_FLAGS_SECOND_VISIT) == 0) {
        OU_CHECK(runs.add_map_block(extent.e_pblk));
      }
      continue;
    }
    OU_CHECK(runs.add({.first = extent.e_lblk,
                       .physical = extent.e_pblk,
                       .count = extent.e_len,
                       .zeros = (extent.e_flags & EXT2_EXTENT_FLAGS_UNINIT) != 0}));
  }
}

struct MapWalk {
  RunCollector* runs;
  base::Status status;
};

int visit_mapped_block(ext2_filsys /*handle*/, blk64_t* block, e2_blkcnt_t index, blk64_t /*ref*/,
                       int /*ref_offset*/, void* data) {
  auto& walk = *static_cast<MapWalk*>(data);
  walk.status = index < 0 ? walk.runs->add_map_block(*block)
                          : walk.runs->add({.first = static_cast<std::uint64_t>(index),
                                            .physical = *block,
                                            .count = 1,
                                            .zeros = false});
  return walk.status ? 0 : BLOCK_ABORT;
}

base::Result<std::vector<Run>> mapped_runs(ext2_filsys handle, std::uint32_t number,
                                           std::vector<std::uint64_t>* map_blocks) {
  RunCollector runs(handle, map_blocks);
  MapWalk walk{.runs = &runs, .status = base::ok()};
  const errcode_t error = ext2fs_block_iterate3(handle, number, BLOCK_FLAG_READ_ONLY, nullptr,
                                                visit_mapped_block, &walk);
  OU_CHECK(std::move(walk.status));
  if (error != 0) {
    return ext_error(error, "read the blocks of inode " + std::to_string(number));
  }
  return runs.take();
}

}  // namespace

base::Result<std::vector<Run>> read_runs(ext2_filsys handle, std::uint32_t number, Inode& inode,
                                         std::vector<std::uint64_t>* map_blocks) {
  if ((inode.i_flags & EXT4_INLINE_DATA_FL) != 0) {
    return Error(ErrorCode::kDiskImageUnsupported,
                 "the ext file system keeps content inside inodes (inline_data), which no balenaOS "
                 "image does; make it again without");
  }
  if ((inode.i_flags & EXT4_ENCRYPT_FL) != 0) {
    return Error(ErrorCode::kDiskImageUnsupported,
                 "inode " + std::to_string(number) + " of the ext file system is encrypted");
  }
  return (inode.i_flags & EXT4_EXTENTS_FL) != 0 ? extent_runs(handle, number, inode, map_blocks)
                                                : mapped_runs(handle, number, map_blocks);
}

}  // namespace image

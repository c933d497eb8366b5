// Any bytes as a disk: what its partition table says lies inside it, in order, apart from each
// other, also after one of the partitions has grown.
#include "fuzz/fuzz_input.hpp"
#include "image/partition_table.hpp"

namespace {

void check(const image::PartitionTable& table, std::uint64_t size_bytes) {
  std::uint64_t end = 0;
  for (const image::Partition& partition : table.partitions) {
    fuzz::must(partition.offset_bytes <= size_bytes);
    fuzz::must(partition.size_bytes <= size_bytes - partition.offset_bytes);
    if (!partition.extended) {
      fuzz::must(partition.offset_bytes >= end);
      end = partition.offset_bytes + partition.size_bytes;
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::Disk disk({data, size});
  const auto table = image::read_partition_table(disk.range());
  if (table) {
    check(*table, size);
  }
  fuzz::must(disk.guards_intact());
  if (!table || table->partitions.empty()) {
    return 0;
  }
  const auto fd = std::make_shared<const base::UniqueFd>(::memfd_create("image", MFD_CLOEXEC));
  fuzz::must(::pwrite(fd->get(), data, size, 0) == static_cast<ssize_t>(size));
  auto file = image::ImageFile::of(fd);
  fuzz::must(file.has_value());
  if (image::grow_partition(*file, table->partitions.back().number, 1)) {
    const auto grown = image::read_partition_table(file->whole());
    fuzz::must(grown.has_value());
    fuzz::must(grown->partitions.size() == table->partitions.size());
    check(*grown, file->whole().size_bytes());
  }
  return 0;
}

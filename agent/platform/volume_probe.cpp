#include "platform/volume_probe.hpp"

#include <blkid/blkid.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <optional>
#include <string_view>

#include "base/handle.hpp"
#include "platform/device_node.hpp"

namespace agent::platform {
namespace {

using base::Error;
using base::ErrorCode;
using media::BlockDevice;
using media::Volume;

using Probe = base::Handle<blkid_struct_probe, blkid_free_probe>;

constexpr int kNothingFound = 1;
constexpr int kAmbivalent = -2;
constexpr unsigned long long kMbrActive = 0x80;
constexpr unsigned long long kGptLegacyBoot = 1ULL << 2;

Error probe_error(int error_number, const BlockDevice& device) {
  if (is_medium_gone(error_number, device)) {
    return {ErrorCode::kMediumGone, device.name + " went while it was read"};
  }
  return Error::from_errno(error_number == 0 ? EIO : error_number, "read " + device.name)
      .as(ErrorCode::kIo);
}

/// A device under libblkid's eyes; the node outlives the probe, which borrows its descriptor.
struct ProbedDevice {
  DeviceNode node;
  Probe probe;
};

base::Result<ProbedDevice> open_probe(const BlockDevice& device,
                                      const std::filesystem::path& node_directory) {
  OU_TRY(auto node, DeviceNode::make(node_directory, device));
  Probe probe(::blkid_new_probe());
  errno = 0;
  if (!probe || ::blkid_probe_set_device(probe.get(), node.fd(), 0, 0) != 0) {
    return probe_error(errno, device);
  }
  return ProbedDevice{std::move(node), std::move(probe)};
}

std::string value_of(blkid_probe probe, const char* name) {
  const char* data = nullptr;
  if (::blkid_probe_lookup_value(probe, name, &data, nullptr) != 0 || data == nullptr) {
    return "";
  }
  return data;
}

/// Fills in file system and label.
base::Status look_at_superblock(blkid_probe probe, Volume& volume) {
  ::blkid_probe_enable_partitions(probe, 0);
  ::blkid_probe_enable_superblocks(probe, 1);
  ::blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL);
  errno = 0;
  const int found = ::blkid_do_safeprobe(probe);
  if (found == kAmbivalent) {
    volume.file_system = "ambiguous";
  } else if (found == 0) {
    volume.file_system = value_of(probe, "TYPE");
    volume.label = value_of(probe, "LABEL");
  } else if (found != kNothingFound) {
    return probe_error(errno, volume.device);
  }
  return base::ok();
}

std::string text_or_empty(const char* text) {
  return text == nullptr ? "" : text;
}

std::string type_of(blkid_partition partition) {
  const char* guid = ::blkid_partition_get_type_string(partition);
  if (guid != nullptr) {
    return guid;
  }
  std::array<char, 16> digits{};
  const auto end = std::to_chars(digits.begin(), digits.end(),
                                 static_cast<unsigned>(::blkid_partition_get_type(partition)), 16);
  return "0x" + std::string(digits.begin(), end.ptr);
}

bool is_bootable(blkid_partition partition) {
  const auto table =
      text_or_empty(::blkid_parttable_get_type(::blkid_partition_get_table(partition)));
  const auto flags = ::blkid_partition_get_flags(partition);
  return table == "gpt" ? (flags & kGptLegacyBoot) != 0 : (flags & kMbrActive) != 0;
}

/// One volume for each entry of the partition table; the kernel's device is found by number and
/// place.
std::vector<Volume> entries_of(const media::Medium& medium, blkid_partlist list) {
  std::vector<Volume> volumes;
  const int count = list == nullptr ? 0 : ::blkid_partlist_numof_partitions(list);
  for (int i = 0; i < count; ++i) {
    const blkid_partition partition = ::blkid_partlist_get_partition(list, i);
    const auto device = std::find_if(
        medium.partitions.begin(), medium.partitions.end(), [list, partition](const auto& known) {
          return ::blkid_partlist_devno_to_partition(list, known.number) == partition;
        });
    Volume volume;
    volume.device.name =
        medium.disk.name + ", partition " + std::to_string(::blkid_partition_get_partno(partition));
    if (device != medium.partitions.end()) {
      volume.device = *device;
    }
    volume.partition_label = text_or_empty(::blkid_partition_get_name(partition));
    volume.partition_type = type_of(partition);
    volume.boot_flag = is_bootable(partition);
    volumes.push_back(std::move(volume));
  }
  return volumes;
}

}  // namespace

base::Result<std::vector<Volume>> probe_volumes(const media::Medium& medium,
                                                const std::filesystem::path& node_directory) {
  std::vector<Volume> volumes;
  {
    OU_TRY(const auto disk, open_probe(medium.disk, node_directory));
    ::blkid_probe_enable_partitions(disk.probe.get(), 1);
    ::blkid_probe_set_partitions_flags(disk.probe.get(), BLKID_PARTS_ENTRY_DETAILS);
    volumes = entries_of(medium, ::blkid_probe_get_partitions(disk.probe.get()));
  }
  for (const auto& partition : medium.partitions) {
    const bool is_listed = std::any_of(volumes.begin(), volumes.end(), [&](const auto& volume) {
      return volume.device.number == partition.number;
    });
    if (!is_listed) {  // the kernel reads a kind of table that libblkid does not
      volumes.push_back({.device = partition});
    }
  }
  if (volumes.empty()) {
    volumes.push_back({.device = medium.disk});
  }
  for (auto& volume : volumes) {
    if (volume.device.number != 0) {
      OU_TRY(const auto device, open_probe(volume.device, node_directory));
      OU_CHECK(look_at_superblock(device.probe.get(), volume));
    }
  }
  return volumes;
}

}  // namespace agent::platform

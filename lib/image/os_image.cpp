#include "image/os_image.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "image/fat_reader.hpp"
#include "image/probe.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

constexpr std::size_t kMaxParts = 128;

struct RoleName {
  std::string_view name;
  PartRole role;
};
constexpr std::array<RoleName, 5> kRoles{{{"boot", PartRole::kBoot},
                                          {"rootA", PartRole::kRootA},
                                          {"rootB", PartRole::kRootB},
                                          {"state", PartRole::kState},
                                          {"data", PartRole::kData}}};
constexpr std::array<std::string_view, 3> kPrefixes{"resin-", "balena-", "flash-"};

std::string_view text_of(PartRole role) {
  const auto known = std::find_if(kRoles.begin(), kRoles.end(),
                                  [role](const RoleName& one) { return one.role == role; });
  return known != kRoles.end() ? known->name : role == PartRole::kEfi ? "efi" : "other";
}

PartRole role_of(std::string_view name) {
  if (name == "balena-efi") {
    return PartRole::kEfi;
  }
  for (const std::string_view prefix : kPrefixes) {
    for (const RoleName& role : kRoles) {
      if (name.starts_with(prefix) && name.substr(prefix.size()) == role.name) {
        return role.role;
      }
    }
  }
  return PartRole::kOther;
}

Result<std::vector<Part>> examine(const BlockRange& whole, const PartitionTable& table) {
  if (table.partitions.size() > kMaxParts) {
    return Error(ErrorCode::kLimitExceeded,
                 "the image has more than " + std::to_string(kMaxParts) + " partitions");
  }
  std::vector<Part> parts;
  for (const Partition& partition : table.partitions) {
    Part part{partition, role_of(partition.name), "", ""};
    if (!partition.extended) {
      OU_TRY(const BlockRange range, whole.part(partition.offset_bytes, partition.size_bytes));
      OU_TRY(Probed probed, probe(range).within("partition " + std::to_string(partition.number)));
      part.label = std::move(probed.label);
      part.file_system = std::move(probed.type);
    }
    if (part.role == PartRole::kOther) {
      part.role = role_of(part.label);
    }
    parts.push_back(std::move(part));
  }
  return parts;
}

/// An image made by hand may have no names: its boot partition has a device-type.json.
bool holds_device_type(const BlockRange& whole, const Part& part) {
  if (part.file_system != "vfat") {
    return false;
  }
  const auto range = whole.part(part.partition.offset_bytes, part.partition.size_bytes);
  const auto reader = range ? FatReader::open(*range) : Result<FatReader>(range.error());
  const auto file =
      reader ? reader->find("device-type.json") : Result<std::optional<FatNode>>(reader.error());
  return file && *file;
}

std::vector<Part>::const_iterator find_role(const std::vector<Part>& parts, PartRole role) {
  return std::find_if(parts.begin(), parts.end(),
                      [role](const Part& part) { return part.role == role; });
}

Status check_roles(const std::vector<Part>& parts) {
  for (const RoleName& role : kRoles) {
    if (std::count_if(parts.begin(), parts.end(),
                      [&role](const Part& part) { return part.role == role.role; }) > 1) {
      return Error(ErrorCode::kDiskImage, "two partitions are named " + std::string(role.name) +
                                              ": the image is of no known kind");
    }
  }
  if (find_role(parts, PartRole::kBoot) == parts.end()) {
    return Error(ErrorCode::kDiskImage,
                 "this is no balenaOS image: no partition is named resin-boot, balena-boot or "
                 "flash-boot, and none has a device-type.json");
  }
  return base::ok();
}

bool is_flasher(const std::vector<Part>& parts) {
  return std::any_of(parts.begin(), parts.end(), [](const Part& part) {
    const bool boot_or_root = part.role == PartRole::kBoot || part.role == PartRole::kRootA;
    return boot_or_root &&
           (part.partition.name.starts_with("flash-") ||
            (role_of(part.partition.name) == PartRole::kOther && part.label.starts_with("flash-")));
  });
}

}  // namespace

Result<OsImage> OsImage::open(ImageFile file) {
  OU_TRY(PartitionTable table, read_partition_table(file.whole()));
  OU_TRY(std::vector<Part> parts, examine(file.whole(), table));
  if (find_role(parts, PartRole::kBoot) == parts.end()) {
    const auto boot = std::find_if(parts.begin(), parts.end(), [&file](const Part& part) {
      return holds_device_type(file.whole(), part);
    });
    if (boot != parts.end()) {
      boot->role = PartRole::kBoot;
    }
  }
  OU_CHECK(check_roles(parts));
  const bool flasher = is_flasher(parts);
  return OsImage(std::move(file), std::move(table), std::move(parts), flasher);
}

Result<Part> OsImage::part_of(PartRole role) const {
  const auto part = find_role(parts_, role);
  if (part == parts_.end()) {
    return Error(ErrorCode::kDiskImage, "the image has no " + std::string(text_of(role)) +
                                            " partition (resin-" + std::string(text_of(role)) +
                                            " or the like)");
  }
  return *part;
}

Result<BlockRange> OsImage::range_of(PartRole role) const {
  OU_TRY(const Part part, part_of(role));
  return file_.whole().part(part.partition.offset_bytes, part.partition.size_bytes);
}

Status OsImage::grow(PartRole role, std::uint64_t more_bytes) {
  OU_TRY(const Part part, part_of(role));
  OU_CHECK(grow_partition(file_, part.partition.number, more_bytes));
  OU_TRY(table_, read_partition_table(file_.whole()));
  for (Part& known : parts_) {
    const auto found = std::find_if(
        table_.partitions.begin(), table_.partitions.end(),
        [&known](const Partition& one) { return one.number == known.partition.number; });
    if (found == table_.partitions.end()) {
      return Error(ErrorCode::kInternal, "a partition is gone after another one has grown");
    }
    known.partition = *found;
  }
  return base::ok();
}

}  // namespace image

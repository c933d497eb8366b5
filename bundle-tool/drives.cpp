#include "drives.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <vector>

#include "base/json.hpp"
#include "base/printable.hpp"
#include "image/drive.hpp"

namespace tool {
namespace {

using base::Result;
using Row = std::array<std::string, 5>;

std::string partition_text(const image::DrivePartition& partition) {
  std::string text = "  " + partition.name + "  " + drive_size_text(partition.size_bytes);
  if (!partition.file_system.empty()) {
    text += "  " + base::printable(partition.file_system);
  }
  if (!partition.label.empty()) {
    text += "  \"" + base::printable(partition.label) + "\"";
  }
  return text + "\n";
}

base::Json to_json(const image::Drive& drive) {
  base::Json partitions = base::Json::array();
  for (const auto& partition : drive.partitions) {
    partitions.push_back({{"device", "/dev/" + partition.name},
                          {"size_bytes", partition.size_bytes},
                          {"label", base::printable(partition.label)},
                          {"file_system", base::printable(partition.file_system)}});
  }
  base::Json uses = base::Json::array();
  base::Json mounts = base::Json::array();
  for (const auto& use : drive.uses) {
    uses.push_back(use.what);
    if (!use.mount_target.empty()) {
      mounts.push_back(base::printable(use.mount_target));
    }
  }
  const auto refusal = image::refusal_of(drive, false);
  base::Json json = {{"device", drive.device()},
                     {"size_bytes", drive.size_bytes},
                     {"bus", image::name_of(drive.bus)},
                     {"vendor", base::printable(drive.vendor)},
                     {"model", base::printable(drive.model)},
                     {"serial", base::printable(drive.serial)},
                     {"removable", drive.removable},
                     {"read_only", drive.read_only},
                     {"holds_system", drive.holds_system()},
                     {"in_use", std::move(uses)},
                     {"mounted_at", std::move(mounts)},
                     {"partitions", std::move(partitions)},
                     {"can_be_flashed", !refusal.has_value()}};
  if (refusal) {
    json["reason"] = *refusal;
  }
  return json;
}

std::string table(const std::vector<image::Drive>& drives) {
  std::vector<Row> rows = {{"DEVICE", "SIZE", "BUS", "MODEL", "CAN BE FLASHED"}};
  for (const auto& drive : drives) {
    const auto refusal = image::refusal_of(drive, false);
    rows.push_back({drive.device(), drive_size_text(drive.size_bytes),
                    std::string(image::name_of(drive.bus)), drive.description(),
                    refusal ? "no: " + *refusal : "yes"});
  }
  Row::size_type column = 0;
  std::array<std::size_t, std::tuple_size_v<Row>> widths{};
  for (const Row& row : rows) {
    for (column = 0; column < row.size(); ++column) {
      widths.at(column) = std::max(widths.at(column), row.at(column).size());
    }
  }
  std::string text;
  for (std::size_t index = 0; index < rows.size(); ++index) {
    const Row& row = rows[index];
    for (column = 0; column + 1 < row.size(); ++column) {
      text += row.at(column) + std::string(widths.at(column) + 2 - row.at(column).size(), ' ');
    }
    text += row.back() + "\n";
    for (std::size_t i = 0; index > 0 && i < drives[index - 1].partitions.size(); ++i) {
      text += partition_text(drives[index - 1].partitions[i]);
    }
  }
  return text;
}

}  // namespace

std::string drive_size_text(std::uint64_t bytes) {
  constexpr double kGigabyte = 1e9;
  constexpr double kMegabyte = 1e6;
  const auto value = static_cast<double>(bytes);
  const bool small = value < kGigabyte;
  std::array<char, 32> text{};
  const int length = std::snprintf(text.data(), text.size(), "%.1f %s",
                                   value / (small ? kMegabyte : kGigabyte), small ? "MB" : "GB");
  return {text.data(), static_cast<std::size_t>(std::max(length, 0))};
}

Result<Outcome> drives(const DrivesOptions& options) {
  OU_TRY(auto found, image::list_drives());
  if (!options.all) {
    std::erase_if(found,
                  [](const image::Drive& drive) { return drive.bus == image::Bus::kVirtual; });
  }
  base::Json list = base::Json::array();
  for (const auto& drive : found) {
    list.push_back(to_json(drive));
  }
  Outcome outcome;
  outcome.json = base::to_canonical(base::Json{{"drives", std::move(list)}});
  outcome.text = found.empty() ? "There is no drive. Plug one in.\n" : table(found);
  return outcome;
}

}  // namespace tool

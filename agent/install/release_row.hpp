// The row of the supervisor's table `app` that stands for a release. Pure.
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"
#include "bundle/manifest.hpp"
#include "install/apps_step.hpp"
#include "install/supervisor.hpp"

namespace agent::install {

/// What matters of one entry of AppRow::services_json.
struct RowService {
  std::string name;
  std::string image;
  std::uint64_t service_id = 0;
  std::uint64_t image_id = 0;
  bool running = true;
};

/// \error ErrorCode::kSupervisorState when the column is not what the reference describes
base::Result<std::vector<RowService>> read_services(const AppRow& row);

/// Value of config.pinDevice that pins the device to the row's release.
/// \source engine-and-supervisor.md section 4, "Pins"
std::string pin_value(const AppRow& row);

}  // namespace agent::install

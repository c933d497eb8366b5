#include "install/service_manager.hpp"

namespace agent::install {

std::string to_unit_file(const TransientUnit& unit) {
  std::string text = "Description=" + unit.description + "\nType=oneshot\nRemainAfterExit=yes\n";
  for (const auto& [name, value] : unit.environment) {
    text += "Environment=" + name + "=" + value + "\n";
  }
  text += "ExecStart=";
  for (std::size_t i = 0; i < unit.command.size(); ++i) {
    const auto& word = unit.command[i];
    const bool plain = word.find_first_of(" ;$\"'") == std::string::npos;
    text += (i == 0 ? "" : " ") + (plain ? word : "'" + word + "'");
  }
  text += "\nStandardOutput=append:" + unit.output_file +
          "\nStandardError=append:" + unit.output_file +
          "\nTimeoutStartSec=" + std::to_string(unit.timeout.count()) +
          "\nIOWeight=" + std::to_string(kTransientIoWeight) +
          "\nIOSchedulingClass=idle\nNice=" + std::to_string(kTransientNice) + "\n";
  return text;
}

}  // namespace agent::install

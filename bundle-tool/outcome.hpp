// What a command that did its work hands back to main: one text for people, one JSON for programs.
#pragma once

#include <string>

#include "exit_codes.hpp"

namespace tool {

struct Outcome {
  ExitCode exit = ExitCode::kOk;
  std::string text;  // whole lines
  std::string json;  // one object; empty for commands without --json
};

}  // namespace tool

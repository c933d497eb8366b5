// The options of `bundle-tool create`, which are many.
#pragma once

#include "create.hpp"

namespace CLI {
class App;
}

namespace tool {

/// What CLI11 fills in beside CreateOptions, because it has no type for it.
struct CreateArguments {
  CreateOptions options;
  std::string min_os, max_os, min_supervisor, max_supervisor;
  std::string health = "healthy";
  std::uint64_t chunk_bytes = bundle::kDefaultChunkBytes;
  bool no_pin = false;
  bool is_unsigned = false;
};

/// Declares the options; `arguments` outlives `command`.
void add_create_options(CLI::App& command, CreateArguments& arguments);

/// \error ErrorCode::kUsage for options that do not go together
base::Result<CreateOptions> finish(const CreateArguments& arguments);

}  // namespace tool

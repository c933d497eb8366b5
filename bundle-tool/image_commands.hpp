// The commands below `bundle-tool image`, and `bundle-tool drives`: their options, and which code
// they run.
#pragma once

#include <functional>
#include <string>

#include "console.hpp"
#include "drives.hpp"
#include "image_configure.hpp"
#include "image_extract.hpp"
#include "image_flash.hpp"
#include "image_inspect.hpp"
#include "image_preload.hpp"
#include "outcome.hpp"

namespace CLI {
class App;
}

namespace tool {

using Command = std::function<base::Result<Outcome>(Console&)>;

/// Makes one command below `parent`, with the options that every command has.
using AddCommand = std::function<CLI::App*(CLI::App& parent, const std::string& name,
                                           const std::string& description, Command command)>;

class ImageCommands {
 public:
  /// Declares the commands; this object outlives `app`.
  void add_to(CLI::App& app, const AddCommand& add);

 private:
  void add_inspect(CLI::App& image, const AddCommand& add);
  void add_configure(CLI::App& image, const AddCommand& add);
  void add_preload(CLI::App& image, const AddCommand& add);
  void add_extract(CLI::App& image, const AddCommand& add);
  void add_flash(CLI::App& image, const AddCommand& add);
  void add_drives(CLI::App& app, const AddCommand& add);

  ImageInspectOptions inspect_;
  ImageConfigureOptions configure_;
  ImagePreloadOptions preload_;
  ImageExtractOptions extract_;
  ImageFlashOptions flash_;
  DrivesOptions drives_;
};

}  // namespace tool

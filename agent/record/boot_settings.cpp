#include "record/boot_settings.hpp"

#include <algorithm>
#include <array>

#include "base/fatrw.hpp"
#include "base/printable.hpp"

namespace agent::record {
namespace {

namespace fs = std::filesystem;

// A state partition of 20 MB has to hold two copies while one is being written.
constexpr std::size_t kMaxSettingBytes = std::size_t{1024} * 1024;
constexpr std::size_t kMaxAllSettingsBytes = std::size_t{3} * 1024 * 1024;
constexpr std::size_t kMaxSettings = 256;
constexpr std::size_t kMaxNameBytes = 255;

struct Setting {
  std::string_view path;  // with "/" at its end: the plain files in that directory
  PutBack rule;
};

// Boot selectors (grubenv, bootenv, resinOS_uEnv.txt) and grub.cfg are not here: the OS alone
// writes them. cmdline.txt comes with the OS, and an old one might not boot the new kernel.
constexpr std::array kSettings{
    Setting{"EFI/BOOT/grub_extraenv", PutBack::kWhenDifferent},
    Setting{"grub/grub_extraenv", PutBack::kWhenDifferent},
    Setting{"extra_uEnv.txt", PutBack::kWhenLost},
    Setting{"config.txt", PutBack::kWhenLost},
    Setting{"cmdline.txt", PutBack::kNever},
    Setting{"configfs.json", PutBack::kWhenLost},
    Setting{"hw_intfc.conf", PutBack::kWhenLost},
    Setting{"splash/balena-logo.png", PutBack::kWhenLost},
    // A bundle may bring other profiles of the same names, after this.
    Setting{"system-connections/", PutBack::kWhenLost},
    Setting{"system-proxy/", PutBack::kWhenDifferent},
    Setting{"dispatcher.d/", PutBack::kWhenDifferent},
};

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return out;
}

class Reader {
 public:
  explicit Reader(const fs::path& partition) : partition_(partition) {}

  void add(const std::string& path) {
    std::error_code ignored;  // most devices have few of these
    const auto file = partition_ / path;
    if (!fs::is_regular_file(fs::symlink_status(file, ignored))) {
      return;
    }
    const auto content = base::fatrw_peek(file, kMaxSettingBytes);
    if (content && content->size() <= left_bytes_) {
      left_bytes_ -= content->size();
      files.emplace(path, base::as_text(*content));
    }
  }

  void add_directory(const std::string& path) {
    std::error_code failed;
    for (fs::directory_iterator entry(partition_ / path, failed), end; !failed && entry != end;
         entry.increment(failed)) {
      const auto name = entry->path().filename().string();
      const bool leftover = name.starts_with('.');  // of an interrupted write
      if (!leftover && base::printable(name, kMaxNameBytes) == name &&
          files.size() < kMaxSettings) {
        add(path + name);
      }
    }
  }

  std::map<std::string, std::string> files;

 private:
  const fs::path& partition_;
  std::size_t left_bytes_ = kMaxAllSettingsBytes;
};

}  // namespace

PutBack put_back_rule(std::string_view path) {
  const auto name = path.substr(path.rfind('/') + 1);
  if (is_boot_selector_name(name)) {
    return PutBack::kNever;
  }
  for (const auto& setting : kSettings) {
    const bool inside = setting.path.ends_with('/') && path.starts_with(setting.path) &&
                        path.find('/', setting.path.size()) == std::string_view::npos;
    if (path == setting.path || inside) {
      return setting.rule;
    }
  }
  return PutBack::kNever;
}

bool is_boot_selector_name(std::string_view name) {
  constexpr std::array<std::string_view, 5> kNames{"grubenv", "bootenv", "grub.cfg",
                                                   "resinos_uenv.txt", "bootcount.env"};
  return std::ranges::find(kNames, lower(name)) != kNames.end();
}

std::map<std::string, std::string> read_boot_settings(const fs::path& partition) {
  Reader reader(partition);
  for (const auto& setting : kSettings) {
    const std::string path(setting.path);
    if (path.ends_with('/')) {
      reader.add_directory(path);
    } else {
      reader.add(path);
    }
  }
  return std::move(reader.files);
}

}  // namespace agent::record

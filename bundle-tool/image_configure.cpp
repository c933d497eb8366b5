#include "image_configure.hpp"

#include <algorithm>

#include "base/files.hpp"
#include "base/json.hpp"
#include "base/printable.hpp"
#include "boot_facts.hpp"
#include "boot_files.hpp"
#include "config_keys.hpp"
#include "connection_files.hpp"
#include "image/os_image.hpp"
#include "secret.hpp"
#include "ssh_keys.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::printable;
using base::Result;
using base::Status;
namespace fs = std::filesystem;

constexpr std::size_t kMaxConfigBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxStringBytes = std::size_t{256} * 1024;
constexpr std::size_t kMaxPassphraseBytes = 256;

/// What the options bring, read and checked by itself.
struct Inputs {
  std::optional<Json> config;
  std::vector<std::string> ssh_keys;
  BootInputs boot;
};

Result<Json> parse_config(std::string_view text) {
  return base::parse_json(text,
                          {.max_bytes = kMaxConfigBytes, .max_string_bytes = kMaxStringBytes});
}

Result<Json> read_config(const fs::path& path) {
  OU_TRY(const base::Bytes bytes, base::read_file(path, kMaxConfigBytes));
  auto parsed = parse_config(base::as_text(bytes)).within(printable(path.string()));
  if (!parsed) {
    return std::move(parsed).error().as(ErrorCode::kConfigInvalid);
  }
  return parsed;
}

Result<std::string> read_splash(const fs::path& path) {
  OU_TRY(const base::Bytes bytes, base::read_file(path, kMaxSplashBytes));
  std::string picture(base::as_text(bytes));
  if (!picture.starts_with("\x89PNG\r\n\x1a\n")) {
    return Error(ErrorCode::kUsage, printable(path.string()) + " is no PNG picture");
  }
  return picture;
}

Result<Wifi> read_wifi(const ImageConfigureOptions& options) {
  const SecretSource source{
      .file = options.wifi_passphrase_file,
      .variable = "OFFLINE_UPDATER_WIFI_PASSPHRASE",
      .option = "--wifi-passphrase-file",
      .what = "passphrase",
      .prompt = "Passphrase of the network " + printable(options.wifi_ssid) + ": ",
      .max_bytes = kMaxPassphraseBytes,
      .missing = ErrorCode::kUsage};
  OU_TRY(std::string passphrase, read_secret(source));
  Wifi wifi{options.wifi_ssid, std::move(passphrase)};
  OU_CHECK(check_wifi(wifi).within("--network-wifi"));
  return wifi;
}

/// Whether the network of the configuration is new, and no other one was asked for.
bool brings_network(const ImageConfigureOptions& options) {
  const bool set =
      std::any_of(options.settings.begin(), options.settings.end(),
                  [](const std::string& setting) { return setting.starts_with("wifi"); });
  return options.wifi_ssid.empty() && (set || !options.config.empty());
}

/// The network that a config.json names for the tools that put it into an image.
Result<std::optional<Wifi>> wifi_of(const Json& config) {
  std::optional<Wifi> wifi;
  const auto ssid = config.find("wifiSsid");
  const auto key = config.find("wifiKey");
  if (ssid != config.end() && key != config.end() && ssid->is_string() && key->is_string() &&
      !ssid->get_ref<const std::string&>().empty()) {
    wifi = Wifi{ssid->get<std::string>(), key->get<std::string>()};
    OU_CHECK(check_wifi(*wifi).within("wifiSsid and wifiKey of the configuration"));
  }
  return wifi;
}

Status check_options(const ImageConfigureOptions& options) {
  if (options.wifi_ssid.empty() && !options.wifi_passphrase_file.empty()) {
    return Error(ErrorCode::kUsage, "--wifi-passphrase-file goes with --network-wifi");
  }
  if (options.config.empty() && options.settings.empty() && options.wifi_ssid.empty() &&
      options.connections.empty() && options.ssh_keys.empty() && options.splash.empty()) {
    return Error(ErrorCode::kUsage,
                 "nothing to configure: pass --config FILE, --set KEY=VALUE or "
                 "another option");
  }
  return base::ok();
}

Result<Inputs> read_inputs(const ImageConfigureOptions& options) {
  Inputs inputs;
  if (!options.config.empty()) {
    OU_TRY(inputs.config, read_config(options.config));
    OU_CHECK(check_config_keys(*inputs.config).within(printable(options.config.string())));
  }
  OU_TRY(inputs.boot.connections, read_connections(options.connections));
  for (const fs::path& path : options.ssh_keys) {
    OU_TRY(const auto keys, read_ssh_keys(path));
    inputs.ssh_keys.insert(inputs.ssh_keys.end(), keys.begin(), keys.end());
  }
  if (!options.splash.empty()) {
    OU_TRY(inputs.boot.splash, read_splash(options.splash));
  }
  if (!options.wifi_ssid.empty()) {
    OU_TRY(inputs.boot.wifi, read_wifi(options));
  }
  return inputs;
}

/// The image's own config.json; an empty one when it has none.
Result<Json> present_config(const image::FatVolume& boot) {
  OU_TRY(const auto text, boot.read_file(std::string(kConfigPath), kMaxConfigBytes));
  if (!text) {
    return Json::object();
  }
  auto parsed = parse_config(*text);
  if (!parsed || !parsed->is_object()) {
    return Error(ErrorCode::kConfigInvalid,
                 "the image's own config.json is damaged: pass a whole one with --config FILE");
  }
  return parsed;
}

/// Where something else is in their place, check_keys() says so.
void add_ssh_keys(Json& config, const std::vector<std::string>& keys) {
  if (keys.empty()) {
    return;
  }
  Json& os = config["os"];
  os = os.is_null() ? Json::object() : os;
  if (!os.is_object()) {
    return;
  }
  Json& present = os["sshKeys"];
  present = present.is_null() ? Json::array() : present;
  for (const std::string& key : keys) {
    if (present.is_array() && std::find(present.begin(), present.end(), key) == present.end()) {
      present.push_back(key);
    }
  }
}

Status check_device_type(const Json& config, const BootFacts& facts, Console& console) {
  const auto type = config.find("deviceType");
  if (type == config.end() || !type->is_string()) {
    console.warning("the configuration has no deviceType: a device with it cannot join a fleet");
    return base::ok();
  }
  const std::string name = type->get<std::string>();
  if (!facts.is_for(name)) {
    return Error(ErrorCode::kWrongDeviceType, "the configuration is for " + printable(name) +
                                                  " and the image for " + facts.device_type +
                                                  ": take the image or the configuration of the "
                                                  "other's device type");
  }
  return base::ok();
}

void warn_about(const Json& config, bool flasher, Console& console) {
  for (const std::string& key : examine_config_keys(config).unknown) {
    console.warning("config.json: " + key + " is no documented key; it is kept as it is");
  }
  if (config.contains("installer") && !flasher) {
    console.warning("config.json: installer is for flasher images alone, and this is none");
  }
  if (config.contains("uuid")) {
    console.warning("config.json has the identity of one device: start no second one from it");
  }
  if (config.contains("wifiSsid") != config.contains("wifiKey")) {
    console.warning("config.json: wifiSsid and wifiKey go together; no network was set");
  }
}

/// What was wrong in the image before, such as "true" in place of true, as `balena config write`
/// sets it, is worth a warning; what the options make wrong is an error.
Status check_keys(const Json& config, const ConfigFindings& before, Console& console) {
  for (const std::string& misfit : examine_config_keys(config).misfits) {
    if (std::find(before.misfits.begin(), before.misfits.end(), misfit) == before.misfits.end()) {
      return Error(ErrorCode::kConfigInvalid, "config.json: " + misfit);
    }
    console.warning("config.json: " + misfit + "; it is kept as it is");
  }
  return base::ok();
}

Result<Json> make_config(const ImageConfigureOptions& options, const Inputs& inputs,
                         const image::FatVolume& boot, const BootFacts& facts, bool flasher,
                         Console& console) {
  Json config;
  ConfigFindings before;
  if (inputs.config) {
    config = *inputs.config;
  } else {
    OU_TRY(config, present_config(boot));
    before = examine_config_keys(config);
  }
  for (const std::string& setting : options.settings) {
    OU_CHECK(set_config_key(config, setting));
  }
  add_ssh_keys(config, inputs.ssh_keys);
  OU_CHECK(check_keys(config, before, console));
  OU_CHECK(check_device_type(config, facts, console));
  warn_about(config, flasher, console);
  return config;
}

/// The first characters of what says who a device is.
std::string masked(const Json& value) {
  const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  return printable(text.substr(0, text.size() > 14 ? 7 : 0)) + "...";
}

Outcome outcome_of(const ImageConfigureOptions& options, const BootFacts& facts, bool flasher,
                   const Json& config, const BootFiles& files, const Console& console) {
  Json written = Json::array();
  std::string lines;
  for (const auto& [path, content] : files) {
    written.push_back({{"path", path}, {"size_bytes", content.size()}});
    lines += "  " + path + ", " + size_text(content.size()) + "\n";
  }
  Json keys = Json::array();
  for (const auto& [key, value] : config.items()) {
    keys.push_back(printable(key));
  }
  const std::string image = printable(options.image.string());
  Json json{{"image", image},
            {"device_type", facts.device_type},
            {"flasher", flasher},
            {"written", std::move(written)},
            {"config_keys", std::move(keys)},
            {"warnings", console.warnings()}};
  if (facts.os_version) {
    json["os_version"] = *facts.os_version;
  }
  std::string whose;
  if (const auto uuid = config.find("uuid"); uuid != config.end()) {
    json["device_uuid"] = masked(*uuid);
    whose = ", for device " + masked(*uuid);
  }
  Outcome outcome;
  outcome.json = base::to_canonical(json);
  outcome.text = image + ": configured" + whose + " (" + facts.device_type +
                 (facts.os_version ? ", balenaOS " + *facts.os_version : "") +
                 (flasher ? ", flasher" : "") + ")\n" + lines;
  return outcome;
}

}  // namespace

Result<Outcome> image_configure(const ImageConfigureOptions& options, Console& console) {
  OU_CHECK(check_options(options));
  const std::string shown = printable(options.image.string());
  OU_TRY(image::ImageFile file, image::ImageFile::open_for_change(options.image));
  OU_TRY(Inputs inputs, read_inputs(options));
  OU_TRY(const image::OsImage image, image::OsImage::open(std::move(file)).within(shown));
  OU_TRY(const image::BlockRange range, image.range_of(image::PartRole::kBoot));
  std::error_code ignored;  // without a directory for it there is no scratch file either
  const fs::path scratch = fs::temp_directory_path(ignored);
  OU_TRY(image::FatVolume boot,
         image::FatVolume::open(range, scratch).within(shown + ": boot partition"));
  OU_TRY(const BootFacts facts, read_boot_facts(boot).within(shown));
  OU_TRY(const Json config, make_config(options, inputs, boot, facts, image.flasher(), console));
  if (brings_network(options)) {
    OU_TRY(inputs.boot.wifi, wifi_of(config));
  }
  OU_TRY(const BootFiles files, place_files(config.dump(), inputs.boot, boot, facts));
  for (const auto& [path, content] : files) {
    OU_CHECK(boot.write_file(path, content).within(shown));
  }
  OU_CHECK(boot.commit().within(shown));
  return outcome_of(options, facts, image.flasher(), config, files, console);
}

}  // namespace tool

#include "inspect_host.hpp"

#include "base/json.hpp"
#include "base/printable.hpp"
#include "console.hpp"

namespace tool {
namespace {

using base::Json;
using base::printable;

std::uint64_t boot_bytes(const bundle::HostOs& os) {
  std::uint64_t total = 0;
  for (const auto& [path, size] : os.boot_files) {
    total += size;
  }
  return total;
}

std::vector<std::string> patched_keys(const bundle::ConfigChange& config) {
  std::vector<std::string> keys;
  const Json patch = Json::parse(config.patch_json, nullptr, false);
  for (const auto& [key, value] : patch.items()) {
    keys.push_back(key);
  }
  return keys;
}

std::vector<std::string> connection_names(const bundle::ConfigChange& config) {
  std::vector<std::string> names;
  for (const auto& [name, content] : config.connections) {
    names.push_back(name);
  }
  return names;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) {
    text += (text.empty() ? "" : ", ") + printable(word);
  }
  return text;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> host_lines(const bundle::Manifest& manifest) {
  std::vector<std::pair<std::string, std::string>> lines;
  if (manifest.os) {
    const bundle::HostOs& os = *manifest.os;
    lines.emplace_back("host OS", "balenaOS " + printable(os.version) + " (meta-balena " +
                                      printable(os.meta_version) + ") for " +
                                      printable(os.device_type));
    lines.emplace_back("  image ID", os.image.text());
    lines.emplace_back("  boot", std::to_string(os.boot_files.size()) +
                                     " files for the boot partition, " + size_text(boot_bytes(os)) +
                                     "; " + (os.signed_for_secure_boot ? "signed" : "not signed") +
                                     " for secure boot");
  }
  if (manifest.supervisor) {
    lines.emplace_back("brings", "supervisor " + printable(manifest.supervisor->version) + " as " +
                                     printable(manifest.supervisor->name));
    lines.emplace_back("  image ID", manifest.supervisor->image.text());
  }
  const auto keys = patched_keys(manifest.config);
  if (!keys.empty()) {
    lines.emplace_back("config.json", "sets " + joined(keys));
  }
  const auto names = connection_names(manifest.config);
  if (!names.empty()) {
    lines.emplace_back("connections", joined(names) + " (signed, but not encrypted)");
  }
  return lines;
}

std::string host_json(const bundle::Manifest& manifest) {
  Json json = Json::object();
  if (manifest.os) {
    const bundle::HostOs& os = *manifest.os;
    json["os"] = {{"version", os.version},
                  {"meta_version", os.meta_version},
                  {"device_type", os.device_type},
                  {"image_id", os.image.text()},
                  {"boot_files", os.boot_files.size()},
                  {"boot_bytes", boot_bytes(os)},
                  {"boot_volume_bytes", os.boot_volume_bytes},
                  {"signed_for_secure_boot", os.signed_for_secure_boot}};
  }
  if (manifest.supervisor) {
    json["supervisor"] = {{"name", manifest.supervisor->name},
                          {"version", manifest.supervisor->version},
                          {"image_id", manifest.supervisor->image.text()}};
  }
  if (!manifest.config.empty()) {
    json["config"] = {{"keys", patched_keys(manifest.config)},
                      {"connections", connection_names(manifest.config)}};
  }
  return base::to_canonical(json);
}

}  // namespace tool

#include "image_inspect_text.hpp"

#include "base/json.hpp"
#include "base/printable.hpp"
#include "console.hpp"

namespace tool {
namespace {

using base::Json;

std::string text(const Json& object, const std::string& key) {
  return base::printable(object.value(key, std::string()));
}

std::string size(const Json& object, const std::string& key) {
  return size_text(object.value(key, std::uint64_t{0}));
}

std::string joined(const Json& list) {
  std::string names;
  for (const Json& name : list) {
    names += (names.empty() ? "" : ", ") + base::printable(name.get<std::string>());
  }
  return names;
}

std::string head(const Json& facts) {
  std::string line = text(facts, "image") + ": ";
  if (facts.contains("os")) {
    const Json& os = facts["os"];
    line += "balenaOS " + text(os, "version");
    line += text(os, "variant").empty() ? "" : " (" + text(os, "variant") + ")";
  } else {
    line += "a balenaOS image";
  }
  line += text(facts, "device_type").empty() ? "" : " for " + text(facts, "device_type");
  const std::string compression = text(facts, "compression");
  return line + ", " + size(facts, "size_bytes") +
         (compression == "none" ? "" : " unpacked from " + compression) + ", " +
         (facts["table"] == "gpt" ? "GPT" : "MBR") + "\n";
}

std::string partitions(const Json& list, const std::string& indent) {
  std::string lines;
  for (const Json& part : list) {
    std::string name = text(part, "name").empty() ? text(part, "label") : text(part, "name");
    name = part.value("extended", false) ? "extended, holds those that follow" : name;
    lines += indent + std::to_string(part["number"].get<unsigned>()) + "  " +
             (name.empty() ? "(no name)" : name) + ": " + size(part, "size_bytes");
    lines += text(part, "file_system").empty() ? "" : ", " + text(part, "file_system");
    lines += part.contains("free_bytes") ? ", " + size(part, "free_bytes") + " free" : "";
    lines += part.contains("problem") ? ", cannot be read: " + text(part, "problem") : "";
    lines += "\n";
  }
  return lines;
}

std::string flasher(const Json& facts) {
  if (!facts.contains("inner")) {
    return "";
  }
  const Json& inner = facts["inner"];
  std::string lines = "flasher: it writes " + text(inner, "path") + " (" +
                      size(inner, "size_bytes") + ") to the device's own disk\n";
  if (inner.value("signed", false)) {
    lines +=
        "  signed for secure boot: a changed image would be refused by the device, so it cannot be "
        "preloaded;\n  carry the applications in a bundle\n";
  }
  if (inner.value("encrypted", false)) {
    lines +=
        "  encrypted: nobody but the device can look into it or change it; carry the applications "
        "in a bundle\n";
  }
  if (inner.contains("partitions")) {
    lines += "  its partitions:\n" + partitions(inner["partitions"], "    ");
  }
  return lines;
}

std::string configuration(const Json& facts) {
  if (!facts.contains("config")) {
    return "";
  }
  const Json& config = facts["config"];
  std::string line = "configuration: ";
  if (text(config, "state") == "none") {
    line += "not configured; bundle-tool image configure does it\n";
  } else {
    line += "fleet " + text(config, "application_id");
    line += text(config, "device_uuid").empty()
                ? ", not registered yet\n"
                : ", device " + text(config, "device_uuid") +
                      "...: it is for this one device and for no other\n";
  }
  for (const auto& [key, value] : config["settings"].items()) {
    line += "  " + base::printable(key) + " = " + base::printable(value.dump()) + "\n";
  }
  if (!config["hidden_keys"].empty()) {
    line += "  set, not shown: " + joined(config["hidden_keys"]) + "\n";
  }
  if (!facts["network_profiles"].empty()) {
    line += "network profiles: " + joined(facts["network_profiles"]) + "\n";
  }
  return line;
}

std::string host(const Json& facts) {
  std::string lines;
  if (facts.contains("os")) {
    const Json& os = facts["os"];
    lines += "host OS: " + text(os, "image_id") + ", " + size(os, "size_bytes") + "\n";
  }
  for (const auto& [slot, bytes] : facts["slots"].items()) {
    lines += "  slot " + slot + ": " + size_text(bytes.get<std::uint64_t>()) + "\n";
  }
  if (facts.contains("supervisor")) {
    const Json& supervisor = facts["supervisor"];
    lines += "supervisor: " + text(supervisor, "version") + ", " + text(supervisor, "name");
    lines +=
        supervisor.contains("size_bytes") ? ", " + size(supervisor, "size_bytes") + "\n" : "\n";
  }
  return lines;
}

std::string release(const Json& facts) {
  if (!facts.contains("preloaded")) {
    return "";
  }
  if (!facts.contains("release")) {
    return "release: none; bundle-tool image preload brings one in\n";
  }
  const Json& release = facts["release"];
  std::string lines = "release: " + text(release, "commit") + " of " + text(release, "app_name") +
                      (release["pin_device"] == true ? ", devices are pinned to it\n" : "\n");
  for (const auto& [name, service] : release["services"].items()) {
    lines += "  " + base::printable(name) + ": " + text(service, "reference");
    lines += service.contains("image_id") ? ", " + size(service, "size_bytes") + "\n"
                                          : ", which is not there\n";
  }
  return lines;
}

std::string store(const Json& facts) {
  if (!facts.contains("images")) {
    return "";
  }
  std::string lines = "images on the data partition (" + text(facts, "storage_driver") +
                      "): " + std::to_string(facts["images"].size()) + "\n";
  for (const Json& image : facts["images"]) {
    lines += "  " + text(image, "image_id") + ", " + size(image, "size_bytes");
    lines += image["references"].empty() ? "" : ", " + joined(image["references"]);
    lines += "\n";
  }
  return lines;
}

}  // namespace

std::string describe_image(std::string_view facts) {
  const Json json = Json::parse(facts);
  std::string lines = head(json) + "partitions:\n" + partitions(json["partitions"], "  ") +
                      flasher(json) + configuration(json) + host(json) + release(json) +
                      store(json);
  for (const Json& problem : json["problems"]) {
    lines += "not readable: " + base::printable(problem.get<std::string>(), 1000) + "\n";
  }
  return lines;
}

}  // namespace tool

#include "connection_files.hpp"

#include <set>

#include "base/files.hpp"
#include "base/json.hpp"
#include "base/lines.hpp"
#include "base/printable.hpp"
#include "bundle/limits.hpp"
#include "names.hpp"
#include "usage.hpp"

namespace tool {
namespace {

using base::Json;
using base::printable;
using base::Result;
namespace fs = std::filesystem;

bool has_section(std::string_view text, std::string_view section) {
  while (!text.empty()) {
    const std::string_view line = base::take_line(text);
    const std::size_t end = line.find_last_not_of(" \t\r");
    if (end != std::string_view::npos && line.substr(0, end + 1) == section) {
      return true;
    }
  }
  return false;
}

/// \source nm-settings-keyfile(5)
Result<std::string> read_connection(const fs::path& path) {
  OU_TRY(const base::Bytes bytes, base::read_file(path, bundle::kMaxConnectionBytes));
  const std::string text(base::as_text(bytes));
  // It travels in JSON, which has no other text than UTF-8.
  if (text.find('\0') != std::string::npos ||
      Json::parse(Json(text).dump(-1, ' ', false, Json::error_handler_t::replace)) != Json(text)) {
    return usage("is no text in UTF-8");
  }
  if (!has_section(text, "[connection]")) {
    return usage("is no NetworkManager keyfile: it has no [connection] section");
  }
  return text;
}

std::string lower_case(std::string text) {
  for (char& c : text) {
    c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return text;
}

}  // namespace

Result<std::map<std::string, std::string>> read_connections(const std::vector<fs::path>& paths) {
  if (paths.size() > bundle::kMaxConnections) {
    return usage("at most " + std::to_string(bundle::kMaxConnections) +
                 " connection files are taken");
  }
  std::map<std::string, std::string> connections;
  std::set<std::string> names;  // the boot partition is FAT: letters' case makes no other file
  for (const fs::path& path : paths) {
    const std::string name = path.filename().string();
    if (!is_connection_name(name)) {
      return usage("the name \"" + printable(name, 64) +
                   "\" of a connection file does not do: 1 to 100 letters, digits, '.', '_', '-', "
                   "a letter or digit first");
    }
    if (!names.insert(lower_case(name)).second) {
      return usage("--system-connection names two files " + printable(name, 64));
    }
    OU_TRY(std::string content, read_connection(path).within(path.string()));
    connections.emplace(name, std::move(content));
  }
  return connections;
}

}  // namespace tool

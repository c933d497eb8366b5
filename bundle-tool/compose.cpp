#include "compose.hpp"

#include <algorithm>
#include <array>

#include "base/json.hpp"
#include "base/printable.hpp"
#include "names.hpp"
#include "yaml_json.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::Result;
using base::Status;
using TextMap = std::map<std::string, std::string>;

// Everything else in a service is dropped by the supervisor when it makes the container.
constexpr std::array<std::string_view, 51> kSupervisorFields = {"cap_add",
                                                                "cap_drop",
                                                                "cgroup_parent",
                                                                "command",
                                                                "cpu_quota",
                                                                "cpu_shares",
                                                                "cpus",
                                                                "cpuset",
                                                                "depends_on",
                                                                "devices",
                                                                "dns",
                                                                "dns_opt",
                                                                "dns_search",
                                                                "domainname",
                                                                "entrypoint",
                                                                "environment",
                                                                "extra_hosts",
                                                                "group_add",
                                                                "healthcheck",
                                                                "hostname",
                                                                "image",
                                                                "init",
                                                                "ipc",
                                                                "labels",
                                                                "mac_address",
                                                                "mem_limit",
                                                                "mem_reservation",
                                                                "network_mode",
                                                                "networks",
                                                                "oom_kill_disable",
                                                                "oom_score_adj",
                                                                "pid",
                                                                "pids_limit",
                                                                "ports",
                                                                "privileged",
                                                                "read_only",
                                                                "restart",
                                                                "running",
                                                                "security_opt",
                                                                "shm_size",
                                                                "stop_grace_period",
                                                                "stop_signal",
                                                                "storage_opt",
                                                                "sysctls",
                                                                "tmpfs",
                                                                "tty",
                                                                "ulimits",
                                                                "user",
                                                                "userns_mode",
                                                                "volumes",
                                                                "working_dir"};

Error invalid(const std::string& where, const std::string& what) {
  return {ErrorCode::kComposeInvalid, base::printable(where, 300) + " " + what};
}

/// Why a field of a service cannot be taken at all; empty: it can.
std::string_view refusal(std::string_view field) {
  if (field == "env_file") {
    return "is not supported, since the bundle has to say by itself what runs: write the variables "
           "under environment";
  }
  if (field == "extends") {
    return "is not supported: write the service out, or share parts with YAML anchors";
  }
  if (field == "secrets" || field == "configs") {
    return "is not supported: balena devices have no such store; use a volume or a variable";
  }
  return {};
}

/// `environment` or `labels`, in map form or as a list of NAME=VALUE.
Result<TextMap> text_map(const Json& value, const std::string& where, bool values_required) {
  TextMap result;
  const auto add = [&](const std::string& name, const std::optional<std::string>& text) -> Status {
    if (name.empty()) {
      return invalid(where, "has an entry without a name");
    }
    if (!text && values_required) {
      return invalid(where + "." + name,
                     "has no value; it would be taken from the shell of whoever builds the bundle: "
                     "write the value itself (\"\" for an empty one)");
    }
    if (!result.emplace(name, text.value_or("")).second) {
      return invalid(where + "." + name, "is there twice");
    }
    return base::ok();
  };
  if (value.is_object()) {
    for (const auto& [name, text] : value.items()) {
      if (!text.is_null() && !text.is_string()) {
        return invalid(where + "." + name, "must be text");
      }
      OU_CHECK(add(name, text.is_null() ? std::nullopt
                                        : std::optional<std::string>(text.get<std::string>())));
    }
  } else if (value.is_array()) {
    for (const Json& entry : value) {
      if (!entry.is_string()) {
        return invalid(where, "must hold entries of the form NAME=VALUE");
      }
      const auto text = entry.get<std::string>();
      const std::size_t equals = text.find('=');
      OU_CHECK(
          add(text.substr(0, equals), equals == std::string::npos
                                          ? std::nullopt
                                          : std::optional<std::string>(text.substr(equals + 1))));
    }
  } else if (!value.is_null()) {
    return invalid(where, "must be a map or a list of NAME=VALUE");
  }
  return result;
}

class ComposeReader {
 public:
  Result<ReleaseDraft> read(const Json& file) {
    if (!file.is_object()) {
      return Error(ErrorCode::kComposeInvalid, "not a compose file: no map at its top");
    }
    OU_CHECK(check_top(file));
    const auto services = file.find("services");
    if (services == file.end() || !services->is_object() || services->empty()) {
      return Error(ErrorCode::kComposeInvalid, "has no services");
    }
    for (const auto& [name, value] : services->items()) {
      OU_TRY(ServiceDraft draft, service(name, value));
      draft_.services.push_back(std::move(draft));
    }
    OU_TRY(draft_.volumes_json, definitions(file, "volumes", declared_volumes_));
    OU_TRY(draft_.networks_json, definitions(file, "networks", declared_networks_));
    for (const auto& [name, where] : used_services_) {
      if (!services->contains(name)) {
        return invalid(where, "names " + base::printable(name) + ", which is no service here");
      }
    }
    for (const auto& [network, where] : used_networks_) {
      if (network != "default" && declared_networks_.count(network) == 0) {
        return invalid(where, "uses the network \"" + base::printable(network) +
                                  "\", which is not declared: add it under the top-level networks");
      }
    }
    for (const auto& [volume, where] : used_volumes_) {
      if (declared_volumes_.count(volume) == 0) {
        return invalid(where, "uses the volume \"" + base::printable(volume) +
                                  "\", which is not declared: add it under the top-level volumes");
      }
    }
    return std::move(draft_);
  }

 private:
  void warn(const std::string& where, const std::string& what) {
    draft_.warnings.push_back(base::printable(where, 300) + " " + what);
  }

  Status check_top(const Json& file) {
    for (const auto& [key, value] : file.items()) {
      if (key == "name" && value.is_string()) {
        draft_.app_name = value.get<std::string>();
      } else if (key == "include") {
        return invalid(key, "is not supported: put everything into one file");
      } else if (!refusal(key).empty()) {
        return invalid(key, std::string(refusal(key)));
      } else if (!key.starts_with("x-") && key != "version" && key != "name" && key != "services" &&
                 key != "volumes" && key != "networks") {
        warn(key, "is not known and ignored");
      }
    }
    return base::ok();
  }

  Result<ServiceDraft> service(const std::string& name, const Json& value) {
    const std::string where = "services." + name;
    if (!is_service_name(name)) {
      return invalid(where, "is not a usable name: letters, digits, '.', '_' and '-', at most 63");
    }
    if (!value.is_object()) {
      return invalid(where, "must be a map");
    }
    ServiceDraft draft;
    draft.name = name;
    Json composition = Json::object();
    for (const auto& [key, field] : value.items()) {
      const std::string below = where + "." + key;
      if (!refusal(key).empty()) {
        return invalid(below, std::string(refusal(key)));
      }
      if (key == "environment") {
        OU_TRY(draft.environment, text_map(field, below, true));
      } else if (key == "labels") {
        OU_TRY(draft.labels, text_map(field, below, false));
      } else if (key == "build") {
        warn(below, "is ignored: images come from --image");
      } else if (key != "image" && !key.starts_with("x-")) {
        OU_CHECK(check_field(key, field, below));
        OU_TRY(composition[key], as_stored(key, field, below));
      }
    }
    for (const auto& [variable, text] : draft.environment) {
      if (!is_variable_name(variable)) {
        return invalid(where + ".environment." + variable,
                       "is no name that the supervisor takes: letters, digits and '_', not "
                       "starting with a digit");
      }
    }
    draft.composition_json = base::to_canonical(composition);
    return draft;
  }

  /// The form in which balenaCloud stores a field, where compose files know several: the supervisor
  /// fails on the others. \source balena-compose lib/parse/compose.ts; balena-supervisor
  /// src/compose/{app,service,ports}.ts
  Result<Json> as_stored(const std::string& key, const Json& field, const std::string& where) {
    if (key == "depends_on") {
      return dependencies(field, where);
    }
    if (key == "extra_hosts" && field.is_object()) {
      Json hosts = Json::array();
      for (const auto& [host, address] : field.items()) {
        if (!address.is_string()) {
          return invalid(where + "." + host, "must be an address, as text");
        }
        hosts.push_back(host + ":" + address.get<std::string>());
      }
      return hosts;
    }
    if (key == "ports" && field.is_array() &&
        std::any_of(field.begin(), field.end(), [](const Json& p) { return p.is_object(); })) {
      return invalid(where,
                     "uses the long form, which the supervisor cannot read: write HOST:CONTAINER");
    }
    return field;
  }

  Result<Json> dependencies(const Json& field, const std::string& where) {
    Json names = Json::array();
    if (field.is_object()) {
      for (const auto& [name, options] : field.items()) {
        const auto condition =
            options.is_object() ? options.value("condition", Json("service_started")) : Json();
        if (condition != "service_started") {
          return invalid(where + "." + name,
                         "has a condition that the supervisor does not know: service_started is "
                         "the only one");
        }
        names.push_back(name);
      }
    } else if (field.is_array()) {
      names = field;
    } else {
      return invalid(where, "must be a list or a map of services");
    }
    for (const Json& name : names) {
      if (!name.is_string()) {
        return invalid(where, "must hold names of services");
      }
      used_services_.emplace(name.get<std::string>(), where);
    }
    return names;
  }

  Status check_field(const std::string& key, const Json& field, const std::string& where) {
    if (std::find(kSupervisorFields.begin(), kSupervisorFields.end(), key) ==
        kSupervisorFields.end()) {
      warn(where, "is dropped by the balena supervisor");
    } else if (key == "volumes") {
      return check_volumes(field, where);
    } else if (key == "networks" && field.is_object()) {
      for (const auto& [network, options] : field.items()) {
        used_networks_.emplace(network, where);
      }
    } else if (key == "networks" && field.is_array()) {
      for (const Json& network : field) {
        if (!network.is_string()) {
          return invalid(where, "must hold names");
        }
        used_networks_.emplace(network.get<std::string>(), where);
      }
    } else if (key == "network_mode" && field.is_string() &&
               field.get<std::string>().starts_with("container:")) {
      warn(where, "names a container; the supervisor ignores that");
    } else if (key == "restart" && field.is_string() &&
               field.get<std::string>().starts_with("on-failure:")) {
      warn(where, "has a retry count; the supervisor then restarts the service always");
    }
    return base::ok();
  }

  Status check_volumes(const Json& volumes, const std::string& where) {
    if (!volumes.is_array() && !volumes.is_null()) {
      return invalid(where, "must be a list");
    }
    for (const Json& entry : volumes) {
      std::string source;
      bool named = false;
      if (entry.is_string()) {
        const auto text = entry.get<std::string>();
        const std::size_t colon = text.find(':');
        source = text.substr(0, colon);
        named = colon != std::string::npos;
      } else if (entry.is_object()) {
        const auto type = entry.find("type");
        const auto name = entry.find("source");
        if (name != entry.end() && name->is_string()) {
          source = name->get<std::string>();
        }
        if (type != entry.end() && *type == "bind") {
          warn(where, "binds a directory of the host (" + base::printable(source) +
                          "); the supervisor drops that");
          continue;
        }
        named = !source.empty() && type != entry.end() && *type == "volume";
      } else {
        return invalid(where, "must hold text or maps");
      }
      if (!named) {
        warn(where, "has an entry without a named volume (" + base::printable(source) +
                        "); the supervisor keeps no data there");
      } else if (source.starts_with('/') || source.starts_with('.') || source.starts_with('~')) {
        warn(where, "binds a directory of the host (" + base::printable(source) +
                        "); the supervisor drops that: use a named volume, or one of balena's "
                        "io.balena.features labels");
      } else {
        used_volumes_.emplace(source, where);
      }
    }
    return base::ok();
  }

  Result<std::string> definitions(const Json& file, const std::string& key,
                                  std::set<std::string>& declared) {
    Json result = Json::object();
    const auto found = file.find(key);
    if (found == file.end() || found->is_null()) {
      return std::string("{}");
    }
    if (!found->is_object()) {
      return invalid(key, "must be a map");
    }
    for (const auto& [name, value] : found->items()) {
      const std::string where = key + "." + name;
      if (!is_service_name(name)) {
        return invalid(where, "is not a usable name: letters, digits, '.', '_' and '-'");
      }
      if (!value.is_object() && !value.is_null()) {
        return invalid(where, "must be a map");
      }
      Json definition = Json::object();
      for (const auto& [field, content] : value.items()) {
        if (field == "external" || field == "name") {
          warn(where + "." + field, "is dropped by the balena supervisor");
        }
        if (field == "labels") {
          OU_TRY(definition[field], text_map(content, where + ".labels", false));
        } else if (!field.starts_with("x-")) {
          definition[field] = content;
        }
      }
      declared.insert(name);
      result[name] = std::move(definition);
    }
    return base::to_canonical(result);
  }

  ReleaseDraft draft_;
  std::map<std::string, std::string> used_volumes_;  // name: where it is used first
  std::map<std::string, std::string> used_networks_;
  std::map<std::string, std::string> used_services_;
  std::set<std::string> declared_volumes_;
  std::set<std::string> declared_networks_;
};

}  // namespace

Result<ReleaseDraft> parse_compose(std::string_view yaml) {
  OU_TRY(const Json file, parse_yaml(yaml));
  return ComposeReader().read(file);
}

}  // namespace tool

#include "target_state.hpp"

#include <algorithm>

#include "base/json.hpp"
#include "base/printable.hpp"
#include "bundle/limits.hpp"
#include "names.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::Result;
using base::Status;
using TextMap = std::map<std::string, std::string>;

Error invalid(const std::string& where, const std::string& what) {
  return {ErrorCode::kTargetStateInvalid, base::printable(where, 300) + " " + what};
}

/// Reads the optional parts of one object, and remembers what was asked for.
class Reader {
 public:
  Reader(const Json& value, std::string where) : value_(value), where_(std::move(where)) {}

  const Json* find(const std::string& key) {
    seen_.insert(key);
    const auto found = value_.find(key);
    return found == value_.end() || found->is_null() ? nullptr : &*found;
  }

  Result<std::string> text(const std::string& key) {
    const Json* found = find(key);
    if (found == nullptr) {
      return std::string();
    }
    if (!found->is_string() ||
        found->get_ref<const std::string&>().size() > bundle::kMaxNameBytes) {
      return invalid(path(key), "must be text of at most 255 bytes");
    }
    return found->get<std::string>();
  }

  /// A number, or one written as text, as the supervisor takes both.
  Result<std::optional<std::uint64_t>> id(const std::string& key) {
    const Json* found = find(key);
    if (found == nullptr) {
      return std::optional<std::uint64_t>();
    }
    if (found->is_number_integer() && *found >= 0 && *found <= INT64_MAX) {
      return std::optional(found->get<std::uint64_t>());
    }
    if (found->is_string()) {
      const auto& digits = found->get_ref<const std::string&>();
      if (!digits.empty() && digits.size() <= 18 &&
          digits.find_first_not_of("0123456789") == std::string::npos) {
        return std::optional<std::uint64_t>(std::stoull(digits));
      }
    }
    return invalid(path(key), "must be a whole number");
  }

  Result<TextMap> texts(const std::string& key) {
    TextMap result;
    const Json* found = find(key);
    if (found == nullptr) {
      return result;
    }
    if (!found->is_object()) {
      return invalid(path(key), "must be an object");
    }
    for (const auto& [name, text] : found->items()) {
      if (!text.is_string()) {
        return invalid(path(key) + "." + name, "must be text: put it in quotes");
      }
      result.emplace(name, text.get<std::string>());
    }
    return result;
  }

  Result<std::string> object(const std::string& key) {
    const Json* found = find(key);
    if (found == nullptr) {
      return std::string("{}");
    }
    if (!found->is_object()) {
      return invalid(path(key), "must be an object");
    }
    return base::to_canonical(*found);
  }

  void report_unknown(std::vector<std::string>& warnings) const {
    for (const auto& [key, value] : value_.items()) {
      if (seen_.count(key) == 0) {
        warnings.push_back(base::printable(path(key), 300) + " is not known and left out");
      }
    }
  }

  [[nodiscard]] std::string path(const std::string& key) const { return where_ + "." + key; }

 private:
  const Json& value_;
  std::string where_;
  std::set<std::string> seen_;
};

Result<ServiceDraft> read_service(const std::string& name, const Json& value,
                                  const std::string& where, std::vector<std::string>& warnings) {
  if (!is_service_name(name) || !value.is_object()) {
    return invalid(where, "must be an object under a plain service name");
  }
  Reader reader(value, where);
  ServiceDraft draft;
  draft.name = name;
  OU_TRY(draft.id, reader.id("id"));
  OU_TRY(draft.image_id, reader.id("image_id"));
  OU_TRY(draft.image_reference, reader.text("image"));
  OU_TRY(draft.environment, reader.texts("environment"));
  OU_TRY(draft.labels, reader.texts("labels"));
  OU_TRY(draft.composition_json, reader.object("composition"));
  if (const Json* running = reader.find("running")) {
    if (!running->is_boolean()) {
      return invalid(where + ".running", "must be true or false");
    }
    draft.running = running->get<bool>();
  }
  if (reader.find("contract") != nullptr) {
    OU_TRY(draft.contract_json, reader.object("contract"));
  }
  for (const auto& [variable, text] : draft.environment) {
    if (!is_variable_name(variable)) {
      return invalid(where + ".environment." + variable, "is no name that the supervisor takes");
    }
  }
  reader.report_unknown(warnings);
  return draft;
}

Result<ReleaseDraft> read_app(const std::string& uuid, const Json& app,
                              std::vector<std::string> warnings) {
  const std::string where = "apps." + uuid;
  ReleaseDraft draft;
  draft.warnings = std::move(warnings);
  draft.fleet_uuid = uuid;
  Reader app_reader(app, where);
  OU_TRY(draft.app_id, app_reader.id("id"));
  OU_TRY(draft.app_name, app_reader.text("name"));
  for (const char* known : {"class", "is_host", "parent_app"}) {
    static_cast<void>(app_reader.find(known));
  }
  const Json* releases = app_reader.find("releases");
  app_reader.report_unknown(draft.warnings);
  if (releases == nullptr || !releases->is_object() || releases->size() != 1) {
    return invalid(where + ".releases", "must be an object with exactly one release");
  }
  draft.commit = releases->begin().key();
  const std::string release_where = where + ".releases." + draft.commit;
  if (!is_commit(draft.commit)) {
    return invalid(release_where, "must be named by a commit: 32 or 40 hexadecimal digits");
  }
  if (!releases->begin()->is_object()) {
    return invalid(release_where, "must be an object");
  }
  Reader reader(*releases->begin(), release_where);
  OU_TRY(draft.id, reader.id("id"));
  OU_TRY(draft.volumes_json, reader.object("volumes"));
  OU_TRY(draft.networks_json, reader.object("networks"));
  const Json* services = reader.find("services");
  reader.report_unknown(draft.warnings);
  if (services == nullptr || !services->is_object() || services->empty()) {
    return invalid(release_where + ".services", "must be an object with at least one service");
  }
  for (const auto& [name, value] : services->items()) {
    OU_TRY(ServiceDraft service,
           read_service(name, value, release_where + ".services." + name, draft.warnings));
    draft.services.push_back(std::move(service));
  }
  return draft;
}

bool is_fleet_app(const Json& app) {
  return app.value("class", Json("fleet")) == "fleet" && app.value("is_host", Json(false)) != true;
}

/// The object of apps, whichever of the two forms `state` has.
struct Holder {
  const Json* apps;
  std::string config_json = "{}";
  bool pin = false;
};

Result<Holder> find_apps(const Json& state) {
  if (state.is_array()) {
    return Error(ErrorCode::kTargetStateInvalid,
                 "an apps.json in v1 form (a list): only the v3 form of supervisor 13 and later is "
                 "supported");
  }
  const Json* holder = &state;
  if (state.is_object() && !state.contains("apps") && state.size() == 1 &&
      state.begin()->is_object()) {
    holder = &*state.begin();
  }
  if (!holder->is_object() || !holder->contains("apps") || !(*holder)["apps"].is_object()) {
    return Error(ErrorCode::kTargetStateInvalid,
                 "has no object \"apps\": neither an apps.json nor a fleet's target state");
  }
  Holder found{.apps = &(*holder)["apps"]};
  if (const auto config = holder->find("config"); config != holder->end() && !config->is_null()) {
    if (!config->is_object()) {
      return invalid("config", "must be an object");
    }
    found.config_json = base::to_canonical(*config);
  }
  found.pin = holder->value("pinDevice", Json(false)) == true;
  return found;
}

}  // namespace

Result<ReleaseDraft> parse_target_state(std::string_view json, const std::string& fleet_uuid) {
  auto parsed = base::parse_json(json, {.max_bytes = kMaxTargetStateBytes});
  if (!parsed) {
    return std::move(parsed).error().as(ErrorCode::kTargetStateInvalid);
  }
  std::vector<std::string> warnings;
  OU_TRY(const Holder holder, find_apps(*parsed));
  const Json* apps = holder.apps;
  std::vector<std::string> fleets;
  for (const auto& [uuid, app] : apps->items()) {
    if (!app.is_object()) {
      return invalid("apps." + uuid, "must be an object");
    }
    if (!uuid.empty() && uuid.find_first_not_of("0123456789") == std::string::npos &&
        uuid.size() < 20) {
      return Error(
          ErrorCode::kTargetStateInvalid,
          "an apps.json in v2 form (apps under numbers): only the v3 form of supervisor 13 "
          "and later is supported");
    }
    if (fleet_uuid.empty() ? is_fleet_app(app) : uuid == fleet_uuid) {
      fleets.push_back(uuid);
    } else {
      warnings.push_back("the app " + base::printable(uuid) + " is left out: not this fleet's");
    }
  }
  if (fleets.size() != 1) {
    return Error(ErrorCode::kTargetStateInvalid,
                 fleet_uuid.empty() ? "has " + std::to_string(fleets.size()) +
                                          " fleet apps: say which with --fleet-uuid"
                                    : "has no app " + base::printable(fleet_uuid) +
                                          ": does --fleet-uuid name the right fleet?");
  }
  OU_TRY(ReleaseDraft draft,
         read_app(fleets.front(), (*apps)[fleets.front()], std::move(warnings)));
  draft.config_json = holder.config_json;
  draft.pin = holder.pin;
  return draft;
}

}  // namespace tool

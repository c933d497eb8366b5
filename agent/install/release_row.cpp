#include "install/release_row.hpp"

#include <algorithm>
#include <map>

#include "base/json.hpp"

namespace agent::install {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;

constexpr std::size_t kMaxColumnBytes = std::size_t{8} * 1024 * 1024;
// Above every id that the cloud has given out, and exact as a JavaScript number.
constexpr std::uint64_t kFirstOwnId = std::uint64_t{1} << 40U;

base::Result<Json> parse_column(const std::string& text, const std::string& column) {
  base::JsonLimits limits{.max_bytes = kMaxColumnBytes};
  limits.max_string_bytes = kMaxColumnBytes;
  auto json = base::parse_json(text, limits);
  if (!json) {
    return std::move(json).error().within("column " + column).as(ErrorCode::kSupervisorState);
  }
  return json;
}

/// Hands out ids above all that are in use.
class NewIds {
 public:
  void used(std::uint64_t id) { next_ = std::max(next_, id + 1); }
  std::uint64_t take() { return next_++; }

 private:
  std::uint64_t next_ = kFirstOwnId;
};

std::string digest_of(const std::string& reference) {
  const auto at = reference.find('@');
  return at == std::string::npos ? reference : reference.substr(at);
}

Json service_json(const bundle::Service& service, const AppRow& row, std::uint64_t image_id,
                  std::uint64_t service_id) {
  Json json{{"image", service.image_reference},
            {"running", service.running},
            {"environment", service.environment},
            {"labels", service.labels},
            {"composition", Json::parse(service.composition_json, nullptr, false)},
            {"appId", row.app_id},
            {"appUuid", row.uuid},
            {"releaseId", row.release_id},
            {"commit", row.commit},
            {"imageId", image_id},
            {"serviceId", service_id},
            {"serviceName", service.name}};
  if (service.contract_json) {
    json["contract"] = Json::parse(*service.contract_json, nullptr, false);
  }
  return json;
}

/// A volume that both releases name has to be defined the same: the supervisor deletes the other.
base::Status check_volumes(const AppRow& present, const std::string& wanted_json) {
  OU_TRY(const auto old_volumes, parse_column(present.volumes_json, "volumes"));
  OU_TRY(const auto new_volumes, parse_column(wanted_json, "volumes"));
  const auto normal = [](const Json& definition) {
    return base::to_canonical(definition.is_null() ? Json::object() : definition);
  };
  for (const auto& [name, definition] : new_volumes.items()) {
    const auto old_definition = old_volumes.find(name);
    if (old_definition != old_volumes.end() && normal(*old_definition) != normal(definition)) {
      return Error(ErrorCode::kVolumeDefinition,
                   "volume " + name +
                       " is defined differently in the bundle: the supervisor would delete it with "
                       "its data; keep its definition, or give the new one another name");
    }
  }
  return base::ok();
}

}  // namespace

base::Result<std::vector<RowService>> read_services(const AppRow& row) {
  OU_TRY(const auto json, parse_column(row.services_json, "services"));
  if (!json.is_array()) {
    return Error(ErrorCode::kSupervisorState, "column services is no array");
  }
  std::vector<RowService> services;
  for (const auto& value : json) {
    base::JsonObject object(value, "services");
    RowService service;
    service.name = object.text("serviceName");
    service.image = object.text("image", 4096);
    service.service_id = object.number("serviceId");
    service.image_id = object.number("imageId");
    service.running = object.optional_boolean("running").value_or(true);
    if (auto status = object.finish_open(); !status) {
      return std::move(status).error().as(ErrorCode::kSupervisorState);
    }
    services.push_back(std::move(service));
  }
  return services;
}

std::set<std::string> stopped_services(const AppRow& row) {
  std::set<std::string> names;
  if (const auto services = read_services(row)) {
    for (const auto& service : *services) {
      if (!service.running) {
        names.insert(service.name);
      }
    }
  }
  return names;
}

std::string pin_value(const AppRow& row) {
  return base::to_canonical({{"app", row.app_id}, {"commit", row.commit}});
}

base::Result<AppRow> make_row(const bundle::Release& release, const AppRow& present,
                              const std::vector<AppRow>& all_rows) {
  OU_CHECK(check_volumes(present, release.volumes_json));
  NewIds ids;
  std::map<std::string, RowService> before;
  for (const auto& row : all_rows) {
    ids.used(row.release_id);
    OU_TRY(const auto services, read_services(row));
    for (const auto& service : services) {
      ids.used(service.service_id);
      ids.used(service.image_id);
      if (row.uuid == present.uuid) {
        before.emplace(service.name, service);
      }
    }
  }
  AppRow row = present;
  row.commit = release.commit;
  row.release_id = release.id                         ? *release.id
                   : release.commit == present.commit ? present.release_id
                                                      : ids.take();
  auto services = Json::array();
  for (const auto& service : release.services) {
    const auto known = before.find(service.name);
    const bool same_image = known != before.end() &&
                            digest_of(known->second.image) == digest_of(service.image_reference);
    const auto service_id = service.id              ? *service.id
                            : known != before.end() ? known->second.service_id
                                                    : ids.take();
    const auto image_id = service.image_id ? *service.image_id
                          : same_image     ? known->second.image_id
                                           : ids.take();
    services.push_back(service_json(service, row, image_id, service_id));
  }
  row.services_json = base::to_canonical(services);
  row.volumes_json = release.volumes_json;
  row.networks_json = release.networks_json;
  return row;
}

}  // namespace agent::install

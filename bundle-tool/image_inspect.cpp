#include "image_inspect.hpp"

#include <cstdlib>

#include "base/json.hpp"
#include "disk_images.hpp"
#include "image_inspect_boot.hpp"
#include "image_inspect_text.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::Result;
using image::PartRole;
namespace fs = std::filesystem;

fs::path scratch_of(const ImageInspectOptions& options) {
  if (!options.scratch.empty()) {
    return options.scratch;
  }
  const char* directory = std::getenv("TMPDIR");
  return directory != nullptr && *directory != '\0' ? directory : "/var/tmp";
}

std::string_view name_of(PartRole role) {
  switch (role) {
    case PartRole::kBoot:
      return "boot";
    case PartRole::kRootA:
      return "rootA";
    case PartRole::kRootB:
      return "rootB";
    case PartRole::kState:
      return "state";
    case PartRole::kData:
      return "data";
    case PartRole::kEfi:
      return "efi";
    case PartRole::kOther:
      return "other";
  }
  return "other";
}

std::string value_of(const std::map<std::string, std::string>& values, const std::string& key) {
  const auto found = values.find(key);
  return found == values.end() ? "" : found->second;
}

class Inspection {
 public:
  Inspection(const image::OsContent& content, fs::path scratch)
      : content_(content), scratch_(std::move(scratch)) {}

  Json facts() {
    const image::OsImage& medium = content_.medium();
    json_["compression"] = image::name_of(medium.file().compression());
    json_["size_bytes"] = medium.file().whole().size_bytes();
    json_["table"] = medium.table().kind == image::TableKind::kGpt ? "gpt" : "mbr";
    json_["flasher"] = medium.flasher();
    json_["partitions"] = partitions(medium);
    add_boot();
    add_inner();
    add_slots();
    add_host();
    add_data();
    json_["problems"] = problems_;
    return std::move(json_);
  }

 private:
  void problem(const std::string& where, const Error& error) {
    problems_.push_back(where + ": " + error.message());
  }

  /// \return nothing when it is no file system whose room can be told
  Result<std::optional<std::uint64_t>> free_bytes(const image::OsImage& image,
                                                  const image::Part& part) {
    OU_TRY(const image::BlockRange range,
           image.file().whole().part(part.partition.offset_bytes, part.partition.size_bytes));
    if (part.file_system.starts_with("ext")) {
      OU_TRY(const auto files,
             image::ExtFileSystem::open(range, image::ExtFileSystem::Access::kRead));
      return std::optional(files.free().bytes);
    }
    if (part.file_system == "vfat" && part.role == PartRole::kBoot) {
      OU_TRY(InspectedBoot boot, inspect_boot(range, scratch_));
      const std::uint64_t bytes = boot.free_bytes;
      if (&image == &content_.medium()) {
        boot_ = std::move(boot);
      }
      return std::optional(bytes);
    }
    return std::optional<std::uint64_t>();
  }

  Json partitions(const image::OsImage& image) {
    Json list = Json::array();
    for (const image::Part& part : image.parts()) {
      Json json = {{"number", part.partition.number},
                   {"name", part.partition.name},
                   {"label", part.label},
                   {"role", name_of(part.role)},
                   {"file_system", part.file_system},
                   {"offset_bytes", part.partition.offset_bytes},
                   {"size_bytes", part.partition.size_bytes}};
      if (part.partition.extended) {
        json["extended"] = true;
      } else if (const auto free = free_bytes(image, part); !free) {
        json["problem"] = free.error().message();
      } else if (*free) {
        json["free_bytes"] = **free;
      }
      list.push_back(std::move(json));
    }
    return list;
  }

  void add_boot() {
    if (!boot_) {
      problems_.emplace_back("the boot partition cannot be read: whether it is configured is open");
      return;
    }
    Json settings = Json::object();
    for (const auto& [key, value] : boot_->settings) {
      settings[key] = Json::parse(value);
    }
    const char* state = boot_->application_id.empty() ? "none"
                        : boot_->device_uuid.empty()  ? "fleet"
                                                      : "device";
    json_["device_type"] = boot_->device_type;
    json_["config"] = {{"state", state},
                       {"application_id", boot_->application_id},
                       {"device_uuid", boot_->device_uuid},
                       {"settings", std::move(settings)},
                       {"hidden_keys", boot_->hidden_keys}};
    json_["network_profiles"] = boot_->profiles;
    problems_.insert(problems_.end(), boot_->problems.begin(), boot_->problems.end());
  }

  void add_inner() {
    if (!content_.medium().flasher()) {
      return;
    }
    const auto& inner = content_.inner();
    if (!inner) {
      problem("the flasher's image", inner.error());
      return;
    }
    const auto system = content_.system();
    const bool encrypted = !system && system.error().code() == ErrorCode::kDiskImageUnsupported;
    json_["inner"] = {{"path", inner->path},
                      {"size_bytes", inner->size_bytes},
                      {"signed", inner->signed_for_secure_boot},
                      {"encrypted", encrypted}};
    if (system) {
      json_["inner"]["partitions"] = partitions(**system);
    } else if (!encrypted) {
      problem("the flasher's image", system.error());
    }
  }

  void add_slots() {
    json_["slots"] = Json::object();
    const auto system = content_.system();
    if (!system) {
      return;
    }
    for (const auto& [role, slot] : {std::pair(PartRole::kRootA, "A"), {PartRole::kRootB, "B"}}) {
      if (const auto part = (*system)->part_of(role)) {
        json_["slots"][slot] = part->partition.size_bytes;
      }
    }
  }

  void add_host() {
    if (!content_.system()) {
      return;
    }
    const auto hostapp = content_.hostapp();
    if (!hostapp) {
      problem("host OS", hostapp.error());
      return;
    }
    if (!hostapp->device_type.empty()) {
      json_["device_type"] = hostapp->device_type;
    }
    const std::string variant = value_of(hostapp->os_release, "VARIANT");
    json_["os"] = {
        {"version", value_of(hostapp->os_release, "VERSION")},
        {"meta_version", value_of(hostapp->os_release, "META_BALENA_VERSION")},
        {"variant", variant.empty() ? value_of(hostapp->os_release, "VARIANT_ID") : variant},
        {"slot", hostapp->slot == PartRole::kRootA ? "A" : "B"},
        {"image_id", hostapp->image.image.id.text()},
        {"references", hostapp->image.image.references},
        {"size_bytes", hostapp->image.image.size_bytes}};
    add_supervisor(*hostapp);
  }

  void add_supervisor(const image::FoundHostapp& hostapp) {
    json_["supervisor"] = {{"name", hostapp.supervisor_name},
                           {"version", hostapp.supervisor_version}};
    const auto supervisor = content_.supervisor(hostapp);
    if (!supervisor) {
      problem("supervisor", supervisor.error());
      return;
    }
    json_["supervisor"] = {{"name", supervisor->name},
                           {"version", supervisor->version},
                           {"image_id", supervisor->image.image.id.text()},
                           {"size_bytes", supervisor->image.image.size_bytes}};
  }

  void add_data() {
    if (!content_.system()) {
      return;
    }
    if (const auto store = content_.data_store(); !store) {
      problem("images", store.error());
    } else {
      json_["storage_driver"] = "overlay2";
      json_["images"] = Json::array();
      for (const image::StoredImage& image : (*store)->images()) {
        json_["images"].push_back({{"image_id", image.id.text()},
                                   {"references", image.references},
                                   {"size_bytes", image.size_bytes}});
      }
      const auto& broken = (*store)->problems();
      problems_.insert(problems_.end(), broken.begin(), broken.end());
    }
    add_release();
  }

  void add_release() {
    const auto release = read_preloaded_release(content_);
    if (!release && release.error().code() != ErrorCode::kNotFound) {
      problem("release", release.error());
      return;
    }
    json_["preloaded"] = release.has_value();
    if (!release) {
      return;
    }
    Json services = Json::object();
    for (const ServiceDraft& service : release->services) {
      Json& json = services[service.name] = {{"reference", service.image_reference}};
      if (const auto found = content_.service_image(service.image_reference)) {
        json["image_id"] = found->image.id.text();
        json["size_bytes"] = found->image.size_bytes;
      }
    }
    json_["release"] = {{"fleet_uuid", release->fleet_uuid},
                        {"app_name", release->app_name},
                        {"commit", release->commit},
                        {"pin_device", pins_devices()},
                        {"services", std::move(services)}};
  }

  bool pins_devices() {
    const auto apps = content_.apps_json();
    const auto json = apps && *apps
                          ? base::parse_json(**apps, {.max_bytes = image::kMaxAppsJsonBytes})
                          : Result<Json>(Json());
    return json && json->is_object() && json->value("pinDevice", Json(false)) == true;
  }

  const image::OsContent& content_;
  fs::path scratch_;
  std::optional<InspectedBoot> boot_;
  Json json_ = Json::object();
  std::vector<std::string> problems_;
};

}  // namespace

Result<Outcome> image_inspect(const ImageInspectOptions& options, Console& console) {
  const std::string shown = options.image.string();
  const fs::path scratch = scratch_of(options);
  OU_TRY(const image::OsContent content,
         image::OsContent::open(options.image, scratch, console).within(shown));
  Json facts = Inspection(content, scratch).facts();
  console.finish();
  facts["image"] = shown;
  Outcome outcome;
  outcome.json = base::to_canonical(facts);
  outcome.text = describe_image(outcome.json);
  return outcome;
}

}  // namespace tool

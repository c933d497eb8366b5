#include "image/os_content.hpp"

#include <algorithm>

#include "base/json.hpp"
#include "base/printable.hpp"
#include "image/merged_files.hpp"

namespace image {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::Result;

constexpr std::uint64_t kMaxSettingsBytes = 64 * 1024;
constexpr std::uint64_t kMaxContainerBytes = 4 * 1024 * 1024;
constexpr std::string_view kSlotRoot = "balena";
constexpr std::string_view kDataRoot = "docker";

Error damaged(const std::string& what) {
  return {ErrorCode::kDiskImage, what};
}

/// The image that the container of `current` was made from; nothing when that cannot be told.
/// \source balenaos.md section 2; moby container/container.go (config.v2.json, "Image")
Result<std::optional<oci::Digest>> current_image(const ExtFileSystem& files) {
  OU_TRY(const auto link, files.find("current"));
  if (!link || link->kind != NodeKind::kSymlink) {
    return std::optional<oci::Digest>();
  }
  OU_TRY(const std::string target, files.read_link(*link));
  const std::string container = target.substr(target.rfind('/') + 1);
  if (container.empty() || container == "..") {
    return std::optional<oci::Digest>();
  }
  auto text = files.read_file(
      std::string(kSlotRoot) + "/containers/" + container + "/config.v2.json", kMaxContainerBytes);
  if (!text) {
    return std::optional<oci::Digest>();  // the only image of the store will do
  }
  const auto json = base::parse_json(*text, {.max_bytes = kMaxContainerBytes});
  const auto image = json && json->is_object() ? json->find("Image") : Json::const_iterator();
  if (!json || !json->is_object() || image == json->end() || !image->is_string()) {
    return std::optional<oci::Digest>();
  }
  const auto id = oci::Digest::parse(image->get_ref<const std::string&>());
  return id ? std::optional(*id) : std::nullopt;
}

Result<const StoredImage*> choose_hostapp(const EngineStore& store) {
  OU_TRY(const auto current, current_image(store.files()));
  if (current) {
    if (const StoredImage* image = store.find(current->text())) {
      return image;
    }
  }
  if (store.images().size() == 1) {
    return &store.images().front();
  }
  const std::string problem = store.problems().empty() ? "" : " (" + store.problems().front() + ")";
  return damaged(store.images().empty()
                     ? "the slot holds no host OS" + problem
                     : "the slot holds several images, and \"current\" names none of them");
}

std::string value_of(const std::map<std::string, std::string>& settings, const std::string& key) {
  const auto found = settings.find(key);
  return found == settings.end() ? "" : found->second;
}

Result<std::map<std::string, std::string>> read_settings(const FoundImage& hostapp,
                                                         const std::string& path) {
  OU_TRY(const auto text,
         read_merged_file(*hostapp.store, hostapp.image, path, kMaxSettingsBytes).within(path));
  return parse_settings(text.value_or(""));
}

/// SLUG of os-release, else what the copy of the boot partition says.
Result<std::string> device_type_of(const FoundHostapp& hostapp) {
  std::string slug = value_of(hostapp.os_release, "SLUG");
  if (!slug.empty()) {
    return slug;
  }
  OU_TRY(const auto text, read_merged_file(*hostapp.image.store, hostapp.image.image,
                                           "resin-boot/device-type.json", kMaxSettingsBytes));
  const auto json = base::parse_json(text.value_or(""), {.max_bytes = kMaxSettingsBytes});
  if (json && json->is_object() && json->contains("slug") && (*json)["slug"].is_string()) {
    slug = (*json)["slug"].get<std::string>();
  }
  return slug;
}

std::string without_v(std::string version) {
  if (version.starts_with('v')) {
    version.erase(0, 1);
  }
  return version;
}

/// How the factory's tools tag a supervisor beside its name in the registry.
/// \source balenaos.md section 8; balena-preload:src/preload.py (get_image_info)
bool is_supervisor_tag(const std::string& reference) {
  const std::string repository = repository_of(reference);
  return repository == "balena_supervisor" || repository.ends_with("-supervisor");
}

}  // namespace

Result<OsContent> OsContent::open(const std::filesystem::path& path,
                                  const std::filesystem::path& scratch,
                                  base::ProgressSink& progress) {
  OU_TRY(ImageFile file, ImageFile::open(path, scratch, progress));
  OU_TRY(OsImage medium, OsImage::open(std::move(file)));
  OsContent content(std::move(medium));
  if (content.medium_->flasher()) {
    content.inner_ = find_inner_image(*content.medium_);
    if (*content.inner_) {
      content.installed_ = open_inner_image(*content.medium_, **content.inner_, scratch, progress);
    }
  }
  return content;
}

Result<const OsImage*> OsContent::system() const {
  if (!medium_->flasher()) {
    return medium_.get();
  }
  if (!*inner_) {
    return inner_->error();
  }
  if (!*installed_) {
    return installed_->error();
  }
  return &**installed_;
}

Result<std::shared_ptr<const ExtFileSystem>> OsContent::file_system(PartRole role) const {
  if (const auto known = file_systems_.find(role); known != file_systems_.end()) {
    return known->second;
  }
  OU_TRY(const OsImage* image, system());
  OU_TRY(const BlockRange range, image->range_of(role));
  OU_TRY(ExtFileSystem files, ExtFileSystem::open(range, ExtFileSystem::Access::kRead));
  return file_systems_.emplace(role, std::make_shared<const ExtFileSystem>(std::move(files)))
      .first->second;
}

Result<std::shared_ptr<const EngineStore>> OsContent::data_store() const {
  if (!data_store_) {
    OU_TRY(const auto files, file_system(PartRole::kData).within("data partition"));
    OU_TRY(EngineStore store,
           EngineStore::open(files, std::string(kDataRoot)).within("data partition"));
    data_store_ = std::make_shared<const EngineStore>(std::move(store));
  }
  return data_store_;
}

Result<FoundHostapp> OsContent::hostapp_in(PartRole slot) const {
  OU_TRY(const auto files, file_system(slot));
  OU_TRY(EngineStore opened, EngineStore::open(files, std::string(kSlotRoot)));
  auto store = std::make_shared<const EngineStore>(std::move(opened));
  OU_TRY(const StoredImage* image, choose_hostapp(*store));
  FoundHostapp hostapp{{std::move(store), *image}, slot, {}, {}, {}, {}};
  OU_TRY(hostapp.os_release, read_settings(hostapp.image, "etc/os-release"));
  OU_TRY(const auto conf, read_settings(hostapp.image, "etc/balena-supervisor/supervisor.conf"));
  OU_TRY(hostapp.device_type, device_type_of(hostapp));
  hostapp.supervisor_name = repository_of(value_of(conf, "SUPERVISOR_IMAGE"));
  const std::string version = value_of(conf, "SUPERVISOR_VERSION");
  hostapp.supervisor_version =
      without_v(version.empty() ? value_of(conf, "SUPERVISOR_TAG") : version);
  return hostapp;
}

Result<FoundHostapp> OsContent::hostapp() const {
  auto first = hostapp_in(PartRole::kRootA);
  if (first) {
    return first;
  }
  OU_CHECK(system());  // its error says more than that of a partition
  if (auto second = hostapp_in(PartRole::kRootB)) {
    return second;
  }
  return std::move(first).error().within("host OS in slot A");
}

Result<FoundSupervisor> OsContent::supervisor(const FoundHostapp& hostapp) const {
  OU_TRY(const auto store, data_store());
  const StoredImage* found =
      hostapp.supervisor_name.empty() ? nullptr : store->find(hostapp.supervisor_name);
  if (found == nullptr) {
    for (const StoredImage& image : store->images()) {
      if (std::ranges::any_of(image.references, is_supervisor_tag)) {
        found = &image;
        break;
      }
    }
  }
  if (found == nullptr) {
    return damaged("the data partition holds no supervisor" +
                   (hostapp.supervisor_name.empty()
                        ? std::string()
                        : " under the name " + base::printable(hostapp.supervisor_name)));
  }
  FoundSupervisor supervisor{{store, *found}, hostapp.supervisor_name, hostapp.supervisor_version};
  for (const std::string& reference : found->references) {
    const bool tag = is_supervisor_tag(reference);
    const std::size_t colon = reference.rfind(':');
    if (tag && supervisor.version.empty() && reference.find('@') == std::string::npos &&
        colon != std::string::npos) {
      supervisor.version = without_v(reference.substr(colon + 1));
    }
    if (!tag && supervisor.name.empty()) {
      supervisor.name = repository_of(reference);
    }
  }
  return supervisor;
}

Result<std::optional<std::string>> OsContent::apps_json() const {
  OU_TRY(const auto files, file_system(PartRole::kData).within("data partition"));
  auto text = files->read_file("apps.json", kMaxAppsJsonBytes);
  if (!text && text.error().code() == ErrorCode::kNotFound) {
    return std::optional<std::string>();
  }
  OU_TRY(std::string json, std::move(text));
  const std::size_t first = json.find_first_not_of(" \t\r\n");
  const bool empty = first == std::string::npos ||
                     (json[first] == '{' &&
                      json.find_first_not_of(" \t\r\n", first + 1) == json.find('}', first + 1));
  return empty ? std::optional<std::string>() : std::optional(std::move(json));
}

Result<FoundImage> OsContent::service_image(const std::string& reference) const {
  OU_TRY(const auto store, data_store());
  const StoredImage* image = store->find(reference);
  if (image == nullptr) {
    std::string what = "the data partition does not hold the image " + base::printable(reference);
    if (!store->problems().empty()) {
      what += " (" + store->problems().front() + ")";
    }
    return damaged(what);
  }
  return FoundImage{store, *image};
}

}  // namespace image

#include "disk_images.hpp"

#include <algorithm>

#include "base/printable.hpp"
#include "target_state.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;

constexpr std::string_view kPrefix = "image:";

Result<image::FoundImage> find_service(const image::OsContent& content, const std::string& name) {
  OU_TRY(const ReleaseDraft release, read_preloaded_release(content));
  std::string names;
  for (const ServiceDraft& service : release.services) {
    if (service.name == name) {
      return content.service_image(service.image_reference);
    }
    names += (names.empty() ? "" : ", ") + service.name;
  }
  return Error(ErrorCode::kNotFound, "the preloaded release has no service \"" +
                                         base::printable(name) + "\"; it has: " + names);
}

Result<image::FoundImage> find_image(const image::OsContent& content, const ImageRole& role) {
  if (role.kind == ImageRole::Kind::kService) {
    return find_service(content, role.service);
  }
  OU_TRY(const image::FoundHostapp hostapp, content.hostapp());
  if (role.kind == ImageRole::Kind::kHostOs) {
    return hostapp.image;
  }
  OU_TRY(image::FoundSupervisor supervisor, content.supervisor(hostapp));
  return std::move(supervisor.image);
}

}  // namespace

Result<const image::OsContent*> DiskImages::open(const std::string& source,
                                                 base::ProgressSink& progress) {
  if (const auto known = opened_.find(source); known != opened_.end()) {
    return &known->second;
  }
  const std::string path = source.substr(kPrefix.size());
  if (path.empty()) {
    return Error(ErrorCode::kSourceUnsupported, "the image file is missing after the prefix");
  }
  OU_TRY(image::OsContent content, image::OsContent::open(path, scratch_, progress));
  return &opened_.emplace(source, std::move(content)).first->second;
}

Result<std::unique_ptr<oci::ImageSource>> DiskImages::open_image(const std::string& source,
                                                                 const ImageRole& role,
                                                                 base::ProgressSink& progress) {
  OU_TRY(const image::OsContent* content, open(source, progress));
  OU_TRY(const image::FoundImage found, find_image(*content, role));
  return found.open();
}

Result<ReleaseDraft> read_preloaded_release(const image::OsContent& content) {
  OU_TRY(const auto apps, content.apps_json());
  if (!apps) {
    return Error(ErrorCode::kNotFound, "the image has not been preloaded: it has no apps.json");
  }
  return parse_target_state(*apps, "").within("apps.json");
}

}  // namespace tool

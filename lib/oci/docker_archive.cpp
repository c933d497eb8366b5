// The archives of `docker save`: old engines (one directory per layer), new ones (an OCI layout
// beside manifest.json), skopeo, buildah and podman.
#include <charconv>
#include <optional>

#include "base/json.hpp"
#include "base/printable.hpp"
#include "oci/stored_image.hpp"

namespace oci {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::JsonObject;

constexpr std::size_t kMaxArchiveImages = 1024;
constexpr std::size_t kMaxReferences = 1024;
constexpr base::JsonLimits kManifestLimits{.max_bytes = kMaxImageDocumentBytes};

struct ArchivedImage {
  std::string config_name;
  std::vector<std::string> references;
  std::vector<std::string> layer_names;
};

// Go writes an empty list as null.
std::vector<std::string> texts_or_null(JsonObject& object, const std::string& key,
                                       std::size_t max_count) {
  return object.value(key, false).is_null() ? std::vector<std::string>()
                                            : object.texts(key, max_count, kMaxMemberNameBytes);
}

base::Result<std::string> read_manifest(const NamedFiles& files) {
  auto text = read_document(files, "manifest.json");
  if (text || text.error().code() != ErrorCode::kNotFound) {
    return text;
  }
  if (files.size_of("index.json")) {
    return Error(ErrorCode::kImageInvalid,
                 "the archive is an OCI image layout; name it oci-archive:FILE");
  }
  return Error(
      ErrorCode::kImageInvalid,
      "the archive has no manifest.json: it was not written by \"docker save\" (an archive "
      "of \"docker export\" is no image)");
}

base::Result<std::vector<ArchivedImage>> parse_manifest(std::string_view text) {
  auto parsed = base::parse_json(text, kManifestLimits);
  if (!parsed) {
    const bool limit = parsed.error().code() == ErrorCode::kLimitExceeded;
    return std::move(parsed).error().as(limit ? ErrorCode::kLimitExceeded
                                              : ErrorCode::kImageInvalid);
  }
  if (!parsed->is_array() || parsed->empty()) {
    return Error(ErrorCode::kImageInvalid, "it must be a list with at least one image");
  }
  if (parsed->size() > kMaxArchiveImages) {
    return Error(ErrorCode::kLimitExceeded, "it lists more than 1024 images");
  }
  std::vector<ArchivedImage> images;
  for (const Json& value : *parsed) {
    JsonObject object(value, "[" + std::to_string(images.size()) + "]");
    ArchivedImage image;
    image.config_name = object.text("Config", kMaxMemberNameBytes);
    image.references = texts_or_null(object, "RepoTags", kMaxReferences);
    image.layer_names = texts_or_null(object, "Layers", kMaxLayers);
    if (auto finished = object.finish_open(); !finished) {
      return std::move(finished).error().as(ErrorCode::kImageInvalid);
    }
    images.push_back(std::move(image));
  }
  return images;
}

std::string list_of(const std::vector<ArchivedImage>& images) {
  std::string list;
  for (std::size_t i = 0; i < images.size(); ++i) {
    list += (i == 0 ? "" : ", ") + ("@" + std::to_string(i));
    for (const auto& reference : images[i].references) {
      list += " " + reference;
    }
  }
  return base::printable(list, 2000);
}

std::optional<std::size_t> find_image(const std::vector<ArchivedImage>& images,
                                      const std::string& reference) {
  if (reference.starts_with('@')) {
    std::size_t number = 0;
    const char* end = reference.data() + reference.size();
    const auto [stop, failed] = std::from_chars(reference.data() + 1, end, number);
    const bool good = failed == std::errc() && stop == end && number < images.size();
    return good ? std::optional(number) : std::nullopt;
  }
  const std::string wanted = familiar_reference(reference);
  for (std::size_t i = 0; i < images.size(); ++i) {
    for (const auto& name : images[i].references) {
      if (familiar_reference(name) == wanted) {
        return i;
      }
    }
  }
  return std::nullopt;
}

base::Result<std::size_t> choose_image(const std::vector<ArchivedImage>& images,
                                       const std::string& reference) {
  if (reference.empty() && images.size() == 1) {
    return std::size_t{0};
  }
  if (reference.empty()) {
    return Error(ErrorCode::kImageInvalid,
                 "the archive holds several images; append :REFERENCE, one of: " + list_of(images));
  }
  if (const auto found = find_image(images, reference)) {
    return *found;
  }
  return Error(ErrorCode::kNotFound, "the archive has no image \"" + base::printable(reference) +
                                         "\"; it holds: " + list_of(images));
}

// All tools name the configuration by its digest: <hex>.json or blobs/sha256/<hex>.
base::Status check_config_name(const std::string& name, const std::string& bytes) {
  const std::size_t slash = name.rfind('/');
  std::string stem = name.substr(slash == std::string::npos ? 0 : slash + 1);
  if (stem.ends_with(".json")) {
    stem.resize(stem.size() - 5);
  }
  const auto named = Digest::parse("sha256:" + stem);
  if (named && *named != Digest::of(base::as_bytes(bytes))) {
    return Error(ErrorCode::kImageInvalid,
                 "the image configuration \"" + base::printable(name) +
                     "\" is not what its name says: the archive is damaged, save it again");
  }
  return base::ok();
}

}  // namespace

base::Result<std::unique_ptr<ImageSource>> open_docker_archive(
    std::shared_ptr<const NamedFiles> files, const std::string& reference) {
  OU_TRY(const std::string text, read_manifest(*files));
  auto parsed = parse_manifest(text).within("manifest.json");
  OU_TRY(std::vector<ArchivedImage> images, std::move(parsed));
  OU_TRY(const std::size_t chosen, choose_image(images, reference));
  ArchivedImage& image = images[chosen];
  OU_TRY(std::string config_bytes, read_document(*files, image.config_name));
  OU_CHECK(check_config_name(image.config_name, config_bytes));
  for (const auto& layer : image.layer_names) {
    if (auto size = files->size_of(layer); !size) {
      return std::move(size).error();
    }
  }
  return make_stored_image(std::move(files), std::move(config_bytes), std::move(image.layer_names));
}

}  // namespace oci

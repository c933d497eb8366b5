// OCI image layouts, in a directory or in a tar: index.json leads to a manifest, over nested
// indexes if need be; every document is checked against the digest that names it.
#include <algorithm>

#include "base/json.hpp"
#include "base/printable.hpp"
#include "oci/platform.hpp"
#include "oci/stored_image.hpp"

namespace oci {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::JsonObject;

constexpr std::size_t kMaxIndexEntries = 4096;
constexpr int kMaxIndexDepth = 4;
constexpr base::JsonLimits kIndexLimits{.max_bytes = kMaxImageDocumentBytes};

struct IndexEntry {
  Descriptor descriptor;
  std::vector<std::string> names;  // as annotations give them
  Platform platform;               // empty when the index does not say
  bool attestation;                // describes another image, is none itself
};

Error as_image_error(Error error) {
  const bool keep = error.code() == ErrorCode::kLimitExceeded;
  return std::move(error).as(keep ? ErrorCode::kLimitExceeded : ErrorCode::kImageInvalid);
}

std::string blob_name(const Digest& digest) {
  return "blobs/sha256/" + digest.hex();
}

bool is_index(const std::string& media_type) {
  return media_type == kOciIndexType ||
         media_type == "application/vnd.docker.distribution.manifest.list.v2+json";
}

base::Result<IndexEntry> parse_entry(const Json& value, const std::string& where) {
  JsonObject object(value, where);
  const std::string media_type = object.text("mediaType");
  const std::string digest_text = object.text("digest");
  const std::uint64_t size_bytes = object.number("size");
  JsonObject annotations(object.object("annotations", false), where + ".annotations");
  JsonObject platform(object.object("platform", false), where + ".platform");
  std::vector<std::string> names;
  for (const char* key : {"org.opencontainers.image.ref.name", "io.containerd.image.name"}) {
    if (auto name = annotations.optional_text(key, 1024)) {
      names.push_back(*std::move(name));
    }
  }
  const bool attestation = annotations.optional_text("vnd.docker.reference.type", 1024).has_value();
  Platform runs_on{platform.optional_text("os").value_or(""),
                   platform.optional_text("architecture").value_or(""),
                   platform.optional_text("variant").value_or("")};
  for (JsonObject* part : {&object, &annotations, &platform}) {
    if (auto finished = part->finish_open(); !finished) {
      return as_image_error(std::move(finished).error());
    }
  }
  OU_TRY(const Digest digest, Digest::parse(digest_text).within(where));
  return IndexEntry{
      {media_type, digest, size_bytes}, std::move(names), std::move(runs_on), attestation};
}

base::Result<std::vector<IndexEntry>> parse_index(std::string_view text) {
  auto parsed = base::parse_json(text, kIndexLimits);
  if (!parsed) {
    return as_image_error(std::move(parsed).error());
  }
  JsonObject object(*parsed, "");
  const Json& values = object.array("manifests");
  if (auto finished = object.finish_open(); !finished) {
    return as_image_error(std::move(finished).error());
  }
  if (values.size() > kMaxIndexEntries) {
    return Error(ErrorCode::kLimitExceeded, "it lists more than 4096 manifests");
  }
  std::vector<IndexEntry> entries;
  for (std::size_t i = 0; i < values.size(); ++i) {
    OU_TRY(IndexEntry entry, parse_entry(values[i], "manifests[" + std::to_string(i) + "]"));
    if (!entry.attestation) {
      entries.push_back(std::move(entry));
    }
  }
  return entries;
}

std::string list_of(const std::vector<IndexEntry>& entries) {
  std::string list;
  for (const auto& entry : entries) {
    std::string shown = entry.names.empty() ? "(no name)" : entry.names.front();
    if (!entry.platform.os.empty()) {
      shown += " (" + to_text(entry.platform) + ")";
    }
    list += (list.empty() ? "" : ", ") + shown;
  }
  return list.empty() ? "nothing" : base::printable(list, 2000);
}

base::Result<std::vector<IndexEntry>> with_tag(std::vector<IndexEntry> entries,
                                               const std::string& tag) {
  if (tag.empty()) {
    return entries;
  }
  std::vector<IndexEntry> found;
  const auto matches = [&tag](const std::string& name) {
    return name == tag || familiar_reference(name) == familiar_reference(tag);
  };
  std::copy_if(entries.begin(), entries.end(), std::back_inserter(found),
               [&](const IndexEntry& entry) {
                 return std::any_of(entry.names.begin(), entry.names.end(), matches);
               });
  if (found.empty()) {
    return Error(ErrorCode::kNotFound, "the layout has no image \"" + base::printable(tag) +
                                           "\"; it holds: " + list_of(entries));
  }
  return found;
}

base::Result<IndexEntry> choose(std::vector<IndexEntry> entries, const Platform& wanted) {
  const std::string list = list_of(entries);
  if (!wanted.os.empty()) {
    std::erase_if(entries, [&wanted](const IndexEntry& entry) {
      return !entry.platform.os.empty() && !runs_on(entry.platform, wanted);
    });
  }
  if (entries.size() == 1) {
    return entries.front();
  }
  if (entries.empty()) {
    return Error(ErrorCode::kNotFound, "there is no image" +
                                           (wanted.os.empty() ? "" : " for " + to_text(wanted)) +
                                           "; there is: " + list);
  }
  return Error(ErrorCode::kImageInvalid,
               "there are several images: " + list +
                   "; choose one by :TAG or by a platform such as linux/arm64");
}

base::Result<std::string> read_checked(const NamedFiles& files, const Descriptor& descriptor) {
  OU_TRY(std::string text, read_document(files, blob_name(descriptor.digest)));
  if (text.size() != descriptor.size_bytes ||
      Digest::of(base::as_bytes(text)) != descriptor.digest) {
    return Error(ErrorCode::kImageInvalid, "blob " + descriptor.digest.text() +
                                               " is not what its name says: the layout is damaged, "
                                               "make it again");
  }
  return text;
}

base::Result<ImageManifest> find_manifest(const NamedFiles& files, IndexEntry entry,
                                          const Platform& wanted) {
  for (int depth = 0; depth < kMaxIndexDepth; ++depth) {
    OU_TRY(const std::string text, read_checked(files, entry.descriptor));
    if (!is_index(entry.descriptor.media_type)) {
      return parse_image_manifest(text);
    }
    OU_TRY(std::vector<IndexEntry> entries,
           parse_index(text).within("index " + entry.descriptor.digest.text()));
    OU_TRY(entry, choose(std::move(entries), wanted));
  }
  return Error(ErrorCode::kLimitExceeded, "indexes are nested deeper than 4 levels");
}

base::Status check_layer(const NamedFiles& files, const Descriptor& layer) {
  auto size_bytes = files.size_of(blob_name(layer.digest));
  const bool foreign = layer.media_type.find("foreign") != std::string::npos ||
                       layer.media_type.find("nondistributable") != std::string::npos;
  if (!size_bytes && foreign) {
    return Error(ErrorCode::kImageInvalid,
                 "layer " + layer.digest.text() +
                     " is a foreign layer that the layout does not contain; such images cannot be "
                     "installed offline");
  }
  if (!size_bytes) {
    return std::move(size_bytes).error().within("layer " + layer.digest.text());
  }
  if (*size_bytes != layer.size_bytes) {
    return Error(ErrorCode::kImageInvalid, "layer " + layer.digest.text() + " has " +
                                               std::to_string(*size_bytes) + " bytes instead of " +
                                               std::to_string(layer.size_bytes) +
                                               ": the layout is damaged, make it again");
  }
  return base::ok();
}

base::Result<std::string> read_index(const NamedFiles& files) {
  auto text =
      files.size_of("oci-layout")
          ? read_document(files, "index.json")
          : base::Result<std::string>(Error(ErrorCode::kNotFound, "there is no oci-layout"));
  if (text || text.error().code() != ErrorCode::kNotFound) {
    return text;
  }
  return Error(ErrorCode::kImageInvalid,
               files.size_of("manifest.json")
                   ? "this is no OCI image layout; an archive of \"docker save\" is named "
                     "docker-archive:FILE"
                   : "this is no OCI image layout: oci-layout or index.json is missing");
}

}  // namespace

base::Result<std::unique_ptr<ImageSource>> open_oci_layout(std::shared_ptr<const NamedFiles> files,
                                                           const std::string& tag,
                                                           const std::string& platform) {
  OU_TRY(const Platform wanted, parse_platform(platform));
  OU_TRY(const std::string text, read_index(*files));
  OU_TRY(std::vector<IndexEntry> all, parse_index(text).within("index.json"));
  OU_TRY(std::vector<IndexEntry> tagged, with_tag(std::move(all), tag));
  OU_TRY(IndexEntry entry, choose(std::move(tagged), wanted));
  OU_TRY(const ImageManifest manifest, find_manifest(*files, std::move(entry), wanted));
  OU_TRY(std::string config_bytes, read_checked(*files, manifest.config));
  std::vector<std::string> layer_names;
  for (const auto& layer : manifest.layers) {
    OU_CHECK(check_layer(*files, layer));
    layer_names.push_back(blob_name(layer.digest));
  }
  return make_stored_image(std::move(files), std::move(config_bytes), std::move(layer_names));
}

}  // namespace oci

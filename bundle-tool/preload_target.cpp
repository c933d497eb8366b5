#include "preload_target.hpp"

#include <charconv>
#include <regex>

#include "base/json.hpp"
#include "base/printable.hpp"
#include "image/ext_growth.hpp"
#include "image/memory_source.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;
using image::ExtFileSystem;
using image::PartRole;

constexpr const char* kRoot = "docker";
constexpr std::uint64_t kMaxStoreDocumentBytes = std::uint64_t{16} * 1024 * 1024;
constexpr unsigned kFirstVersionWithV3 = 13;
constexpr int kMaxGrowths = 4;  // each makes up for what resize2fs took more than was foreseen
constexpr std::uint64_t kOwnFiles = 8;  // apps.json, the marks, and their directories

Result<ExtFileSystem> open_data(const image::OsImage& os, ExtFileSystem::Access access) {
  OU_TRY(const image::Part part, os.part_of(PartRole::kData));
  if (part.file_system == "crypto_LUKS") {
    return Error(ErrorCode::kDiskImageUnsupported,
                 "the data partition is encrypted, so nothing can be preloaded: carry the "
                 "applications in a bundle instead");
  }
  OU_TRY(const image::BlockRange range, os.range_of(PartRole::kData));
  return ExtFileSystem::open(range, access).within("data partition");
}

/// A document of the store, or null when it is not there.
Result<base::Json> read_document(const ExtFileSystem& files, const std::string& path) {
  OU_TRY(const auto found, files.find(path));
  if (!found) {
    return base::Json();
  }
  OU_TRY(const std::string text, files.read_file(path, kMaxStoreDocumentBytes));
  auto json = base::parse_json(text, {.max_bytes = kMaxStoreDocumentBytes});
  if (!json) {
    return std::move(json).error().within(path).as(ErrorCode::kDiskImage);
  }
  return json;
}

/// balenaOS tags its supervisor "balena_supervisor:v17.0.1", older ones "ARCH-supervisor:v9.0.1".
/// \source engine-and-supervisor.md section 11
void find_supervisor(const base::Json& repositories, PreloadTarget& target, std::string& image_id) {
  static const std::regex kTag(
      R"((?:.*/)?(?:balena_supervisor|[a-z0-9-]+-supervisor):v?(\d+\.\d+\.\d+.*))");
  if (!repositories.is_object() || !repositories.contains("Repositories")) {
    return;
  }
  for (const auto& [repository, names] : repositories["Repositories"].items()) {
    for (const auto& [reference, id] : names.items()) {
      std::smatch match;
      if (reference.size() < 256 && id.is_string() && std::regex_match(reference, match, kTag)) {
        target.supervisor_version = match[1];
        image_id = id.get<std::string>();
      }
    }
  }
}

Status check_supervisor(const std::string& version) {
  unsigned major = 0;
  std::from_chars(version.data(), version.data() + version.size(), major);
  if (!version.empty() && major < kFirstVersionWithV3) {
    return Error(ErrorCode::kDiskImageUnsupported,
                 "the image's supervisor " + base::printable(version) +
                     " reads only older forms of apps.json, which need ids that the cloud gives: "
                     "take a balenaOS image with supervisor 13 or later");
  }
  return base::ok();
}

std::uint64_t blocks_for(std::uint64_t bytes, std::uint64_t block) {
  return base::in_blocks(bytes, block);
}

Result<std::uint64_t> still_missing(const image::OsImage& os, const base::Room& need) {
  OU_TRY(const ExtFileSystem files, open_data(os, ExtFileSystem::Access::kChange));
  return image::missing_bytes(files, need);
}

/// The partition may be larger than its file system: that comes first.
Status make_room(image::OsImage& os, const base::Room& need, const std::filesystem::path& scratch) {
  for (int i = 0; i < kMaxGrowths; ++i) {
    OU_TRY(const std::uint64_t missing, still_missing(os, need));
    if (missing == 0) {
      return base::ok();
    }
    OU_TRY(const image::BlockRange range, os.range_of(PartRole::kData));
    OU_TRY(const std::uint64_t present, [&]() -> Result<std::uint64_t> {
      OU_TRY(const ExtFileSystem files, open_data(os, ExtFileSystem::Access::kRead));
      return files.size_bytes();
    }());
    const std::uint64_t unused = range.size_bytes() - present;
    if (missing > unused) {
      OU_CHECK(os.grow(PartRole::kData, missing - unused));
    }
    OU_TRY(const image::BlockRange larger, os.range_of(PartRole::kData));
    OU_CHECK(image::grow_ext_file_system(larger, scratch).within("data partition"));
  }
  return Error(ErrorCode::kNoSpace, "the data partition does not grow as it should");
}

Status write_text(ExtFileSystem& files, const std::string& path, std::string_view text,
                  std::uint32_t permissions) {
  image::MemorySource source(base::as_bytes(text));
  return files.write_file(path, source, text.size(), permissions);
}

/// \source engine-and-supervisor.md section 2: without these the partition is wiped at boot
Status write_marks(ExtFileSystem& files) {
  OU_CHECK(files.make_directory("resin-data", 0755));
  OU_TRY(const auto mark, files.find("remove_me_to_reset"));
  return mark ? base::ok() : write_text(files, "remove_me_to_reset", "", 0644);
}

}  // namespace

Result<PreloadTarget> look_at_target(const image::OsImage& os) {
  OU_TRY(const ExtFileSystem files, open_data(os, ExtFileSystem::Access::kRead));
  const std::string store = std::string(kRoot) + "/image/overlay2/";
  OU_TRY(const base::Json repositories, read_document(files, store + "repositories.json"));
  PreloadTarget target;
  std::string image_id;
  find_supervisor(repositories, target, image_id);
  OU_CHECK(check_supervisor(target.supervisor_version));
  if (const auto id = oci::Digest::parse(image_id)) {
    OU_TRY(const base::Json config,
           read_document(files, store + "imagedb/content/sha256/" + id->hex()));
    if (config.is_object() && config.contains("architecture") &&
        config["architecture"].is_string()) {
      target.architecture = config["architecture"].get<std::string>();
    }
  }
  for (const char* name : {"balena-supervisor", "resin-supervisor"}) {
    OU_TRY(const auto database, files.find("resin-data/" + std::string(name) + "/database.sqlite"));
    target.has_been_started = target.has_been_started || database.has_value();
  }
  return target;
}

Result<image::StoreNeed> measure_release(const image::OsImage& os, const PreloadRelease& release,
                                         bool measure_all, std::uint64_t additional_bytes,
                                         Console& console) {
  OU_TRY(const ExtFileSystem files, open_data(os, ExtFileSystem::Access::kRead));
  console.phase("measuring what the images take", 0);
  OU_TRY(image::StoreNeed need,
         image::measure_images(files, kRoot, release.images, measure_all, console));
  console.finish();
  const std::uint64_t block = files.block_bytes();
  need.room.bytes +=
      blocks_for(apps_json(release).size(), block) + kOwnFiles * block + additional_bytes;
  need.room.inodes += kOwnFiles;
  return need;
}

Result<std::uint64_t> write_release(image::OsImage& os, const PreloadRelease& release,
                                    const image::StoreNeed& need,
                                    const std::filesystem::path& scratch, Console& console) {
  const std::uint64_t before = os.file().whole().size_bytes();
  OU_CHECK(make_room(os, need.room, scratch));
  OU_TRY(ExtFileSystem files, open_data(os, ExtFileSystem::Access::kChange));
  console.phase("writing the images", need.layer_bytes);
  OU_CHECK(image::write_images(files, kRoot, release.images, console));
  console.finish();
  OU_CHECK(write_marks(files));
  OU_CHECK(write_text(files, "apps.json", apps_json(release), 0644));
  OU_CHECK(files.close());
  console.phase("checking the file system", 0);
  OU_TRY(const image::BlockRange range, os.range_of(PartRole::kData));
  OU_CHECK(image::check_ext_file_system(range).within("data partition"));
  console.finish();
  return os.file().whole().size_bytes() - before;
}

}  // namespace tool

#include "image_extract.hpp"

#include <optional>
#include <set>

#include "base/json.hpp"
#include "base/printable.hpp"
#include "disk_images.hpp"
#include "layout_writer.hpp"
#include "names.hpp"

namespace tool {
namespace {

using base::Error;
using base::ErrorCode;
using base::Json;
using base::printable;
using base::Result;
using base::Status;
namespace fs = std::filesystem;
using Notes = std::map<std::string, std::string>;

constexpr std::string_view kPrefix = "oci:";
constexpr const char* kAppsName = "apps.json";
constexpr const char* kVersionNote = "org.opencontainers.image.version";

/// Where the three go; those that were not asked for have no writer.
struct Layouts {
  std::optional<LayoutWriter> os;
  std::optional<LayoutWriter> supervisor;
  std::optional<LayoutWriter> release;

  [[nodiscard]] std::vector<LayoutWriter*> all() {
    std::vector<LayoutWriter*> writers;
    for (auto* one : {&os, &supervisor, &release}) {
      if (*one) {
        writers.push_back(&**one);
      }
    }
    return writers;
  }
};

Result<fs::path> directory_of(const std::string& destination, const std::string& option) {
  const std::string path =
      destination.starts_with(kPrefix) ? destination.substr(kPrefix.size()) : "";
  const fs::path normal = fs::path(path).lexically_normal();
  const fs::path tidy = normal.has_filename() ? normal : normal.parent_path();
  if (tidy.empty() || !tidy.has_filename()) {
    return Error(ErrorCode::kUsage, option + " takes oci:DIR, a directory to be made; not \"" +
                                        printable(destination) + "\"");
  }
  return tidy;
}

Result<Layouts> open_layouts(const ImageExtractOptions& options) {
  Layouts layouts;
  std::set<fs::path> taken;
  const auto open = [&taken](const std::string& destination, const std::string& option,
                             std::optional<LayoutWriter>& writer) -> Status {
    if (destination.empty()) {
      return base::ok();
    }
    OU_TRY(const fs::path directory, directory_of(destination, option));
    if (!taken.insert(fs::absolute(directory)).second) {
      return Error(ErrorCode::kUsage, directory.string() + " is named twice: each needs its own");
    }
    OU_TRY(LayoutWriter opened, LayoutWriter::create(directory));
    writer.emplace(std::move(opened));
    return base::ok();
  };
  OU_CHECK(open(options.os, "--os", layouts.os));
  OU_CHECK(open(options.supervisor, "--supervisor", layouts.supervisor));
  OU_CHECK(open(options.release, "--release", layouts.release));
  if (taken.empty()) {
    return Error(
        ErrorCode::kUsage,
        "what is to be extracted? pass --os, --supervisor or --release, each with oci:DIR");
  }
  return layouts;
}

std::string value_of(const std::map<std::string, std::string>& values, const std::string& key) {
  const auto found = values.find(key);
  return found == values.end() ? "" : found->second;
}

Json image_json(const std::string& destination, const WrittenImage& written) {
  return {{"directory", destination.substr(kPrefix.size())},
          {"image_id", written.id.text()},
          {"manifest_digest", written.manifest.text()},
          {"size_bytes", written.size_bytes}};
}

class Extraction {
 public:
  Extraction(const ImageExtractOptions& options, Layouts& layouts, const image::OsContent& content,
             Console& console)
      : options_(options), layouts_(layouts), content_(content), console_(console) {}

  Status run() {
    json_["image"] = options_.image.string();
    if (layouts_.os || layouts_.supervisor) {
      OU_TRY(const image::FoundHostapp hostapp, content_.hostapp());
      OU_CHECK(write_os(hostapp));
      OU_CHECK(write_supervisor(hostapp));
    }
    OU_CHECK(write_release().within("release"));
    console_.finish();
    return base::ok();
  }

  Outcome outcome() {
    json_["warnings"] = console_.warnings();
    Outcome outcome;
    outcome.json = base::to_canonical(json_);
    outcome.text = text_;
    return outcome;
  }

 private:
  Status write_os(const image::FoundHostapp& hostapp) {
    const std::string version = value_of(hostapp.os_release, "VERSION");
    json_["device_type"] = hostapp.device_type;
    if (!layouts_.os) {
      return base::ok();
    }
    const Notes notes = {{kVersionNote, version},
                         {"offline-updater.device-type", hostapp.device_type}};
    OU_TRY(const WrittenImage written, write(*layouts_.os, "host/os", hostapp.image, notes));
    Json json = image_json(options_.os, written);
    json["version"] = version;
    json["meta_version"] = value_of(hostapp.os_release, "META_BALENA_VERSION");
    json_["os"] = std::move(json);
    text_ += options_.os + ": balenaOS " + printable(version, 64) + " for " +
             printable(hostapp.device_type, 64) + ", " + size_text(written.size_bytes) + "\n";
    return base::ok();
  }

  Status write_supervisor(const image::FoundHostapp& hostapp) {
    if (!layouts_.supervisor) {
      return base::ok();
    }
    OU_TRY(const image::FoundSupervisor found, content_.supervisor(hostapp));
    const Notes notes = {{kVersionNote, found.version},
                         {"offline-updater.supervisor-name", found.name}};
    OU_TRY(const WrittenImage written,
           write(*layouts_.supervisor, "host/supervisor", found.image, notes));
    Json json = image_json(options_.supervisor, written);
    json["name"] = found.name;
    json["version"] = found.version;
    json_["supervisor"] = std::move(json);
    text_ += options_.supervisor + ": supervisor " + printable(found.version, 64) + ", " +
             size_text(written.size_bytes) + "; for create:\n  --supervisor-name " +
             printable(found.name) + " --supervisor-version " + printable(found.version, 64) + "\n";
    return base::ok();
  }

  Status write_release() {
    if (!layouts_.release) {
      return base::ok();
    }
    OU_TRY(const ReleaseDraft release, read_preloaded_release(content_));
    Json services = Json::object();
    std::uint64_t total = 0;
    for (const ServiceDraft& service : release.services) {
      OU_TRY(const image::FoundImage found,
             content_.service_image(service.image_reference).within("service " + service.name));
      OU_TRY(const WrittenImage written,
             write(*layouts_.release, service.name, found, {}).within("service " + service.name));
      services[service.name] = {{"image_id", written.id.text()},
                                {"reference", service.image_reference},
                                {"size_bytes", written.size_bytes}};
      total += written.size_bytes;
    }
    OU_TRY(const auto apps, content_.apps_json());
    OU_CHECK(layouts_.release->add_file(kAppsName, apps.value_or("")));
    const fs::path directory = options_.release.substr(kPrefix.size());
    json_["release"] = {
        {"directory", directory.string()},  {"target_state", (directory / kAppsName).string()},
        {"fleet_uuid", release.fleet_uuid}, {"app_name", release.app_name},
        {"commit", release.commit},         {"services", std::move(services)}};
    text_ += options_.release + ": release " + release.commit + " of " +
             printable(release.app_name) + ", " + size_text(total) + "; for create:\n  " +
             "--target-state " + (directory / kAppsName).string();
    for (const ServiceDraft& service : release.services) {
      text_ += " --image " + service.name + "=" + options_.release + ":" + service.name;
    }
    text_ += "\n";
    return base::ok();
  }

  Result<WrittenImage> write(LayoutWriter& layout, const std::string& name,
                             const image::FoundImage& found, Notes notes) {
    std::erase_if(notes, [](const auto& note) { return note.second.empty(); });
    OU_TRY(const auto source, found.open());
    return layout.add(name, *source, notes, console_);
  }

  const ImageExtractOptions& options_;
  Layouts& layouts_;
  const image::OsContent& content_;
  Console& console_;
  Json json_ = Json::object();
  std::string text_;
};

}  // namespace

Result<Outcome> image_extract(const ImageExtractOptions& options, Console& console) {
  OU_TRY(Layouts layouts, open_layouts(options));
  const std::string shown = options.image.string();
  // What has to be unpacked goes where the output goes: there is room, or the output has none
  // either.
  OU_TRY(
      const image::OsContent content,
      image::OsContent::open(options.image, layouts.all().front()->path(), console).within(shown));
  Extraction extraction(options, layouts, content, console);
  OU_CHECK(extraction.run().within(shown));
  console.phase("writing to the disk", 0);
  for (LayoutWriter* layout : layouts.all()) {
    OU_CHECK(layout->commit());
  }
  console.finish();
  return extraction.outcome();
}

}  // namespace tool

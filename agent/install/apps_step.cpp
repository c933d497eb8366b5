#include "install/apps_step.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <map>

#include "base/log.hpp"
#include "install/pull_step.hpp"
#include "install/release_row.hpp"

namespace agent::install {
namespace {

using base::Error;
using base::ErrorCode;
using ServiceImage = ReleaseSwitch::ServiceImage;

constexpr std::chrono::seconds kUnitTimeout{120};
constexpr uid_t kSupervisorLockOwner = 65534;
constexpr std::array kLockNames{"updates.lock", "resin-updates.lock"};
constexpr const char* kPinKey = "pinDevice";
constexpr const char* kServiceLabel = "io.balena.service-name";
constexpr const char* kAppLabel = "io.balena.app-id";

base::Result<AppRow> find_fleet(const std::vector<AppRow>& rows, const std::string& uuid) {
  const auto found =
      std::find_if(rows.begin(), rows.end(), [&](const auto& row) { return row.uuid == uuid; });
  if (found == rows.end()) {
    return Error(ErrorCode::kSupervisorState,
                 "the supervisor runs no release of fleet " + uuid + " yet");
  }
  return *found;
}

/// Everything that would make the supervisor do something else than switch the release.
base::Status check_switchable(SupervisorAccess& access, const AppRow& row,
                              const bundle::Release& release, const std::string& api_endpoint) {
  OU_TRY(const auto local_mode, access.database.config_value("localMode"));
  if (local_mode && (*local_mode == "1" || *local_mode == "true")) {
    return Error(ErrorCode::kSupervisorState,
                 "the supervisor is in local mode: switch it off first, since leaving it later "
                 "would remove everything that the update made");
  }
  if (row.source != api_endpoint) {
    return Error(
        ErrorCode::kSupervisorState,
        "the release came from \"" + row.source + "\", and config.json names \"" + api_endpoint +
            "\": the supervisor would delete the volumes of the release at its next start");
  }
  if (release.app_id && *release.app_id != row.app_id) {
    return Error(ErrorCode::kSupervisorState,
                 "the bundle's release belongs to application " + std::to_string(*release.app_id) +
                     ", this device's to " + std::to_string(row.app_id));
  }
  return base::ok();
}

/// The images of the release that is there now: by what its containers run, else by name.
base::Result<std::vector<ServiceImage>> present_images(SupervisorAccess& access,
                                                       const AppRow& row) {
  OU_TRY(const auto containers, access.engine.containers());
  OU_TRY(const auto services, read_services(row));
  std::vector<ServiceImage> images;
  for (const auto& service : services) {
    const auto name = latest_name(service.image);
    const auto container =
        std::find_if(containers.begin(), containers.end(), [&](const auto& candidate) {
          const auto label = candidate.labels.find(kServiceLabel);
          const auto app = candidate.labels.find(kAppLabel);
          return label != candidate.labels.end() && label->second == service.name &&
                 app != candidate.labels.end() && app->second == std::to_string(row.app_id);
        });
    if (container != containers.end()) {
      images.push_back({service.name, container->image_id, name});
      continue;
    }
    OU_TRY(auto image, access.engine.find_image(name));
    if (!image) {
      OU_TRY(image, access.engine.find_image(service.image));
    }
    if (image) {
      images.push_back({service.name, image->id, name});
    }
  }
  return images;
}

/// An image that is in use and loses its last name makes the supervisor loop for ever on the
/// engine's refusal to remove it (engine-and-supervisor.md section 4): so each gets a name of ours.
base::Status keep_images_in_use(SupervisorAccess& access, const ReleaseSwitch& change) {
  const auto update = oci::Digest::of(base::as_bytes(change.new_row.commit));
  OU_TRY(const auto containers, access.engine.containers());
  std::set<oci::Digest> in_use;
  for (const auto& container : containers) {
    in_use.insert(container.image_id);
  }
  for (const auto* images : {&change.old_images, &change.new_images}) {
    for (const auto& image : *images) {
      in_use.insert(image.image);
    }
  }
  for (const auto& image : in_use) {
    OU_TRY(const auto present, access.engine.find_image(image.text()));
    if (present) {
      OU_CHECK(access.engine.tag(image, keep_tag(update, image)));
    }
  }
  return base::ok();
}

base::Status set_names(Engine& engine, const std::vector<ServiceImage>& images) {
  for (const auto& image : images) {
    OU_CHECK(engine.tag(image.image, image.name).within("name the image of " + image.service));
  }
  return base::ok();
}

base::Status stop_supervisor(SupervisorAccess& access) {
  OU_CHECK(access.services.stop(access.supervisor_timer, kUnitTimeout));
  return access.services.stop(access.supervisor_unit, kUnitTimeout);
}

base::Status check_locks(const SupervisorAccess& access, std::uint64_t app_id) {
  const auto locks = held_update_locks(access.update_locks, app_id);
  if (!locks.empty()) {
    return Error(ErrorCode::kUpdateLocked,
                 "a service holds its update lock " + locks.front().string());
  }
  return base::ok();
}

}  // namespace

base::Status resume_supervisor(SupervisorAccess& access) {
  OU_CHECK(access.services.start(access.supervisor_unit, kUnitTimeout));
  return access.services.start(access.supervisor_timer, kUnitTimeout);
}

base::Status with_supervisor_stopped(SupervisorAccess& access,
                                     const std::function<base::Status()>& work) {
  auto done = stop_supervisor(access);
  if (done) {
    done = work();
  }
  auto started = resume_supervisor(access);
  if (!done) {
    if (!started) {
      base::log::error("the supervisor was not started again: " + started.error().message());
    }
    return done;
  }
  return started;
}

base::Status remove_update_locks(const std::filesystem::path& update_locks, std::uint64_t app_id) {
  for (const auto& lock : held_update_locks(update_locks, app_id)) {
    std::error_code failed;
    std::filesystem::remove(lock, failed);
    if (failed) {
      return Error(ErrorCode::kUpdateLocked,
                   "remove the update lock " + lock.string() + ": " + failed.message());
    }
  }
  return base::ok();
}

std::string latest_name(const std::string& image_reference) {
  auto name = image_reference.substr(0, image_reference.find('@'));
  const auto slash = name.rfind('/');
  const auto colon = name.find(':', slash == std::string::npos ? 0 : slash);
  return name.substr(0, colon) + ":latest";
}

base::Result<ReleaseSwitch> prepare_switch(SupervisorAccess& access,
                                           const bundle::Manifest& manifest,
                                           const std::string& api_endpoint) {
  OU_CHECK(access.database.check_schema());
  OU_TRY(const auto rows, access.database.apps());
  ReleaseSwitch change;
  OU_TRY(change.old_row, find_fleet(rows, manifest.targets.fleet_uuid));
  OU_CHECK(check_switchable(access, change.old_row, manifest.release, api_endpoint));
  OU_TRY(change.new_row, make_row(manifest.release, change.old_row, rows));
  OU_TRY(change.old_images, present_images(access, change.old_row));
  for (const auto& service : manifest.release.services) {
    change.new_images.push_back(
        {service.name, service.image, latest_name(service.image_reference)});
  }
  OU_TRY(change.old_pin, access.database.config_value(kPinKey));
  change.new_pin = manifest.policy.pin ? pin_value(change.new_row) : change.old_pin;
  return change;
}

std::vector<std::filesystem::path> held_update_locks(const std::filesystem::path& update_locks,
                                                     std::uint64_t app_id) {
  std::vector<std::filesystem::path> held;
  std::error_code failed;  // no directory: no service has ever made a lock
  for (std::filesystem::directory_iterator it(update_locks / std::to_string(app_id), failed), end;
       !failed && it != end; it.increment(failed)) {
    for (const auto* name : kLockNames) {
      const auto path = it->path() / name;
      struct stat status {};
      if (::lstat(path.c_str(), &status) == 0 && status.st_uid != kSupervisorLockOwner) {
        held.push_back(path);
      }
    }
  }
  std::sort(held.begin(), held.end());
  return held;
}

base::Result<Target> present_target(SupervisorAccess& access, const ReleaseSwitch& change) {
  OU_TRY(const auto rows, access.database.apps());
  OU_TRY(const auto row, find_fleet(rows, change.new_row.uuid));
  return row.commit == change.new_row.commit   ? Target::kNew
         : row.commit == change.old_row.commit ? Target::kOld
                                               : Target::kOther;
}

base::Status apply_switch(SupervisorAccess& access, const ReleaseSwitch& change,
                          bool override_update_lock) {
  const auto app_id = change.new_row.app_id;
  if (!override_update_lock) {
    OU_CHECK(check_locks(access, app_id));
  }
  OU_CHECK(keep_images_in_use(access, change));
  OU_CHECK(set_names(access.engine, change.new_images));
  return with_supervisor_stopped(access, [&]() -> base::Status {
    if (override_update_lock) {
      OU_CHECK(remove_update_locks(access.update_locks, app_id));
    } else {
      OU_CHECK(check_locks(access, app_id));
    }
    OU_TRY(const auto target, present_target(access, change));
    if (target == Target::kOther) {
      return Error(ErrorCode::kSupervisorState,
                   "the cloud has given this device another release meanwhile; plug the medium in "
                   "again");
    }
    OU_CHECK(access.database.back_up(access.state_dir / "supervisor-database.backup"));
    return access.database.write_target(change.new_row, change.new_pin);
  });
}

base::Status revert_switch(SupervisorAccess& access, const ReleaseSwitch& change) {
  return with_supervisor_stopped(access, [&]() -> base::Status {
    OU_TRY(const auto target, present_target(access, change));
    if (target == Target::kOther) {
      return base::ok();
    }
    OU_CHECK(set_names(access.engine, change.old_images));
    OU_TRY(auto pin, access.database.config_value(kPinKey));
    if (target ==
        Target::kNew) {  // else the pin is that of the old release, or was put back with it already
      // A pin that is gone was handed to the cloud by the supervisor: the old release is pinned
      // instead.
      const bool handed_over = !pin && change.new_pin && change.new_pin != change.old_pin;
      pin = handed_over ? pin_value(change.old_row) : change.old_pin;
    }
    return access.database.write_target(change.old_row, pin);
  });
}

base::Status settle_names(SupervisorAccess& access, const std::vector<ServiceImage>& running,
                          const std::vector<std::string>& drop) {
  OU_CHECK(set_names(access.engine, running));
  base::Status first;
  for (const auto& name : drop) {
    auto removed = access.engine.untag(name);
    if (first && !removed) {
      first = std::move(removed);
    }
  }
  return first;
}

}  // namespace agent::install

// Switches the device from one release to another through the supervisor's database (procedure C of
// the reference), and back.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "bundle/manifest.hpp"
#include "install/engine.hpp"
#include "install/supervisor.hpp"

namespace agent::install {

/// Everything that a switch changes, in both directions. Goes into the journal before anything
/// happens.
struct ReleaseSwitch {
  AppRow old_row;
  AppRow new_row;
  std::optional<std::string> old_pin;  // value of config.pinDevice; nothing: no row
  std::optional<std::string> new_pin;
  struct ServiceImage {
    std::string service;
    oci::Digest image;
    std::string name;  // "<repository>:latest", under which the supervisor looks for it
  };
  std::vector<ServiceImage> old_images;  // those that are in the engine now
  std::vector<ServiceImage> new_images;
};

/// The database row for `release` on a device that has `present`: ids that the bundle does not give
/// come from the service of the same name; new ones are above every id in use, from a range that
/// the cloud does not reach (>= 2^40), so that they cannot collide. Pure. \error
/// ErrorCode::kVolumeDefinition when a volume that both releases name is defined differently:
///   the supervisor would delete it and its data; kSupervisorState
base::Result<AppRow> make_row(const bundle::Release& release, const AppRow& present,
                              const std::vector<AppRow>& all_rows);

/// Names of the services of a row that its release wants stopped ("running": false). Pure.
std::set<std::string> stopped_services(const AppRow& row);

/// "<registry>/<path>:latest" for an image reference with a digest.
std::string latest_name(const std::string& image_reference);

struct SupervisorAccess {
  Engine& engine;
  SupervisorDatabase& database;
  SupervisorApi& api;
  ServiceManager& services;
  std::string supervisor_unit;
  std::string supervisor_timer;
  std::filesystem::path update_locks;  // <host>/tmp/balena-supervisor/services
  std::filesystem::path state_dir;     // database backups go here
};

/// Reads the present state and prepares a switch; changes nothing.
/// \param api_endpoint apiEndpoint of config.json, which has to equal the row's source
/// \error ErrorCode::kSupervisorSchema, kSupervisorState (local mode, no fleet row, another
/// source),
///   kVolumeDefinition, kSupervisorDatabase, kEngine*
base::Result<ReleaseSwitch> prepare_switch(SupervisorAccess& access,
                                           const bundle::Manifest& manifest,
                                           const std::string& api_endpoint);

/// Update locks (updates.lock, resin-updates.lock) that services of the app hold; paths for
/// messages. A lock that the supervisor took itself (owner uid 65534) does not count.
std::vector<std::filesystem::path> held_update_locks(const std::filesystem::path& update_locks,
                                                     std::uint64_t app_id);

/// Starts the supervisor and its timer if they do not run: an agent that was killed in the middle
/// of a switch has left them stopped. \error ErrorCode::kServiceManager, kTimeout
base::Status resume_supervisor(SupervisorAccess& access);

/// Runs `work` with the supervisor and its timer stopped. Whatever happens, both are started again.
/// \error ErrorCode::kServiceManager, kTimeout; what `work` returns
base::Status with_supervisor_stopped(SupervisorAccess& access,
                                     const std::function<base::Status()>& work);

/// Removes the locks of held_update_locks(). \error ErrorCode::kUpdateLocked
base::Status remove_update_locks(const std::filesystem::path& update_locks, std::uint64_t app_id);

/// Which release the supervisor's target is.
enum class Target {
  kOld,    // the one from which `change` leads
  kNew,    // the one to which it leads
  kOther,  // the cloud has named another one meanwhile: neither way is ours to go any more
};
/// \error those of the database
base::Result<Target> present_target(SupervisorAccess& access, const ReleaseSwitch& change);

/// Names the new images and switches: tag, stop timer and supervisor, back up, one transaction,
/// start. Safe to repeat from any point. \error as above, and ErrorCode::kUpdateLocked;
///   kSupervisorState when the target is another one by now
base::Status apply_switch(SupervisorAccess& access, const ReleaseSwitch& change,
                          bool override_update_lock);

/// Puts the old names, row and pin back and starts the supervisor. Safe to repeat. Leaves a target
/// alone that is neither of the two.
base::Status revert_switch(SupervisorAccess& access, const ReleaseSwitch& change);

/// Sets the names of the running release again, then drops keep tags: those in `drop` are removed.
base::Status settle_names(SupervisorAccess& access,
                          const std::vector<ReleaseSwitch::ServiceImage>& running,
                          const std::vector<std::string>& drop);

}  // namespace agent::install

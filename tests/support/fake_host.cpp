#include "support/fake_host.hpp"

#include <fstream>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "base/json.hpp"
#include "install/os_step.hpp"
#include "support/http_client.hpp"

namespace support {
namespace {

namespace fs = std::filesystem;
using agent::install::UnitState;

constexpr const char* kGrubenv = "mnt/boot/EFI/BOOT/grubenv";
constexpr const char* kContainer = "0123456789abcdef";
constexpr int kHealthChecks = 3;

std::string os_release(const std::string& version) {
  return "ID=\"balena-os\"\nVERSION=\"" + version + "\"\nMETA_BALENA_VERSION=\"" +
         version.substr(0, version.find('+')) + "\"\nSLUG=\"generic-amd64\"\n";
}

/// "127.0.0.1:PORT/REST" to a port and a path.
std::pair<std::uint16_t, std::string> split(const std::string& reference) {
  const auto colon = reference.find(':');
  const auto slash = reference.find('/');
  return {static_cast<std::uint16_t>(std::stoul(reference.substr(colon + 1, slash - colon - 1))),
          reference.substr(slash)};
}

}  // namespace

FakeHost::FakeHost(Faults& faults, fs::path root) : faults_(faults), root_(std::move(root)) {
  slots_["2"] = {kOldVersion, true, true};
  for (const auto* name :
       {"usr/bin/hostapp-update", "usr/bin/hostapp-update-hooks", "usr/bin/hostapp-update-hooks-v2",
        "usr/bin/fatrw", "usr/bin/flock", "usr/libexec/safe_reboot"}) {
    write(name, "");
  }
  fs::create_directories(root_ / "mnt/state");
  fs::create_directories(root_ / "mnt/sysroot/inactive/balena");
  write(kSupervisorConf, "SUPERVISOR_IMAGE=supervisor\nSUPERVISOR_VERSION=v17.6.23\nLED_FILE=x\n");
  copy_boot_files(kOldVersion);
  write("mnt/boot/EFI/BOOT/grub_extraenv", "extra_os_cmdline=user");
  set_selector("2", false, 0);
  show_slots();
}

std::string FakeHost::read(const std::string& path) const {
  std::ifstream in(root_ / path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

void FakeHost::write(const std::string& path, const std::string& content) const {
  fs::create_directories((root_ / path).parent_path());
  std::ofstream(root_ / path, std::ios::binary) << content;
}

std::string FakeHost::running_version() const {
  return slots_.at(running_).version;
}

bool FakeHost::is_settled() const {
  return !upgrade_available() && !fs::exists(root_ / "mnt/state/rollback-health-breadcrumb") &&
         !fs::exists(root_ / "mnt/state/rollback-altboot-breadcrumb");
}

void FakeHost::set_selector(const std::string& root, bool upgrade, int boot_count) {
  write(kGrubenv, "# GRUB Environment Block\nresin_root_part=" + root + "\nupgrade_available=" +
                      (upgrade ? "1" : "0") + "\nbootcount=" + std::to_string(boot_count) + "\n");
}

bool FakeHost::upgrade_available() const {
  return read(kGrubenv).find("upgrade_available=1") != std::string::npos;
}

void FakeHost::remove_breadcrumbs() {
  fs::remove(root_ / "mnt/state/rollback-health-breadcrumb");
  fs::remove(root_ / "mnt/state/rollback-altboot-breadcrumb");
}

/// What the running system shows of both slots.
void FakeHost::show_slots() {
  write("etc/os-release", os_release(running_version()));
  write("proc/sys/kernel/random/boot_id", "boot-" + std::to_string(boots_) + "\n");
}

base::Status FakeHost::run(const agent::install::TransientUnit& unit) {
  auto& report = units_[unit.name];
  if (report.state == UnitState::kRunning) {
    return base::Error(base::ErrorCode::kServiceManager, unit.name + " is loaded already");
  }
  report = {UnitState::kRunning, 0, ""};
  if (units_begin_late) {
    unseen_.insert(unit.name);
  }
  if (unit.name == agent::install::kOsUnit) {
    reference_ = unit.command.back();
    step_ = 0;
    ++installations;
  }
  return base::ok();
}

agent::install::UnitReport FakeHost::report(const std::string& unit) const {
  const auto found = units_.find(unit);
  return found == units_.end() || unseen_.contains(unit) ? agent::install::UnitReport{}
                                                         : found->second;
}

void FakeHost::forget(const std::string& unit) {
  units_.erase(unit);
}

/// hostapp-update pulls into the slot's own store.
void FakeHost::pull() {
  const auto [port, path] = split(reference_);
  const auto at = path.find('@');
  const auto root = "/v2" + path.substr(0, at);
  const auto manifest = http_get(port, root + "/manifests/" + path.substr(at + 1));
  bool complete = manifest.status == 200;
  if (complete) {
    const auto json = base::Json::parse(manifest.body);
    image_ = json.at("config").at("digest").get<std::string>();
    for (const auto& layer : json.at("layers")) {
      complete = complete &&
                 http_get(port, root + "/blobs/" + layer.at("digest").get<std::string>()).complete;
    }
  }
  if (!complete) {  // the real one tries for ever
    --step_;
  }
}

void FakeHost::write_slot() {
  const std::string slot = "mnt/sysroot/inactive/";
  write(slot + "balena/containers/" + kContainer + "/config.v2.json",
        base::Json{{"Image", image_}}.dump());
  fs::create_directories(root_ / (slot + "hostapps/" + kContainer + "/boot"));
  fs::remove(root_ / (slot + "current"));
  fs::create_symlink(std::string("hostapps/") + kContainer, root_ / (slot + "current"));
  fs::remove(root_ / (slot + "boot"));
  fs::create_symlink("current/boot", root_ / (slot + "boot"));
  slots_[other_slot()] = {kNewVersion, behaviour != OsBehaviour::kDoesNotBoot,
                          behaviour != OsBehaviour::kUnhealthy};
}

/// 1-bootfiles, with its two side effects: grubenv and grub_extraenv are shipped files.
void FakeHost::copy_boot_files(const std::string& version) {
  write("mnt/boot/EFI/BOOT/grub_extraenv", "extra_os_cmdline=");
  write("mnt/boot/os-release", os_release(version));
  set_selector("2", false, 0);
}

void FakeHost::run_hooks(bool during_update, const std::string& version) {
  copy_boot_files(version);
  if (!during_update) {
    remove_breadcrumbs();
    fs::remove(root_ / "mnt/state/rollback-health-triggered");
    fs::remove(root_ / "mnt/state/rollback-altboot-triggered");
    set_selector(running_, false, 0);
  }
}

void FakeHost::step_of_update() {
  auto& report = units_.at(agent::install::kOsUnit);
  if (behaviour == OsBehaviour::kLockHeld) {
    report = {UnitState::kFailed, agent::install::kOsLockHeld, "exit-code"};
    return;
  }
  switch (step_++) {
    case 0:
      slots_.erase(other_slot());
      fs::remove_all(root_ / "mnt/sysroot/inactive/hostapps");
      fs::remove(root_ / "mnt/sysroot/inactive/current");
      write("mnt/state/rollback-health-variables", "BALENAOS_ROLLBACK_VPNONLINE=1\n");
      return;
    case 1:
      return pull();
    case 2:
      return write_slot();
    case 3:
      return copy_boot_files(kNewVersion);
    case 4:
      if (behaviour == OsBehaviour::kHooksFail) {
        run_hooks(false, running_version());
        report = {UnitState::kFailed, 1, "exit-code"};
        return;
      }
      if (behaviour != OsBehaviour::kNoBreadcrumbs) {
        write("mnt/state/rollback-health-breadcrumb", "");
        write("mnt/state/rollback-altboot-breadcrumb", "");
      }
      fs::remove(root_ / "mnt/state/rollback-health-triggered");
      fs::remove(root_ / "mnt/state/rollback-altboot-triggered");
      return;
    case 5:
      return set_selector(other_slot(), true, 0);
    default:
      report.state = UnitState::kSucceeded;
  }
}

void FakeHost::tick() {
  faults_.begin("host.tick");
  unseen_.clear();
  if (report(agent::install::kOsUnit).state == UnitState::kRunning) {
    step_of_update();
  }
  if (report(agent::install::kOsUndoUnit).state == UnitState::kRunning) {
    run_hooks(false, running_version());
    units_[agent::install::kOsUndoUnit].state = UnitState::kSucceeded;
  }
  if (std::exchange(nothing_to_confirm_, false)) {
    remove_breadcrumbs();
  }
  if (checks_left_ > 0 && --checks_left_ == 0) {  // rollback-health has come to an end
    if (slots_.at(running_).healthy) {
      remove_breadcrumbs();
      set_selector(running_, false, 0);
    } else {
      set_selector(other_slot(), false, 0);
      write("mnt/boot/os-release", os_release(slots_.at(other_slot()).version));
      write("mnt/state/rollback-health-triggered", "");
      remove_breadcrumbs();
      going_down_ = true;  // the restart takes a while, and the new OS runs on until then
      return;
    }
  }
  if (going_down_ || report(agent::install::kRebootUnit).state == UnitState::kRunning) {
    throw PowerCut();
  }
  faults_.end();
}

void FakeHost::boot() {
  ++boots_;
  fs::remove(root_ / kSupervisorOverride);
  units_.clear();
  unseen_.clear();
  going_down_ = false;
  nothing_to_confirm_ = false;
  checks_left_ = 0;
  const auto text = read(kGrubenv);
  std::string selected = text.find("resin_root_part=2") != std::string::npos ? "2" : "3";
  const bool tried = upgrade_available();
  const bool dirty = text.find("bootcount=1") != std::string::npos;
  bool fell_back = false;
  if (!slots_.contains(selected)) {
    throw std::runtime_error("the bootloader starts a slot that holds no OS: bricked");
  }
  if (tried && (dirty || !slots_.at(selected).boots)) {
    selected = selected == "2" ? "3" : "2";
    fell_back = true;
  } else if (!slots_.at(selected).boots) {
    throw std::runtime_error("the OS does not boot and there is no way back: bricked");
  }
  running_ = selected;
  if (fell_back) {  // rollback-altboot, and the restart at its end
    run_hooks(false, running_version());
    write("mnt/state/rollback-altboot-triggered", "");
  } else if (tried) {
    set_selector(running_, true, 1);
    checks_left_ = kHealthChecks;
  } else if (rollback_health_is_late) {
    nothing_to_confirm_ = true;
  } else {
    remove_breadcrumbs();  // "nothing to do"
  }
  show_slots();
}

}  // namespace support

#include "update_worker.hpp"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "base/log.hpp"
#include "device_lock.hpp"
#include "media_queue.hpp"
#include "outcome_reporter.hpp"
#include "staged_updates.hpp"
#include "update_session.hpp"

namespace agent {
namespace {

using base::Error;
using base::ErrorCode;
using media::MediaEvent;
using media::Medium;
using record::RunOutcome;
using record::RunResult;

// Between attempts to bring an update to its end, when the engine or systemd does not answer.
constexpr std::chrono::seconds kRetry{60};
// Somebody may set the device's clock meanwhile.
constexpr std::chrono::seconds kClockCheck{30};

/// Far enough away to mean "never" without overflowing a clock.
std::chrono::steady_clock::time_point never() {
  return std::chrono::steady_clock::now() + std::chrono::hours(24 * 365);
}

}  // namespace

class UpdateWorker::State {
 public:
  State(Device& device, media::Mounter& mounter, media::MediaPolicy policy, bundle::Trust trust,
        const record::OutcomeStore& outcomes)
      : device_(device),
        mounter_(mounter),
        policy_(std::move(policy)),
        trust_(std::move(trust)),
        reporter_(device, mounter, outcomes) {}

  void start() {
    updater_ = std::jthread([this](std::stop_token stop) { update_loop(recall(stop), stop); });
    attacher_ = std::jthread([this](std::stop_token stop) { attach_loop(stop); });
  }

  void post(MediaEvent event) {
    if (event.kind == MediaEvent::Kind::kAppeared && media::is_ignored(event.medium, policy_)) {
      return;
    }
    const std::lock_guard lock(mutex_);
    if (event.kind == MediaEvent::Kind::kAppeared) {
      base::log::info("medium " + event.medium.disk.name + " is there");
      (active_ ? returning_ : waiting_).push(std::move(event.medium));
      return;
    }
    base::log::info("medium " + event.medium.disk.name + " is gone");
    waiting_.remove(event.medium.disk.number);
    early_.remove(event.medium.disk.number);
    active_disk_gone_ = active_disk_gone_ || active_disk_ == event.medium.disk.number;
    returning_.remove(event.medium.disk.number);
    told_.erase(event.medium.disk.number);
    if (active_ && active_disk_ == event.medium.disk.number) {
      active_->detach();
    }
  }

  void stop() {
    updater_.request_stop();
    attacher_.request_stop();
    {
      const std::lock_guard lock(mutex_);
      if (active_) {
        active_->stop();
      }
    }
    updater_ = std::jthread();
    attacher_ = std::jthread();
  }

 private:
  /// Does `work` while nobody can change the identity by hand.
  template <typename Work>
  auto guarded(Work work) {
    const auto lock = lock_update(device_.config.state_dir);
    if (!lock) {
      base::log::warning("the update is not guarded against `identity restore`: " +
                         lock.error().message());
    }
    return work();
  }

  base::Result<std::optional<record::JournalEntry>> open_memory() {
    OU_TRY(device_.ledger, record::Ledger::open(device_.config.state_dir));
    return device_.journal.load();
  }

  /// What was under way. An agent that cannot tell knows neither what has to be finished nor which
  /// bundles are old.
  std::optional<record::JournalEntry> recall(const std::stop_token& stop) {
    std::optional<Medium> medium;
    for (bool said = false; !stop.stop_requested(); said = true) {
      auto open = open_memory();
      if (open) {
        if (medium) {
          waiting_.push(*std::move(medium));
        }
        return *std::move(open);
      }
      if (!said) {
        base::log::error("nothing is installed until this is repaired: " + open.error().message());
        device_.progress.phase("waiting for the agent's memory", 0);
      }
      if (medium) {
        answer(*medium, std::move(open).error());
      }
      medium = waiting_.pop(stop, std::chrono::steady_clock::now() + kRetry);
    }
    return std::nullopt;
  }

  /// Says on a medium with bundles why none of them is taken. It is looked at again when the agent
  /// has its memory back.
  void answer(const Medium& medium, Error why) {
    auto mounted = media::open_medium(mounter_, medium, policy_);
    if (!mounted) {
      refuse_medium(medium, std::move(mounted).error());
      return;
    }
    MediumContent content;
    const auto volumes = look_for_bundles(*mounted, content);
    auto outcome = refused(std::move(why));
    if (!content.bundles.empty()) {
      outcome.directory_name = content.bundles.front().directory_name();
      outcome.bundle_digest = content.bundles.front().digest().text();
    }
    content = {};  // its directories keep the medium busy, which is to be written to
    mounted->clear();
    bool first = false;
    bool told = false;
    {
      const std::lock_guard lock(mutex_);
      active_disk_ = medium.disk.number;
      active_disk_gone_ = false;
      first = told_.empty();
      told = volumes.empty() || !told_.insert(medium.disk.number).second;
    }
    keep_for_window(medium);
    if (!told && !(first && is_repeated(outcome))) {
      reporter_.answer(std::move(outcome), volumes);
    }
  }

  RunOutcome refused(Error why) {
    RunOutcome outcome{.result = RunResult::kRefused, .error = std::move(why)};
    if (const auto identity = read_identity(device_.config.config_json())) {
      outcome.device_uuid = identity->uuid;
    }
    outcome.started_at = outcome.finished_at = clock_now();
    return outcome;
  }

  void update_loop(std::optional<record::JournalEntry> entry, const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      if (entry && !needs_medium(device_, *entry)) {
        entry = finish(*std::move(entry), stop);
        continue;
      }
      const auto due = copy_due(device_, entry);
      if (due == std::chrono::seconds(0)) {
        take_copy(stop);
        entry = open_update(std::move(entry));
        continue;
      }
      retry_early_media();
      auto medium = waiting_.pop(stop, next_look(entry.has_value(), due));
      if (medium) {
        undo_failed_ = false;
        take_medium(*medium, stop);
        entry = open_update(std::move(entry));
        ends_on_medium_ = entry && !needs_medium(device_, *entry);
      } else if (entry && !stop.stop_requested()) {
        entry = give_up(*std::move(entry), stop);
      }
    }
  }

  /// The medium of an update did not come back. What cannot be undone yet is tried again soon:
  /// until then a restart of the device may start half of a new OS. \return what the journal has
  /// afterwards
  std::optional<record::JournalEntry> give_up(record::JournalEntry entry,
                                              const std::stop_token& stop) {
    const auto outcome = guarded([&] {
      return abandon_update(device_, entry,
                            Error(ErrorCode::kMediumTimeout, "the medium did not come back"));
    });
    undo_failed_ = outcome.result == RunResult::kInterrupted;
    if (!undo_failed_ || !is_repeated(outcome)) {
      report(outcome, {});
    }
    if (!undo_failed_) {
      return std::nullopt;
    }
    device_.waiter.wait(kRetry, stop);
    return open_update(std::move(entry));
  }

  /// Nothing, or what could not be brought to its end. If the journal cannot be read: `known`.
  std::optional<record::JournalEntry> open_update(std::optional<record::JournalEntry> known) {
    auto open = device_.journal.load();
    return open ? *std::move(open) : std::move(known);
  }

  /// How long a medium is waited for before something else has to be done.
  std::chrono::steady_clock::time_point next_look(bool update_is_open,
                                                  std::optional<std::chrono::seconds> due) {
    const auto now = std::chrono::steady_clock::now();
    if (update_is_open) {
      return undo_failed_ ? now : now + device_.config.wait_for_medium;
    }
    if (!early_.empty()) {
      due = until_open(device_.config.windows, device_.clock());
    }
    return due ? now + std::min(*due, kClockCheck) : never();
  }

  /// The medium that began the update, if it has stayed in: how it ended is written there. It is
  /// not looked at again by itself, which might begin the same update another time.
  std::vector<media::Volume> volumes_of_update() {
    const std::lock_guard lock(mutex_);
    return std::exchange(ends_on_medium_, false) && !active_disk_gone_
               ? result_volumes_
               : decltype(result_volumes_)();
  }

  /// An update that cannot come to its end keeps other media waiting: who plugs one in learns why.
  void tell_waiting_media(RunOutcome outcome) {
    if (const auto identity = read_identity(device_.config.config_json())) {
      outcome.device_uuid = identity->uuid;
    }
    for (const auto& medium : waiting_.all()) {
      {
        const std::lock_guard lock(mutex_);
        if (!told_.insert(medium.disk.number).second) {
          continue;
        }
      }
      auto mounted = media::open_medium(mounter_, medium, policy_);
      if (mounted) {
        MediumContent content;
        const auto volumes = look_for_bundles(*mounted, content);
        content = {};
        mounted->clear();
        reporter_.tell_unfinished(outcome, volumes);
      }
    }
  }

  /// \return the volumes that have any
  std::vector<media::Volume> look_for_bundles(const std::vector<media::MountedMedium>& mounted,
                                              MediumContent& content) const {
    std::vector<media::Volume> volumes;
    for (const auto& volume : mounted) {
      const auto before = content.bundles.size() + content.refused.size();
      open_bundles(volume.root, trust_, content);
      if (content.bundles.size() + content.refused.size() > before) {
        volumes.push_back(volume.volume);
      }
    }
    return volumes;
  }

  void forget_told() {
    const std::lock_guard lock(mutex_);
    told_.clear();
  }

  void keep_for_window(const Medium& medium) {
    const std::lock_guard lock(mutex_);
    if (!active_disk_gone_) {
      early_.push(medium);
    }
  }

  /// Media that were there before the window opened are looked at again when it has.
  void retry_early_media() {
    if (until_open(device_.config.windows, device_.clock()) == std::chrono::seconds(0)) {
      while (move_one(early_, waiting_)) {
      }
    }
  }

  /// Goes on without a medium, from the copy on the device.
  void take_copy(const std::stop_token& stop) {
    const auto outcome =
        guarded([&] { return install_copy(device_, trust_, {.obey_window = true}, stop); });
    if (!outcome) {
      return;
    }
    const bool done = outcome->result != RunResult::kInterrupted;
    if (done || !is_repeated(*outcome)) {
      report(*outcome, {});
    }
    if (!done) {
      tell_waiting_media(*outcome);
      device_.waiter.wait(kRetry, stop);
    }
  }

  /// Goes on with an update that needs no medium. Until it has come to its end, no other one may
  /// begin: it would take the state in between for the one to go back to.
  /// \return what the journal has afterwards
  std::optional<record::JournalEntry> finish(record::JournalEntry entry,
                                             const std::stop_token& stop) {
    base::log::info("going on with the update to " + entry.to_commit);
    const auto outcome = guarded([&] { return finish_update(device_, entry, stop); });
    const bool done = outcome.result != RunResult::kInterrupted;
    if (done) {
      report(outcome, volumes_of_update());
    } else if (!is_repeated(outcome)) {  // many attempts are one entry in the device's memory
      report(outcome, {});
    }
    if (done) {
      forget_copy(device_, outcome);
      forget_told();
      return std::nullopt;
    }
    tell_waiting_media(outcome);
    device_.waiter.wait(kRetry, stop);
    return open_update(std::move(entry));
  }

  void take_medium(const Medium& medium, const std::stop_token& stop) {
    auto mounted = media::open_medium(mounter_, medium, policy_);
    if (!mounted) {
      refuse_medium(medium, std::move(mounted).error());
      return;
    }
    MediumContent content;
    const auto volumes = look_for_bundles(*mounted, content);
    const bool has_bundles = !volumes.empty();
    {
      const std::lock_guard lock(mutex_);
      active_disk_ = medium.disk.number;
      active_disk_gone_ = false;
      result_volumes_ = volumes;
    }
    const auto outcome = guarded([&] {
      return update_from(
          device_, std::move(content), {.obey_window = true},
          [this](const oci::Digest& bundle, std::shared_ptr<intake::MediumChunks> chunks) {
            const std::lock_guard lock(mutex_);
            active_ = std::move(chunks);
            active_bundle_ = bundle;
            // A stick that was out for a moment while the bundle was being verified waits here.
            while (active_ && move_one(waiting_, returning_)) {
            }
          },
          stop);
    });
    mounted->clear();
    const auto results = end_of_update();
    const bool told = reporter_.tell_late(outcome, results);
    if (outcome) {
      report(*outcome, told ? std::vector<media::Volume>() : results);
    } else if (has_bundles) {
      keep_for_window(medium);
    } else {
      base::log::info("no bundle on medium " + medium.disk.name);
    }
  }

  /// Unmounts what had come back, lets other media have their turn. Returns where the result goes.
  std::vector<media::Volume> end_of_update() {
    const std::lock_guard lock(mutex_);
    returned_.clear();
    while (move_one(returning_, waiting_)) {
    }
    return result_volumes_;
  }

  static bool move_one(MediaQueue& from, MediaQueue& to) {
    auto medium = from.pop({}, std::chrono::steady_clock::time_point());
    if (!medium) {
      return false;
    }
    to.push(*std::move(medium));
    return true;
  }

  /// A medium that is not even looked at: said on the device, and not on the medium. The system's
  /// own disk can look like a medium; it is there at each start and nobody has plugged it in.
  void refuse_medium(const Medium& medium, Error why) {
    if (why.code() == ErrorCode::kMediumSystemDisk) {
      base::log::info("medium " + medium.disk.name + " is not used: " + why.message());
      return;
    }
    base::log::warning("medium " + medium.disk.name + " is not used: " + why.message());
    report(refused(std::move(why)), {});
  }

  // Media that appear during an update: one of them may be the bundle that was pulled out.
  void attach_loop(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      auto medium = returning_.pop(stop, never());
      if (medium && !try_attach(*medium)) {
        waiting_.push(*std::move(medium));
      }
    }
  }

  bool try_attach(const Medium& medium) {
    auto mounted = media::open_medium(mounter_, medium, policy_);
    if (!mounted) {
      return false;  // the update loop says why, when it gets there
    }
    for (auto& volume : *mounted) {
      MediumContent content;
      open_bundles(volume.root, trust_, content);
      const std::lock_guard lock(mutex_);
      for (const auto& bundle : content.bundles) {
        auto directory = bundle.directory().duplicate();
        if (active_ && bundle.digest() == active_bundle_ && directory) {
          active_->attach(*std::move(directory));
          active_disk_ = medium.disk.number;
          result_volumes_ = {volume.volume};
          returned_ = *std::move(mounted);
          return true;
        }
      }
    }
    return false;
  }

  void report(RunOutcome outcome, const std::vector<media::Volume>& volumes) {
    reporter_.report(std::move(outcome), volumes);
  }
  bool is_repeated(const RunOutcome& outcome) const { return reporter_.is_repeated(outcome); }

  Device& device_;
  media::Mounter& mounter_;
  media::MediaPolicy policy_;
  bundle::Trust trust_;
  OutcomeReporter reporter_;

  // Of the update that is open; the update loop's own.
  bool undo_failed_ = false;
  bool ends_on_medium_ = false;  // its medium was there when it began to wait for something else

  MediaQueue waiting_;    // for the update loop
  MediaQueue returning_;  // appeared during an update
  MediaQueue early_;      // the window was closed
  std::mutex mutex_;      // guards what follows
  std::shared_ptr<intake::MediumChunks> active_;
  oci::Digest active_bundle_ = oci::Digest::of({});
  dev_t active_disk_ = 0;
  bool active_disk_gone_ = false;
  std::set<dev_t> told_;  // disks whose media know that the update is not finished
  std::vector<media::Volume> result_volumes_;
  std::vector<media::MountedMedium> returned_;
  std::jthread updater_;
  std::jthread attacher_;
};

UpdateWorker::UpdateWorker(Device& device, media::Mounter& mounter, media::MediaPolicy policy,
                           bundle::Trust trust, const record::OutcomeStore& outcomes)
    : state_(std::make_unique<State>(device, mounter, std::move(policy), std::move(trust),
                                     outcomes)) {}
UpdateWorker::~UpdateWorker() = default;

void UpdateWorker::start() {
  state_->start();
}
void UpdateWorker::post(media::MediaEvent event) {
  state_->post(std::move(event));
}
void UpdateWorker::stop() {
  state_->stop();
}

}  // namespace agent

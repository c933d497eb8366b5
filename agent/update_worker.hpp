// Works on one medium at a time, on a thread of its own, and meanwhile lets a medium that was
// pulled out come back.
#pragma once

#include <memory>

#include "base/result.hpp"
#include "bundle/trust.hpp"
#include "media/media_watcher.hpp"
#include "media/mounter.hpp"
#include "record/outcome.hpp"
#include "update_run.hpp"

namespace agent {

class UpdateWorker {
 public:
  /// References outlive the worker.
  UpdateWorker(Device& device, media::Mounter& mounter, media::MediaPolicy policy,
               bundle::Trust trust, const record::OutcomeStore& outcomes);
  UpdateWorker(const UpdateWorker&) = delete;
  UpdateWorker& operator=(const UpdateWorker&) = delete;
  ~UpdateWorker();

  /// Begins: opens the ledger, and first finishes what the journal says was under way. As long as
  /// one of the two cannot be read nothing on the device is changed, and every medium with bundles
  /// is answered with that error; they are tried again every minute.
  void start();
  /// A medium came or went. Never blocks.
  void post(media::MediaEvent event);
  /// Stops the update under way where the next start can go on, and waits for that.
  void stop();

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace agent

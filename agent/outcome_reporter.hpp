// Says how an update ended: in the log, in the device's memory, and on the medium.
#pragma once

#include <optional>
#include <vector>

#include "media/mounter.hpp"
#include "record/outcome.hpp"
#include "update_run.hpp"

namespace agent {

class OutcomeReporter {
 public:
  /// References outlive the reporter.
  OutcomeReporter(Device& device, media::Mounter& mounter, const record::OutcomeStore& outcomes)
      : device_(device), mounter_(mounter), outcomes_(outcomes) {}

  /// \param volumes where the result is written to
  void report(record::RunOutcome outcome, const std::vector<media::Volume>& volumes);
  /// As report(), and onto these volumes also what was said last: they belong to another medium.
  void answer(record::RunOutcome outcome, const std::vector<media::Volume>& volumes);
  /// For media that bring nothing to an update that cannot come to its end yet: once on each of
  /// them. Not of an agent that was only stopped: what comes next says how it ended.
  void tell_unfinished(const record::RunOutcome& outcome,
                       const std::vector<media::Volume>& volumes);
  /// The update of this very bundle came to its end while its medium was not there, as after a
  /// restart into a new OS or when it was copied first: what is written to it now is that result.
  /// \return whether it was, in place of `outcome`
  bool tell_late(const std::optional<record::RunOutcome>& outcome,
                 const std::vector<media::Volume>& volumes);
  /// Whether the last outcome said the same: a stick that stays in the port is not written to at
  /// each start.
  [[nodiscard]] bool is_repeated(const record::RunOutcome& outcome) const;

 private:
  void write_result(const record::RunOutcome& outcome, const std::vector<media::Volume>& volumes);

  Device& device_;
  media::Mounter& mounter_;
  const record::OutcomeStore& outcomes_;
  std::optional<record::RunOutcome> untold_;  // of an update whose medium was not there at its end
};

}  // namespace agent

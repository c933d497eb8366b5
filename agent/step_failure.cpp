#include "step_failure.hpp"

namespace agent {

using base::ErrorCode;
using record::Phase;

bool has_gone_back(const base::Error& why) {
  return why.code() == ErrorCode::kOsReverted || why.code() == ErrorCode::kOsNotStarted;
}

bool is_retried(Phase phase, ErrorCode code) {
  return phase == Phase::kInstallingOs || phase == Phase::kRebooting ||
         phase == Phase::kConfirmingOs || code == ErrorCode::kServiceManager ||
         code == ErrorCode::kEngineUnavailable || code == ErrorCode::kTimeout ||
         code == ErrorCode::kOsUnconfirmed || code == ErrorCode::kUpdateInProgress;
}

bool is_about_device(const base::Error& why) {
  return why.code() == ErrorCode::kUpdateLocked || why.code() == ErrorCode::kSupervisorState;
}

}  // namespace agent

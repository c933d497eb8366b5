// Which of the bundles on a medium is installed, and why not the others.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "intake/verified_bundle.hpp"
#include "plan/device_facts.hpp"
#include "plan/install_plan.hpp"
#include "record/ledger.hpp"
#include "record/outcome.hpp"

namespace agent {

/// Whether any of the bundles has a host OS.
bool bring_os(const std::vector<intake::VerifiedBundle>& bundles);

struct BundleChoice {
  std::optional<std::size_t> chosen;        // index into the bundles given
  std::optional<plan::InstallPlan> plan;    // of the chosen one
  std::vector<record::OtherBundle> others;  // every bundle that was not taken, with the reason
};

/// The applicable bundle with the highest sequence (then the later creation time). A bundle that
/// failed on this device before is not applicable. \param refused bundles that did not even verify;
/// they are put before the others of the result
BundleChoice choose_bundle(const std::vector<intake::VerifiedBundle>& bundles,
                           std::vector<record::OtherBundle> refused, const plan::DeviceFacts& facts,
                           const record::Ledger& ledger);

}  // namespace agent

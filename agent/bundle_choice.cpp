#include "bundle_choice.hpp"

#include <algorithm>
#include <numeric>

namespace agent {
namespace {

using base::Error;
using base::ErrorCode;

base::Result<plan::InstallPlan> consider(const intake::VerifiedBundle& bundle,
                                         const plan::DeviceFacts& facts,
                                         const record::Ledger& ledger) {
  if (const auto before = ledger.find(bundle.digest());
      before && !before->installed && !before->once_more) {
    return Error(ErrorCode::kBundleFailedBefore,
                 "this bundle was tried on this device before and taken back (" + before->why +
                     "); bring a newer one, or run `offline-updater-agent install --again`");
  }
  return plan::make_plan(bundle.manifest(), facts);
}

}  // namespace

bool bring_os(const std::vector<intake::VerifiedBundle>& bundles) {
  return std::any_of(bundles.begin(), bundles.end(),
                     [](const auto& bundle) { return bundle.manifest().os.has_value(); });
}

BundleChoice choose_bundle(const std::vector<intake::VerifiedBundle>& bundles,
                           std::vector<record::OtherBundle> refused, const plan::DeviceFacts& facts,
                           const record::Ledger& ledger) {
  std::vector<std::size_t> order(bundles.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const auto& left = bundles[a].manifest();
    const auto& right = bundles[b].manifest();
    return std::pair(left.sequence, left.created_at) > std::pair(right.sequence, right.created_at);
  });

  BundleChoice choice{.others = std::move(refused)};
  for (const auto index : order) {
    const auto& bundle = bundles[index];
    if (choice.chosen) {
      choice.others.push_back(
          {bundle.directory_name(),
           Error(ErrorCode::kSequenceOld, "another bundle on the medium is newer: " +
                                              bundles[*choice.chosen].directory_name())});
      continue;
    }
    auto plan = consider(bundle, facts, ledger);
    if (plan) {
      choice.chosen = index;
      choice.plan = *std::move(plan);
    } else {
      choice.others.push_back({bundle.directory_name(), std::move(plan).error()});
    }
  }
  return choice;
}

}  // namespace agent

// One look at a medium: find its bundles, choose, install, and say how it ended. The daemon and the
// install command share it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "bundle/trust.hpp"
#include "bundle_choice.hpp"
#include "intake/medium_chunks.hpp"
#include "intake/verified_bundle.hpp"
#include "update_run.hpp"

namespace agent {

/// What was found below one or several roots.
struct MediumContent {
  std::vector<intake::VerifiedBundle> bundles;
  std::vector<record::OtherBundle> refused;  // with why they did not verify
};

/// Opens and verifies every bundle below `root`; if `root` is itself a bundle's directory, that
/// one.
void open_bundles(const base::UntrustedDirectory& root, const bundle::Trust& trust,
                  MediumContent& content);

/// Told when an update begins to read a bundle, with the chunks to which a medium that comes back
/// can be attached, and with nullptr when it has ended.
using ActiveUpdate =
    std::function<void(const oci::Digest& bundle, std::shared_ptr<intake::MediumChunks> chunks)>;

/// From where, and what is to be done first.
struct SessionOptions {
  bool from_copy = false;    // the content is the copy on the device
  bool copy_first = false;   // copy it to the device, whatever the bundle and the options say
  bool obey_window = false;  // begin to install only in the hours of config.windows
};

/// Chooses among the bundles, and installs one or copies it to the device first.
/// \return nothing when there is no bundle at all, or when the window is closed and the bundle is
///   not to be copied: then it has to be looked at again when it opens
std::optional<record::RunOutcome> update_from(Device& device, MediumContent content,
                                              const SessionOptions& options,
                                              const ActiveUpdate& active, std::stop_token stop);

}  // namespace agent

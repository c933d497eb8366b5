#include "verify.hpp"

#include <algorithm>
#include <atomic>
#include <thread>

#include "base/json.hpp"
#include "base/printable.hpp"
#include "blob_check.hpp"
#include "bundle/authentic_manifest.hpp"
#include "bundle_check.hpp"
#include "bundle_files.hpp"

namespace tool {
namespace {

using base::Result;

/// Largest first, so that no thread is left with a big one at the end.
std::vector<const bundle::Blob*> by_size(const bundle::Manifest& manifest,
                                         const Findings& findings) {
  std::vector<const bundle::Blob*> blobs;
  for (const auto& [digest, blob] : manifest.blobs) {
    if (!findings.concerns(blob_path(digest))) {
      blobs.push_back(&blob);
    }
  }
  std::stable_sort(blobs.begin(), blobs.end(), [](const bundle::Blob* a, const bundle::Blob* b) {
    return a->size_bytes > b->size_bytes;
  });
  return blobs;
}

void check_blobs(bundle::ChunkProvider& chunks, const bundle::Manifest& manifest, unsigned threads,
                 Findings& findings, Console& console) {
  const auto blobs = by_size(manifest, findings);
  std::uint64_t total = 0;
  for (const bundle::Blob* blob : blobs) {
    total += blob->size_bytes;
  }
  console.phase("verifying", total);
  if (threads == 0) {
    threads = std::max(1U, std::thread::hardware_concurrency());
  }
  std::atomic<std::size_t> next{0};
  std::vector<std::jthread> workers;
  for (unsigned i = 0; i < std::min<std::size_t>(threads, blobs.size()); ++i) {
    workers.emplace_back([&] {
      for (std::size_t index = next++; index < blobs.size(); index = next++) {
        check_blob(chunks, *blobs[index], findings, console);
      }
    });
  }
  workers.clear();  // joins
  console.finish();
}

std::string id_list(const std::vector<bundle::TrustedKey>& signers) {
  std::string text;
  for (const bundle::TrustedKey& signer : signers) {
    const std::string id = bundle::to_text(signer.key.id);
    text += (text.empty() ? "" : ", ") + id;
    // minisign's own comment only says the id again.
    if (!signer.label.empty() && signer.label.find(id) == std::string::npos) {
      text += " (" + base::printable(signer.label) + ")";
    }
  }
  return text;
}

base::Json to_json(const std::vector<Finding>& findings) {
  base::Json list = base::Json::array();
  for (const Finding& finding : findings) {
    list.push_back({{"where", finding.where},
                    {"code", static_cast<int>(finding.error.code())},
                    {"name", base::name_of(finding.error.code())},
                    {"message", finding.error.message()}});
  }
  return list;
}

Outcome report(const VerifyOptions& options, const Findings& findings,
               const bundle::AuthenticManifest* authentic) {
  Outcome outcome;
  const auto all = findings.all();
  base::Json json = {{"bundle", options.bundle.string()},
                     {"verified", findings.count() == 0},
                     {"findings", to_json(all)},
                     {"findings_total", findings.count()}};
  if (authentic != nullptr) {
    json["manifest_digest"] = authentic->digest().text();
    base::Json signers = base::Json::array();
    for (const bundle::TrustedKey& signer : authentic->signers()) {
      signers.push_back(bundle::to_text(signer.key.id));
    }
    json["signers"] = std::move(signers);
  }
  outcome.json = base::to_canonical(json);
  for (const Finding& finding : all) {
    outcome.text += (finding.where.empty() ? "" : finding.where + ": ") + finding.error.message() +
                    " [" + std::string(base::name_of(finding.error.code())) + "]\n";
  }
  if (findings.count() > all.size()) {
    outcome.text += "... and " + std::to_string(findings.count() - all.size()) + " more\n";
  }
  if (findings.count() > 0) {
    outcome.exit = ExitCode::kNotVerified;
    outcome.text += options.bundle.string() + ": NOT VERIFIED" +
                    (authentic == nullptr
                         ? "; without a valid signature nothing else has been looked at\n"
                         : ": " + std::to_string(findings.count()) +
                               (findings.count() == 1 ? " thing is" : " things are") + " wrong\n");
    return outcome;
  }
  outcome.text = options.bundle.string() +
                 ": verified: " + std::to_string(authentic->manifest().blobs.size()) +
                 " blobs, signed by " + id_list(authentic->signers()) + "\n";
  return outcome;
}

}  // namespace

Result<Outcome> verify(const VerifyOptions& options, Console& console) {
  OU_TRY(const bundle::Trust trust, load_trust(options.trust));
  OU_TRY(auto directory, open_bundle(options.bundle));
  Findings findings;
  auto authentic = bundle::open_manifest(directory, trust);
  if (!authentic) {
    if (exit_code_of(authentic.error().code()) != ExitCode::kNotVerified) {
      return std::move(authentic).error().within(options.bundle.string());
    }
    findings.add("", std::move(authentic).error());
    return report(options, findings, nullptr);
  }
  const bundle::Manifest& manifest = authentic->manifest();
  check_files(directory, manifest, findings);
  OU_TRY(auto duplicate, directory.duplicate());
  bundle::DirectoryChunks chunks(std::move(duplicate));
  check_blobs(chunks, manifest, options.threads, findings, console);
  check_oci_documents(directory, chunks, manifest, findings);
  return report(options, findings, &*authentic);
}

}  // namespace tool

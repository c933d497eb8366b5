#include "record/ledger.hpp"

#include <algorithm>

#include "base/files.hpp"
#include "base/json.hpp"

namespace agent::record {
namespace {

constexpr std::size_t kMaxLedgerBytes = std::size_t{1024} * 1024;
constexpr std::size_t kMaxWhyBytes = 1024;

base::Error journal_error(base::Error error) {
  return std::move(error).as(base::ErrorCode::kJournal);
}

}  // namespace

Ledger Ledger::unopened(const std::filesystem::path& state_dir) {
  return Ledger(state_dir / "ledger.json");
}

base::Result<Ledger> Ledger::open(const std::filesystem::path& state_dir) {
  Ledger ledger(state_dir / "ledger.json");
  const auto bytes = base::read_file(ledger.file_, kMaxLedgerBytes);
  if (!bytes && bytes.error().code() == base::ErrorCode::kNotFound) {
    return ledger;
  }
  if (!bytes) {
    return journal_error(bytes.error());
  }
  const auto parsed = base::parse_json(base::as_text(*bytes), {.max_bytes = kMaxLedgerBytes});
  if (!parsed) {
    return journal_error(base::Error(parsed.error()).within("read " + ledger.file_.string()));
  }
  base::JsonObject object(*parsed, "ledger");
  base::JsonObject highest(object.object("highest_sequence"), "ledger.highest_sequence");
  for (const auto& [fleet, unused] : object.object("highest_sequence").items()) {
    ledger.highest_[fleet] = highest.number(fleet);
  }
  for (const auto& [digest, value] : object.object("bundles").items()) {
    const auto key = oci::Digest::parse(digest);
    base::JsonObject entry(value, "ledger.bundles." + digest);
    RememberedBundle bundle{.installed = entry.optional_boolean("installed").value_or(false),
                            .sequence = entry.number("sequence"),
                            .at = entry.number("at"),
                            .why = entry.text("why", kMaxWhyBytes),
                            .once_more = entry.optional_boolean("once_more").value_or(false)};
    if (auto status = entry.finish(); !status || !key) {
      return journal_error(status ? key.error() : status.error());
    }
    ledger.bundles_.emplace(*key, std::move(bundle));
  }
  for (auto* reader : {&highest, &object}) {
    if (auto status = reader->finish(); !status) {
      return journal_error(std::move(status).error());
    }
  }
  return ledger;
}

std::optional<RememberedBundle> Ledger::find(const oci::Digest& bundle) const {
  const auto found = bundles_.find(bundle);
  return found == bundles_.end() ? std::nullopt : std::optional(found->second);
}

std::uint64_t Ledger::highest_sequence(const std::string& fleet_uuid) const {
  const auto found = highest_.find(fleet_uuid);
  return found == highest_.end() ? 0 : found->second;
}

base::Status Ledger::installed(const oci::Digest& bundle, const std::string& fleet_uuid,
                               std::uint64_t sequence, std::uint64_t at) {
  remember(bundle, {.installed = true, .sequence = sequence, .at = at, .why = ""});
  auto& highest = highest_[fleet_uuid];
  highest = std::max(highest, sequence);
  return save();
}

base::Status Ledger::failed(const oci::Digest& bundle, std::uint64_t sequence, std::uint64_t at,
                            const base::Error& why, bool by_power_cut) {
  const auto before = find(bundle);
  const bool failed_before = before && !before->installed;
  remember(bundle, {.installed = false,
                    .sequence = sequence,
                    .at = at,
                    .why = why.message().substr(0, kMaxWhyBytes),
                    .once_more = by_power_cut && !failed_before});
  return save();
}

base::Status Ledger::forget(const oci::Digest& bundle) {
  bundles_.erase(bundle);
  return save();
}

void Ledger::remember(const oci::Digest& bundle, RememberedBundle entry) {
  bundles_.insert_or_assign(bundle, std::move(entry));
  while (bundles_.size() > kMaxRemembered) {
    bundles_.erase(std::min_element(bundles_.begin(), bundles_.end(), [](auto& a, auto& b) {
      return a.second.sequence < b.second.sequence;
    }));
  }
}

base::Status Ledger::save() const {
  auto bundles = base::Json::object();
  for (const auto& [digest, bundle] : bundles_) {
    bundles[digest.text()] = {{"installed", bundle.installed},
                              {"sequence", bundle.sequence},
                              {"at", bundle.at},
                              {"why", bundle.why},
                              {"once_more", bundle.once_more}};
  }
  const base::Json json{{"bundles", std::move(bundles)}, {"highest_sequence", highest_}};
  auto written = base::write_file_durably(file_, base::as_bytes(base::to_canonical(json)));
  if (!written) {
    return journal_error(std::move(written).error());
  }
  return base::ok();
}

}  // namespace agent::record

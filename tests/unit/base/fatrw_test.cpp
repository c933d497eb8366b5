// The boot partition's files: what a power cut, a full disk or another writer leaves of them.
#include "base/fatrw.hpp"

#include <openssl/evp.h>

#include <catch2/catch.hpp>

#include "base/files.hpp"
#include "support/lost_power.hpp"
#include "support/scratch.hpp"

namespace {

namespace fs = std::filesystem;
using base::ErrorCode;
using support::FailingCall;
using support::Scratch;
using support::Unsynced;

constexpr std::size_t kLimit = 1'000'000;
const std::string kOld = "{\"uuid\":\"one\",\"country\":\"GB\"}";
const std::string kNew = "{\"uuid\":\"one\",\"country\":\"DE\",\"longer\":true}";

std::string md5(const std::string& text) {
  std::array<std::uint8_t, 16> hash{};
  EVP_Digest(text.data(), text.size(), hash.data(), nullptr, EVP_md5(), nullptr);
  return base::to_hex(hash);
}

std::string plain(const fs::path& path) {
  const auto bytes = base::read_file(path, kLimit);
  return bytes ? std::string(base::as_text(*bytes)) : "(" + bytes.error().message() + ")";
}

std::string read(const fs::path& path) {
  const auto bytes = base::fatrw_read(path, kLimit);
  return bytes ? std::string(base::as_text(*bytes)) : "(" + bytes.error().message() + ")";
}

std::string peek(const fs::path& path) {
  const auto bytes = base::fatrw_peek(path, kLimit);
  return bytes ? std::string(base::as_text(*bytes)) : "(" + bytes.error().message() + ")";
}

void write(const fs::path& path, const std::string& text) {
  REQUIRE(base::fatrw_write(path, base::as_bytes(text)));
}

std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// What the OS's tool gives, written from the reference and without our code: the first checksum
/// file whose content fits, else the file.
std::string as_the_os_reads(const fs::path& file) {
  for (const auto& name : names_in(file.parent_path())) {
    const std::string start = "." + file.filename().string() + ".";
    const std::string end = ".md5sum";
    if (name.rfind(start, 0) == 0 && name.size() > 39 + start.size() &&
        name.substr(name.size() - 7) == end) {
      const auto content = plain(file.parent_path() / name);
      if (name.substr(name.size() - 39, 32) == md5(content)) {
        return content;
      }
    }
  }
  return plain(file);
}

bool is_old_or_new(const std::string& text) {
  return text == kOld || text == kNew;
}

}  // namespace

TEST_CASE("fatrw: what is written is read, and nothing else is left") {
  const Scratch scratch;
  const auto file = scratch / "config.json";
  CHECK(base::fatrw_read(file, kLimit).error().code() == ErrorCode::kNotFound);
  write(file, kOld);
  CHECK(read(file) == kOld);
  write(file, kNew);
  CHECK(plain(file) == kNew);
  CHECK(names_in(scratch.path()) == std::vector<std::string>{"config.json"});
  write(file, "");
  CHECK(read(file).empty());
  CHECK(base::fatrw_read(scratch.write("large", "12345"), 4).error().code() ==
        ErrorCode::kLimitExceeded);
}

TEST_CASE("fatrw: the mode is that of the new file") {
  const Scratch scratch;
  const auto file = scratch.write("config.json", kOld);
  fs::permissions(file, fs::perms(0644));
  CHECK(base::mode_of_file(file, 0600) == 0644);
  REQUIRE(base::fatrw_write(file, base::as_bytes(kNew), 0600));
  CHECK(base::mode_of_file(file, 0644) == 0600);
  CHECK(base::mode_of_file(scratch / "none", 0640) == 0640);
}

TEST_CASE("fatrw: a complete leftover of the OS's tool becomes the file, all others go") {
  const Scratch scratch;
  const auto file = scratch.write("config.json", kOld);
  const auto leftover = ".config.json.1a2b3c4d." + md5(kNew);
  (void)scratch.write(leftover + ".md5sum", kNew);
  (void)scratch.write(leftover + ".tmp", kNew.substr(3));
  (void)scratch.write(".config.json.00000000." + md5("other") + ".md5sum", "oth");
  (void)scratch.write(".config.json.ffffffff." + md5("later") + ".md5sum", "later");
  (void)scratch.write(".config.json.0badcafe." + md5("gone") + ".tmp", "go");
  CHECK(as_the_os_reads(file) == kNew);
  CHECK(peek(file) == kNew);
  CHECK(plain(file) == kOld);
  CHECK(names_in(scratch.path()).size() == 6);
  CHECK(read(file) == kNew);
  CHECK(plain(file) == kNew);
  CHECK(names_in(scratch.path()) == std::vector<std::string>{"config.json"});
}

TEST_CASE("fatrw: a leftover of a file with a longer name belongs to that file") {
  const Scratch scratch;
  const auto file = scratch.write("office", "office's");
  const auto other = scratch.write("office.wifi", "old");
  const auto leftover = ".office.wifi.1a2b3c4d." + md5("wifi's") + ".md5sum";
  (void)scratch.write(leftover, "wifi's");
  CHECK(read(file) == "office's");
  write(file, "office's new");
  CHECK(fs::exists(scratch / leftover));
  CHECK(read(other) == "wifi's");
  CHECK(read(file) == "office's new");
}

TEST_CASE("fatrw: an earlier writer's leftover does not come back over a later write") {
  const Scratch scratch;
  const auto file = scratch.write("config.json", kOld);
  (void)scratch.write(".config.json.1a2b3c4d." + md5("earlier") + ".md5sum", "earlier");
  write(file, kNew);
  CHECK(as_the_os_reads(file) == kNew);
  CHECK(read(file) == kNew);
}

TEST_CASE("fatrw: after a power cut at any call, every reader gives the old content or the new") {
  const auto unsynced = GENERATE(Unsynced::kKept, Unsynced::kLost, Unsynced::kBroken);
  int call = 1;
  int given_old = 0;
  for (;; ++call) {
    const Scratch scratch;
    const auto file = scratch.write("config.json", kOld);
    if (!support::lose_power(call, unsynced,
                             [&] { (void)base::fatrw_write(file, base::as_bytes(kNew)); })) {
      break;
    }
    CAPTURE(call, unsynced, names_in(scratch.path()));
    const auto theirs = as_the_os_reads(file);
    CHECK(is_old_or_new(theirs));
    CHECK(peek(file) == theirs);
    CHECK(read(file) == theirs);
    CHECK(plain(file) == theirs);
    CHECK(names_in(scratch.path()) == std::vector<std::string>{"config.json"});
    given_old += theirs == kOld ? 1 : 0;
    write(file, "third");
    CHECK(read(file) == "third");
  }
  CHECK(call > 12);
  CHECK(given_old >= 2);
  CHECK(given_old < call - 2);
}

TEST_CASE("fatrw: a second power cut while the first is recovered from changes nothing") {
  const auto unsynced = GENERATE(Unsynced::kLost, Unsynced::kBroken);
  int recoveries = 0;
  for (int first = 1;; ++first) {
    bool struck = true;
    for (int second = 1; struck; ++second) {
      const Scratch scratch;
      const auto file = scratch.write("config.json", kOld);
      if (!support::lose_power(first, unsynced,
                               [&] { (void)base::fatrw_write(file, base::as_bytes(kNew)); })) {
        CHECK(recoveries > 20);
        return;
      }
      struck = support::lose_power(second, unsynced, [&] { (void)base::fatrw_read(file, kLimit); });
      recoveries += struck ? 1 : 0;
      CAPTURE(first, second, unsynced, names_in(scratch.path()));
      CHECK(is_old_or_new(as_the_os_reads(file)));
      CHECK(is_old_or_new(read(file)));
    }
  }
}

TEST_CASE("fatrw: a power cut while writing over a leftover loses neither") {
  const auto unsynced = GENERATE(Unsynced::kKept, Unsynced::kLost, Unsynced::kBroken);
  for (int call = 1;; ++call) {
    const Scratch scratch;
    // The file itself was torn by the cut before: its content is in the leftover alone.
    const auto file = scratch.write("config.json", kOld.substr(0, 7));
    (void)scratch.write(".config.json.1a2b3c4d." + md5(kOld) + ".md5sum", kOld);
    if (!support::lose_power(call, unsynced,
                             [&] { (void)base::fatrw_write(file, base::as_bytes(kNew)); })) {
      CHECK(call > 15);
      break;
    }
    CAPTURE(call, unsynced, names_in(scratch.path()));
    CHECK(is_old_or_new(as_the_os_reads(file)));
    CHECK(is_old_or_new(read(file)));
  }
}

TEST_CASE("fatrw: without room, whichever call finds out, the old content stays") {
  int refused = 0;
  for (int call = 1;; ++call) {
    const Scratch scratch;
    const auto file = scratch.write("config.json", kOld);
    base::Status written;
    bool struck = false;
    {
      const FailingCall full(call, ENOSPC);
      written = base::fatrw_write(file, base::as_bytes(kNew));
      struck = full.struck();
    }
    if (!struck) {
      break;
    }
    CAPTURE(call, names_in(scratch.path()));
    REQUIRE_FALSE(written);
    CHECK(written.error().code() == ErrorCode::kNoSpace);
    // From the rename on it is too late to go back, and the new content is safe.
    const bool renamed = plain(file) == kNew;
    CHECK(as_the_os_reads(file) == (renamed ? kNew : kOld));
    CHECK(read(file) == (renamed ? kNew : kOld));
    CHECK(names_in(scratch.path()) == std::vector<std::string>{"config.json"});
    refused += renamed ? 0 : 1;
  }
  CHECK(refused >= 8);
}

TEST_CASE("fatrw: without room to finish another's write, nothing is changed") {
  const Scratch scratch;
  const auto file = scratch.write("config.json", kOld);
  (void)scratch.write(".config.json.1a2b3c4d." + md5(kNew) + ".md5sum", kNew);
  {
    const FailingCall full(1, ENOSPC);
    CHECK(base::fatrw_read(file, kLimit).error().code() == ErrorCode::kNoSpace);
  }
  CHECK(plain(file) == kOld);
  CHECK(peek(file) == kNew);
  CHECK(read(file) == kNew);
}

#include "intake/bundle_finder.hpp"

#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "support/scratch.hpp"

namespace {

using agent::intake::find_bundles;
using base::ErrorCode;
namespace fs = std::filesystem;

base::UntrustedDirectory open(const support::Scratch& scratch) {
  return *base::UntrustedDirectory::open(scratch.path());
}

}  // namespace

TEST_CASE("bundle finder: finds directories by their ending, in any case, in byte order") {
  const support::Scratch scratch;
  for (const char* name : {"b.bundle", "A.BUNDLE", "release 2.Bundle", "bundle", "x.bundles",
                           "x.bundle.old", "photos"}) {
    fs::create_directory(scratch / name);
  }
  const auto found = find_bundles(open(scratch));
  REQUIRE(found);
  CHECK(found->names == std::vector<std::string>{"A.BUNDLE", "b.bundle", "release 2.Bundle"});
  CHECK(found->refused.empty());
}

TEST_CASE("bundle finder: ignores what operating systems leave behind") {
  const support::Scratch scratch;
  for (const char* name : {"._a.bundle", ".bundle", ".Trashes", "System Volume Information"}) {
    fs::create_directory(scratch / name);
  }
  static_cast<void>(scratch.write("._b.bundle", "resource fork"));
  const auto found = find_bundles(open(scratch));
  REQUIRE(found);
  CHECK(found->names.empty());
  CHECK(found->refused.empty());
}

TEST_CASE("bundle finder: refuses links, files and special files that are named like bundles") {
  const support::Scratch scratch;
  static_cast<void>(scratch.write("file.bundle", "not a directory"));
  fs::create_directory(scratch / "elsewhere");
  fs::create_directory_symlink("elsewhere", scratch / "link.bundle");
  fs::create_directory_symlink("/etc", scratch / "outside.bundle");
  REQUIRE(::mkfifo((scratch / "pipe.bundle").c_str(), 0600) == 0);
  const auto found = find_bundles(open(scratch));
  REQUIRE(found);
  CHECK(found->names.empty());
  REQUIRE(found->refused.size() == 4);
  for (const auto& [name, error] : found->refused) {
    CHECK(error.code() == ErrorCode::kMediumUnsafeEntry);
    CHECK(error.message().find(name) != std::string::npos);
  }
}

TEST_CASE("bundle finder: shows a hostile name without its control characters") {
  const support::Scratch scratch;
  const std::string name = "\x1b[2Jevil\n.bundle";
  static_cast<void>(scratch.write(name, ""));
  const auto found = find_bundles(open(scratch));
  REQUIRE(found);
  REQUIRE(found->refused.size() == 1);
  CHECK(found->refused[0].first == name);
  const std::string message = found->refused[0].second.message();
  CHECK(message.find('\x1b') == std::string::npos);
  CHECK(message.find('\n') == std::string::npos);
}

TEST_CASE("bundle finder: gives up on more entries than a medium has any reason to have") {
  const support::Scratch scratch;
  SECTION("bundles") {
    for (std::size_t i = 0; i <= agent::intake::kMaxBundles; ++i) {
      fs::create_directory(scratch / (std::to_string(i) + ".bundle"));
    }
  }
  SECTION("anything") {
    for (std::size_t i = 0; i <= agent::intake::kMaxRootEntries; ++i) {
      static_cast<void>(scratch.write(std::to_string(i), ""));
    }
  }
  const auto found = find_bundles(open(scratch));
  REQUIRE_FALSE(found);
  CHECK(found.error().code() == ErrorCode::kLimitExceeded);
}

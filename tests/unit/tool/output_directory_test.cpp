// A bundle has its name only when it is complete.
#include "output_directory.hpp"

#include <catch2/catch.hpp>

#include "support/scratch.hpp"

namespace fs = std::filesystem;
using tool::OutputDirectory;

TEST_CASE("output: nothing is under the final name before commit, everything after") {
  const support::Scratch scratch;
  const fs::path path = scratch / "a.bundle";
  {
    auto output = OutputDirectory::open(path, false, OutputDirectory::Leftover::kDiscard);
    REQUIRE(output.has_value());
    std::ofstream(output->path() / "manifest.json") << "{}";
    CHECK_FALSE(fs::exists(path));
    REQUIRE(output->commit().has_value());
  }
  CHECK(fs::exists(path / "manifest.json"));
  CHECK_FALSE(fs::exists(path.string() + ".partial"));
}

TEST_CASE("output: given up, it goes; or stays, if asked to") {
  const support::Scratch scratch;
  const fs::path path = scratch / "a.bundle";
  for (const auto leftover :
       {OutputDirectory::Leftover::kDiscard, OutputDirectory::Leftover::kKeep}) {
    {
      auto output = OutputDirectory::open(path, false, leftover);
      REQUIRE(output.has_value());
      std::ofstream(output->path() / "x") << "x";
    }
    CHECK_FALSE(fs::exists(path));
    CHECK(fs::exists(path.string() + ".partial") == (leftover == OutputDirectory::Leftover::kKeep));
  }
  auto again = OutputDirectory::open(path, false, OutputDirectory::Leftover::kDiscard);
  REQUIRE(again.has_value());
  CHECK(fs::is_empty(again->path()));
}

TEST_CASE("output: two at once do not mix") {
  const support::Scratch scratch;
  auto one = OutputDirectory::open(scratch / "a.bundle", false, OutputDirectory::Leftover::kKeep);
  REQUIRE(one.has_value());
  auto two = OutputDirectory::open(scratch / "a.bundle", true, OutputDirectory::Leftover::kDiscard);
  REQUIRE_FALSE(two.has_value());
  CHECK(two.error().code() == base::ErrorCode::kAlreadyExists);
  CHECK(fs::exists(one->path()));
}

TEST_CASE("output: what is there is replaced only by force, and only if it is a bundle") {
  const support::Scratch scratch;
  const fs::path bundle = scratch.write("a.bundle/manifest.json", "old").parent_path();
  const fs::path other = scratch.write("b.bundle/holiday.jpg", "x").parent_path();
  const auto kDiscard = OutputDirectory::Leftover::kDiscard;
  CHECK(OutputDirectory::open(bundle, false, kDiscard).error().code() ==
        base::ErrorCode::kAlreadyExists);
  CHECK(OutputDirectory::open(other, true, kDiscard).error().code() ==
        base::ErrorCode::kAlreadyExists);
  CHECK(fs::exists(other / "holiday.jpg"));
  auto output = OutputDirectory::open(bundle, true, kDiscard);
  REQUIRE(output.has_value());
  std::ofstream(output->path() / "new") << "x";
  CHECK(fs::exists(bundle / "manifest.json"));
  REQUIRE(output->commit().has_value());
  CHECK(fs::exists(bundle / "new"));
  CHECK_FALSE(fs::exists(bundle / "manifest.json"));
  CHECK_FALSE(fs::exists(bundle.string() + ".replaced"));
}

TEST_CASE("output: names that devices or FAT do not take are refused") {
  for (const char* name : {"a", ".bundle", "a.bundle.zip", "a?.bundle", "a:b.bundle"}) {
    INFO(name);
    CHECK(tool::check_bundle_name(name).error().code() == base::ErrorCode::kUsage);
  }
  CHECK(tool::check_bundle_name("/some/where/a.bundle").has_value());
}

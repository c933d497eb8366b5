// Whether files fit a medium, decided before anything is written.
#include "destination.hpp"

#include <catch2/catch.hpp>

#include "support/scratch.hpp"

namespace {

tool::ListedFile file(std::uint64_t size_bytes) {
  return {"blobs/sha256/x", size_bytes, oci::Digest::of({})};
}

tool::Destination roomy() {
  tool::Destination destination;
  destination.filesystem = "FAT";
  destination.block_bytes = 32'768;
  destination.free_bytes = std::uint64_t{64} << 30;
  return destination;
}

}  // namespace

TEST_CASE("destination: FAT holds no file of 4 GiB, and one byte less is fine") {
  tool::Destination destination = roomy();
  destination.max_file_bytes = (std::uint64_t{4} << 30) - 1;
  CHECK(tool::check_fits(destination, {file(destination.max_file_bytes)}).has_value());
  const auto refused = tool::check_fits(destination, {file(destination.max_file_bytes + 1)});
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code() == base::ErrorCode::kBlobTooLarge);
  CHECK(refused.error().message().find("exFAT") != std::string::npos);
}

TEST_CASE("destination: every file takes whole blocks") {
  tool::Destination destination = roomy();
  destination.free_bytes = 20 * destination.block_bytes;
  const std::vector<tool::ListedFile> small(15, file(1));
  CHECK(tool::check_fits(destination, small).has_value());
  const std::vector<tool::ListedFile> more(17, file(1));
  const auto refused = tool::check_fits(destination, more);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code() == base::ErrorCode::kNoSpace);
}

TEST_CASE("destination: inodes are counted where the file system counts them") {
  tool::Destination destination = roomy();
  destination.free_inodes = 5;
  CHECK(tool::check_fits(destination, {file(1), file(1)}).has_value());
  destination.counts_inodes = true;
  const auto refused = tool::check_fits(destination, {file(1), file(1)});
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code() == base::ErrorCode::kNotEnoughInodes);
}

TEST_CASE("destination: a file or nothing at all is no destination") {
  const support::Scratch scratch;
  CHECK(tool::survey_destination(scratch.path()).has_value());
  CHECK(tool::survey_destination(scratch / "nothing").error().code() == base::ErrorCode::kNotFound);
  CHECK(tool::survey_destination(scratch.write("file", "x")).error().code() ==
        base::ErrorCode::kUsage);
}

// A bundle directory: opened, checked against its manifest, and refused.
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "bundle/authentic_manifest.hpp"
#include "support/bundle_builder.hpp"
#include "support/scratch.hpp"

namespace {

using base::ErrorCode;

struct Fixture {
  Fixture() {
    built = support::build_bundle(scratch / "b.bundle",
                                  {{support::tar_of("app", support::random_bytes(100'000))}});
    support::write_manifest(built, {&key});
  }
  [[nodiscard]] base::UntrustedDirectory directory() const {
    auto opened = base::UntrustedDirectory::open(built.directory);
    REQUIRE(opened);
    return *std::move(opened);
  }
  [[nodiscard]] ErrorCode open_error() const {
    const auto opened = bundle::open_manifest(directory(), support::trust_in({&key}));
    REQUIRE_FALSE(opened);
    return opened.error().code();
  }
  [[nodiscard]] ErrorCode layout_error() const {
    const auto status = bundle::check_layout(directory(), built.manifest);
    REQUIRE_FALSE(status);
    return status.error().code();
  }
  [[nodiscard]] std::filesystem::path blob() const {
    return built.directory / "blobs/sha256" / built.manifest.images[0].layers[0].blob.hex();
  }

  support::Scratch scratch;
  bundle::SecretKey key = *bundle::SecretKey::generate();
  support::BuiltBundle built;
};

}  // namespace

TEST_CASE_METHOD(Fixture, "open_manifest: a signed bundle opens, and its digest is of the bytes") {
  const auto opened = bundle::open_manifest(directory(), support::trust_in({&key}));
  REQUIRE(opened);
  CHECK(opened->digest() == oci::Digest::of(base::as_bytes(bundle::to_json(built.manifest))));
  CHECK(opened->signers().size() == 1);
  CHECK(bundle::check_layout(directory(), opened->manifest()));
}

TEST_CASE_METHOD(Fixture, "open_manifest: each way of not being signed has its error") {
  const auto signature = built.directory / "manifest.json.minisig";
  auto other = *bundle::SecretKey::generate();
  const auto untrusted = bundle::open_manifest(directory(), support::trust_in({&other}));
  REQUIRE_FALSE(untrusted);
  CHECK(untrusted.error().code() == ErrorCode::kSignatureUntrusted);
  const auto few = bundle::open_manifest(directory(), support::trust_in({&key, &other}, 2));
  REQUIRE_FALSE(few);
  CHECK(few.error().code() == ErrorCode::kSignatureThreshold);

  std::ofstream(built.directory / "manifest.json", std::ios::app) << " ";
  CHECK(open_error() == ErrorCode::kSignatureInvalid);
  std::ofstream(signature, std::ios::trunc) << "nothing";
  CHECK(open_error() == ErrorCode::kSignatureMalformed);
  std::filesystem::remove(signature);
  CHECK(open_error() == ErrorCode::kSignatureMissing);
  std::filesystem::remove(built.directory / "manifest.json");
  CHECK(open_error() == ErrorCode::kBundleLayout);
}

TEST_CASE_METHOD(Fixture, "open_manifest: an oversized manifest is not read to its end") {
  std::filesystem::resize_file(built.directory / "manifest.json", std::uintmax_t{1} << 32U);
  CHECK(open_error() == ErrorCode::kManifestTooLarge);
}

TEST_CASE_METHOD(Fixture, "open_manifest: a FIFO or link in place of the manifest is refused") {
  const auto path = built.directory / "manifest.json";
  std::filesystem::rename(path, scratch / "real");
  std::filesystem::create_symlink(scratch / "real", path);
  CHECK(open_error() == ErrorCode::kMediumUnsafeEntry);
  std::filesystem::remove(path);
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  CHECK(open_error() == ErrorCode::kMediumUnsafeEntry);
}

TEST_CASE_METHOD(Fixture, "check_layout: what is missing, short, extra or altered has its error") {
  const auto keep = scratch / "keep";
  std::filesystem::copy_file(blob(), keep);
  std::filesystem::remove(blob());
  CHECK(layout_error() == ErrorCode::kBlobMissing);
  std::filesystem::copy_file(keep, blob());
  std::filesystem::resize_file(blob(), 10);
  CHECK(layout_error() == ErrorCode::kBlobSize);
  std::filesystem::remove(blob());
  std::filesystem::copy_file(keep, blob());
  CHECK(bundle::check_layout(directory(), built.manifest));

  for (const std::string extra : {"surprise", "blobs/other", "blobs/sha256/0000"}) {
    INFO(extra);
    std::ofstream(built.directory / extra) << "x";
    CHECK(layout_error() == ErrorCode::kBlobUnlisted);
    std::filesystem::remove(built.directory / extra);
  }
  std::ofstream(built.directory / "index.json", std::ios::app) << " ";
  CHECK(layout_error() == ErrorCode::kFileAltered);
  std::filesystem::remove(built.directory / "index.json");
  CHECK(layout_error() == ErrorCode::kBundleLayout);
}

TEST_CASE_METHOD(Fixture, "check_layout: the litter of other operating systems is ignored") {
  for (const std::string litter : {"._manifest.json", ".DS_Store", "System Volume Information",
                                   "thumbs.DB", "blobs/sha256/._x"}) {
    std::ofstream(built.directory / litter) << "x";
  }
  CHECK(bundle::check_layout(directory(), built.manifest));
}

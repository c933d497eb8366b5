// A medium that answers differently when it is asked again: whatever the engine asks for, no byte
// that was not verified in the very read that it comes from leaves the registry.
#include <catch2/catch.hpp>

#include "support/command.hpp"
#include "support/http_client.hpp"
#include "support/served_bundle.hpp"

namespace {

using base::ErrorCode;
using support::http_get;

constexpr std::uint32_t kChunk = 64 * 1024;

/// `bundle` as faultfs shows it, until the end of the test.
class LyingMedium {
 public:
  LyingMedium(const support::ServedBundle& bundle, int honest_reads) {
    support::must_run(
        {OU_FAULTFS, bundle.scratch.path(), mount_.path(), std::to_string(honest_reads)});
  }
  LyingMedium(const LyingMedium&) = delete;
  LyingMedium& operator=(const LyingMedium&) = delete;
  ~LyingMedium() { support::run_command({"fusermount3", "-u", mount_.path()}); }

  [[nodiscard]] base::UntrustedDirectory open() const {
    return *base::UntrustedDirectory::open(mount_.path());
  }

 private:
  support::Scratch mount_;
};

}  // namespace

TEST_CASE("lying medium: what is asked for again is verified again, and nothing false is served") {
  const bool framed = GENERATE(false, true);
  const auto content = support::noise(5 * kChunk + 100);
  const support::ServedBundle bundle(
      {framed ? support::framed_blob(content, kChunk) : support::plain_blob(content, kChunk)});
  const auto& layer = bundle.layers[0].blob.uncompressed_digest;
  const LyingMedium medium(bundle, 1);
  const support::RunningRegistry serving(bundle.manifest, medium.open());
  const auto get = [&](const std::string& headers = "") {
    return http_get(serving.port(), serving.blob_path(layer), headers);
  };

  const auto first = get();
  CHECK(first.status == 200);
  CHECK((first.body == content));
  CHECK_FALSE(serving.registry->failure());

  SECTION("as a whole") {
    const auto second = get();
    CHECK_FALSE(second.complete);
    CHECK(second.body.empty());
  }
  SECTION("from the middle on, as an engine resumes") {
    const auto second = get("Range: bytes=" + std::to_string(2 * kChunk) + "-\r\n");
    CHECK_FALSE(second.complete);
    CHECK(second.body.empty());
  }
  const auto failure = serving.registry->failure();
  REQUIRE(failure);
  CHECK(failure->code() == ErrorCode::kBlobAltered);
}

TEST_CASE("lying medium: one that lies from the beginning gets nothing into a reply") {
  const support::ServedBundle bundle({support::plain_blob(support::noise(3 * kChunk), kChunk)});
  const LyingMedium medium(bundle, 0);
  agent::intake::MediumChunks chunks(medium.open(), std::chrono::seconds(60), {});
  const auto registry = agent::install::LoopbackRegistry::start({}, bundle.manifest, chunks);
  REQUIRE_FALSE(registry);  // the image's configuration is read, and does not verify
  CHECK(registry.error().code() == ErrorCode::kBlobAltered);
}

#include "platform/engine_replies.hpp"

#include <catch2/catch.hpp>

namespace {

using namespace agent::platform;
using base::ErrorCode;

const std::string kDigest = "sha256:" + std::string(64, 'a');

std::string info(const std::string& init) {
  return R"({"DockerRootDir":"/mnt/data/docker","InitBinary":")" + init + R"(","Containers":1})";
}
std::string version(const std::string& number) {
  return R"({"Version":")" + number + R"(","Arch":"arm64","ApiVersion":"1.41"})";
}

std::string container(const std::string& state, const std::string& policy = "always") {
  return R"({"Id":"c1","Name":"/main_1_2_3","Image":")" + kDigest +
         R"(","RestartCount":4,"State":)" + state +
         R"(,"Config":{"Labels":{"io.balena.app-id":"7","odd":5}},)" +
         R"("HostConfig":{"RestartPolicy":{"Name":")" + policy + R"("}}})";
}

}  // namespace

TEST_CASE("engine replies: facts say where the engine's data is and what it is") {
  const auto facts = read_facts(info("docker-init"), version("20.10.24+dfsg1"));
  REQUIRE(facts);
  CHECK(facts->version == "20.10.24+dfsg1");
  CHECK(facts->data_root == "/mnt/data/docker");
  CHECK(facts->architecture == "arm64");
}

TEST_CASE("engine replies: only an engine that is known to stream is trusted with less room") {
  CHECK_FALSE(read_facts(info("balena-engine-init"), version("20.10.43"))->spools_pulls);
  CHECK_FALSE(read_facts(info("balena-engine-init"), version("19.03.30"))->spools_pulls);
  CHECK(read_facts(info("balena-engine-init"), version("25.0.14"))->spools_pulls);
  CHECK(read_facts(info("balena-engine-init"), version("dev"))->spools_pulls);
  CHECK(read_facts(info("docker-init"), version("20.10.24"))->spools_pulls);
  CHECK(read_facts(R"({"DockerRootDir":"/x"})", version("20.10.24"))->spools_pulls);
}

TEST_CASE("engine replies: an image has its ID, names and layers") {
  const auto image =
      read_image(R"({"Id":")" + kDigest +
                 R"(","RepoTags":["a:1","b:2"],"RepoDigests":["c@d"],"RootFS":{"Layers":[")" +
                 kDigest + R"("]}})");
  REQUIRE(image);
  CHECK(image->id.text() == kDigest);
  CHECK(image->tags == std::vector<std::string>{"a:1", "b:2"});
  CHECK(image->digests == std::vector<std::string>{"c@d"});
  CHECK(image->diff_ids.size() == 1);
  const auto bare = read_image(R"({"Id":")" + kDigest + R"(","RepoTags":null,"RootFS":null})");
  REQUIRE(bare);
  CHECK(bare->tags.empty());
}

TEST_CASE("engine replies: a container has its state, health and labels") {
  const auto healthy = read_container(container(
      R"({"Running":true,"Restarting":false,"ExitCode":0,"StartedAt":"2026-01-01T00:00:00Z","Health":{"Status":"healthy"}})"));
  REQUIRE(healthy);
  CHECK(healthy->name == "main_1_2_3");
  CHECK(healthy->image_id.text() == kDigest);
  CHECK(healthy->running);
  CHECK_FALSE(healthy->restarting);
  CHECK(healthy->restart_count == 4);
  CHECK(healthy->started_at == "2026-01-01T00:00:00Z");
  CHECK(healthy->health == "healthy");
  CHECK(healthy->labels == std::map<std::string, std::string>{{"io.balena.app-id", "7"}});
  const auto crashed = read_container(container(
      R"({"Running":false,"Restarting":true,"ExitCode":137,"Health":{"Status":"none"}})"));
  REQUIRE(crashed);
  CHECK(crashed->restarting);
  CHECK(crashed->exit_code == 137);
  CHECK(crashed->health.empty());
  CHECK_FALSE(crashed->may_end);
  for (const auto* policy : {"no", "on-failure"}) {
    CHECK(read_container(container(R"({"Running":false})", policy))->may_end);
  }
}

TEST_CASE("engine replies: a reply that is not what the API says is an error of the engine") {
  for (const char* text : {"", "{", "null", "[]", "{}", R"({"Id":5})", R"({"Id":"sha256:1"})"}) {
    CAPTURE(text);
    const auto image = read_image(text);
    REQUIRE_FALSE(image);
    CHECK(image.error().code() == ErrorCode::kEngine);
    CHECK_FALSE(read_container(text));
    CHECK_FALSE(read_facts(text, version("20.10.24")));
  }
  CHECK_FALSE(read_ids("{}"));
  CHECK_FALSE(read_ids("[{}]"));
  CHECK(read_ids(R"([{"Id":"a"},{"Id":"b"}])") == std::vector<std::string>{"a", "b"});
}

TEST_CASE("engine replies: an error is told in the engine's words, made printable") {
  CHECK(error_words(R"({"message":"conflict: in use"})") == "conflict: in use");
  CHECK(error_words("plain text\x1b[2J").find('\x1b') == std::string::npos);
}

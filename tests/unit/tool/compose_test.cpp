// What a compose file means for a release, and what is refused or warned about.
#include "compose.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>

#include "base/json.hpp"

namespace {

tool::ReleaseDraft read(const std::string& yaml) {
  auto draft = tool::parse_compose(yaml);
  INFO((draft ? std::string() : draft.error().message()));
  REQUIRE(draft.has_value());
  return *std::move(draft);
}

base::Error refused(const std::string& yaml) {
  auto draft = tool::parse_compose(yaml);
  REQUIRE_FALSE(draft.has_value());
  return draft.error();
}

base::Json composition(const tool::ReleaseDraft& draft, std::size_t index = 0) {
  return base::Json::parse(draft.services.at(index).composition_json);
}

bool warns(const tool::ReleaseDraft& draft, const std::string& part) {
  return std::any_of(draft.warnings.begin(), draft.warnings.end(), [&](const std::string& warning) {
    return warning.find(part) != std::string::npos;
  });
}

std::string one_service(const std::string& fields) {
  return "services:\n  main:\n    image: busybox\n" + fields;
}

}  // namespace

TEST_CASE("compose: a service keeps everything but image, build, environment and labels") {
  const auto draft = read(R"(
version: "2.4"
services:
  main:
    image: registry/main
    build: ./main
    restart: always
    privileged: true
    mem_limit: 104857600
    environment:
      LOG_LEVEL: info
    labels:
      io.balena.features.supervisor-api: 1
    volumes:
      - data:/data
volumes:
  data:
networks: {}
)");
  REQUIRE(draft.services.size() == 1);
  const auto& service = draft.services[0];
  CHECK(service.name == "main");
  CHECK(service.environment == std::map<std::string, std::string>{{"LOG_LEVEL", "info"}});
  CHECK(service.labels ==
        std::map<std::string, std::string>{{"io.balena.features.supervisor-api", "1"}});
  CHECK(service.composition_json ==
        R"({"mem_limit":104857600,"privileged":true,"restart":"always","volumes":["data:/data"]})");
  CHECK(draft.volumes_json == R"({"data":{}})");
  CHECK(draft.networks_json == "{}");
  CHECK(warns(draft, "services.main.build"));
}

TEST_CASE("compose: environment as a list and as a map give the same") {
  const auto list = read(one_service("    environment: [A=1, B=x=y, C=]\n"));
  const auto map = read(one_service("    environment: {A: 1, B: x=y, C: ''}\n"));
  CHECK(list.services[0].environment == map.services[0].environment);
  CHECK(list.services[0].environment.at("B") == "x=y");
}

TEST_CASE("compose: values for the environment stay as written") {
  const auto draft = read(one_service(
      "    environment: {A: 1.0, B: 0644, C: true, D: no, E: 0x10, F: 22:22, G: \"null\"}\n"));
  const auto& environment = draft.services[0].environment;
  CHECK(environment.at("A") == "1.0");
  CHECK(environment.at("B") == "0644");
  CHECK(environment.at("C") == "true");
  CHECK(environment.at("D") == "no");
  CHECK(environment.at("E") == "0x10");
  CHECK(environment.at("F") == "22:22");
  CHECK(environment.at("G") == "null");
}

TEST_CASE("compose: scalars of a composition have YAML 1.2's types") {
  const auto json = composition(read(one_service(
      "    cpus: 1.5\n    pids_limit: -1\n    tty: false\n    restart: no\n    cpu_shares: 0x10\n"
      "    ports: [80, 22:22]\n    command: [sleep, 10, true]\n    domainname: ~\n")));
  CHECK(json["cpus"] == 1.5);
  CHECK(json["pids_limit"] == -1);
  CHECK(json["tty"] == false);
  CHECK(json["restart"] == "no");
  CHECK(json["cpu_shares"] == 16);
  CHECK(json["ports"] == base::Json({"80", "22:22"}));
  CHECK(json["command"] == base::Json({"sleep", "10", "true"}));
  CHECK(json["domainname"].is_null());
}

TEST_CASE("compose: anchors and merge keys work, nearer values win, x- keys leave no trace") {
  const auto draft = read(R"(
x-common: &common
  restart: unless-stopped
  environment: &env {A: from-common, B: 2}
services:
  one:
    <<: *common
    environment:
      <<: *env
      A: own
  two:
    <<: [{restart: always}, *common]
    x-note: nothing
)");
  REQUIRE(draft.services.size() == 2);
  CHECK(draft.services[0].environment ==
        std::map<std::string, std::string>{{"A", "own"}, {"B", "2"}});
  CHECK(composition(draft, 0)["restart"] == "unless-stopped");
  CHECK(draft.services[1].composition_json == R"({"restart":"always"})");
  CHECK(draft.warnings.empty());
}

TEST_CASE("compose: the same content in another order gives the same release") {
  const auto one = read("services: {b: {tty: true, init: true}, a: {}}\n");
  const auto two = read("services:\n  a: {}\n  b:\n    init: true\n    tty: true\n");
  CHECK(one.services[0].name == "a");
  CHECK(two.services[1].composition_json == one.services[1].composition_json);
}

TEST_CASE("compose: $$ is a dollar, and variables are refused with their place") {
  CHECK(read(one_service("    command: echo $$HOME\n")).services[0].composition_json ==
        R"({"command":"echo $HOME"})");
  for (const std::string value : {"${TAG}", "$TAG", "a$", "$(x)", "${TAG:-1}"}) {
    const auto error = refused(one_service("    environment:\n      X: '" + value + "'\n"));
    CHECK(error.code() == base::ErrorCode::kComposeInvalid);
    CHECK(error.message().find("services.main.environment.X") != std::string::npos);
    CHECK(error.message().find("line 5") != std::string::npos);
    CHECK(error.message().find("$$") != std::string::npos);
  }
}

TEST_CASE("compose: what would come from outside the file is refused") {
  for (const std::string field :
       {"env_file: .env", "extends: {service: base}", "secrets: [a]", "configs: [a]"}) {
    CHECK(refused(one_service("    " + field + "\n")).code() == base::ErrorCode::kComposeInvalid);
  }
  CHECK(refused("include: [a.yml]\n" + one_service("")).message().find("include") == 0);
  const auto error = refused(one_service("    environment: [FROM_SHELL]\n"));
  CHECK(error.message().find("services.main.environment.FROM_SHELL") != std::string::npos);
  CHECK(refused(one_service("    environment: {FROM_SHELL: }\n")).code() ==
        base::ErrorCode::kComposeInvalid);
}

TEST_CASE("compose: what the supervisor drops is warned about") {
  const auto draft = read(one_service(
      "    container_name: x\n    deploy: {replicas: 2}\n    network_mode: container:y\n"
      "    volumes: [/etc:/host-etc, ./src:/src, /anonymous,"
      " {type: bind, source: /run, target: /r}]\n"
      "    runtime: nvidia\n"));
  CHECK(warns(draft, "container_name"));
  CHECK(warns(draft, "deploy"));
  CHECK(warns(draft, "network_mode"));
  CHECK(warns(draft, "/etc"));
  CHECK(warns(draft, "./src"));
  CHECK(warns(draft, "/anonymous"));
  CHECK(warns(draft, "/run"));
  CHECK(warns(draft, "runtime"));
}

TEST_CASE("compose: forms that the supervisor cannot read become the one that it can") {
  const auto draft = read(
      "services:\n  a:\n    depends_on: {b: {condition: service_started}, c: {}}\n"
      "    extra_hosts: {printer: 10.0.0.7}\n  b: {depends_on: [c]}\n  c: {init: true}\n");
  CHECK(composition(draft)["depends_on"] == base::Json::array({"b", "c"}));
  CHECK(composition(draft)["extra_hosts"] == base::Json::array({"printer:10.0.0.7"}));
  CHECK(composition(draft, 1)["depends_on"] == base::Json::array({"c"}));
  refused(one_service("    depends_on: [nobody]\n"));
  refused("services:\n  a: {depends_on: {b: {condition: service_healthy}}}\n  b: {}\n");
  refused(one_service("    depends_on: 7\n"));
  refused(one_service("    ports: [{target: 80, published: 80}]\n"));
}

TEST_CASE("compose: a service may be called like a field") {
  const auto draft = read(
      "services:\n  test: {privileged: true, healthcheck: {test: [CMD, 1], retries: 3}}\n"
      "  user: {cpuset: 0, stop_signal: 15, init: true}\n");
  CHECK(composition(draft)["privileged"] == true);
  CHECK(composition(draft)["healthcheck"]["retries"] == 3);
  CHECK(composition(draft)["healthcheck"]["test"] == base::Json::array({"CMD", "1"}));
  CHECK(composition(draft, 1)["cpuset"] == "0");
  CHECK(composition(draft, 1)["stop_signal"] == "15");
  CHECK(composition(draft, 1)["init"] == true);
}

TEST_CASE("compose: a volume that is used has to be declared") {
  const auto error = refused(one_service("    volumes: [data:/data]\n"));
  CHECK(error.message().find("\"data\"") != std::string::npos);
  CHECK(read(one_service("    volumes: [{type: volume, source: data, target: /d}]\n") +
             "volumes: {data: {driver_opts: {size: 10}}}\n")
            .volumes_json == R"({"data":{"driver_opts":{"size":"10"}}})");
}

TEST_CASE("compose: a network that is used has to be declared, except the default one") {
  CHECK(refused(one_service("    networks: [back]\n")).message().find("\"back\"") !=
        std::string::npos);
  CHECK(refused(one_service("    networks: {back: {aliases: [x]}}\n")).code() ==
        base::ErrorCode::kComposeInvalid);
  CHECK(
      read(one_service("    networks: [back, default]\n") + "networks: {back: {internal: true}}\n")
          .networks_json == R"({"back":{"internal":true}})");
}

TEST_CASE("compose: names that the supervisor does not take are refused") {
  CHECK(refused("services: {'a b': {}}\n").code() == base::ErrorCode::kComposeInvalid);
  CHECK(refused("services: {'../x': {}}\n").code() == base::ErrorCode::kComposeInvalid);
  CHECK(refused(one_service("    environment: {A-B: 1}\n")).code() ==
        base::ErrorCode::kComposeInvalid);
}

TEST_CASE("compose: files that are none are refused") {
  for (const std::string text :
       {"", "services:\n", "services: []\n", "- a\n", "a: b: c\n", "services: {a: {}}\n---\nb: 1\n",
        "services: {a: 1}\n", "services: {a: {tty: 1, tty: 2}}\n",
        "services: {a: {b: !custom 1}}\n", "services: {a: {}}\nvolumes: [x]\n", "[1]: 2\n",
        "\xff\xfe", "services: {a: {volumes: x}}\n"}) {
    INFO(text);
    CHECK(refused(text).code() == base::ErrorCode::kComposeInvalid);
  }
}

TEST_CASE("compose: aliases that multiply are stopped") {
  std::string bomb = "x0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 9; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    bomb += "x" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int k = 0; k < 10; ++k) {
      bomb += before + (k < 9 ? ", " : "]\n");
    }
  }
  CHECK(refused(bomb + one_service("")).code() == base::ErrorCode::kLimitExceeded);
}

TEST_CASE("compose: depth, size and aliases to themselves are bounded") {
  const std::string deep = "x: " + std::string(100, '[') + std::string(100, ']') + "\n";
  CHECK(refused(deep).code() == base::ErrorCode::kLimitExceeded);
  CHECK_FALSE(tool::parse_compose("x: " + std::string(100'000, '[')).has_value());
  CHECK(refused("x: &a [*a]\n").code() != base::ErrorCode::kInternal);
  CHECK(refused(std::string(2'000'000, '#')).code() == base::ErrorCode::kLimitExceeded);
}

// What the loopback registry serves, and what it refuses.
#include <catch2/catch.hpp>

#include "support/http_client.hpp"
#include "support/served_bundle.hpp"

namespace {

using agent::install::LoopbackRegistry;
using base::ErrorCode;
using support::framed_blob;
using support::http_get;
using support::HttpClient;
using support::plain_blob;
using support::RunningRegistry;
using support::ServedBundle;

constexpr std::uint32_t kChunk = 64 * 1024;
constexpr std::size_t kLayerBytes = 5 * kChunk + 777;

ServedBundle two_layer_bundle() {
  return ServedBundle({framed_blob(support::noise(kLayerBytes, 1), kChunk),
                       plain_blob(support::noise(kLayerBytes, 2), kChunk)});
}

bool has_errors_body(const support::HttpReply& reply) {
  return reply.complete && reply.body.starts_with(R"({"errors":[{"code":")");
}

}  // namespace

TEST_CASE("loopback registry: knows its own references again") {
  const std::string token(32, 'a');
  using agent::install::is_loopback_reference;
  CHECK(is_loopback_reference("127.0.0.1:4711/" + token + "/0123@sha256:ff"));
  for (const std::string& other :
       {"127.0.0.1:4711/" + token, "127.0.0.1:/" + token + "/x", "127.0.0.1/" + token + "/x",
        std::string("127.0.0.1:5000/app/web@sha256:ff"), "127.0.0.1:47a/" + token + "/x",
        "10.0.0.1:4711/" + token + "/x", std::string("127.0.0.1:"), std::string()}) {
    CAPTURE(other);
    CHECK_FALSE(is_loopback_reference(other));
  }
}

TEST_CASE("loopback registry: answers the version check") {
  const auto bundle = two_layer_bundle();
  const RunningRegistry running(bundle);
  const auto reply = http_get(running.port(), "/v2/");
  CHECK(reply.status == 200);
  CHECK(reply.header("Docker-Distribution-Api-Version") == "registry/2.0");
}

TEST_CASE("loopback registry: everything that it does not hold is 404 with an errors body") {
  const auto bundle = two_layer_bundle();
  const RunningRegistry running(bundle);
  const std::string digest = bundle.config.blob.digest.text();
  std::string other_token = running.registry->address().token;
  other_token.back() = other_token.back() == '0' ? '1' : '0';
  for (const std::string& target :
       {std::string("/"),
        std::string("/v2"),
        std::string("/v3/"),
        std::string("*"),
        "/v2/app/blobs/" + digest,
        "/v2/" + other_token + "/app/blobs/" + digest,
        "/v2/" + other_token.substr(1) + "/app/blobs/" + digest,
        "/v2//app/blobs/" + digest,
        "/v2/" + running.registry->address().token,
        "/v2/" + running.registry->address().token + "/",
        "/v2/" + running.registry->address().token + "/blobs/" + digest,
        "//v2/" + running.registry->address().token + "/app/blobs/" + digest,
        running.path("tags/list"),
        running.path("manifests/latest"),
        running.path("manifests/" + digest),
        running.path("blobs/" + digest + "0"),
        running.path("blobs/../blobs/" + digest.substr(0, 70)),
        running.path("blobs/" + bundle.layers[0].blob.digest.text()),  // the stored form
        running.path("blobs/uploads/"),
        running.blob_path(oci::Digest::of(base::as_bytes("no")))}) {
    CAPTURE(target);
    const auto reply = http_get(running.port(), target);
    CHECK(reply.status == 404);
    CHECK(has_errors_body(reply));
  }
}

TEST_CASE("loopback registry: serves the manifest and the configuration byte for byte") {
  const auto bundle = two_layer_bundle();
  const RunningRegistry running(bundle);
  const std::string manifest = bundle.served_manifest();
  const std::string digest = oci::Digest::of(base::as_bytes(manifest)).text();
  CHECK(running.registry->reference(bundle.image()) ==
        "127.0.0.1:" + std::to_string(running.port()) + "/" + running.registry->address().token +
            "/" + bundle.image().id.hex() + "@" + digest);
  const auto reply = http_get(running.port(), running.path("manifests/" + digest));
  CHECK(reply.status == 200);
  CHECK(reply.body == manifest);
  CHECK(reply.header("Content-Type") == std::string(oci::kOciManifestType));
  CHECK(reply.header("Docker-Content-Digest") == digest);
  const auto config = http_get(running.port(), running.blob_path(bundle.config.blob.digest));
  CHECK(config.status == 200);
  CHECK(config.body == bundle.config.stored);
  CHECK(running.registry->bytes_served() == 0);
}

TEST_CASE("loopback registry: serves layers uncompressed under their diff IDs") {
  const auto bundle = two_layer_bundle();
  const RunningRegistry running(bundle);
  for (const auto& layer : bundle.layers) {
    const auto reply = http_get(running.port(), running.blob_path(layer.blob.uncompressed_digest));
    CHECK(reply.status == 200);
    CHECK(reply.header("Content-Length") == std::to_string(kLayerBytes));
    CHECK_FALSE(reply.header("Content-Encoding"));
    CHECK_FALSE(reply.header("Transfer-Encoding"));
    CHECK((reply.body == layer.uncompressed));
  }
  CHECK(running.registry->bytes_served() == 2 * kLayerBytes);
  CHECK_FALSE(running.registry->failure());
}

TEST_CASE("loopback registry: resumes a layer at any byte") {
  const auto bundle = two_layer_bundle();
  const RunningRegistry running(bundle);
  for (const auto& layer : bundle.layers) {
    const std::string path = running.blob_path(layer.blob.uncompressed_digest);
    for (const std::size_t first :
         {std::size_t{0}, std::size_t{1}, std::size_t{kChunk - 1}, std::size_t{kChunk},
          std::size_t{kChunk + 1}, std::size_t{3 * kChunk - 5}, std::size_t{5 * kChunk},
          kLayerBytes - 1}) {
      CAPTURE(first);
      const auto reply =
          http_get(running.port(), path, "Range: bytes=" + std::to_string(first) + "-\r\n");
      CHECK(reply.status == 206);
      CHECK((reply.body == layer.uncompressed.substr(first)));
      CHECK(reply.header("Content-Range") == "bytes " + std::to_string(first) + "-" +
                                                 std::to_string(kLayerBytes - 1) + "/" +
                                                 std::to_string(kLayerBytes));
    }
    const auto part = http_get(running.port(), path, "Range: bytes=65530-65550\r\n");
    CHECK(part.status == 206);
    CHECK(part.body == layer.uncompressed.substr(65530, 21));
    CHECK(part.header("Content-Range") == "bytes 65530-65550/" + std::to_string(kLayerBytes));
  }
}

TEST_CASE("loopback registry: never answers a range with the whole content") {
  const auto bundle = two_layer_bundle();
  const RunningRegistry running(bundle);
  const std::string size = std::to_string(kLayerBytes);
  const std::string path = running.blob_path(bundle.layers[0].blob.uncompressed_digest);
  for (const std::string& range :
       {"bytes=" + size + "-", std::string("bytes=99999999999999999999-"), std::string("bytes=-5"),
        std::string("bytes=0-1,5-6"), std::string("bytes=x-"), std::string("furlongs=0-"),
        std::string("bytes=0-1\r\nRange: bytes=3-4")}) {
    CAPTURE(range);
    const auto reply = http_get(running.port(), path, "Range: " + range + "\r\n");
    CHECK(reply.status == 416);
    CHECK(reply.header("Content-Range") == "bytes */" + size);
    CHECK(reply.body.empty());
  }
}

TEST_CASE("loopback registry: HEAD tells the length without a body") {
  const auto bundle = two_layer_bundle();
  const RunningRegistry running(bundle);
  const std::string manifest = bundle.served_manifest();
  HttpClient client(running.port());
  client.request("HEAD", running.blob_path(bundle.layers[1].blob.uncompressed_digest));
  auto reply = client.read_reply(false);
  CHECK(reply.status == 200);
  CHECK(reply.header("Content-Length") == std::to_string(kLayerBytes));
  // On the same connection, so a body would be taken for the next reply.
  client.request("HEAD",
                 running.path("manifests/" + oci::Digest::of(base::as_bytes(manifest)).text()));
  reply = client.read_reply(false);
  CHECK(reply.status == 200);
  CHECK(reply.header("Content-Length") == std::to_string(manifest.size()));
  client.request("HEAD", "/nothing");
  CHECK(client.read_reply(false).status == 404);
  client.request("GET", "/v2/");
  CHECK(client.read_reply().status == 200);
}

TEST_CASE("loopback registry: keeps a connection open unless it is asked to close it") {
  const auto bundle = two_layer_bundle();
  const RunningRegistry running(bundle);
  HttpClient client(running.port());
  const std::string path = running.blob_path(bundle.layers[0].blob.uncompressed_digest);
  client.request("GET", path);
  client.request("GET", path, "Range: bytes=5-\r\n");  // sent before the first reply is read
  CHECK((client.read_reply().body == bundle.layers[0].uncompressed));
  CHECK((client.read_reply().body == bundle.layers[0].uncompressed.substr(5)));
  client.request("GET", "/v2/", "Connection: close\r\n");
  const auto last = client.read_reply();
  CHECK(last.status == 200);
  CHECK(last.header("Connection") == "close");
  CHECK(client.closed_by_peer());
}

TEST_CASE("loopback registry: changes nothing for anybody") {
  const auto bundle = two_layer_bundle();
  const RunningRegistry running(bundle);
  for (const char* method : {"POST", "PUT", "DELETE", "PATCH", "OPTIONS"}) {
    HttpClient client(running.port());
    client.request(method, running.blob_path(bundle.config.blob.digest));
    const auto reply = client.read_reply();
    CHECK(reply.status == 405);
    CHECK(has_errors_body(reply));
  }
}

TEST_CASE("loopback registry: makes a token of its own, and takes no other thing for one") {
  const auto bundle = two_layer_bundle();
  const RunningRegistry first(bundle);
  const RunningRegistry second(bundle);
  CHECK(first.registry->address().token.size() == 32);
  CHECK(first.registry->address().token != second.registry->address().token);
  agent::intake::MediumChunks chunks(bundle.open(), std::chrono::seconds(1), {});
  for (const char* token :
       {"short", "../../../../../../../../../../../x", "ABCDEFABCDEFABCDEFABCDEFABCDEFAB"}) {
    const auto started = LoopbackRegistry::start({0, token}, bundle.manifest, chunks);
    REQUIRE_FALSE(started);
    CHECK(started.error().code() == ErrorCode::kUsage);
  }
}

TEST_CASE("loopback registry: takes the same place again after a restart, with connections open") {
  const auto bundle = two_layer_bundle();
  auto first = std::make_unique<RunningRegistry>(bundle);
  const auto address = first->registry->address();
  HttpClient idle(address.port);
  idle.request("GET", "/v2/");
  REQUIRE(idle.read_reply().status == 200);
  agent::intake::MediumChunks chunks(bundle.open(), std::chrono::seconds(1), {});
  const auto taken = LoopbackRegistry::start(address, bundle.manifest, chunks);
  REQUIRE_FALSE(taken);
  CHECK(taken.error().code() == ErrorCode::kPortUnavailable);
  first.reset();
  CHECK(idle.closed_by_peer());
  const RunningRegistry second(bundle, address);
  CHECK(second.registry->address().port == address.port);
  CHECK(second.registry->address().token == address.token);
  CHECK(http_get(address.port, second.blob_path(bundle.config.blob.digest)).status == 200);
}

TEST_CASE("loopback registry: an altered configuration is found before anything is served") {
  const auto bundle = two_layer_bundle();
  std::string altered = bundle.config.stored;
  altered[3] = 'X';
  bundle.config.write_to(bundle.scratch.path(), altered);
  agent::intake::MediumChunks chunks(bundle.open(), std::chrono::seconds(1), {});
  const auto started = LoopbackRegistry::start({}, bundle.manifest, chunks);
  REQUIRE_FALSE(started);
  CHECK(started.error().code() == ErrorCode::kBlobAltered);
}

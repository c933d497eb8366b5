// What a registry does when its peers, its medium or its owner misbehave.
#include <catch2/catch.hpp>
#include <future>
#include <thread>

#include "support/http_client.hpp"
#include "support/served_bundle.hpp"

namespace {

using agent::install::LoopbackRegistry;
using base::ErrorCode;
using support::http_get;
using support::HttpClient;
using support::RunningRegistry;
using support::ServedBundle;
using namespace std::chrono_literals;

constexpr std::uint32_t kChunk = 64 * 1024;
constexpr std::size_t kSmall = 5 * kChunk;
// More than the kernel keeps in a socket's two buffers.
constexpr std::size_t kLarge = 32 * 1024 * 1024;

ServedBundle bundle_of(std::size_t size_bytes) {
  return ServedBundle({support::plain_blob(support::noise(size_bytes), kChunk)});
}

}  // namespace

TEST_CASE("loopback registry: closes a connection that begins with TLS at once") {
  const auto bundle = bundle_of(kSmall);
  const RunningRegistry running(bundle);
  HttpClient client(running.port());
  client.send(std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11));
  CHECK(client.closed_by_peer());
}

TEST_CASE("loopback registry: closes connections that do not speak HTTP, or too much of it") {
  const auto bundle = bundle_of(kSmall);
  const RunningRegistry running(bundle);
  const std::string get = "GET /v2/ HTTP/1.1\r\n";
  for (const std::string& text :
       {std::string("\x01\x02\x03 nonsense\r\n\r\n"), std::string("GET  /v2/ HTTP/9.9\r\n\r\n"),
        get + "X: " + std::string(10000, 'x') + "\r\n\r\n", get + std::string(10000, 'y'),
        "GET /" + std::string(10000, 'z'), get + "Content-Length: 5\r\n\r\nhello",
        get + "Content-Length: 99999999999999999999\r\n\r\n",
        get + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"}) {
    CAPTURE(text.substr(0, 60));
    HttpClient client(running.port());
    client.send(text);
    CHECK(client.closed_by_peer());
  }
  CHECK(http_get(running.port(), "/v2/").status == 200);
}

TEST_CASE("loopback registry: a slow reader gets everything and holds nobody up") {
  const auto bundle = bundle_of(kLarge);
  const RunningRegistry running(bundle);
  const auto& layer = bundle.layers[0];
  HttpClient slow(running.port());
  slow.request("GET", running.blob_path(layer.blob.uncompressed_digest));
  const std::string beginning = slow.read_some(100);  // the reply has begun
  REQUIRE(beginning.starts_with("HTTP/1.1 200 OK\r\n"));
  const auto other = http_get(running.port(), running.blob_path(layer.blob.uncompressed_digest));
  CHECK((other.body == layer.uncompressed));
  const auto head_left = beginning.find("\r\n\r\n");
  REQUIRE(head_left == std::string::npos);  // the head is longer than what was read of it
  std::string rest = slow.read_some(kLarge);
  const auto head_rest = rest.find("\r\n\r\n") + 4;
  rest = rest.substr(head_rest) + slow.read_some(head_rest);
  CHECK((rest == layer.uncompressed));
}

TEST_CASE("loopback registry: serves as many connections at once as it says, and then the next") {
  const auto bundle = bundle_of(kSmall);
  const RunningRegistry running(bundle);
  std::vector<std::unique_ptr<HttpClient>> clients;
  for (int i = 0; i < LoopbackRegistry::kMaxConnections; ++i) {
    clients.push_back(std::make_unique<HttpClient>(running.port()));
    clients.back()->request("GET", "/v2/");
    REQUIRE(clients.back()->read_reply().status == 200);
  }
  HttpClient next(running.port());
  next.request("GET", "/v2/");
  clients.front()->request("GET", "/v2/", "Connection: close\r\n");
  CHECK(clients.front()->read_reply().status == 200);
  CHECK(next.read_reply().status == 200);
}

TEST_CASE("loopback registry: not a byte of an altered chunk leaves it") {
  const auto [make, bad_chunk] = GENERATE(std::pair{&support::plain_blob, std::size_t{0}},
                                          std::pair{&support::plain_blob, std::size_t{3}},
                                          std::pair{&support::framed_blob, std::size_t{3}},
                                          std::pair{&support::framed_blob, std::size_t{4}});
  const ServedBundle bundle({make(support::noise(kSmall), kChunk)});
  const auto& layer = bundle.layers[0];
  const auto extent = bundle::chunk_extents(layer.blob)[bad_chunk];
  std::string altered = layer.stored;
  const std::size_t at = extent.offset + extent.length - 1;  // its last byte
  altered[at] = static_cast<char>(altered[at] ^ 1);
  layer.write_to(bundle.scratch.path(), altered);
  const RunningRegistry running(bundle);
  const auto reply = http_get(running.port(), running.blob_path(layer.blob.uncompressed_digest));
  CHECK_FALSE(reply.complete);
  CHECK((reply.body == layer.uncompressed.substr(0, bad_chunk * kChunk)));
  REQUIRE(running.registry->wait_for_failure({}));
  CHECK(running.registry->failure()->code() == ErrorCode::kBlobAltered);
  // Resuming right there does not get at it either.
  const auto again = http_get(running.port(), running.blob_path(layer.blob.uncompressed_digest),
                              "Range: bytes=" + std::to_string(bad_chunk * kChunk) + "-\r\n");
  CHECK(again.body.empty());
}

TEST_CASE("loopback registry: a layer waits while the medium is away and then goes on") {
  const auto bundle = bundle_of(kSmall);
  const auto same = bundle_of(kSmall);
  std::promise<void> waits;
  RunningRegistry running(bundle, {}, 60s, [&waits](bool waiting) {
    if (waiting) {
      waits.set_value();
    }
  });
  running.chunks.detach();
  auto reply = std::async(std::launch::async, [&] {
    return http_get(running.port(), running.blob_path(bundle.layers[0].blob.uncompressed_digest));
  });
  REQUIRE(waits.get_future().wait_for(30s) == std::future_status::ready);
  running.chunks.attach(same.open());
  CHECK((reply.get().body == bundle.layers[0].uncompressed));
  CHECK_FALSE(running.registry->failure());
}

TEST_CASE("loopback registry: a medium that does not come back is a failure with a name") {
  const auto bundle = bundle_of(kSmall);
  RunningRegistry running(bundle, {}, 0s);
  running.chunks.detach();
  const auto reply =
      http_get(running.port(), running.blob_path(bundle.layers[0].blob.uncompressed_digest));
  CHECK_FALSE(reply.complete);
  REQUIRE(running.registry->wait_for_failure({}));
  CHECK(running.registry->failure()->code() == ErrorCode::kMediumTimeout);
}

TEST_CASE("loopback registry: waiting for a failure ends when it is asked to") {
  const auto bundle = bundle_of(kSmall);
  const RunningRegistry running(bundle);
  std::stop_source stop;
  auto waiter = std::async(std::launch::async,
                           [&] { return running.registry->wait_for_failure(stop.get_token()); });
  stop.request_stop();
  CHECK_FALSE(waiter.get());
}

TEST_CASE("loopback registry: goes away while peers do not read and readers wait for the medium") {
  const auto bundle = bundle_of(kLarge);
  std::promise<void> waits;
  auto running = std::make_unique<RunningRegistry>(bundle, agent::install::RegistryAddress{}, 60s,
                                                   [&waits](bool waiting) {
                                                     if (waiting) {
                                                       waits.set_value();
                                                     }
                                                   });
  const std::string path = running->blob_path(bundle.layers[0].blob.uncompressed_digest);
  HttpClient stuck(running->port());
  stuck.request("GET", path);
  REQUIRE(stuck.read_some(100).size() == 100);
  running->chunks.detach();
  HttpClient waiting(running->port());
  waiting.request("GET", path);
  REQUIRE(waits.get_future().wait_for(30s) == std::future_status::ready);
  auto gone = std::async(std::launch::async, [&running] { running.reset(); });
  REQUIRE(gone.wait_for(30s) == std::future_status::ready);
  CHECK(waiting.read_reply().body.empty());
}

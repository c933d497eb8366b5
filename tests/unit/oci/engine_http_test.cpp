// HTTP over a Unix socket: replies of all shapes, silence, and engines that go away.
#include "oci/engine_http.hpp"

#include <catch2/catch.hpp>
#include <future>

#include "support/scratch.hpp"
#include "support/socket_server.hpp"

using base::ErrorCode;
using oci::EngineHttp;
using support::Scratch;
using support::SocketServer;
using namespace std::chrono_literals;

namespace {

// Answers every connection with the same bytes and remembers the last request.
struct Answering {
  explicit Answering(std::string reply)
      : server(scratch / "socket", [this, reply](int connection) {
          request = SocketServer::receive_head(connection);
          SocketServer::send(connection, reply);
        }) {}
  [[nodiscard]] EngineHttp engine() const { return EngineHttp((scratch / "socket").string()); }

  Scratch scratch;
  std::string request;
  SocketServer server;
};

ErrorCode call_error(const EngineHttp& engine, std::chrono::milliseconds timeout = 10s) {
  const auto reply = engine.call("GET", "/info", "", timeout);
  REQUIRE_FALSE(reply);
  return reply.error().code();
}

class Environment {
 public:
  Environment(std::string name, const char* value) : name_(std::move(name)) {
    const char* old = std::getenv(name_.c_str());
    had_ = old != nullptr;
    old_ = had_ ? old : "";
    ::setenv(name_.c_str(), value, 1);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() {
    if (had_) {
      ::setenv(name_.c_str(), old_.c_str(), 1);
    } else {
      ::unsetenv(name_.c_str());
    }
  }

 private:
  std::string name_;
  std::string old_;
  bool had_ = false;
};

}  // namespace

TEST_CASE("engine http: gives status and body, however the body is framed") {
  const std::string reply =
      GENERATE(as<std::string>{}, "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello",
               "HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\nhello",
               "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n"
               "0\r\n\r\n");
  const Answering fake(reply);
  const auto got = fake.engine().call("GET", "/images/x/json", "", 10s);
  REQUIRE(got);
  CHECK(got->status == 404);
  CHECK(got->body == "hello");
}

TEST_CASE("engine http: a reply without a body is fine") {
  const Answering fake("HTTP/1.1 204 No Content\r\n\r\n");
  CHECK(fake.engine().call("POST", "/images/x/tag", "", 10s)->status == 204);
}

TEST_CASE("engine http: sends method, target and JSON body") {
  Scratch scratch;
  std::string request;
  {
    const SocketServer server(scratch / "socket", [&](int connection) {
      request = SocketServer::receive_head(connection);
      SocketServer::send(connection, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
      SocketServer::wait_for_close(connection);
    });
    const EngineHttp engine((scratch / "socket").string());
    REQUIRE(engine.call("POST", "/containers/create?name=a", "{}", 10s));
  }
  CHECK_THAT(request, Catch::StartsWith("POST /containers/create?name=a HTTP/1.1\r\n") &&
                          Catch::Contains("Content-Type: application/json\r\n") &&
                          Catch::Contains("Content-Length: 2\r\n") &&
                          Catch::Contains("Connection: close\r\n"));
}

TEST_CASE("engine http: pieces arrive while the reply is still going on") {
  const Scratch scratch;
  std::promise<void> first_arrived;
  const SocketServer server(scratch / "socket", [&](int connection) {
    SocketServer::receive_head(connection);
    SocketServer::send(connection,
                       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    first_arrived.get_future().wait();
    SocketServer::send(connection, "4\r\nlast\r\n0\r\n\r\n");
  });
  const EngineHttp engine((scratch / "socket").string());
  std::string text;
  const auto status = engine.stream("POST", "/images/create",
                                    [&](base::ByteView bytes) {
                                      text += base::as_text(bytes);
                                      if (text == "first") {
                                        first_arrived.set_value();
                                      }
                                      return base::ok();
                                    },
                                    20s, {});
  CHECK(status.value() == 200);
  CHECK(text == "firstlast");
}

TEST_CASE("engine http: silence ends in a timeout, for a call and between two pieces") {
  const Scratch scratch;
  const std::string begin = GENERATE(as<std::string>{}, "", "HTTP/1.1 200 OK\r\n",
                                     "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
  const SocketServer server(scratch / "socket", [&](int connection) {
    SocketServer::receive_head(connection);
    SocketServer::send(connection, begin);
    SocketServer::wait_for_close(connection);
  });
  const EngineHttp engine((scratch / "socket").string());
  CHECK(call_error(engine, 100ms) == ErrorCode::kTimeout);
  const auto ignore = [](base::ByteView) { return base::ok(); };
  CHECK(engine.stream("GET", "/x", ignore, 100ms, {}).error().code() == ErrorCode::kTimeout);
}

TEST_CASE("engine http: a stop request closes the connection") {
  const Scratch scratch;
  std::stop_source stop;
  const SocketServer server(scratch / "socket", [&](int connection) {
    SocketServer::receive_head(connection);
    stop.request_stop();
    SocketServer::wait_for_close(connection);
  });
  const EngineHttp engine((scratch / "socket").string());
  const auto ignore = [](base::ByteView) { return base::ok(); };
  const auto stopped = engine.stream("POST", "/images/create", ignore, 0ms, stop.get_token());
  CHECK(stopped.error().code() == ErrorCode::kCancelled);
  const auto again = engine.stream("POST", "/images/create", ignore, 0ms, stop.get_token());
  CHECK(again.error().code() == ErrorCode::kCancelled);
}

TEST_CASE("engine http: an error of the receiver closes the connection and comes back") {
  const Scratch scratch;
  const SocketServer server(scratch / "socket", [&](int connection) {
    SocketServer::receive_head(connection);
    SocketServer::send(connection, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    SocketServer::wait_for_close(connection);
  });
  const EngineHttp engine((scratch / "socket").string());
  const auto full = [](base::ByteView) -> base::Status {
    return base::Error(ErrorCode::kNoSpace, "full");
  };
  CHECK(engine.stream("GET", "/x", full, 20s, {}).error().code() == ErrorCode::kNoSpace);
}

TEST_CASE("engine http: an engine that is not there or goes away is unavailable") {
  const Scratch scratch;
  CHECK(call_error(EngineHttp((scratch / "none").string())) == ErrorCode::kEngineUnavailable);
  CHECK(call_error(EngineHttp(scratch.write("file", "").string())) ==
        ErrorCode::kEngineUnavailable);
  CHECK(call_error(EngineHttp(std::string(200, 'x'))) == ErrorCode::kEngineUnavailable);

  const std::string begin = GENERATE(as<std::string>{}, "", "HTTP/1.1 200 OK\r\nContent-",
                                     "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
  const Answering fake(begin);
  CHECK(call_error(fake.engine()) == ErrorCode::kEngineUnavailable);
}

TEST_CASE("engine http: what is not HTTP, or longer than allowed, is an engine's error") {
  const std::string length = std::to_string(oci::kMaxEngineReplyBytes + 1);
  const std::string reply =
      GENERATE_COPY(as<std::string>{}, "SSH-2.0-OpenSSH_9.2\r\n\r\n",
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                    "HTTP/1.1 200 OK\r\nContent-Length: " + length + "\r\n\r\n" +
                        std::string(oci::kMaxEngineReplyBytes + 1, 'x'));
  const Answering fake(reply);
  CHECK(call_error(fake.engine()) == ErrorCode::kEngine);
}

TEST_CASE("engine http: the socket comes from the environment, and only a local one is taken") {
  {
    const Environment docker("DOCKER_HOST", "unix:///somewhere/docker.sock");
    CHECK(EngineHttp::default_socket().value() == "/somewhere/docker.sock");
  }
  const Environment none("DOCKER_HOST", "");
  {
    const Environment balena("BALENA_HOST", "unix:///somewhere/balena.sock");
    CHECK(EngineHttp::default_socket().value() == "/somewhere/balena.sock");
  }
  const Environment remote("DOCKER_HOST", "tcp://192.0.2.1:2375");
  CHECK(EngineHttp::default_socket().error().code() == ErrorCode::kEngineUnavailable);
}

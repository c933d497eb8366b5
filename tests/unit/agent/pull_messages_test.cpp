#include "platform/pull_messages.hpp"

#include <catch2/catch.hpp>

namespace {

using agent::platform::PullMessages;
using base::ErrorCode;

base::Status outcome(std::string_view text, std::size_t piece = 1) {
  PullMessages messages;
  while (!text.empty()) {
    OU_CHECK(messages.add(base::as_bytes(text.substr(0, piece))));
    text.remove_prefix(std::min(piece, text.size()));
  }
  return messages.finish();
}

constexpr std::string_view kGood =
    "{\"status\":\"Pulling from x\",\"id\":\"sha256:1\"}\r\n"
    "{\"status\":\"Downloading\",\"progressDetail\":{\"current\":1,\"total\":2},\"id\":\"a\"}\r\n"
    "{\"status\":\"Digest: sha256:2\"}\r\n"
    "{\"status\":\"Status: Downloaded newer image for x\"}\r\n";

}  // namespace

TEST_CASE("pull messages: a final status is success, however the stream is cut") {
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{100000}}) {
    CHECK(outcome(kGood, piece));
  }
  CHECK(outcome("{\"status\":\"Status: Image is up to date for x\"}"));
}

TEST_CASE("pull messages: a stream without a final status has failed") {
  for (const std::string_view text :
       {std::string_view(), kGood.substr(0, kGood.find("{\"status\":\"Status")),
        std::string_view("{\"status\":\"Status: Downloaded\"}\n{\"status\":\"Waiting\"}\n")}) {
    const auto result = outcome(text);
    REQUIRE_FALSE(result);
    CHECK(result.error().code() == ErrorCode::kEnginePull);
  }
}

TEST_CASE("pull messages: an error counts whatever follows, in the engine's words made printable") {
  const auto result =
      outcome("{\"errorDetail\":{\"message\":\"disk \\u001b[31mfull\"},\"error\":\"disk full\"}\n" +
              std::string(kGood));
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::kEnginePull);
  CHECK(result.error().message().find("full") != std::string::npos);
  CHECK(result.error().message().find('\x1b') == std::string::npos);
  CHECK_FALSE(outcome("{\"error\":\"plain\"}\n" + std::string(kGood)));
  CHECK_FALSE(outcome("{\"errorDetail\":{}}\n" + std::string(kGood)));
}

TEST_CASE("pull messages: what is no message is an error") {
  for (const char* text : {"nonsense\n", "[]\n", "{\"status\":\n", "{} {}\n"}) {
    CHECK_FALSE(outcome(text));
  }
  CHECK_FALSE(outcome(std::string(PullMessages::kMaxLineBytes + 1, ' '), 4096));
}

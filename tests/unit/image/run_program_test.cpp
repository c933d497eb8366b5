// run_program() with real programs of every Debian system.
#include "image/run_program.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "base/files.hpp"
#include "support/scratch.hpp"

namespace {

using base::ErrorCode;
using image::Program;
using image::run_program;

}  // namespace

TEST_CASE("run_program: gives input, output, errors and exit status as they are") {
  const Program program{.argv = {"sh", "-c", "cat; echo bad >&2; exit 3"}, .input = "text\n"};
  const auto result = run_program(program);
  REQUIRE(result);
  CHECK(result->output == "text\n");
  CHECK(result->errors == "bad\n");
  CHECK(result->exit_status == 3);
}

TEST_CASE("run_program: the environment is a small one of its own") {
  ::setenv("OU_SECRET", "secret", 1);
  const auto result = run_program({.argv = {"env"}, .environment = {"MTOOLSRC=/dev/null"}});
  ::unsetenv("OU_SECRET");
  REQUIRE(result);
  CHECK(result->output.find("OU_SECRET") == std::string::npos);
  CHECK(result->output.find("MTOOLSRC=/dev/null\n") != std::string::npos);
  CHECK(result->output.find("LC_ALL=C\n") != std::string::npos);
}

TEST_CASE("run_program: a program that is not installed is an error with its package") {
  const auto result = run_program({.argv = {"ou-no-such-program"}, .package = "some-package"});
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::kNotFound);
  CHECK(result.error().message().find("apt install some-package") != std::string::npos);
}

TEST_CASE("run_program: a program that says too much is stopped") {
  const auto result = run_program({.argv = {"yes"}, .output_limit_bytes = 100'000});
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::kLimitExceeded);
}

TEST_CASE("run_program: a program that takes too long is stopped") {
  const auto result =
      run_program({.argv = {"sleep", "1000"}, .time_limit = std::chrono::seconds(1)});
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::kTimeout);
}

TEST_CASE("run_program: only the descriptors that were named reach the program") {
  const support::Scratch scratch;
  const auto file = base::open_file(scratch.write("file", "content"), O_RDONLY);
  const auto other = base::open_file(scratch.write("other", "content"), O_RDONLY);
  REQUIRE(file);
  REQUIRE(other);
  const std::string path = "/proc/self/fd/" + std::to_string(file->get());
  const std::string hidden = "/proc/self/fd/" + std::to_string(other->get());
  CHECK(run_program({.argv = {"cat", path}, .descriptors = {file->get()}})->output == "content");
  CHECK(run_program({.argv = {"cat", hidden}, .descriptors = {file->get()}})->exit_status == 1);
}

TEST_CASE("run_program: an error quotes the last line, made harmless, or the exit status") {
  const Program talks{.argv = {"sh", "-c", "printf 'first\\nla\\033[2Jst\\n\\n' >&2; exit 1"}};
  const auto said = image::run_successfully(talks, ErrorCode::kDiskImage);
  REQUIRE_FALSE(said);
  CHECK(said.error().code() == ErrorCode::kDiskImage);
  CHECK(said.error().message() == "sh: la\\x1b[2Jst");

  const auto killed = image::run_successfully({.argv = {"sh", "-c", "kill -9 $$"}}, ErrorCode::kIo);
  REQUIRE_FALSE(killed);
  CHECK(killed.error().message() == "sh: ended with status 137");
}

TEST_CASE("run_program: names with everything in them arrive as they are, for there is no shell") {
  const std::string hostile = "; touch /tmp/x $(id) `id` \"'\n*";
  CHECK(run_program({.argv = {"printf", "%s", hostile}})->output == hostile);
}

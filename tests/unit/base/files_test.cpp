// Whole files: limits on reading, and replacing them so that power may go at any time.
#include "base/files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <limits>

#include "support/scratch.hpp"

using base::ErrorCode;

namespace {

constexpr unsigned kNobody = 65534;

std::string content(const std::filesystem::path& path) {
  return std::string(base::as_text(base::read_file(path, 1 << 20).value()));
}

std::size_t entries(const std::filesystem::path& directory) {
  const std::filesystem::directory_iterator all(directory);
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

unsigned mode_of(const std::filesystem::path& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 07777U;
}

}  // namespace

TEST_CASE("read_file: reads up to its limit and not one byte more") {
  const support::Scratch scratch;
  const std::size_t size = GENERATE(0U, 1U, 65'535U, 65'536U, 65'537U, 200'000U);
  const auto path = scratch.write("f", std::string(size, 'x'));
  CHECK(base::read_file(path, size)->size() == size);
  CHECK(base::read_file(path, size + 1)->size() == size);
  CHECK(base::read_file(path, std::numeric_limits<std::uint64_t>::max())->size() == size);
  if (size > 0) {
    const auto limited = base::read_file(path, size - 1);
    REQUIRE_FALSE(limited);
    CHECK(limited.error().code() == ErrorCode::kLimitExceeded);
    CHECK(limited.error().message().find(path.string()) != std::string::npos);
  }
}

TEST_CASE("read_file: stops at the limit of a file without end") {
  const auto limited = base::read_file("/dev/zero", 100'000);
  REQUIRE_FALSE(limited);
  CHECK(limited.error().code() == ErrorCode::kLimitExceeded);
}

TEST_CASE("read_file: says what is not there or cannot be read") {
  const support::Scratch scratch;
  CHECK(base::read_file(scratch / "absent", 1).error().code() == ErrorCode::kNotFound);
  CHECK(base::read_file(scratch.path(), 1).error().code() == ErrorCode::kIo);
}

TEST_CASE("read_at: fills the buffer unless the file ends") {
  const support::Scratch scratch;
  const auto fd = base::open_file(scratch.write("f", "0123456789"), O_RDONLY).value();
  std::array<std::uint8_t, 4> buffer{};
  CHECK(base::read_at(fd.get(), buffer, 3).value() == 4);
  CHECK(base::as_text(buffer) == "3456");
  CHECK(base::read_at(fd.get(), buffer, 8).value() == 2);
  CHECK(base::read_at(fd.get(), buffer, 10).value() == 0);
  CHECK(base::read_at(fd.get(), buffer, 1'000'000).value() == 0);
  CHECK_FALSE(base::read_at(fd.get(), buffer, std::numeric_limits<std::uint64_t>::max()));
}

TEST_CASE("write_all: reports a device that is full") {
  const auto fd = base::open_file("/dev/full", O_WRONLY).value();
  CHECK(base::write_all(fd.get(), base::as_bytes("x")).error().code() == ErrorCode::kNoSpace);
}

TEST_CASE("write_file_durably: makes or replaces a file and leaves nothing else behind") {
  const support::Scratch scratch;
  const auto path = scratch / "state.json";
  REQUIRE(base::write_file_durably(path, base::as_bytes("one")));
  CHECK(content(path) == "one");
  CHECK(mode_of(path) == 0600);
  REQUIRE(base::write_file_durably(path, base::as_bytes("")));
  CHECK(content(path).empty());
  CHECK(entries(scratch.path()) == 1);
}

TEST_CASE("write_file_durably: keeps the old content when the new cannot be written") {
  const support::Scratch scratch;
  const auto path = scratch.write("state.json", "old");
  // Not a matter of permissions, which root does not heed: nothing can be made where a directory
  // is.
  std::filesystem::create_directories(scratch / "state.json.new/occupied");
  CHECK_FALSE(base::write_file_durably(path, base::as_bytes("new")));
  CHECK(content(path) == "old");
}

TEST_CASE("write_file_durably: keeps the old content in a read-only directory") {
  const support::Scratch scratch;
  const auto path = scratch.write("state.json", "old");
  REQUIRE(::chmod(scratch.path().c_str(), 0500) == 0);
  const bool root = ::geteuid() == 0;  // root heeds no permissions, so somebody else tries
  REQUIRE((!root || ::chown(scratch.path().c_str(), kNobody, kNobody) == 0));
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    if (root && (::setgid(kNobody) != 0 || ::setuid(kNobody) != 0)) {
      ::_exit(100);
    }
    const auto written = base::write_file_durably(path, base::as_bytes("new"));
    ::_exit(!written && written.error().code() == ErrorCode::kPermission ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
  REQUIRE(::chmod(scratch.path().c_str(), 0700) == 0);
  CHECK(content(path) == "old");
  CHECK(entries(scratch.path()) == 1);
}

TEST_CASE("write_file_durably: a directory in the way stays, and no temporary file does") {
  const support::Scratch scratch;
  std::filesystem::create_directories(scratch / "state.json");
  CHECK_FALSE(base::write_file_durably(scratch / "state.json", base::as_bytes("new")));
  CHECK(std::filesystem::is_directory(scratch / "state.json"));
  CHECK(entries(scratch.path()) == 1);
}

TEST_CASE("write_file_durably: what an earlier attempt left is not written through") {
  const support::Scratch scratch;
  const auto victim = scratch.write("victim", "untouched");
  const auto path = scratch / "state.json";
  const bool symlink = GENERATE(true, false);
  if (symlink) {
    std::filesystem::create_symlink(victim, scratch / "state.json.new");
  } else {
    static_cast<void>(scratch.write("state.json.new", "half of an older"));
    REQUIRE(::chmod((scratch / "state.json.new").c_str(), 0666) == 0);
  }
  REQUIRE(base::write_file_durably(path, base::as_bytes("new")));
  CHECK(content(victim) == "untouched");
  CHECK(content(path) == "new");
  CHECK_FALSE(std::filesystem::is_symlink(path));
  CHECK(mode_of(path) == 0600);
}

TEST_CASE("remove_file_durably: removes what is there, and is content when nothing is") {
  const support::Scratch scratch;
  const auto path = scratch.write("f", "x");
  REQUIRE(base::remove_file_durably(path));
  CHECK_FALSE(std::filesystem::exists(path));
  CHECK(base::remove_file_durably(path));
  CHECK(base::remove_file_durably(scratch / "no/such/directory/f"));
  CHECK_FALSE(base::remove_file_durably(scratch.path()));
}

TEST_CASE("unique_fd: closes once, and hands over") {
  int pipe_ends[2] = {-1, -1};
  REQUIRE(::pipe2(&pipe_ends[0], O_CLOEXEC) == 0);
  const base::UniqueFd reader(pipe_ends[0]);
  base::UniqueFd writer(pipe_ends[1]);
  base::UniqueFd moved(std::move(writer));
  CHECK_FALSE(writer.valid());  // NOLINT(bugprone-use-after-move): that is the question
  CHECK(moved.get() == pipe_ends[1]);
  moved.reset();
  CHECK_FALSE(moved.valid());
  char byte = 0;
  CHECK(::read(reader.get(), &byte, 1) == 0);  // the only writer is gone
}

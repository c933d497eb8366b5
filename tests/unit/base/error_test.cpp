// How errors read, and what the macros do with them.
#include "base/error.hpp"

#include <catch2/catch.hpp>
#include <cerrno>

#include "base/result.hpp"

using base::Error;
using base::ErrorCode;
using base::Result;
using base::Status;

namespace {

Status inner(bool good) {
  return good ? base::ok() : Status(Error(ErrorCode::kIo, "Input/output error"));
}

Result<int> middle(bool good) {
  OU_CHECK(inner(good).within("open superblock"));
  return 7;
}

Result<std::string> outer(bool good) {
  OU_TRY(const int value, middle(good).within("mount /dev/sda1"));
  return std::to_string(value);
}

}  // namespace

TEST_CASE("error: contexts read from the outermost to what went wrong") {
  const auto failed = outer(false);
  REQUIRE_FALSE(failed);
  CHECK(failed.error().message() == "mount /dev/sda1: open superblock: Input/output error");
  CHECK(failed.error().what() == "Input/output error");
  CHECK(failed.error().code() == ErrorCode::kIo);
}

TEST_CASE("error: a success is not touched by contexts") {
  CHECK(outer(true).value() == "7");
}

TEST_CASE("error: another code keeps what was said") {
  const auto error = Error(ErrorCode::kIo, "a").within("b").as(ErrorCode::kJournal).within("c");
  CHECK(error.code() == ErrorCode::kJournal);
  CHECK(error.message() == "c: b: a");
}

TEST_CASE("error: errno becomes the code that a caller can act on") {
  const auto code = [](int number) { return Error::from_errno(number, "x").code(); };
  CHECK(code(ENOSPC) == ErrorCode::kNoSpace);
  CHECK(code(EDQUOT) == ErrorCode::kNoSpace);
  CHECK(code(ENOENT) == ErrorCode::kNotFound);
  CHECK(code(EACCES) == ErrorCode::kPermission);
  CHECK(code(EPERM) == ErrorCode::kPermission);
  CHECK(code(EIO) == ErrorCode::kIo);
  CHECK(Error::from_errno(ENOENT, "open x").message() == "open x: No such file or directory");
}

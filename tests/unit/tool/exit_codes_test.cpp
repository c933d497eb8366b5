// What --help says of the exit status is what the reference says.
#include "exit_codes.hpp"

#include <catch2/catch.hpp>
#include <sstream>

#include "base/files.hpp"

TEST_CASE("exit codes: docs/bundle-tool.md lists exactly what --help prints") {
  const auto page = base::read_file(std::string(OU_SOURCE_DIR) + "/docs/bundle-tool.md", 1'000'000);
  REQUIRE(page.has_value());
  const std::string text(base::as_text(*page));
  std::istringstream lines(tool::exit_code_table());
  std::string line;
  int expected = 0;
  while (std::getline(lines, line)) {
    const std::string row = "| " + std::to_string(expected) + " | " + line.substr(5) + " |";
    INFO(row);
    CHECK(line.substr(2, 1) == std::to_string(expected));
    CHECK(text.find(row) != std::string::npos);
    ++expected;
  }
  CHECK(expected == 8);
  CHECK(text.find("| 8 |") == std::string::npos);
}

TEST_CASE("exit codes: what scripts tell apart") {
  using base::ErrorCode;
  using tool::ExitCode;
  CHECK(tool::exit_code_of(ErrorCode::kUsage) == ExitCode::kUsage);
  CHECK(tool::exit_code_of(ErrorCode::kSignatureThreshold) == ExitCode::kNotVerified);
  CHECK(tool::exit_code_of(ErrorCode::kBlobAltered) == ExitCode::kNotVerified);
  CHECK(tool::exit_code_of(ErrorCode::kNotFound) == ExitCode::kInput);
  CHECK(tool::exit_code_of(ErrorCode::kNoSpace) == ExitCode::kNoSpace);
  CHECK(tool::exit_code_of(ErrorCode::kNotEnoughInodes) == ExitCode::kNoSpace);
  CHECK(tool::exit_code_of(ErrorCode::kAlreadyExists) == ExitCode::kExists);
  CHECK(tool::exit_code_of(ErrorCode::kKeyPassword) == ExitCode::kKey);
  CHECK(tool::exit_code_of(ErrorCode::kIo) == ExitCode::kFailed);
}

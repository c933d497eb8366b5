// The list of error codes, its names and its documentation are one.
#include "base/error_code.hpp"

#include <catch2/catch.hpp>
#include <map>
#include <regex>
#include <set>

#include "base/files.hpp"

namespace {

constexpr int kHighestNumber = 9999;

std::string text_of(const std::string& path) {
  const auto bytes = base::read_file(std::string(OU_SOURCE_DIR) + "/" + path, 1 << 20).value();
  return std::string(base::as_text(bytes));
}

// number -> what the first group of `expression` matched; the second group is the number.
std::map<int, std::string> listed(const std::string& text, const std::string& expression,
                                  std::size_t name_group, std::size_t number_group) {
  std::map<int, std::string> found;
  const std::regex pattern(expression);
  for (std::sregex_iterator at(text.begin(), text.end(), pattern), end; at != end; ++at) {
    INFO((*at)[0]);
    CHECK(found.emplace(std::stoi((*at)[number_group]), (*at)[name_group]).second);
  }
  return found;
}

std::map<int, std::string> declared() {
  return listed(text_of("lib/base/error_code.hpp"), "\\n  k([A-Za-z]+) = ([0-9]+),", 1, 2);
}

// "kWrongFleet" without the k, as its printed name: "wrong-fleet".
std::string dashed(const std::string& camel) {
  std::string out;
  for (const char c : camel) {
    const bool upper = c >= 'A' && c <= 'Z';
    if (upper && !out.empty()) {
      out += '-';
    }
    out += upper ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

}  // namespace

TEST_CASE("error codes: each is printed by the name it is declared with, and no other is") {
  const auto codes = declared();
  REQUIRE(codes.size() > 60);
  for (int number = -1; number <= kHighestNumber; ++number) {
    const auto name = base::name_of(static_cast<base::ErrorCode>(number));
    const auto code = codes.find(number);
    INFO(number);
    CHECK(name == (code == codes.end() ? "unknown" : dashed(code->second)));
  }
}

TEST_CASE("error codes: no two have the same name") {
  std::set<std::string> names;
  for (const auto& [number, name] : declared()) {
    CHECK(names.insert(dashed(name)).second);
  }
}

TEST_CASE("error codes: docs/errors.md lists exactly them, with their numbers and names") {
  auto documented = listed(text_of("docs/errors.md"), "\\n\\| ([0-9]+) \\| ([a-z0-9-]+) \\|", 2, 1);
  for (const auto& [number, name] : declared()) {
    INFO(number << " " << name);
    CHECK(documented[number] == dashed(name));
    documented.erase(number);
  }
  for (const auto& [number, name] : documented) {
    FAIL_CHECK("docs/errors.md lists " << number << " " << name << ", which is no code");
  }
}

TEST_CASE("error codes: every line of docs/errors.md says what happened and what to do") {
  const auto text = text_of("docs/errors.md");
  const std::regex row("\\n\\| [0-9]+ \\|([^\\n]*)");
  std::size_t rows = 0;
  for (std::sregex_iterator at(text.begin(), text.end(), row), end; at != end; ++at, ++rows) {
    INFO((*at)[0]);
    CHECK(
        std::regex_match((*at)[1].str(), std::regex(" [a-z0-9-]+ \\| [A-Z`].*\\. \\| .*\\. \\|")));
  }
  CHECK(rows == declared().size());
}

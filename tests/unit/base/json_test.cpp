// JSON from outside: limits that hold before memory is spent, and errors that name the field.
#include "base/json.hpp"

#include <catch2/catch.hpp>

using base::ErrorCode;
using base::Json;
using base::JsonLimits;
using base::JsonObject;

namespace {

constexpr JsonLimits kLimits{
    .max_bytes = 100'000, .max_depth = 4, .max_values = 10, .max_string_bytes = 8};

ErrorCode failure_of(std::string_view text, const JsonLimits& limits = kLimits) {
  const auto parsed = base::parse_json(text, limits);
  REQUIRE_FALSE(parsed);
  return parsed.error().code();
}

std::string repeated(const std::string& text, std::size_t times) {
  std::string out;
  for (std::size_t i = 0; i < times; ++i) {
    out += text;
  }
  return out;
}

std::string message_of(base::Status status) {
  REQUIRE_FALSE(status);
  CHECK(status.error().code() == ErrorCode::kManifestField);
  return status.error().message();
}

}  // namespace

TEST_CASE("parse_json: reads what JSON is") {
  const auto json = base::parse_json(R"( {"a": [1, -2, 1.5, "x", true, null]} )", kLimits).value();
  CHECK(json["a"].size() == 6);
  CHECK(base::to_canonical(json) == R"({"a":[1,-2,1.5,"x",true,null]})");
}

TEST_CASE("parse_json: depth is limited, however the text goes on") {
  CHECK(base::parse_json("[[[[]]]]", kLimits));
  CHECK(failure_of("[[[[[]]]]]") == ErrorCode::kLimitExceeded);
  CHECK(failure_of(R"({"a":{"a":{"a":{"a":{}}}}})") == ErrorCode::kLimitExceeded);
  CHECK(failure_of(repeated("[", 90'000)) == ErrorCode::kLimitExceeded);
  CHECK(failure_of(repeated("{\"a\":", 19'000)) == ErrorCode::kLimitExceeded);
  CHECK(base::parse_json("[[[[]]],[[[]]]]", kLimits));  // depth, not number
}

TEST_CASE("parse_json: the number of values is limited") {
  CHECK(base::parse_json("[1,1,1,1,1,1,1,1,1]", kLimits));
  CHECK(failure_of("[1,1,1,1,1,1,1,1,1,1]") == ErrorCode::kLimitExceeded);
  CHECK(failure_of("[[],[],[],{},{},\"\",\"\",null,true,1.5]") == ErrorCode::kLimitExceeded);
}

TEST_CASE("parse_json: the size of strings, of keys and of the whole is limited") {
  CHECK(base::parse_json(R"({"12345678":"12345678"})", kLimits));
  CHECK(failure_of(R"(["123456789"])") == ErrorCode::kLimitExceeded);
  CHECK(failure_of(R"({"123456789":1})") == ErrorCode::kLimitExceeded);
  CHECK(base::parse_json("1" + std::string(99'999, ' '), kLimits));
  CHECK(failure_of("1" + std::string(100'000, ' ')) == ErrorCode::kLimitExceeded);
}

TEST_CASE("parse_json: a key given twice in one object is refused, in two it is not") {
  CHECK(failure_of(R"({"a":1,"a":1})") == ErrorCode::kManifestSyntax);
  CHECK(failure_of(R"({"a":1,"\u0061":2})") == ErrorCode::kManifestSyntax);
  CHECK(failure_of(R"({"b":{"a":1,"a":2}})") == ErrorCode::kManifestSyntax);
  CHECK(failure_of(R"({"a":{"b":1},"a":2})") == ErrorCode::kManifestSyntax);
  CHECK(base::parse_json(R"([{"a":1},{"a":2}])", kLimits));
  CHECK(base::parse_json(R"({"a":{"a":1}})", kLimits));
}

TEST_CASE("parse_json: whole numbers keep their value or are refused") {
  CHECK(base::parse_json("18446744073709551615", kLimits)->get<std::uint64_t>() == UINT64_MAX);
  CHECK(base::parse_json("-9223372036854775808", kLimits)->get<std::int64_t>() == INT64_MIN);
  const std::string bad = GENERATE("18446744073709551616", "-9223372036854775809",
                                   "100000000000000000000000", "1e999", "-1e999");
  CHECK(failure_of(bad) == ErrorCode::kManifestSyntax);
}

TEST_CASE("parse_json: refuses what is not JSON") {
  const std::string bad =
      GENERATE(std::string(), " ", "{", "[1", "[1,]", "{\"a\":1,}", "{a:1}", "'a'", "NaN",
               "Infinity", "01", "+1", ".5", "1.", "0x1", "tru", "{} {}", "{}x", "1 2", "// c\n1",
               "/* c */1", "\"\x01\"", "\"\xFF\"", "\"\xC0\xAF\"", "\"\\ud800\"", "\"\\x\"", "[1]]",
               "{\"a\"}", "\"a", std::string("{}\0", 3), std::string("{}\0garbage", 10),
               std::string("\0", 1), std::string("[1,\0 2]", 7));
  CHECK(failure_of(bad) == ErrorCode::kManifestSyntax);
}

TEST_CASE("parse_json: what an error repeats from the text is harmless") {
  const auto parsed = base::parse_json(R"({"\u001b[2J":1,"\u001b[2J":1})", kLimits);
  REQUIRE_FALSE(parsed);
  CHECK(parsed.error().message().find('\x1b') == std::string::npos);
}

TEST_CASE("to_canonical: the same value gives the same bytes") {
  const JsonLimits wide{.max_bytes = 1000};
  const auto a = base::parse_json(R"({"b": 1, "a": {"d": [1,2], "c": "\u00e4"}})", wide).value();
  const auto b =
      base::parse_json("{\"a\":{\"c\":\"\xC3\xA4\",\"d\":[1, 2]},\"b\":1}", wide).value();
  CHECK(base::to_canonical(a) == base::to_canonical(b));
  CHECK(base::to_canonical(a) == "{\"a\":{\"c\":\"\xC3\xA4\",\"d\":[1,2]},\"b\":1}");
}

TEST_CASE("JsonObject: reads fields of each kind") {
  const Json json = Json::parse(R"({"t":"x","n":7,"b":true,"l":["p","q"],"m":{"k":"v"},"o":{}})");
  JsonObject object(json, "here");
  CHECK(object.text("t") == "x");
  CHECK(object.number("n") == 7);
  CHECK(object.optional_boolean("b") == true);
  CHECK(object.texts("l", 2) == std::vector<std::string>{"p", "q"});
  CHECK(object.text_map("m", 1) == std::map<std::string, std::string>{{"k", "v"}});
  CHECK(object.object("o").empty());
  CHECK_FALSE(object.optional_text("absent"));
  CHECK_FALSE(object.optional_number("absent"));
  CHECK_FALSE(object.optional_boolean("absent"));
  CHECK(object.value("absent", false).is_null());
  CHECK(object.array("absent", false).empty());
  CHECK(object.finish());
}

TEST_CASE("JsonObject: an error names the path of the field") {
  const Json json = Json::parse(
      R"({"t":7,"long":"123456789","n":-1,"f":1.0,"big":9223372036854775808,"b":"true",
          "l":["p",1],"many":["a","b","c"],"m":{"k":1},"o":[],"a":{}})");
  const auto read = [&json](auto how) {
    JsonObject object(json, "release.services.main");
    how(object);
    return message_of(object.finish_open());
  };
  const std::string at = "release.services.main.";
  CHECK(read([](auto& o) { o.text("t"); }) == at + "t must be a string");
  CHECK(read([](auto& o) { o.text("absent"); }) == at + "absent is missing");
  CHECK(read([](auto& o) { o.text("long", 8); }) == at + "long is longer than 8 bytes");
  CHECK(read([](auto& o) { o.optional_text("t"); }) == at + "t must be a string");
  CHECK(read([](auto& o) { o.number("n"); }).starts_with(at + "n must be a whole number"));
  CHECK(read([](auto& o) { o.number("f"); }).starts_with(at + "f must be a whole number"));
  CHECK(read([](auto& o) { o.number("big"); }).starts_with(at + "big must be a whole number"));
  CHECK(read([](auto& o) { o.number("absent"); }) == at + "absent is missing");
  CHECK(read([](auto& o) { o.optional_boolean("b"); }) == at + "b must be true or false");
  CHECK(read([](auto& o) { o.texts("l", 9); }).starts_with(at + "l must hold strings"));
  CHECK(read([](auto& o) { o.texts("many", 2); }) == at + "many has more than 2 entries");
  CHECK(read([](auto& o) { o.text_map("m", 9); }).starts_with(at + "m.k must be a string"));
  CHECK(read([](auto& o) { o.object("o"); }) == at + "o must be an object");
  CHECK(read([](auto& o) { o.array("a"); }) == at + "a must be an array");
  CHECK(read([](auto& o) { o.value("absent"); }) == at + "absent is missing");
}

TEST_CASE("JsonObject: the first failure is kept") {
  const Json json = Json::parse(R"({"a":1,"b":2})");
  JsonObject object(json, "");
  object.text("a");
  object.text("b");
  object.fail("c", "is odd");
  CHECK(message_of(object.finish()) == "a must be a string");
}

TEST_CASE("JsonObject: a field that nobody asked for is an error, unless the format is open") {
  const Json json = Json::parse(R"({"a":1,"z\u001b":2})");
  JsonObject closed(json, "x");
  CHECK(closed.number("a") == 1);
  CHECK(message_of(closed.finish()) == "x.z\\x1b is not known to this version");
  JsonObject open(json, "x");
  CHECK(open.number("a") == 1);
  CHECK(open.finish_open());
}

TEST_CASE("JsonObject: anything but an object is an error") {
  const Json json =
      Json::parse(std::string(GENERATE(as<std::string>(), "[]", "1", "null", "\"x\"")));
  JsonObject object(json, "release");
  CHECK(object.text("a").empty());
  CHECK(message_of(object.finish()) == "release must be an object");
}

// The shapes of names and ids.
#include "names.hpp"

#include <catch2/catch.hpp>
#include <string>

TEST_CASE("names: versions have at least two numbers") {
  for (const char* good : {"2.113", "5.0.0+rev1", "14.13.14", "17.6.23-beta.1"}) {
    INFO(good);
    CHECK(tool::is_version(good));
  }
  for (const char* bad : {"", "5", "5.", ".5", "v5.0.0", "5..0", "5.0 ", "5.x", "1.2+a b"}) {
    INFO(bad);
    CHECK_FALSE(tool::is_version(bad));
  }
}

TEST_CASE("names: file names that FAT cannot hold are told apart") {
  CHECK(tool::is_portable_file_name("release-7.bundle"));
  for (const char* bad : {"", "a:b", "a?", "trailing.", "trailing ", ".hidden", "a\nb", "a/b"}) {
    INFO(bad);
    CHECK_FALSE(tool::is_portable_file_name(bad));
  }
}

TEST_CASE("names: uuids, commits and slugs are exact") {
  CHECK(tool::is_fleet_uuid(std::string(32, 'a')));
  CHECK_FALSE(tool::is_fleet_uuid(std::string(32, 'A')));
  CHECK_FALSE(tool::is_fleet_uuid(std::string(31, 'a')));
  CHECK(tool::is_device_uuid(std::string(62, '0')));
  CHECK_FALSE(tool::is_device_uuid(std::string(40, '0')));
  CHECK(tool::is_commit(std::string(40, '0')));
  CHECK(tool::is_device_type("raspberrypi4-64"));
  CHECK_FALSE(tool::is_device_type("Raspberry Pi"));
  CHECK_FALSE(tool::is_device_type("-x"));
}

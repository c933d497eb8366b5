// The profile resin-wifi: what is set, how it is written, and what stays.
#include "wifi_profile.hpp"

#include <catch2/catch.hpp>

namespace {

using base::ErrorCode;
using tool::Wifi;
using tool::wifi_profile;

std::string line_of(const std::string& profile, const std::string& key) {
  const std::size_t at = profile.find("\n" + key + "=");
  REQUIRE(at != std::string::npos);
  return profile.substr(at + 1, profile.find('\n', at + 1) - at - 1);
}

}  // namespace

TEST_CASE("wifi profile: without one in the image it is for any WPA network") {
  const std::string profile = wifi_profile(std::nullopt, {"shop", "correct horse"});
  CHECK(profile ==
        "[connection]\nid=resin-wifi\ntype=wifi\n\n"
        "[wifi]\nssid=shop\nhidden=true\nmode=infrastructure\n\n"
        "[wifi-security]\npsk=correct horse\nauth-alg=open\nkey-mgmt=wpa-psk\n\n"
        "[ipv4]\nmethod=auto\n\n[ipv6]\naddr-gen-mode=stable-privacy\nmethod=auto\n");
}

TEST_CASE("wifi profile: one that is there keeps everything but network and passphrase") {
  const std::string present =
      "# mine\n[connection]\nid=x\nssid=not this one\n[wifi]\nmode=infrastructure\n"
      "ssid = My_Wifi_Ssid\n\n[wifi-security]\nkey-mgmt=sae\npsk=old\n[ipv4]\nmethod=manual";
  CHECK(wifi_profile(present, {"shop", "correct horse"}) ==
        "# mine\n[connection]\nid=x\nssid=not this one\n[wifi]\nssid=shop\nmode=infrastructure\n"
        "\n[wifi-security]\npsk=correct horse\nkey-mgmt=sae\n[ipv4]\nmethod=manual\n");
}

TEST_CASE("wifi profile: a section that is missing is added") {
  const std::string profile = wifi_profile("[connection]\nid=x\n", {"shop", "correct horse"});
  CHECK(profile ==
        "[connection]\nid=x\n\n[wifi]\nssid=shop\n\n[wifi-security]\npsk=correct horse\n");
}

TEST_CASE("wifi profile: what could be misread is written so that it cannot") {
  CHECK(line_of(wifi_profile(std::nullopt, {"a;b", "12345678"}), "ssid") == "ssid=97;59;98;");
  CHECK(line_of(wifi_profile(std::nullopt, {"Café", "12345678"}), "ssid") ==
        "ssid=67;97;102;195;169;");
  CHECK(line_of(wifi_profile(std::nullopt, {" x", "12345678"}), "ssid") == "ssid=32;120;");
  CHECK(line_of(wifi_profile(std::nullopt, {"x\n[y]", "12345678"}), "ssid") ==
        "ssid=120;10;91;121;93;");
  CHECK(line_of(wifi_profile(std::nullopt, {"x", "  a \\ b c"}), "psk") == "psk=\\s\\sa \\\\ b c");
  CHECK(line_of(wifi_profile(std::nullopt, {"x", "s tart..."}), "psk") == "psk=s tart...");
}

TEST_CASE("wifi profile: only what WPA takes is taken") {
  CHECK(tool::check_wifi({"shop", "12345678"}));
  CHECK(tool::check_wifi({"shop", std::string(63, 'x')}));
  CHECK(tool::check_wifi({"shop", std::string(64, 'a')}));
  CHECK(tool::check_wifi({std::string(32, 'x'), "12345678"}));
  for (const Wifi& wifi : {Wifi{"", "12345678"}, Wifi{std::string(33, 'x'), "12345678"},
                           Wifi{"shop", "1234567"}, Wifi{"shop", std::string(64, 'x')},
                           Wifi{"shop", std::string(65, 'a')}, Wifi{"shop", "caf\xc3\xa9 caf"},
                           Wifi{"shop", "line\nbreak"}, Wifi{std::string("a\0b", 3), "12345678"}}) {
    CAPTURE(wifi.ssid, wifi.passphrase);
    CHECK(tool::check_wifi(wifi).error().code() == ErrorCode::kUsage);
  }
}

// What is read from the layers of a host OS image, and which images are none.
#include "oci/hostapp_image.hpp"

#include <catch2/catch.hpp>
#include <vector>

#include "support/byte_sources.hpp"
#include "support/image_builder.hpp"
#include "support/tar_builder.hpp"

using base::ErrorCode;
using Catch::Matchers::Contains;
using support::TarBuilder;

namespace {

const std::string kOsRelease =
    "ID=\"balena-os\"\n# a comment\nVERSION=\"6.6.0+rev1\"\nMETA_BALENA_VERSION=\"6.6.0\"\n"
    "SLUG=\"raspberrypi4-64\"\n";

class LayersInMemory final : public oci::ImageSource {
 public:
  explicit LayersInMemory(std::vector<std::string> layers)
      : image_(support::make_image(std::move(layers))),
        config_(oci::parse_image_config(image_.config).value()) {}

  [[nodiscard]] const std::string& config_bytes() const override { return image_.config; }
  [[nodiscard]] const oci::ImageConfig& config() const override { return config_; }
  [[nodiscard]] base::Result<std::unique_ptr<oci::ByteSource>> open_layer(
      std::size_t index) const override {
    return std::unique_ptr<oci::ByteSource>(
        std::make_unique<support::TextSource>(image_.layers.at(index)));
  }

 private:
  support::TestImage image_;
  oci::ImageConfig config_;
};

base::Result<oci::HostappImage> read(std::vector<std::string> layers) {
  base::NoProgress progress;
  return oci::read_hostapp_image(LayersInMemory(std::move(layers)), progress);
}

/// A complete OS, apart from os-release.
TarBuilder& add_boot(TarBuilder& tar) {
  return tar.directory("boot")
      .file("boot/init", std::string(5000, 'i'))
      .file("resin-boot/config.txt", "x")
      .file("resin-boot/EFI/BOOT/grub.cfg", std::string(100, 'g'));
}

std::string complete(const std::string& os_release = kOsRelease) {
  TarBuilder tar;
  return add_boot(tar).file("./etc/os-release", os_release).finish();
}

using Sizes = std::map<std::string, std::uint64_t>;

}  // namespace

TEST_CASE("hostapp image: gives version, type and boot files of a complete one") {
  const auto os = read({complete()}).value();
  CHECK(os.version == "6.6.0+rev1");
  CHECK(os.meta_version == "6.6.0");
  CHECK(os.device_type == "raspberrypi4-64");
  CHECK(os.boot_files == Sizes{{"config.txt", 1}, {"EFI/BOOT/grub.cfg", 100}});
  CHECK(os.boot_volume_bytes == 8192);
  CHECK_FALSE(os.signed_for_secure_boot);
}

TEST_CASE("hostapp image: reads a compressed layer") {
  CHECK(read({support::gzip(complete())}).value().version == "6.6.0+rev1");
}

TEST_CASE("hostapp image: follows a symlink of os-release, relative, absolute or through another") {
  const std::string target =
      GENERATE("../usr/lib/os-release", "/usr/lib/os-release", "../../../lib/os-release");
  TarBuilder tar;
  const auto os = read({add_boot(tar)
                            .symlink("lib", "usr/lib")
                            .symlink("etc/os-release", target)
                            .file("usr/lib/os-release", kOsRelease)
                            .finish()})
                      .value();
  CHECK(os.version == "6.6.0+rev1");
}

TEST_CASE("hostapp image: a symlink of os-release to itself or to nothing is no os-release") {
  const std::string target = GENERATE("os-release", "nowhere");
  TarBuilder tar;
  const auto os = read({add_boot(tar).symlink("etc/os-release", target).finish()});
  REQUIRE_FALSE(os);
  CHECK(os.error().code() == ErrorCode::kOsImageInvalid);
}

TEST_CASE("hostapp image: an upper layer removes, hides and replaces boot files") {
  SECTION("whiteout of a file") {
    const auto os = read({complete(), TarBuilder().whiteout("resin-boot/config.txt").finish()});
    CHECK(os.value().boot_files == Sizes{{"EFI/BOOT/grub.cfg", 100}});
  }
  SECTION("whiteout of a directory") {
    const auto os = read({complete(), TarBuilder().whiteout("resin-boot/EFI").finish()});
    CHECK(os.value().boot_files == Sizes{{"config.txt", 1}});
  }
  SECTION("opaque directory, with new content in any order") {
    const auto os = read({complete(), TarBuilder()
                                          .file("resin-boot/new", "four")
                                          .opaque("resin-boot")
                                          .file("resin-boot/newer", "fives")
                                          .finish()});
    CHECK(os.value().boot_files == Sizes{{"new", 4}, {"newer", 5}});
  }
  SECTION("another size") {
    const auto os = read({complete(), TarBuilder().file("resin-boot/config.txt", "four").finish()});
    CHECK(os.value().boot_files.at("config.txt") == 4);
  }
  SECTION("a file where a directory was") {
    const auto os = read({complete(), TarBuilder().file("resin-boot/EFI", "abc").finish()});
    CHECK(os.value().boot_files == Sizes{{"EFI", 3}, {"config.txt", 1}});
  }
  SECTION("a whiteout leaves its own layer alone, and names that only begin alike") {
    const auto os = read({complete(), TarBuilder()
                                          .file("resin-boot/config.txt", "again")
                                          .whiteout("resin-boot/config.txt")
                                          .whiteout("resin-boot/EF")
                                          .finish()});
    CHECK(os.value().boot_files == Sizes{{"config.txt", 5}, {"EFI/BOOT/grub.cfg", 100}});
  }
}

TEST_CASE("hostapp image: a hard link in /resin-boot counts with the size of what it links to") {
  const auto os =
      read({complete(), TarBuilder().hardlink("resin-boot/kernel", "boot/init").finish()});
  CHECK(os.value().boot_files.at("kernel") == 5000);
  const auto lost = read({complete(), TarBuilder().hardlink("resin-boot/kernel", "no").finish()});
  REQUIRE_FALSE(lost);
  CHECK(lost.error().code() == ErrorCode::kImageInvalid);
}

TEST_CASE("hostapp image: symlinks and special files are no boot files") {
  const auto os = read({complete(), TarBuilder()
                                        .symlink("resin-boot/link", "config.txt")
                                        .fifo("resin-boot/fifo")
                                        .directory("resin-boot/directory")
                                        .finish()});
  CHECK(os.value().boot_files.size() == 2);
}

TEST_CASE("hostapp image: the signed GRUB configuration says that it is for secure boot") {
  const auto os =
      read({complete(), TarBuilder().file("resin-boot/EFI/BOOT/grub-luks.cfg.sig", "s").finish()});
  CHECK(os.value().signed_for_secure_boot);
}

TEST_CASE("hostapp image: without META_BALENA_VERSION it is VERSION") {
  CHECK(read({complete("VERSION='2.60.1+rev2'\nSLUG=qemux86-64\n")}).value().meta_version ==
        "2.60.1+rev2");
}

TEST_CASE("hostapp image: the slug may come from device-type.json, and both have to agree") {
  const std::string json =
      TarBuilder().file("resin-boot/device-type.json", R"({"slug":"intel-nuc"})").finish();
  CHECK(read({complete("VERSION=5.0.0\n"), json}).value().device_type == "intel-nuc");
  const auto two = read({complete(), json});
  REQUIRE_FALSE(two);
  CHECK(two.error().code() == ErrorCode::kOsImageInvalid);
  CHECK_THAT(two.error().message(), Contains("raspberrypi4-64") && Contains("intel-nuc"));
  const auto broken =
      read({complete(), TarBuilder().file("resin-boot/device-type.json", "{").finish()});
  REQUIRE_FALSE(broken);
  CHECK(broken.error().code() == ErrorCode::kOsImageInvalid);
}

TEST_CASE("hostapp image: says what is missing") {
  const auto error_of = [](std::vector<std::string> layers) {
    const auto os = read(std::move(layers));
    REQUIRE_FALSE(os);
    CHECK(os.error().code() == ErrorCode::kOsImageInvalid);
    return os.error().message();
  };
  CHECK_THAT(error_of({complete("VERSION=5.0.0\n")}), Contains("SLUG"));
  CHECK_THAT(error_of({complete("SLUG=a\n")}), Contains("VERSION"));
  CHECK_THAT(error_of({complete(), TarBuilder().whiteout("resin-boot").finish()}),
             Contains("/resin-boot"));
  CHECK_THAT(error_of({complete(), TarBuilder().whiteout("boot").finish()}), Contains("/boot"));
  CHECK_THAT(error_of({complete(), TarBuilder().whiteout("etc").finish()}), Contains("os-release"));
}

TEST_CASE("hostapp image: tells flasher, disk image and application image by what is in them") {
  const auto message = [](const std::string& upper, const std::string& lower) {
    const auto os = read({lower, upper});
    REQUIRE_FALSE(os);
    CHECK(os.error().code() == ErrorCode::kOsImageInvalid);
    return os.error().message();
  };
  CHECK_THAT(
      message(TarBuilder().file("opt/balena-image-nuc.balenaos-img", "x").finish(), complete()),
      Contains("flasher"));
  CHECK_THAT(message(TarBuilder().file("resin-boot/balena-image-flasher", "").finish(), complete()),
             Contains("flasher"));
  CHECK_THAT(message(TarBuilder().file("balena.img", "x").finish(), TarBuilder().finish()),
             Contains("disk image"));
  CHECK_THAT(message(TarBuilder().file("app", "x").finish(),
                     TarBuilder().file("etc/os-release", "ID=debian\nVERSION=12\n").finish()),
             Contains("application"));
}

TEST_CASE("hostapp image: a name that leads out of the image is refused") {
  const auto os = read({complete(), TarBuilder().file("resin-boot/../../x", "x").finish()});
  REQUIRE_FALSE(os);
  CHECK(os.error().code() == ErrorCode::kImageInvalid);
}

TEST_CASE("hostapp image: a cut layer is an error") {
  const auto os = read({complete().substr(0, 2000)});
  REQUIRE_FALSE(os);
  CHECK(os.error().code() == ErrorCode::kImageInvalid);
}

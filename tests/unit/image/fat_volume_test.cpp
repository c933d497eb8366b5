// FAT volumes made by mkfs.vfat, written by FatVolume, judged by fsck.fat and mtools.
#include "image/fat_volume.hpp"

#include <catch2/catch.hpp>

#include "disk_images.hpp"
#include "image/fat_reader.hpp"
#include "image/little_endian.hpp"

namespace {

using base::ErrorCode;
using image::BlockRange;
using image::FatReader;
using image::FatVolume;
using support::kMiB;

constexpr std::int64_t kOldTime = 1'000'000'000;  // of what was there before

/// One FAT in the middle of a file whose other bytes are a pattern.
class Volume {
 public:
  explicit Volume(unsigned bits, std::uint64_t size_mib = 40)
      : path_(scratch_ / "disk.img"), size_bytes_(size_mib * kMiB) {
    std::ofstream(path_, std::ios::binary) << guard();
    std::filesystem::resize_file(path_, kMiB + size_bytes_);
    std::ofstream(path_, std::ios::binary | std::ios::app) << guard();
    support::must_run({"mkfs.vfat", "-F", std::to_string(bits), "-s", bits == 32 ? "1" : "4", "-n",
                       "resin-boot", "--offset", "2048", path_.string(),
                       std::to_string(size_bytes_ / 1024)});
  }

  [[nodiscard]] BlockRange range() const {
    auto fd = base::UniqueFd(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
    REQUIRE(fd.valid());
    return {std::make_shared<const base::UniqueFd>(std::move(fd)), kMiB, size_bytes_};
  }
  [[nodiscard]] FatVolume open() const {
    auto volume = FatVolume::open(range(), scratch_.path());
    REQUIRE(volume);
    return *std::move(volume);
  }
  [[nodiscard]] std::string read(std::uint64_t at, std::size_t size) const {
    std::string bytes(size, '\0');
    std::ifstream in(path_, std::ios::binary);
    in.seekg(static_cast<std::streamoff>(at));
    in.read(bytes.data(), static_cast<std::streamsize>(size));
    return bytes;
  }
  [[nodiscard]] std::string bytes() const { return read(kMiB, size_bytes_); }
  void write(std::uint64_t at, const std::string& bytes) const {
    std::fstream out(path_, std::ios::binary | std::ios::in | std::ios::out);
    out.seekp(static_cast<std::streamoff>(kMiB + at));
    out << bytes;
  }
  [[nodiscard]] std::string mtools_name() const { return path_.string() + "@@1M"; }
  void put(const std::string& name, const std::string& content) const {
    const image::Program program{.argv = {"mcopy", "-o", "-i", mtools_name(), "-", "::" + name},
                                 .environment = {"SOURCE_DATE_EPOCH=" + std::to_string(kOldTime)},
                                 .input = content};
    REQUIRE(image::run_successfully(program, ErrorCode::kIo));
  }

  /// What fsck.fat finds, and whether something outside was written; empty when all is well.
  [[nodiscard]] std::string faults() const {
    const auto copy = scratch_.write("volume", bytes());
    const auto outcome = support::run_command({"fsck.fat", "-n", "-v", copy.string()});
    if (read(0, kMiB) != guard() || read(kMiB + size_bytes_, kMiB) != guard()) {
      return "written outside of the volume";
    }
    return outcome.exit_code == 0 ? "" : outcome.output + outcome.errors;
  }
  [[nodiscard]] std::string mtype(const std::string& name) const {
    return support::must_run({"mtype", "-i", mtools_name(), "::" + name},
                             {"LC_ALL=C.UTF-8", "MTOOLS_SKIP_CHECK=1"});
  }

 private:
  static std::string guard() { return std::string(kMiB, '\xa5'); }
  support::Scratch scratch_;
  std::filesystem::path path_;
  std::uint64_t size_bytes_;
};

std::string text_of(std::uint32_t seed, std::size_t size) {
  std::string text;
  while (text.size() < size) {
    seed = seed * 1664525 + 1013904223;
    text.push_back(static_cast<char>('a' + (seed >> 24) % 26));
  }
  return text;
}

std::string le32(std::uint32_t value) {
  std::string bytes(4, '\0');
  for (std::size_t i = 0; i < 4; ++i) {
    bytes[i] = static_cast<char>(value >> (8 * i));
  }
  return bytes;
}

}  // namespace

TEST_CASE("FAT volume: files of every size survive a round trip, and fsck.fat is content") {
  for (const unsigned bits : {12U, 16U, 32U}) {
    CAPTURE(bits);
    const Volume volume(bits, bits == 12 ? 4 : 40);
    FatVolume fat = volume.open();
    const std::size_t cluster = bits == 32 ? 512 : 2048;
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, cluster - 1, cluster,
                                   cluster + 1, std::size_t{1} << 20}) {
      const std::string name = "/file of " + std::to_string(size) + " bytes.txt";
      REQUIRE(fat.write_file(name, text_of(static_cast<std::uint32_t>(size), size)));
    }
    REQUIRE(fat.write_file("/a/b/c.nmconnection", "deep"));
    REQUIRE(fat.write_file("/A/B/C.nmconnection", "deeper"));  // the same, for case does not matter
    REQUIRE(fat.commit());
    CHECK(volume.faults().empty());
    CHECK(volume.mtype("/file of 1 bytes.txt") == text_of(1, 1));
    CHECK(volume.mtype("/a/b/c.nmconnection") == "deeper");

    FatVolume again = volume.open();
    CHECK(again.read_file("file of 1 bytes.txt", 10)->value() == text_of(1, 1));
    CHECK(again.read_file("/FILE OF 1048576 BYTES.TXT", kMiB)->value() == text_of(1U << 20U, kMiB));
    CHECK(again.read_file("a/b/nothing", 10)->has_value() == false);
    CHECK(again.read_file("file of 1048576 bytes.txt", 10).error().code() ==
          ErrorCode::kLimitExceeded);
    CHECK(again.list("")->size() == 7);
    REQUIRE(again.list("/a/b")->size() == 1);
    CHECK(again.list("/a/b")->front().size_bytes == 6);
    CHECK(again.list("/nothing").error().code() == ErrorCode::kNotFound);
  }
}

TEST_CASE("FAT volume: each operation leaves fsck.fat content, and room comes back") {
  const Volume volume(16);
  const std::uint64_t free_before = volume.open().free_bytes();
  for (unsigned i = 0; i < 6; ++i) {
    FatVolume fat = volume.open();
    REQUIRE(fat.write_file("/config.json", text_of(i, 10'000 * (6 - i))));
    REQUIRE(fat.commit());
    CHECK(volume.faults().empty());
    CHECK(volume.mtype("/config.json") == text_of(i, 10'000 * (6 - i)));
  }
  FatVolume fat = volume.open();
  REQUIRE(fat.remove_file("/config.json"));
  REQUIRE(fat.remove_file("/config.json"));
  REQUIRE(fat.commit());
  CHECK(volume.faults().empty());
  CHECK(volume.open().free_bytes() == free_before);
}

TEST_CASE("FAT volume: nothing reaches the image before commit, and then only what has changed") {
  const Volume volume(16);
  volume.put("/other", text_of(1, 100'000));
  const std::string before = volume.bytes();
  FatVolume fat = volume.open();
  REQUIRE(fat.write_file("/config.json", "{}"));
  CHECK(volume.bytes() == before);
  REQUIRE(fat.commit());
  const std::string after = volume.bytes();
  std::size_t changed = 0;
  for (std::size_t at = 0; at < before.size(); at += 4096) {
    changed += before.compare(at, 4096, after, at, 4096) != 0 ? 1U : 0U;
  }
  CHECK(changed >= 3);  // a directory, the content, two tables
  CHECK(changed <= 5);
}

TEST_CASE("FAT volume: the same changes give the same bytes, whatever the time and settings are") {
  const Volume volume(16);
  volume.put("/other", "content");
  const std::string before = volume.bytes();
  const auto change = [&volume, &before] {
    volume.write(0, before);
    FatVolume fat = volume.open();
    REQUIRE(fat.write_file("/system-connections/office", "[connection]\n"));
    REQUIRE(fat.write_file("/config.json", "{}"));
    REQUIRE(fat.commit());
    return volume.bytes();
  };
  const std::string first = change();
  const support::Scratch home;
  ::setenv("HOME", home.path().c_str(), 1);
  ::setenv("MTOOLS_LOWER_CASE", "1", 1);
  ::setenv("TZ", "Asia/Kolkata", 1);
  static_cast<void>(home.write(".mtoolsrc", "mtools_no_vfat=1\n"));
  const std::string second = change();
  for (const char* name : {"MTOOLS_LOWER_CASE", "TZ"}) {
    ::unsetenv(name);
  }
  CHECK(first == second);
  const FatReader reader = *FatReader::open(volume.range());
  CHECK((*reader.find("config.json"))->modified_seconds == kOldTime);
  CHECK((*reader.find("system-connections"))->modified_seconds == kOldTime);
}

TEST_CASE("FAT volume: what balena's command line leaves behind is mended by the next commit") {
  const Volume volume(32);
  const image::FatLayout layout = FatReader::open(volume.range())->layout();
  REQUIRE(layout.info_offset);
  const std::string second =
      volume.read(kMiB + layout.table_offset + layout.table_bytes, layout.table_bytes);
  volume.put("/config.json", text_of(1, 50'000));
  volume.write(layout.table_offset + layout.table_bytes, second);  // as if never written
  volume.write(*layout.info_offset + 488, le32(7));
  REQUIRE_FALSE(volume.faults().empty());

  FatVolume fat = volume.open();
  CHECK(fat.read_file("/config.json", 100'000)->value() == text_of(1, 50'000));
  REQUIRE(fat.write_file("/config.json", text_of(2, 90'000)));
  REQUIRE(fat.commit());
  CHECK(volume.faults().empty());
  CHECK(volume.mtype("/config.json") == text_of(2, 90'000));
}

TEST_CASE("FAT volume: a file that does not fit is an error, and nothing is written") {
  const Volume volume(12, 4);
  const std::string before = volume.bytes();
  FatVolume fat = volume.open();
  const auto written = fat.write_file("/large", text_of(1, 5 * kMiB));
  REQUIRE_FALSE(written);
  CHECK(written.error().code() == ErrorCode::kNoSpace);
  CHECK_THAT(written.error().message(), Catch::Contains("/large"));
  CHECK(volume.bytes() == before);
  // One that fits only in the place of the one that it replaces does fit.
  const std::uint64_t most = fat.free_bytes() - 3 * 2048;
  REQUIRE(fat.write_file("/large", text_of(1, most)));
  REQUIRE(fat.write_file("/large", text_of(2, most)));
  REQUIRE(fat.commit());
  CHECK(volume.faults().empty());
}

TEST_CASE("FAT volume: names are taken as they are, or refused") {
  const Volume volume(16);
  FatVolume fat = volume.open();
  for (const std::string name : {"Hotel [5G]", "$(id)", "-n", "it's", "a;b", "Café", "%s", "#x"}) {
    CAPTURE(name);
    REQUIRE(fat.write_file("/system-connections/" + name, name));
    CHECK(fat.read_file("/system-connections/" + name, 100)->value() == name);
  }
  CHECK(fat.list("/system-connections")->size() == 8);
  for (const std::string name : {"..", ".", "a:b", "a\\b", "what?", "a*", "line\nbreak", "dot.",
                                 "space ", "\x1b[2J", "bad\xff",
                                 "\xe2\x80\xae"
                                 "moc"}) {
    CAPTURE(name);
    CHECK(fat.write_file("/system-connections/" + name, "x").error().code() == ErrorCode::kUsage);
  }
  CHECK(fat.write_file("/", "x").error().code() == ErrorCode::kUsage);
  CHECK(fat.write_file("/system-connections", "x").error().code() == ErrorCode::kDiskImage);
  CHECK(fat.write_file("/system-connections/-n/x", "x").error().code() == ErrorCode::kDiskImage);
  REQUIRE(fat.commit());
  CHECK(volume.faults().empty());
  CHECK(volume.mtype("/system-connections/Café") == "Café");
}

TEST_CASE("FAT volume: a damaged or hostile one is refused") {
  const Volume volume(16);
  volume.put("/one", text_of(1, 10'000));
  volume.put("/two", text_of(2, 10'000));
  const image::FatLayout layout = FatReader::open(volume.range())->layout();
  const auto entry_of = [&](const std::string& name) {
    const std::string root = volume.read(kMiB + layout.root_offset, 4096);
    const std::size_t at = root.find(name);
    REQUIRE(at != std::string::npos);
    return layout.root_offset + at;
  };
  SECTION("no FAT at all") {
    volume.write(0, std::string(512, '\0'));
  }
  SECTION("larger than its range") {
    volume.write(32, le32(0x7FFFFFFF));
  }
  SECTION("a table too short for its clusters") {
    volume.write(22, std::string("\x01\x00", 2));
  }
  SECTION("a file's chain leads out of the volume") {
    volume.write(entry_of("ONE ") + 26, std::string("\xf0\xff", 2));
  }
  SECTION("two files share a cluster") {
    volume.write(entry_of("TWO ") + 26, volume.read(kMiB + entry_of("ONE ") + 26, 2));
  }
  SECTION("a chain that is a loop") {
    const std::string first = volume.read(kMiB + entry_of("ONE ") + 26, 2);
    const auto cluster = image::load_le<std::uint16_t>(base::as_bytes(first), 0);
    volume.write(layout.table_offset + cluster * 2U, first);
  }
  const support::Scratch scratch;
  const auto opened = FatVolume::open(volume.range(), scratch.path());
  REQUIRE_FALSE(opened);
  CHECK(opened.error().code() == ErrorCode::kDiskImage);
}

TEST_CASE("FAT volume: a directory that contains itself is refused") {
  const Volume volume(16);
  FatVolume fat = volume.open();
  REQUIRE(fat.write_file("/directory/inner/file", "x"));
  REQUIRE(fat.commit());
  const FatReader reader = *FatReader::open(volume.range());
  const auto outer = reader.find("directory");
  const auto inner = reader.find("directory/inner");
  const std::uint64_t at = reader.layout().offset_of((*outer)->first_cluster);
  const std::string listing = volume.read(kMiB + at, 2048);
  const std::size_t entry = listing.find("INNER ");
  REQUIRE(entry != std::string::npos);
  REQUIRE((*inner)->first_cluster != 0);
  volume.write(at + entry + 26, le32((*outer)->first_cluster).substr(0, 2));
  const support::Scratch scratch;
  CHECK(FatVolume::open(volume.range(), scratch.path()).error().code() == ErrorCode::kDiskImage);
}

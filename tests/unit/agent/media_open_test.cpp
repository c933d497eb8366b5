// open_medium() with a mounter whose volumes are directories.
#include <sys/sysmacros.h>

#include <catch2/catch.hpp>
#include <map>

#include "media/mounter.hpp"
#include "support/scratch.hpp"

namespace {

using namespace agent::media;
using base::Error;
using base::ErrorCode;

const dev_t kDisk = makedev(8, 16);

class DirectoryMount : public Mount {
 public:
  DirectoryMount(std::filesystem::path path, int& mounted)
      : path_(std::move(path)), count_(mounted) {
    ++count_;
  }
  ~DirectoryMount() override { --count_; }
  [[nodiscard]] const std::filesystem::path& path() const override { return path_; }

 private:
  std::filesystem::path path_;
  int& count_;
};

/// Volumes sdb1, sdb2, ... are the directories of the same name, as far as they exist.
class DirectoryMounter : public Mounter {
 public:
  DirectoryMounter(std::filesystem::path root, std::vector<std::string> names)
      : root_(std::move(root)) {
    for (auto& name : names) {
      volumes.push_back({.device = {std::move(name), makedev(8, 17), 1}, .file_system = "ext4"});
    }
  }
  base::Result<std::vector<Volume>> probe(const Medium&) override {
    ++probes;
    return volumes;
  }
  base::Result<std::set<dev_t>> system_disks() override { return system; }
  base::Result<std::unique_ptr<Mount>> mount(const Volume& volume, Access access) override {
    if (access != Access::kReadOnly) {
      return Error(ErrorCode::kInternal, "an update never opens a medium for writing");
    }
    const auto path = root_ / volume.device.name;
    if (!std::filesystem::exists(path)) {
      return Error(failure, "cannot mount");
    }
    return std::unique_ptr<Mount>(std::make_unique<DirectoryMount>(path, mounted));
  }

  std::vector<Volume> volumes;
  std::set<dev_t> system;
  ErrorCode failure = ErrorCode::kMediumMount;
  int probes = 0;
  int mounted = 0;

 private:
  std::filesystem::path root_;
};

Medium stick() {
  return {.disk = {"sdb", kDisk, 1'000'000}, .kind = DeviceKind::kUsb};
}
MediaPolicy policy() {
  return {.kinds = {DeviceKind::kUsb}, .file_systems = {"ext4"}};
}

}  // namespace

TEST_CASE("open medium: gives every allowed volume with its root, and unmounts with the objects") {
  const support::Scratch scratch;
  static_cast<void>(scratch.write("sdb1/one", "1"));
  static_cast<void>(scratch.write("sdb2/two", "2"));
  DirectoryMounter mounter(scratch.path(), {"sdb1", "sdb2"});
  {
    const auto media = open_medium(mounter, stick(), policy());
    REQUIRE(media);
    REQUIRE(media->size() == 2);
    CHECK(media->at(0).root.open_file("one"));
    CHECK(media->at(1).root.open_file("two"));
    CHECK(mounter.mounted == 2);
  }
  CHECK(mounter.mounted == 0);
}

TEST_CASE("open medium: a system disk and a kind that is not allowed are not even probed") {
  const support::Scratch scratch;
  static_cast<void>(scratch.write("sdb1/one", "1"));
  DirectoryMounter mounter(scratch.path(), {"sdb1"});
  mounter.system = {kDisk};
  const auto system = open_medium(mounter, stick(), policy());
  REQUIRE_FALSE(system);
  CHECK(system.error().code() == ErrorCode::kMediumSystemDisk);
  mounter.system.clear();
  const auto kind =
      open_medium(mounter, stick(), {.kinds = {DeviceKind::kSd}, .file_systems = {"ext4"}});
  REQUIRE_FALSE(kind);
  CHECK(kind.error().code() == ErrorCode::kMediumRefused);
  CHECK(mounter.probes == 0);
}

TEST_CASE("open medium: boot files on one volume refuse the whole medium and unmount it") {
  const support::Scratch scratch;
  static_cast<void>(scratch.write("sdb1/one", "1"));
  static_cast<void>(scratch.write("sdb2/extra_uEnv.txt", "x"));
  DirectoryMounter mounter(scratch.path(), {"sdb1", "sdb2"});
  const auto media = open_medium(mounter, stick(), policy());
  REQUIRE_FALSE(media);
  CHECK(media.error().code() == ErrorCode::kMediumRefused);
  CHECK_THAT(media.error().message(), Catch::Contains("sdb2") && Catch::Contains("extra_uEnv.txt"));
  CHECK(mounter.mounted == 0);
}

TEST_CASE("open medium: a volume that cannot be mounted is left out if another one can") {
  const support::Scratch scratch;
  static_cast<void>(scratch.write("sdb2/two", "2"));
  DirectoryMounter mounter(scratch.path(), {"sdb1", "sdb2"});
  const auto media = open_medium(mounter, stick(), policy());
  REQUIRE(media);
  REQUIRE(media->size() == 1);
  CHECK(media->front().volume.device.name == "sdb2");
}

TEST_CASE("open medium: when nothing can be mounted the first reason is the error") {
  const support::Scratch scratch;
  DirectoryMounter mounter(scratch.path(), {"sdb1", "sdb2"});
  const auto media = open_medium(mounter, stick(), policy());
  REQUIRE_FALSE(media);
  CHECK(media.error().code() == ErrorCode::kMediumMount);
  CHECK_THAT(media.error().message(), Catch::Contains("sdb1"));
}

TEST_CASE(
    "open medium: a medium that goes while it is opened is gone, whatever was mounted before") {
  const support::Scratch scratch;
  static_cast<void>(scratch.write("sdb1/one", "1"));
  DirectoryMounter mounter(scratch.path(), {"sdb1", "sdb2"});
  mounter.failure = ErrorCode::kMediumGone;
  const auto media = open_medium(mounter, stick(), policy());
  REQUIRE_FALSE(media);
  CHECK(media.error().code() == ErrorCode::kMediumGone);
  CHECK(mounter.mounted == 0);
}

TEST_CASE("open medium: a root with more names than anyone needs is refused") {
  const support::Scratch scratch;
  for (int i = 0; i <= 10'000; ++i) {
    static_cast<void>(scratch.write("sdb1/" + std::to_string(i), ""));
  }
  DirectoryMounter mounter(scratch.path(), {"sdb1"});
  const auto media = open_medium(mounter, stick(), policy());
  REQUIRE_FALSE(media);
  CHECK(media.error().code() == ErrorCode::kMediumRefused);
}

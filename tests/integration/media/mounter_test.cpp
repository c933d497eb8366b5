// libmount, libblkid and the kernel's ext4 on real block devices.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <fstream>

#include "base/files.hpp"
#include "base/mount_table.hpp"
#include "loop_disk.hpp"
#include "platform/libmount_mounter.hpp"
#include "platform/system_disks.hpp"
#include "support/command.hpp"
#include "support/scratch.hpp"

namespace {

using namespace agent;
using base::ErrorCode;
using media::Access;
using support::LoopDisk;
using support::must_run;
using support::Scratch;

std::unique_ptr<media::Mounter> open_mounter(const Scratch& scratch) {
  support::require_root();
  auto mounter = platform::LibmountMounter::create(scratch / "runtime", "/");
  if (!mounter) {
    FAIL(mounter.error().message());
  }
  return *std::move(mounter);
}

std::filesystem::path content_of(const Scratch& scratch) {
  return scratch.write("content/hello", "from the medium").parent_path();
}

media::Volume only_volume(media::Mounter& mounter, const LoopDisk& disk) {
  const auto volumes = mounter.probe(disk.medium());
  REQUIRE(volumes);
  REQUIRE(volumes->size() == 1);
  return volumes->front();
}

std::string sha256_of(const std::filesystem::path& file) {
  return must_run({"sha256sum", file.string()}).substr(0, 64);
}

/// The line of mountinfo for `target`; empty if nothing is mounted there.
std::string mount_line(const std::filesystem::path& target) {
  std::ifstream table("/proc/self/mountinfo");
  for (std::string line; std::getline(table, line);) {
    if (line.find(" " + target.string() + " ") != std::string::npos) {
      return line;
    }
  }
  return "";
}

bool is_anything_mounted_below(const std::filesystem::path& directory) {
  const auto table = base::read_mount_table("/proc/self/mountinfo");
  REQUIRE(table);
  return std::any_of(table->begin(), table->end(), [&directory](const auto& mount) {
    return base::is_at_or_below(mount.target, directory);
  });
}

/// Unmounts what a test that failed half-way would leave to the machine.
class CleanUp {
 public:
  explicit CleanUp(std::filesystem::path directory) : directory_(std::move(directory)) {}
  CleanUp(const CleanUp&) = delete;
  CleanUp& operator=(const CleanUp&) = delete;
  ~CleanUp() { support::run_command({"umount", "--recursive", "--lazy", directory_.string()}); }

 private:
  std::filesystem::path directory_;
};

/// An ext4 image as a pulled stick leaves it: the journal has to be replayed, and the superblock
/// names an orphaned file.
std::filesystem::path make_dirty_image(const Scratch& scratch, media::Mounter& mounter) {
  const auto image = support::make_ext4(scratch / "clean.img", content_of(scratch));
  const LoopDisk disk(image);
  const auto mount = mounter.mount(only_volume(mounter, disk), Access::kReadWrite);
  REQUIRE(mount);
  std::ofstream((*mount)->path() / "unfinished") << "not yet checkpointed";
  const base::UniqueFd root(::open((*mount)->path().c_str(), O_RDONLY | O_DIRECTORY));
  REQUIRE(::syncfs(root.get()) == 0);
  std::filesystem::copy_file(image, scratch / "dirty.img");
  must_run({"debugfs", "-w", "-R", "set_super_value last_orphan 12", scratch / "dirty.img"});
  return scratch / "dirty.img";
}

}  // namespace

TEST_CASE("mounter: mounts read-only with every restriction, and leaves nothing behind") {
  const Scratch scratch;
  const LoopDisk disk(
      support::make_ext4(scratch / "a.img", content_of(scratch), {"-L", "UPDATES"}));
  // An image may ask the kernel to panic on an error; it does not get its wish.
  must_run({"tune2fs", "-e", "panic", scratch / "a.img"});
  std::filesystem::path runtime;
  {
    const auto mounter = open_mounter(scratch);
    runtime = scratch / "runtime";
    const auto volume = only_volume(*mounter, disk);
    CHECK(volume.file_system == "ext4");
    CHECK(volume.label == "UPDATES");
    CHECK(volume.device.number == disk.number());
    {
      const auto mount = mounter->mount(volume, Access::kReadOnly);
      REQUIRE(mount);
      struct stat status {};
      REQUIRE(::stat(runtime.c_str(), &status) == 0);
      CHECK((status.st_mode & 0777U) == 0700U);
      CHECK(base::is_at_or_below((*mount)->path(), runtime));
      const auto line = mount_line((*mount)->path());
      CAPTURE(line);
      for (const auto* option : {"ro", "nosuid", "nodev", "noexec", "nosymfollow"}) {
        CHECK_THAT(line, Catch::Contains(option));
      }
      CHECK_THAT(line, Catch::Contains("norecovery") && Catch::Contains("errors=remount-ro"));
      CHECK(disk.is_read_only());
      const auto bytes = base::read_file((*mount)->path() / "hello", 100);
      REQUIRE(bytes);
      CHECK(base::as_text(*bytes) == "from the medium");
      CHECK(std::ofstream((*mount)->path() / "new").fail());
    }
    CHECK_FALSE(disk.is_read_only());
    CHECK(std::filesystem::is_empty(runtime));
  }
  CHECK_FALSE(is_anything_mounted_below(runtime));
  CHECK_FALSE(std::filesystem::exists(runtime));
}

TEST_CASE("mounter: a file system that was not unmounted is read without writing one byte") {
  const Scratch scratch;
  const auto mounter = open_mounter(scratch);
  const auto image = make_dirty_image(scratch, *mounter);
  const auto superblock = must_run({"dumpe2fs", "-h", image});
  REQUIRE_THAT(superblock, Catch::Contains("needs_recovery"));
  REQUIRE_THAT(superblock, Catch::Contains("First orphan inode:       12"));
  const auto before = sha256_of(image);
  {
    const LoopDisk disk(image);
    const auto mount = mounter->mount(only_volume(*mounter, disk), Access::kReadOnly);
    REQUIRE(mount);
    CHECK(base::read_file((*mount)->path() / "hello", 100));
  }
  CHECK(sha256_of(image) == before);
}

TEST_CASE("mounter: what is written while mounted for writing is there afterwards") {
  const Scratch scratch;
  const auto mounter = open_mounter(scratch);
  const auto image = support::make_ext4(scratch / "a.img", content_of(scratch));
  {
    const LoopDisk disk(image);
    const auto mount = mounter->mount(only_volume(*mounter, disk), Access::kReadWrite);
    REQUIRE(mount);
    CHECK_THAT(mount_line((*mount)->path()),
               Catch::Contains("nosuid,nodev,noexec") && Catch::Contains("nosymfollow"));
    std::ofstream((*mount)->path() / "result") << "done";
  }
  const LoopDisk disk(image);
  const auto mount = mounter->mount(only_volume(*mounter, disk), Access::kReadOnly);
  REQUIRE(mount);
  const auto bytes = base::read_file((*mount)->path() / "result", 100);
  REQUIRE(bytes);
  CHECK(base::as_text(*bytes) == "done");
}

TEST_CASE("mounter: a write-protected medium is not silently mounted read-only for writing") {
  const Scratch scratch;
  const auto mounter = open_mounter(scratch);
  const LoopDisk disk(support::make_ext4(scratch / "a.img", content_of(scratch)), {"--read-only"});
  const auto volume = only_volume(*mounter, disk);
  CHECK(mounter->mount(volume, Access::kReadOnly));
  const auto mount = mounter->mount(volume, Access::kReadWrite);
  REQUIRE_FALSE(mount);
  CHECK(mount.error().code() == ErrorCode::kMediumMount);
  CHECK_THAT(mount.error().message(), Catch::Contains("write-protected"));
}

TEST_CASE("mounter: FAT is recognised, and mounted where the kernel can") {
  const Scratch scratch;
  const auto mounter = open_mounter(scratch);
  const auto image = support::make_file(scratch / "fat.img", std::uint64_t{8} << 20U);
  must_run({"mkfs.vfat", "-n", "UPDATES", image});
  must_run({"mcopy", "-i", image, scratch.write("hello.txt", "hello"), "::hello.txt"});
  const LoopDisk disk(image);
  const auto volume = only_volume(*mounter, disk);
  CHECK(volume.file_system == "vfat");
  CHECK(volume.label == "UPDATES");
  const auto mount = mounter->mount(volume, Access::kReadOnly);
  const auto known = must_run({"cat", "/proc/filesystems"});
  if (known.find("\tvfat") != std::string::npos) {
    REQUIRE(mount);
    CHECK(base::read_file((*mount)->path() / "hello.txt", 100));
  } else {
    REQUIRE_FALSE(mount);
    CHECK(mount.error().code() == ErrorCode::kMediumFilesystem);
    CHECK_THAT(mount.error().message(), Catch::Contains("cannot read vfat"));
  }
}

TEST_CASE("mounter: a file system outside its own list is never handed to the kernel") {
  const Scratch scratch;
  const auto mounter = open_mounter(scratch);
  const LoopDisk disk(support::make_ext4(scratch / "a.img", content_of(scratch)));
  auto volume = only_volume(*mounter, disk);
  for (const auto* type : {"btrfs", "xfs", "ext2", "", "ext4,btrfs", "auto"}) {
    volume.file_system = type;
    const auto mount = mounter->mount(volume, Access::kReadOnly);
    REQUIRE_FALSE(mount);
    CHECK(mount.error().code() == ErrorCode::kMediumFilesystem);
  }
}

TEST_CASE("mounter: a damaged superblock is no file system, damaged tables are an error") {
  const Scratch scratch;
  const auto mounter = open_mounter(scratch);
  const auto image = support::make_ext4(scratch / "a.img", content_of(scratch));
  std::filesystem::copy_file(image, scratch / "b.img");
  must_run({"dd", "if=/dev/zero", "of=" + image.string(), "bs=1024", "seek=1", "count=1",
            "conv=notrunc", "status=none"});
  const LoopDisk without(image);
  CHECK(only_volume(*mounter, without).file_system.empty());

  // 1 KiB blocks: the superblock is block 1, the group descriptors follow it.
  must_run({"dd", "if=/dev/urandom", "of=" + (scratch / "b.img").string(), "bs=1024", "seek=2",
            "count=1", "conv=notrunc", "status=none"});
  must_run({"dd", "if=/dev/urandom", "of=" + (scratch / "b.img").string(), "bs=4096", "seek=1",
            "count=1", "conv=notrunc", "status=none"});
  const LoopDisk damaged(scratch / "b.img");
  const auto volume = only_volume(*mounter, damaged);
  CHECK(volume.file_system == "ext4");
  const auto mount = mounter->mount(volume, Access::kReadOnly);
  REQUIRE_FALSE(mount);
  CHECK(mount.error().code() == ErrorCode::kMediumMount);
  CHECK_THAT(mount.error().message(), Catch::Contains("damaged"));
  CHECK_FALSE(damaged.is_read_only());
}

TEST_CASE("mounter: a medium cut off under the mount gives read errors and can be unmounted") {
  const Scratch scratch;
  const auto mounter = open_mounter(scratch);
  const auto content = content_of(scratch);
  must_run({"dd", "if=/dev/urandom", "of=" + (content / "large").string(), "bs=1M", "count=8",
            "status=none"});
  const auto image = support::make_ext4(scratch / "a.img", content);
  const LoopDisk disk(image);
  const auto mount = mounter->mount(only_volume(*mounter, disk), Access::kReadOnly);
  REQUIRE(mount);
  auto root = base::UntrustedDirectory::open((*mount)->path());
  REQUIRE(root);
  auto file = root->open_file("large");
  REQUIRE(file);
  std::filesystem::resize_file(image, 64 * 1024);
  std::array<std::uint8_t, 4096> buffer{};
  const auto got = base::read_at(file->fd.get(), buffer, file->size_bytes - buffer.size());
  REQUIRE_FALSE(got);
  CHECK(got.error().code() == ErrorCode::kIo);
}

TEST_CASE("mounter: an unmount succeeds while a file is still open") {
  const Scratch scratch;
  const auto mounter = open_mounter(scratch);
  const LoopDisk disk(support::make_ext4(scratch / "a.img", content_of(scratch)));
  base::UniqueFd file;
  {
    const auto mount = mounter->mount(only_volume(*mounter, disk), Access::kReadOnly);
    REQUIRE(mount);
    file.reset(::open(((*mount)->path() / "hello").c_str(), O_RDONLY | O_CLOEXEC));
    REQUIRE(file.valid());
  }
  CHECK(std::filesystem::is_empty(scratch / "runtime"));
}

TEST_CASE("mounter: a device that went, or is another one by now, is a medium that is gone") {
  const Scratch scratch;
  const auto mounter = open_mounter(scratch);
  LoopDisk disk(support::make_ext4(scratch / "a.img", content_of(scratch)));
  const auto medium = disk.medium();
  auto volume = only_volume(*mounter, disk);
  volume.device.size_bytes += 512;
  const auto resized = mounter->mount(volume, Access::kReadOnly);
  REQUIRE_FALSE(resized);
  CHECK(resized.error().code() == ErrorCode::kMediumGone);
  disk.eject();
  volume.device.size_bytes -= 512;
  const auto ejected = mounter->mount(volume, Access::kReadOnly);
  REQUIRE_FALSE(ejected);
  CHECK(ejected.error().code() == ErrorCode::kMediumGone);
  const auto probed = mounter->probe(medium);
  REQUIRE_FALSE(probed);
  CHECK(probed.error().code() == ErrorCode::kMediumGone);
  volume.device.number = makedev(511, 77);
  const auto unknown = mounter->mount(volume, Access::kReadOnly);
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().code() == ErrorCode::kMediumGone);
  CHECK(std::filesystem::is_empty(scratch / "runtime"));
}

TEST_CASE("mounter: cleans up what an agent that was killed has left") {
  const Scratch scratch;
  const LoopDisk disk(support::make_ext4(scratch / "a.img", content_of(scratch)));
  const CleanUp clean_up(scratch / "runtime");
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    auto mounter = platform::LibmountMounter::create(scratch / "runtime", "/");
    const auto volumes = mounter ? (*mounter)->probe(disk.medium())
                                 : base::Result<std::vector<media::Volume>>(mounter.error());
    const auto mount = volumes ? (*mounter)->mount(volumes->front(), Access::kReadOnly)
                               : base::Result<std::unique_ptr<media::Mount>>(volumes.error());
    ::_exit(mount ? 0 : 1);  // no destructor runs
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
  REQUIRE(is_anything_mounted_below(scratch / "runtime"));
  REQUIRE(disk.is_read_only());
  {
    const auto mounter = open_mounter(scratch);
    CHECK(std::filesystem::is_empty(scratch / "runtime"));
    CHECK(mounter->mount(only_volume(*mounter, disk), Access::kReadWrite));
    CHECK_FALSE(disk.is_read_only());
  }
  CHECK_FALSE(is_anything_mounted_below(scratch / "runtime"));
}

TEST_CASE("mounter: a runtime directory of another user is not used") {
  const Scratch scratch;
  std::filesystem::create_directory(scratch / "runtime");
  support::require_root();
  REQUIRE(::chown((scratch / "runtime").c_str(), 65534, 65534) == 0);
  const auto foreign = platform::LibmountMounter::create(scratch / "runtime", "/");
  REQUIRE_FALSE(foreign);
  CHECK(foreign.error().code() == ErrorCode::kPermission);
  std::filesystem::create_directory(scratch / "real");
  std::filesystem::create_symlink(scratch / "real", scratch / "link");
  const auto linked = platform::LibmountMounter::create(scratch / "link", "/");
  REQUIRE_FALSE(linked);
  CHECK(linked.error().code() == ErrorCode::kPermission);
}

TEST_CASE("system disks: the disk of the root, whatever is mounted, and not our own mounts") {
  const Scratch scratch;
  const auto mounter = open_mounter(scratch);
  const LoopDisk ours(support::make_ext4(scratch / "a.img", content_of(scratch)));
  LoopDisk mounted(support::make_partitioned(scratch / "b.img", "label: gpt\nsize=32MiB\n"));
  mounted.add_partitions();
  must_run({"mkfs.ext4", "-q", "-F", mounted.node() + "p1"});
  std::filesystem::create_directory(scratch / "elsewhere");
  must_run({"mount", mounted.node() + "p1", scratch / "elsewhere"});
  const auto mount = mounter->mount(only_volume(*mounter, ours), Access::kReadOnly);
  REQUIRE(mount);
  const auto disks = mounter->system_disks();
  ::umount((scratch / "elsewhere").c_str());
  REQUIRE(disks);
  CHECK(disks->contains(mounted.number()));  // the disk of the partition that is mounted
  CHECK_FALSE(disks->contains(ours.number()));
  const auto root = must_run({"findmnt", "-no", "MAJ:MIN", "-T", "/"});
  if (std::filesystem::exists("/sys/dev/block/" + root)) {
    const auto parent = must_run(
        {"sh", "-c",
         "cd -P /sys/dev/block/" + root + " && if [ -e partition ]; then cd ..; fi && cat dev"});
    const auto colon = parent.find(':');
    CHECK(disks->contains(makedev(static_cast<unsigned>(std::stoul(parent)),
                                  static_cast<unsigned>(std::stoul(parent.substr(colon + 1))))));
  }
}

TEST_CASE("system disks: a path of the host leads to the disk below it and to that below a loop") {
  const Scratch scratch;
  const LoopDisk outer(support::make_ext4(scratch / "outer.img", content_of(scratch)));
  std::filesystem::create_directories(scratch / "host/mnt/data");
  must_run({"mount", outer.node(), scratch / "host/mnt/data"});
  const auto disks = platform::find_system_disks(
      {.host_root = scratch / "host", .paths = {"/mnt/data", "/mnt/none"}, .own_mounts = "/"});
  ::umount((scratch / "host/mnt/data").c_str());
  REQUIRE(disks);
  CHECK(disks->contains(outer.number()));
  struct stat status {};
  REQUIRE(::stat("/", &status) == 0);
  if (std::filesystem::exists("/sys/dev/block/" + std::to_string(major(status.st_dev)) + ":" +
                              std::to_string(minor(status.st_dev)))) {
    CHECK(disks->size() >= 2);
  }
}

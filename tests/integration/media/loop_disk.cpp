#include "loop_disk.hpp"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "base/unique_fd.hpp"
#include "platform/sysfs_media.hpp"
#include "support/command.hpp"

namespace support {
namespace {

// Far from what `losetup --find` gives to others; apart for test programs that run at the same
// time.
unsigned next_index() {
  static unsigned count = 0;
  return 10'000 + static_cast<unsigned>(::getpid() % 50'000) * 16 + count++ % 16;
}

unsigned long control(unsigned long request, unsigned index) {
  const base::UniqueFd fd(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  return static_cast<unsigned long>(::ioctl(fd.get(), request, index));
}

void append(std::vector<std::string>& argv, const std::vector<std::string>& more) {
  argv.insert(argv.end(), more.begin(), more.end());
}

}  // namespace

void require_root() {
  if (::geteuid() != 0) {
    FAIL("run this test as root: it makes loop devices and mounts");
  }
}

std::filesystem::path make_file(const std::filesystem::path& path, std::uint64_t size_bytes) {
  std::ofstream(path).close();
  std::filesystem::resize_file(path, size_bytes);
  return path;
}

std::filesystem::path make_ext4(const std::filesystem::path& path,
                                const std::filesystem::path& content,
                                const std::vector<std::string>& options, std::uint64_t size_bytes) {
  std::vector<std::string> argv = {"mkfs.ext4", "-q", "-F", "-d", content.string()};
  append(argv, options);
  append(argv, {make_file(path, size_bytes).string()});
  must_run(argv);
  return path;
}

std::filesystem::path make_partitioned(const std::filesystem::path& path, std::string_view script) {
  make_file(path, std::uint64_t{64} << 20U);
  const auto script_file = path.string() + ".sfdisk";
  std::ofstream(script_file) << script;
  must_run({"sh", "-c", "sfdisk -q \"$1\" < \"$2\"", "sh", path.string(), script_file});
  return path;
}

LoopDisk::LoopDisk() : index_(next_index()), name_("loop" + std::to_string(index_)) {
  require_root();
  static_cast<void>(control(LOOP_CTL_ADD, index_));
  REQUIRE(std::filesystem::exists("/sys/block/" + name_));
}

LoopDisk::LoopDisk(const std::filesystem::path& image, const std::vector<std::string>& options)
    : LoopDisk() {
  insert(image, options);
}

LoopDisk::~LoopDisk() {
  if (has_medium_) {
    run_command({"partx", "--delete", node()});
    run_command({"losetup", "--detach", node()});
  }
  static_cast<void>(control(LOOP_CTL_REMOVE, index_));
}

void LoopDisk::insert(const std::filesystem::path& image, const std::vector<std::string>& options) {
  std::vector<std::string> argv = {"losetup"};
  append(argv, options);
  append(argv, {node(), image.string()});
  must_run(argv);
  has_medium_ = true;
}

void LoopDisk::eject() {
  must_run({"losetup", "--detach", node()});
  has_medium_ = false;
}

void LoopDisk::add_partitions() {
  must_run({"partx", "--add", node()});
}

void LoopDisk::announce() const {
  std::ofstream file("/sys/block/" + name_ + "/uevent");
  file << "change" << std::flush;
  REQUIRE(file);
}

dev_t LoopDisk::number() const {
  struct stat status {};
  REQUIRE(::stat(node().c_str(), &status) == 0);
  return status.st_rdev;
}

agent::media::Medium LoopDisk::medium() const {
  auto present = agent::platform::SysfsMedia("/sys").read(name_);
  REQUIRE(present);
  return present->medium;
}

bool LoopDisk::is_read_only() const {
  return must_run({"blockdev", "--getro", node()}) == "1";
}

}  // namespace support

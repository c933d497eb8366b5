// A directory that somebody hostile filled: nothing but plain files and directories beneath it.
#include "base/directory.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "base/files.hpp"
#include "support/scratch.hpp"

using base::EntryKind;
using base::ErrorCode;
using base::UntrustedDirectory;

namespace {

template <typename T>
ErrorCode code_of(const base::Result<T>& result) {
  REQUIRE_FALSE(result);
  return result.error().code();
}

// A plain file and a directory, and everything that is neither.
struct Hostile {
  support::Scratch scratch;
  Hostile() {
    static_cast<void>(scratch.write("outside", "secret"));
    static_cast<void>(scratch.write("in/file", "content"));
    static_cast<void>(scratch.write("in/sub/file", "deeper"));
    std::filesystem::create_symlink("file", scratch / "in/link");
    std::filesystem::create_symlink("sub", scratch / "in/sublink");
    std::filesystem::create_symlink("../outside", scratch / "in/escape");
    std::filesystem::create_symlink("/etc", scratch / "in/absolute");
    std::filesystem::create_symlink("loop", scratch / "in/loop");
    REQUIRE(::mkfifo((scratch / "in/fifo").c_str(), 0600) == 0);
  }
  [[nodiscard]] UntrustedDirectory open() const {
    return UntrustedDirectory::open(scratch / "in").value();
  }
};

// Runs `body` as root in a mount namespace of its own, in another process. \return its exit code
int in_own_mounts(int (*body)(const char* directory), const char* directory) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const bool ready = ::unshare(CLONE_NEWNS) == 0 &&
                       ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
    ::_exit(ready ? body(directory) : 100);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 101;
}

bool refused(const base::Result<base::OpenedFile>& result) {
  return !result && result.error().code() == ErrorCode::kMediumUnsafeEntry;
}

int cross_a_mount(const char* directory) {
  const std::string sub = std::string(directory) + "/sub";
  const auto before = UntrustedDirectory::open(directory);
  if (!before || !before->open_file("sub/file")) {
    return 1;
  }
  if (::mount("tmpfs", sub.c_str(), "tmpfs", 0, "size=64k") != 0) {
    return 100;
  }
  if (!base::write_file_durably(sub + "/file", base::as_bytes("on another file system"))) {
    return 2;
  }
  const auto opened = before->open_directory("sub");
  if (opened || opened.error().code() != ErrorCode::kMediumUnsafeEntry) {
    return 3;
  }
  return refused(before->open_file("sub/file")) ? 0 : 4;
}

int cross_a_bind_mount(const char* directory) {
  const std::string file = std::string(directory) + "/file";
  if (::mount("/etc/passwd", file.c_str(), nullptr, MS_BIND, nullptr) != 0) {
    return 100;
  }
  const auto opened = UntrustedDirectory::open(directory);
  return opened && refused(opened->open_file("file")) ? 0 : 1;
}

}  // namespace

TEST_CASE("directory: opens plain files and directories beneath it") {
  const Hostile hostile;
  const auto directory = hostile.open();
  const auto file = directory.open_file("file").value();
  CHECK(file.size_bytes == 7);
  CHECK(base::as_text(base::read_to_end(file.fd.get(), 100).value()) == "content");
  CHECK(directory.open_file("sub/file")->size_bytes == 6);
  CHECK(directory.open_directory("sub")->open_file("file")->size_bytes == 6);
  CHECK((::fcntl(file.fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK((::fcntl(file.fd.get(), F_GETFL) & O_ACCMODE) == O_RDONLY);
}

TEST_CASE("directory: follows no symbolic link, whatever it points to") {
  const Hostile hostile;
  const auto directory = hostile.open();
  const std::string name =
      GENERATE("link", "escape", "absolute", "loop", "sublink/file", "absolute/passwd");
  CHECK(code_of(directory.open_file(name)) == ErrorCode::kMediumUnsafeEntry);
  const std::string link = GENERATE("sublink", "absolute", "loop", "link");
  CHECK(code_of(directory.open_directory(link)) == ErrorCode::kMediumUnsafeEntry);
}

TEST_CASE("directory: does not lead out") {
  const Hostile hostile;
  const auto directory = hostile.open();
  const std::string name =
      GENERATE("..", "../outside", "sub/../../outside", "/etc/passwd", "/", "sub/../..");
  CHECK(code_of(directory.open_file(name)) == ErrorCode::kMediumUnsafeEntry);
  CHECK(code_of(directory.open_directory(name)) == ErrorCode::kMediumUnsafeEntry);
}

TEST_CASE("directory: a name ends where it says, not at a NUL") {
  const Hostile hostile;
  const auto directory = hostile.open();
  CHECK(code_of(directory.open_file(std::string("file\0.sig", 9))) ==
        ErrorCode::kMediumUnsafeEntry);
  CHECK(code_of(directory.open_directory(std::string("sub\0x", 5))) ==
        ErrorCode::kMediumUnsafeEntry);
}

TEST_CASE("directory: says when something is not there") {
  const Hostile hostile;
  const auto directory = hostile.open();
  CHECK(code_of(directory.open_file("absent")) == ErrorCode::kNotFound);
  CHECK(code_of(directory.open_file("")) == ErrorCode::kNotFound);
  CHECK(code_of(directory.open_directory("absent")) == ErrorCode::kNotFound);
  CHECK(code_of(UntrustedDirectory::open(hostile.scratch / "absent")) == ErrorCode::kNotFound);
  CHECK(code_of(UntrustedDirectory::open(hostile.scratch / "outside")) ==
        ErrorCode::kMediumUnsafeEntry);
}

TEST_CASE("directory: a file is no directory and a directory no file") {
  const Hostile hostile;
  const auto directory = hostile.open();
  CHECK(code_of(directory.open_file("sub")) == ErrorCode::kMediumUnsafeEntry);
  CHECK(code_of(directory.open_directory("file")) == ErrorCode::kMediumUnsafeEntry);
  CHECK(code_of(directory.open_file("file/x")) == ErrorCode::kMediumUnsafeEntry);
}

TEST_CASE("directory: a FIFO or a socket is refused at once, never waited for") {
  const Hostile hostile;
  const auto directory = hostile.open();
  const base::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const auto path = (hostile.scratch / "in/socket").string();
  REQUIRE(path.size() < sizeof(address.sun_path));
  path.copy(&address.sun_path[0], path.size());
  REQUIRE(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  const std::string name = GENERATE("fifo", "socket");
  CHECK(code_of(directory.open_file(name)) == ErrorCode::kMediumUnsafeEntry);
  CHECK(code_of(directory.open_directory(name)) == ErrorCode::kMediumUnsafeEntry);
}

TEST_CASE("directory: a device node is refused, and not even opened") {
  const Hostile hostile;
  const auto tty = hostile.scratch / "in/device";
  // Opening this number fails with ENXIO or ENODEV: an attempt would show in the code.
  if (::mknod(tty.c_str(), S_IFCHR | 0600U, makedev(240, 77)) != 0) {
    SUCCEED("device nodes can be made by root only");
    return;
  }
  const auto opened = hostile.open().open_file("device");
  CHECK(code_of(opened) == ErrorCode::kMediumUnsafeEntry);
  CHECK(opened.error().message().find("not a regular file") != std::string::npos);
}

TEST_CASE("directory: does not cross into another mount") {
  if (::geteuid() != 0) {
    SUCCEED("mounts can be made by root only");
    return;
  }
  const Hostile hostile;
  const std::string directory = (hostile.scratch / "in").string();
  CHECK(in_own_mounts(cross_a_mount, directory.c_str()) == 0);
  CHECK(in_own_mounts(cross_a_bind_mount, directory.c_str()) == 0);
}

TEST_CASE("directory: lists kinds without following, in byte order of the names") {
  const Hostile hostile;
  const auto entries = hostile.open().list(100).value();
  std::string names;
  for (const auto& entry : entries) {
    names += entry.name + " ";
  }
  CHECK(names == "absolute escape fifo file link loop sub sublink ");
  CHECK(entries[0].kind == EntryKind::kSymlink);
  CHECK(entries[2].kind == EntryKind::kSpecial);
  CHECK(entries[3].kind == EntryKind::kFile);
  CHECK(entries[6].kind == EntryKind::kDirectory);
  CHECK(entries[7].kind == EntryKind::kSymlink);
}

TEST_CASE("directory: lists no more entries than the limit") {
  const Hostile hostile;
  const auto directory = hostile.open();
  CHECK(directory.list(8)->size() == 8);
  CHECK(directory.list(8)->size() == 8);  // from the start each time
  CHECK(code_of(directory.list(7)) == ErrorCode::kLimitExceeded);
  CHECK(code_of(directory.list(0)) == ErrorCode::kLimitExceeded);
}

TEST_CASE("directory: a duplicate is the same directory, also after the first is gone") {
  const Hostile hostile;
  auto first = std::make_unique<UntrustedDirectory>(hostile.open());
  const auto second = first->duplicate().value();
  first.reset();
  CHECK(second.open_file("file")->size_bytes == 7);
}

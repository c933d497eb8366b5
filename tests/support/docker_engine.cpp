#include "support/docker_engine.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

#include "oci/engine_http.hpp"
#include "support/command.hpp"

namespace support {
namespace {

using namespace std::chrono_literals;

[[noreturn]] void become_dockerd(const std::filesystem::path& directory) {
  const std::string data = "--data-root=" + (directory / "data").string();
  const std::string exec = "--exec-root=" + (directory / "exec").string();
  const std::string pidfile = "--pidfile=" + (directory / "pid").string();
  const std::string host = "--host=unix://" + (directory / "socket").string();
  const int log = ::open((directory / "log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  ::dup2(log, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  ::execlp("dockerd", "dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false",
           data.c_str(), exec.c_str(), pidfile.c_str(), host.c_str(), nullptr);
  ::_exit(127);
}

std::string log_of(const std::filesystem::path& directory) {
  std::ifstream file(directory / "log");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return text.substr(text.size() > 2000 ? text.size() - 2000 : 0);
}

}  // namespace

DockerEngine::DockerEngine() {
  start();
}

void DockerEngine::kill() {
  end(SIGKILL);
  // dockerd did not take its containerd with it, and takes the file for a running one.
  const auto pid_file = scratch_ / "exec/containerd/containerd.pid";
  pid_t containerd = -1;
  if (std::ifstream(pid_file) >> containerd && containerd > 1) {
    ::kill(containerd, SIGKILL);
  }
  std::filesystem::remove(pid_file);
  std::filesystem::remove(scratch_ / "pid");
}

void DockerEngine::end(int signal) {
  if (pid_ <= 0) {
    return;  // a start that failed; kill(2) takes other numbers for groups
  }
  ::kill(pid_, signal);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

void DockerEngine::start() {
  pid_ = ::fork();
  if (pid_ < 0) {
    throw std::runtime_error("fork failed");
  }
  if (pid_ == 0) {
    become_dockerd(scratch_.path());
  }
  const oci::EngineHttp engine(socket());
  const auto deadline = std::chrono::steady_clock::now() + 60s;
  for (;;) {
    const auto reply = engine.call("GET", "/_ping", "", 5s);
    if (reply && reply->status == 200) {
      return;
    }
    const bool ended = ::waitpid(pid_, nullptr, WNOHANG) == pid_;
    if (ended || std::chrono::steady_clock::now() > deadline) {
      if (!ended) {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
      }
      pid_ = -1;
      throw std::runtime_error("dockerd does not start: " + log_of(scratch_.path()));
    }
    std::this_thread::sleep_for(50ms);  // there is no event for "the socket answers"
  }
}

DockerEngine::~DockerEngine() {
  end(SIGTERM);
  // What the engine mounted below its data, if it was killed in the middle of something.
  ::umount2((scratch_ / "data/overlay2").c_str(), MNT_DETACH);
}

bool DockerEngine::holds_layers() const {
  std::error_code missing;  // made with the first layer
  const std::filesystem::directory_iterator layers(scratch_ / "data/image/overlay2/layerdb/sha256",
                                                   missing);
  return layers != std::filesystem::directory_iterator();
}

void DockerEngine::lose_what_was_not_synced() const {
  for (const auto& layer : std::filesystem::directory_iterator(scratch_ / "data/overlay2")) {
    for (const char* name : {"link", "lower"}) {
      if (const auto file = layer.path() / name; std::filesystem::exists(file)) {
        std::filesystem::resize_file(file, 0);
      }
    }
  }
}

std::string DockerEngine::docker(std::vector<std::string> arguments) const {
  arguments.insert(arguments.begin(), {"docker", "--host", host()});
  return must_run(arguments);
}

}  // namespace support

#include "support/command.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <stdexcept>

namespace support {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using TemporaryFile = std::unique_ptr<std::FILE, CloseFile>;

std::string content(std::FILE* file) {
  std::string text;
  char buffer[4096];
  std::rewind(file);
  for (;;) {
    const std::size_t got = std::fread(buffer, 1, sizeof(buffer), file);
    if (got == 0) {
      return text;
    }
    text.append(buffer, got);
  }
}

[[noreturn]] void become(const std::vector<std::string>& argv,
                         const std::vector<std::string>& environment, int output, int errors) {
  for (const auto& pair : environment) {
    ::putenv(const_cast<char*>(pair.c_str()));
  }
  std::vector<char*> raw;
  for (const auto& argument : argv) {
    raw.push_back(const_cast<char*>(argument.c_str()));
  }
  raw.push_back(nullptr);
  ::close(STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(errors, STDERR_FILENO);
  ::execvp(raw[0], raw.data());
  ::_exit(127);
}

}  // namespace

CommandOutcome run_command(const std::vector<std::string>& argv,
                           const std::vector<std::string>& environment) {
  const TemporaryFile output(std::tmpfile());
  const TemporaryFile errors(std::tmpfile());
  if (!output || !errors) {
    throw std::runtime_error("no temporary file");
  }
  const pid_t child = ::fork();
  if (child < 0) {
    throw std::runtime_error("fork failed");
  }
  if (child == 0) {
    become(argv, environment, ::fileno(output.get()), ::fileno(errors.get()));
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) {
      throw std::runtime_error("waitpid failed");
    }
  }
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return {code, content(output.get()), content(errors.get())};
}

std::string must_run(const std::vector<std::string>& argv,
                     const std::vector<std::string>& environment) {
  auto outcome = run_command(argv, environment);
  if (outcome.exit_code != 0) {
    std::string line;
    for (const auto& argument : argv) {
      line += argument + " ";
    }
    throw std::runtime_error(line + "ended with " + std::to_string(outcome.exit_code) + ": " +
                             outcome.errors);
  }
  while (outcome.output.ends_with('\n')) {
    outcome.output.pop_back();
  }
  return outcome.output;
}

}  // namespace support

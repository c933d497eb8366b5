#include "status_file.hpp"

#include <cstdio>
#include <fstream>

#include "base/json.hpp"

namespace agent {

StatusFile::StatusFile(const std::filesystem::path& runtime_dir) : file_(path_in(runtime_dir)) {
  std::error_code ignored;  // see the header: nothing here may stop an update
  std::filesystem::create_directories(runtime_dir, ignored);
}

void StatusFile::phase(std::string_view name, std::uint64_t total) {
  const std::lock_guard lock(mutex_);
  name_ = name;
  total_ = total;
  done_ = 0;
  write();
}

void StatusFile::advance(std::uint64_t done) {
  const std::lock_guard lock(mutex_);
  done_ += done;
  if (std::chrono::steady_clock::now() - written_ >= std::chrono::seconds(1)) {
    write();
  }
}

void StatusFile::write() {
  written_ = std::chrono::steady_clock::now();
  auto temporary = file_;
  temporary += ".new";
  const base::Json json{{"doing", name_}, {"done", done_}, {"total", total_}};
  {
    std::ofstream out(temporary, std::ios::trunc);
    out << base::to_canonical(json) << "\n";
  }
  std::error_code ignored;
  std::filesystem::rename(temporary, file_, ignored);
}

}  // namespace agent

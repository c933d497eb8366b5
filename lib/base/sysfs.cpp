#include "base/sysfs.hpp"

#include <sys/sysmacros.h>

#include <charconv>
#include <string_view>

#include "base/files.hpp"

namespace base {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxAttributeBytes = 8192;

template <typename Number>
std::optional<Number> number(std::string_view text) {
  Number value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

}  // namespace

std::optional<std::string> sysfs_attribute(const fs::path& path) {
  const auto bytes = read_file(path, kMaxAttributeBytes);
  if (!bytes) {
    return std::nullopt;
  }
  std::string text(as_text(*bytes));
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) {
    text.pop_back();
  }
  return text;
}

std::optional<std::uint64_t> sysfs_number(const fs::path& path) {
  const auto text = sysfs_attribute(path);
  return text ? number<std::uint64_t>(*text) : std::nullopt;
}

std::optional<dev_t> sysfs_device(const fs::path& directory) {
  const auto text = sysfs_attribute(directory / "dev");
  const auto colon = text ? text->find(':') : std::string::npos;
  if (colon == std::string::npos) {
    return std::nullopt;
  }
  const auto major_number = number<unsigned>(std::string_view(*text).substr(0, colon));
  const auto minor_number = number<unsigned>(std::string_view(*text).substr(colon + 1));
  if (!major_number || !minor_number) {
    return std::nullopt;
  }
  return makedev(*major_number, *minor_number);
}

std::optional<fs::path> sysfs_block_directory(const fs::path& sys, dev_t device) {
  std::error_code error;
  auto path = fs::canonical(
      sys / "dev/block" / (std::to_string(major(device)) + ":" + std::to_string(minor(device))),
      error);
  return error ? std::nullopt : std::optional(std::move(path));
}

}  // namespace base

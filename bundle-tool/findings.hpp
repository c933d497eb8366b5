// What is wrong with a bundle, collected from several threads.
#pragma once

#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace tool {

struct Finding {
  std::string where;  // a file of the bundle, maybe with a place inside; "" for the whole
  base::Error error;
};

class Findings {
 public:
  /// Beyond this many, findings are only counted.
  static constexpr std::size_t kMaxFindings = 100;

  void add(const std::string& where, base::Error error);
  /// Whether something is wrong with exactly this file.
  [[nodiscard]] bool concerns(const std::string& where) const;
  [[nodiscard]] std::size_t count() const;
  /// In order of their places.
  [[nodiscard]] std::vector<Finding> all() const;

 private:
  mutable std::mutex mutex_;
  std::vector<Finding> findings_;
  std::set<std::string> places_;
  std::size_t count_ = 0;
};

}  // namespace tool

#include "findings.hpp"

#include <algorithm>

namespace tool {

void Findings::add(const std::string& where, base::Error error) {
  const std::lock_guard lock(mutex_);
  ++count_;
  places_.insert(where);
  if (findings_.size() < kMaxFindings) {
    findings_.push_back({where, std::move(error)});
  }
}

bool Findings::concerns(const std::string& where) const {
  const std::lock_guard lock(mutex_);
  return places_.count(where) > 0;
}

std::size_t Findings::count() const {
  const std::lock_guard lock(mutex_);
  return count_;
}

std::vector<Finding> Findings::all() const {
  const std::lock_guard lock(mutex_);
  std::vector<Finding> sorted = findings_;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Finding& a, const Finding& b) { return a.where < b.where; });
  return sorted;
}

}  // namespace tool

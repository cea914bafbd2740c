#include "libs/eventlog/overlay.h"

#include <algorithm>

namespace tributary::eventlog {
namespace {

bool IsBefore(const Overlay::Row* a, const Overlay::Row* b) { return a->first < b->first; }

}  // namespace

const std::vector<const Overlay::Row*>& Overlay::InOrder() const {
  if (added_.empty()) return ordered_;
  std::sort(added_.begin(), added_.end(), IsBefore);
  const auto middle = static_cast<std::ptrdiff_t>(ordered_.size());
  ordered_.insert(ordered_.end(), added_.begin(), added_.end());
  added_.clear();
  std::inplace_merge(ordered_.begin(), ordered_.begin() + middle, ordered_.end(), IsBefore);
  return ordered_;
}

std::vector<const Overlay::Row*>::const_iterator Overlay::LowerBound(std::string_view row) const {
  const std::vector<const Row*>& rows = InOrder();
  return std::lower_bound(rows.begin(), rows.end(), row,
                          [](const Row* each, std::string_view at) { return each->first < at; });
}

}  // namespace tributary::eventlog

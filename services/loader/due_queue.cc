#include "services/loader/due_queue.h"

#include <algorithm>
#include <iterator>

namespace tributary::loader {

void DueQueue::Add(const std::string& key, WallTime at, std::size_t keys_max) {
  Drop(key);
  due_.insert({at, key});
  due_of_[key] = at;
  if (due_.size() <= keys_max) return;
  overflowed_ = true;
  Drop(std::string(due_.rbegin()->second));
}

void DueQueue::Drop(const std::string& key) {
  const auto known = due_of_.find(key);
  if (known == due_of_.end()) return;
  due_.erase({known->second, key});
  due_of_.erase(known);
}

std::optional<WallTime> DueQueue::first_at() const {
  return due_.empty() ? std::nullopt : std::optional(due_.begin()->first);
}

std::string DueQueue::TakeFirst() {
  std::string key = due_.begin()->second;
  Drop(key);
  return key;
}

std::size_t DueQueue::CountDue(WallTime now) const {
  const auto end =
      std::find_if(due_.begin(), due_.end(), [now](const auto& due) { return due.first > now; });
  return static_cast<std::size_t>(std::distance(due_.begin(), end));
}

}  // namespace tributary::loader

#pragma once

#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "libs/time/time.h"

namespace tributary::loader {

/// Keys in the order in which they are due; bounded. Not thread-safe.
class DueQueue {
 public:
  /// A key has one time, the last that was given. With more than `keys_max` keys the latest of
  /// them is forgotten, and overflowed() until Forgive().
  void Add(const std::string& key, WallTime at, std::size_t keys_max);
  /// Nothing happens when it is not there.
  void Drop(const std::string& key);
  /// When the first is due. None: there is none.
  std::optional<WallTime> first_at() const;
  /// Removes the first, which there is.
  std::string TakeFirst();
  std::size_t size() const { return due_.size(); }
  std::size_t CountDue(WallTime now) const;
  bool overflowed() const { return overflowed_; }
  /// What was forgotten is found again by somebody else from now on.
  void Forgive() { overflowed_ = false; }

 private:
  std::set<std::pair<WallTime, std::string>> due_;
  std::unordered_map<std::string, WallTime> due_of_;
  bool overflowed_ = false;
};

}  // namespace tributary::loader

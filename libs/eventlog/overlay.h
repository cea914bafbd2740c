#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/node_hash_map.h"
#include "absl/strings/string_view.h"

namespace tributary::eventlog {

/// Rows of a local copy that are not durable yet, in front of those that are. Found by hash, since
/// each record is looked up and set several times; put into order only when somebody goes through
/// them. One thread.
class Overlay {
 public:
  /// A row's value; none: the row is deleted.
  using Value = std::optional<std::string>;

  void Set(std::string row, Value value) {
    const auto [at, is_new] = rows_.try_emplace(std::move(row));
    at->second = std::move(value);
    if (is_new) added_.push_back(&*at);
  }
  /// Null pointer: nothing is said of this row. Lives until it is set again, or Clear().
  const Value* Find(std::string_view row) const {
    // Debian builds Abseil with a string_view of its own.
    const auto found = rows_.find(absl::string_view(row.data(), row.size()));
    return found == rows_.end() ? nullptr : &found->second;
  }
  void Clear() {
    rows_.clear();
    added_.clear();
    ordered_.clear();
  }

  using Row = std::pair<const std::string, Value>;
  /// In byte order. Lives until something is set.
  const std::vector<const Row*>& InOrder() const;
  /// The first of them that is not before `row`.
  std::vector<const Row*>::const_iterator LowerBound(std::string_view row) const;

 private:
  // Its nodes stay where they are.
  absl::node_hash_map<std::string, Value> rows_;
  // Those that came since somebody wanted them in order.
  mutable std::vector<const Row*> added_;
  mutable std::vector<const Row*> ordered_;
};

}  // namespace tributary::eventlog

#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "libs/time/time.h"
#include "services/simulator/random.h"

namespace tributary::simulator {

/// Rows of one kind in the order of their creation, each with the state that is true and the one
/// that readers see yet. T has `id`, `created`, `updated` (whole seconds) and `is_gone`.
template <typename T>
class Table {
 public:
  using Index = std::uint32_t;

  Index size() const { return static_cast<Index>(rows_.size()); }
  const T& latest(Index index) const {
    const Row& row = rows_[index];
    return row.pending.empty() ? row.shown : row.pending.back().second;
  }
  const T& shown(Index index) const { return rows_[index].shown; }
  bool is_shown(Index index) const { return rows_[index].is_shown && !rows_[index].shown.is_gone; }
  /// What a reader sees where this row is embedded in another: never nothing.
  const T& embedded(Index index) const {
    return rows_[index].is_shown ? rows_[index].shown : latest(index);
  }
  std::int64_t shown_updated(Index index) const { return shown_updated_[index]; }
  /// Rows that readers see, by creation.
  const std::vector<Index>& order() const { return order_; }

  /// False: no row has this id.
  bool Find(std::int64_t id, Index* index) const {
    const auto found = std::lower_bound(ids_.begin(), ids_.end(), id);
    if (found == ids_.end() || *found != id) return false;
    *index = static_cast<Index>(found - ids_.begin());
    return true;
  }

  /// Ids grow with every row.
  Index Add(T row, WallTime now, WallTime visible_at) {
    const Index index = size();
    ids_.push_back(row.id);
    shown_updated_.push_back(0);
    rows_.emplace_back();
    Put(index, std::move(row), now, visible_at);
    return index;
  }

  void Put(Index index, T row, WallTime now, WallTime visible_at) {
    if (index < base_rows_ && base_.count(index) == 0) base_.emplace(index, latest(index));
    if (visible_at <= now) {
      rows_[index].pending.clear();
      Show(index, std::move(row));
    } else {
      rows_[index].pending.emplace_back(visible_at, std::move(row));
      waiting_.emplace(visible_at, index);
    }
  }

  /// Shows what has become visible.
  void Advance(WallTime now) {
    while (!waiting_.empty() && waiting_.top().first <= now) {
      const Index index = waiting_.top().second;
      waiting_.pop();
      auto& pending = rows_[index].pending;
      // A later version that is visible hides the earlier ones, visible or not.
      for (std::size_t i = pending.size(); i-- > 0;) {
        if (pending[i].first > now) continue;
        T row = std::move(pending[i].second);
        pending.erase(pending.begin(), pending.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        Show(index, std::move(row));
        break;
      }
    }
  }

  /// From now on the rows as they are now are kept beside their changes.
  void BeginHistory() { base_rows_ = size(); }
  Index base_rows() const { return base_rows_; }
  const T& base(Index index) const {
    const auto found = base_.find(index);
    return found == base_.end() ? latest(index) : found->second;
  }

 private:
  struct Row {
    T shown{};
    bool is_shown = false;
    std::vector<std::pair<WallTime, T>> pending;
  };

  void Show(Index index, T row) {
    Row& target = rows_[index];
    const bool was = target.is_shown && !target.shown.is_gone;
    const bool is = !row.is_gone;
    target.shown = std::move(row);
    target.is_shown = true;
    shown_updated_[index] = target.shown.updated;
    if (was == is) return;
    const auto place = std::lower_bound(order_.begin(), order_.end(), index);
    if (is) {
      order_.insert(place, index);
    } else {
      order_.erase(place);
    }
  }

  using Waiting = std::pair<WallTime, Index>;
  std::vector<Row> rows_;
  std::vector<std::int64_t> ids_;
  std::vector<std::int64_t> shown_updated_;
  std::vector<Index> order_;
  std::priority_queue<Waiting, std::vector<Waiting>, std::greater<>> waiting_;
  Index base_rows_ = 0;
  std::map<Index, T> base_;
};

/// One page of a list by a key. `keys_grow`: the key never falls with the index. Rows of one key
/// come in an order that `nonce` decides (0: by index).
template <typename Key>
std::vector<std::uint32_t> PageOf(const std::vector<std::uint32_t>& rows, Key key, bool keys_grow,
                                  bool is_descending, std::int64_t page, std::int64_t per_page,
                                  std::uint64_t nonce) {
  const auto count = static_cast<std::int64_t>(rows.size());
  const std::int64_t begin = std::min(count, (page - 1) * per_page);
  const std::int64_t end = std::min(count, begin + per_page);
  if (begin >= end) return {};
  const auto less = [&](std::uint32_t a, std::uint32_t b) {
    const auto left = key(a);
    const auto right = key(b);
    if (left != right) return is_descending ? right < left : left < right;
    if (nonce == 0) return is_descending ? b < a : a < b;
    return Mix(nonce, a) < Mix(nonce, b);
  };
  const auto at = [&](std::int64_t position) {
    return rows[static_cast<std::size_t>(is_descending ? count - 1 - position : position)];
  };
  std::vector<std::uint32_t> taken;
  std::int64_t first = 0;
  if (keys_grow) {
    // Only the ties at the edges of the page reach beyond it.
    first = begin;
    std::int64_t last = end;
    while (first > 0 && key(at(first - 1)) == key(at(begin))) --first;
    while (last < count && key(at(last)) == key(at(end - 1))) ++last;
    for (std::int64_t i = first; i < last; ++i) taken.push_back(at(i));
  } else {
    taken = rows;
  }
  std::sort(taken.begin(), taken.end(), less);
  const auto from = taken.begin() + (begin - first);
  return {from, from + (end - begin)};
}

}  // namespace tributary::simulator

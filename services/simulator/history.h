#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/time/time.h"

// What really happened at the site, apart from whatever anybody asked or was told: the truth that
// the CRMs are judged against.

namespace tributary::simulator {

class History {
 public:
  enum class Op : std::uint8_t { kPut, kGone, kEvent };

  /// `document` is the whole entity after the mutation (or the event); empty: it is gone.
  void Append(WallTime time, Op op, std::string_view kind, std::string_view id,
              std::string document);

  /// One JSON object; `sequence` 0 marks what was there before the history began.
  static std::string Line(std::int64_t sequence, WallTime time, Op op, std::string_view kind,
                          std::string_view id, std::string_view document);
  void ForEachLine(const std::function<void(std::string_view line)>& line) const;
  std::int64_t size() const { return static_cast<std::int64_t>(entries_.size()); }

 private:
  struct Entry {
    WallTime time;
    Op op;
    std::string kind;
    std::string id;
    std::string document;
  };
  std::vector<Entry> entries_;
};

}  // namespace tributary::simulator

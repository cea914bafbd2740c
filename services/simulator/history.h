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

  struct Entry {
    /// From 1; 0 marks what was there before the history began.
    std::int64_t sequence = 0;
    WallTime time;
    Op op = Op::kPut;
    std::string_view kind;
    std::string_view id;
    /// JSON of the whole entity after the mutation, or of the event; empty: it is gone.
    std::string_view document;
  };

  void Append(WallTime time, Op op, std::string_view kind, std::string_view id,
              std::string document);

  /// One JSON object.
  static std::string Line(const Entry& entry);
  /// Those behind the first `after`.
  void ForEach(std::int64_t after, const std::function<void(const Entry& entry)>& visit) const;
  std::int64_t size() const { return static_cast<std::int64_t>(kept_.size()); }

 private:
  struct Kept {
    WallTime time;
    Op op;
    std::string kind;
    std::string id;
    std::string document;
  };
  std::vector<Kept> kept_;
};

}  // namespace tributary::simulator

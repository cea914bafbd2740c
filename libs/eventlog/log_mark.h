#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libs/eventlog/log.h"
#include "libs/time/time.h"

// Of which log a position is. A commit that was under way when its topic was lost may land in the
// one that was made anew, and means nothing there.

namespace tributary::eventlog {

struct LogMark {
  /// Of a table: that of its founding, when the position was committed. 0: it does not say.
  std::int64_t generation = 0;
  /// Of a stream, which has no founding: a record that it holds, as long as it keeps it. Another
  /// log has none there, or one of another time.
  struct Seen {
    Offset offset = 0;
    WallTime appended_at{};
    friend bool operator==(const Seen&, const Seen&) = default;
  };
  std::optional<Seen> seen;
};

/// `generation=1767225600`, `seen=39@1767225600123456`, or empty.
std::string FormatMark(const LogMark& mark);
/// What cannot be read says nothing; what a later version adds is passed over.
LogMark ParseMark(std::string_view text);

}  // namespace tributary::eventlog

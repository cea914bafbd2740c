#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>

#include "libs/http/message.h"
#include "libs/time/time.h"

// One window of a server's quota: what is left of it, as far as one of its users can know.

namespace tributary::budget {

/// What a connector file says of a window. A header that is not named is not read; a number that is
/// not given is in no configuration and is learnt.
struct WindowOptions {
  enum class Kind : std::uint8_t {
    /// A request counts for `length` from its arrival on.
    kSliding,
    /// All counts are forgotten at once, at times that a header or `resets_at` tells. While neither
    /// is known the window is taken for a sliding one, which is the stricter of the two.
    kFixed,
  };
  /// For people: `burst`, `day`.
  std::string name = "window";
  Kind kind = Kind::kSliding;
  Duration length = std::chrono::seconds(10);
  /// Requests in it. 0: in no configuration.
  std::int64_t requests = 0;
  /// Part that only live changes may use.
  double reserve_for_live = 0;
  std::string limit_header;
  std::string remaining_header;
  std::string used_header;
  /// Seconds until the next reset, or its time since 1970 in seconds or milliseconds.
  std::string reset_header;
  std::string interval_milliseconds_header;
  /// Of headers that carry several windows, `60|1500`: which one.
  std::int32_t header_part = 0;
  /// Of a fixed window: after midnight in UTC.
  std::optional<Duration> resets_at;

  friend bool operator==(const WindowOptions&, const WindowOptions&) = default;
};

enum class Reason : std::uint8_t {
  /// A number in the connection or in the connector file.
  kConfigured,
  kHeader,
  /// From refusals.
  kLearnt,
};
inline constexpr std::size_t kReasons = 3;
std::string_view Name(Reason reason);

/// Counts own requests as the server does, sees in its headers how many others it counts, and never
/// takes a slot that belongs to them.
///
/// Where no header tells, a limit can be found by being refused alone: then it is remembered, and
/// asked for again only after a minute, two, four, … an hour.
class Window {
 public:
  /// `share`: of the limit, in (0, 1].
  Window(WindowOptions options, double share);

  /// How a request stood when it was sent.
  struct Mark {
    Instant at{};
    /// Own requests in the window, this one included.
    std::int64_t own = 0;
  };
  Mark Sent(Now now);
  /// It certainly did not count at the server.
  void GiveBack(const Mark& mark);
  /// `lag`: how much later than others a request may have been counted.
  void Answered(Now now, const Mark& mark, const http::Headers& headers, Duration lag);
  /// A 429. True: it is news, not a late echo of one that is known already. Then nothing is sent
  /// for the time at `rest`. `told`: what the server asked for, if it did.
  bool Refused(Now now, const Mark& mark, const http::Headers& headers,
               std::optional<Duration> told, Duration* rest);

  /// When the next one may leave. In the past: now.
  Instant NextAt(Now now, bool is_live);
  /// Nothing is known of what is left, or it is being looked for: one request at a time.
  bool is_single(Now now) const;
  bool names_headers() const;
  bool limit_is_heard() const { return limit_is_heard_; }
  /// The headers of a refusal name this window.
  bool says_full(const http::Headers& headers) const;

  struct Standing {
    /// Own requests that may be in the window. None: not known.
    std::optional<std::int64_t> ceiling;
    std::int64_t used = 0;
    Reason reason = Reason::kConfigured;
  };
  Standing standing(Now now);
  const WindowOptions& options() const { return options_; }

 private:
  struct Slice {
    Instant begin{};
    std::int64_t count = 0;
  };

  void Advance(Now now);
  /// What the headers say of it. False: nothing.
  bool Hear(Now now, const Mark& mark, std::int64_t own, const http::Headers& headers);
  void NoteOthers(Now now, std::int64_t others);
  std::int64_t Others(Now now) const;
  /// So many in `elapsed` make how many in the whole window.
  std::int64_t AtThisPace(std::int64_t count, Duration elapsed) const;
  void NoteReset(Now now, const Mark& mark, std::int64_t total,
                 std::optional<Duration> until_reset);
  void StartFixed(Now now);
  /// All counts of a fixed window are forgotten.
  void Roll(Instant began);
  void TakeLimit(Now now, std::int64_t limit);
  std::optional<std::int64_t> Ceiling(Now now) const;
  /// When so many own ones count no more.
  Instant FreeAt(Now now, std::int64_t count) const;
  Duration Slices() const { return options_.length / kSlices; }
  bool is_fixed() const { return reset_.has_value(); }

  static constexpr std::int64_t kSlices = 1024;

  WindowOptions options_;
  double share_;

  // Own ones. Of a sliding window by the time when they may have been counted.
  std::deque<Slice> slices_;
  std::int64_t own_ = 0;
  Instant last_sent_{};
  Duration lag_{};

  // What headers tell.
  std::int64_t limit_ = 0;
  bool limit_is_heard_ = false;
  bool is_answered_ = false;
  Instant limit_of_{};
  Instant heard_at_{};
  /// Of a sliding window: how many others counted, and when; falling, the newest last.
  std::deque<std::pair<Instant, std::int64_t>> others_;
  /// When the limit moved: how many others there were, and will be if they keep their part.
  struct Move {
    Instant at{};
    std::int64_t from = 0;
    std::int64_t to = 0;
  };
  std::optional<Move> move_;

  // Of a fixed one.
  std::optional<Instant> reset_;
  Instant began_{};
  std::int64_t others_now_ = 0;
  std::int64_t total_ = 0;
  Instant total_of_{};
  std::optional<std::int64_t> others_before_;
  /// Of a long one in which we came: when others were first heard of, and how many. What was used
  /// before, perhaps by our own predecessor, is no pace.
  std::optional<std::pair<Instant, std::int64_t>> found_;

  // What refusals tell.
  std::int64_t refused_in_a_row_ = 0;
  Instant refused_at_ = Instant::min();
  std::optional<std::int64_t> learnt_;
  /// The limit is looked for, at most up to there.
  std::optional<std::int64_t> search_until_;
  Instant search_began_{};
  Instant doubtful_until_ = Instant::min();
  Instant probe_at_ = Instant::max();
  Duration probe_delay_{};
};

}  // namespace tributary::budget

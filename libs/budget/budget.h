#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "libs/budget/window.h"
#include "libs/http/message.h"
#include "libs/time/time.h"

// What may be spent at another's server. Pure: `now` is passed in. One Budget for each scope: all
// requests that share one quota there go through the same one.

namespace tributary::budget {

struct Options {
  /// Requests open at once.
  std::int32_t concurrency_max = 4;
  /// Steady ceiling, with a second's worth at once. 0: none.
  double requests_per_second = 0;
  /// It stands whatever headers say; else it counts only while they say nothing.
  bool rate_is_given = false;
  /// Of every limit, for this one of several who spend it without knowing of each other.
  double share = 1;
  /// Empty: nothing is known of them, and one is learnt from refusals.
  std::vector<WindowOptions> windows;
  /// A 429 speaks of requests open at once, not of a rate: afterwards one at a time.
  bool refusals_are_of_concurrency = false;
  /// An answer that took longer is a sign of too many at once.
  Duration slow_answer = std::chrono::seconds(20);
  /// Without such a sign for so long, one more is allowed.
  Duration recover_after = std::chrono::minutes(1);

  friend bool operator==(const Options&, const Options&) = default;
};

inline constexpr std::size_t kWindowsMax = 4;

/// Of all budgets of one integration, for metrics.
struct Usage {
  /// Requests a second that they allow together, by the reason of the ceiling.
  std::array<double, kReasons> ceiling{};
  /// Of the one that is used most, in [0, 1].
  double used_share = 0;
  /// Refusals for too much use.
  std::int64_t refused = 0;
  /// For how long something waited for a budget alone.
  Duration waited{};
};

class Budget {
 public:
  explicit Budget(Options options);

  /// Keeps what was learnt of windows that are the same.
  void SetOptions(Options options);

  /// What a request that is open must be answered with.
  struct Ticket {
    Instant at{};
    std::array<Window::Mark, kWindowsMax> marks;
  };

  /// One more request may be open.
  bool MayOpen(Now now) const;
  /// When the next request may leave. In the past: now.
  Instant NextSendAt(Now now, bool is_live);
  /// Between requests in a row, as things are.
  Duration Spacing(Now now);
  Ticket Sent(Now now);
  /// It certainly did not reach the server: not a byte left.
  void NotSent(const Ticket& ticket);
  /// An answer came, or none will. `headers` of a complete one, else empty.
  void Answered(Now now, const Ticket& ticket, const http::Headers& headers);
  /// The answer is a refusal for too much use. Instead of Answered().
  void Refused(Now now, const Ticket& ticket, const http::Headers& headers,
               std::optional<Duration> retry_after);

  /// Nothing leaves before `until`.
  void PauseUntil(Instant until) { paused_until_ = std::max(paused_until_, until); }
  Instant paused_until() const { return paused_until_; }
  /// One at a time until then.
  void SingleUntil(Instant until) { single_until_ = std::max(single_until_, until); }

  std::int32_t open() const { return open_; }
  /// Open at once, as things are.
  std::int32_t allowed(Now now) const;
  /// Refusals that were news.
  std::int64_t refused() const { return refused_; }

  /// For people and metrics.
  struct Standing {
    /// Of the window that is used most. 0: nothing limits it.
    double requests_per_second = 0;
    Reason reason = Reason::kConfigured;
    /// Of what this window allows, in [0, 1].
    double used_share = 0;
    std::string window;
    Instant paused_until{};
  };
  Standing standing(Now now);
  /// Adds ceiling and use.
  void AddTo(Usage& usage, Now now);

  struct Wait {
    Instant until{};
    /// For people.
    std::string what;
  };
  /// What the next request waits for. None: nothing.
  std::optional<Wait> WaitsFor(Now now, bool is_live);

 private:
  Duration Interval() const;
  bool RateCounts() const;
  void Close(Now now, const Ticket& ticket);

  Options options_;
  std::vector<Window> windows_;
  std::int32_t open_ = 0;
  std::int32_t allowed_ = 1;
  Instant warned_at_{};
  Instant single_until_{};
  Instant paused_until_{};
  /// Of the generic cell rate algorithm: when the next request would be due at a steady rate.
  Instant due_{};
  bool is_heard_ = false;
  std::int64_t refused_ = 0;
  /// Of the last answers: the shortest time, and how much longer one took.
  Duration fastest_ = Duration::max();
  Duration lag_{};
};

}  // namespace tributary::budget

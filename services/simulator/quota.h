#pragma once

#include <cstdint>
#include <deque>

#include "libs/http/message.h"
#include "libs/time/time.h"

namespace tributary::simulator {

/// What an account may ask for in a window, as its server counts: the judge of whoever must not ask
/// for more. A neighbour spends a part of it, evenly, and is refused like anybody else.
class Quota {
 public:
  struct Options {
    std::int64_t requests_max = 100;
    Duration length = std::chrono::seconds(10);
    /// Counts are forgotten at once, at whole multiples of `length` since 1970.
    bool is_fixed = false;
    /// Of `requests_max`, rounded down.
    double neighbour_share = 0;
    /// Answers name the limit and what is left.
    bool tells = true;
    /// Refusals name when the oldest request is forgotten.
    bool tells_retry_after = true;
  };

  explicit Quota(Options options) : options_(options) {}

  /// Time passes: the neighbour asks. `now` never goes back.
  void Advance(WallTime now);
  /// True: the request is counted. False: there were too many.
  bool Take(WallTime now);
  void SetMax(WallTime now, std::int64_t requests_max);
  void SetNeighbour(WallTime now, double share);

  /// After Advance() or Take().
  std::int64_t remaining() const;
  Duration retry_after(WallTime now) const;
  WallTime next_reset(WallTime now) const;
  std::int64_t neighbour_max() const;
  const Options& options() const { return options_; }

  std::int64_t taken() const { return taken_; }
  std::int64_t refused() const { return refused_; }
  std::int64_t neighbour_taken() const { return neighbour_taken_; }
  std::int64_t neighbour_refused() const { return neighbour_refused_; }

 private:
  Duration NeighbourEvery() const;
  void Forget(WallTime now);
  bool Count(WallTime now);

  Options options_;
  std::deque<WallTime> counted_;
  WallTime window_{};
  WallTime neighbour_at_{};
  std::int64_t taken_ = 0;
  std::int64_t refused_ = 0;
  std::int64_t neighbour_taken_ = 0;
  std::int64_t neighbour_refused_ = 0;
};

}  // namespace tributary::simulator

#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "libs/time/time.h"

namespace tributary::eventlog::testing {

/// A seeded stream of numbers that is the same on every machine.
class SeededRandom {
 public:
  explicit SeededRandom(std::uint64_t seed) : state_(seed) {}
  std::uint64_t Next();
  /// In [0, bound); 0 for a bound of 0.
  std::uint64_t Below(std::uint64_t bound);
  /// In [min, max].
  Duration Between(Duration min, Duration max);
  /// True in `percent` of a hundred.
  bool Percent(std::uint32_t percent) { return Below(100) < percent; }

 private:
  std::uint64_t state_;
};

/// Everything that will happen, in the order (time, sequence of scheduling).
class VirtualTime {
 public:
  using Task = std::function<void()>;

  Now now() const;
  /// Not before now.
  void At(Instant time, Task task);
  void After(Duration delay, Task task) { At(now_ + delay, std::move(task)); }
  /// Moves to the next task and runs it. False: there is none.
  bool RunOne();
  /// Runs everything up to `time`, and stands there.
  void RunUntil(Instant time);
  void RunFor(Duration duration) { RunUntil(now_ + duration); }
  /// Max: nothing is scheduled.
  Instant next() const;

 private:
  // Not at zero, so that an uninitialised time is seen.
  Instant now_{std::chrono::hours(1)};
  std::uint64_t sequence_ = 0;
  struct Due {
    Instant time;
    std::uint64_t sequence;
    /// Its place in `tasks_`.
    std::size_t task;
  };
  static bool IsLater(const Due& a, const Due& b) {
    return a.time != b.time ? a.time > b.time : a.sequence > b.sequence;
  }
  // A heap: what is due first stands in front.
  std::vector<Due> due_;
  std::vector<Task> tasks_;
  std::vector<std::size_t> free_places_;
};

}  // namespace tributary::eventlog::testing

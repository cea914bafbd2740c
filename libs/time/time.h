#pragma once

#include <chrono>
#include <cstdint>
#include <ratio>

// Two timelines, both given to a stage and never asked for by it: no now() here.

namespace tributary {

using Duration = std::chrono::microseconds;

/// Counts without pause from some start of this machine, suspend included (CLOCK_BOOTTIME; protocol
/// rule 11). Leases, time-outs and retries are measured on it. Means nothing to another process.
struct SteadyTimeline {
  using rep = std::int64_t;
  using period = std::micro;
  using duration = Duration;
  using time_point = std::chrono::time_point<SteadyTimeline, Duration>;
  static constexpr bool is_steady = true;
};
using Instant = SteadyTimeline::time_point;

/// UTC since 1970. May jump; orders nothing between processes.
struct WallTimeline {
  using rep = std::int64_t;
  using period = std::micro;
  using duration = Duration;
  using time_point = std::chrono::time_point<WallTimeline, Duration>;
  static constexpr bool is_steady = false;
};
using WallTime = WallTimeline::time_point;

/// The moment at which a fact is given to a stage.
struct Now {
  Instant steady;
  WallTime wall;
};

}  // namespace tributary

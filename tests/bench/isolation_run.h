#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "libs/time/time.h"

// Many tenants on one extractor, one transformer and one loader, and four that misbehave, on
// virtual time; what a stage does takes time, so that one tenant's work can keep others waiting.

namespace tributary::bench {

struct IsolationOptions {
  std::int32_t tenants = 1000;
  std::int32_t partitions = 8;
  /// Four of them misbehave, or are not there where this is 0. One has so many records that wait
  /// for a CRM that takes fifty a second.
  std::int32_t pile = 100'000;
  /// Customers of one whose target hangs, and of one whose mapping fails on each; that mapping is
  /// saved again every twenty seconds, and so fails on each again.
  std::int32_t hanging = 2'000;
  std::int32_t failing = 20'000;
  /// One's site talks nonsense, and so much nonsense is in `events` under its name.
  double garbage_events_per_second = 100;
  /// Of all others together.
  double changes_per_second = 40;
  Duration poll_interval = std::chrono::seconds(5);
  Duration warm_up = std::chrono::seconds(90);
  Duration measured = std::chrono::seconds(120);
  std::uint64_t seed = 1;
  /// How long a stage is busy with something (simulation::Machine::takes).
  std::function<Duration(std::size_t items, const std::function<void()>& work)> takes;
};

struct Percentiles {
  double p50 = 0;
  double p99 = 0;
  double max = 0;
};

struct IsolationResult {
  /// Changes of the others, in seconds from the change at the source to the request that carries it
  /// to the CRM, and from its entry in `changes`.
  Percentiles from_source;
  Percentiles from_log;
  std::int64_t changes = 0;
  /// Changes that never arrived.
  std::int64_t missing = 0;

  // What the bad ones did, so that a run that tests nothing is seen. At the begin of what is
  // measured, and meanwhile.
  std::int64_t pile_left_at_begin = 0;
  std::int64_t pile_left_at_end = 0;
  std::int64_t hung_requests = 0;
  std::int64_t mapping_errors = 0;
  std::int64_t parked = 0;
  std::int64_t garbage = 0;
};

/// Without those that misbehave.
IsolationOptions OnlyTheOthers(IsolationOptions options);

IsolationResult RunIsolation(const IsolationOptions& options);

}  // namespace tributary::bench

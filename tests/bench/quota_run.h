#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "libs/budget/budget.h"
#include "services/simulator/quota.h"

// A client that always has work, behind a Budget, against the simulator's judge of quotas, on
// virtual time: the same numbers in every run.

namespace tributary::bench {

struct QuotaScenario {
  std::string name;
  simulator::Quota::Options quota;
  budget::Options budget;
  /// How long each limit holds, and which; the first from the beginning.
  std::vector<std::pair<Duration, std::int64_t>> phases;
  Duration latency = std::chrono::milliseconds(60);
  /// Each way takes up to so much longer.
  Duration jitter = std::chrono::milliseconds(20);
  /// A live change comes so often; the rest is backfill. 0: everything is live.
  Duration live_every{};
  std::uint64_t seed = 1;
};

struct QuotaPhase {
  std::int64_t limit = 0;
  std::int64_t taken = 0;
  /// What a client that knows everything takes in this time, besides the neighbour.
  std::int64_t left = 0;
  std::int64_t refused = 0;
  /// Of them, from the sixth window after the change on.
  std::int64_t refused_in_steady_state = 0;
  std::int64_t neighbour_refused = 0;
  double share() const {
    return left == 0 ? 1 : static_cast<double>(taken) / static_cast<double>(left);
  }
};

struct QuotaResult {
  std::vector<QuotaPhase> phases;
  QuotaPhase total;
  Duration live_wait_max{};
};

QuotaResult RunQuota(const QuotaScenario& scenario);

/// Those of the promise and of `./dev bench quota`.
std::vector<QuotaScenario> QuotaScenarios();

}  // namespace tributary::bench

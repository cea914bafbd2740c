// What a Budget promises, against the simulator's judge of quotas, on virtual time.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/bench/quota_run.h"

namespace tributary::bench {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;

QuotaScenario Named(std::string_view name) {
  for (QuotaScenario& scenario : QuotaScenarios()) {
    if (scenario.name == name) return scenario;
  }
  ADD_FAILURE() << "no scenario " << name;
  return {};
}

struct Bounds {
  double share_min;
  std::int64_t refused_each_phase_max;
  bool may_be_refused_in_steady_state = false;
};

void EverySeedKeeps(const Bounds& bounds, std::string_view name) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    QuotaScenario scenario = Named(name);
    scenario.seed = seed;
    const QuotaResult result = RunQuota(scenario);
    EXPECT_GE(result.total.share(), bounds.share_min) << "seed " << seed;
    for (const QuotaPhase& phase : result.phases) {
      EXPECT_LE(phase.refused, bounds.refused_each_phase_max)
          << "seed " << seed << ", limit " << phase.limit;
      if (bounds.may_be_refused_in_steady_state) continue;
      EXPECT_EQ(phase.refused_in_steady_state, 0) << "seed " << seed << ", limit " << phase.limit;
    }
  }
}

// The limit stands in no configuration, is moved 100 -> 10 -> 100, and a neighbour takes a third.
TEST(QuotaTest, WithHeadersNearlyAllThatIsLeftIsUsedAndOneRefusalTellsOfAChange) {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    for (const milliseconds latency : {milliseconds(2), milliseconds(60)}) {
      QuotaScenario scenario = Named("headers");
      scenario.seed = seed;
      scenario.latency = latency;
      scenario.jitter = latency / 3;
      const QuotaResult result = RunQuota(scenario);
      EXPECT_GE(result.total.share(), 0.97) << "seed " << seed;
      for (const QuotaPhase& phase : result.phases) {
        EXPECT_LE(phase.refused, 1) << "seed " << seed << ", limit " << phase.limit;
        EXPECT_EQ(phase.refused_in_steady_state, 0) << "seed " << seed << ", limit " << phase.limit;
        EXPECT_GE(phase.share(), 0.94) << "seed " << seed << ", limit " << phase.limit;
      }
      // Who was there before us keeps its part; while the window empties it is refused as well.
      EXPECT_LE(result.total.neighbour_refused, 10) << "seed " << seed;
    }
  }
}

// Those that are under way when the limit falls cannot be called back.
TEST(QuotaTest, ASlowServerRefusesOnlyWhatWasUnderWay) {
  EverySeedKeeps({.share_min = 0.965, .refused_each_phase_max = 4}, "headers_slow_server");
}

TEST(QuotaTest, AFixedWindowIsUsedToItsEndAndNeverOver) {
  EverySeedKeeps({.share_min = 0.97, .refused_each_phase_max = 1}, "fixed_window");
}

TEST(QuotaTest, LiveChangesFindTheirPartOfADayThatABackfillSpends) {
  const QuotaResult result = RunQuota(Named("daily"));
  EXPECT_GE(result.total.share(), 0.97);
  EXPECT_EQ(result.total.refused, 0);
  EXPECT_EQ(result.total.neighbour_refused, 0);
  // The step of this run.
  EXPECT_LE(result.live_wait_max, std::chrono::seconds(10));
}

// Nobody tells: one refusal shows that the limit fell, one how far, and one each attempt to find
// more, a minute, two, four, … an hour after the one before.
TEST(QuotaTest, WithoutHeadersALimitIsFoundRememberedAndRarelyAskedForAgain) {
  EverySeedKeeps(
      {.share_min = 0.90, .refused_each_phase_max = 12, .may_be_refused_in_steady_state = true},
      "no_headers");
}

TEST(QuotaTest, TheSameRunGivesTheSameNumbers) {
  const QuotaScenario scenario = Named("no_headers");
  const QuotaResult one = RunQuota(scenario);
  const QuotaResult two = RunQuota(scenario);
  EXPECT_EQ(one.total.taken, two.total.taken);
  EXPECT_EQ(one.total.refused, two.total.refused);
}

}  // namespace
}  // namespace tributary::bench

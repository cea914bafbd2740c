#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/simulation/simulation.h"

// What is away for hours and days, or is lost as a whole, and CRMs beyond their bounds.

namespace tributary::simulation {
namespace {

using std::chrono::hours;
using std::chrono::minutes;

std::string Problems(const SimulationOptions& options, const SimulationResult& result) {
  std::string out = "to see it again: " + CommandToRepeat(options) + "\n";
  for (const std::string& problem : result.problems) out += "  " + problem + "\n";
  return out;
}

SimulationOptions Long(Outage outage, Duration length) {
  SimulationOptions options;
  options.tenants = 2;
  options.faults = false;
  options.outage = outage;
  options.length = length;
  return options;
}

/// What came of the seeds 1 to `last`, each of which must hold.
std::vector<SimulationResult> Hold(SimulationOptions options, std::uint64_t last) {
  std::vector<SimulationResult> results;
  for (options.seed = 1; options.seed <= last; ++options.seed) {
    results.push_back(Simulate(options));
    EXPECT_TRUE(results.back().problems.empty()) << Problems(options, results.back());
  }
  return results;
}

TEST(OutagesTest, TheLogMayBeAwayForAnHour) {
  std::int64_t crashes = 0;
  for (const SimulationResult& result : Hold(Long(Outage::kLog, minutes(80)), 3)) {
    crashes += result.crashes;
  }
  // What was under way when it went away could not be produced, and has ended stages.
  EXPECT_GT(crashes, 0);
}

TEST(OutagesTest, ControlMayBeDownForADayWhileServicesStartAnew) {
  EXPECT_GE(Hold(Long(Outage::kControl, hours(30)), 1).front().crashes, 7);
}

TEST(OutagesTest, AllDisksOfAServiceMayBeLost) {
  for (const SimulationResult& result : Hold(Long(Outage::kDisks, minutes(2)), 5)) {
    EXPECT_EQ(result.crashes, 7);
  }
}

TEST(OutagesTest, WhatTheGroupsHaveCommittedMayExpire) {
  for (const SimulationResult& result : Hold(Long(Outage::kOffsets, minutes(20)), 5)) {
    EXPECT_GE(result.crashes, 6);
  }
}

// Rule 37: what has expired is read from the source again, whatever else goes wrong.
TEST(OutagesTest, EventsThatExpireUnreadAreReadFromTheSourceAgain) {
  for (const bool faults : {false, true}) {
    std::int64_t expired = 0;
    SimulationOptions options = Long(Outage::kEvents, minutes(3));
    options.faults = faults;
    for (const SimulationResult& result : Hold(options, 10)) expired += result.expired_unread;
    EXPECT_GT(expired, 50);
  }
}

// Rule 37: a dead owner's commit lands in a new `events`, and does not hide what was lost, however
// far that has grown. Version 0.1 wrote positions that did.
TEST(OutagesTest, ACommitThatLandsInANewStreamOfEventsHidesNothing) {
  for (const bool faults : {false, true}) {
    std::int64_t outgrown = 0;
    SimulationOptions options = Long(Outage::kLateCommit, minutes(4));
    options.faults = faults;
    for (const SimulationResult& result : Hold(options, 10)) outgrown += result.positions_outgrown;
    EXPECT_GT(outgrown, 5);
  }
  int hidden = 0;
  SimulationOptions options = Long(Outage::kLateCommitWithoutMark, minutes(4));
  for (options.seed = 1; options.seed <= 10; ++options.seed) {
    if (!Simulate(options).problems.empty()) ++hidden;
  }
  EXPECT_GT(hidden, 0);
}

// What people do at a CRM nobody tells us: the sweep finds and repairs it, makes what was deleted
// again once, and nobody goes round in a circle.
TEST(OutagesTest, WhatPeopleDoAtACrmIsRepairedAndMakesNothingTwice) {
  for (const bool faults : {false, true}) {
    std::int64_t deeds = 0;
    SimulationOptions options = Long(Outage::kPeople, minutes(2));
    options.faults = faults;
    for (const SimulationResult& result : Hold(options, 10)) deeds += result.deeds;
    EXPECT_GT(deeds, 80);
  }
}

TEST(OutagesTest, TenMinutesOfRebalancesLoseAndDoubleNothing) {
  std::int64_t crashes = 0;
  for (const SimulationResult& result : Hold(Long(Outage::kRebalances, minutes(10)), 3)) {
    crashes += result.crashes;
  }
  EXPECT_GT(crashes, 100);
}

// A version of tomorrow runs beside ours.
TEST(OutagesTest, RecordsWithAFieldThatNobodyKnowsAreWorkedWith) {
  SimulationOptions options;
  options.adds_unknown_field = true;
  Hold(options, 20);
}

TEST(OutagesTest, TheCrmsOfATenantMayBeAwayForTenDays) {
  const SimulationResult result = Hold(Long(Outage::kTargets, hours(24) * 11), 1).front();
  EXPECT_EQ(result.parked, 0);
  EXPECT_GE(result.mutations, 200);
}

// Rule 15: beyond L no state stays wrong, and what is second is shown; without the sweep some stays
// wrong, and that is seen.
TEST(OutagesTest, BeyondLTheSweepRepairsEveryStateAndShowsWhatIsSecond) {
  std::int64_t regressions = 0;
  std::int64_t shown = 0;
  int wrong_without = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SimulationOptions options;
    options.seed = seed;
    options.beyond_settle = true;
    const SimulationResult with = Simulate(options);
    EXPECT_TRUE(with.problems.empty()) << Problems(options, with);
    regressions += with.regressions;
    shown += with.shown;
    if (seed > 20) continue;
    options.sweeps = false;
    const SimulationResult without = Simulate(options);
    wrong_without += std::any_of(
        without.problems.begin(), without.problems.end(),
        [](const std::string& problem) { return problem.find("should have") != problem.npos; });
  }
  EXPECT_GT(regressions, 0);
  EXPECT_GT(shown, 0);
  EXPECT_GT(wrong_without, 0);
}

}  // namespace
}  // namespace tributary::simulation

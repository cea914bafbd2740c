#include "tests/simulation/simulation.h"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "tests/simulation/rule_breaks.h"

namespace tributary::simulation {
namespace {

std::uint64_t FromEnvironment(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::string Problems(const SimulationOptions& options, const SimulationResult& result) {
  std::string out = "seed " + std::to_string(options.seed) +
                    "; to see it again: " + CommandToRepeat(options) + "\n";
  for (const std::string& problem : result.problems) out += "  " + problem + "\n";
  return out;
}

// Of each rule; with fewer nothing is asked of them.
constexpr std::uint64_t kFreshEnough = 200;

TEST(SimulationTest, TheSameSeedGivesTheSameTraceByteForByte) {
  SimulationOptions options;
  options.seed = 42;
  options.keeps_trace = true;

  const SimulationResult first = Simulate(options);
  const SimulationResult second = Simulate(options);

  EXPECT_GT(first.trace_lines, 1000);
  EXPECT_TRUE(first.trace == second.trace);
  options.seed = 43;
  EXPECT_FALSE(Simulate(options).trace == first.trace);
}

TEST(SimulationTest, WithoutFaultsEveryRecordEqualsWhatTheSourceSays) {
  SimulationOptions options;
  options.tenants = 2;
  options.length = std::chrono::seconds(100);
  options.faults = false;

  const SimulationResult result = Simulate(options);

  EXPECT_TRUE(result.problems.empty()) << Problems(options, result);
  EXPECT_GE(result.mutations, 20);
  EXPECT_GT(result.intents, 0);
  EXPECT_EQ(result.crashes, 0);
}

TEST(SimulationTest, WhateverGoesWrongNothingIsLostDoubledOrSetBack) {
  SimulationResult sum;
  int failed = 0;
  const std::uint64_t first = FromEnvironment("TRIBUTARY_FIRST_SEED", 1);
  const std::uint64_t seeds = FromEnvironment("TRIBUTARY_SEEDS", 1000);
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    SimulationOptions options;
    options.seed = seed;
    const SimulationResult result = Simulate(options);
    EXPECT_TRUE(result.problems.empty()) << Problems(options, result);
    if (!result.problems.empty() && ++failed == 10) break;  // more would say no more
    sum.crashes += result.crashes;
    sum.lost_topics += result.lost_topics;
    sum.old_disks += result.old_disks;
    sum.clock_jumps += result.clock_jumps;
    sum.drops += result.drops;
    sum.suspensions += result.suspensions;
    sum.void_entries += result.void_entries;
    sum.unknown_outcomes += result.unknown_outcomes;
    sum.checked_sends += result.checked_sends;
    sum.actions += result.actions;
  }
  if (seeds < 200) return;
  // A run in which nothing goes wrong would prove nothing.
  EXPECT_GT(sum.crashes, 0);
  EXPECT_GT(sum.suspensions, 0);
  EXPECT_GT(sum.void_entries, 0);
  EXPECT_GT(sum.unknown_outcomes, 0);
  EXPECT_GT(sum.checked_sends, 0);
  EXPECT_GT(sum.actions, 0);
  EXPECT_GT(sum.lost_topics, 0);
  EXPECT_GT(sum.old_disks, 0);
  EXPECT_GT(sum.clock_jumps, 0);
  EXPECT_GT(sum.drops, 0);
}

// A harness that finds nothing is no proof: with a rule switched off, a history shows its fault.
// Any change of a stage may change what happens in a history; then one of the next shows it, and
// what is printed belongs into the table.
TEST(SimulationTest, EveryRuleThatIsSwitchedOffIsSeen) {
  constexpr std::uint64_t kHistoriesMax = 100;
  for (const RuleBreakInfo& info : RuleBreaks()) {
    if (info.seed == 0) continue;
    const std::optional<Finding> found = FindShowing(info, info.seed, kHistoriesMax);
    EXPECT_TRUE(found) << info.name << " (" << info.configurations << "): nothing says `"
                       << info.seen << "`";
    if (found && found->seed != info.seed) {
      std::printf("%s: seed %llu, not %llu\n", std::string(info.name).c_str(),
                  static_cast<unsigned long long>(found->seed),
                  static_cast<unsigned long long>(info.seed));
    }
  }
}

// How many of fresh histories show each; a number for people, by switch. Half of the rules in each
// of two processes if TRIBUTARY_HALF says which.
TEST(SimulationTest, FreshHistoriesShowRulesThatAreSwitchedOff) {
  const std::uint64_t fresh = FromEnvironment("TRIBUTARY_FRESH_SEEDS", 0);
  const std::uint64_t first = FromEnvironment("TRIBUTARY_FRESH_FIRST", 1'000'000);
  const std::uint64_t half = FromEnvironment("TRIBUTARY_HALF", 2);
  std::uint64_t rules = 0;
  std::uint64_t shown = 0;
  for (std::size_t i = 0; fresh != 0 && i < RuleBreaks().size(); ++i) {
    if (half < 2 && i % 2 != half) continue;
    const RuleBreakInfo& info = RuleBreaks()[i];
    std::uint64_t seen = 0;
    for (std::uint64_t seed = first; seed < first + fresh; ++seed) {
      SimulationOptions options;
      options.seed = seed;
      options.rule_break = info.what;
      if (!Simulate(options).problems.empty()) ++seen;
    }
    std::printf("%s: %llu of %llu\n", std::string(info.name).c_str(),
                static_cast<unsigned long long>(seen), static_cast<unsigned long long>(fresh));
    ++rules;
    if (seen > 0) ++shown;
  }
  // Some are shown by one history in a hundred.
  if (fresh < kFreshEnough) return;
  EXPECT_GE(4 * shown, 3 * rules);
}

}  // namespace
}  // namespace tributary::simulation

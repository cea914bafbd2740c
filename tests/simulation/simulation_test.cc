#include "tests/simulation/simulation.h"

#include <cstdlib>
#include <string>

#include <gtest/gtest.h>

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

TEST(SimulationTest, TheSameSeedGivesTheSameTraceByteForByte) {
  SimulationOptions options;
  options.seed = 42;
  options.minutes = 20;
  options.keeps_trace = true;

  const SimulationResult first = Simulate(options);
  const SimulationResult second = Simulate(options);

  EXPECT_GT(first.trace_lines, 1000);
  EXPECT_EQ(first.trace_hash, second.trace_hash);
  EXPECT_TRUE(first.trace == second.trace);
  options.seed = 43;
  EXPECT_NE(Simulate(options).trace_hash, first.trace_hash);
}

TEST(SimulationTest, WithoutFaultsEveryRecordEqualsWhatTheSourceSays) {
  SimulationOptions options;
  options.faults = false;

  const SimulationResult result = Simulate(options);

  EXPECT_TRUE(result.problems.empty()) << Problems(options, result);
  EXPECT_GE(result.mutations, 60);
  EXPECT_GT(result.intents, 0);
  EXPECT_EQ(result.crashes, 0);
}

TEST(SimulationTest, WhateverGoesWrongNothingIsLostDoubledOrSetBack) {
  SimulationResult sum;
  int failed = 0;
  const std::uint64_t first = FromEnvironment("TRIBUTARY_FIRST_SEED", 1);
  const std::uint64_t seeds = FromEnvironment("TRIBUTARY_SEEDS", 500);
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    SimulationOptions options;
    options.seed = seed;
    const SimulationResult result = Simulate(options);
    EXPECT_TRUE(result.problems.empty()) << Problems(options, result);
    if (!result.problems.empty() && ++failed == 10) break;  // more would say no more
    sum.crashes += result.crashes;
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
}

}  // namespace
}  // namespace tributary::simulation

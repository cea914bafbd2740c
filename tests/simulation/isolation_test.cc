#include <chrono>

#include <gtest/gtest.h>

#include "tests/bench/isolation_run.h"

namespace tributary::bench {
namespace {

// One tenant cannot hurt another. Every record and every answer takes a stage the same made-up
// time, so the numbers are the same in every run.
TEST(IsolationTest, TheOthersHardlyFeelATargetThatHangsAPileGarbageAndAMappingThatFails) {
  IsolationOptions options;
  options.tenants = 104;
  options.pile = 8'000;
  options.hanging = 500;
  options.failing = 2'000;
  options.changes_per_second = 20;
  options.warm_up = std::chrono::seconds(50);
  options.measured = std::chrono::seconds(60);
  options.takes = [](std::size_t items, const std::function<void()>& work) {
    work();
    return std::chrono::microseconds(20) * static_cast<int>(items);
  };

  const IsolationResult without = RunIsolation(OnlyTheOthers(options));
  const IsolationResult with = RunIsolation(options);

  EXPECT_GE(without.changes, 500);
  EXPECT_EQ(without.missing, 0);
  EXPECT_EQ(with.missing, 0);
  // The bad ones are bad.
  EXPECT_GT(with.pile_left_at_end, 1000);
  EXPECT_LT(with.pile_left_at_end, with.pile_left_at_begin);
  EXPECT_GE(with.hung_requests, 2);
  EXPECT_GE(with.mapping_errors, 3 * options.failing);
  EXPECT_GT(with.parked, 2 * options.failing);
  EXPECT_GT(with.garbage, 1000);
  EXPECT_LE(with.from_source.p99, 1.2 * without.from_source.p99);
  EXPECT_LE(with.from_log.p99, 1.2 * without.from_log.p99)
      << "with " << with.from_log.p99 << " s, without " << without.from_log.p99 << " s";
}

}  // namespace
}  // namespace tributary::bench

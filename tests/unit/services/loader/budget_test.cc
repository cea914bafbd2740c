#include "services/loader/budget.h"

#include <gtest/gtest.h>

namespace tributary::loader {
namespace {

Instant At(std::int64_t milliseconds) { return Instant(std::chrono::milliseconds(milliseconds)); }

TEST(BudgetTest, NoWindowSeesMoreThanTheRateAndOneSecondMore) {
  Budget budget;
  budget.SetCeiling(100, 9);
  std::int64_t sent = 0;
  for (std::int64_t ms = 1000; ms < 11'000; ++ms) {
    while (budget.NextSendAt() <= At(ms)) {
      budget.Sent(At(ms));
      ++sent;
    }
  }
  EXPECT_GE(sent, 90);
  EXPECT_LE(sent, 99);
}

TEST(BudgetTest, AFailingTargetIsTriedByOneRequestAtATime) {
  Budget budget;
  budget.SetCeiling(4, 100);
  EXPECT_TRUE(budget.HasSlot(At(0)));
  budget.Failed();
  budget.PauseUntil(At(50));
  EXPECT_FALSE(budget.HasSlot(At(49)));
  EXPECT_TRUE(budget.HasSlot(At(50)));
  budget.TakeSlots(1);
  EXPECT_FALSE(budget.HasSlot(At(50)));
  EXPECT_TRUE(budget.MayOpen());
  budget.Sent(At(50));
  EXPECT_FALSE(budget.MayOpen());
  budget.Succeeded();
  EXPECT_TRUE(budget.HasSlot(At(50)));
  EXPECT_TRUE(budget.MayOpen());
}

TEST(BudgetTest, MoreKeysAreUnderWayThanRequestsAreOpen) {
  Budget budget;
  budget.SetCeiling(2, 100);
  int keys = 0;
  for (; budget.HasSlot(At(0)); ++keys) budget.TakeSlots(1);
  EXPECT_EQ(keys, 2 * Budget::kSlotsPerRequest);
  int open = 0;
  for (; budget.MayOpen(); ++open) budget.Sent(At(0));
  EXPECT_EQ(open, 2);
  budget.Answered();
  EXPECT_TRUE(budget.MayOpen());
}

TEST(BudgetTest, FullJitterStaysBelowTheDoubledDelay) {
  const Duration min = std::chrono::seconds(1);
  const Duration max = std::chrono::seconds(10);
  for (std::uint64_t random = 1; random != 0; random <<= 1) {
    EXPECT_LE(FullJitter(min, max, 0, random), min);
    EXPECT_LE(FullJitter(min, max, 2, random), min * 4);
    EXPECT_LE(FullJitter(min, max, 60, random), max);
  }
  EXPECT_EQ(FullJitter(Duration::zero(), max, 3, 12345), Duration::zero());
}

}  // namespace
}  // namespace tributary::loader

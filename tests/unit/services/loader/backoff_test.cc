#include "services/loader/backoff.h"

#include <gtest/gtest.h>

namespace tributary::loader {
namespace {

Instant AtMs(std::int64_t ms) { return Instant(std::chrono::milliseconds(ms)); }

TEST(BackoffTest, AFailingTargetIsTriedByOneRequestAtATime) {
  Backoff backoff;
  backoff.SetConcurrency(4);
  EXPECT_TRUE(backoff.HasSlot(AtMs(0), false));
  backoff.Failed();
  backoff.PauseUntil(AtMs(50));
  EXPECT_FALSE(backoff.HasSlot(AtMs(49), false));
  EXPECT_TRUE(backoff.HasSlot(AtMs(50), false));
  backoff.TakeSlots(1);
  EXPECT_FALSE(backoff.HasSlot(AtMs(50), true));
  EXPECT_TRUE(backoff.MayOpen(AtMs(50)));
  backoff.Opened();
  EXPECT_FALSE(backoff.MayOpen(AtMs(50)));
  backoff.Succeeded();
  EXPECT_TRUE(backoff.HasSlot(AtMs(50), false));
  EXPECT_TRUE(backoff.MayOpen(AtMs(50)));
}

TEST(BackoffTest, MoreKeysAreUnderWayThanRequestsAreOpenAndOneSlotIsForLiveChanges) {
  Backoff backoff;
  backoff.SetConcurrency(2);
  int keys = 0;
  for (; backoff.HasSlot(AtMs(0), false); ++keys) backoff.TakeSlots(1);
  EXPECT_EQ(keys, 2 * Backoff::kSlotsPerRequest - 1);
  EXPECT_TRUE(backoff.HasSlot(AtMs(0), true));
  backoff.TakeSlots(1);
  EXPECT_FALSE(backoff.HasSlot(AtMs(0), true));
  int open = 0;
  for (; backoff.MayOpen(AtMs(0)); ++open) backoff.Opened();
  EXPECT_EQ(open, 2);
  backoff.Closed();
  EXPECT_TRUE(backoff.MayOpen(AtMs(0)));
}

TEST(BackoffTest, FullJitterStaysBelowTheDoubledDelay) {
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

#include "services/loader/due_queue.h"

#include <chrono>
#include <string>

#include "gtest/gtest.h"

namespace tributary::loader {
namespace {

WallTime At(int second) { return WallTime(std::chrono::seconds(second)); }

TEST(DueQueueTest, AKeyHasTheLastTimeThatWasGiven) {
  DueQueue queue;
  queue.Add("a", At(5), 10);
  queue.Add("b", At(3), 10);
  queue.Add("b", At(9), 10);
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_EQ(queue.first_at(), At(5));
  EXPECT_EQ(queue.CountDue(At(8)), 1u);
  EXPECT_EQ(queue.TakeFirst(), "a");
  EXPECT_EQ(queue.TakeFirst(), "b");
  EXPECT_EQ(queue.first_at(), std::nullopt);
  EXPECT_FALSE(queue.overflowed());
}

TEST(DueQueueTest, BeyondItsLimitTheLatestIsForgottenAndThatIsKnown) {
  DueQueue queue;
  for (int i = 3; i > 0; --i) queue.Add("key " + std::to_string(i), At(i), 2);
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_TRUE(queue.overflowed());
  queue.Forgive();
  EXPECT_FALSE(queue.overflowed());
  queue.Drop("key 1");
  queue.Drop("nobody");
  EXPECT_EQ(queue.TakeFirst(), "key 2");
}

}  // namespace
}  // namespace tributary::loader

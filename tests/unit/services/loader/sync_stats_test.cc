#include "services/loader/sync_stats.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "services/loader/entries.h"
#include "services/loader/heads.h"

namespace tributary::loader {
namespace {

WallTime At(std::int64_t second) { return WallTime(std::chrono::seconds(second)); }

TEST(WaitingTimesTest, TheOldestIsExactWhileFewSecondsWait) {
  WaitingTimes times;
  EXPECT_EQ(times.oldest(), std::nullopt);
  times.Add(At(1'700'000'100));
  times.Add(At(1'700'000'000));
  times.Add(At(1'700'000'000));
  times.Remove(At(1'700'000'000));
  EXPECT_EQ(times.oldest(), At(1'700'000'000));
  times.Remove(At(1'700'000'000));
  EXPECT_EQ(times.oldest(), At(1'700'000'100));
  times.Remove(At(1'700'000'100));
  EXPECT_EQ(times.oldest(), std::nullopt);
}

TEST(WaitingTimesTest, AMillionSecondsTakeABoundedMemoryAndStayNearTheTruth) {
  constexpr std::int64_t kBegin = 1'600'000'000;
  constexpr std::int64_t kSpan = 1'000'000;
  std::mt19937 random(7);
  WaitingTimes times;
  std::multiset<std::int64_t> model;
  std::size_t largest = 0;
  for (int i = 0; i < 300'000; ++i) {
    if (random() % 3 != 0 || model.empty()) {
      const std::int64_t second = kBegin + static_cast<std::int64_t>(random() % kSpan);
      times.Add(At(second));
      model.insert(second);
    } else {
      const auto it = model.lower_bound(kBegin + static_cast<std::int64_t>(random() % kSpan));
      const std::int64_t second = it == model.end() ? *model.begin() : *it;
      times.Remove(At(second));
      model.erase(model.find(second));
    }
    largest = std::max(largest, times.size());
    if (model.empty() || i % 97 != 0) continue;
    // Never later than it is: nothing seems fresher than it is.
    ASSERT_LE(*times.oldest(), At(*model.begin()));
    ASSERT_GT(*times.oldest(), At(*model.begin() - WaitingTimes::kCoarseSeconds));
  }
  EXPECT_LE(largest, WaitingTimes::kFineSecondsMax + kSpan / WaitingTimes::kCoarseSeconds + 2);
  while (!model.empty()) {
    times.Remove(At(*model.begin()));
    model.erase(model.begin());
  }
  EXPECT_EQ(times.size(), 0u);
}

TEST(HeadsTest, AHeadSaysWhatTheWholeEntrySays) {
  std::mt19937_64 random(11);
  for (int i = 0; i < 2000; ++i) {
    v1::Command command;
    if (random() % 2 == 0) {
      command.mutable_state()->add_fields()->set_path("name");
    } else {
      command.mutable_action()->set_operation("note");
    }
    if (random() % 4 != 0) {
      command.mutable_version()->set_generation(static_cast<std::int64_t>(random() % 3));
      command.mutable_version()->set_offset(static_cast<std::int64_t>(random()));
      command.mutable_version()->set_revision(static_cast<std::int64_t>(random() % 1000));
    }
    if (random() % 2 == 0)
      SetTime(At(static_cast<std::int64_t>(random() % 2'000'000'000)),
              command.mutable_changed_at());
    const std::optional<CommandHead> head = CommandHeadOf(command.SerializeAsString());
    const CommandHead whole = HeadOf(command);
    ASSERT_TRUE(head);
    EXPECT_EQ(head->version, whole.version);
    EXPECT_EQ(head->is_action, whole.is_action);
    EXPECT_EQ(head->changed_at, whole.changed_at);

    v1::RecordEntry entry;
    if (random() % 2 == 0) {
      entry.mutable_resolved()->set_offset(static_cast<std::int64_t>(random() % 100));
    }
    if (random() % 2 == 0) {
      entry.set_status(v1::RecordEntry::STATUS_PARKED);
      entry.set_reason(v1::REASON_REFUSED);
      entry.mutable_status_version()->set_offset(static_cast<std::int64_t>(random() % 100));
    }
    entry.set_final(random() % 2 == 0);
    entry.set_in_doubt(random() % 2 == 0);
    if (random() % 2 == 0) entry.mutable_intent()->set_send(3);
    if (random() % 2 == 0) SetTime(At(1'700'000'000), entry.mutable_retry_at());
    if (random() % 2 == 0) SetTime(At(1'700'000'001), entry.mutable_event_time());
    const std::optional<RecordHead> record = RecordHeadOf(entry.SerializeAsString());
    const RecordHead told = HeadOf(entry);
    ASSERT_TRUE(record);
    EXPECT_EQ(record->resolved, told.resolved);
    EXPECT_EQ(record->status_version, told.status_version);
    EXPECT_EQ(record->status, told.status);
    EXPECT_EQ(record->reason, told.reason);
    EXPECT_EQ(record->is_final, told.is_final);
    EXPECT_EQ(record->in_doubt, told.in_doubt);
    EXPECT_EQ(record->has_intent, told.has_intent);
    EXPECT_EQ(record->has_retry_at, told.has_retry_at);
    EXPECT_EQ(record->event_time, told.event_time);
  }
  EXPECT_FALSE(CommandHeadOf("\x22\x7f"));
  EXPECT_FALSE(RecordHeadOf("garbage"));
}

}  // namespace
}  // namespace tributary::loader

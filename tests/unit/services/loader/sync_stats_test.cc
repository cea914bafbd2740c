#include "services/loader/sync_stats.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "google/protobuf/stubs/logging.h"
#include <gtest/gtest.h>

#include "services/loader/entries.h"
#include "services/loader/heads.h"

namespace tributary::loader {
namespace {

WallTime AtSecond(std::int64_t second) { return WallTime(std::chrono::seconds(second)); }

TEST(WaitingTimesTest, TheOldestIsExactWhileFewSecondsWait) {
  WaitingTimes times;
  EXPECT_EQ(times.oldest(), std::nullopt);
  times.Add(AtSecond(1'700'000'100));
  times.Add(AtSecond(1'700'000'000));
  times.Add(AtSecond(1'700'000'000));
  times.Remove(AtSecond(1'700'000'000));
  EXPECT_EQ(times.oldest(), AtSecond(1'700'000'000));
  times.Remove(AtSecond(1'700'000'000));
  EXPECT_EQ(times.oldest(), AtSecond(1'700'000'100));
  times.Remove(AtSecond(1'700'000'100));
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
      times.Add(AtSecond(second));
      model.insert(second);
    } else {
      const auto it = model.lower_bound(kBegin + static_cast<std::int64_t>(random() % kSpan));
      const std::int64_t second = it == model.end() ? *model.begin() : *it;
      times.Remove(AtSecond(second));
      model.erase(model.find(second));
    }
    largest = std::max(largest, times.size());
    if (model.empty() || i % 97 != 0) continue;
    // Never later than it is: nothing seems fresher than it is.
    ASSERT_LE(*times.oldest(), AtSecond(*model.begin()));
    ASSERT_GT(*times.oldest(), AtSecond(*model.begin() - WaitingTimes::kCoarseSeconds));
  }
  EXPECT_LE(largest, WaitingTimes::kFineSecondsMax + kSpan / WaitingTimes::kCoarseSeconds + 2);
  while (!model.empty()) {
    times.Remove(AtSecond(*model.begin()));
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
      SetTime(AtSecond(static_cast<std::int64_t>(random() % 2'000'000'000)),
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
    if (random() % 2 == 0) SetTime(AtSecond(1'700'000'000), entry.mutable_retry_at());
    if (random() % 2 == 0) SetTime(AtSecond(1'700'000'001), entry.mutable_event_time());
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

// A head and parsing take the same bytes, and read the same in them, however they are broken.
TEST(HeadsTest, AHeadIsRefusedWhereTheWholeEntryIs) {
  static google::protobuf::LogHandler* const log = google::protobuf::SetLogHandler(nullptr);
  static_cast<void>(log);
  v1::Command command;
  v1::DesiredState& state = *command.mutable_state();
  state.set_object("client");
  v1::Field& field = *state.add_fields();
  field.set_path("tags");
  field.mutable_value()->mutable_list()->add_items()->set_text("n\u00e4");
  command.mutable_version()->set_generation(7);
  command.mutable_version()->set_offset(300);
  command.set_customer("12");
  SetTime(AtSecond(1'700'000'000), command.mutable_changed_at());
  v1::Command action;
  action.mutable_action()->set_operation("client.note.create");
  SetTime(AtSecond(1'700'000'000), action.mutable_action()->mutable_event_time());
  v1::RecordEntry record;
  record.set_id("a");
  record.mutable_resolved()->set_offset(300);
  record.set_status(v1::RecordEntry::STATUS_PARKED);
  record.mutable_intent()->set_send(3);
  record.add_tags("b");
  record.set_final(true);
  record.mutable_comparison()->add_others("c");
  SetTime(AtSecond(1'700'000'000), record.mutable_comparison()->mutable_due_at());
  SetTime(AtSecond(1'700'000'000), record.mutable_event_time());
  const std::vector<std::string> good = {command.SerializeAsString(), action.SerializeAsString(),
                                         record.SerializeAsString()};

  std::mt19937_64 random(5);
  int refused = 0;
  int taken = 0;
  const auto check = [&](const std::string& bytes) {
    v1::Command whole;
    const bool is_command = whole.ParseFromString(bytes);
    const std::optional<CommandHead> head = CommandHeadOf(bytes);
    ASSERT_EQ(head.has_value(), is_command) << testing::PrintToString(bytes);
    if (head) {
      ASSERT_TRUE(*head == HeadOf(whole)) << testing::PrintToString(bytes);
    }
    v1::RecordEntry entry;
    const bool is_record = entry.ParseFromString(bytes);
    const std::optional<RecordHead> of_record = RecordHeadOf(bytes);
    ASSERT_EQ(of_record.has_value(), is_record) << testing::PrintToString(bytes);
    if (of_record) {
      ASSERT_TRUE(*of_record == HeadOf(entry)) << testing::PrintToString(bytes);
    }
    ++(is_command || is_record ? taken : refused);
  };
  for (const std::string& bytes : good) check(bytes);
  // Said twice; a number where a message stands; a text that is none; a message that is none.
  check(good[0] + good[0]);
  check(good[1] + good[0]);
  check("\x20\x05");
  check("\x2a\x01\xff");
  check("\x0a\x02\x1a\x7f");
  for (int i = 0; i < 60'000; ++i) {
    std::string bytes = good[random() % good.size()];
    for (std::uint64_t changes = 1 + random() % 3; changes > 0; --changes) {
      const std::size_t at = random() % bytes.size();
      switch (random() % 4) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
          break;
        case 2:
          bytes.erase(at, 1 + random() % 4);
          break;
        default:
          bytes.insert(at, good[random() % good.size()].substr(random() % 20, random() % 12));
      }
      if (bytes.empty()) bytes = "\n";
    }
    check(bytes);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(refused, 1000);
  EXPECT_GT(taken, 1000);
}

}  // namespace
}  // namespace tributary::loader

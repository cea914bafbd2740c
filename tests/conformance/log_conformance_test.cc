#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <poll.h>

#include "tests/conformance/driver.h"
#include "tests/conformance/log_under_test.h"
#include "tributary/v1/log.pb.h"

// What every log must do; linked with each of them.

namespace tributary::conformance {
namespace {

using eventlog::Headers;
using eventlog::LogMember;
using eventlog::Offset;
using eventlog::Partition;
using eventlog::Record;
using eventlog::Topic;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Lt;
using ::testing::Not;
using ::testing::SizeIs;

class LogConformance : public testing::Test {
 protected:
  void SetUp() override {
    log_ = MakeLogUnderTest();
    ASSERT_NE(log_, nullptr);
  }

  /// Joined, and owning every partition.
  std::unique_ptr<Driver> JoinAlone(const std::string& group, const std::string& instance = "one") {
    auto member = log_->Join(group, instance);
    EXPECT_TRUE(member.ok()) << member.status();
    if (!member.ok()) return nullptr;
    auto driver = std::make_unique<Driver>(*std::move(member));
    EXPECT_TRUE(driver->UntilAssigned(kPartitions));
    return driver;
  }

  std::unique_ptr<LogUnderTest> log_;
};

std::vector<std::string> Numbered(const std::string& prefix, int count, int first = 0) {
  std::vector<std::string> names;
  for (int i = first; i < count; ++i) names.push_back(prefix + std::to_string(i));
  return names;
}

TEST_F(LogConformance, Rule5_GivesRecordsOfAPartitionBackInTheOrderOfTheCalls) {
  const auto member = JoinAlone("g");
  constexpr int kCount = 500;
  for (int i = 0; i < kCount; ++i) {
    for (Partition p = 0; p < kPartitions; ++p) {
      member->Produce(Topic::kEvents, p, "k" + std::to_string(i), "v");
    }
  }
  ASSERT_TRUE(member->UntilAllProduced());
  for (Partition p = 0; p < kPartitions; ++p) member->log().StartReading(Topic::kEvents, p, 0);
  ASSERT_TRUE(member->Until([&] {
    for (Partition p = 0; p < kPartitions; ++p) {
      if (member->At(Topic::kEvents, p).size() < kCount) return false;
    }
    return true;
  }));
  for (Partition p = 0; p < kPartitions; ++p) {
    EXPECT_EQ(member->Keys(Topic::kEvents, p), Numbered("k", kCount));
    Offset last = -1;
    for (const Record& record : member->At(Topic::kEvents, p)) {
      EXPECT_GT(record.offset, last);
      last = record.offset;
    }
  }
  EXPECT_THAT(member->failures, IsEmpty());
}

TEST_F(LogConformance, AcknowledgesEachRecordOnceInOrderAtTheOffsetWhereItIsRead) {
  const auto member = JoinAlone("g");
  for (int i = 0; i < 200; ++i) member->Produce(Topic::kChanges, 1, "k" + std::to_string(i), "v");
  ASSERT_TRUE(member->UntilAllProduced());
  member->PollFor(milliseconds(100));
  EXPECT_THAT(member->produced_order, SizeIs(200));
  EXPECT_TRUE(std::is_sorted(member->produced_order.begin(), member->produced_order.end()));
  member->log().StartReading(Topic::kChanges, 1, 0);
  ASSERT_TRUE(member->Until([&] { return member->At(Topic::kChanges, 1).size() >= 200; }));
  for (std::size_t i = 0; i < 200; ++i) {
    EXPECT_EQ(member->produced[i + 1].error, "");
    EXPECT_EQ(member->At(Topic::kChanges, 1)[i].offset, member->produced[i + 1].offset);
  }
}

TEST_F(LogConformance, KeepsKeyValueHeadersAndTimeAsTheyWere) {
  const auto member = JoinAlone("g");
  const std::string bytes("\0\xff\n", 3);
  const Headers headers = {{"ce_id", "1"}, {"twice", "a"}, {"twice", bytes}, {"empty", ""}};
  const WallTime before = eventlog::SystemTime();
  member->Produce(Topic::kChanges, 0, "key/" + bytes, bytes, headers);
  member->Produce(Topic::kChanges, 0, "deleted", std::nullopt);
  member->Produce(Topic::kChanges, 0, "empty", "");
  ASSERT_TRUE(member->UntilAllProduced());
  member->log().StartReading(Topic::kChanges, 0, 0);
  ASSERT_TRUE(member->Until([&] { return member->At(Topic::kChanges, 0).size() == 3; }));
  const std::vector<Record>& records = member->At(Topic::kChanges, 0);
  EXPECT_EQ(records[0].topic, Topic::kChanges);
  EXPECT_EQ(records[0].partition, 0);
  EXPECT_EQ(records[0].key, "key/" + bytes);
  EXPECT_EQ(records[0].value, bytes);
  EXPECT_EQ(records[0].headers, headers);
  EXPECT_GT(records[0].appended_at, before - seconds(5));
  EXPECT_LT(records[0].appended_at, eventlog::SystemTime() + seconds(5));
  EXPECT_EQ(records[1].value, std::nullopt);
  EXPECT_EQ(records[2].value, "");
}

TEST_F(LogConformance, CarriesRecordsOfOneMegabyte) {
  const auto member = JoinAlone("g");
  for (int i = 0; i < 5; ++i) {
    member->Produce(Topic::kChanges, 2, std::to_string(i),
                    std::string(std::size_t{1} << 20, static_cast<char>('a' + i)));
  }
  ASSERT_TRUE(member->UntilAllProduced());
  for (const auto& [id, produced] : member->produced) EXPECT_EQ(produced.error, "");
  member->log().StartReading(Topic::kChanges, 2, 0);
  ASSERT_TRUE(member->Until([&] { return member->At(Topic::kChanges, 2).size() == 5; }));
  EXPECT_EQ(member->At(Topic::kChanges, 2)[3].value, std::string(std::size_t{1} << 20, 'd'));
}

TEST_F(LogConformance, Rule6_RefusesARecordThatIsTooLargeAndAllThatComesBehindIt) {
  const auto member = JoinAlone("g");
  ASSERT_GE(member->ProduceAndWait(Topic::kChanges, 0, "before", "v"), 0);
  const auto large =
      member->Produce(Topic::kChanges, 0, "large", std::string(kRecordBytesMax + 1, 'x'));
  const auto behind = member->Produce(Topic::kChanges, 0, "behind", "v");
  ASSERT_TRUE(member->UntilAllProduced());
  EXPECT_THAT(member->produced[large].error, HasSubstr("record_bytes_max"));
  EXPECT_THAT(member->produced[behind].error, Not(IsEmpty()));
  member->Drop();

  const auto other = JoinAlone("h");
  other->log().StartReading(Topic::kChanges, 0, 0);
  ASSERT_TRUE(other->Until([&] { return other->caught_up.contains({Topic::kChanges, 0}); }));
  EXPECT_THAT(other->Keys(Topic::kChanges, 0), ElementsAre("before"));
}

TEST_F(LogConformance, SamplesBeginningAndEnd) {
  const auto member = JoinAlone("g");
  EXPECT_EQ(member->Sample(Topic::kRecords, 0).begin, 0);
  EXPECT_EQ(member->Sample(Topic::kRecords, 0).end, 0);
  const Offset last = member->ProduceAndWait(Topic::kRecords, 0, "k", "v");
  const eventlog::EndSampled sampled = member->Sample(Topic::kRecords, 0);
  EXPECT_EQ(sampled.error, "");
  EXPECT_EQ(sampled.topic, Topic::kRecords);
  EXPECT_EQ(sampled.partition, 0);
  EXPECT_EQ(sampled.end, last + 1);
  EXPECT_EQ(member->Sample(Topic::kRecords, 1).end, 0);
}

TEST_F(LogConformance, TellsWhenReadingHasReachedTheEnd) {
  const auto member = JoinAlone("g");
  for (int i = 0; i < 20; ++i) member->Produce(Topic::kChanges, 0, std::to_string(i), "v");
  ASSERT_TRUE(member->UntilAllProduced());
  member->log().StartReading(Topic::kChanges, 0, 0);
  member->log().StartReading(Topic::kChanges, 1, 0);
  ASSERT_TRUE(member->Until([&] { return member->caught_up.size() == 2; }));
  EXPECT_EQ((member->caught_up[{Topic::kChanges, 0}]), 20);
  EXPECT_EQ((member->caught_up[{Topic::kChanges, 1}]), 0);
  EXPECT_THAT(member->At(Topic::kChanges, 0), SizeIs(20));
}

TEST_F(LogConformance, DeliversWhatIsAppendedWhileReadingAndBeginsWhereTold) {
  const auto writer = JoinAlone("w");
  const auto reader = JoinAlone("r");
  for (int i = 0; i < 10; ++i) writer->Produce(Topic::kEvents, 0, std::to_string(i), "v");
  ASSERT_TRUE(writer->UntilAllProduced());
  reader->log().StartReading(Topic::kEvents, 0, 7);
  ASSERT_TRUE(reader->Until([&] { return reader->At(Topic::kEvents, 0).size() == 3; }));
  writer->ProduceAndWait(Topic::kEvents, 0, "10", "v");
  ASSERT_TRUE(reader->Until([&] { return reader->At(Topic::kEvents, 0).size() == 4; }));
  EXPECT_THAT(reader->Keys(Topic::kEvents, 0), ElementsAre("7", "8", "9", "10"));
}

TEST_F(LogConformance, GivesNothingOfAPartitionAfterStopReadingUntilItIsStartedAgain) {
  const auto member = JoinAlone("g");
  for (int i = 0; i < 50; ++i) member->Produce(Topic::kEvents, 0, std::to_string(i), "v");
  ASSERT_TRUE(member->UntilAllProduced());
  member->log().StartReading(Topic::kEvents, 0, 0);
  ASSERT_TRUE(member->Until([&] { return member->At(Topic::kEvents, 0).size() == 50; }));
  member->log().StopReading(Topic::kEvents, 0);
  member->records.clear();
  member->ProduceAndWait(Topic::kEvents, 0, "50", "v");
  member->PollFor(milliseconds(300));
  EXPECT_THAT(member->At(Topic::kEvents, 0), IsEmpty());
  member->log().StartReading(Topic::kEvents, 0, 48);
  ASSERT_TRUE(member->Until([&] { return member->At(Topic::kEvents, 0).size() >= 3; }));
  EXPECT_THAT(member->Keys(Topic::kEvents, 0), ElementsAre("48", "49", "50"));
}

TEST_F(LogConformance, LosesAndRepeatsNothingByPausing) {
  const auto member = JoinAlone("g");
  constexpr int kCount = 3000;
  for (int i = 0; i < kCount; ++i) {
    member->Produce(Topic::kEvents, 0, std::to_string(i), std::string(500, 'v'));
  }
  ASSERT_TRUE(member->UntilAllProduced());
  member->log().StartReading(Topic::kEvents, 0, 0);
  std::size_t at_pause = 0;
  for (int round = 0; round < 4; ++round) {
    ASSERT_TRUE(member->Until([&] { return member->At(Topic::kEvents, 0).size() > at_pause; }));
    member->log().PauseReading(Topic::kEvents, 0);
    // What was under way may still come, once.
    member->PollFor(milliseconds(50));
    at_pause = member->At(Topic::kEvents, 0).size();
    member->PollFor(milliseconds(150));
    EXPECT_EQ(member->At(Topic::kEvents, 0).size(), at_pause);
    member->log().ResumeReading(Topic::kEvents, 0);
    if (at_pause == kCount) break;
  }
  ASSERT_TRUE(member->Until([&] { return member->At(Topic::kEvents, 0).size() >= kCount; }));
  EXPECT_EQ(member->Keys(Topic::kEvents, 0), Numbered("", kCount));
}

TEST_F(LogConformance, ReadsManyPartitionsSideBySide) {
  const auto member = JoinAlone("g");
  for (int i = 0; i < 2000; ++i) {
    member->Produce(Topic::kEvents, 0, std::to_string(i), std::string(1000, 'v'));
  }
  member->Produce(Topic::kEvents, 1, "other", "v");
  ASSERT_TRUE(member->UntilAllProduced());
  member->log().StartReading(Topic::kEvents, 0, 0);
  member->log().StartReading(Topic::kEvents, 1, 0);
  ASSERT_TRUE(member->Until([&] {
    return !member->At(Topic::kEvents, 1).empty() && member->At(Topic::kEvents, 0).size() == 2000;
  }));
}

TEST_F(LogConformance, ResumesFromTheCommittedOffset) {
  {
    const auto member = JoinAlone("g");
    EXPECT_EQ(member->Committed(Topic::kEvents, 0).next, std::nullopt);
    for (int i = 0; i < 10; ++i) member->Produce(Topic::kEvents, 0, std::to_string(i), "v");
    ASSERT_TRUE(member->UntilAllProduced());
    EXPECT_EQ(member->Commit(Topic::kEvents, 0, 4), "");
    EXPECT_EQ(member->Commit(Topic::kEvents, 0, 6), "");
    EXPECT_EQ(member->Committed(Topic::kEvents, 0).next, 6);
    EXPECT_EQ(member->Committed(Topic::kEvents, 1).next, std::nullopt);
    EXPECT_TRUE(member->log().Close(seconds(10)).ok());
  }
  log_->Reopen();
  const auto member = JoinAlone("g");
  const eventlog::CommittedOffset committed = member->Committed(Topic::kEvents, 0);
  ASSERT_EQ(committed.next, 6);
  member->log().StartReading(Topic::kEvents, 0, *committed.next);
  ASSERT_TRUE(member->Until([&] { return member->At(Topic::kEvents, 0).size() == 4; }));
  EXPECT_THAT(member->Keys(Topic::kEvents, 0), ElementsAre("6", "7", "8", "9"));
  EXPECT_EQ(JoinAlone("other")->Committed(Topic::kEvents, 0).next, std::nullopt);
}

TEST_F(LogConformance, GivesBackWhatWasCommittedWithAPosition) {
  const std::string longest(eventlog::kMarkBytesMax, 'm');
  {
    const auto member = JoinAlone("g");
    EXPECT_EQ(member->Commit(Topic::kEvents, 0, 4, "generation=5 seen=3@1767225600123456"), "");
    EXPECT_EQ(member->Committed(Topic::kEvents, 0).mark, "generation=5 seen=3@1767225600123456");
    EXPECT_EQ(member->Commit(Topic::kChanges, 0, 1, longest), "");
    // Those of a version that wrote none.
    EXPECT_EQ(member->Commit(Topic::kEvents, 1, 9, "seen=8@17"), "");
    EXPECT_EQ(member->Commit(Topic::kEvents, 1, 10), "");
    EXPECT_TRUE(member->log().Close(seconds(10)).ok());
  }
  log_->Reopen();
  const auto member = JoinAlone("g");
  EXPECT_EQ(member->Committed(Topic::kEvents, 0).next, 4);
  EXPECT_EQ(member->Committed(Topic::kEvents, 0).mark, "generation=5 seen=3@1767225600123456");
  EXPECT_EQ(member->Committed(Topic::kChanges, 0).next, 1);
  EXPECT_EQ(member->Committed(Topic::kChanges, 0).mark, longest);
  EXPECT_EQ(member->Committed(Topic::kEvents, 1).next, 10);
  EXPECT_EQ(member->Committed(Topic::kEvents, 1).mark, "");
  EXPECT_EQ(member->Committed(Topic::kChanges, 1).mark, "");
}

TEST_F(LogConformance, TellsThatAPositionLiesBehindTheEnd) {
  const auto member = JoinAlone("g");
  member->ProduceAndWait(Topic::kEvents, 0, "k", "v");
  member->log().StartReading(Topic::kEvents, 0, 100);
  ASSERT_TRUE(member->Until([&] { return !member->out_of_range.empty(); }));
  EXPECT_EQ(member->out_of_range[0].topic, Topic::kEvents);
  EXPECT_EQ(member->out_of_range[0].partition, 0);
  EXPECT_EQ(member->out_of_range[0].asked, 100);
  EXPECT_EQ(member->out_of_range[0].begin, 0);
  EXPECT_EQ(member->out_of_range[0].end, 1);
  EXPECT_THAT(member->At(Topic::kEvents, 0), IsEmpty());
  member->log().StartReading(Topic::kEvents, 0, 0);
  EXPECT_TRUE(member->Until([&] { return member->At(Topic::kEvents, 0).size() == 1; }));
}

TEST_F(LogConformance, TellsThatAPositionIsNoLongerKeptInsteadOfSkipping) {
  const auto member = JoinAlone("g");
  for (int i = 0; i < 10; ++i) {
    if (i == 6) log_->LetTimePass();
    member->ProduceAndWait(Topic::kEvents, 0, std::to_string(i), "v");
  }
  log_->DropBefore(Topic::kEvents, 0, 6);
  EXPECT_EQ(member->Sample(Topic::kEvents, 0).begin, 6);
  member->log().StartReading(Topic::kEvents, 0, 2);
  ASSERT_TRUE(member->Until([&] { return !member->out_of_range.empty(); }));
  EXPECT_EQ(member->out_of_range[0].asked, 2);
  EXPECT_EQ(member->out_of_range[0].begin, 6);
  EXPECT_EQ(member->out_of_range[0].end, 10);
  EXPECT_THAT(member->At(Topic::kEvents, 0), IsEmpty());
  member->log().StartReading(Topic::kEvents, 0, 6);
  ASSERT_TRUE(member->Until([&] { return member->At(Topic::kEvents, 0).size() == 4; }));
}

TEST_F(LogConformance, KeepsTheNewestEntryOfEachKeyOfATableAndItsDeletions) {
  const auto member = JoinAlone("g");
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 10; ++i) {
      member->Produce(Topic::kChanges, 0, "k" + std::to_string(i), "v" + std::to_string(round));
    }
  }
  for (int i = 0; i < 5; ++i)
    member->Produce(Topic::kChanges, 0, "k" + std::to_string(i), std::nullopt);
  member->Produce(Topic::kChanges, 0, "!f/x/y/z", "fence");
  const std::string long_key = "long/" + std::string(700, 'x');
  member->Produce(Topic::kChanges, 0, long_key + "1", "a");
  member->Produce(Topic::kChanges, 0, long_key + "2", "b");
  member->Produce(Topic::kChanges, 0, long_key + "1", "c");
  ASSERT_TRUE(member->UntilAllProduced());
  const Offset end = member->Sample(Topic::kChanges, 0).end;
  log_->Compact(Topic::kChanges, 0);

  member->log().StartReading(Topic::kChanges, 0, 0);
  ASSERT_TRUE(member->Until([&] {
    const auto at = member->caught_up.find({Topic::kChanges, 0});
    return at != member->caught_up.end() && at->second >= end;
  }));
  std::map<std::string, std::optional<std::string>> table;
  Offset last = -1;
  std::size_t read = 0;
  for (const Record& record : member->At(Topic::kChanges, 0)) {
    EXPECT_GT(record.offset, last);
    last = record.offset;
    if (record.offset >= end) break;
    ++read;
    table[record.key] = record.value;
  }
  // 48 were written.
  EXPECT_LT(read, 30U) << "nothing was compacted";
  for (int i = 0; i < 10; ++i) {
    const std::string key = "k" + std::to_string(i);
    ASSERT_TRUE(table.contains(key)) << key;
    if (i < 5) {
      EXPECT_EQ(table[key], std::nullopt) << key;
    } else {
      EXPECT_EQ(table[key], "v3") << key;
    }
  }
  EXPECT_EQ(table["!f/x/y/z"], "fence");
  EXPECT_EQ(table[long_key + "1"], "c");
  EXPECT_EQ(table[long_key + "2"], "b");
}

TEST_F(LogConformance, ReadsOnOverTheGapsThatCompactionHasMadeSinceItBegan) {
  const auto member = JoinAlone("g");
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 100; ++i) {
      member->Produce(Topic::kChanges, 0, std::to_string(i), std::to_string(round));
    }
  }
  ASSERT_TRUE(member->UntilAllProduced());
  member->log().StartReading(Topic::kChanges, 0, 0);
  ASSERT_TRUE(member->Until([&] { return !member->At(Topic::kChanges, 0).empty(); }));
  // Half-way: the position lies where compaction leaves nothing.
  member->log().StopReading(Topic::kChanges, 0);
  log_->Compact(Topic::kChanges, 0);
  member->records.clear();
  member->log().StartReading(Topic::kChanges, 0, 50);
  ASSERT_TRUE(member->Until([&] { return member->At(Topic::kChanges, 0).size() >= 100; }));
  std::map<std::string, std::string> table;
  for (const Record& record : member->At(Topic::kChanges, 0)) table[record.key] = *record.value;
  for (int i = 0; i < 100; ++i) EXPECT_EQ(table[std::to_string(i)], "2") << i;
  EXPECT_THAT(member->out_of_range, IsEmpty());
}

TEST_F(LogConformance, RenewsTheLeaseOfItsOwner) {
  const auto member = JoinAlone("g");
  const Instant before = eventlog::BootTime();
  const eventlog::LeaseRenewed renewed = member->RenewLease();
  EXPECT_EQ(renewed.error, "");
  EXPECT_GE(renewed.sent_at, before);
  EXPECT_LE(renewed.sent_at, eventlog::BootTime());
}

TEST_F(LogConformance, WakesWhoWaitsOnItsDescriptor) {
  const auto member = JoinAlone("g");
  const auto other = JoinAlone("h");
  member->log().StartReading(Topic::kEvents, 0, 0);
  ASSERT_TRUE(member->Until([&] { return member->caught_up.contains({Topic::kEvents, 0}); }));
  other->ProduceAndWait(Topic::kEvents, 0, "k", "v");
  const Instant until = eventlog::BootTime() + seconds(10);
  while (member->At(Topic::kEvents, 0).empty() && eventlog::BootTime() < until) {
    pollfd waited{.fd = member->log().wake_fd(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(::poll(&waited, 1, 10'000), 1) << "nothing has woken us";
    member->PollOnce(Duration::zero());
  }
  EXPECT_THAT(member->Keys(Topic::kEvents, 0), ElementsAre("k"));
}

TEST_F(LogConformance, WaitsNoLongerThanTold) {
  const auto member = JoinAlone("g");
  member->PollFor(milliseconds(200));
  const Instant before = eventlog::BootTime();
  EXPECT_THAT(member->log().Poll(milliseconds(50)), IsEmpty());
  EXPECT_LT(eventlog::BootTime() - before, seconds(1));
}

TEST_F(LogConformance, ShowsTheLagOfWhatItReads) {
  const auto member = JoinAlone("g");
  for (int i = 0; i < 10; ++i) member->ProduceAndWait(Topic::kEvents, 0, "k", "v");
  EXPECT_THAT(member->log().lags(), IsEmpty());
  member->log().StartReading(Topic::kEvents, 0, 4);
  ASSERT_TRUE(member->Until([&] { return member->caught_up.contains({Topic::kEvents, 0}); }));
  ASSERT_THAT(member->log().lags(), SizeIs(1));
  EXPECT_EQ(member->log().lags()[0].offsets, 0);
}

TEST_F(LogConformance, ClosesWithinItsDeadlineWithAllThatWasProduced) {
  const auto member = JoinAlone("g");
  for (int i = 0; i < 1000; ++i) member->Produce(Topic::kEvents, 0, std::to_string(i), "v");
  const Instant before = eventlog::BootTime();
  EXPECT_TRUE(member->log().Close(seconds(10)).ok());
  EXPECT_LT(eventlog::BootTime() - before, seconds(10));
  // What is produced behind it goes nowhere.
  member->Produce(Topic::kEvents, 0, "late", "v");
  const auto other = JoinAlone("h");
  EXPECT_EQ(other->Sample(Topic::kEvents, 0).end, 1000);
}

TEST_F(LogConformance, GivesAGroupBackToTheSameInstanceAfterACloseAndAfterACrash) {
  for (int round = 0; round < 3; ++round) {
    const auto member = JoinAlone("g", "same");
    ASSERT_THAT(member->assigned, SizeIs(kPartitions)) << round;
    EXPECT_EQ(member->RenewLease().error, "");
    if (round == 0) {
      EXPECT_TRUE(member->log().Close(seconds(10)).ok());
    } else {
      member->Drop();
    }
  }
}

TEST_F(LogConformance, IsFoundedOnceAndTheSameEverAfter) {
  std::uint64_t number = 0;
  const eventlog::FoundOptions options = {.now = eventlog::SystemTime(),
                                          .random = [&] { return ++number; }};
  const auto admin = log_->MakeAdmin();
  ASSERT_TRUE(admin->EnsureTopics().ok());
  const auto first = eventlog::Found(*admin, options);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(*first, std::chrono::duration_cast<seconds>(options.now.time_since_epoch()).count());
  const auto again = eventlog::Found(
      *log_->MakeAdmin(), {.now = options.now + std::chrono::hours(1), .random = options.random});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, *first);

  std::map<Topic, int> foundings;
  std::map<Topic, int> others;
  for (const Topic topic : eventlog::kAllTopics) {
    ASSERT_TRUE(admin
                    ->ReadAll(topic,
                              [&](const Record& record) {
                                ++(record.key == "!g" ? foundings : others)[topic];
                                return true;
                              })
                    .ok());
  }
  for (const Topic topic : eventlog::kAllTopics) {
    const int wanted = eventlog::IsTable(topic) ? kPartitions : 0;
    EXPECT_EQ(foundings[topic], wanted) << eventlog::Name(topic);
    EXPECT_EQ(others[topic], wanted) << "fences of " << eventlog::Name(topic);
  }
}

TEST_F(LogConformance, GoesOnWithAFoundingThatWasInterrupted) {
  std::uint64_t number = 0;
  const auto admin = log_->MakeAdmin();
  tributary::eventlog::FoundOptions options = {.now = eventlog::SystemTime(),
                                               .random = [&] { return ++number; }};
  // One partition's `!g` and nothing else, as a kill in the middle leaves it.
  class FailsAfterOne final : public eventlog::LogAdmin {
   public:
    explicit FailsAfterOne(eventlog::LogAdmin& real) : real_(real) {}
    absl::Status EnsureTopics() override { return real_.EnsureTopics(); }
    absl::StatusOr<std::vector<eventlog::PartitionSetUp>> Inspect(Topic table) override {
      return real_.Inspect(table);
    }
    absl::Status Append(Topic topic, const std::vector<eventlog::NewRecord>& records) override {
      (void)real_.Append(topic, {records.front()});
      return absl::UnavailableError("killed");
    }
    absl::Status ReadAll(Topic topic, const std::function<bool(const Record&)>& visit) override {
      return real_.ReadAll(topic, visit);
    }
    const eventlog::TopicSettings& settings() const override { return real_.settings(); }

   private:
    eventlog::LogAdmin& real_;
  } killed(*admin);
  ASSERT_FALSE(eventlog::Found(killed, options).ok());
  const auto first = std::chrono::duration_cast<seconds>(options.now.time_since_epoch()).count();
  options.now += std::chrono::hours(1);
  const auto finished = eventlog::Found(*admin, options);
  ASSERT_TRUE(finished.ok()) << finished.status();
  EXPECT_EQ(*finished, first);
}

TEST_F(LogConformance, RefusesToFoundRecordsWhoseCommandsAreNotEmpty) {
  const auto admin = log_->MakeAdmin();
  ASSERT_TRUE(admin->Append(Topic::kCommands, {{1, "t/s/s/o/k/1", "command", {}}}).ok());
  std::uint64_t number = 0;
  eventlog::FoundOptions options = {.now = eventlog::SystemTime(),
                                    .random = [&] { return ++number; }};
  const auto refused = eventlog::Found(*admin, options);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("lost"));
  options.anew = true;
  EXPECT_TRUE(eventlog::Found(*admin, options).ok());
  // Rule 12: whoever takes them over has to know that a key without an entry may have been sent.
  const auto was_lost = [&](Topic table) {
    const auto partitions = admin->Inspect(table);
    v1::Founding founding;
    return partitions.ok() && (*partitions)[1].founding &&
           founding.ParseFromString(*(*partitions)[1].founding) && founding.after_loss();
  };
  EXPECT_TRUE(was_lost(Topic::kRecords));
  // And it stays so when everything is founded once more.
  ASSERT_TRUE(
      admin->Append(Topic::kTenants, {{0, "!g", v1::Founding().SerializeAsString(), {}}}).ok());
  EXPECT_TRUE(eventlog::Found(*admin, options).ok());
  EXPECT_TRUE(was_lost(Topic::kRecords));
}

}  // namespace
}  // namespace tributary::conformance

// Where streams and tables go on: committed positions, of which log they are, what has expired.

#include "libs/eventlog/log_mark.h"
#include "tests/unit/libs/eventlog/owner_rig.h"

namespace tributary::eventlog {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

TEST_F(OwnerTest, Rule37_StreamsGoOnWhereTheGroupHasCommitted) {
  log_.Found(5);
  const auto first = StartReady(Transformer("a"));
  for (const char* const key : {"1", "2", "3"}) log_.Append(Topic::kEvents, 0, key, "v");
  time_.RunFor(seconds(1));
  EXPECT_THAT(first->stream, ElementsAre("1", "2", "3"));
  first->owner().Commit(Topic::kEvents, 0, 1);
  first->owner().Commit(Topic::kEvents, 0, 2);
  time_.RunFor(seconds(1));
  EXPECT_EQ(log_.committed("transformer", Topic::kEvents, 0), 2);
  first->Kill();

  const auto second = StartReady(Transformer("b"));
  time_.RunFor(seconds(1));

  EXPECT_THAT(second->stream, ElementsAre("3"));
  EXPECT_THAT(second->takeovers[0].replaced, IsEmpty());
}

TEST_F(OwnerTest, Rule37_WhatExpiredUnreadIsToldToEveryOwnerUntilOneHasCommittedBehindIt) {
  log_.Found(5);
  for (const char* const key : {"1", "2", "3"}) log_.Append(Topic::kEvents, 0, key, "v");
  log_.ExpireBefore(Topic::kEvents, 0, 2);

  const auto node = Start(Transformer("a"));
  log_.Assign(node->member(), {0});
  time_.RunFor(minutes(1));

  ASSERT_EQ(node->takeovers.size(), 1u);
  ASSERT_EQ(node->takeovers[0].expired.size(), 1u);
  EXPECT_EQ(node->takeovers[0].expired[0].topic, Topic::kEvents);
  EXPECT_EQ(node->takeovers[0].expired[0].from, 0);
  EXPECT_EQ(node->takeovers[0].expired[0].begin, 2);
  EXPECT_THAT(node->stream, SizeIs(1));

  node->Kill();
  const auto second = Start(Transformer("b"));
  log_.Assign(second->member(), {0});
  time_.RunFor(minutes(1));
  ASSERT_EQ(second->takeovers.size(), 1u);
  EXPECT_THAT(second->takeovers[0].expired, SizeIs(1));
  second->owner().Commit(Topic::kEvents, 0, 2);
  time_.RunFor(seconds(1));

  second->Kill();
  const auto third = Start(Transformer("c"));
  log_.Assign(third->member(), {0});
  time_.RunFor(minutes(1));
  ASSERT_EQ(third->takeovers.size(), 1u);
  EXPECT_THAT(third->takeovers[0].expired, IsEmpty());
}

TEST_F(OwnerTest, Rule37_WhatExpiresUnderAReaderThatIsBehindIsToldToo) {
  log_.Found(5);
  const auto node = StartReady(Transformer("a"));
  node->owner().Pause(Topic::kEvents, 0);
  for (const char* const key : {"1", "2", "3"}) log_.Append(Topic::kEvents, 0, key, "v");
  log_.ExpireBefore(Topic::kEvents, 0, 2);
  node->owner().Resume(Topic::kEvents, 0);
  time_.RunFor(minutes(1));

  ASSERT_EQ(node->takeovers.size(), 2u);
  EXPECT_THAT(node->takeovers[1].expired, SizeIs(1));
  EXPECT_THAT(node->stream, SizeIs(1));
}

TEST_F(OwnerTest, Rule37_APositionBeyondTheEndIsOfAStreamThatWasLost) {
  log_.Found(5);
  for (const char* const key : {"1", "2", "3"}) log_.Append(Topic::kEvents, 0, key, "v");
  const auto first = StartReady(Transformer("a"));
  first->owner().Commit(Topic::kEvents, 0, 9);
  time_.RunFor(seconds(1));
  first->Kill();

  const auto node = Start(Transformer("b"));
  log_.Assign(node->member(), {0});
  time_.RunFor(minutes(1));

  ASSERT_TRUE(node->ready());
  EXPECT_THAT(node->takeovers[0].committed,
              Contains(::testing::Pair(Topic::kEvents, std::optional<Offset>())));
  EXPECT_THAT(node->takeovers[0].replaced, ElementsAre(Topic::kEvents));
  EXPECT_THAT(node->stream, SizeIs(3));
}

TEST_F(OwnerTest, Rule37_APositionOfALostStreamIsKnownWhenTheNewOneHasGrownBeyondIt) {
  log_.Found(5);
  const auto first = StartReady(Transformer("a"));
  for (const char* const key : {"1", "2", "3"}) log_.Append(Topic::kEvents, 0, key, "v");
  time_.RunFor(seconds(1));
  first->owner().Commit(Topic::kEvents, 0, 2);
  time_.RunFor(seconds(1));
  first->Kill();
  const std::string mark = log_.mark("transformer", Topic::kEvents, 0);
  log_.Lose(Topic::kEvents, 0);
  log_.LandCommit("transformer", Topic::kEvents, 0, 2, mark);
  for (const char* const key : {"4", "5", "6", "7"}) log_.Append(Topic::kEvents, 0, key, "v");

  const auto second = StartReady(Transformer("b"));
  time_.RunFor(seconds(1));

  EXPECT_THAT(second->takeovers[0].committed,
              Contains(::testing::Pair(Topic::kEvents, std::optional<Offset>())));
  EXPECT_THAT(second->takeovers[0].replaced, ElementsAre(Topic::kEvents));
  EXPECT_THAT(second->stream, ElementsAre("4", "5", "6", "7"));
}

// What a position names expires; then nothing tells, as it was before positions had marks.
TEST_F(OwnerTest, Rule37_APositionWhoseRecordHasExpiredIsBelieved) {
  for (const char* const mark : {"", "seen=1@17"}) {
    testing::VirtualTime time;
    testing::SimulatedLog log({}, time, 1);
    log.Found(5);
    for (const char* const key : {"1", "2", "3"}) log.Append(Topic::kEvents, 0, key, "v");
    log.ExpireBefore(Topic::kEvents, 0, 2);
    log.LandCommit("transformer", Topic::kEvents, 0, 2, mark);
    const std::unique_ptr<LocalStores> disk = MakeMemoryStores();
    Node node(time, log, Transformer("a"), *disk, {});
    log.Assign(node.member(), {0});
    time.RunFor(minutes(1));

    ASSERT_TRUE(node.ready());
    EXPECT_THAT(node.takeovers[0].replaced, IsEmpty());
    EXPECT_THAT(node.stream, ElementsAre("3"));
  }
}

TEST_F(OwnerTest, AStreamThatIsLostWhileItsPositionIsLookedAtIsTakenOver) {
  for (int lost_after = 0; lost_after < 120; lost_after += 4) {
    testing::VirtualTime time;
    testing::SimulatedLog log({}, time, 1);
    log.Found(5);
    for (const char* const key : {"1", "2", "3"}) log.Append(Topic::kEvents, 0, key, "v");
    const Record& newest = log.records(Topic::kEvents, 0).back();
    log.LandCommit("transformer", Topic::kEvents, 0, 3,
                   FormatMark({.seen = LogMark::Seen{newest.offset, newest.appended_at}}));
    const std::unique_ptr<LocalStores> disk = MakeMemoryStores();
    Node node(time, log, Transformer("a"), *disk, SlowAnswers());
    log.Assign(node.member(), {0});
    time.RunFor(milliseconds(lost_after));

    log.Lose(Topic::kEvents, 0);
    for (int i = 0; i < lost_after % 5; ++i) log.Append(Topic::kEvents, 0, "new", "v");
    time.RunFor(minutes(1));

    EXPECT_TRUE(node.owner().all_ready())
        << "lost after " << lost_after
        << " ms: " << ::testing::PrintToString(node.owner().not_ready_because());
  }
}

TEST_F(OwnerTest, Rule33_APositionOfALostTableIsKnownWhenTheNewOneHasGrownBeyondIt) {
  log_.Found(5);
  const auto append = [&](int count) {
    for (int i = 0; i < count; ++i) log_.Append(Topic::kChanges, 0, "k", "v");
  };
  append(3);
  const auto first = StartReady(Transformer("a"));
  first->owner().Commit(Topic::kChanges, 0, 4);
  time_.RunFor(seconds(1));
  first->Kill();
  const std::string mark = log_.mark("transformer", Topic::kChanges, 0);

  // The generation grows for any table; the position counts as long as its own was not lost.
  log_.FoundAnew(6);
  const auto second = StartReady(Transformer("b"));
  EXPECT_THAT(second->takeovers[0].committed,
              Contains(::testing::Pair(Topic::kChanges, std::optional<Offset>(4))));
  second->Kill();

  log_.Lose(Topic::kChanges, 0);
  log_.LandCommit("transformer", Topic::kChanges, 0, 4, mark);
  log_.FoundAnew(7);
  append(5);
  const auto third = StartReady(Transformer("c"));
  EXPECT_THAT(third->takeovers[0].committed,
              Contains(::testing::Pair(Topic::kChanges, std::optional<Offset>())));
  EXPECT_THAT(third->takeovers[0].replaced, Contains(Topic::kChanges));
  third->owner().Commit(Topic::kChanges, 0, 5);
  time_.RunFor(seconds(1));
  third->Kill();

  const auto fourth = StartReady(Transformer("d"));
  EXPECT_THAT(fourth->takeovers[0].committed,
              Contains(::testing::Pair(Topic::kChanges, std::optional<Offset>(5))));
  EXPECT_THAT(fourth->takeovers[0].replaced, Not(Contains(Topic::kChanges)));
}

TEST_F(OwnerTest, ACommitThatFailsIsSentAgain) {
  log_.Found(5);
  const auto node = StartReady(Transformer("a"));
  log_.Evict(node->member(), hours(1));
  node->owner().Commit(Topic::kChanges, 0, 2);
  time_.RunFor(seconds(3));
  EXPECT_EQ(log_.committed("transformer", Topic::kChanges, 0), std::nullopt);

  log_.Assign(node->member(), {0});
  time_.RunFor(seconds(3));

  EXPECT_EQ(log_.committed("transformer", Topic::kChanges, 0), 2);
}

}  // namespace
}  // namespace tributary::eventlog

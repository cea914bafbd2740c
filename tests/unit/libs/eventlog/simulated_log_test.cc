#include "libs/eventlog/testing/simulated_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary::eventlog::testing {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using ::testing::ElementsAre;

std::vector<std::string> Keys(const SimulatedLog& log, Topic topic) {
  std::vector<std::string> keys;
  for (const Record& record : log.records(topic, 0)) keys.push_back(record.key);
  return keys;
}

TEST(SimulatedLogTest, WhatADeadMemberHadUnderWayIsTakenAsAPrefixOrNotAtAll) {
  bool some_landed = false;
  bool some_were_lost = false;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    VirtualTime time;
    SimulatedLog log({}, time, seed);
    MemberDelays delays;
    delays.request = {seconds(1), seconds(1)};
    delays.late = {seconds(1), seconds(5)};
    const auto member = log.Join("g", "a", delays);
    for (const char* const key : {"1", "2", "3"}) {
      member->Produce(1, Topic::kChanges, 0, key, "v", {});
    }

    log.Kill(*member);
    log.Append(Topic::kChanges, 0, "fence", "v");
    time.RunFor(seconds(10));

    std::vector<std::string> expected = {"fence", "1", "2", "3"};
    const std::vector<std::string> keys = Keys(log, Topic::kChanges);
    expected.resize(keys.size());
    EXPECT_EQ(keys, expected);
    some_landed |= keys.size() > 1;
    some_were_lost |= keys.size() < 4;
    EXPECT_TRUE(log.quiet());
  }
  EXPECT_TRUE(some_landed);
  EXPECT_TRUE(some_were_lost);
}

TEST(SimulatedLogTest, CompactionKeepsTheNewestOfAKeyAndWaitsForItsLag) {
  VirtualTime time;
  SimulatedLog log({}, time, 1);
  log.Append(Topic::kChanges, 0, "a", "1");
  log.Append(Topic::kChanges, 0, "b", "1");
  log.Append(Topic::kChanges, 0, "a", "2");
  log.Compact(Topic::kChanges, 0);
  EXPECT_THAT(Keys(log, Topic::kChanges), ElementsAre("a", "b", "a"));

  time.RunFor(hours(1));
  log.Append(Topic::kChanges, 0, "b", "2");  // too young to remove the first b
  log.Compact(Topic::kChanges, 0);

  EXPECT_THAT(Keys(log, Topic::kChanges), ElementsAre("b", "a", "b"));
}

TEST(SimulatedLogTest, ATombstoneIsKeptForTheRetention) {
  VirtualTime time;
  SimulatedLog log({}, time, 1);
  log.Append(Topic::kChanges, 0, "a", std::nullopt);
  time.RunFor(hours(1));
  log.Compact(Topic::kChanges, 0);
  time.RunFor(hours(23));
  log.Compact(Topic::kChanges, 0);
  EXPECT_EQ(Keys(log, Topic::kChanges).size(), 1u);

  time.RunFor(hours(1));
  log.Compact(Topic::kChanges, 0);

  EXPECT_EQ(Keys(log, Topic::kChanges).size(), 0u);
  EXPECT_EQ(log.end(Topic::kChanges, 0), 1);
}

// A version of tomorrow writes its field once, and ours keeps it in what it writes again: the same
// bytes. Two of them would be another action (rule 37), which no version writes.
TEST(SimulatedLogTest, AnUnknownFieldIsAddedOnce) {
  VirtualTime time;
  SimulatedLogOptions options;
  options.adds_unknown_field = true;
  SimulatedLog log(options, time, 1);
  const auto member = log.Join("g", "a");
  member->Produce(1, Topic::kChanges, 0, "a", "v", {});
  time.RunFor(seconds(1));
  const std::string written = *log.records(Topic::kChanges, 0).at(0).value;
  EXPECT_NE(written, "v");

  member->Produce(2, Topic::kChanges, 0, "a", written, {});
  time.RunFor(seconds(1));

  EXPECT_EQ(*log.records(Topic::kChanges, 0).at(1).value, written);
}

TEST(SimulatedLogTest, AMemberThatReadsLateGetsWhatIsOldEnough) {
  VirtualTime time;
  SimulatedLog log({}, time, 1);
  const auto member = log.Join("g", "a");
  log.ReadLate(*member, Topic::kChanges, seconds(10));
  log.Append(Topic::kChanges, 0, "a", "1");
  time.RunFor(seconds(5));
  log.Append(Topic::kChanges, 0, "b", "1");
  member->StartReading(Topic::kChanges, 0, 0);
  const auto read = [&] {
    std::vector<std::string> keys;
    for (const Fact& fact : member->Poll()) {
      const auto* const fetched = std::get_if<Fetched>(&fact);
      if (fetched == nullptr) continue;
      for (const Record& record : fetched->records) keys.push_back(record.key);
    }
    return keys;
  };

  time.RunFor(seconds(4));
  EXPECT_THAT(read(), ElementsAre());
  time.RunFor(seconds(2));
  EXPECT_THAT(read(), ElementsAre("a"));
  time.RunFor(seconds(5));
  EXPECT_THAT(read(), ElementsAre("b"));
}

TEST(SimulatedLogTest, ARenewalThatIsAnsweredLateWasGrantedInTime) {
  VirtualTime time;
  SimulatedLog log({}, time, 1);
  const auto member = log.Join("g", "a");
  log.Assign(*member, {0});
  log.AnswerNextRenewalLate(*member, seconds(5), [&] { log.Evict(*member, seconds(9)); });
  const Instant sent_at = time.now().steady;

  member->RenewLease(1);
  time.RunFor(seconds(4));
  const auto answers = [&] {
    std::vector<LeaseRenewed> out;
    for (const Fact& fact : member->Poll()) {
      if (const auto* const renewed = std::get_if<LeaseRenewed>(&fact)) out.push_back(*renewed);
    }
    return out;
  };
  EXPECT_EQ(answers().size(), 0u);
  time.RunFor(seconds(2));

  const std::vector<LeaseRenewed> late = answers();
  ASSERT_EQ(late.size(), 1u);
  EXPECT_EQ(late[0].error, "");
  EXPECT_EQ(late[0].sent_at, sent_at);
}

TEST(SimulatedLogTest, GivesBackWhatWasCommittedWithAPosition) {
  VirtualTime time;
  SimulatedLog log({}, time, 1);
  const auto member = log.Join("g", "a");
  log.Assign(*member, {0});
  member->Commit(1, Topic::kEvents, 0, 4, "seen=3@17");
  time.RunFor(seconds(1));
  member->FetchCommitted(2, Topic::kEvents, 0);
  time.RunFor(seconds(1));

  std::vector<std::string> marks;
  for (const Fact& fact : member->Poll()) {
    if (const auto* const position = std::get_if<CommittedOffset>(&fact)) {
      EXPECT_EQ(position->next, 4);
      marks.push_back(position->mark);
    }
  }
  EXPECT_EQ(marks, std::vector<std::string>{"seen=3@17"});
}

TEST(SimulatedLogTest, AnEvictedMemberCanNeitherRenewNorCommit) {
  VirtualTime time;
  SimulatedLog log({}, time, 1);
  const auto member = log.Join("g", "a");
  log.Assign(*member, {0});
  log.Evict(*member, seconds(1));

  member->RenewLease(1);
  member->Commit(2, Topic::kEvents, 0, 10, "");
  time.RunFor(seconds(2));

  bool lost = false;
  for (const Fact& fact : member->Poll()) {
    if (const auto* const lease = std::get_if<LeaseRenewed>(&fact)) {
      EXPECT_NE(lease->error, "");
    }
    if (const auto* const commit = std::get_if<CommitDone>(&fact)) {
      EXPECT_NE(commit->error, "");
    }
    lost |= std::holds_alternative<Lost>(fact);
  }
  EXPECT_TRUE(lost);
  EXPECT_EQ(log.committed("g", Topic::kEvents, 0), std::nullopt);
}

}  // namespace
}  // namespace tributary::eventlog::testing

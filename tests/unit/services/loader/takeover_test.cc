#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/ids/keys.h"
#include "tests/unit/services/loader/rig.h"

// Protocol section 2: taking over.

namespace tributary::loader {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

class LoaderTakeoverTest : public testing::Test {
 protected:
  std::size_t Puts() const { return rig_.SentTo("PUT").size(); }
  /// Runs until the token is there.
  void WarmUp() {
    rig_.Start();
    rig_.Client(99, "warm", 1);
    rig_.Run(seconds(1));
  }

  /// Its action was done and has no command any more; then `records` was lost. Returns its key.
  std::string DoANoteAndStartWithoutRecords(const std::string& record) {
    // It would look once more.
    rig_.options.sweep_period = {};
    rig_.Start();
    rig_.Run(seconds(3));
    const std::string action = rig_.Note("e1", record);
    rig_.Run(seconds(3));
    EXPECT_FALSE(rig_.HasCommand(action));
    rig_.Kill();
    rig_.LoseRecordsAndFoundAnew();
    rig_.options.predecessor_is_dead = true;
    rig_.Start();
    return action;
  }

  Rig rig_;
};

TEST_F(LoaderTakeoverTest, Rule11_NothingLeavesWithoutALease) {
  rig_.Start();
  rig_.Run(seconds(2));
  bool first = true;
  rig_.wire = [&](const http::Request& request) {
    Rig::Wire wire;
    // The bytes leave long after the stage asked: by then the lease of a member that the group has
    // thrown out is over.
    if (request.method == "PUT" && first) {
      first = false;
      wire.before = seconds(60);
    }
    return wire;
  };
  rig_.Client(1, "Ada", 1);
  rig_.Run(seconds(1));
  rig_.tenant.mutable_connections(1)->set_state(v1::CONNECTION_STATE_UNLINKED);
  rig_.PublishTenant();
  rig_.Run(seconds(120));
  EXPECT_EQ(Puts(), 0U);
  EXPECT_EQ(rig_.counters().refused_at_send, 1);
}

TEST_F(LoaderTakeoverTest, Rule12_AfterAKillAnOpenIntentSettlesAndTheRestFlowsAtVPlusP) {
  WarmUp();
  rig_.Faults(R"([{"target":"rest","match":"PUT /clients/1","kind":"apply_late",)"
              R"("delay_ms":1900,"count":1}])");
  const std::string in_doubt = rig_.Client(1, "one", 1);
  rig_.Run(milliseconds(5));
  ASSERT_TRUE(rig_.Entry(in_doubt).has_intent());
  const Instant killed = rig_.time.now().steady;
  rig_.Kill();
  const std::string fine = rig_.Client(2, "two", 1);
  rig_.Client(1, "newest", 2);
  rig_.sent.clear();
  rig_.Start();
  rig_.Run(seconds(60));

  const auto two = rig_.SentTo("PUT /clients/2");
  const auto one = rig_.SentTo("PUT /clients/1");
  ASSERT_THAT(two, SizeIs(1));
  ASSERT_THAT(one, SizeIs(1));
  // V + P are 10 s + 5 s, L is 2 s.
  EXPECT_GE(two[0].at - killed, seconds(15));
  EXPECT_LT(two[0].at - killed, seconds(17));
  EXPECT_GE(one[0].at - killed, seconds(17));
  EXPECT_THAT(one[0].body, HasSubstr("newest"));
  EXPECT_EQ(rig_.Entry(in_doubt).resolved().offset(), 2);
  EXPECT_FALSE(rig_.Entry(in_doubt).in_doubt());
  EXPECT_EQ(rig_.Entry(fine).resolved().offset(), 1);
}

TEST_F(LoaderTakeoverTest, Rule14_ADeadPredecessorOnTheSameHostCostsOnlyL) {
  WarmUp();
  rig_.Faults(R"([{"target":"rest","match":"PUT","kind":"hang","count":1}])");
  rig_.Client(1, "one", 1);
  rig_.Run(milliseconds(5));
  rig_.Kill();
  const Instant killed = rig_.time.now().steady;
  rig_.sent.clear();
  rig_.options.predecessor_is_dead = true;
  rig_.Client(2, "two", 1);
  rig_.Start();
  rig_.Run(seconds(20));

  ASSERT_THAT(rig_.SentTo("PUT /clients/2"), SizeIs(1));
  ASSERT_THAT(rig_.SentTo("PUT /clients/1"), SizeIs(1));
  EXPECT_LT(rig_.SentTo("PUT /clients/2")[0].at - killed, seconds(1));
  EXPECT_GE(rig_.SentTo("PUT /clients/1")[0].at - killed, seconds(2));
}

TEST_F(LoaderTakeoverTest, Rule12_AVoidEntryMakesItsKeyInDoubtAndIsWrittenAgain) {
  rig_.Start();
  rig_.Run(seconds(1));
  const std::string key = rig_.Client(1, "one", 1);
  rig_.Run(seconds(1));
  ASSERT_EQ(rig_.Entry(key).resolved().offset(), 1);
  rig_.Kill();
  // The dead owner's own intent, or one of a still older owner, lands last.
  v1::RecordEntry late;
  late.set_id("1");
  late.mutable_intent()->mutable_version()->CopyFrom(VersionOf(2));
  rig_.AppendVoid(key, late);
  rig_.Client(1, "two", 2);
  const Instant began = rig_.time.now().steady;
  rig_.sent.clear();
  rig_.Start();
  rig_.Run(seconds(16));
  // Replaced by our own, which keeps the doubt (J12).
  EXPECT_TRUE(rig_.Entry(key).in_doubt());
  EXPECT_FALSE(rig_.Entry(key).has_resolved());
  rig_.Run(seconds(20));

  ASSERT_THAT(rig_.SentTo("PUT"), SizeIs(1));
  EXPECT_GE(rig_.SentTo("PUT")[0].at - began, seconds(17));
  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 2);
  EXPECT_FALSE(rig_.Entry(key).in_doubt());
}

// Seed 10083951: `tenants` was lost, and came back while the repairs of the take-over were written.
TEST_F(LoaderTakeoverTest, WhatIsBeingRepairedWhenItsTenantComesIsSentAfterwards) {
  constexpr int kKeys = 20;
  WarmUp();
  rig_.Kill();
  for (int i = 1; i <= kKeys; ++i) {
    rig_.AppendVoid(rig_.Client(i, "one", 1), v1::RecordEntry());
  }
  rig_.AppendRaw(eventlog::Topic::kTenants, "acme", std::nullopt);
  rig_.Start();
  bool is_published = false;
  rig_.after_fact = [&] {
    if (is_published || !rig_.ready()) return;
    is_published = true;
    rig_.PublishTenant();
  };
  // L of a target that nobody knew yet is the longest.
  rig_.Run(seconds(200));
  EXPECT_TRUE(is_published);
  // One more is of the warm-up.
  EXPECT_THAT(*rig_.Clients().array(), SizeIs(kKeys + 1));
}

// A lane that is made before its tenant is known holds its record for no target yet.
TEST_F(LoaderTakeoverTest, Rule25_WhoHoldsARecordHoldsItWhenItsTenantComes) {
  rig_.options.sweep_period = {};
  const std::string first = rig_.Contact(1, "one@x.test", "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(5));
  const std::string id = rig_.Entry(first).id();
  ASSERT_NE(id, "");
  rig_.wire = [&](const http::Request& request) {
    Rig::Wire wire;
    if (request.method == "PUT") wire.before = seconds(5);
    return wire;
  };
  rig_.Contact(1, "one@x.test", "Ada L", 2);
  rig_.Run(seconds(1));
  ASSERT_TRUE(rig_.Entry(first).has_intent());
  rig_.Kill();
  rig_.wire = nullptr;
  rig_.AppendRaw(eventlog::Topic::kTenants, "acme", std::nullopt);
  rig_.Start();
  rig_.Run(seconds(60));
  ASSERT_TRUE(rig_.ready());
  rig_.PublishTenant();
  // L of a target that nobody knew is the longest, so it is still in doubt.
  const std::string second = rig_.Contact(2, "one@x.test", "Eve", 1);
  rig_.Run(seconds(10));

  EXPECT_EQ(rig_.Entry(second).reason(), v1::REASON_IDENTITY_CONFLICT);
  EXPECT_THAT(rig_.Entry(second).detail(), HasSubstr(first));
  rig_.HandOverAndBack([] {});
  rig_.Run(seconds(200));
  EXPECT_EQ(rig_.Entry(first).resolved().offset(), 2);
  EXPECT_EQ(rig_.Entry(first).id(), id);
}

TEST_F(LoaderTakeoverTest, WhatWaitsAtATakeOverIsCountedOnceAlsoUnderAVoidEntry) {
  WarmUp();
  rig_.Kill();
  rig_.changed_at = rig_.time.now().wall;
  const std::string key = rig_.Client(1, "one", 1);
  rig_.AppendVoid(key, v1::RecordEntry());
  rig_.Start();
  rig_.Run(seconds(16));
  EXPECT_EQ(rig_.StatusOf("crm").pending(), 1);
  EXPECT_GE(std::stoi(rig_.StatusOf("crm").freshness_seconds()), 15);

  rig_.Run(seconds(60));
  ASSERT_EQ(rig_.Entry(key).resolved().offset(), 1);
  EXPECT_EQ(rig_.StatusOf("crm").pending(), 0);
  EXPECT_EQ(rig_.StatusOf("crm").freshness_seconds(), "0");
}

TEST_F(LoaderTakeoverTest, ABacklogThatDoesNotFitIsFoundFromItsFirstKeyOn) {
  rig_.options.ready_keys_max = 2;
  rig_.is_backfill = true;
  rig_.Start();
  for (int i = 10; i < 20; ++i) rig_.Client(i, "before", 1);
  rig_.Run(seconds(5));
  ASSERT_EQ(Puts(), 10U);
  rig_.HandOver();
  std::vector<std::string> keys;
  for (int i = 15; i < 25; ++i) keys.push_back(rig_.Client(i, "behind", 2));
  rig_.sent.clear();
  rig_.Start();
  rig_.Run(seconds(10));

  EXPECT_EQ(Puts(), 10U);
  for (const std::string& key : keys) EXPECT_EQ(rig_.Entry(key).resolved().offset(), 2) << key;
}

TEST_F(LoaderTakeoverTest, Rule4_AVoidEntryBehindOurFenceIsCoveredByOursAgain) {
  rig_.Start();
  const std::string key = rig_.Client(1, "one", 1);
  rig_.Run(seconds(1));
  v1::RecordEntry late;
  late.set_id("1");
  rig_.AppendVoid(key, late);
  rig_.Run(seconds(5));
  const v1::RecordEntry entry = rig_.Entry(key);
  // What it was is not known any more; unknown is in doubt, and after L it is written once.
  EXPECT_EQ(entry.resolved().offset(), 1);
  EXPECT_FALSE(entry.in_doubt());
  EXPECT_EQ(Puts(), 2U);
}

TEST_F(LoaderTakeoverTest, Rule4_AVoidEntryThatIsReadBeforeTheAcknowledgementInFrontOfItIsCovered) {
  rig_.Start();
  rig_.Run(seconds(1));
  std::string key;
  rig_.withholds = [&](const eventlog::Fact& fact) {
    const bool is_acknowledgement = std::holds_alternative<eventlog::Produced>(fact);
    return is_acknowledgement && !key.empty() && rig_.Entry(key).resolved().offset() == 1;
  };
  key = rig_.Client(1, "one", 1);
  rig_.Run(seconds(1));
  ASSERT_EQ(rig_.Entry(key).resolved().offset(), 1);
  v1::RecordEntry late;
  late.set_id("1");
  rig_.AppendVoid(key, late);
  rig_.Run(seconds(1));
  ASSERT_FALSE(rig_.Entry(key).has_resolved());

  rig_.TellWithheld();
  rig_.Run(seconds(5));
  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 1);
  EXPECT_EQ(Puts(), 1U);
}

// A timer of what waited before the hand-over ends while tables are being read.
TEST_F(LoaderTakeoverTest, WhatIsHalfReadIsNotBelievedWhenThePartitionComesBack) {
  rig_.Start();
  rig_.Contact(1, "a@example.com", "one", 1);
  rig_.Run(seconds(5));
  rig_.HandOver();
  rig_.Start();
  rig_.Run(milliseconds(100));
  rig_.sent.clear();
  // It waits until look-ups see what was made before the take-over.
  rig_.Contact(2, "b@example.com", "old", 1);
  rig_.Run(milliseconds(100));
  ASSERT_THAT(rig_.Writes(), SizeIs(0));
  rig_.ticks_are_withheld = true;
  rig_.Run(minutes(2));

  rig_.HandOverAndBack([&] {
    rig_.Contact(2, "b@example.com", "new", 2);
    rig_.after_fact = [&] { rig_.stage().OnTick(rig_.time.now()); };
  });
  rig_.ticks_are_withheld = false;
  rig_.Run(minutes(5));

  ASSERT_FALSE(rig_.Writes().empty());
  for (const Rig::Sent& write : rig_.Writes()) {
    EXPECT_THAT(write.body, Not(HasSubstr("old"))) << write.path;
  }
}

TEST_F(LoaderTakeoverTest, Rule13_ACleanReleaseClosesItsIntentsAndTheSuccessorDoesNotWait) {
  rig_.Start();
  const std::string key = rig_.Client(1, "one", 1);
  rig_.Run(seconds(1));
  rig_.HandOver();
  EXPECT_FALSE(rig_.Entry(key).has_intent());
  rig_.Client(1, "two", 2);
  rig_.sent.clear();
  const Instant began = rig_.time.now().steady;
  rig_.Start();
  rig_.Run(seconds(5));
  ASSERT_EQ(Puts(), 1U);
  EXPECT_LT(rig_.SentTo("PUT")[0].at - began, seconds(1));
}

TEST_F(LoaderTakeoverTest, Rule13_ARequestThatIsOpenAtTheReleaseIsAbortedAndStaysInDoubt) {
  (*rig_.tenant.mutable_connections(1)->mutable_settings())["settle"] = "10s";
  rig_.options.request_timeout = seconds(9);
  rig_.PublishTenant();
  WarmUp();
  rig_.sent.clear();
  rig_.Faults(R"([{"target":"rest","match":"PUT","kind":"hang_after_apply","count":1}])");
  const std::string key = rig_.Client(1, "one", 1);
  rig_.Run(milliseconds(100));
  ASSERT_EQ(Puts(), 1U);
  const Instant sent = rig_.SentTo("PUT")[0].at;
  rig_.HandOver();
  EXPECT_LT(rig_.time.now().steady - sent, seconds(4));
  EXPECT_TRUE(rig_.Entry(key).has_intent());

  rig_.sent.clear();
  const Instant began = rig_.time.now().steady;
  rig_.Start();
  rig_.Run(seconds(30));
  ASSERT_EQ(Puts(), 1U);
  EXPECT_GE(rig_.SentTo("PUT")[0].at - began, seconds(10));
  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 1);
}

// J07 to J09: nobody knows what was under way, so everything that is not resolved settles.
TEST_F(LoaderTakeoverTest, Rule12_AfterALostRecordsEveryKeyWithSomethingToDoSettles) {
  WarmUp();
  rig_.Faults(R"([{"target":"rest","match":"PUT /clients/1","kind":"apply_late",)"
              R"("delay_ms":1900,"count":1}])");
  const std::string sent = rig_.Client(1, "one", 1);
  rig_.Run(milliseconds(5));
  ASSERT_TRUE(rig_.Entry(sent).has_intent());
  rig_.Kill();
  rig_.LoseRecordsAndFoundAnew();
  rig_.Client(1, "newest", 2);
  const std::string waiting = rig_.Client(2, "two", 1);
  const Instant killed = rig_.time.now().steady;
  rig_.sent.clear();
  rig_.options.predecessor_is_dead = true;
  rig_.Start();
  rig_.Run(milliseconds(500));
  // Read only now, but it may have been sent when it was another version.
  const std::string late = rig_.Client(3, "three", 1);
  rig_.Run(seconds(20));

  for (const std::string client : {"1", "2", "3"}) {
    const auto puts = rig_.SentTo("PUT /clients/" + client);
    ASSERT_THAT(puts, SizeIs(1)) << client;
    EXPECT_GE(puts[0].at - killed, seconds(2)) << client;
    EXPECT_LT(puts[0].at - killed, seconds(4)) << client;
  }
  EXPECT_THAT(rig_.SentTo("PUT /clients/1")[0].body, HasSubstr("newest"));
  for (const std::string& key : {sent, waiting, late}) {
    EXPECT_TRUE(rig_.Entry(key).has_resolved()) << key;
    EXPECT_FALSE(rig_.Entry(key).in_doubt()) << key;
  }
}

// K0A, K2B.
TEST_F(LoaderTakeoverTest, Rule12_AfterALostRecordsACreateIsLookedUpOnlyWhenItCanBeSeen) {
  rig_.Start();
  rig_.Run(seconds(3));
  rig_.Faults(R"([{"target":"highlevel","match":"POST /contacts/upsert","kind":"apply_late",)"
              R"("delay_ms":1900,"count":1}])");
  const std::string key = rig_.Contact(1, "", "Ada", 1);
  rig_.Run(milliseconds(500));
  ASSERT_THAT(rig_.SentTo("POST /contacts/upsert"), SizeIs(1));
  rig_.Kill();
  rig_.LoseRecordsAndFoundAnew();
  const Instant killed = rig_.time.now().steady;
  rig_.sent.clear();
  rig_.options.predecessor_is_dead = true;
  rig_.Start();
  rig_.Run(seconds(30));

  EXPECT_THAT(*rig_.Contacts().array(), SizeIs(1));
  ASSERT_FALSE(rig_.SentTo("POST /contacts/search").empty());
  // L, then S.
  EXPECT_GE(rig_.SentTo("POST /contacts/search")[0].at - killed, seconds(3));
  EXPECT_THAT(rig_.SentTo("POST /contacts/upsert"), SizeIs(0));
  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 1);
}

TEST_F(LoaderTakeoverTest, Rule12_AfterALostRecordsAnOpenActionIsLookedUpNotRepeated) {
  // It would look once more.
  rig_.options.sweep_period = {};
  const std::string record = rig_.Client(1, "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(3));
  rig_.Faults(R"([{"target":"rest","match":"POST /clients/1/notes","kind":"apply_late",)"
              R"("delay_ms":1900,"count":1}])");
  const std::string action = rig_.Note("e1", record);
  rig_.Run(milliseconds(100));
  ASSERT_THAT(rig_.SentTo("POST /clients/1/notes"), SizeIs(1));
  rig_.Kill();
  rig_.LoseRecordsAndFoundAnew();
  rig_.options.predecessor_is_dead = true;
  rig_.Start();
  rig_.Run(milliseconds(300));
  // Its doubt outlives this owner: the next one may not take it for new.
  EXPECT_TRUE(rig_.Entry(action).in_doubt());
  rig_.Run(seconds(30));

  EXPECT_THAT(rig_.SentTo("POST /clients/1/notes"), SizeIs(1));
  EXPECT_THAT(rig_.SentTo("GET /clients/1/notes"), SizeIs(1));
  EXPECT_EQ(rig_.Entry(action).outcome(), v1::OUTCOME_APPLIED);
  EXPECT_FALSE(rig_.HasCommand(action));
}

// Seed 2132 of the simulation: the loss makes a new generation, so the events are read again.
TEST_F(LoaderTakeoverTest, Rule12_AfterALostRecordsAnActionThatComesAgainIsLookedUpNotRepeated) {
  const std::string record = rig_.Client(1, "Ada", 1);
  const std::string action = DoANoteAndStartWithoutRecords(record);
  // By a clock that is behind the source's by so much it occurs after the loss (seed 3009382).
  rig_.Run(minutes(3));
  rig_.Note("e1", record);
  rig_.Run(seconds(30));

  EXPECT_THAT(rig_.SentTo("POST /clients/1/notes"), SizeIs(1));
  EXPECT_THAT(rig_.SentTo("GET /clients/1/notes"), SizeIs(1));
  EXPECT_EQ(rig_.Entry(action).outcome(), v1::OUTCOME_APPLIED);
  EXPECT_FALSE(rig_.HasCommand(action));
}

// Seed 3021721 of the simulation: nobody owned it when the action came again.
TEST_F(LoaderTakeoverTest, Rule12_AfterALostRecordsWhatComesBehindACleanReleaseIsLookedUpToo) {
  const std::string record = rig_.Client(1, "Ada", 1);
  const std::string action = DoANoteAndStartWithoutRecords(record);
  rig_.Run(seconds(30));
  rig_.HandOver();
  rig_.Note("e1", record);
  // Long after the loss: of an event of its own, so it is new.
  rig_.Run(minutes(20));
  const std::string later = rig_.Note("e2", record);
  rig_.Start();
  rig_.Run(seconds(30));

  EXPECT_THAT(rig_.SentTo("POST /clients/1/notes"), SizeIs(2));
  EXPECT_THAT(rig_.SentTo("GET /clients/1/notes"), SizeIs(1));
  EXPECT_EQ(rig_.Entry(action).outcome(), v1::OUTCOME_APPLIED);
  EXPECT_EQ(rig_.Entry(later).outcome(), v1::OUTCOME_APPLIED);
  EXPECT_FALSE(rig_.HasCommand(action));
}

TEST_F(LoaderTakeoverTest, Rule12_AnOwnerThatDiesWithinLAfterALossLeavesTheDoubtToTheNext) {
  WarmUp();
  rig_.Kill();
  rig_.LoseRecordsAndFoundAnew();
  rig_.Client(1, "one", 1);
  rig_.sent.clear();
  rig_.options.predecessor_is_dead = true;
  rig_.Start();
  rig_.Run(milliseconds(1500));
  rig_.Kill();
  const Instant killed = rig_.time.now().steady;
  rig_.Start();
  rig_.Run(seconds(20));
  ASSERT_THAT(rig_.SentTo("PUT /clients/1"), SizeIs(1));
  EXPECT_GE(rig_.SentTo("PUT /clients/1")[0].at - killed, seconds(2));
}

TEST_F(LoaderTakeoverTest, Rule23_LosingEveryLocalCopyLosesNothingAndRepeatsNothing) {
  WarmUp();
  const std::string done = rig_.Client(1, "one", 1);
  rig_.Run(seconds(1));
  ASSERT_EQ(rig_.Entry(done).resolved().offset(), 1);
  rig_.HandOver();
  rig_.LoseDisk();
  const std::string waiting = rig_.Client(2, "two", 1);
  rig_.sent.clear();
  rig_.Start();
  rig_.Run(seconds(5));

  EXPECT_THAT(rig_.SentTo("PUT /clients/1"), SizeIs(0));
  EXPECT_THAT(rig_.SentTo("PUT /clients/2"), SizeIs(1));
  EXPECT_EQ(rig_.Entry(waiting).resolved().offset(), 1);
}

TEST_F(LoaderTakeoverTest, KilledTwiceInARowWithinLNothingIsLostOrDoubled) {
  rig_.Start();
  rig_.Run(seconds(1));
  for (int i = 1; i <= 20; ++i) rig_.Contact(i, "", "n" + std::to_string(i), 1);
  rig_.Run(milliseconds(20));
  rig_.Kill();
  rig_.Start();
  rig_.Run(seconds(16));
  rig_.Kill();
  rig_.Start();
  rig_.Run(seconds(120));
  EXPECT_THAT(*rig_.Contacts().array(), SizeIs(20));
  for (int i = 1; i <= 20; ++i) {
    const std::string key = ids::StateKey("acme", "hl", "contact", "customers", std::to_string(i));
    EXPECT_EQ(rig_.Entry(key).resolved().offset(), 1) << key;
  }
}

}  // namespace
}  // namespace tributary::loader

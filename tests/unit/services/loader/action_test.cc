#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/ids/keys.h"
#include "tests/unit/services/loader/rig.h"

// Protocol section 4: actions.

namespace tributary::loader {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::SizeIs;

class LoaderActionTest : public testing::Test {
 protected:
  std::size_t Notes() const {
    const absl::StatusOr<json::Value> records = json::Parse(rig_.world.Records());
    const json::Value* notes = records->FindPath("rest.notes");
    return notes == nullptr || notes->array() == nullptr ? 0 : notes->array()->size();
  }

  /// A note at a client of ours, done, and its command ended. Its key.
  std::string DoAction() {
    const std::string record = rig_.Client(1, "Ada", 1);
    rig_.Start();
    rig_.Run(seconds(3));
    const std::string action = rig_.Note("e1", record);
    rig_.Run(seconds(3));
    EXPECT_TRUE(rig_.Entries(action).front().has_intent());
    EXPECT_TRUE(rig_.Entries(action).back().final());
    EXPECT_FALSE(rig_.HasCommand(action));
    return action;
  }
  void SetSync(v1::SyncState state) {
    rig_.tenant.mutable_syncs(1)->set_state(state);
    rig_.PublishTenant();
  }

  Rig rig_;
};

TEST_F(LoaderActionTest, Rule29_AnActionWaitsForItsRecordThenIsDoneAndItsCommandGoes) {
  const std::string record = ids::StateKey("acme", "crm", "client", "customers", "1");
  const std::string action = rig_.Note("e1", record);
  rig_.Start();
  rig_.Run(seconds(2));
  EXPECT_THAT(rig_.SentTo("/notes"), SizeIs(0));
  EXPECT_TRUE(rig_.HasCommand(action));

  rig_.Client(1, "Ada", 1);
  rig_.Run(seconds(2));
  EXPECT_EQ(Notes(), 1U);
  EXPECT_TRUE(rig_.Entry(action).final());
  EXPECT_EQ(rig_.Entry(action).outcome(), v1::OUTCOME_APPLIED);
  EXPECT_FALSE(rig_.HasCommand(action));
  const std::vector<v1::RecordEntry> entries = rig_.Entries(action);
  ASSERT_THAT(entries, SizeIs(2));
  EXPECT_TRUE(entries[0].has_intent());
}

TEST_F(LoaderActionTest, Rule28_TheSameActionEmittedAgainIsNotDoneAgain) {
  const std::string record = rig_.Client(1, "Ada", 1);
  rig_.Start();
  const std::string action = rig_.Note("e1", record);
  rig_.Run(seconds(2));
  ASSERT_EQ(Notes(), 1U);
  rig_.Note("e1", record);
  rig_.Run(seconds(2));
  EXPECT_EQ(Notes(), 1U);
  // Its tombstone comes again, too.
  EXPECT_THAT(rig_.SentTo("POST /clients/1/notes"), SizeIs(1));
}

TEST_F(LoaderActionTest, Rule30_AnUnknownCallIsLookedUpByItsMarkerAndFound) {
  // It would look once more.
  rig_.options.sweep_period = {};
  const std::string record = rig_.Client(1, "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(1));
  rig_.Faults(R"([{"target":"rest","match":"POST /clients/1/notes","kind":"apply_late",)"
              R"("delay_ms":1500,"count":1}])");
  const std::string action = rig_.Note("e1", record);
  rig_.Run(seconds(20));

  EXPECT_EQ(Notes(), 1U);
  EXPECT_EQ(rig_.Entry(action).outcome(), v1::OUTCOME_APPLIED);
  const auto calls = rig_.SentTo("POST /clients/1/notes");
  const auto lookups = rig_.SentTo("GET /clients/1/notes");
  ASSERT_THAT(calls, SizeIs(1));
  ASSERT_THAT(lookups, SizeIs(1));
  // L, then S.
  EXPECT_GE(lookups[0].at - calls[0].at, seconds(3));
}

TEST_F(LoaderActionTest, Rule30_AnUnknownCallThatIsNotFoundIsRepeated) {
  const std::string record = rig_.Client(1, "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(1));
  rig_.Faults(
      R"([{"target":"rest","match":"POST /clients/1/notes","kind":"reset_before","count":1}])");
  rig_.Note("e1", record);
  rig_.Run(seconds(20));
  EXPECT_EQ(Notes(), 1U);
  EXPECT_THAT(rig_.SentTo("POST /clients/1/notes"), SizeIs(2));
}

TEST_F(LoaderActionTest, Rule30_AfterAKillBetweenCallAndDoneItIsFoundNotRepeated) {
  const std::string record = rig_.Contact(1, "a@x.test", "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(3));
  rig_.Faults(R"([{"target":"highlevel","match":"/notes","kind":"hang_after_apply","count":1}])");
  const std::string action = rig_.Note("e1", record);
  rig_.Run(milliseconds(100));
  ASSERT_TRUE(rig_.Entry(action).has_intent());
  rig_.Kill();
  rig_.Start();
  rig_.Run(seconds(60));
  EXPECT_EQ(rig_.Entry(action).outcome(), v1::OUTCOME_APPLIED);
  EXPECT_THAT(rig_.Entry(action).detail(), HasSubstr("found"));
  EXPECT_THAT(rig_.SentTo("POST /contacts/" + rig_.Entry(record).id() + "/notes"), SizeIs(1));
}

// Seed 39 of the simulation: it was given up as unknown in the moment in which its record had no
// id.
TEST_F(LoaderActionTest, Rule30_AnActionInDoubtWaitsForItsRecordThatIsInDoubtToo) {
  const std::string record = rig_.Client(1, "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(3));
  rig_.Faults(R"([{"target":"rest","match":"/notes","kind":"hang_after_apply","count":1}])");
  const std::string action = rig_.Note("e1", record);
  rig_.Run(milliseconds(100));
  ASSERT_TRUE(rig_.Entry(action).has_intent());
  rig_.Kill();
  rig_.Start();
  rig_.Run(milliseconds(100));
  // The dead owner's last word about the record lands behind the new fence.
  rig_.AppendVoid(record, v1::RecordEntry());
  rig_.Run(seconds(60));

  EXPECT_EQ(rig_.Entry(action).outcome(), v1::OUTCOME_APPLIED);
  EXPECT_THAT(rig_.Entry(action).detail(), HasSubstr("found"));
  EXPECT_THAT(rig_.SentTo("POST /clients/1/notes"), SizeIs(1));
  EXPECT_FALSE(rig_.HasCommand(action));
}

// Seed 11832 of the simulation: while it was looked up its record became unknown, and it was parked
// for a mapping that is right.
TEST_F(LoaderActionTest, Rule30_ARecordThatBecomesUnknownDuringTheLookUpIsWaitedFor) {
  const std::string record = rig_.Client(1, "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(3));
  rig_.Faults(
      R"([{"target":"rest","match":"POST /clients/1/notes","kind":"reset_before","count":1}])");
  bool is_unknown = false;
  rig_.wire = [&](const http::Request& request) {
    if (request.method == "GET" && !is_unknown) {
      is_unknown = true;
      rig_.AppendVoid(record, v1::RecordEntry());
      // So that it is read before the answer comes.
      return Rig::Wire{.before = milliseconds(500)};
    }
    return Rig::Wire{};
  };
  const std::string action = rig_.Note("e1", record);
  rig_.Run(seconds(60));

  ASSERT_TRUE(is_unknown);
  EXPECT_EQ(rig_.Entry(action).outcome(), v1::OUTCOME_APPLIED) << rig_.Entry(action).detail();
  EXPECT_EQ(Notes(), 1U);
  EXPECT_FALSE(rig_.HasCommand(action));
}

// Seed 54 of the simulation: the action was done and its command ended by the next owner, and an
// intent that the one before still wrote is the last entry of its key.
TEST_F(LoaderActionTest, Rule30_AnEndThatADeadOwnersIntentCoversIsFoundAgain) {
  const std::string action = DoAction();
  const std::vector<v1::RecordEntry> entries = rig_.Entries(action);
  rig_.Kill();
  rig_.AppendVoid(action, entries.front());
  rig_.Start();
  rig_.Run(seconds(60));

  EXPECT_TRUE(rig_.Entry(action).final());
  EXPECT_FALSE(rig_.Entry(action).has_intent());
  EXPECT_EQ(rig_.Entry(action).outcome(), v1::OUTCOME_APPLIED);
  EXPECT_THAT(rig_.SentTo("POST /clients/1/notes"), SizeIs(1));
}

// Seed 805 of the simulation: the same while the next owner is at work, and the one before closes
// its intent, because its lease is over: no entry says any more what the action was. But the owner
// has read the end.
TEST_F(LoaderActionTest, Rule4_AnEndThatWasReadIsWrittenAgainWhateverCoversIt) {
  const std::string action = DoAction();
  const std::vector<v1::RecordEntry> entries = rig_.Entries(action);
  v1::RecordEntry closed = entries.front();
  closed.clear_intent();
  for (int i = 0; i < 2; ++i) {
    rig_.AppendVoid(action, entries.front());
    rig_.AppendVoid(action, closed);
    rig_.Run(seconds(5));

    EXPECT_EQ(rig_.Entry(action).SerializeAsString(), entries.back().SerializeAsString());
  }
  rig_.Run(seconds(60));
  EXPECT_EQ(rig_.Entry(action).SerializeAsString(), entries.back().SerializeAsString());
  EXPECT_THAT(rig_.SentTo("POST /clients/1/notes"), SizeIs(1));
}

// Its command may be gone when this entry of a dead owner is all that is left of the action.
TEST_F(LoaderActionTest, Rule28_AnEntryThatClosesAnIntentWithoutAnEndSaysWhatTheActionWas) {
  const std::string record = rig_.Client(1, "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(3));
  rig_.wire = [](const http::Request& request) {
    Rig::Wire out;
    if (request.method == "POST" && request.url.ends_with("/notes")) {
      out.answer = simulator::Answer{.status = 401};
    }
    return out;
  };
  const std::string action = rig_.Note("e1", record);
  rig_.Run(seconds(3));

  const std::vector<v1::RecordEntry> entries = rig_.Entries(action);
  ASSERT_TRUE(entries.front().has_intent());
  ASSERT_FALSE(entries[1].has_intent());
  ASSERT_FALSE(entries[1].final());
  EXPECT_EQ(entries[1].action_command(), entries.front().intent().action_command());
}

// As in seed 805, and a third owner takes over before the end was written again: end, intent and
// the command are gone, and the entry that closed the intent is all that is left.
TEST_F(LoaderActionTest, Rule30_AnEndThatADeadOwnersClosedIntentCoversIsFoundAgain) {
  const std::string action = DoAction();
  const std::vector<v1::RecordEntry> entries = rig_.Entries(action);
  rig_.Kill();
  v1::RecordEntry closed = entries.front();
  closed.set_action_command(closed.intent().action_command());
  closed.clear_intent();
  rig_.AppendVoid(action, entries.front());
  rig_.AppendVoid(action, closed);
  rig_.Start();
  rig_.Run(seconds(180));

  EXPECT_TRUE(rig_.Entry(action).final());
  EXPECT_EQ(rig_.Entry(action).outcome(), v1::OUTCOME_APPLIED);
  EXPECT_EQ(rig_.Entry(action).action_command(), "");
  EXPECT_THAT(rig_.SentTo("POST /clients/1/notes"), SizeIs(1));
}

// Seed 3010720 of the simulation: its sync is away when it could be looked up, and no scan finds an
// action without a command.
TEST_F(LoaderActionTest, Rule30_AnEndThatADeadOwnersIntentCoversIsFoundWhenItsSyncGoesOn) {
  const std::string action = DoAction();
  const std::vector<v1::RecordEntry> entries = rig_.Entries(action);
  rig_.Kill();
  rig_.AppendVoid(action, entries.front());
  SetSync(v1::SYNC_STATE_PAUSED);
  rig_.Start();
  rig_.Run(seconds(180));
  ASSERT_FALSE(rig_.Entry(action).final());

  SetSync(v1::SYNC_STATE_ACTIVE);
  rig_.Run(seconds(180));

  EXPECT_TRUE(rig_.Entry(action).final());
  EXPECT_EQ(rig_.Entry(action).outcome(), v1::OUTCOME_APPLIED);
  EXPECT_THAT(rig_.SentTo("POST /clients/1/notes"), SizeIs(1));
}

// Seed 10662 of the simulation: the same, and what covers the end is an end.
TEST_F(LoaderActionTest, Rule31_AnEndThatADeadOwnersEndCoversStaysOne) {
  const std::string record = rig_.Client(1, "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(3));
  const std::string action = rig_.Note("e1", record);
  rig_.Run(seconds(3));
  ASSERT_TRUE(rig_.Entry(action).final());
  ASSERT_FALSE(rig_.HasCommand(action));
  rig_.Kill();
  rig_.AppendVoid(action, rig_.Entry(action));
  rig_.Start();
  rig_.Run(seconds(60));

  EXPECT_TRUE(rig_.Entry(action).final());
  EXPECT_FALSE(rig_.Entry(action).in_doubt());
  EXPECT_EQ(rig_.Entry(action).outcome(), v1::OUTCOME_APPLIED);
  EXPECT_THAT(rig_.SentTo("POST /clients/1/notes"), SizeIs(1));
}

// Seed 7067535 of the simulation: `commands` was lost, and its sync was away when events were read
// again.
TEST_F(LoaderActionTest, Rule31_OneThatWasRefusedAndWhoseCommandIsGoneIsDoneWhenItsSyncGoesOn) {
  const std::string record = rig_.Client(1, "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(3));
  rig_.Faults(R"([{"target":"rest","match":"POST /clients/1/notes","kind":"throttle",)"
              R"("count":1,"retry_after":60}])");
  const std::string action = rig_.Note("e1", record);
  rig_.Run(seconds(3));
  ASSERT_EQ(rig_.Entry(action).sends(), 1);
  ASSERT_FALSE(rig_.Entry(action).in_doubt());
  ASSERT_FALSE(rig_.Entry(action).has_intent());
  rig_.Kill();
  rig_.log.Append(eventlog::Topic::kCommands, 0, action, std::nullopt);
  SetSync(v1::SYNC_STATE_PAUSED);
  rig_.Start();
  rig_.Run(seconds(180));
  ASSERT_FALSE(rig_.Entry(action).final());

  SetSync(v1::SYNC_STATE_ACTIVE);
  rig_.Run(seconds(60));

  EXPECT_TRUE(rig_.Entry(action).final());
  EXPECT_EQ(rig_.Entry(action).outcome(), v1::OUTCOME_APPLIED);
  EXPECT_THAT(rig_.SentTo("POST /clients/1/notes"), SizeIs(2));
  EXPECT_EQ(rig_.Entry(action).action_command(), "");
}

TEST_F(LoaderActionTest, Rule31_AnOldActionIsDroppedInSightAlsoWhileItWaits) {
  const std::string record = ids::StateKey("acme", "crm", "client", "customers", "1");
  const std::string old = rig_.Note("old", record, 40);
  rig_.Start();
  rig_.Run(seconds(1));
  EXPECT_FALSE(rig_.Entry(old).final());
  // Age counts against the newest event of the tenant.
  rig_.Note("new", record);
  rig_.Note("old", record, 40);
  rig_.Run(seconds(1));
  EXPECT_TRUE(rig_.Entry(old).final());
  EXPECT_EQ(rig_.Entry(old).outcome(), v1::OUTCOME_DROPPED);
  EXPECT_EQ(rig_.Entry(old).reason(), v1::REASON_TOO_OLD);
  EXPECT_FALSE(rig_.HasCommand(old));
}

TEST_F(LoaderActionTest, Rule31_AStepWaitsForTheFinalOutcomeOfTheOneBefore) {
  const std::string record = rig_.Client(1, "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(1));
  rig_.Faults(R"([{"target":"rest","match":"POST /clients/1/notes","kind":"apply_late",)"
              R"("delay_ms":1500,"count":1}])");
  const std::string first = rig_.Note("e1", record);
  const std::string second = rig_.Note("e2", record, 0, first);
  rig_.Run(seconds(2));
  EXPECT_THAT(rig_.SentTo("POST /clients/1/notes"), SizeIs(1));
  rig_.Run(seconds(20));
  EXPECT_EQ(Notes(), 2U);
  EXPECT_TRUE(rig_.Entry(second).final());
}

TEST_F(LoaderActionTest, ARefusedActionIsParkedAndItsOutcomeIsFinal) {
  const std::string record = rig_.Client(1, "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(1));
  rig_.Faults(R"([{"target":"rest","match":"/notes","kind":"status","status":422,"count":1}])");
  const std::string action = rig_.Note("e1", record);
  rig_.Run(seconds(1));
  EXPECT_EQ(rig_.Entry(action).status(), v1::RecordEntry::STATUS_PARKED);
  EXPECT_EQ(rig_.Entry(action).outcome(), v1::OUTCOME_PARKED);
  EXPECT_TRUE(rig_.HasCommand(action));
  // Rule 28: done again it is another attempt, under a key of its own.
  EXPECT_THAT(rig_.Decide(action, true), HasSubstr("new attempt"));
  EXPECT_EQ(rig_.Decide(action, false), "");
  rig_.Run(seconds(1));
  EXPECT_EQ(Notes(), 0U);
  EXPECT_EQ(rig_.Entry(action).outcome(), v1::OUTCOME_DROPPED);
  EXPECT_FALSE(rig_.HasCommand(action));
}

TEST_F(LoaderActionTest, Rule30_AnActionOfUnknownOutcomeKeepsItsCommandUntilAPersonDropsIt) {
  const std::string record = rig_.Client(1, "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(1));
  rig_.Faults(R"([{"target":"rest","match":"POST /clients/1/notes","kind":"apply_late",)"
              R"("delay_ms":1500,"count":1},)"
              R"({"target":"rest","match":"GET /clients/1/notes","kind":"status","status":422}])");
  const std::string action = rig_.Note("e1", record);
  rig_.Run(seconds(60));
  ASSERT_EQ(rig_.Entry(action).outcome(), v1::OUTCOME_UNKNOWN);
  EXPECT_EQ(rig_.Entry(action).status(), v1::RecordEntry::STATUS_PARKED);
  EXPECT_TRUE(rig_.HasCommand(action)) << "a person may have it done again";
  EXPECT_THAT(rig_.SentTo("POST /clients/1/notes"), SizeIs(1));

  EXPECT_EQ(rig_.Decide(action, false), "");
  rig_.Run(seconds(1));
  EXPECT_EQ(rig_.Entry(action).outcome(), v1::OUTCOME_UNKNOWN) << "it may have been done";
  EXPECT_NE(rig_.Entry(action).status(), v1::RecordEntry::STATUS_PARKED);
  EXPECT_FALSE(rig_.HasCommand(action));
}

// Seed 9102048 of the simulation: `records` was lost, and the record was withdrawn.
TEST_F(LoaderActionTest, Rule12_OneThatCannotBeLookedUpStaysInDoubtForL) {
  const std::string record = rig_.Client(1, "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(3));
  rig_.Faults(R"([{"target":"rest","match":"POST /clients/1/notes","kind":"hang","count":1}])");
  const std::string action = rig_.Note("e1", record);
  rig_.Run(milliseconds(500));
  rig_.Kill();
  rig_.LoseRecordsAndFoundAnew();
  rig_.State(record, v1::DesiredState::PRESENCE_WITHDRAWN, 2);
  rig_.Start();
  while (!rig_.ready()) rig_.Run(milliseconds(100));

  rig_.Run(milliseconds(500));
  EXPECT_FALSE(rig_.Entry(action).final());
  EXPECT_TRUE(rig_.Entry(action).in_doubt());
  rig_.Run(seconds(180));
  EXPECT_EQ(rig_.Entry(action).outcome(), v1::OUTCOME_UNKNOWN);
}

TEST_F(LoaderActionTest, AnActionOfAParkedRecordIsParkedAndFreedWithIt) {
  rig_.Faults(R"([{"target":"rest","match":"PUT","kind":"status","status":422,"count":1}])");
  const std::string record = rig_.Client(1, "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(1));
  const std::string action = rig_.Note("e1", record);
  rig_.Run(seconds(1));
  EXPECT_EQ(rig_.Entry(action).reason(), v1::REASON_RECORD);
  rig_.Client(1, "Ada L", 2);
  rig_.Run(seconds(2));
  EXPECT_EQ(Notes(), 1U);
}

TEST_F(LoaderActionTest, AnOperationThatIsNotDescribedIsParked) {
  const std::string record = rig_.Client(1, "Ada", 1);
  v1::Command command;
  command.mutable_action()->set_action_id(std::string(32, 'a'));
  command.mutable_action()->set_operation("client.enrol");
  command.mutable_action()->set_record_key(record);
  const std::string action =
      rig_.Command(ids::ActionKey("acme", "crm", std::string(32, 'a')), command);
  rig_.Start();
  rig_.Run(seconds(2));
  EXPECT_EQ(rig_.Entry(action).reason(), v1::REASON_UNSUPPORTED);
}

}  // namespace
}  // namespace tributary::loader

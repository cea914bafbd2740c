#include "libs/verify/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/eventlog/table.h"
#include "libs/ids/keys.h"
#include "tributary/v1/changes.pb.h"
#include "tributary/v1/commands.pb.h"
#include "tributary/v1/log.pb.h"
#include "tributary/v1/records.pb.h"
#include "tributary/v1/tenants.pb.h"

namespace tributary::verify {
namespace {

using eventlog::Offset;
using eventlog::Topic;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::int32_t kPartitions = 4;
constexpr std::int64_t kGeneration = 7;

// A log in vectors, written as the services would.
class VerifyTest : public ::testing::Test {
 protected:
  VerifyTest() {
    for (const Topic topic : eventlog::kAllTopics) {
      if (eventlog::IsTable(topic)) {
        v1::Founding founding;
        founding.set_generation(kGeneration);
        founding.set_partitions(kPartitions);
        Append(topic, "!g", founding.SerializeAsString());
        Fence(topic);
      }
    }
  }

  Offset Append(Topic topic, const std::string& key, std::optional<std::string> value,
                eventlog::Headers headers = {}) {
    std::vector<eventlog::Record>& log = logs_[topic];
    eventlog::Record record;
    record.topic = topic;
    record.partition = ids::PartitionOf("acme", kPartitions);
    record.offset = static_cast<Offset>(log.size());
    record.key = key;
    record.value = std::move(value);
    record.headers = std::move(headers);
    log.push_back(std::move(record));
    return log.back().offset;
  }

  // A new owner of the table; what others write behind it is void.
  void Fence(Topic topic) {
    v1::Fence fence;
    fence.set_generation(kGeneration);
    tokens_[topic] = Append(topic, "!f/test/test/" + std::to_string(logs_[topic].size()),
                            fence.SerializeAsString());
  }

  template <typename Message>
  Offset Write(Topic topic, const std::string& key, const Message& message,
               std::optional<Offset> token = std::nullopt) {
    return Append(topic, key, message.SerializeAsString(),
                  {{std::string(eventlog::kTokenHeader),
                    eventlog::FormatToken({kGeneration, token.value_or(tokens_[topic])})}});
  }

  void WriteTenant(v1::SyncState state = v1::SYNC_STATE_ACTIVE) {
    v1::TenantSnapshot snapshot;
    snapshot.set_tenant("acme");
    snapshot.add_connections()->set_name("billing");
    snapshot.add_connections()->set_name("crm");
    v1::Sync& sync = *snapshot.add_syncs();
    sync.set_name("main");
    sync.set_source("billing");
    sync.set_target("crm");
    sync.set_state(state);
    revision_ = Write(Topic::kTenants, "acme", snapshot);
    WriteMapped(revision_);
  }

  void WriteMapped(Offset revision, std::int64_t generation = kGeneration) {
    v1::Command mapped;
    mapped.mutable_mapped()->set_revision(revision);
    mapped.mutable_mapped()->set_generation(generation);
    Write(Topic::kCommands, ids::MappedKey("acme", "main"), mapped);
  }

  Offset WriteChange(const std::string& kind, const std::string& id, const std::string& customer,
                     const std::string& former = "", std::optional<Offset> token = std::nullopt) {
    v1::ChangeEvent change;
    change.mutable_entity()->set_kind(kind);
    change.mutable_entity()->set_id(id);
    change.mutable_entity()->add_customers(customer);
    if (!former.empty()) {
      change.mutable_entity()->add_former_customers(former);
    }
    change.mutable_entity()->set_document("{}");
    return Write(Topic::kChanges, ids::ChangeKey("acme", "billing", kind, id), change, token);
  }

  static std::string StateKeyOf(const std::string& customer) {
    return ids::StateKey("acme", "main", "contact", "customers", customer);
  }
  v1::Version VersionAt(Offset offset) const {
    v1::Version version;
    version.set_generation(kGeneration);
    version.set_offset(offset);
    version.set_revision(revision_);
    return version;
  }

  void WriteCommand(const std::string& customer, Offset offset,
                    std::optional<Offset> token = std::nullopt) {
    v1::Command command;
    command.set_customer(customer);
    command.mutable_state()->set_presence(v1::DesiredState::PRESENCE_PRESENT);
    *command.mutable_version() = VersionAt(offset);
    Write(Topic::kCommands, StateKeyOf(customer), command, token);
  }

  v1::RecordEntry ResolvedAt(Offset offset, const std::string& id) const {
    v1::RecordEntry entry;
    *entry.mutable_resolved() = VersionAt(offset);
    entry.set_outcome(v1::OUTCOME_APPLIED);
    entry.set_status(v1::RecordEntry::STATUS_WAITING);
    entry.set_id(id);
    return entry;
  }
  void WriteRecord(const std::string& customer, const v1::RecordEntry& entry) {
    Write(Topic::kRecords, StateKeyOf(customer), entry);
  }

  // A customer that went all the way.
  Offset WriteWhole(const std::string& customer) {
    const Offset offset = WriteChange("customers", customer, customer);
    WriteCommand(customer, offset);
    WriteRecord(customer, ResolvedAt(offset, "id-" + customer));
    return offset;
  }

  static std::string ActionKeyOf(char digit) {
    return ids::ActionKey("acme", "main", std::string(32, digit));
  }
  void WriteAction(char digit, std::int64_t event_seconds = 1'000'000) {
    v1::Command command;
    command.mutable_action()->set_action_id(std::string(32, digit));
    command.mutable_action()->mutable_event_time()->set_seconds(event_seconds);
    Write(Topic::kCommands, ActionKeyOf(digit), command);
  }
  void WriteActionEntry(char digit, v1::Outcome outcome, std::int64_t send) {
    v1::RecordEntry entry;
    entry.set_final(true);
    entry.set_outcome(outcome);
    entry.set_sends(send);
    entry.mutable_event_time()->set_seconds(1'000'000);
    Write(Topic::kRecords, ActionKeyOf(digit), entry);
  }
  void WriteReceipt(char digit, v1::Outcome outcome, std::int64_t send) {
    v1::Receipt receipt;
    receipt.set_key(ActionKeyOf(digit));
    receipt.set_action_id(std::string(32, digit));
    receipt.set_outcome(outcome);
    receipt.set_send(send);
    receipt.set_id(
        ids::ReceiptId(receipt.key(), receipt.action_id(), send, v1::Outcome_Name(outcome)));
    Append(Topic::kOutcomes, "acme", receipt.SerializeAsString());
  }

  v1::VerifyResponse Run(std::function<void()> wait = {}) {
    const Reader reader = {
        kPartitions,
        [this](Topic topic, const std::function<bool(const eventlog::Record&)>& visit) {
          for (const eventlog::Record& record : logs_[topic]) {
            if (!visit(record)) {
              break;
            }
          }
          return absl::OkStatus();
        }};
    return Verify(reader, {.wait = std::move(wait)}).value();
  }

  std::map<Topic, std::vector<eventlog::Record>> logs_;
  std::map<Topic, Offset> tokens_;
  Offset revision_ = 0;
};

TEST_F(VerifyTest, ACleanLogIsGood) {
  WriteTenant();
  WriteWhole("1");
  WriteWhole("2");
  WriteAction('a');
  WriteActionEntry('a', v1::OUTCOME_APPLIED, 1);
  WriteReceipt('a', v1::OUTCOME_APPLIED, 1);

  const v1::VerifyResponse report = Run();

  EXPECT_THAT(report.problems(), IsEmpty());
  EXPECT_TRUE(report.ok());
  EXPECT_TRUE(report.at_rest());
  // mapped, two customers, two states, one action, its outcomes
  EXPECT_EQ(report.checked(), 7);
}

TEST_F(VerifyTest, AnEmptyLogIsGood) { EXPECT_TRUE(Run().ok()); }

TEST_F(VerifyTest, FindsAChangeThatNeverBecameACommand) {
  WriteTenant();
  WriteWhole("1");
  WriteChange("customers", "2", "2");

  const v1::VerifyResponse report = Run();

  EXPECT_FALSE(report.ok());
  EXPECT_EQ(report.lost(), 1);
  EXPECT_THAT(report.problems(), ElementsAre(HasSubstr("customer 2 of acme/billing")));
}

TEST_F(VerifyTest, OfManyProblemsItTellsAHundredAndHowManyMoreThereAre) {
  WriteTenant();
  for (int i = 1; i <= 150; ++i) {
    WriteChange("customers", std::to_string(i), std::to_string(i));
  }

  const v1::VerifyResponse report = Run();

  EXPECT_EQ(report.lost(), 150);
  ASSERT_EQ(report.problems_size(), 101);
  EXPECT_EQ(report.problems(100), "and 50 more");
}

TEST_F(VerifyTest, FindsALostLaterChangeOfAKnownCustomer) {
  WriteTenant();
  WriteWhole("1");
  WriteChange("subscriptions", "9", "1");

  const v1::VerifyResponse report = Run();

  EXPECT_EQ(report.lost(), 1);
  EXPECT_THAT(report.problems(), ElementsAre(HasSubstr("is newer than its command")));
}

// Rule 34: the customer that an entity left must be derived too.
TEST_F(VerifyTest, FindsALostChangeOfTheCustomerThatAnEntityLeft) {
  WriteTenant();
  WriteWhole("1");
  const Offset moved = WriteChange("subscriptions", "9", "2", "1");
  WriteCommand("2", moved);
  WriteRecord("2", ResolvedAt(moved, "id-2"));

  const v1::VerifyResponse report = Run();

  EXPECT_EQ(report.lost(), 1);
  EXPECT_THAT(report.problems(), ElementsAre(HasSubstr("customer 1 of acme/billing")));
}

TEST_F(VerifyTest, FindsAStaleRecord) {
  WriteTenant();
  const Offset first = WriteWhole("1");
  const Offset second = WriteChange("customers", "1", "1");
  WriteCommand("1", second);

  const v1::VerifyResponse report = Run();

  EXPECT_FALSE(report.ok());
  EXPECT_EQ(report.stale(), 1);
  EXPECT_EQ(report.lost(), 0);
  EXPECT_THAT(report.problems(),
              ElementsAre(HasSubstr("resolved is 7:" + std::to_string(first) + ":")));
}

TEST_F(VerifyTest, FindsARecordThatWasNeverWritten) {
  WriteTenant();
  WriteCommand("1", WriteChange("customers", "1", "1"));

  EXPECT_EQ(Run().stale(), 1);
}

TEST_F(VerifyTest, FindsARecordThatWentAhead) {
  WriteTenant();
  const Offset offset = WriteChange("customers", "1", "1");
  WriteCommand("1", offset);
  WriteRecord("1", ResolvedAt(offset + 1, "id-1"));

  EXPECT_EQ(Run().stale(), 1);
}

TEST_F(VerifyTest, AParkedRecordIsInSightAndNotStale) {
  WriteTenant();
  const Offset offset = WriteChange("customers", "1", "1");
  WriteCommand("1", offset);
  v1::RecordEntry parked;
  parked.set_status(v1::RecordEntry::STATUS_PARKED);
  parked.set_reason(v1::REASON_REFUSED);
  *parked.mutable_status_version() = VersionAt(offset);
  WriteRecord("1", parked);
  EXPECT_TRUE(Run().ok());

  // A newer version frees it, so it must have been tried.
  WriteCommand("1", WriteChange("customers", "1", "1"));
  EXPECT_EQ(Run().stale(), 1);
}

TEST_F(VerifyTest, FindsADoubleOutcomeInTheReceipts) {
  WriteTenant();
  WriteAction('a');
  WriteActionEntry('a', v1::OUTCOME_APPLIED, 2);
  WriteReceipt('a', v1::OUTCOME_APPLIED, 1);
  WriteReceipt('a', v1::OUTCOME_APPLIED, 2);

  const v1::VerifyResponse report = Run();

  EXPECT_FALSE(report.ok());
  EXPECT_EQ(report.double_outcomes(), 1);
}

TEST_F(VerifyTest, FindsADoubleOutcomeInTheHistoryOfRecords) {
  WriteTenant();
  WriteAction('a');
  WriteActionEntry('a', v1::OUTCOME_APPLIED, 1);
  WriteActionEntry('a', v1::OUTCOME_DROPPED, 1);

  EXPECT_EQ(Run().double_outcomes(), 1);
}

TEST_F(VerifyTest, ARepeatedReceiptAndARepeatedEntryAreOne) {
  WriteTenant();
  WriteAction('a');
  WriteReceipt('a', v1::OUTCOME_APPLIED, 1);
  WriteReceipt('a', v1::OUTCOME_APPLIED, 1);
  WriteActionEntry('a', v1::OUTCOME_APPLIED, 1);
  WriteActionEntry('a', v1::OUTCOME_APPLIED, 1);

  EXPECT_TRUE(Run().ok());
}

TEST_F(VerifyTest, FindsAnActionWithoutOutcome) {
  WriteTenant();
  WriteAction('a');

  EXPECT_EQ(Run().lost(), 1);
}

TEST_F(VerifyTest, AnActionOlderThanTheirAgeIsNotAsked) {
  WriteTenant();
  WriteAction('a', 1'000'000);
  // 31 days later
  WriteAction('b', 1'000'000 + 31 * 86400);
  v1::RecordEntry done;
  done.set_final(true);
  done.set_outcome(v1::OUTCOME_APPLIED);
  Write(Topic::kRecords, ActionKeyOf('b'), done);

  EXPECT_TRUE(Run().ok());
}

TEST_F(VerifyTest, AnOpenIntentAndARetryAreNotAtRest) {
  WriteTenant();
  const Offset offset = WriteWhole("1");
  v1::RecordEntry open = ResolvedAt(offset, "id-1");
  open.mutable_intent()->set_send(2);
  WriteRecord("1", open);
  const Offset second = WriteChange("customers", "2", "2");
  WriteCommand("2", second);
  v1::RecordEntry retrying;
  retrying.set_status(v1::RecordEntry::STATUS_RETRYING);
  WriteRecord("2", retrying);

  const v1::VerifyResponse report = Run();

  EXPECT_FALSE(report.ok());
  EXPECT_FALSE(report.at_rest());
  EXPECT_EQ(report.lost() + report.stale(), 0);
  EXPECT_EQ(report.problems_size(), 2);
}

TEST_F(VerifyTest, FindsThatNotEveryCustomerHasBeenMappedAnew) {
  WriteTenant();
  WriteWhole("1");
  WriteMapped(revision_ - 1);

  const v1::VerifyResponse report = Run();

  EXPECT_EQ(report.lost(), 1);
  EXPECT_THAT(report.problems(), ElementsAre(HasSubstr("acme/main/mapped")));
}

// An offset of a `tenants` that was lost says nothing of the one that was made anew.
TEST_F(VerifyTest, FindsThatTheMappedRevisionIsOfAnotherGeneration) {
  WriteTenant();
  WriteWhole("1");
  WriteMapped(revision_, kGeneration - 1);

  const v1::VerifyResponse report = Run();

  EXPECT_EQ(report.lost(), 1);
  EXPECT_THAT(report.problems(), ElementsAre(HasSubstr("acme/main/mapped")));
}

// As version 0.1 writes it: in a roll forward its transformer is at work beside this control.
TEST_F(VerifyTest, AMappedRevisionThatNamesNoGenerationIsTakenAsItIs) {
  WriteTenant();
  WriteWhole("1");
  WriteMapped(revision_, 0);
  EXPECT_TRUE(Run().ok());
  WriteMapped(revision_ - 1, 0);
  EXPECT_EQ(Run().lost(), 1);
}

// Rule 1: a dead owner's entry behind the fence is never state.
TEST_F(VerifyTest, AVoidCommandDoesNotCoverAChange) {
  WriteTenant();
  WriteWhole("1");
  const Offset dead_owner = tokens_[Topic::kCommands];
  Fence(Topic::kCommands);
  const Offset offset = WriteChange("customers", "2", "2");
  WriteCommand("2", offset, dead_owner);

  const v1::VerifyResponse report = Run();

  EXPECT_EQ(report.lost(), 1);
  EXPECT_FALSE(report.at_rest()) << "the void entry waits for its repair";
}

TEST_F(VerifyTest, AVoidChangeAsksForNothing) {
  WriteTenant();
  WriteWhole("1");
  const Offset dead_owner = tokens_[Topic::kChanges];
  Fence(Topic::kChanges);
  WriteChange("customers", "2", "2", "", dead_owner);

  EXPECT_EQ(Run().lost(), 0);
}

TEST_F(VerifyTest, FindsAVersionThatFell) {
  WriteTenant();
  const Offset first = WriteWhole("1");
  const Offset second = WriteChange("customers", "1", "1");
  WriteCommand("1", second);
  WriteCommand("1", first);
  WriteCommand("1", second);
  WriteRecord("1", ResolvedAt(second, "id-1"));

  const v1::VerifyResponse report = Run();

  EXPECT_EQ(report.stale(), 1);
  EXPECT_THAT(report.problems(), ElementsAre(HasSubstr("is below an earlier one")));
}

// Rule 25.
TEST_F(VerifyTest, FindsTwoRecordsThatHoldOneRecordOfTheTarget) {
  WriteTenant();
  const Offset one = WriteWhole("1");
  const Offset two = WriteWhole("2");
  static_cast<void>(one);
  WriteRecord("2", ResolvedAt(two, "id-1"));

  EXPECT_THAT(Run().problems(), ElementsAre(HasSubstr("holds too")));
}

TEST_F(VerifyTest, APausedSyncIsNotAsked) {
  WriteTenant(v1::SYNC_STATE_PAUSED);
  WriteChange("customers", "1", "1");

  EXPECT_TRUE(Run().ok());
}

TEST_F(VerifyTest, WhatIsOnlyOnItsWayIsNotAtRest) {
  WriteTenant();
  const Offset offset = WriteChange("customers", "1", "1");

  const v1::VerifyResponse moved = Run([&] { WriteCommand("1", offset); });
  EXPECT_FALSE(moved.ok());
  EXPECT_FALSE(moved.at_rest());

  const v1::VerifyResponse arrived = Run([&] { WriteRecord("1", ResolvedAt(offset, "id-1")); });
  EXPECT_TRUE(arrived.ok());
}

TEST_F(VerifyTest, AnEntryThatCannotBeReadIsTold) {
  WriteTenant();
  WriteWhole("1");
  Append(Topic::kRecords, StateKeyOf("1"), "\xff\xff\xff",
         {{std::string(eventlog::kTokenHeader),
           eventlog::FormatToken({kGeneration, tokens_[Topic::kRecords]})}});

  const v1::VerifyResponse report = Run();

  EXPECT_FALSE(report.ok());
  EXPECT_THAT(report.problems(), ::testing::Contains(HasSubstr("cannot be read")));
}

}  // namespace
}  // namespace tributary::verify

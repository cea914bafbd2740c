#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/ids/keys.h"
#include "tests/unit/services/transformer/rig.h"

// Rules 2, 4, 5, 10, 32 to 36 and 38 of the protocol, each by its number (37: events_test.cc).

namespace tributary::transformer {
namespace {

using eventlog::Topic;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kMapping[] = R"(
object: client
when: default(customer.tier, "") != "none"
fields:
  name: customer.name
  subscriptions: subscriptions.map(s, string(s.id)).join(",")
  failing: '1 / default(customer.divisor, 1)'
)";

const std::string kMapped = ids::MappedKey("acme", "main");

Change Subscription(const std::string& id, const std::string& customer,
                    std::vector<std::string> former = {}) {
  Change change;
  change.kind = "subscriptions";
  change.id = id;
  change.customers = {customer};
  change.former = std::move(former);
  change.document = "{\"id\":" + id + "}";
  return change;
}

TEST(TransformerTest, AChangeBecomesACommandWithItsVersion) {
  Rig rig;
  const std::int64_t revision = rig.PutSync(kMapping);
  rig.Start();
  rig.Run();
  rig.PutCustomer("1", R"({"id":1,"name":"Ada"})");
  const std::int64_t newest = rig.Put(Subscription("5", "1"));
  rig.Run();

  const v1::Command command = rig.Command(KeyOf("1"));

  EXPECT_EQ(command.version().generation(), kGeneration);
  EXPECT_EQ(command.version().offset(), newest);
  EXPECT_EQ(command.version().revision(), revision);
  EXPECT_EQ(command.customer(), "1");
  EXPECT_EQ(command.state().presence(), v1::DesiredState::PRESENCE_PRESENT);
  EXPECT_EQ(FieldOf(command, "name"), "Ada");
  EXPECT_EQ(FieldOf(command, "subscriptions"), "5");
  EXPECT_EQ(command.state().content_hash().size(), 17u);
  EXPECT_EQ(rig.stage().counters().equal_version_conflicts, 0);
}

TEST(TransformerTest, AMarkerOfBeingGoneAloneMakesNoRecordOfWhomNobodyEverWanted) {
  Rig rig;
  rig.PutSync(kMapping);
  rig.Start();
  rig.Run();
  // What a source says of a customer that it never had.
  Change gone;
  gone.id = "9";
  gone.customers = {"9"};
  gone.gone = true;
  gone.document = "";
  rig.Put(gone);
  // One that was there, and of which the mirror has lost what it was.
  rig.PutCustomer("1", R"({"id":1,"name":"Ada"})");
  rig.Run();
  gone.id = "1";
  gone.customers = {"1"};
  rig.Put(gone);
  rig.Run();

  EXPECT_EQ(rig.Command(KeyOf("9")).state().presence(), v1::DesiredState::PRESENCE_UNWANTED);
  EXPECT_EQ(rig.Command(KeyOf("1")).state().presence(), v1::DesiredState::PRESENCE_GONE);
  // The same from an empty disk, and by another revision.
  rig.Kill();
  rig.Start(false);
  rig.PutSync(std::string(kMapping) + "# the same\n");
  rig.Run();
  EXPECT_EQ(rig.Command(KeyOf("9")).state().presence(), v1::DesiredState::PRESENCE_UNWANTED);
  EXPECT_EQ(rig.Command(KeyOf("1")).state().presence(), v1::DesiredState::PRESENCE_GONE);
  EXPECT_EQ(rig.stage().counters().equal_version_conflicts, 0);
}

// A mapping gives what it does not want its tag prefix, and what it is not asked of has none.
TEST(TransformerTest, Rule35_WhatIsUnwantedHasNoContentToDiffer) {
  Rig rig;
  rig.PutSync(
      "object: client\ntag_prefix: \"c:\"\nwhen: \"!gone\"\nfields: {name: customer.name}\n");
  rig.Start();
  rig.PutCustomer("1", R"({"id":1,"name":"Ada"})");
  rig.Run();
  Change gone;
  gone.id = "1";
  gone.customers = {"1"};
  gone.gone = true;
  gone.document = "";
  rig.Put(gone);
  rig.Run();
  const v1::Command unwanted = rig.Command(KeyOf("1"));
  ASSERT_EQ(unwanted.state().presence(), v1::DesiredState::PRESENCE_UNWANTED);

  // Everyone is mapped again under the same revision.
  rig.PutVoid(Topic::kCommands, kMapped, unwanted.SerializeAsString());
  rig.Run();
  EXPECT_GE(rig.stage().counters().unchanged, 1);
  EXPECT_EQ(rig.stage().counters().equal_version_conflicts, 0);
}

TEST(TransformerTest, AnUnknownKeyReachesATargetPathUnchanged) {
  Rig rig;
  rig.PutSync("object: client\nfields: {custom.new: customer.brand_new}");
  rig.PutCustomer("1", R"({"id":1,"brand_new":{"a":[1,"2",null]}})");
  rig.Start();
  rig.Run();

  EXPECT_EQ(rig.Command(KeyOf("1")).state().fields(0).value().ShortDebugString(),
            "map { members { name: \"a\" value { list { items { decimal: \"1\" } "
            "items { text: \"2\" } items { null: NULL_VALUE } } } } }");
}

TEST(TransformerTest, Rule10_EveryCustomerHasAnEntryWantedOrNot) {
  Rig rig;
  rig.PutSync(kMapping);
  rig.PutCustomer("1", R"({"id":1,"tier":"none"})");
  rig.Put(Subscription("5", "2"));  // its customer was not read yet
  Change gone;
  gone.id = "3";
  gone.customers = {"3"};
  gone.gone = true;
  gone.document = R"({"id":3,"name":"Left"})";
  rig.Put(gone);
  rig.Start();
  rig.Run();

  EXPECT_EQ(rig.Command(KeyOf("1")).state().presence(), v1::DesiredState::PRESENCE_UNWANTED);
  EXPECT_EQ(rig.Command(KeyOf("2")).state().presence(), v1::DesiredState::PRESENCE_UNWANTED);
  EXPECT_EQ(rig.Command(KeyOf("3")).state().presence(), v1::DesiredState::PRESENCE_GONE);
  EXPECT_EQ(FieldOf(rig.Command(KeyOf("3")), "name"), "Left");

  const std::int64_t read = rig.PutCustomer("2", R"({"id":2,"name":"Bob"})");
  rig.Run();
  EXPECT_EQ(rig.Command(KeyOf("2")).state().presence(), v1::DesiredState::PRESENCE_PRESENT);
  EXPECT_EQ(rig.Command(KeyOf("2")).version().offset(), read);
}

TEST(TransformerTest, Rule10_ARecordThatIsNotYieldedAnyMoreIsWithdrawn) {
  Rig rig;
  rig.PutSync(kMapping);
  rig.PutCustomer("1", R"({"id":1})");
  rig.Start();
  rig.Run();
  const std::int64_t revision = rig.PutSync("object: company\nfields: {n: customer.id}");
  rig.Run();

  EXPECT_EQ(rig.Command(KeyOf("1")).state().presence(), v1::DesiredState::PRESENCE_WITHDRAWN);
  EXPECT_EQ(rig.Command(KeyOf("1")).version().revision(), revision);
  EXPECT_EQ(rig.Command(KeyOf("1", "company")).state().presence(),
            v1::DesiredState::PRESENCE_PRESENT);
}

TEST(TransformerTest, Rule10_NorIsOneWhoseCommandWasNotReadBackYet) {
  Rig rig;
  rig.delays.answer = {std::chrono::seconds(5), std::chrono::seconds(5)};
  rig.PutSync(kMapping);
  rig.Start();
  rig.Run(std::chrono::minutes(5));
  rig.PutCustomer("1", R"({"id":1})");
  rig.Run(std::chrono::seconds(1));
  rig.PutSync("object: company\nfields: {n: customer.id}");
  rig.Run(std::chrono::minutes(1));

  EXPECT_EQ(rig.Command(KeyOf("1")).state().presence(), v1::DesiredState::PRESENCE_WITHDRAWN);
  EXPECT_EQ(rig.Command(KeyOf("1", "company")).state().presence(),
            v1::DesiredState::PRESENCE_PRESENT);
}

TEST(TransformerTest, Rule10_ARemovedSyncIsWithdrawnAndComesBackWithALargerVersion) {
  Rig rig;
  rig.PutSync(kMapping);
  for (int i = 0; i < 5; ++i) rig.PutCustomer(std::to_string(i), R"({"id":1,"name":"A"})");
  rig.Start();
  rig.Run();
  rig.PutSync(kMapping, "", v1::SYNC_STATE_REMOVED);
  rig.Run();
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(rig.Command(KeyOf(std::to_string(i))).state().presence(),
              v1::DesiredState::PRESENCE_WITHDRAWN);
  }
  rig.PutCustomer("1", R"({"id":1,"name":"B"})");
  rig.Run();
  EXPECT_EQ(rig.Command(KeyOf("1")).state().presence(), v1::DesiredState::PRESENCE_WITHDRAWN);

  rig.PutSync(kMapping);
  rig.Run();
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(rig.Command(KeyOf(std::to_string(i))).state().presence(),
              v1::DesiredState::PRESENCE_PRESENT);
  }
  EXPECT_EQ(FieldOf(rig.Command(KeyOf("1")), "name"), "B");
}

TEST(TransformerTest, Rule10_ASyncThatIsListedNoMoreIsWithdrawnAfterARestartToo) {
  Rig rig;
  rig.PutSync(kMapping);
  rig.PutCustomer("1", R"({"id":1})");
  rig.Start();
  rig.Run();
  rig.Kill();
  v1::TenantSnapshot snapshot;
  snapshot.set_tenant("acme");
  rig.PutSnapshot(snapshot);
  rig.Start();
  rig.Run();

  EXPECT_EQ(rig.Command(KeyOf("1")).state().presence(), v1::DesiredState::PRESENCE_WITHDRAWN);
}

// Seed 198 of the simulation: the withdrawal took its version from the void command, which was
// older than the valid one that it covered.
TEST(TransformerTest, Rule35_AWithdrawalIsNewerThanWhatAVoidCommandCovers) {
  Rig rig;
  rig.PutSync(kMapping);
  rig.PutCustomer("1", R"({"id":1})");
  rig.Start();
  rig.Run();
  const v1::Command first = rig.Command(KeyOf("1"));
  rig.PutCustomer("1", R"({"id":1,"name":"Bob"})");
  rig.Run();
  const v1::Version newest = rig.Command(KeyOf("1")).version();
  ASSERT_GT(newest.offset(), first.version().offset());
  rig.Kill();
  rig.PutVoid(Topic::kCommands, KeyOf("1"), first.SerializeAsString());
  rig.PutSync(kMapping, "", v1::SYNC_STATE_REMOVED);
  rig.Start();
  rig.Run();

  EXPECT_EQ(rig.Command(KeyOf("1")).state().presence(), v1::DesiredState::PRESENCE_WITHDRAWN);
  EXPECT_EQ(rig.Command(KeyOf("1")).version().offset(), newest.offset());
  // No farther than that: what the sync writes when it is back is newer.
  rig.PutSync(kMapping);
  rig.Run();
  EXPECT_EQ(rig.Command(KeyOf("1")).state().presence(), v1::DesiredState::PRESENCE_PRESENT);
}

// Seed 750 of the simulation: each repair of a withdrawal counted its revision up from the void
// one, until it was the revision under which the sync came back, whose commands the gate refused.
TEST(TransformerTest, Rule35_AWithdrawalThatIsRepairedStaysOlderThanTheSyncThatIsBack) {
  Rig rig;
  rig.PutSync(kMapping);
  rig.PutCustomer("1", R"({"id":1,"name":"Ada"})");
  rig.Start();
  rig.Run();
  rig.PutSync(kMapping, "", v1::SYNC_STATE_REMOVED);
  rig.Run();
  for (int i = 0; i < 5; ++i) {
    rig.PutVoid(Topic::kCommands, KeyOf("1"), rig.Command(KeyOf("1")).SerializeAsString());
    rig.Run();
    ASSERT_EQ(rig.CommandHistory().back().second.state().presence(),
              v1::DesiredState::PRESENCE_WITHDRAWN);
    EXPECT_LT(rig.CommandHistory().back().second.version().revision(),
              rig.log.end(Topic::kTenants, 0));
  }
  rig.PutCustomer("1", R"({"id":1,"name":"Eve"})");
  const std::int64_t revision = rig.PutSync(kMapping);
  rig.Run();

  EXPECT_EQ(FieldOf(rig.Command(KeyOf("1")), "name"), "Eve");
  EXPECT_EQ(rig.Command(KeyOf("1")).version().revision(), revision);
  EXPECT_EQ(rig.stage().counters().equal_version_conflicts, 0);
}

// What a void change covers may be the newest that names the customer: until its repair nobody
// knows the version of a withdrawal whose command is void too (rule 2).
TEST(TransformerTest, Rule35_AWithdrawalWaitsForTheRepairOfAVoidChange) {
  Rig rig;
  rig.PutSync(kMapping);
  rig.Put(Subscription("5", "1"));
  rig.PutCustomer("1", R"({"id":1})");
  rig.Start();
  rig.Run();
  const v1::Command first = rig.Command(KeyOf("1"));
  v1::Command older = first;
  older.mutable_version()->set_offset(first.version().offset() - 1);
  rig.Kill();
  v1::ChangeEvent zombie;
  zombie.mutable_entity()->set_kind("customers");
  zombie.mutable_entity()->set_id("1");
  zombie.mutable_entity()->add_customers("1");
  zombie.mutable_entity()->set_document("{}");
  rig.PutVoid(Topic::kChanges, ids::ChangeKey("acme", "billing", "customers", "1"),
              zombie.SerializeAsString());
  rig.PutVoid(Topic::kCommands, KeyOf("1"), older.SerializeAsString());
  rig.PutSync(kMapping, "", v1::SYNC_STATE_REMOVED);
  rig.Start();
  rig.Run();
  // The void one is still the newest.
  EXPECT_EQ(rig.CommandHistory().back().second.SerializeAsString(), older.SerializeAsString());

  const std::int64_t repaired = rig.PutCustomer("1", R"({"id":1})");
  rig.Run();
  EXPECT_EQ(rig.Command(KeyOf("1")).state().presence(), v1::DesiredState::PRESENCE_WITHDRAWN);
  EXPECT_EQ(rig.Command(KeyOf("1")).version().offset(), repaired);
}

// What was committed is in `commands`, whenever the stage dies.
TEST(TransformerTest, Rule32_OutputsAreAcknowledgedBeforeTheCommitAtEveryStep) {
  for (int killed_at = 1; killed_at < 60; killed_at += 2) {
    Rig rig;
    rig.options.batch_customers_max = 3;
    rig.PutSync(kMapping);
    std::map<std::string, std::int64_t> newest;
    for (int i = 0; i < 12; ++i) {
      const std::string id = std::to_string(i % 7);
      newest[id] =
          rig.PutCustomer(id, "{\"id\":" + id + ",\"name\":\"" + std::to_string(i) + "\"}");
    }
    int steps = 0;
    rig.after_step = [&] {
      const std::optional<eventlog::Offset> committed = rig.Committed(Topic::kChanges);
      for (const auto& [id, offset] : newest) {
        if (committed && offset < *committed) {
          EXPECT_EQ(rig.Command(KeyOf(id)).version().offset(), offset) << killed_at;
        }
      }
      return ++steps == killed_at;
    };
    rig.Start();
    rig.Run();
    if (rig.is_running()) rig.Kill();
    rig.after_step = nullptr;
    rig.Start(killed_at % 3 != 0);
    rig.Run(std::chrono::seconds(40));

    for (const auto& [id, offset] : newest) {
      EXPECT_EQ(rig.Command(KeyOf(id)).version().offset(), offset) << killed_at;
    }
    EXPECT_EQ(rig.Committed(Topic::kChanges), rig.log.end(Topic::kChanges, 0));
    EXPECT_EQ(rig.stage().counters().equal_version_conflicts, 0);
  }
}

TEST(TransformerTest, Rule33_AfterARebuildWhatLiesBehindTheCommitIsDerivedFormerNamesToo) {
  Rig rig;
  rig.PutSync(kMapping);
  rig.PutCustomer("1", R"({"id":1})");
  rig.PutCustomer("2", R"({"id":2})");
  rig.Put(Subscription("5", "1"));
  rig.Start();
  rig.Run();
  rig.Kill();
  // Nobody was there when it moved.
  const std::int64_t moved = rig.Put(Subscription("5", "2", {"1"}));

  rig.Start(/*keeps_disk=*/false);
  rig.Run();

  EXPECT_EQ(rig.Command(KeyOf("1")).version().offset(), moved);
  EXPECT_EQ(FieldOf(rig.Command(KeyOf("1")), "subscriptions"), "");
  EXPECT_EQ(FieldOf(rig.Command(KeyOf("2")), "subscriptions"), "5");
}

TEST(TransformerTest, Rule34_AFormerCustomerIsDerivedAndItsVersionNeverFalls) {
  Rig rig;
  rig.PutSync(kMapping);
  rig.PutCustomer("1", R"({"id":1})");
  rig.PutCustomer("2", R"({"id":2})");
  rig.Put(Subscription("5", "1"));
  rig.Start();
  rig.Run();
  rig.Put(Subscription("5", "2", {"1"}));
  rig.Run();
  const std::int64_t again = rig.Put(Subscription("5", "2", {"1"}));
  rig.Run();

  EXPECT_EQ(rig.Command(KeyOf("1")).version().offset(), again);
  EXPECT_EQ(FieldOf(rig.Command(KeyOf("1")), "subscriptions"), "");
  std::map<std::string, std::int64_t> last;
  for (const auto& [key, command] : rig.CommandHistory()) {
    if (!command.has_state()) continue;
    EXPECT_GT(command.version().offset(), last[key]);
    last[key] = command.version().offset();
  }
}

TEST(TransformerTest, Rule35_TheOffsetIsTheNewestChangeThatNamesTheCustomerNotTheBatch) {
  Rig rig;
  rig.PutSync(kMapping);
  const std::int64_t one = rig.PutCustomer("1", R"({"id":1})");
  const std::int64_t two = rig.PutCustomer("2", R"({"id":2})");
  rig.PutCustomer("3", R"({"id":3})");
  rig.Start();
  rig.Run();
  const std::size_t written = rig.CommandHistory().size();
  rig.PutCustomer("3", R"({"id":3,"name":"C"})");
  rig.Run();

  EXPECT_EQ(rig.Command(KeyOf("1")).version().offset(), one);
  EXPECT_EQ(rig.Command(KeyOf("2")).version().offset(), two);
  EXPECT_EQ(rig.CommandHistory().size(), written + 1);
}

TEST(TransformerTest, Rule35_AConnectionsStateMapsNothingAgain) {
  Rig rig;
  const std::int64_t revision = rig.PutSync(kMapping);
  rig.PutCustomer("1", R"({"id":1})");
  rig.Start();
  rig.Run();
  const std::size_t written = rig.CommandHistory().size();
  rig.PutSync(kMapping, "", v1::SYNC_STATE_PAUSED, revision);
  rig.Run();

  EXPECT_EQ(rig.CommandHistory().size(), written);
}

TEST(TransformerTest, Rule36_ANewRevisionMapsEveryoneAndThenSaysSo) {
  Rig rig;
  rig.options.batch_customers_max = 4;
  rig.PutSync(kMapping);
  std::vector<std::int64_t> offsets;
  for (int i = 0; i < 30; ++i) {
    offsets.push_back(rig.PutCustomer(std::to_string(i), "{\"id\":" + std::to_string(i) + "}"));
  }
  rig.Start();
  rig.Run();
  const std::int64_t revision = rig.PutSync("object: client\nfields: {n: customer.id}");
  bool was_early = false;
  rig.after_step = [&] {
    const std::map<std::string, v1::Command> commands = rig.Commands();
    const auto mapped = commands.find(kMapped);
    if (mapped == commands.end() || mapped->second.mapped().revision() != revision) return false;
    for (int i = 0; i < 30; ++i) {
      was_early =
          was_early || commands.at(KeyOf(std::to_string(i))).version().revision() != revision;
    }
    return false;
  };
  rig.Run();

  EXPECT_FALSE(was_early);
  EXPECT_EQ(rig.Command(kMapped).mapped().revision(), revision);
  for (int i = 0; i < 30; ++i) {
    const v1::Command command = rig.Command(KeyOf(std::to_string(i)));
    EXPECT_EQ(command.version().offset(), offsets[static_cast<std::size_t>(i)]);
    EXPECT_EQ(FieldOf(command, "n"), std::to_string(i));
  }
}

TEST(TransformerTest, Rule36_ARemapThatWasKilledHalfWayIsDoneAgainWithTheCopyLost) {
  for (int killed_at = 2; killed_at < 40; killed_at += 3) {
    Rig rig;
    rig.options.batch_customers_max = 2;
    rig.PutSync(kMapping);
    for (int i = 0; i < 9; ++i) {
      rig.PutCustomer(std::to_string(i), "{\"id\":" + std::to_string(i) + "}");
    }
    rig.Start();
    rig.Run();
    const std::int64_t revision = rig.PutSync("object: client\nfields: {n: customer.id}");
    int steps = 0;
    rig.after_step = [&] { return ++steps == killed_at; };
    rig.Run();
    rig.after_step = nullptr;
    if (rig.is_running()) rig.Kill();
    rig.Start(/*keeps_disk=*/false);
    rig.Run();

    EXPECT_EQ(rig.Command(kMapped).mapped().revision(), revision) << killed_at;
    for (int i = 0; i < 9; ++i) {
      EXPECT_EQ(FieldOf(rig.Command(KeyOf(std::to_string(i))), "n"), std::to_string(i));
    }
  }
}

// Valid entries of a key never go back, whoever wrote them and whenever it died.
TEST(TransformerTest, Rule5_NoCommandFollowsALargerVersionOfItsKey) {
  for (int killed_at = 4; killed_at < 60; killed_at += 5) {
    Rig rig;
    rig.options.batch_customers_max = 2;
    rig.PutSync(kMapping);
    rig.Start();
    for (int round = 0; round < 3; ++round) {
      for (int i = 0; i < 4; ++i) {
        Change change = Subscription(std::to_string(i), std::to_string(i % 3));
        change.first_read = i % 2 == 0;
        rig.Put(change);
        rig.PutCustomer(std::to_string(i), "{\"id\":" + std::to_string(round) + "}");
      }
      if (round == 1) rig.PutSync(std::string(kMapping) + "  more: customer.id\n");
      int steps = 0;
      rig.after_step = [&] { return ++steps == killed_at; };
      rig.Run();
      if (!rig.is_running()) rig.Start(/*keeps_disk=*/killed_at % 2 == 0);
    }
    rig.after_step = nullptr;
    rig.Run(std::chrono::seconds(40));

    const std::unique_ptr<eventlog::LocalStores> stores = eventlog::MakeMemoryStores();
    eventlog::Table table({.topic = Topic::kCommands, .partition = 0},
                          *stores->Open(Topic::kCommands, 0));
    std::map<std::string, std::tuple<std::int64_t, std::int64_t, std::int64_t>> last;
    for (const eventlog::Record& record : rig.log.records(Topic::kCommands, 0)) {
      const std::optional<eventlog::TableEntry> entry = table.Apply(record);
      v1::Command command;
      if (!entry || entry->is_void || !command.ParseFromString(entry->value)) continue;
      if (!command.has_state()) continue;
      const std::tuple version(command.version().generation(), command.version().offset(),
                               command.version().revision());
      EXPECT_GE(version, last[record.key]) << record.key << ", killed at " << killed_at;
      last[record.key] = version;
    }
    EXPECT_EQ(last.size(), 4u);
  }
}

// A first read names a customer once for each of its rows.
TEST(TransformerTest, AFirstReadDerivesACustomerOnceAndALiveChangeDoesNotWait) {
  Rig rig;
  rig.PutSync(kMapping);
  rig.Start();
  rig.Run();
  Change first;
  first.id = "1";
  first.customers = {"1"};
  first.document = R"({"id":1,"name":"Ada"})";
  first.first_read = true;
  rig.Put(first);
  rig.PutCustomer("2", R"({"id":2,"name":"live"})");
  rig.Run(std::chrono::milliseconds(400));
  EXPECT_EQ(FieldOf(rig.Command(KeyOf("2")), "name"), "live");

  std::int64_t newest = 0;
  for (const char* id : {"5", "6", "7"}) {
    EXPECT_FALSE(rig.Commands().contains(KeyOf("1"))) << id;
    EXPECT_LT(rig.Committed(Topic::kChanges).value_or(0), rig.log.end(Topic::kChanges, 0));
    Change row = Subscription(id, "1");
    row.first_read = true;
    newest = rig.Put(row);
    rig.Run(std::chrono::milliseconds(400));
  }
  rig.Run(std::chrono::seconds(3));

  EXPECT_EQ(FieldOf(rig.Command(KeyOf("1")), "subscriptions"), "5,6,7");
  EXPECT_EQ(rig.Command(KeyOf("1")).version().offset(), newest);
  EXPECT_EQ(rig.stage().counters().derived_customers, 2);
  EXPECT_EQ(rig.Committed(Topic::kChanges), rig.log.end(Topic::kChanges, 0));
}

TEST(TransformerTest, ALongFirstReadIsDerivedInBetween) {
  Rig rig;
  rig.options.first_read_wait_max = std::chrono::seconds(5);
  rig.PutSync(kMapping);
  rig.Start();
  rig.Run();
  for (int i = 0; i < 30; ++i) {
    Change row;
    row.id = std::to_string(i);
    row.customers = {row.id};
    row.first_read = true;
    rig.Put(row);
    rig.Run(std::chrono::milliseconds(500));
  }

  // 15 s of a read that never was quiet for a second.
  EXPECT_TRUE(rig.Commands().contains(KeyOf("0")));
  EXPECT_TRUE(rig.Commands().contains(KeyOf("15")));
  EXPECT_FALSE(rig.Commands().contains(KeyOf("29")));
}

TEST(TransformerTest, ReadingWaitsWhileTooManyCustomersDo) {
  Rig rig;
  rig.options.waiting_customers_max = 6;
  rig.options.batch_customers_max = 1;
  rig.options.batch_bytes_max = 300;  // some commands, then their acknowledgements are awaited
  rig.PutSync(kMapping);
  rig.Start();
  rig.Run();
  std::int64_t most = 0;
  rig.after_step = [&] {
    most = std::max(most, rig.stage().levels(rig.time.now()).customers);
    return false;
  };
  for (int i = 0; i < 60; ++i) {
    Change row;
    row.id = std::to_string(i);
    row.customers = {row.id};
    row.first_read = i % 2 == 0;
    rig.Put(row);
    rig.Run(std::chrono::milliseconds(1));
  }
  rig.Run();

  for (int i = 0; i < 60; ++i) {
    EXPECT_TRUE(rig.Commands().contains(KeyOf(std::to_string(i)))) << i;
  }
  EXPECT_GE(most, 6);
  EXPECT_LT(most, 60);
  EXPECT_EQ(rig.Committed(Topic::kChanges), rig.log.end(Topic::kChanges, 0));
}

TEST(TransformerTest, DerivingWaitsWhileTooManyOfItsCommandsWereNotReadBack) {
  Rig rig;
  rig.options.unread_commands_max = 4;
  rig.PutSync(kMapping);
  rig.Start();
  rig.Run();
  std::int64_t most = 0;
  rig.after_step = [&] {
    most = std::max(most, rig.stage().levels(rig.time.now()).unread_commands);
    return false;
  };
  for (int i = 0; i < 40; ++i) rig.PutCustomer(std::to_string(i), R"({"id":1,"name":"a"})");
  rig.Run();

  EXPECT_EQ(most, 4);
  for (int i = 0; i < 40; ++i) {
    EXPECT_TRUE(rig.Commands().contains(KeyOf(std::to_string(i)))) << i;
  }
  EXPECT_EQ(rig.Committed(Topic::kChanges), rig.log.end(Topic::kChanges, 0));
}

// The local copy may be ahead of the commit, as a rebuilt one is; it is no position.
TEST(TransformerTest, ANewMappingStandsInFrontOfNoMoreThanAFewCommands) {
  Rig rig;
  rig.options.remap_unread_commands_max = 3;
  rig.PutSync(kMapping);
  rig.Start();
  for (int i = 0; i < 40; ++i) rig.PutCustomer(std::to_string(i), R"({"id":1,"name":"a"})");
  rig.Run();
  std::int64_t most = 0;
  rig.after_step = [&] {
    most = std::max(most, rig.stage().levels(rig.time.now()).unread_commands);
    return false;
  };
  const std::int64_t revision = rig.PutSync(std::string(kMapping) + "# Again.\n");
  rig.Run();

  EXPECT_EQ(most, 3);
  for (int i = 0; i < 40; ++i) {
    EXPECT_EQ(rig.Command(KeyOf(std::to_string(i))).version().revision(), revision) << i;
  }
}

TEST(TransformerTest, Rule33_WhatACopyHoldsBeyondTheCommitIsDerivedAtTheNextStart) {
  Rig rig;
  rig.options.unpersisted_changes_max = 3;
  rig.options.first_read_quiet = std::chrono::seconds(10);
  rig.PutSync(kMapping);
  rig.Start();
  rig.Run();
  for (int i = 0; i < 8; ++i) {
    Change row;
    row.id = std::to_string(i);
    row.customers = {row.id};
    row.document = R"({"id":1,"name":"first"})";
    row.first_read = true;
    rig.Put(row);
    rig.Run(std::chrono::milliseconds(100));
  }
  EXPECT_TRUE(rig.Commands().empty() || !rig.Commands().contains(KeyOf("0")));
  const std::optional<eventlog::Offset> committed = rig.Committed(Topic::kChanges);
  rig.Kill();
  EXPECT_LT(committed.value_or(0), rig.log.end(Topic::kChanges, 0) - 7);

  rig.Start(/*keeps_disk=*/true);
  rig.Run();

  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(FieldOf(rig.Command(KeyOf(std::to_string(i))), "name"), "first") << i;
  }
}

// Order is the extractor's: it compares (updated_at, read sequence) before it writes.
TEST(TransformerTest, Rule38_TheNewestValidEntryCountsWhateverItsTime) {
  Rig rig;
  rig.PutSync(kMapping);
  Change change;
  change.id = "1";
  change.customers = {"1"};
  change.document = R"({"id":1,"name":"first"})";
  change.updated_at = 2000;
  rig.Put(change);
  change.document = R"({"id":1,"name":"second"})";
  change.updated_at = 1000;
  rig.Put(change);
  rig.Start();
  rig.Run();

  EXPECT_EQ(FieldOf(rig.Command(KeyOf("1")), "name"), "second");
  EXPECT_EQ(rig.Command(KeyOf("1")).changed_at().seconds(), 1000);
}

TEST(TransformerTest, Rule2_NothingIsDerivedFromAVoidChangeUntilItsRepair) {
  Rig rig;
  rig.PutSync(kMapping);
  rig.PutCustomer("1", R"({"id":1,"name":"valid"})");
  rig.Start();
  rig.Run();
  v1::ChangeEvent zombie;
  zombie.mutable_entity()->set_kind("customers");
  zombie.mutable_entity()->set_id("1");
  zombie.mutable_entity()->add_customers("1");
  zombie.mutable_entity()->set_document(R"({"id":1,"name":"zombie"})");
  rig.PutVoid(Topic::kChanges, ids::ChangeKey("acme", "billing", "customers", "1"),
              zombie.SerializeAsString());
  rig.Put(Subscription("5", "1"));
  rig.Run();
  EXPECT_EQ(FieldOf(rig.Command(KeyOf("1")), "subscriptions"), "");

  // A new revision is not done before the repair either.
  const std::int64_t revision = rig.PutSync(std::string(kMapping) + "  more: customer.id\n");
  rig.Run();
  EXPECT_NE(rig.Command(kMapped).mapped().revision(), revision);

  const std::int64_t repaired = rig.PutCustomer("1", R"({"id":1,"name":"repaired"})");
  rig.Run();
  EXPECT_EQ(FieldOf(rig.Command(KeyOf("1")), "name"), "repaired");
  EXPECT_EQ(FieldOf(rig.Command(KeyOf("1")), "subscriptions"), "5");
  EXPECT_EQ(rig.Command(KeyOf("1")).version().offset(), repaired);
  EXPECT_EQ(rig.Command(kMapped).mapped().revision(), revision);
}

TEST(TransformerTest, Rule4_AVoidCommandIsDerivedAgain) {
  for (const bool before_start : {true, false}) {
    Rig rig;
    rig.PutSync(kMapping);
    rig.PutCustomer("1", R"({"id":1,"name":"Ada"})");
    rig.Start();
    rig.Run();
    if (before_start) rig.Kill();
    v1::Command zombie = rig.Command(KeyOf("1"));
    zombie.mutable_version()->set_offset(1'000'000);
    zombie.mutable_state()->clear_fields();
    rig.PutVoid(Topic::kCommands, KeyOf("1"), zombie.SerializeAsString());
    rig.PutVoid(Topic::kCommands, kMapped, zombie.SerializeAsString());
    if (before_start) rig.Start();
    rig.Run();

    EXPECT_EQ(FieldOf(rig.Command(KeyOf("1")), "name"), "Ada");
    EXPECT_TRUE(rig.Command(kMapped).has_mapped());
    // What is newest of the key is ours again.
    EXPECT_NE(rig.CommandHistory().back().second.version().offset(), 1'000'000);
    EXPECT_GE(rig.stage().counters().void_entries_repaired, 2);
  }
}

TEST(TransformerTest, Rule4_AVoidActionIsWrittenAgainAsItIs) {
  Rig rig;
  rig.PutSync(kMapping);
  rig.Start();
  rig.Run();
  v1::Command action;
  action.mutable_action()->set_action_id(std::string(32, 'a'));
  action.mutable_action()->set_operation("client.note.create");
  const std::string key = ids::ActionKey("acme", "main", std::string(32, 'a'));
  rig.PutVoid(Topic::kCommands, key, action.SerializeAsString());
  rig.Run();

  EXPECT_EQ(rig.Command(key).SerializeAsString(), action.SerializeAsString());
}

TEST(TransformerTest, AMappingErrorParksItsRecordAndTheOthersFlow) {
  Rig rig;
  rig.PutSync(kMapping);
  rig.PutCustomer("1", R"({"id":1,"divisor":0})");
  rig.PutCustomer("2", R"({"id":2,"name":"fine"})");
  rig.Start();
  rig.Run();

  const v1::Command failed = rig.Command(KeyOf("1"));
  EXPECT_THAT(failed.mapping_error(), HasSubstr("`failing`: file.yaml:7:15: division by zero"));
  EXPECT_THAT(failed.state().fields(), IsEmpty());
  EXPECT_EQ(FieldOf(rig.Command(KeyOf("2")), "name"), "fine");

  rig.PutCustomer("1", R"({"id":1,"divisor":1,"name":"repaired"})");
  rig.Run();
  EXPECT_EQ(rig.Command(KeyOf("1")).mapping_error(), "");
}

TEST(TransformerTest, ADocumentThatIsNoJsonParksItsRecord) {
  Rig rig;
  rig.PutSync(kMapping);
  rig.PutCustomer("1", "{\"id\":1,");
  rig.Start();
  rig.Run();

  EXPECT_THAT(rig.Command(KeyOf("1")).mapping_error(), HasSubstr("acme/billing/customers/1: JSON"));
}

TEST(TransformerTest, AnUndecodableRecordIsSetAsideInSight) {
  Rig rig;
  rig.PutSync(kMapping);
  const std::int64_t before = rig.PutRaw(Topic::kChanges, "acme/billing/customers/9", "\xFF\xFE");
  rig.Start();
  rig.Run();
  const std::int64_t behind = rig.PutRaw(Topic::kChanges, "acme/billing/customers/8", "\xFF\xFD");
  rig.log.Append(Topic::kEvents, 0, "acme", "\xFF\xFC");
  rig.PutCustomer("1", R"({"id":1,"name":"flows"})");
  rig.Run();

  ASSERT_THAT(rig.stage().set_aside(), SizeIs(3));
  EXPECT_EQ(rig.stage().set_aside()[0].offset, before);
  EXPECT_EQ(rig.stage().set_aside()[0].prefix_hex, "fffe");
  const bool events_first = rig.stage().set_aside()[1].topic == Topic::kEvents;
  EXPECT_EQ(rig.stage().set_aside()[events_first ? 2 : 1].offset, behind);
  EXPECT_THAT(rig.log_lines, Contains(HasSubstr("cannot be decoded")));
  EXPECT_EQ(FieldOf(rig.Command(KeyOf("1")), "name"), "flows");
}

TEST(TransformerTest, ASyncThatCannotBeCompiledStopsItselfAndSaysSo) {
  Rig rig;
  v1::TenantSnapshot snapshot;
  snapshot.set_tenant("acme");
  for (const char* name : {"broken", "main"}) {
    v1::Sync& sync = *snapshot.add_syncs();
    sync.set_name(name);
    sync.set_source("billing");
    sync.set_state(v1::SYNC_STATE_ACTIVE);
    sync.set_mapping(name == std::string("main")
                         ? rig.PutBlob(v1::Blob::KIND_MAPPING, kMapping)
                         : rig.PutBlob(v1::Blob::KIND_MAPPING, "object: x\nfields: {a: b c}"));
  }
  rig.PutSnapshot(snapshot);
  rig.PutCustomer("1", R"({"id":1,"name":"Ada"})");
  rig.Start();
  rig.Run();

  EXPECT_EQ(FieldOf(rig.Command(KeyOf("1")), "name"), "Ada");
  EXPECT_FALSE(rig.Commands().contains(KeyOf("1", "x", "broken")));
  const v1::ServiceStatus status = rig.sent().back().status();
  ASSERT_THAT(status.syncs(), SizeIs(2));
  EXPECT_EQ(status.syncs(0).state(), "failing");
  EXPECT_THAT(status.syncs(0).problem(), HasSubstr("file.yaml:2:15: error: unexpected `c`"));
  EXPECT_EQ(status.syncs(1).state(), "active");
  EXPECT_TRUE(status.ready());
}

TEST(TransformerTest, ItsStatusCanBeReadWhereAProblemIsCutInsideACharacter) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "\u20ac";
  // The cut is in each of the three bytes once.
  for (const std::string pad : {"", "x", "xx"}) {
    Rig rig;
    rig.PutSync("object: x\nfields: {a: \"b c '" + pad + text + "'\"}");
    rig.Start();
    rig.Run();

    const v1::ServiceStatus status = rig.sent().back().status();
    ASSERT_THAT(status.syncs(), SizeIs(1));
    EXPECT_GT(status.syncs(0).problem().size(), 1990U);
    v1::ServiceStatus read;
    EXPECT_TRUE(read.ParseFromString(status.SerializeAsString())) << pad;
  }
}

TEST(TransformerTest, TellsItsVersionsWhenAsked) {
  Rig rig;
  rig.PutSync(kMapping);
  const std::int64_t offset = rig.PutCustomer("1234", R"({"id":1234})");
  rig.PutCustomer("99", R"({"id":99})");
  rig.Start();
  rig.Run();
  const auto ask = [&](const std::string& id) {
    v1::ToService message;
    message.set_id(5);
    message.mutable_trace()->set_tenant("acme");
    message.mutable_trace()->set_kind("customers");
    message.mutable_trace()->set_id(id);
    rig.stage().OnControl(rig.time.now(), message);
    EXPECT_EQ(rig.sent().back().answer_to(), 5);
    return rig.sent().back().trace();
  };

  const v1::TraceResponse known = ask("1234");
  const v1::TraceResponse unknown = ask("1235");

  EXPECT_TRUE(known.found());
  EXPECT_EQ(known.entity(), "acme/billing/customers/1234");
  ASSERT_THAT(known.records(), SizeIs(1));
  EXPECT_EQ(known.records(0).key(), KeyOf("1234"));
  EXPECT_EQ(known.records(0).desired().offset(), offset);
  EXPECT_FALSE(unknown.found());
  EXPECT_EQ(unknown.nearest(0), "1234");
}

TEST(TransformerTest, TheSameHistoryGivesTheSameBytes) {
  const auto run = [] {
    Rig rig;
    rig.PutSync(kMapping);
    for (int i = 0; i < 20; ++i) {
      rig.PutCustomer(std::to_string(i), "{\"id\":" + std::to_string(i) + "}");
    }
    rig.Start();
    rig.Run();
    std::string bytes;
    for (const eventlog::Record& record : rig.log.records(Topic::kCommands, 0)) {
      bytes += record.key + "=" + record.value.value_or("") + "\n";
      for (const auto& [name, value] : record.headers)
        (bytes += name).append(":").append(value).append("\n");
    }
    return bytes;
  };
  EXPECT_EQ(run(), run());
}

TEST(TransformerTest, DrainsWithARelease) {
  Rig rig;
  rig.PutSync(kMapping);
  rig.PutCustomer("1", R"({"id":1})");
  rig.Start();
  rig.Run();
  rig.stage().Drain(rig.time.now());
  rig.Run();

  EXPECT_TRUE(rig.stage().drained());
  bool released = false;
  for (const eventlog::Record& record : rig.log.records(Topic::kCommands, 0)) {
    released = released || record.key.starts_with("!r/");
  }
  EXPECT_TRUE(released);
}

}  // namespace
}  // namespace tributary::transformer

#include <algorithm>
#include <string>

#include "gtest/gtest.h"

#include "libs/ids/keys.h"
#include "tests/unit/services/transformer/rig.h"

// Topics are made anew (protocol rule 35).

namespace tributary::transformer {
namespace {

using eventlog::Topic;

constexpr char kNameMapping[] = R"(
object: client
fields: {name: customer.name}
)";

// Until nothing is left to do.
void RunWithOneCustomer(Rig& rig) {
  rig.PutSync(kNameMapping);
  rig.PutCustomer("1", R"({"id":1,"name":"Ada"})");
  rig.Start();
  rig.Run();
}

// Control writes `tenants` again only after a while.
TEST(TransformerTest, Rule35_WhatALostTenantsDoesNotSayIsNotWithdrawn) {
  Rig rig;
  // So many that the revision after the loss is a smaller offset.
  for (int i = 0; i < 5; ++i) rig.PutSync(kNameMapping);
  rig.PutCustomer("1", R"({"id":1,"name":"Ada"})");
  rig.Start();
  rig.Run();
  const v1::Version before = rig.Command(KeyOf("1")).version();
  rig.Kill();
  rig.log.Lose(Topic::kTenants, 0);
  rig.log.FoundAnew(before.generation() + 1);

  rig.Start();
  rig.Run();

  EXPECT_EQ(rig.Command(KeyOf("1")).state().presence(), v1::DesiredState::PRESENCE_PRESENT);
  EXPECT_EQ(rig.Command(KeyOf("1")).version().generation(), before.generation());

  const std::int64_t revision = rig.PutSync(kNameMapping);
  rig.Run();

  ASSERT_LT(revision, before.revision());
  EXPECT_EQ(rig.Command(KeyOf("1")).state().presence(), v1::DesiredState::PRESENCE_PRESENT);
  EXPECT_EQ(rig.Command(KeyOf("1")).version().generation(), before.generation() + 1);
  EXPECT_EQ(rig.Command(KeyOf("1")).version().revision(), revision);
}

// Seed 514 of the simulation: control's snapshot stands at the offset at which it stood in the
// `tenants` that was lost, so its revision is the one that was mapped already, and the change that
// came while no tenant was known is committed.
TEST(TransformerTest, Rule36_ARevisionThatComesAgainInANewTenantsMapsEveryCustomer) {
  Rig rig;
  const std::int64_t before = rig.PutSync(kNameMapping);
  rig.PutCustomer("1", R"({"id":1,"name":"Ada"})");
  rig.Start();
  rig.Run();
  rig.Kill();
  rig.log.Lose(Topic::kTenants, 0);
  rig.log.FoundAnew(kGeneration + 1);
  rig.PutCustomer("1", R"({"id":1,"name":"Eve"})");
  rig.Start();
  rig.Run();
  ASSERT_EQ(rig.Committed(Topic::kChanges), rig.log.end(Topic::kChanges, 0));
  ASSERT_EQ(FieldOf(rig.Command(KeyOf("1")), "name"), "Ada");

  rig.log.Append(Topic::kTenants, 0, "!f/test/0", std::nullopt, {});
  const std::int64_t revision = rig.PutSync(kNameMapping);
  rig.Run();

  ASSERT_EQ(revision, before);
  EXPECT_EQ(FieldOf(rig.Command(KeyOf("1")), "name"), "Eve");
  EXPECT_EQ(rig.Command(KeyOf("1")).version().generation(), kGeneration + 1);
  EXPECT_EQ(rig.Command(ids::MappedKey("acme", "main")).mapped().generation(), kGeneration + 1);
}

// The last snapshot of a control that died lands in the new `tenants` in front of its founding. Its
// revision is a large offset of the old one, and would outbid what control writes.
TEST(TransformerTest, Rule35_ASnapshotInFrontOfTheFoundingOfANewTenantsMapsNothing) {
  Rig rig;
  for (int i = 0; i < 5; ++i) rig.PutSync(kNameMapping);
  rig.PutCustomer("1", R"({"id":1,"name":"Ada"})");
  rig.Start();
  rig.Run();
  const v1::Version before = rig.Command(KeyOf("1")).version();
  rig.Kill();
  rig.log.Lose(Topic::kTenants, 0);
  for (int i = 0; i < 5; ++i)
    rig.PutSync("object: client\nfields: {name: 'customer.name + \"!\"'}");
  rig.log.FoundAnew(kGeneration + 1);
  rig.Start();
  rig.Run();
  EXPECT_EQ(rig.Command(KeyOf("1")).version().generation(), before.generation());
  EXPECT_EQ(FieldOf(rig.Command(KeyOf("1")), "name"), "Ada");
}

// Seed 49 of the simulation: what is read first of a `changes` that was made anew is an invoice of
// a customer that is gone, and what stood of the customer is replaced by "unwanted".
TEST(TransformerTest, WhoIsNamedBySomethingWasThereThoughOnlyAMarkerSaysSo) {
  Rig rig;
  rig.PutSync(kNameMapping);
  rig.PutCustomer("1", R"({"id":1,"name":"Ada"})");
  Change gone{.id = "1", .customers = {"1"}, .document = R"({"id":1,"name":"Ada"})", .gone = true};
  rig.Put(gone);
  rig.Start();
  rig.Run();
  ASSERT_EQ(rig.Command(KeyOf("1")).state().presence(), v1::DesiredState::PRESENCE_GONE);
  rig.Kill();
  rig.log.Lose(Topic::kChanges, 0);
  rig.log.FoundAnew(kGeneration + 1);
  rig.Start();
  rig.Run();

  rig.Put({.kind = "invoices", .id = "7", .customers = {"1"}, .document = R"({"id":7})"});
  rig.Run();
  EXPECT_EQ(rig.Command(KeyOf("1")).state().presence(), v1::DesiredState::PRESENCE_UNWANTED);
  gone.document = "";
  rig.Put(gone);
  rig.Run();
  EXPECT_EQ(rig.Command(KeyOf("1")).state().presence(), v1::DesiredState::PRESENCE_GONE);
}

constexpr char kSignupRules[] = R"(
rules:
  - id: signup
    when: {event: signup_success}
    do: [{operation: client.note.create, with: {text: '"Welcome"'}}]
)";

v1::SourceEvent Signup(const std::string& id) {
  v1::SourceEvent event;
  event.set_connection("billing");
  event.set_id(id);
  event.set_key("signup_success");
  event.set_live(true);
  event.set_customer("1");
  event.set_document("{\"id\":" + id + "}");
  return event;
}

// Seed 12791 of the simulation: an event that was read before control had written a `tenants` that
// was made anew fired no rule, and was committed.
TEST(TransformerTest, Rule37_AnEventWaitsForATenantsThatWasMadeAnew) {
  Rig rig;
  rig.PutSync(kNameMapping, kSignupRules);
  rig.Start();
  rig.Run();
  rig.Kill();
  rig.log.Lose(Topic::kTenants, 0);
  rig.log.FoundAnew(kGeneration + 1);
  const std::int64_t first = rig.PutEvent(Signup("77"));

  rig.Start();
  rig.Run();
  EXPECT_EQ(rig.Actions().size(), 0U);
  EXPECT_LE(rig.Committed(Topic::kEvents).value_or(0), first);

  rig.PutSync(kNameMapping, kSignupRules);
  rig.Run();
  EXPECT_EQ(rig.Actions().size(), 1U);
  EXPECT_EQ(rig.Committed(Topic::kEvents), rig.log.end(Topic::kEvents, 0));
}

// Somebody else's record, or a tenant that control has lost: others are not held up by it, and it
// does not stay for ever.
TEST(TransformerTest, AnEventOfATenantThatNobodyKnowsHoldsUpNobodyAndPassesInSight) {
  Rig rig;
  rig.options.unknown_tenant_wait_max = std::chrono::minutes(10);
  rig.PutSync(kNameMapping, kSignupRules);
  rig.Start();
  const std::int64_t unknown = rig.PutEvent(Signup("76"), "nobody");
  rig.PutEvent(Signup("77"));
  rig.Run();
  EXPECT_EQ(rig.Actions().size(), 1U);
  EXPECT_LE(rig.Committed(Topic::kEvents).value_or(0), unknown);
  const auto passed = [&] {
    return std::count_if(rig.log_lines.begin(), rig.log_lines.end(), [](const std::string& line) {
      return line.find("An event passed: nothing tells of its tenant.") != std::string::npos;
    });
  };
  EXPECT_EQ(passed(), 0);

  rig.Run(std::chrono::minutes(11));
  EXPECT_EQ(passed(), 1);
  EXPECT_EQ(rig.Actions().size(), 1U);
  EXPECT_EQ(rig.Committed(Topic::kEvents), rig.log.end(Topic::kEvents, 0));
}

// Seed 2553 of the simulation: the last commit of the old topic lands behind its loss.
TEST(TransformerTest, Rule33_ACommitOfALostChangesCountsForNothing) {
  for (int wait_ms = 1; wait_ms < 120; wait_ms += 3) {
    Rig rig;
    rig.PutSync(kNameMapping);
    for (int i = 0; i < 20; ++i) rig.PutCustomer("1", R"({"id":1,"name":"Ada"})");
    rig.Start();
    rig.Run();
    rig.PutCustomer("1", R"({"id":1,"name":"Bob"})");
    rig.Run(std::chrono::milliseconds(wait_ms));
    rig.log.Lose(Topic::kChanges, 0);
    rig.Run(std::chrono::milliseconds(50));
    rig.Kill();
    rig.log.FoundAnew(kGeneration + 1);
    rig.PutCustomer("1", R"({"id":1,"name":"Eve"})");
    rig.Start();
    rig.Run();

    ASSERT_EQ(FieldOf(rig.Command(KeyOf("1")), "name"), "Eve") << wait_ms << " ms";
  }
}

// Seed 5003873 of the simulation: the first owner of the new topic finds nobody to map and dies,
// and the next one finds the position within what has been read meanwhile.
TEST(TransformerTest, Rule33_ACommitOfALostChangesIsNotBelievedWhenTheNewOneHasGrown) {
  for (int steps = 1; steps < 120; ++steps) {
    Rig rig;
    rig.PutSync(kNameMapping);
    for (int i = 0; i < 20; ++i) rig.PutCustomer("1", R"({"id":1,"name":"Ada"})");
    rig.Start();
    rig.Run();
    rig.Kill();
    // That of version 0.1 has none.
    const std::string mark =
        steps % 2 == 0 ? rig.log.mark("transformer", Topic::kChanges, 0) : std::string();
    rig.log.Lose(Topic::kChanges, 0);
    rig.log.LandCommit("transformer", Topic::kChanges, 0, 15, mark);
    rig.log.FoundAnew(kGeneration + 1);
    int left = (steps + 1) / 2;
    rig.after_step = [&left] { return --left == 0; };
    rig.Start();
    rig.Run();
    rig.after_step = nullptr;
    if (rig.is_running()) rig.Kill();
    rig.PutCustomer("1", R"({"id":1,"name":"Eve"})");
    for (int i = 0; i < 20; ++i) rig.PutCustomer("2", R"({"id":2,"name":"Bob"})");
    rig.Start();
    rig.Run();

    ASSERT_EQ(FieldOf(rig.Command(KeyOf("1")), "name"), "Eve") << steps << " steps";
  }
}

// A sync was removed when `changes` was made anew: its records are withdrawn in the new generation,
// whose offsets begin again, and what the sync writes when it is back comes behind that.
TEST(TransformerTest, Rule35_WhatWasWithdrawnInANewGenerationComesBack) {
  Rig rig;
  rig.PutSync(kNameMapping);
  for (int i = 0; i < 20; ++i) rig.PutCustomer("1", R"({"id":1,"name":"Ada"})");
  rig.Start();
  rig.Run();
  const v1::Version before = rig.Command(KeyOf("1")).version();
  rig.Kill();
  rig.log.Lose(Topic::kChanges, 0);
  rig.log.FoundAnew(before.generation() + 1);
  rig.PutSync(kNameMapping, "", v1::SYNC_STATE_REMOVED);
  rig.Start();
  rig.Run();
  const v1::Command withdrawn = rig.Command(KeyOf("1"));
  ASSERT_EQ(withdrawn.state().presence(), v1::DesiredState::PRESENCE_WITHDRAWN);
  EXPECT_EQ(withdrawn.version().generation(), before.generation() + 1);

  rig.PutSync(kNameMapping);
  const std::int64_t read_again = rig.PutCustomer("1", R"({"id":1,"name":"Eve"})");
  rig.Run();

  ASSERT_LT(read_again, before.offset());
  EXPECT_EQ(rig.Command(KeyOf("1")).state().presence(), v1::DesiredState::PRESENCE_PRESENT);
  EXPECT_EQ(FieldOf(rig.Command(KeyOf("1")), "name"), "Eve");
}

// What `commands` held of actions that were not done yet, only their sources know.
TEST(TransformerTest, Rule37_BeforeAnythingIsWrittenIntoANewCommandsTheSourcesAreAskedForEvents) {
  Rig rig;
  RunWithOneCustomer(rig);
  rig.Kill();
  ASSERT_TRUE(rig.log.records(Topic::kNotifications, 0).empty());
  rig.log.Lose(Topic::kCommands, 0);
  rig.log.FoundAnew(kGeneration + 1);
  // Killed at every step.
  for (int steps = 1; rig.Commands().empty() && steps < 500; ++steps) {
    rig.after_step = [left = steps]() mutable { return --left == 0; };
    rig.Start();
    rig.Run();
    if (!rig.Commands().empty()) {
      ASSERT_FALSE(rig.log.records(Topic::kNotifications, 0).empty()) << steps;
    }
    if (rig.is_running()) rig.Kill();
  }
  rig.after_step = nullptr;
  const std::size_t asked = rig.log.records(Topic::kNotifications, 0).size();
  rig.Start();
  rig.Run();

  EXPECT_EQ(rig.Command(KeyOf("1")).version().generation(), kGeneration + 1);
  ASSERT_GT(asked, 0u);
  v1::Notification notification;
  ASSERT_TRUE(notification.ParseFromString(
      rig.log.records(Topic::kNotifications, 0).front().value.value_or("")));
  EXPECT_EQ(notification.connection(), "billing");
  EXPECT_TRUE(notification.has_read_events_again_from());
  // And not at each start for ever.
  EXPECT_EQ(rig.log.records(Topic::kNotifications, 0).size(), asked);
}

TEST(TransformerTest, Rule37_WhatAStreamOfEventsHeldThatWasLostIsAskedFor) {
  Rig rig;
  RunWithOneCustomer(rig);
  // Nothing was lost so far: nothing has occurred.
  rig.Kill();
  rig.Start();
  rig.Run();
  ASSERT_TRUE(rig.log.records(Topic::kNotifications, 0).empty());
  rig.Kill();
  rig.log.Lose(Topic::kEvents, 0);
  for (int starts = 0; starts < 3; ++starts) {
    rig.Start();
    rig.Run();
    rig.Kill();
  }

  EXPECT_EQ(rig.log.records(Topic::kNotifications, 0).size(), 1u);
}

TEST(TransformerTest, Rule37_ACommitThatLandsInANewStreamOfEventsDoesNotHideTheLoss) {
  Rig rig;
  rig.PutSync(kNameMapping);
  rig.PutCustomer("1", R"({"id":1,"name":"Ada"})");
  rig.Start();
  rig.Run();
  rig.log.Lose(Topic::kEvents, 0);
  rig.Kill();
  rig.log.LandCommit("transformer", Topic::kEvents, 0, 40, "");
  for (int starts = 0; starts < 2; ++starts) {
    rig.Start();
    rig.Run();
    rig.Kill();
  }

  EXPECT_EQ(rig.log.records(Topic::kNotifications, 0).size(), 1u);
  EXPECT_EQ(rig.log.committed("transformer", Topic::kEvents, 0), 0);
}

TEST(TransformerTest, Rule37_NorDoesItWhenTheNewStreamHasGrownBeyondIt) {
  for (const bool has_mark : {true, false}) {
    Rig rig;
    RunWithOneCustomer(rig);
    const auto put = [&rig](int i) {
      v1::SourceEvent event;
      event.set_id(std::to_string(i));
      event.set_connection("billing");
      event.set_key("signup_success");
      event.set_live(true);
      rig.PutEvent(event);
    };
    for (int i = 0; i < 3; ++i) put(i);
    rig.Run();
    rig.Kill();
    ASSERT_EQ(rig.Committed(Topic::kEvents), 3);
    const std::string mark = rig.log.mark("transformer", Topic::kEvents, 0);
    rig.log.Lose(Topic::kEvents, 0);
    rig.log.LandCommit("transformer", Topic::kEvents, 0, 3, has_mark ? mark : "");
    for (int i = 3; i < 10; ++i) put(i);
    for (int starts = 0; starts < 3; ++starts) {
      rig.Start();
      rig.Run();
      rig.Kill();
    }

    // Version 0.1 wrote no marks: its position looks like one of this stream.
    EXPECT_EQ(rig.log.records(Topic::kNotifications, 0).size(), has_mark ? 1u : 0u);
    EXPECT_EQ(rig.Committed(Topic::kEvents), 7);
  }
}

}  // namespace
}  // namespace tributary::transformer

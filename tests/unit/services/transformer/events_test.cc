#include <optional>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/ids/keys.h"
#include "tests/unit/services/transformer/rig.h"

// Rules 28 and 37 of the protocol: from live events to actions.

namespace tributary::transformer {
namespace {

using eventlog::Topic;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kNameAlone[] = "object: client\nfields: {name: customer.name}\n";
constexpr char kEventRules[] = R"(
rules:
  - id: ended
    when:
      event: [subscription_state_change, key_of_2031]
      condition: customer.name != "Nobody"
    do:
      - operation: client.note.create
        with: {text: '"Ended for " + customer.name + " at " + string(now)'}
      - {operation: client.note.create, with: {text: '"second"'}, at_least_once: true}
  - id: failing
    when: {event: key_that_fails}
    do: [{operation: client.note.create, with: {text: customer.nothing.size()}}]
)";

v1::SourceEvent Event(const std::string& id, const std::string& name,
                      const std::string& key = "subscription_state_change") {
  v1::SourceEvent event;
  event.set_connection("billing");
  event.set_id(id);
  event.set_key(key);
  event.set_live(true);
  event.set_customer("1");
  event.mutable_occurred_at()->set_seconds(1'700'000'000);
  event.set_document("{\"id\":" + id + ",\"key\":\"" + key + "\"}");
  v1::Entity& entity = *event.add_entities();
  entity.set_kind("customers");
  entity.set_id("1");
  entity.set_document("{\"id\":1,\"name\":\"" + name + "\"}");
  return event;
}

std::string KeyOfAction(const std::string& event, const std::string& rule, std::int32_t step) {
  return ids::ActionKey("acme", "main", ids::ActionId("acme", "main", event, rule, step, 0));
}

TEST(TransformerEventTest, Rule28_ALiveEventBecomesActionsUnderDeterministicIds) {
  Rig rig;
  rig.PutSync(kNameAlone, kEventRules);
  rig.PutCustomer("1", R"({"id":1,"name":"Ada"})");
  rig.Start();
  rig.PutEvent(Event("77", "Ada"));
  rig.Run();

  ASSERT_THAT(rig.Actions(), SizeIs(2));
  const v1::Command first = rig.Command(KeyOfAction("77", "ended", 0));
  const v1::Command second = rig.Command(KeyOfAction("77", "ended", 1));
  EXPECT_EQ(first.action().operation(), "client.note.create");
  EXPECT_EQ(first.action().arguments(0).value().text(), "Ended for Ada at 2023-11-14T22:13:20Z");
  EXPECT_EQ(first.action().record_key(), KeyOf("1"));
  EXPECT_EQ(first.action().event_time().seconds(), 1'700'000'000);
  EXPECT_EQ(first.action().after_action_id(), "");
  EXPECT_EQ(first.customer(), "1");
  EXPECT_FALSE(first.has_version());
  EXPECT_EQ(second.action().after_action_id(), first.action().action_id());
  EXPECT_TRUE(second.action().at_least_once());
}

TEST(TransformerEventTest, Rule37_OnlyLiveEventsFire) {
  Rig rig;
  rig.PutSync(kNameAlone, kEventRules);
  rig.Start();
  v1::SourceEvent replayed = Event("77", "Ada");
  replayed.set_live(false);
  rig.PutEvent(replayed);
  rig.Run();

  EXPECT_THAT(rig.Actions(), IsEmpty());
  EXPECT_EQ(rig.Committed(Topic::kEvents), rig.log.end(Topic::kEvents, 0));
}

TEST(TransformerEventTest, Rule37_AnEventSeesOnlyTheEntitiesThatItCarries) {
  Rig rig;
  rig.PutSync(kNameAlone, kEventRules);
  // By now the customer is called otherwise; the event decides as it was.
  rig.PutCustomer("1", R"({"id":1,"name":"Nobody"})");
  rig.Start();
  rig.PutEvent(Event("77", "Ada"));
  rig.PutEvent(Event("78", "Nobody"));
  rig.Run();

  ASSERT_THAT(rig.Actions(), SizeIs(2));
  EXPECT_TRUE(rig.Commands().contains(KeyOfAction("77", "ended", 0)));
}

TEST(TransformerEventTest, Rule37_ACustomerThatNobodyEverReadIsGoneAllTheSame) {
  Rig rig;
  rig.PutSync(kNameAlone, R"(
rules:
  - id: left
    when: {event: customer_delete, condition: gone}
    do: [{operation: client.note.create, with: {text: '"left"'}}]
  - id: still_there
    when: {event: customer_delete, condition: "!gone"}
    do: [{operation: client.note.create, with: {text: '"still there"'}}]
)");
  rig.Start();
  // Created and deleted between two polls: its marker has no document.
  v1::SourceEvent event = Event("77", "Ada", "customer_delete");
  event.mutable_entities(0)->clear_document();
  event.mutable_entities(0)->set_gone(true);
  rig.PutEvent(event);
  rig.Run();

  EXPECT_THAT(rig.Actions(), SizeIs(1));
  EXPECT_TRUE(rig.Commands().contains(KeyOfAction("77", "left", 0)));
}

TEST(TransformerEventTest, Rule37_AnEventKeyThatNobodyEverSawFires) {
  Rig rig;
  rig.PutSync(kNameAlone, kEventRules);
  rig.Start();
  rig.PutEvent(Event("5", "Ada", "key_of_2031"));
  rig.PutEvent(Event("6", "Ada", "key_that_nobody_listens_to"));
  rig.Run();

  EXPECT_THAT(rig.Actions(), SizeIs(2));
}

TEST(TransformerEventTest, Rule37_ActionsAreAcknowledgedBeforeTheCommitAtEveryStep) {
  for (int killed_at = 1; killed_at < 40; killed_at += 2) {
    Rig rig;
    rig.PutSync(kNameAlone, kEventRules);
    std::vector<std::int64_t> offsets;
    for (int i = 0; i < 6; ++i) {
      offsets.push_back(rig.PutEvent(Event(std::to_string(100 + i), "Ada")));
    }
    int steps = 0;
    rig.after_step = [&] {
      const std::optional<eventlog::Offset> committed = rig.Committed(Topic::kEvents);
      for (std::size_t i = 0; i < offsets.size(); ++i) {
        if (committed && offsets[i] < *committed) {
          EXPECT_TRUE(rig.Commands().contains(KeyOfAction(std::to_string(100 + i), "ended", 1)));
        }
      }
      return ++steps == killed_at;
    };
    rig.Start();
    rig.Run();
    rig.after_step = nullptr;
    if (rig.is_running()) rig.Kill();
    rig.Start();
    rig.Run(std::chrono::seconds(40));

    EXPECT_THAT(rig.Actions(), SizeIs(12)) << killed_at;
    EXPECT_EQ(rig.Committed(Topic::kEvents), rig.log.end(Topic::kEvents, 0)) << killed_at;
  }
}

TEST(TransformerEventTest, Rule37_WhatExpiredUnreadIsAskedForAndOnlyThenPassed) {
  Rig rig;
  rig.options.action_age = std::chrono::hours(24 * 30);
  rig.PutSync(kNameAlone, kEventRules);
  for (const char* const id : {"77", "78", "79"}) rig.PutEvent(Event(id, "Ada"));
  rig.log.ExpireBefore(Topic::kEvents, 0, 2);
  // Killed at every step: whoever comes next is told too.
  for (int steps = 1; steps < 40; ++steps) {
    rig.after_step = [&rig, left = steps]() mutable {
      return --left == 0 && rig.Committed(Topic::kEvents).value_or(0) == 0;
    };
    rig.Start();
    rig.Run();
    if (rig.Committed(Topic::kEvents)) {
      ASSERT_FALSE(rig.log.records(Topic::kNotifications, 0).empty());
    }
    if (rig.is_running()) rig.Kill();
  }
  rig.after_step = nullptr;
  rig.Start();
  rig.Run();

  EXPECT_EQ(rig.Committed(Topic::kEvents), rig.log.end(Topic::kEvents, 0));
  EXPECT_THAT(rig.Actions(), SizeIs(2));
  EXPECT_EQ(rig.stage().counters().expired_unread, 0);
  const eventlog::Record& asked = rig.log.records(Topic::kNotifications, 0).front();
  v1::Notification notification;
  ASSERT_TRUE(notification.ParseFromString(asked.value.value_or("")));
  EXPECT_EQ(asked.key, "acme");
  EXPECT_EQ(notification.connection(), "billing");
  EXPECT_TRUE(notification.has_read_events_again_from());
}

TEST(TransformerEventTest, Rule37_ActionsOfALostCommandsAreWrittenAgainFromTheEventsAsTheyWere) {
  Rig rig;
  rig.PutSync(kNameAlone, kEventRules);
  rig.Start();
  rig.PutEvent(Event("77", "Ada"));
  rig.Run();
  ASSERT_THAT(rig.Actions(), SizeIs(2));
  const v1::Command before = rig.Command(KeyOfAction("77", "ended", 0));
  rig.Kill();
  rig.log.Lose(Topic::kCommands, 0);
  rig.log.FoundAnew(kGeneration + 1);
  rig.Start();
  rig.Run();

  EXPECT_THAT(rig.Actions(), SizeIs(2));
  EXPECT_EQ(rig.Command(KeyOfAction("77", "ended", 0)).SerializeAsString(),
            before.SerializeAsString());
  EXPECT_EQ(rig.Committed(Topic::kEvents), rig.log.end(Topic::kEvents, 0));
}

TEST(TransformerEventTest, AnEventsQueueThatIsFullHoldsReadingBack) {
  Rig rig;
  rig.PutSync(kNameAlone, kEventRules);
  rig.Start();
  rig.Run();
  // Nobody tells of their tenant, so none is handled.
  for (int i = 0; i < 3000; ++i) rig.PutEvent(Event(std::to_string(i), "Ada"), "nobody");
  rig.Run();

  const Levels levels = rig.stage().levels(rig.time.now());
  EXPECT_GE(levels.events, levels.events_max);
  EXPECT_LT(levels.events, 2 * levels.events_max);
  EXPECT_EQ(levels.events_of_unknown_tenants, levels.events);
}

TEST(TransformerEventTest, Rule28_AnEventThatComesAgainWritesNothingAgain) {
  Rig rig;
  rig.PutSync(kNameAlone, kEventRules);
  rig.Start();
  rig.PutEvent(Event("77", "Ada"));
  rig.PutEvent(Event("77", "Ada"));
  rig.Run();
  rig.PutEvent(Event("77", "Ada"));
  rig.Run();

  std::set<std::string> keys;
  for (const auto& [key, command] : rig.CommandHistory()) {
    if (!command.has_action()) continue;
    EXPECT_TRUE(keys.insert(key).second) << key;
  }
  EXPECT_THAT(keys, SizeIs(2));
}

TEST(TransformerEventTest, ARuleThatFailsIsAnActionThatShowsIt) {
  Rig rig;
  rig.PutSync(kNameAlone, kEventRules);
  rig.Start();
  rig.PutEvent(Event("9", "Ada", "key_that_fails"));
  v1::SourceEvent nobody = Event("10", "Ada");
  nobody.clear_customer();
  nobody.mutable_entities(0)->set_kind("invoices");
  rig.PutEvent(nobody);
  rig.Run();

  const v1::Command failed = rig.Command(KeyOfAction("9", "failing", 0));
  EXPECT_THAT(failed.mapping_error(), HasSubstr("`failing.text`: file.yaml:13:"));
  EXPECT_THAT(failed.action().arguments(), IsEmpty());
  const v1::Command unnamed = rig.Command(KeyOfAction("10", "ended", 1));
  EXPECT_EQ(unnamed.mapping_error(), "the event names no customer");
  EXPECT_EQ(rig.Committed(Topic::kEvents), rig.log.end(Topic::kEvents, 0));
}

TEST(TransformerEventTest, ASyncFromAnotherConnectionHearsNothing) {
  Rig rig;
  rig.PutSync(kNameAlone, kEventRules);
  rig.Start();
  v1::SourceEvent elsewhere = Event("77", "Ada");
  elsewhere.set_connection("other");
  rig.PutEvent(elsewhere);
  rig.PutEvent(Event("78", "Ada"), "another-tenant");
  rig.Run();

  EXPECT_THAT(rig.Actions(), IsEmpty());
}

v1::ToService DoAgain(const std::string& key, std::int64_t id, bool replay = true) {
  v1::ToService message;
  message.set_id(id);
  message.mutable_decide_parked()->set_key(key);
  message.mutable_decide_parked()->set_replay(replay);
  return message;
}

void Tell(Rig& rig, const v1::ToService& message) {
  rig.stage().OnControl(rig.time.now(), message);
}

// None: not answered yet.
std::optional<std::string> AnswerTo(const Rig& rig, std::int64_t id) {
  for (const v1::FromService& message : rig.sent()) {
    if (message.answer_to() == id) return message.decided().problem();
  }
  return std::nullopt;
}

TEST(TransformerEventTest, Rule28_DoneAgainAnActionIsANewAttemptUnderAnIdOfItsOwn) {
  Rig rig;
  rig.PutSync(kNameAlone, kEventRules);
  rig.Start();
  rig.PutEvent(Event("77", "Ada"));
  rig.Run();
  const std::string first = KeyOfAction("77", "ended", 0);
  const std::string second =
      ids::ActionKey("acme", "main", ids::ActionId("acme", "main", "77", "ended", 0, 1));
  const std::string third =
      ids::ActionKey("acme", "main", ids::ActionId("acme", "main", "77", "ended", 0, 2));

  Tell(rig, DoAgain(first, 41));
  EXPECT_EQ(AnswerTo(rig, 41), std::nullopt) << "it is not durable yet";
  rig.Run();

  EXPECT_EQ(AnswerTo(rig, 41), "");
  ASSERT_THAT(rig.Actions(), SizeIs(3));
  v1::Command expected = rig.Command(first);
  expected.mutable_action()->set_attempt(1);
  expected.mutable_action()->set_action_id(ids::ActionId("acme", "main", "77", "ended", 0, 1));
  EXPECT_EQ(rig.Command(second).SerializeAsString(), expected.SerializeAsString());

  // The same person's second question is the same attempt; that of the new one is the next.
  Tell(rig, DoAgain(first, 42));
  Tell(rig, DoAgain(second, 43));
  rig.Run();
  EXPECT_EQ(AnswerTo(rig, 42), "");
  EXPECT_EQ(AnswerTo(rig, 43), "");
  ASSERT_THAT(rig.Actions(), SizeIs(4));
  EXPECT_EQ(rig.Command(third).action().attempt(), 2);
}

TEST(TransformerEventTest, Rule28_WhatCannotBeDoneAgainSaysWhy) {
  Rig rig;
  rig.PutSync(kNameAlone, kEventRules);
  rig.Start();
  rig.PutEvent(Event("9", "Ada", "key_that_fails"));
  rig.Run();

  Tell(rig, DoAgain(KeyOfAction("9", "failing", 0), 1));
  Tell(rig, DoAgain(KeyOfAction("1000", "ended", 0), 2));
  Tell(rig, DoAgain(KeyOf("1"), 3));
  Tell(rig, DoAgain(ids::ActionKey("acme", "gone", std::string(32, 'a')), 4));
  rig.Run();

  EXPECT_THAT(AnswerTo(rig, 1).value_or(""), HasSubstr("its rule failed"));
  EXPECT_THAT(AnswerTo(rig, 2).value_or(""), HasSubstr("not kept"));
  EXPECT_THAT(AnswerTo(rig, 3).value_or(""), HasSubstr("only actions"));
  EXPECT_THAT(AnswerTo(rig, 4).value_or(""), HasSubstr("removed"));
  EXPECT_THAT(rig.Actions(), SizeIs(1));
}

}  // namespace
}  // namespace tributary::transformer

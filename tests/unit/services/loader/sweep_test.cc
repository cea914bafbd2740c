#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/ids/keys.h"
#include "tests/unit/services/loader/rig.h"

// Protocol rule 15: beyond its bounds a state is wrong until the sweep, which repairs it; of a
// second record or action it can only tell.

namespace tributary::loader {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class LoaderSweepTest : public testing::Test {
 protected:
  LoaderSweepTest() { rig_.options.sweep_share_percent = 100; }

  std::vector<v1::ParkedItem> Parked() {
    v1::ToService message;
    message.mutable_list_parked();
    const v1::ListParkedResponse response = rig_.Ask(message).parked();
    return {response.items().begin(), response.items().end()};
  }
  v1::SweepStatus Order(bool starts, const std::string& connection) {
    v1::ToService message;
    message.mutable_sweep()->set_tenant("acme");
    message.mutable_sweep()->set_connection(connection);
    message.mutable_sweep()->set_start(starts);
    const v1::SweepResponse response = rig_.Ask(message).swept();
    return response.connections_size() == 1 ? response.connections(0) : v1::SweepStatus();
  }
  std::int64_t Count(const std::string& integration, Compared what) const {
    return rig_.counters().by_integration.at(integration).compared[static_cast<std::size_t>(what)];
  }
  /// L is 2 s here. What is given up on is done 6 s later, when its successor has been done.
  void WriteAndHaveAnOlderStateLandBeyondL() {
    rig_.Client(1, "Ada", 1);
    rig_.Start();
    rig_.Run(seconds(1));
    rig_.Faults(
        R"([{"target":"rest","match":"PUT","kind":"apply_late","delay_ms":6000,"count":1}])");
    rig_.Client(1, "Beth", 2);
    rig_.Run(milliseconds(1500));
    rig_.Client(1, "Carol", 3);
    rig_.Run(seconds(3));
    ASSERT_EQ(rig_.ClientName(1), "Carol");
    rig_.Run(seconds(3));
    ASSERT_EQ(rig_.ClientName(1), "Beth");
  }

  Rig rig_;
};

TEST_F(LoaderSweepTest, AStateThatLandsBeyondLIsRepaired) {
  WriteAndHaveAnOlderStateLandBeyondL();
  rig_.Run(seconds(15));

  EXPECT_EQ(rig_.ClientName(1), "Carol");
  EXPECT_EQ(Count("rest", Compared::kDiffers), 1);
  const v1::RecordEntry entry =
      rig_.Entry(ids::StateKey("acme", "crm", "client", "customers", "1"));
  EXPECT_EQ(entry.resolved().offset(), 3);
  EXPECT_EQ(entry.outcome(), v1::OUTCOME_APPLIED);
  rig_.Run(minutes(5));
  // It looked again, and then for the last time.
  EXPECT_EQ(Count("rest", Compared::kDiffers), 1);
  EXPECT_GE(Count("rest", Compared::kEqual), 1);
  EXPECT_FALSE(rig_.Entry(ids::StateKey("acme", "crm", "client", "customers", "1"))
                   .comparison()
                   .has_due_at());
}

TEST_F(LoaderSweepTest, WithoutTheSweepItStaysWrong) {
  rig_.options.sweep_period = {};
  WriteAndHaveAnOlderStateLandBeyondL();
  rig_.Run(hours(1));
  EXPECT_EQ(rig_.ClientName(1), "Beth");
}

TEST_F(LoaderSweepTest, TheDoubtOfAnOwnerThatDiedIsComparedByItsSuccessor) {
  WriteAndHaveAnOlderStateLandBeyondL();
  rig_.Kill();
  rig_.LoseDisk();
  rig_.Start();
  rig_.Run(minutes(1));
  EXPECT_EQ(rig_.ClientName(1), "Carol");
}

TEST_F(LoaderSweepTest, WhatWasNeverInDoubtIsComparedOnceAPeriodAndNotAgainAfterARestart) {
  rig_.options.sweep_period = hours(2);
  for (int customer = 1; customer <= 20; ++customer) rig_.Client(customer, "Ada", customer);
  rig_.Start();
  rig_.Run(seconds(2));
  EXPECT_THAT(rig_.SentTo("GET /clients/"), IsEmpty());
  rig_.Run(hours(2) + minutes(20));
  const std::size_t compared = rig_.SentTo("GET /clients/").size();
  EXPECT_GE(compared, 20U);
  EXPECT_LE(compared, 32U);
  rig_.Kill();
  rig_.Start();
  rig_.Run(minutes(30));
  // Those that are due again, a quarter.
  EXPECT_LT(rig_.SentTo("GET /clients/").size(), compared + 12);
  rig_.Run(hours(2));
  EXPECT_GE(rig_.SentTo("GET /clients/").size(), compared + 20);
  EXPECT_THAT(rig_.Writes(), SizeIs(20));
}

TEST_F(LoaderSweepTest, APersonsOrderComparesEverythingAndTellsHowItStands) {
  rig_.options.sweep_keys_max = 16;
  for (int customer = 1; customer <= 40; ++customer) {
    rig_.Contact(customer, "c" + std::to_string(customer) + "@x.test", "Ada", customer,
                 {"chargify:active"});
  }
  rig_.Start();
  rig_.Run(seconds(60));
  const auto contacts = rig_.Contacts();
  const std::string changed = *(*contacts.array())[7].Find("id")->string();
  rig_.ByAPerson("PUT", "/contacts/" + changed, R"({"firstName":"Somebody","tags":["vip"]})");
  EXPECT_FALSE(Order(false, "hl").running());
  EXPECT_TRUE(Order(true, "hl").running());
  // More than wait in memory, so some are found by a second pass.
  rig_.Run(minutes(3));

  const v1::SweepStatus status = Order(false, "hl");
  EXPECT_GE(status.compared(), 40);
  EXPECT_EQ(status.repaired(), 1);
  EXPECT_EQ(status.due(), 0);
  EXPECT_FALSE(status.running());
  const auto repaired = rig_.Contacts();
  EXPECT_EQ(*(*repaired.array())[7].Find("firstName")->string(), "Ada");
  EXPECT_THAT(json::Write(*(*repaired.array())[7].Find("tags")),
              AllOf(HasSubstr("chargify:active"), HasSubstr("vip")));
  EXPECT_LE(rig_.stage().not_ready_because().size(), 0U);
}

// History 2700 of `--outage people`: a person takes a tag away, and from the next state that one.
// The record shows the same both times, and the target's own spelling it is neither time.
TEST_F(LoaderSweepTest, WhatWasRepairedInOneStateIsRepairedInTheNext) {
  const std::string key = rig_.Contact(1, "a@x.test", "Ada", 1, {"chargify:active"});
  rig_.Start();
  rig_.Run(seconds(30));
  const auto take_away = [&](const std::string& tag) {
    EXPECT_EQ(rig_.ByAPerson("DELETE", "/contacts/" + rig_.Entry(key).id() + "/tags",
                             R"({"tags":[")" + tag + R"("]})")
                  .status,
              200);
  };
  const auto tags = [&] { return json::Write(*(*rig_.Contacts().array())[0].Find("tags")); };
  take_away("chargify:active");
  Order(true, "hl");
  rig_.Run(milliseconds(500));
  ASSERT_EQ(Order(false, "hl").repaired(), 1);

  rig_.Contact(1, "a@x.test", "Ada", 2, {"chargify:paused"});
  rig_.Run(milliseconds(500));
  ASSERT_THAT(tags(), HasSubstr("chargify:paused"));
  take_away("chargify:paused");
  Order(true, "hl");
  rig_.Run(minutes(1));

  EXPECT_EQ(Order(false, "hl").repaired(), 2);
  EXPECT_THAT(tags(), HasSubstr("chargify:paused"));
}

// Seed 14 beyond L: of an old state two requests were late, one before and one after the repair.
TEST_F(LoaderSweepTest, WhatComesBackOnceAfterARepairIsRepairedAgain) {
  const std::string key = rig_.Contact(1, "a@x.test", "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(30));
  const auto set_back = [&] {
    EXPECT_EQ(
        rig_.ByAPerson("PUT", "/contacts/" + rig_.Entry(key).id(), R"({"firstName":"Old"})").status,
        200);
  };
  const auto name = [&] { return *(*rig_.Contacts().array())[0].Find("firstName")->string(); };
  for (int repaired = 1; repaired <= 2; ++repaired) {
    set_back();
    Order(true, "hl");
    rig_.Run(milliseconds(500));
    EXPECT_EQ(Order(false, "hl").repaired(), repaired);
    EXPECT_EQ(name(), "Ada");
  }
}

TEST_F(LoaderSweepTest, ASecondRecordIsShownAndGoesWhenAPersonHasDeletedIt) {
  const std::string key = rig_.Contact(1, "a@x.test", "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(3));
  const simulator::Answer made = rig_.ByAPerson(
      "POST", "/contacts/",
      R"({"locationId":")" + rig_.world.access().highlevel_location +
          R"(","email":"b@x.test","customFields":[{"key":"chargify_customer_id","field_value":"1"}]})");
  ASSERT_EQ(made.status, 201) << made.body;
  const std::string second = *json::Parse(made.body)->FindPath("contact.id")->string();
  // The index comes after.
  rig_.Run(seconds(2));
  Order(true, "hl");
  rig_.Run(minutes(1));

  ASSERT_THAT(Parked(), SizeIs(1));
  EXPECT_EQ(Parked()[0].key(), key);
  EXPECT_EQ(Parked()[0].reason(), v1::REASON_SECOND);
  EXPECT_THAT(Parked()[0].detail(),
              AllOf(HasSubstr(second), HasSubstr("besides " + rig_.Entry(key).id())));
  EXPECT_THAT(Parked()[0].fix(), HasSubstr("`tributary parked replay " + key + "`"));
  // It is kept in step all the same.
  rig_.Contact(1, "a@x.test", "Ada L", 2);
  rig_.Run(seconds(5));
  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 2);
  EXPECT_THAT(Parked(), SizeIs(1));
  // Also after a restart.
  rig_.Kill();
  rig_.Start();
  rig_.Run(minutes(1));
  EXPECT_THAT(Parked(), SizeIs(1));
  EXPECT_EQ(rig_.StatusOf("hl").shown(), 1);

  rig_.ByAPerson("DELETE", "/contacts/" + second);
  rig_.Run(seconds(5));
  EXPECT_EQ(rig_.Decide(key, true), "");
  rig_.Run(minutes(1));
  EXPECT_THAT(Parked(), IsEmpty());
  EXPECT_EQ(rig_.StatusOf("hl").shown(), 0);
}

TEST_F(LoaderSweepTest, AnActionThatWasDoneTwiceBeyondLIsShown) {
  const std::string record = rig_.Client(1, "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(1));
  rig_.Faults(
      R"([{"target":"rest","match":"POST /clients/1/notes","kind":"apply_late","delay_ms":6000,"count":1}])");
  const std::string action = rig_.Note("e1", record);
  // Looked up after L and S, not found, done again; then the first one lands.
  rig_.Run(seconds(30));

  EXPECT_EQ(rig_.Entry(action).outcome(), v1::OUTCOME_APPLIED);
  ASSERT_THAT(Parked(), SizeIs(1));
  EXPECT_EQ(Parked()[0].key(), action);
  EXPECT_EQ(Parked()[0].reason(), v1::REASON_SECOND);
  // Its command went with its end, and it is not done a third time.
  EXPECT_FALSE(rig_.HasCommand(action));
  EXPECT_EQ(rig_.Decide(action, false), "");
  rig_.Run(minutes(10));
  EXPECT_THAT(Parked(), IsEmpty());
  EXPECT_THAT(rig_.SentTo("POST /clients/1/notes"), SizeIs(2));
}

TEST_F(LoaderSweepTest, Rule27_ARecordThatAPersonDeletedIsMadeAnewOnceAVersion) {
  const std::string key = rig_.Contact(1, "a@x.test", "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(3));
  const std::string first = rig_.Entry(key).id();
  rig_.ByAPerson("DELETE", "/contacts/" + first);
  Order(true, "hl");
  rig_.Run(minutes(1));

  const std::string second = rig_.Entry(key).id();
  EXPECT_NE(second, first);
  EXPECT_THAT(*rig_.Contacts().array(), SizeIs(1));
  EXPECT_EQ(rig_.Entry(key).outcome(), v1::OUTCOME_APPLIED);
  // Once more, and it is left to a person.
  rig_.ByAPerson("DELETE", "/contacts/" + second);
  Order(true, "hl");
  rig_.Run(minutes(1));
  EXPECT_THAT(*rig_.Contacts().array(), IsEmpty());
  ASSERT_THAT(Parked(), SizeIs(1));
  EXPECT_EQ(Parked()[0].reason(), v1::REASON_MISSING);
  EXPECT_THAT(Parked()[0].fix(), HasSubstr("`tributary parked replay " + key + "`"));
  // Who wants it after all says so, as often as it is deleted.
  for (int times = 0; times < 2; ++times) {
    EXPECT_EQ(rig_.Decide(key, true), "");
    rig_.Run(minutes(1));
    EXPECT_THAT(*rig_.Contacts().array(), SizeIs(1));
    EXPECT_THAT(Parked(), IsEmpty());
    rig_.ByAPerson("DELETE", "/contacts/" + rig_.Entry(key).id());
    Order(true, "hl");
    rig_.Run(minutes(1));
    ASSERT_THAT(Parked(), SizeIs(1));
  }
}

// Between the fields and the tags of one write, too.
TEST_F(LoaderSweepTest, Rule27_ARecordThatIsDeletedBeforeItsTagsAreWrittenIsMadeAnew) {
  const std::string key = rig_.Contact(1, "a@x.test", "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(3));
  const std::string first = rig_.Entry(key).id();
  rig_.wire = [&, done = false](const http::Request& request) mutable {
    if (!done && request.url.ends_with("/tags")) {
      done = true;
      rig_.ByAPerson("DELETE", "/contacts/" + first);
    }
    return Rig::Wire{};
  };
  rig_.Contact(1, "a@x.test", "Ada", 2, {"chargify:active"});
  rig_.Run(minutes(1));

  EXPECT_THAT(Parked(), IsEmpty());
  EXPECT_THAT(*rig_.Contacts().array(), SizeIs(1));
  EXPECT_NE(rig_.Entry(key).id(), first);
  EXPECT_EQ(rig_.Entry(key).outcome(), v1::OUTCOME_APPLIED);
}

TEST_F(LoaderSweepTest, Rule27_ARecordThatAPersonDeletedIsLeftSoWhenTheSyncSaysSo) {
  for (v1::Sync& sync : *rig_.tenant.mutable_syncs()) {
    sync.set_on_missing(v1::Sync::ON_MISSING_LEAVE);
  }
  rig_.PublishTenant();
  const std::string key = rig_.Contact(1, "a@x.test", "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(3));
  rig_.ByAPerson("DELETE", "/contacts/" + rig_.Entry(key).id());
  Order(true, "hl");
  rig_.Run(minutes(1));

  EXPECT_THAT(*rig_.Contacts().array(), IsEmpty());
  EXPECT_EQ(rig_.Entry(key).outcome(), v1::OUTCOME_LEFT);
  EXPECT_EQ(rig_.Entry(key).reason(), v1::REASON_MISSING);
}

// One that was archived, say: it takes what is written and shows nothing of it.
TEST_F(LoaderSweepTest, Rule27_WhatIsMissingAlthoughItIsWrittenIsMadeAnewOnceAVersion) {
  const std::string key = rig_.Client(1, "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(3));
  rig_.Faults(R"([{"target":"rest","match":"GET /clients/1","kind":"status","status":404,)"
              R"("body":"{\"error\":\"no such client\"}"}])");
  Order(true, "crm");
  rig_.Run(minutes(10));
  EXPECT_THAT(rig_.SentTo("PUT"), SizeIs(2));
  ASSERT_THAT(Parked(), SizeIs(1));
  EXPECT_EQ(Parked()[0].key(), key);
  EXPECT_EQ(Parked()[0].reason(), v1::REASON_MISSING);

  rig_.Faults("[]");
  rig_.Client(1, "Beth", 2);
  rig_.Run(seconds(3));
  EXPECT_THAT(Parked(), IsEmpty());
  EXPECT_EQ(rig_.ClientName(1), "Beth");
}

TEST_F(LoaderSweepTest, ARecordThatAPersonMergedIntoAnotherIsAConflictThatNamesBoth) {
  const std::string key = rig_.Contact(1, "a@x.test", "Ada", 1);
  const std::string other = rig_.Contact(2, "b@x.test", "Beth", 2);
  rig_.Start();
  rig_.Run(seconds(5));
  const std::string merged = rig_.Entry(key).id();
  const std::string kept = rig_.Entry(other).id();
  // The merged one's id answers with the one that was kept.
  rig_.wire = [&](const http::Request& request) {
    Rig::Wire wire;
    if (request.method != "GET" || !request.url.ends_with(merged)) return wire;
    wire.answer = rig_.ByAPerson("GET", "/contacts/" + kept);
    return wire;
  };
  Order(true, "hl");
  rig_.Run(minutes(1));

  ASSERT_THAT(Parked(), SizeIs(1));
  EXPECT_EQ(Parked()[0].key(), key);
  EXPECT_EQ(Parked()[0].reason(), v1::REASON_IDENTITY_CONFLICT);
  EXPECT_THAT(Parked()[0].detail(),
              AllOf(HasSubstr(kept), HasSubstr(merged), HasSubstr(key), HasSubstr(other)));
}

TEST_F(LoaderSweepTest, ManyThatAreMissingAtOnceAreMoreLikelyAnotherAccount) {
  for (int customer = 1; customer <= 30; ++customer) {
    rig_.Contact(customer, "c" + std::to_string(customer) + "@x.test", "Ada", customer);
  }
  rig_.Start();
  rig_.Run(seconds(60));
  ASSERT_THAT(*rig_.Contacts().array(), SizeIs(30));
  rig_.wire = [&](const http::Request& request) {
    Rig::Wire wire;
    if (request.method != "GET" || request.url.find("/search/") != std::string::npos) return wire;
    wire.answer.emplace();
    wire.answer->status = 404;
    wire.answer->body = R"({"message":"Contact not found"})";
    return wire;
  };
  Order(true, "hl");
  rig_.Run(minutes(2));

  EXPECT_EQ(rig_.SentTo("GET /contacts/").size() - rig_.SentTo("/search/duplicate").size(), 21U);
  EXPECT_THAT(Order(false, "hl").problem(), HasSubstr("is it the right account?"));
  // Those that were asked for were looked for by their marker, and found.
  EXPECT_THAT(*rig_.Contacts().array(), SizeIs(30));
}

TEST_F(LoaderSweepTest, WhatTheTargetShowsInItsOwnWayIsWrittenTwiceMoreAndThenLeft) {
  const std::string key = rig_.Client(1, "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(1));
  rig_.wire = [&](const http::Request& request) {
    Rig::Wire wire;
    if (request.method != "GET") return wire;
    wire.answer.emplace();
    wire.answer->body = R"({"client":{"client_id":"1","name":"ADA"}})";
    return wire;
  };
  for (int i = 0; i < 5; ++i) {
    Order(true, "crm");
    rig_.Run(minutes(1));
  }
  EXPECT_THAT(rig_.SentTo("PUT /clients/1"), SizeIs(3));
  EXPECT_EQ(Count("rest", Compared::kDiffers), 2);
  EXPECT_GE(Count("rest", Compared::kShownSo), 2);
  EXPECT_THAT(Parked(), IsEmpty());
}

TEST_F(LoaderSweepTest, WhatDiffersAnewWheneverItIsReadIsGivenUpAndShown) {
  const std::string key = rig_.Client(1, "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(1));
  int reads = 0;
  rig_.wire = [&](const http::Request& request) {
    Rig::Wire wire;
    if (request.method != "GET") return wire;
    wire.answer.emplace();
    wire.answer->body =
        R"({"client":{"client_id":"1","name":")" + std::to_string(++reads) + R"("}})";
    return wire;
  };
  for (int i = 0; i < 6; ++i) {
    Order(true, "crm");
    rig_.Run(minutes(1));
  }
  // Written, and repaired three times.
  EXPECT_THAT(rig_.SentTo("PUT /clients/1"), SizeIs(4));
  ASSERT_THAT(Parked(), SizeIs(1));
  EXPECT_EQ(Parked()[0].reason(), v1::REASON_DIFFERS);
  EXPECT_THAT(Parked()[0].detail(), HasSubstr("name"));
}

TEST_F(LoaderSweepTest, ComparingTakesAShareOfTheRateAndGivesWayToEverythingElse) {
  rig_.options.sweep_share_percent = 10;
  for (v1::Connection& connection : *rig_.tenant.mutable_connections()) {
    connection.set_requests_per_second("10");
  }
  rig_.PublishTenant();
  for (int customer = 1; customer <= 200; ++customer) rig_.Client(customer, "Ada", customer);
  rig_.Start();
  rig_.Run(seconds(60));
  Order(true, "crm");
  rig_.Run(seconds(30));
  const std::size_t compared = rig_.SentTo("GET /clients/").size();
  // One a second.
  EXPECT_GE(compared, 25U);
  EXPECT_LE(compared, 32U);
  // While there are writes, not one.
  for (int customer = 1; customer <= 200; ++customer)
    rig_.Client(customer, "Beth", 1000 + customer);
  rig_.Run(seconds(19));
  EXPECT_LE(rig_.SentTo("GET /clients/").size(), compared + 1);
  rig_.Run(seconds(30));
  EXPECT_GT(rig_.SentTo("GET /clients/").size(), compared + 10);
}

TEST_F(LoaderSweepTest, ATargetThatDoesNotLetItselfBeReadIsWrittenAllTheSame) {
  const std::string key = rig_.Contact(1, "a@x.test", "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(3));
  rig_.wire = [&](const http::Request& request) {
    Rig::Wire wire;
    if (request.method != "GET") return wire;
    wire.answer.emplace();
    wire.answer->status = 403;
    wire.answer->body = R"({"message":"no scope contacts.readonly"})";
    return wire;
  };
  Order(true, "hl");
  rig_.Run(seconds(30));
  EXPECT_THAT(Order(false, "hl").problem(), HasSubstr("no scope contacts.readonly"));
  rig_.Contact(1, "a@x.test", "Ada L", 2);
  rig_.Run(seconds(5));
  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 2);
}

TEST_F(LoaderSweepTest, ANewerStateIsWrittenWhateverTheComparisonSaw) {
  const std::string key = rig_.Client(1, "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(1));
  rig_.wire = [&](const http::Request& request) {
    Rig::Wire wire;
    if (request.method != "GET") return wire;
    wire.before = seconds(2);
    wire.answer.emplace();
    wire.answer->body = R"({"client":{"client_id":"1","name":"Zoe"}})";
    return wire;
  };
  Order(true, "crm");
  rig_.Run(seconds(1));
  rig_.Client(1, "Beth", 2);
  rig_.Run(seconds(10));
  EXPECT_EQ(rig_.ClientName(1), "Beth");
  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 2);
}

TEST_F(LoaderSweepTest, AHandOverInTheMiddleOfAComparisonIsClean) {
  rig_.Client(1, "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(1));
  rig_.wire = [&](const http::Request& request) {
    Rig::Wire wire;
    if (request.method == "GET")
      wire.answer = simulator::Answer{.form = simulator::Answer::Form::kHang};
    return wire;
  };
  Order(true, "crm");
  rig_.Run(milliseconds(200));
  ASSERT_THAT(rig_.SentTo("GET /clients/1"), SizeIs(1));
  rig_.HandOver();
  rig_.wire = nullptr;
  rig_.Start();
  rig_.Run(seconds(1));
  EXPECT_TRUE(rig_.ready());
}

}  // namespace
}  // namespace tributary::loader

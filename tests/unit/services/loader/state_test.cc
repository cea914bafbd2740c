#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/ids/keys.h"
#include "tests/unit/services/loader/rig.h"

// One test per rule of protocol section 3, named by its number.

namespace tributary::loader {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class LoaderStateTest : public testing::Test {
 protected:
  /// Of a contact with this e-mail, and these members besides.
  std::string Created(const std::string& members) const {
    return "{" + members + R"("email":"one@x.test","locationId":")" +
           rig_.world.access().highlevel_location + R"("})";
  }
  int GiveEmail(const std::string& contact, const std::string& email) {
    return rig_.ByAPerson("PUT", "/contacts/" + contact, R"({"email":")" + email + R"("})").status;
  }

  Rig rig_;
};

TEST_F(LoaderStateTest, AClientIsWrittenAndItsEntryTellsSo) {
  const std::string key = rig_.Client(1, "Ada", 5);
  rig_.Start();
  rig_.Run(seconds(1));

  EXPECT_EQ(rig_.ClientName(1), "Ada");
  const v1::RecordEntry entry = rig_.Entry(key);
  EXPECT_EQ(entry.id(), "1");
  EXPECT_EQ(entry.resolved().offset(), 5);
  EXPECT_EQ(entry.outcome(), v1::OUTCOME_APPLIED);
  EXPECT_FALSE(entry.has_intent());
  EXPECT_FALSE(entry.in_doubt());
  ASSERT_THAT(rig_.Receipts(key), SizeIs(1));
  EXPECT_EQ(rig_.Receipts(key)[0].outcome(), v1::OUTCOME_APPLIED);
  // One request for the token, one for the client.
  EXPECT_THAT(rig_.sent, SizeIs(2));
}

TEST_F(LoaderStateTest, AContactIsMadeOnceAndFromThenOnWrittenByItsId) {
  const std::string key = rig_.Contact(1, "a@x.test", "Ada", 1, {"chargify:Active"});
  rig_.Start();
  rig_.Run(seconds(3));
  rig_.Contact(1, "a@x.test", "Ada L", 2, {"chargify:past_due"});
  rig_.Run(seconds(3));

  const json::Value contacts = rig_.Contacts();
  ASSERT_THAT(*contacts.array(), SizeIs(1));
  EXPECT_EQ(*(*contacts.array())[0].Find("firstName")->string(), "Ada L");
  EXPECT_EQ(json::Write(*(*contacts.array())[0].Find("tags")), R"(["chargify:past_due"])");
  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 2);
  EXPECT_THAT(rig_.SentTo("POST /contacts/upsert"), SizeIs(1));
  EXPECT_THAT(rig_.SentTo("PUT /contacts/"), SizeIs(1));
  EXPECT_THAT(rig_.SentTo("DELETE /contacts/"), SizeIs(1));
}

TEST_F(LoaderStateTest, OnlyTheTagsAreSentWhenOnlyTheTagsChange) {
  rig_.Contact(1, "a@x.test", "Ada", 1, {"chargify:active"});
  rig_.Start();
  rig_.Run(seconds(3));
  const std::size_t before = rig_.Writes().size();
  rig_.Contact(1, "a@x.test", "Ada", 2, {"chargify:active", "chargify:vip"});
  rig_.Run(seconds(3));

  EXPECT_EQ(rig_.Writes().size(), before + 1);
  EXPECT_THAT(rig_.Writes().back().body, R"({"tags":["chargify:vip"]})");
}

TEST_F(LoaderStateTest, Rule16_TheIntentIsAcknowledgedBeforeTheSendAndClosedAfterIt) {
  std::vector<bool> intent_open;
  const std::string key = ids::StateKey("acme", "crm", "client", "customers", "1");
  rig_.wire = [&](const http::Request& request) {
    if (request.method == "PUT") {
      const v1::RecordEntry entry = rig_.Entry(key);
      intent_open.push_back(entry.has_intent() && entry.intent().version().offset() == 5);
    }
    return Rig::Wire();
  };
  rig_.Client(1, "Ada", 5);
  rig_.Start();
  rig_.Run(seconds(1));

  EXPECT_THAT(intent_open, ElementsAre(true));
  const std::vector<v1::RecordEntry> entries = rig_.Entries(key);
  ASSERT_THAT(entries, SizeIs(2));
  EXPECT_TRUE(entries[0].has_intent());
  EXPECT_FALSE(entries[1].has_intent());
}

TEST_F(LoaderStateTest, Rule17_TheNewestVersionIsSentWhateverWasQueued) {
  // The first request waits before its bytes leave; meanwhile a newer version arrives.
  bool first = true;
  rig_.wire = [&](const http::Request& request) {
    Rig::Wire wire;
    if (request.method == "PUT" && first) {
      first = false;
      wire.before = seconds(2);
    }
    return wire;
  };
  const std::string key = rig_.Client(1, "old", 1);
  rig_.Start();
  rig_.Run(seconds(1));
  rig_.Client(1, "new", 2);
  rig_.Run(seconds(4));

  ASSERT_THAT(rig_.SentTo("PUT"), SizeIs(1));
  EXPECT_THAT(rig_.SentTo("PUT")[0].body, HasSubstr("new"));
  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 2);
  EXPECT_EQ(rig_.counters().refused_at_send, 1);
}

TEST_F(LoaderStateTest, Rule18_AnOlderVersionThatIsReadLastIsNotSent) {
  rig_.Faults(R"([{"target":"rest","match":"PUT","kind":"throttle","count":1,"retry_after":1}])");
  const std::string key = rig_.Client(1, "newest", 9);
  rig_.Start();
  rig_.Run(milliseconds(300));
  rig_.Client(1, "older", 3);
  rig_.Run(seconds(10));

  for (const Rig::Sent& request : rig_.SentTo("PUT")) {
    EXPECT_THAT(request.body, testing::Not(HasSubstr("older")));
  }
  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 0);
  rig_.Client(1, "newest", 9);
  rig_.Run(seconds(2));
  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 9);
}

TEST_F(LoaderStateTest, Rule19_AfterAnUnknownOutcomeNothingIsSentForLAndThenTheNewestOnce) {
  rig_.Faults(R"([{"target":"rest","match":"PUT","kind":"apply_late","delay_ms":1500,"count":1}])");
  const std::string key = rig_.Client(1, "one", 1);
  rig_.Start();
  rig_.Run(milliseconds(500));
  rig_.Client(1, "two", 2);
  rig_.Client(1, "three", 3);
  rig_.Run(seconds(10));

  const std::vector<Rig::Sent> puts = rig_.SentTo("PUT");
  ASSERT_THAT(puts, SizeIs(2));
  EXPECT_GE(puts[1].at - puts[0].at, seconds(2));
  EXPECT_THAT(puts[1].body, HasSubstr("three"));
  EXPECT_EQ(rig_.ClientName(1), "three");
  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 3);
  EXPECT_FALSE(rig_.Entry(key).in_doubt());
}

// The lease was checked P before the bytes left at the latest, and L counts from the bytes; but
// what has been answered had left before.
TEST_F(LoaderStateTest, Rule15_SettlingCountsFromTheLastMomentInWhichTheBytesMayHaveLeft) {
  for (const Duration pause_bound : {Duration::zero(), Duration(milliseconds(500))}) {
    Rig rig;
    rig.options.pause_bound = pause_bound;
    rig.Faults(R"([{"target":"rest","match":"PUT","kind":"hang","count":1}])");
    rig.Client(1, "one", 1);
    rig.Start();
    rig.Run(seconds(20));

    const std::vector<Rig::Sent> puts = rig.SentTo("PUT");
    ASSERT_THAT(puts, SizeIs(2));
    EXPECT_GE(puts[1].at - puts[0].at, seconds(2) + pause_bound);
    EXPECT_LT(puts[1].at - puts[0].at, seconds(2) + pause_bound + milliseconds(400));
  }
}

TEST_F(LoaderStateTest, Rule20_DoubtForgetsTheHashSoThatABAEndsOnA) {
  const std::string key = rig_.Client(1, "A", 1);
  rig_.Start();
  rig_.Run(seconds(1));
  rig_.Faults(R"([{"target":"rest","match":"PUT","kind":"apply_late","delay_ms":1500,"count":1}])");
  rig_.Client(1, "B", 2);
  rig_.Run(milliseconds(1300));
  EXPECT_TRUE(rig_.Entry(key).content_hash().empty());
  rig_.Client(1, "A", 3);
  rig_.Run(seconds(10));

  EXPECT_EQ(rig_.ClientName(1), "A");
  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 3);
  EXPECT_EQ(rig_.Entry(key).outcome(), v1::OUTCOME_APPLIED);
}

TEST_F(LoaderStateTest, Rule20_TheSameContentIsNotSentAgain) {
  const std::string key = rig_.Client(1, "A", 1);
  rig_.Start();
  rig_.Run(seconds(1));
  rig_.Client(1, "A", 2);
  rig_.Run(seconds(1));

  EXPECT_THAT(rig_.SentTo("PUT"), SizeIs(1));
  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 2);
  EXPECT_EQ(rig_.Entry(key).outcome(), v1::OUTCOME_NOOP);
}

TEST_F(LoaderStateTest, Rule21_WhatClosesAnIntentInDoubtSaysSoItself) {
  const std::string key = rig_.Client(1, "A", 1);
  rig_.Start();
  rig_.Run(seconds(1));
  rig_.Faults(R"([{"target":"rest","match":"PUT","kind":"reset_before","count":1}])");
  rig_.Client(1, "B", 2);
  rig_.Run(milliseconds(300));
  ASSERT_TRUE(rig_.Entry(key).has_intent());
  rig_.State(key, v1::DesiredState::PRESENCE_WITHDRAWN, 3);
  rig_.Run(milliseconds(300));

  const v1::RecordEntry closed = rig_.Entry(key);
  EXPECT_EQ(closed.resolved().offset(), 3);
  EXPECT_EQ(closed.outcome(), v1::OUTCOME_LEFT);
  EXPECT_FALSE(closed.has_intent());
  EXPECT_TRUE(closed.in_doubt());
  EXPECT_TRUE(closed.content_hash().empty());
  // After L, with nothing newer to write, doubt ends.
  rig_.Run(seconds(3));
  EXPECT_FALSE(rig_.Entry(key).in_doubt());
  EXPECT_THAT(rig_.SentTo("PUT"), SizeIs(2));
}

// Seed 2341 of the simulation: the hash survived the doubt where a successor closed the intent.
TEST_F(LoaderStateTest, Rule20_WhatASuccessorClosesInDoubtForgetsTheHashToo) {
  const std::string key = rig_.Client(1, "A", 1);
  rig_.Start();
  rig_.Run(seconds(1));
  rig_.Faults(R"([{"target":"rest","match":"PUT","kind":"hang_after_apply","count":1}])");
  rig_.Client(1, "B", 2);
  rig_.Run(milliseconds(300));
  ASSERT_TRUE(rig_.Entry(key).has_intent());
  rig_.Kill();
  rig_.State(key, v1::DesiredState::PRESENCE_WITHDRAWN, 3);
  rig_.options.predecessor_is_dead = true;
  rig_.Start();
  rig_.Run(seconds(1));
  ASSERT_EQ(rig_.Entry(key).resolved().offset(), 3);
  EXPECT_TRUE(rig_.Entry(key).in_doubt());
  EXPECT_TRUE(rig_.Entry(key).content_hash().empty());
  rig_.Run(seconds(5));
  ASSERT_FALSE(rig_.Entry(key).in_doubt());
  rig_.Client(1, "A", 4);
  rig_.Run(seconds(5));

  EXPECT_EQ(rig_.Entry(key).outcome(), v1::OUTCOME_APPLIED);
  EXPECT_THAT(rig_.SentTo("PUT"), SizeIs(3));
}

TEST_F(LoaderStateTest, Rule22_ANewerVersionFreesWhatWasRefused) {
  rig_.Faults(R"([{"target":"rest","match":"PUT","kind":"status","status":422,)"
              R"("body":"{\"errors\":[{\"field\":\"name\",\"message\":\"no\"}]}","count":1}])");
  const std::string key = rig_.Client(1, "bad", 1);
  rig_.Start();
  rig_.Run(seconds(1));
  EXPECT_EQ(rig_.Entry(key).status(), v1::RecordEntry::STATUS_PARKED);
  EXPECT_EQ(rig_.Entry(key).reason(), v1::REASON_REFUSED);
  EXPECT_THAT(rig_.Entry(key).detail(), HasSubstr("no"));
  EXPECT_THAT(rig_.SentTo("PUT"), SizeIs(1));

  rig_.Client(1, "good", 2);
  rig_.Run(seconds(1));
  EXPECT_EQ(rig_.ClientName(1), "good");
  EXPECT_EQ(rig_.Entry(key).status(), v1::RecordEntry::STATUS_WAITING);
}

TEST_F(LoaderStateTest, Rule22_APersonReplaysThroughTheSameLaneOrDrops) {
  rig_.Faults(R"([{"target":"rest","match":"PUT","kind":"status","status":422,"count":2}])");
  const std::string key = rig_.Client(1, "one", 1);
  const std::string other = rig_.Client(2, "two", 1);
  rig_.Start();
  rig_.Run(seconds(1));

  EXPECT_EQ(rig_.Decide(key, true), "");
  EXPECT_EQ(rig_.Decide(other, false), "");
  rig_.Run(seconds(1));
  EXPECT_EQ(rig_.ClientName(1), "one");
  EXPECT_EQ(rig_.Entry(other).resolved().offset(), 1);
  EXPECT_EQ(rig_.Entry(other).outcome(), v1::OUTCOME_DROPPED);
  EXPECT_EQ(rig_.ClientName(2), "absent");
  EXPECT_THAT(rig_.Decide(key, true), HasSubstr("nothing is parked"));
}

TEST_F(LoaderStateTest, Rule22_ADropIsOfWhatIsParkedAndNotOfANewerVersionThatWaits) {
  rig_.Faults(R"([{"target":"rest","match":"PUT","kind":"status","status":422,"count":1}])");
  const std::string key = rig_.Client(1, "bad", 1);
  rig_.Start();
  rig_.Run(seconds(1));
  ASSERT_EQ(rig_.Entry(key).status(), v1::RecordEntry::STATUS_PARKED);
  rig_.tenant.mutable_syncs(1)->set_state(v1::SYNC_STATE_PAUSED);
  rig_.PublishTenant();
  rig_.Client(1, "good", 2);
  rig_.Run(seconds(1));
  EXPECT_THAT(rig_.Decide(key, false), HasSubstr("a newer version is under way"));
  EXPECT_FALSE(rig_.Entry(key).has_resolved());

  rig_.tenant.mutable_syncs(1)->set_state(v1::SYNC_STATE_ACTIVE);
  rig_.PublishTenant();
  rig_.Run(seconds(1));
  EXPECT_EQ(rig_.ClientName(1), "good");
}

TEST_F(LoaderStateTest, AMappingErrorParksWithItsReasonAndTheOthersFlow) {
  v1::Command command;
  command.set_mapping_error("fields.name: no such member");
  *command.mutable_version() = VersionOf(1);
  const std::string key =
      rig_.Command(ids::StateKey("acme", "crm", "client", "customers", "7"), command);
  rig_.Client(8, "fine", 1);
  rig_.Start();
  rig_.Run(seconds(1));

  EXPECT_EQ(rig_.Entry(key).status(), v1::RecordEntry::STATUS_PARKED);
  EXPECT_EQ(rig_.Entry(key).reason(), v1::REASON_MAPPING);
  EXPECT_EQ(rig_.ClientName(8), "fine");
}

TEST_F(LoaderStateTest, Rule24_AnAnswerThatCannotBeReadIsUnknownAndItsBytesAreKept) {
  rig_.Faults(R"([{"target":"rest","match":"PUT","kind":"malformed","count":1}])");
  const std::string key = rig_.Client(1, "Ada", 1);
  rig_.Start();
  rig_.Run(milliseconds(500));

  const v1::RecordEntry entry = rig_.Entry(key);
  EXPECT_FALSE(entry.has_resolved());
  EXPECT_TRUE(entry.has_intent());
  EXPECT_EQ(entry.status(), v1::RecordEntry::STATUS_RETRYING);
  EXPECT_EQ(entry.reason(), v1::REASON_UNREADABLE);
  EXPECT_FALSE(entry.kept_answer().empty());
  rig_.Run(seconds(10));
  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 1);
  EXPECT_THAT(rig_.SentTo("PUT"), SizeIs(2));
}

TEST_F(LoaderStateTest, Rule24_A429IsNotSentAndNoFailure) {
  rig_.Faults(R"([{"target":"rest","match":"PUT","kind":"throttle","count":1,"retry_after":2}])");
  const std::string key = rig_.Client(1, "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(6));

  const std::vector<Rig::Sent> puts = rig_.SentTo("PUT");
  ASSERT_THAT(puts, SizeIs(2));
  EXPECT_GE(puts[1].at - puts[0].at, seconds(2));
  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 1);
  EXPECT_EQ(rig_.Entry(key).attempts(), 0);
  EXPECT_THAT(rig_.Receipts(key), SizeIs(1));
}

TEST_F(LoaderStateTest, Rule25_TheSecondClaimantIsParkedAsAConflictThatNamesBoth) {
  const std::string first = rig_.Contact(1, "same@x.test", "One", 1);
  const std::string second = rig_.Contact(2, "SAME@x.test", "Two", 1);
  rig_.Start();
  rig_.Run(seconds(20));

  const bool first_has_it = !rig_.Entry(first).id().empty();
  const std::string& holder = first_has_it ? first : second;
  const std::string& loser = first_has_it ? second : first;
  EXPECT_EQ(rig_.Entry(holder).outcome(), v1::OUTCOME_APPLIED);
  EXPECT_EQ(rig_.Entry(loser).status(), v1::RecordEntry::STATUS_PARKED);
  EXPECT_EQ(rig_.Entry(loser).reason(), v1::REASON_IDENTITY_CONFLICT);
  EXPECT_THAT(rig_.Entry(loser).detail(), HasSubstr(first));
  EXPECT_THAT(rig_.Entry(loser).detail(), HasSubstr(second));
  // The loser wrote nothing over the holder's record.
  EXPECT_THAT(rig_.SentTo("POST /contacts/upsert"), SizeIs(1));
  EXPECT_THAT(*rig_.Contacts().array(), SizeIs(1));

  // A newer version does not free it.
  rig_.Contact(first_has_it ? 2 : 1, "same@x.test", "Again", 2);
  rig_.Run(seconds(5));
  EXPECT_EQ(rig_.Entry(loser).reason(), v1::REASON_IDENTITY_CONFLICT);

  // The list says what to do; done, it is a contact of its own.
  v1::ToService list;
  list.mutable_list_parked();
  const v1::ListParkedResponse parked = rig_.Ask(list).parked();
  ASSERT_THAT(parked.items(), SizeIs(1));
  EXPECT_EQ(parked.items(0).key(), loser);
  EXPECT_THAT(parked.items(0).fix(), HasSubstr("`tributary parked replay " + loser + "`"));
  rig_.Contact(first_has_it ? 2 : 1, "other@x.test", "Again", 3);
  EXPECT_EQ(rig_.Decide(loser, true), "");
  rig_.Run(seconds(10));
  EXPECT_EQ(rig_.Entry(loser).outcome(), v1::OUTCOME_APPLIED);
  EXPECT_EQ(rig_.Entry(loser).resolved().offset(), 3);
  EXPECT_THAT(*rig_.Contacts().array(), SizeIs(2));
}

// Seed 3013890 of the simulation: looked up with one e-mail, throttled, and made with another.
TEST_F(LoaderStateTest, Rule26_WhatALookUpHasNotFoundByOtherWordsIsLookedUpAgain) {
  const std::string first = rig_.Contact(1, "one@x.test", "One", 1);
  rig_.Start();
  rig_.Run(seconds(5));
  rig_.Faults(R"([{"target":"highlevel","match":"POST /contacts/upsert","kind":"throttle",)"
              R"("count":1,"retry_after":10}])");
  const std::string second = rig_.Contact(2, "two@x.test", "Two", 1);
  rig_.Run(seconds(2));
  ASSERT_EQ(rig_.Entry(second).id(), "");

  rig_.Contact(2, "one@x.test", "Two", 2);
  rig_.Run(seconds(30));

  ASSERT_THAT(*rig_.Contacts().array(), SizeIs(1));
  EXPECT_EQ(*(*rig_.Contacts().array())[0].Find("firstName")->string(), "One");
  EXPECT_EQ(rig_.Entry(second).reason(), v1::REASON_IDENTITY_CONFLICT);
  EXPECT_THAT(rig_.Entry(second).detail(), HasSubstr(first));

  // With an e-mail of its own it is a contact of its own.
  rig_.Contact(2, "two@x.test", "Two", 3);
  EXPECT_EQ(rig_.Decide(second, true), "");
  rig_.Run(seconds(20));
  EXPECT_EQ(rig_.Entry(second).outcome(), v1::OUTCOME_APPLIED);
  EXPECT_THAT(*rig_.Contacts().array(), SizeIs(2));
}

// The same words, longer ago than S: meanwhile a person gave them to the contact of another one.
TEST_F(LoaderStateTest, Rule26_WhatALookUpHasNotFoundLongAgoIsLookedUpAgain) {
  const std::string first = rig_.Contact(1, "one@x.test", "One", 1);
  rig_.Start();
  rig_.Run(seconds(5));
  rig_.Faults(R"([{"target":"highlevel","match":"POST /contacts/upsert","kind":"throttle",)"
              R"("count":1,"retry_after":10}])");
  const std::string second = rig_.Contact(2, "two@x.test", "Two", 1);
  rig_.Run(seconds(2));
  ASSERT_EQ(rig_.Entry(second).id(), "");
  ASSERT_EQ(GiveEmail(rig_.Entry(first).id(), "two@x.test"), 200);

  rig_.Run(seconds(30));

  ASSERT_THAT(*rig_.Contacts().array(), SizeIs(1));
  EXPECT_EQ(*(*rig_.Contacts().array())[0].Find("firstName")->string(), "One");
  EXPECT_EQ(rig_.Entry(second).reason(), v1::REASON_IDENTITY_CONFLICT);
  EXPECT_THAT(rig_.Entry(second).detail(), HasSubstr(first));
}

// Seeds 7076062 and 7087913 of the simulation: between look-up and create, which matches by e-mail,
// another one's contact is given that e-mail. What the create has put there does not stay.
TEST_F(LoaderStateTest, Rule25_ARecordThatAnothersCreateHasReachedIsWrittenAgain) {
  // Nobody else would find it.
  rig_.options.sweep_period = {};
  const std::string first = rig_.Contact(1, "one@x.test", "One", 1);
  rig_.Start();
  rig_.Run(seconds(5));
  int creates = 0;
  rig_.wire = [&](const http::Request& request) {
    if (request.url.ends_with("/contacts/upsert") && ++creates == 1) {
      EXPECT_EQ(GiveEmail(rig_.Entry(first).id(), "two@x.test"), 200);
    }
    return Rig::Wire{};
  };
  const std::string second = rig_.Contact(2, "two@x.test", "Two", 1);
  rig_.Run(seconds(10));

  EXPECT_EQ(rig_.Entry(second).reason(), v1::REASON_IDENTITY_CONFLICT);
  EXPECT_THAT(rig_.Entry(second).detail(), HasSubstr(first));
  EXPECT_EQ(rig_.Entry(first).outcome(), v1::OUTCOME_APPLIED);
  EXPECT_EQ(rig_.Entry(first).resolved().offset(), 1);
  ASSERT_THAT(*rig_.Contacts().array(), SizeIs(1));
  EXPECT_EQ(*(*rig_.Contacts().array())[0].Find("firstName")->string(), "One");

  // So a person's order finds nothing of it any more.
  EXPECT_EQ(rig_.Decide(second, true), "");
  rig_.Run(seconds(10));
  EXPECT_EQ(rig_.Entry(second).outcome(), v1::OUTCOME_APPLIED);
  EXPECT_THAT(*rig_.Contacts().array(), SizeIs(2));
}

// The same, and nobody sees the answer of the create.
TEST_F(LoaderStateTest, Rule25_ARecordThatIsFoundWithAnothersMarkerIsWrittenAgain) {
  rig_.options.sweep_period = {};
  const std::string first = rig_.Contact(1, "one@x.test", "One", 1);
  rig_.Start();
  rig_.Run(seconds(5));
  rig_.Faults(R"([{"target":"highlevel","match":"POST /contacts/upsert","kind":"reset_after",)"
              R"("count":1}])");
  rig_.wire = [&](const http::Request& request) {
    if (request.url.ends_with("/contacts/upsert")) {
      EXPECT_EQ(GiveEmail(rig_.Entry(first).id(), "two@x.test"), 200);
    }
    return Rig::Wire{};
  };
  const std::string second = rig_.Contact(2, "two@x.test", "Two", 1);
  rig_.Run(seconds(30));

  EXPECT_EQ(rig_.Entry(second).reason(), v1::REASON_IDENTITY_CONFLICT);
  EXPECT_EQ(rig_.Entry(first).resolved().offset(), 1);
  ASSERT_THAT(*rig_.Contacts().array(), SizeIs(1));
  EXPECT_EQ(*(*rig_.Contacts().array())[0].Find("firstName")->string(), "One");
}

// Seeds 7129273, 7133745 and 9105466 of the simulation: a location that allows duplicates, where
// two contacts have one e-mail. What is written by e-mail would reach the other one's.
TEST_F(LoaderStateTest, Rule25_WhatWouldReachAnothersRecordIsNotSent) {
  const std::string first = rig_.Contact(1, "one@x.test", "One", 1);
  const std::string second = rig_.Contact(2, "two@x.test", "Two", 1, {}, "Acme");
  rig_.Start();
  rig_.Run(seconds(10));
  const std::string other = rig_.Entry(first).id();
  rig_.wire = [&](const http::Request& request) {
    Rig::Wire out;
    if (request.url.find("/contacts/search/duplicate") != request.url.npos) {
      out.answer = simulator::Answer{.status = 200,
                                     .headers = {{"Content-Type", "application/json"}},
                                     .body = R"({"contact":{"id":")" + other + R"("}})"};
    }
    return out;
  };
  rig_.Contact(2, "same@x.test", "Two", 2, {}, "Acme");
  rig_.Run(seconds(10));

  EXPECT_EQ(rig_.Entry(second).reason(), v1::REASON_IDENTITY_CONFLICT);
  EXPECT_THAT(rig_.Entry(second).detail(), HasSubstr(first));
  EXPECT_THAT(rig_.Entry(second).detail(), HasSubstr(rig_.Entry(second).id()));
  EXPECT_THAT(rig_.SentTo("PUT /contacts/"), SizeIs(1));
  EXPECT_THAT(rig_.SentTo("POST /contacts/upsert"), SizeIs(2));  // Those that made them.

  // With an e-mail of its own it is found by that, and written.
  rig_.wire = nullptr;
  rig_.Contact(2, "three@x.test", "Two", 3, {}, "Acme");
  EXPECT_EQ(rig_.Decide(second, true), "");
  rig_.Run(seconds(10));
  EXPECT_EQ(rig_.Entry(second).resolved().offset(), 3);
  EXPECT_EQ(rig_.Entry(second).outcome(), v1::OUTCOME_APPLIED);
}

// What is written by e-mail would make a contact of its own, since a person has changed that of
// ours.
TEST_F(LoaderStateTest, Rule26_WhatFindsItsRecordByWordsGivesItThemFirst) {
  const std::string key = rig_.Contact(1, "one@x.test", "One", 1, {}, "Acme");
  rig_.Start();
  rig_.Run(seconds(10));
  ASSERT_EQ(GiveEmail(rig_.Entry(key).id(), "other@x.test"), 200);

  rig_.Contact(1, "one@x.test", "One", 2, {}, "Bolt");
  rig_.Run(seconds(10));

  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 2);
  ASSERT_THAT(*rig_.Contacts().array(), SizeIs(1));
  const json::Value contact = (*rig_.Contacts().array())[0];
  EXPECT_EQ(*contact.Find("companyName")->string(), "Bolt");
  EXPECT_EQ(*contact.Find("email")->string(), "one@x.test");
}

// History 217 of `--outage people`: a person has deleted the record, and what was under way by
// e-mail made one that nobody holds.
TEST_F(LoaderStateTest, Rule27_ARecordThatIsMissingIsFoundAgainInFrontOfAConflict) {
  const std::string key = rig_.Contact(1, "one@x.test", "One", 1, {}, "Acme");
  rig_.Start();
  rig_.Run(seconds(10));
  const std::string deleted = rig_.Entry(key).id();
  ASSERT_EQ(rig_.ByAPerson("DELETE", "/contacts/" + deleted).status, 200);
  ASSERT_EQ(rig_.ByAPerson("POST", "/contacts/",
                           Created(R"("customFields":[{"key":"chargify_customer_id",)"
                                   R"("field_value":"1"}],)"))
                .status,
            201);
  rig_.Run(seconds(10));

  rig_.Contact(1, "one@x.test", "One", 2, {}, "Bolt");
  rig_.Run(seconds(20));

  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 2);
  EXPECT_NE(rig_.Entry(key).id(), deleted);
  ASSERT_THAT(*rig_.Contacts().array(), SizeIs(1));
  EXPECT_EQ(*(*rig_.Contacts().array())[0].Find("companyName")->string(), "Bolt");
}

// The look-up fails after an id was found that stands in no entry: nothing is made for that.
TEST_F(LoaderStateTest, Rule26_AnAdoptedRecordIsConfirmedAndNotMadeAgain) {
  ASSERT_EQ(rig_.ByAPerson("POST", "/contacts/", Created("")).status, 201);
  int asked = 0;
  rig_.wire = [&](const http::Request& request) {
    Rig::Wire out;
    // The first finds it, the second confirms.
    if (request.url.find("search/duplicate") != request.url.npos && ++asked == 2) {
      out.answer = simulator::Answer{.status = 500};
    }
    return out;
  };
  const std::string key = rig_.Contact(1, "one@x.test", "One", 1, {}, "Acme");
  rig_.Start();
  rig_.Run(seconds(20));

  EXPECT_EQ(asked, 4);
  EXPECT_EQ(rig_.Entry(key).outcome(), v1::OUTCOME_APPLIED);
  ASSERT_THAT(*rig_.Contacts().array(), SizeIs(1));
  EXPECT_THAT(rig_.SentTo("PUT /contacts/" + rig_.Entry(key).id()), SizeIs(1));
}

TEST_F(LoaderStateTest, Rule26_AfterAnUnknownCreateItIsLookedUpAndAdopted) {
  // It would look once more.
  rig_.options.sweep_period = {};
  rig_.Faults(R"([{"target":"highlevel","match":"POST /contacts/upsert","kind":"apply_late",)"
              R"("delay_ms":1500,"count":1}])");
  // Without an e-mail the target cannot match: a second create would make a second contact.
  const std::string key = rig_.Contact(1, "", "Ada", 1);
  rig_.Start();
  rig_.Run(milliseconds(500));
  rig_.Contact(1, "", "Ada L", 2);
  rig_.Run(seconds(15));

  ASSERT_THAT(*rig_.Contacts().array(), SizeIs(1));
  EXPECT_EQ(*(*rig_.Contacts().array())[0].Find("firstName")->string(), "Ada L");
  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 2);
  const std::vector<Rig::Sent> creates = rig_.SentTo("POST /contacts/upsert");
  const std::vector<Rig::Sent> lookups = rig_.SentTo("POST /contacts/search");
  ASSERT_THAT(creates, SizeIs(1));
  ASSERT_THAT(lookups, SizeIs(2));
  // L, then S.
  EXPECT_GE(lookups[1].at - creates[0].at, seconds(3));
}

TEST_F(LoaderStateTest, Rule27_A404OnTheStoredIdMakesItAnewOnceOrLeavesIt) {
  const std::string key = rig_.Contact(1, "a@x.test", "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(3));
  const std::string old_id = rig_.Entry(key).id();
  rig_.Faults(R"([{"target":"highlevel","match":"PUT /contacts","kind":"status","status":404,)"
              R"("body":"{\"message\":\"Contact not found\"}","count":1}])");
  rig_.Contact(1, "b@x.test", "Ada", 2);
  rig_.Run(seconds(10));
  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 2);
  EXPECT_FALSE(rig_.Entry(key).id().empty());

  rig_.tenant.mutable_syncs(0)->set_on_missing(v1::Sync::ON_MISSING_LEAVE);
  rig_.PublishTenant();
  rig_.Faults(R"([{"target":"highlevel","match":"PUT /contacts","kind":"status","status":404,)"
              R"("body":"{\"message\":\"Contact not found\"}","count":1}])");
  rig_.Contact(1, "c@x.test", "Ada", 3);
  rig_.Run(seconds(10));
  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 3);
  EXPECT_EQ(rig_.Entry(key).outcome(), v1::OUTCOME_LEFT);
  EXPECT_EQ(rig_.Entry(key).reason(), v1::REASON_MISSING);
}

TEST_F(LoaderStateTest, Rule27_NeverALoop) {
  const std::string key = rig_.Contact(1, "a@x.test", "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(3));
  rig_.Faults(R"([{"target":"highlevel","match":"PUT /contacts","kind":"status","status":404,)"
              R"("body":"{\"message\":\"Contact not found\"}"}])");
  rig_.Contact(1, "a@x.test", "Ada L", 2);
  rig_.Run(seconds(30));
  EXPECT_EQ(rig_.Entry(key).status(), v1::RecordEntry::STATUS_PARKED);
  EXPECT_EQ(rig_.Entry(key).reason(), v1::REASON_MISSING);
  EXPECT_LE(rig_.SentTo("PUT /contacts").size(), 2U);
}

TEST_F(LoaderStateTest, ManyKeysThanFitIntoMemoryAreAllWritten) {
  rig_.options.ready_keys_max = 16;
  for (int i = 1; i <= 200; ++i) rig_.Client(i, "n" + std::to_string(i), 1);
  rig_.Start();
  rig_.Run(seconds(30));

  EXPECT_THAT(*rig_.Clients().array(), SizeIs(200));
  EXPECT_EQ(rig_.counters().applied, 200);
  EXPECT_THAT(rig_.SentTo("PUT"), SizeIs(200));
}

TEST_F(LoaderStateTest, NoMoreKeysThanAllowedWaitToBeReadBack) {
  rig_.options.ready_keys_max = 16;
  rig_.options.unread_entries_max = 100;
  std::int64_t most = 0;
  for (int i = 1; i <= 400; ++i) rig_.Client(i, "n" + std::to_string(i), 1);
  rig_.Start();
  while (!rig_.ready()) rig_.Run(std::chrono::milliseconds(10));
  rig_.after_fact = [&] {
    const auto& loader = static_cast<const Loader&>(rig_.stage());
    const Levels levels = loader.levels(rig_.time.now());
    EXPECT_EQ(levels.unread_entries_max, 100);
    most = std::max(most, levels.unread_entries);
  };
  rig_.ReadRecordsLater(seconds(20));
  rig_.Run(seconds(15));
  // With those that were taken from the tables before: 16 ready ones and 64 in requests.
  EXPECT_GE(most, 100);
  EXPECT_LE(most, 100 + 16 + 64);
  EXPECT_LE(rig_.counters().applied, 100 + 16 + 64);
  rig_.Run(seconds(60));
  EXPECT_EQ(rig_.counters().applied, 400);
  EXPECT_EQ(static_cast<const Loader&>(rig_.stage()).levels(rig_.time.now()).unread_entries, 0);
}

TEST_F(LoaderStateTest, WhatIsParkedWithoutACallWaitsForTheLogToo) {
  rig_.options.open_writes_max = 20;
  rig_.Start();
  rig_.Run(seconds(3));
  std::int64_t most = 0;
  std::vector<std::string> keys;
  for (int i = 1; i <= 400; ++i) {
    v1::Command command;
    command.mutable_version()->set_generation(1);
    command.mutable_version()->set_offset(i);
    command.mutable_state()->set_presence(v1::DesiredState::PRESENCE_PRESENT);
    command.set_mapping_error("field `x`: no such member");
    keys.push_back(rig_.Command(
        ids::StateKey("acme", "crm", "client", "customers", std::to_string(i)), command));
  }
  rig_.after_fact = [&] {
    const auto& loader = static_cast<const Loader&>(rig_.stage());
    most = std::max(most, loader.levels(rig_.time.now()).open_writes);
  };
  rig_.Run(seconds(30));

  EXPECT_GE(most, 10);
  EXPECT_LE(most, 20);
  for (const std::string& key : keys) {
    EXPECT_EQ(rig_.Entry(key).reason(), v1::REASON_MAPPING) << key;
  }
}

TEST_F(LoaderStateTest, OfManyParkedRecordsAThousandAreShownAndThatThereAreMore) {
  rig_.Start();
  rig_.Run(seconds(3));
  for (int i = 1; i <= 1001; ++i) {
    v1::Command command;
    command.mutable_version()->set_generation(1);
    command.mutable_version()->set_offset(i);
    command.mutable_state()->set_presence(v1::DesiredState::PRESENCE_PRESENT);
    command.set_mapping_error("field `x`: no such member");
    rig_.Command(ids::StateKey("acme", "crm", "client", "customers", std::to_string(i)), command);
  }
  rig_.Run(seconds(60));
  v1::ToService list;
  list.mutable_list_parked()->set_items_max(5000);

  const v1::ListParkedResponse parked = rig_.Ask(list).parked();

  EXPECT_EQ(parked.items_size(), 1000);
  EXPECT_TRUE(parked.more());
  EXPECT_EQ(rig_.counters().parked, 1001);
}

TEST_F(LoaderStateTest, NoMoreKeysThanAllowedAreInBatchesAtOnce) {
  rig_.options.batched_keys_max = 150;  // a batch takes 100
  (*rig_.tenant.mutable_connections(1)->mutable_settings())["batch"] = "true";
  rig_.PublishTenant();
  std::int64_t most = 0;
  rig_.wire = [&](const http::Request&) {
    const auto& loader = static_cast<const Loader&>(rig_.stage());
    most = std::max(most, loader.levels(rig_.time.now()).batched_keys);
    return Rig::Wire();
  };
  for (int i = 1; i <= 450; ++i) rig_.Client(i, "n" + std::to_string(i), 1);
  rig_.Start();
  rig_.Run(seconds(30));

  EXPECT_GE(most, 100);
  EXPECT_LE(most, 150);
  EXPECT_THAT(*rig_.Clients().array(), SizeIs(450));
  EXPECT_EQ(rig_.counters().applied, 450);
}

TEST_F(LoaderStateTest, Rule24_ABatchItemWithoutAResultIsUnknownAndTheRestIsDone) {
  (*rig_.tenant.mutable_connections(1)->mutable_settings())["batch"] = "true";
  rig_.PublishTenant();
  bool first = true;
  rig_.wire = [&](const http::Request& request) {
    Rig::Wire wire;
    if (request.url.ends_with("/clients/batch") && first) {
      first = false;
      simulator::Answer answer;
      answer.status = 200;
      answer.body = R"({"results":[{"client_id":"2","status":201},)"
                    R"({"client_id":"3","status":422,"error":"bad"}]})";
      wire.answer = answer;
    }
    return wire;
  };
  std::vector<std::string> keys;
  for (int i = 1; i <= 3; ++i) keys.push_back(rig_.Client(i, "n" + std::to_string(i), 1));
  rig_.Start();
  rig_.Run(seconds(1));

  EXPECT_TRUE(rig_.Entry(keys[0]).has_intent());
  EXPECT_EQ(rig_.Entry(keys[0]).reason(), v1::REASON_UNKNOWN);
  EXPECT_EQ(rig_.Entry(keys[1]).outcome(), v1::OUTCOME_APPLIED);
  EXPECT_EQ(rig_.Entry(keys[2]).reason(), v1::REASON_REFUSED);
  EXPECT_THAT(rig_.SentTo("/clients/batch"), SizeIs(1));
  rig_.Run(seconds(10));
  EXPECT_EQ(rig_.Entry(keys[0]).outcome(), v1::OUTCOME_APPLIED);
}

}  // namespace
}  // namespace tributary::loader

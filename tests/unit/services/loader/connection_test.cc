#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/ids/keys.h"
#include "tests/unit/services/loader/rig.h"

// Credentials, tokens, ceilings, and what people see.

namespace tributary::loader {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::SizeIs;

class LoaderConnectionTest : public testing::Test {
 protected:
  std::size_t Applied() const { return static_cast<std::size_t>(rig_.counters().applied); }

  Rig rig_;
};

TEST_F(LoaderConnectionTest, One401RenewsTheTokenOnceAndNobodyIsParked) {
  rig_.Start();
  for (int i = 1; i <= 20; ++i) rig_.Client(i, "n", 1);
  rig_.Faults(R"([{"target":"rest","match":"PUT","kind":"unauthorized","count":1}])");
  rig_.Run(seconds(10));
  EXPECT_EQ(Applied(), 20U);
  EXPECT_EQ(rig_.counters().parked, 0);
  EXPECT_LE(rig_.SentTo("POST /auth").size(), 2U);
}

TEST_F(LoaderConnectionTest, ATokenIsRenewedBeforeItEnds) {
  rig_.Start();
  rig_.Client(1, "one", 1);
  rig_.Run(seconds(1));
  // Lives 900 s, renewed 60 s before.
  rig_.Run(seconds(850));
  rig_.Client(1, "two", 2);
  rig_.Run(seconds(2));
  EXPECT_EQ(Applied(), 2U);
  EXPECT_THAT(rig_.SentTo("POST /auth"), SizeIs(2));
  EXPECT_EQ(rig_.counters().unauthorised, 0);
}

TEST_F(LoaderConnectionTest, AWrongKeyRestsTheConnectionShowsItAndTheOthersGoOn) {
  rig_.credentials["api_key"] = "wrong";
  rig_.Start();
  for (int i = 1; i <= 50; ++i) rig_.Client(i, "n", 1);
  const std::string contact = rig_.Contact(1, "a@x.test", "Ada", 1);
  rig_.Run(seconds(60));

  EXPECT_EQ(rig_.counters().parked, 0);
  EXPECT_EQ(rig_.Entry(contact).outcome(), v1::OUTCOME_APPLIED);
  EXPECT_LE(rig_.SentTo("POST /auth").size(), 10U);
  EXPECT_THAT(rig_.StatusOf("crm").problem(), HasSubstr("refuses the credential"));
  EXPECT_EQ(rig_.StatusOf("crm").pending(), 50);
  EXPECT_EQ(rig_.StatusOf("crm").state(), "failing");

  // A right one heals it without a restart.
  rig_.credentials.erase("api_key");
  rig_.tenant.mutable_connections(1)->set_credential_revision(2);
  rig_.PublishTenant();
  rig_.Run(seconds(400));
  EXPECT_EQ(Applied(), 51U);
  EXPECT_EQ(rig_.StatusOf("crm").problem(), "");
}

TEST_F(LoaderConnectionTest, ARefusedCredentialIsTriedAgainAsANewOneAndRefusedAnew) {
  const auto times_refused = [&] {
    return std::count_if(rig_.to_control.begin(), rig_.to_control.end(), [](const auto& message) {
      return message.connection_report().credential_refused();
    });
  };
  const auto publish = [&](v1::ConnectionState state) {
    v1::Connection& connection = *rig_.tenant.mutable_connections(1);
    connection.set_state(state);
    connection.set_credential_revision(rig_.credential_revision);
    rig_.PublishTenant();
  };
  rig_.credentials["api_key"] = "wrong";
  rig_.Start();
  rig_.Client(1, "one", 1);
  rig_.Run(minutes(40));
  ASSERT_EQ(times_refused(), 1);
  publish(v1::CONNECTION_STATE_DEAUTHORIZED);
  rig_.Run(minutes(10));

  rig_.credential_revision = 2;
  publish(v1::CONNECTION_STATE_LINKED);
  rig_.Run(minutes(25));
  EXPECT_EQ(times_refused(), 1);
  rig_.Run(minutes(15));
  EXPECT_EQ(times_refused(), 2);
  publish(v1::CONNECTION_STATE_DEAUTHORIZED);
  rig_.Run(minutes(10));

  rig_.credentials.erase("api_key");
  rig_.credential_revision = 3;
  publish(v1::CONNECTION_STATE_LINKED);
  rig_.Run(minutes(10));
  EXPECT_EQ(Applied(), 1U);
  EXPECT_EQ(rig_.StatusOf("crm").problem(), "");
}

TEST_F(LoaderConnectionTest, ACrmThatNobodyReachesIsShownUntilItAnswers) {
  bool is_away = true;
  rig_.wire = [&](const http::Request&) { return Rig::Wire{.is_unreachable = is_away}; };
  rig_.Start();
  const std::string contact = rig_.Contact(1, "a@x.test", "Ada", 1);
  // Its token is what nobody gets.
  rig_.Client(1, "one", 1);
  rig_.Run(seconds(1));
  EXPECT_EQ(rig_.StatusOf("hl").problem(), "");
  rig_.Run(seconds(600));
  for (const char* sync : {"hl", "crm"}) {
    EXPECT_EQ(rig_.StatusOf(sync).problem(), "cannot be reached: no route to host");
    EXPECT_EQ(rig_.StatusOf(sync).state(), "failing");
    EXPECT_NE(rig_.StatusOf(sync).fix(), "");
  }

  is_away = false;
  rig_.Run(seconds(600));
  EXPECT_EQ(Applied(), 2U);
  for (const char* sync : {"hl", "crm"}) EXPECT_EQ(rig_.StatusOf(sync).problem(), "");
}

// The credentials are those that were given for the file before.
TEST_F(LoaderConnectionTest, AFileThatNamesItsCredentialsOtherwiseIsShownAndNothingBegins) {
  rig_.Start();
  const std::string contact = rig_.Contact(1, "a@x.test", "Ada", 1);
  rig_.Run(seconds(3));
  ASSERT_EQ(Applied(), 1U);
  rig_.PublishConnectorFile(*rig_.tenant.mutable_connections(0), "token", "key");
  rig_.Run(seconds(1));
  const std::size_t sent = rig_.sent.size();
  const std::size_t entries = rig_.Entries(contact).size();
  rig_.Contact(1, "a@x.test", "Beth", 2);
  // One that is looked up first.
  rig_.Contact(2, "b@x.test", "Carol", 1);
  rig_.Run(seconds(10));

  EXPECT_EQ(rig_.StatusOf("hl").problem(), "`credentials.key` has no value");
  EXPECT_EQ(rig_.StatusOf("hl").fix(), "give the connection its credentials");
  EXPECT_EQ(rig_.StatusOf("hl").pending(), 2);
  EXPECT_EQ(rig_.sent.size(), sent);
  EXPECT_EQ(rig_.Entries(contact).size(), entries);

  // The file before does it again.
  rig_.tenant.mutable_connections(0)->clear_connector_file();
  rig_.PublishTenant();
  rig_.Run(seconds(10));
  EXPECT_EQ(Applied(), 3U);
  EXPECT_EQ(rig_.StatusOf("hl").problem(), "");
}

TEST_F(LoaderConnectionTest, ATokenThatIsNotObtainedIsShownUntilItIs) {
  for (const char* fault : {R"("kind":"error")", R"("kind":"hang")",
                            R"("kind":"status","status":200,"body":"<html>")"}) {
    Rig rig;
    rig.Faults(std::string(R"([{"target":"rest","match":"POST /auth",)") + fault + "}]");
    rig.Start();
    rig.Client(1, "one", 1);
    rig.Run(seconds(400));
    EXPECT_THAT(rig.StatusOf("crm").problem(), HasSubstr("no token is obtained: ")) << fault;
    EXPECT_EQ(rig.StatusOf("crm").state(), "failing") << fault;
    EXPECT_NE(rig.StatusOf("crm").fix(), "") << fault;
    rig.Faults("[]");
    rig.Run(seconds(600));
    EXPECT_EQ(rig.counters().applied, 1) << fault;
    EXPECT_EQ(rig.StatusOf("crm").problem(), "") << fault;
  }
}

TEST_F(LoaderConnectionTest, AMisconfiguredConnectionParksNobody) {
  rig_.Faults(R"([{"target":"highlevel","match":"/contacts","kind":"status","status":401,)"
              R"("body":"{\"statusCode\":401,\"message\":\"version header is invalid\"}"}])");
  rig_.Start();
  for (int i = 1; i <= 5; ++i) rig_.Contact(i, "", "n", 1);
  rig_.Run(seconds(5));
  EXPECT_THAT(rig_.StatusOf("hl").problem(), HasSubstr("version header"));
  EXPECT_LE(rig_.sent.size(), 4U);
  rig_.Faults("[]");
  rig_.Run(seconds(600));
  EXPECT_EQ(rig_.counters().parked, 0);
  EXPECT_EQ(Applied(), 5U);
}

TEST_F(LoaderConnectionTest, TheCeilingHoldsInFlightAndPerSecond) {
  rig_.tenant.mutable_connections(1)->set_concurrency(2);
  rig_.tenant.mutable_connections(1)->set_requests_per_second("10");
  rig_.PublishTenant();
  for (int i = 1; i <= 60; ++i) rig_.Client(i, "n", 1);
  rig_.Start();
  rig_.Run(seconds(3));
  EXPECT_LE(rig_.sent.size(), 41U);
  EXPECT_GE(rig_.sent.size(), 25U);
  rig_.Run(seconds(10));
  EXPECT_EQ(Applied(), 60U);
}

TEST_F(LoaderConnectionTest, AnOutageParksNobodyAndIsOverWhenItIsOver) {
  rig_.Faults(R"([{"target":"rest","match":"*","kind":"throttle"}])");
  rig_.Start();
  for (int i = 1; i <= 30; ++i) rig_.Client(i, "n", 1);
  rig_.Run(seconds(120));
  EXPECT_EQ(rig_.counters().parked, 0);
  EXPECT_LE(rig_.sent.size(), 100U);
  rig_.Faults("[]");
  rig_.Run(seconds(700));
  EXPECT_EQ(Applied(), 30U);
}

TEST_F(LoaderConnectionTest, APausedSyncSendsNothingAndGoesOn) {
  rig_.tenant.mutable_syncs(1)->set_state(v1::SYNC_STATE_PAUSED);
  rig_.PublishTenant();
  rig_.Client(1, "n", 1);
  rig_.Start();
  rig_.Run(seconds(3));
  EXPECT_THAT(rig_.SentTo("PUT"), SizeIs(0));
  EXPECT_EQ(rig_.StatusOf("crm").state(), "paused");
  EXPECT_EQ(rig_.StatusOf("crm").pending(), 1);
  rig_.tenant.mutable_syncs(1)->set_state(v1::SYNC_STATE_ACTIVE);
  rig_.PublishTenant();
  rig_.Run(seconds(3));
  EXPECT_EQ(Applied(), 1U);
}

TEST_F(LoaderConnectionTest, ParkedAndTraceTellWhyAndWhatNext) {
  rig_.Faults(R"([{"target":"rest","match":"PUT","kind":"status","status":422,)"
              R"("body":"{\"errors\":\"no such plan\"}","count":1}])");
  const std::string key = rig_.Client(17, "n", 1);
  rig_.Start();
  rig_.Run(seconds(3));

  v1::ToService list;
  list.mutable_list_parked();
  const v1::ListParkedResponse parked = rig_.Ask(list).parked();
  ASSERT_EQ(parked.items_size(), 1);
  EXPECT_EQ(parked.items(0).key(), key);
  EXPECT_THAT(parked.items(0).detail(), HasSubstr("no such plan"));
  EXPECT_FALSE(parked.items(0).fix().empty());
  EXPECT_EQ(rig_.StatusOf("crm").parked(), 1);
  EXPECT_EQ(rig_.StatusOf("crm").pending(), 0);

  v1::ToService trace;
  trace.mutable_trace()->set_tenant("acme");
  trace.mutable_trace()->set_kind("customers");
  trace.mutable_trace()->set_id("17");
  const v1::TraceResponse traced = rig_.Ask(trace).trace();
  ASSERT_EQ(traced.records_size(), 1);
  EXPECT_EQ(traced.records(0).status(), "parked");
  EXPECT_EQ(traced.records(0).desired().offset(), 1);
}

TEST_F(LoaderConnectionTest, UnknownSettingsAndFilesAreShownAndNothingIsSent) {
  (*rig_.tenant.mutable_connections(1)->mutable_settings())["batsh"] = "true";
  rig_.PublishTenant();
  rig_.Client(1, "n", 1);
  rig_.Start();
  rig_.Run(seconds(3));
  EXPECT_THAT(rig_.StatusOf("crm").problem(), HasSubstr("did you mean `batch`?"));
  EXPECT_THAT(rig_.SentTo("PUT"), SizeIs(0));
}

}  // namespace
}  // namespace tributary::loader

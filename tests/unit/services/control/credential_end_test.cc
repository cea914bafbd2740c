#include "services/control/credential_end.h"

#include <cstdlib>
#include <map>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/control/apply_request.h"
#include "services/control/metrics.h"
#include "tests/unit/services/control/fixture.h"

namespace tributary::control {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;

// {"exp":1900000000} as claims of a JWT.
constexpr const char* kToken = "e30.eyJleHAiOjE5MDAwMDAwMDB9.c2lnbmF0dXJl";
constexpr std::int64_t kTokenEnd = 1'900'000'000;

WallTime At(std::int64_t seconds) { return WallTime(std::chrono::seconds(seconds)); }

TEST(EndOfTokenTest, IsWhatAJwtSays) { EXPECT_EQ(EndOfToken(kToken), At(kTokenEnd)); }

TEST(EndOfTokenTest, OneThatDoesNotSayIsNotGuessedAt) {
  for (const std::string token :
       {"pit-123", "", "a.b", "a.b.c", "..", "e30.e30.e30", "e30.eyJleHAiOjFlOTl9.x"}) {
    EXPECT_FALSE(EndOfToken(token)) << token;
  }
}

class CredentialEndTest : public ControlTest {
 protected:
  // The tenant, whose CRM's token is `token` and ends at `end`; 0: nothing is said.
  static v1::ApplyRequest Request(const std::string& token, std::int64_t end = 0) {
    v1::ApplyRequest request = AcmeRequest();
    v1::SealedInput& crm = *request.mutable_credentials(1);
    (*crm.mutable_fields())["token"] = token;
    if (end != 0) {
      (*crm.mutable_expires_at())["token"].set_seconds(end);
    }
    return request;
  }

  v1::ConnectionReport Report(std::int64_t at) {
    now.wall = At(at);
    const v1::StatusResponse status = core->GetStatus(now, {}).value();
    return status.connections_size() == 1 ? status.connections(0) : v1::ConnectionReport();
  }

  const ConnectionName kCrm{"acme", "crm"};
};

TEST_F(CredentialEndTest, IsWhatWasSaidElseWhatTheTokenSays) {
  Apply(Request("opaque"));
  EXPECT_THAT(core->CredentialEnds(), IsEmpty());

  EXPECT_THAT(Texts(Apply(Request("opaque", 1'800'000'000))),
              ElementsAre("CHANGED connection acme/crm (end of the credential)"));
  EXPECT_THAT(core->CredentialEnds(), ElementsAre(Pair(kCrm, At(1'800'000'000))));
  EXPECT_THAT(Texts(Apply(Request("opaque", 1'800'000'000))), IsEmpty());

  EXPECT_THAT(Texts(Apply(Request(kToken))),
              ElementsAre("CHANGED connection acme/crm (end of the credential, credential)"));
  EXPECT_THAT(core->CredentialEnds(), ElementsAre(Pair(kCrm, At(kTokenEnd))));
  Apply(Request(kToken, 1'700'000'000));
  EXPECT_THAT(core->CredentialEnds(), ElementsAre(Pair(kCrm, At(1'700'000'000))));

  Apply(Request("opaque"));
  EXPECT_THAT(core->CredentialEnds(), IsEmpty());
}

TEST_F(CredentialEndTest, StaysWithTheCredentialAndGoesWithIt) {
  Apply(Request(kToken));
  Open();
  EXPECT_THAT(core->CredentialEnds(), ElementsAre(Pair(kCrm, At(kTokenEnd))));

  // Without the secret at hand: what is kept stays as it is.
  v1::ApplyRequest request = Request(kToken);
  request.clear_credentials();
  EXPECT_THAT(Texts(Apply(request)), IsEmpty());
  EXPECT_THAT(core->CredentialEnds(), ElementsAre(Pair(kCrm, At(kTokenEnd))));

  request = Request(kToken);
  request.mutable_tenants(0)->clear_syncs();
  request.mutable_tenants(0)->mutable_connections()->RemoveLast();
  request.mutable_credentials()->RemoveLast();
  request.set_prune(true);
  Apply(request);
  EXPECT_THAT(core->CredentialEnds(), IsEmpty());
}

TEST_F(CredentialEndTest, ADatabaseOfAVersionThatDidNotKnowEndsIsRead) {
  Apply(Request(kToken));
  // As such a version wrote it.
  StoredTenant tenant = database->LoadTenants().value().at("acme");
  tenant.connections.at("crm").connection.clear_credential_expires_at();
  Database::Changes changes;
  changes.tenants["acme"] = tenant;
  ASSERT_TRUE(database->Write(now.wall, changes).ok());
  Open();
  EXPECT_THAT(core->CredentialEnds(), IsEmpty());

  EXPECT_THAT(Texts(Apply(Request(kToken))),
              ElementsAre("CHANGED connection acme/crm (end of the credential)"));
}

TEST_F(CredentialEndTest, NobodyIsToldOfTheToken) {
  Apply(Request(kToken));
  const std::vector<Database::AuditEntry> audit = database->LoadAudit(100).value();
  ASSERT_FALSE(audit.empty());
  for (const Database::AuditEntry& entry : audit) {
    EXPECT_THAT(entry.what, Not(HasSubstr("eyJ")));
  }
  EXPECT_THAT(core->WantedSnapshot("acme")->SerializeAsString(), Not(HasSubstr("eyJ")));
}

TEST_F(CredentialEndTest, AnEndThatIsNoTimeIsRefused) {
  for (const std::int64_t end : {std::int64_t{-1}, std::int64_t{1} << 60}) {
    EXPECT_THAT(Apply(Request("opaque", end)).problems(),
                ElementsAre("credential of acme/crm: `token` must end between 1970 and 9999"));
  }
}

TEST_F(CredentialEndTest, StatusTellsOfItFourteenDaysBeforeAndCallsItAProblemWhenItHasEnded) {
  constexpr std::int64_t kDay = 24 * 3600;
  Apply(Request(kToken));
  EXPECT_FALSE(Report(kTokenEnd - 15 * kDay).has_credential_expires_at());

  v1::ConnectionReport report = Report(kTokenEnd - 14 * kDay);
  EXPECT_EQ(report.connection(), "crm");
  EXPECT_EQ(report.credential_expires_at().seconds(), kTokenEnd);
  EXPECT_EQ(report.problem(), "");
  EXPECT_THAT(report.fix(), HasSubstr("tributary apply -f FILE"));
  EXPECT_EQ(core->GetStatus(now, {}).value().syncs(0).problem(), "");

  report = Report(kTokenEnd);
  EXPECT_EQ(report.problem(), "its credential has ended");
  EXPECT_THAT(core->GetStatus(now, {}).value().syncs(0).problem(),
              HasSubstr("connection crm: its credential has ended"));

  Apply(Request("another"));
  EXPECT_EQ(Report(kTokenEnd).problem(), "");
}

TEST(BuildApplyRequestTest, TakesTheEndAlong) {
  ASSERT_EQ(setenv("CREDENTIAL_END_TEST_KEY", "secret", 1), 0);
  v1::ConfigFile config;
  v1::ConnectionConfig& connection = *config.add_tenants()->add_connections();
  v1::SecretReference& reference = (*connection.mutable_credentials())["api_key"];
  reference.set_env("CREDENTIAL_END_TEST_KEY");
  reference.set_expires("2030-03-17T17:46:40Z");
  (*connection.mutable_credentials())["other"].set_env("CREDENTIAL_END_TEST_KEY");

  const BuiltApplyRequest built = BuildApplyRequest(config);

  ASSERT_THAT(built.problems, IsEmpty());
  const v1::SealedInput& input = built.request.credentials(0);
  ASSERT_EQ(input.expires_at().size(), 1U);
  EXPECT_EQ(input.expires_at().at("api_key").seconds(), kTokenEnd);
}

TEST(CredentialEndMetricsTest, ShowsWhatEndsFirstAndTakesBackWhatIsGone) {
  observe::Metrics metrics;
  CredentialEndMetrics shown(metrics);
  shown.Show({{{"acme", "crm"}, At(kTokenEnd + 7)}, {{"acme", "billing"}, At(7)}});
  const std::string crm =
      R"(tributary_credential_expires_timestamp_seconds{connection="crm",tenant="acme"} )";
  EXPECT_THAT(metrics.Exposition(), HasSubstr(crm + "1900000007\n"));

  shown.Show({{{"acme", "crm"}, At(kTokenEnd + 1)}});
  EXPECT_THAT(metrics.Exposition(), HasSubstr(crm + "1900000001\n"));
  EXPECT_THAT(metrics.Exposition(), Not(HasSubstr("billing")));

  std::map<ConnectionName, WallTime> many;
  for (int i = 0; i < 300; ++i) {
    many[{"t" + std::to_string(i), "crm"}] = At(kTokenEnd - i);
  }
  shown.Show(many);
  EXPECT_THAT(metrics.Exposition(), HasSubstr(R"(tenant="t299"})"));
  EXPECT_THAT(metrics.Exposition(), HasSubstr(R"(tenant="t100"})"));
  EXPECT_THAT(metrics.Exposition(), Not(HasSubstr(R"(tenant="t99"})")));
  shown.Show({});
  EXPECT_THAT(metrics.Exposition(), Not(HasSubstr("tenant=")));
}

}  // namespace
}  // namespace tributary::control

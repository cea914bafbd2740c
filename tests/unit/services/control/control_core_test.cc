#include "services/control/control_core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/ids/keys.h"
#include "tests/unit/services/control/fixture.h"

namespace tributary::control {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class ControlCoreTest : public ControlTest {
 protected:
  std::int32_t AcmePartition() const { return ids::PartitionOf("acme", kPartitions); }

  // What a service was sent.
  struct Service {
    PeerId peer = 0;
    std::vector<v1::ToService> received;
  };

  std::unique_ptr<Service> AttachService(const std::string& name,
                                         const std::vector<std::int32_t>& partitions) {
    auto service = std::make_unique<Service>();
    service->peer = next_peer_++;
    core->Attach(service->peer, name,
                 [raw = service.get()](const v1::ToService& m) { raw->received.push_back(m); });
    v1::FromService hello;
    hello.mutable_hello()->set_service(name);
    Send(*service, hello);
    v1::FromService ownership;
    for (const std::int32_t partition : partitions) {
      ownership.mutable_ownership()->add_partitions(partition);
    }
    ownership.mutable_ownership();
    Send(*service, ownership);
    return service;
  }

  void Send(const Service& service, const v1::FromService& message) {
    core->OnMessage(now, service.peer, message);
  }

  v1::Credential AskForCredential(Service& service, const std::string& connection,
                                  std::int64_t refused = 0) {
    v1::FromService message;
    message.mutable_credential_request()->set_tenant("acme");
    message.mutable_credential_request()->set_connection(connection);
    message.mutable_credential_request()->set_refused_revision(refused);
    Send(service, message);
    return service.received.back().credential();
  }

  void ReportReady(const Service& service, const v1::ServiceStatus& given = {}) {
    v1::FromService message;
    *message.mutable_status() = given;
    message.mutable_status()->set_ready(true);
    Send(service, message);
  }

  v1::ServiceStatus LoaderStatus(std::int64_t pending) const {
    v1::ServiceStatus status;
    v1::SyncStatus& sync = *status.add_syncs();
    sync.set_tenant("acme");
    sync.set_sync("main");
    sync.set_state("active");
    sync.set_pending(pending);
    return status;
  }

  v1::ServiceStatus ExtractorStatus(bool settled) const {
    v1::ServiceStatus status;
    v1::StreamStatus& stream = *status.add_streams();
    stream.set_tenant("acme");
    stream.set_connection("billing");
    stream.set_stream("customers");
    stream.set_settled(settled);
    return status;
  }

 private:
  PeerId next_peer_ = 1;
};

TEST_F(ControlCoreTest, TheSameFileTwiceChangesNothing) {
  EXPECT_THAT(Texts(Apply(AcmeRequest())),
              ElementsAre("CREATED tenant acme", "CREATED connection acme/billing",
                          "CREATED connection acme/crm", "CREATED sync acme/main"));
  const std::string before = core->WantedSnapshot("acme")->SerializeAsString();

  EXPECT_THAT(Texts(Apply(AcmeRequest())), IsEmpty());
  Open();
  EXPECT_THAT(Texts(Apply(AcmeRequest())), IsEmpty());
  EXPECT_EQ(core->WantedSnapshot("acme")->SerializeAsString(), before);
}

TEST_F(ControlCoreTest, ADryRunShowsAndChangesNothing) {
  v1::ApplyRequest request = AcmeRequest();
  request.set_dry_run(true);

  EXPECT_THAT(Texts(Apply(request)),
              ElementsAre("CREATED tenant acme", "CREATED connection acme/billing",
                          "CREATED connection acme/crm", "CREATED sync acme/main"));
  EXPECT_THAT(core->tenant_names(), IsEmpty());
  EXPECT_FALSE(database->LoadCredential({"acme", "crm"}).value().has_value());
}

TEST_F(ControlCoreTest, WhatIsNotInTheFileAnyMoreIsShownAndStays) {
  Apply(AcmeRequest());
  v1::ApplyRequest request = AcmeRequest();
  request.mutable_tenants(0)->clear_syncs();
  request.mutable_tenants(0)->mutable_connections()->RemoveLast();
  request.mutable_credentials()->RemoveLast();

  EXPECT_THAT(Texts(Apply(request)),
              ElementsAre("WOULD_REMOVE sync acme/main (not in the file; --prune removes it)",
                          "WOULD_REMOVE connection acme/crm (not in the file; --prune removes "
                          "it)"));
  EXPECT_EQ(core->WantedSnapshot("acme")->syncs(0).state(), v1::SYNC_STATE_ACTIVE);
  EXPECT_TRUE(database->LoadCredential({"acme", "crm"}).value().has_value());
}

TEST_F(ControlCoreTest, PruneRemovesItWithItsCredentialAndOnlyOnce) {
  Apply(AcmeRequest());
  v1::ApplyRequest request = AcmeRequest();
  request.mutable_tenants(0)->clear_syncs();
  request.mutable_tenants(0)->mutable_connections()->RemoveLast();
  request.mutable_credentials()->RemoveLast();
  request.set_prune(true);

  EXPECT_THAT(Texts(Apply(request)),
              ElementsAre("REMOVED sync acme/main", "REMOVED connection acme/crm"));
  EXPECT_THAT(Texts(Apply(request)), IsEmpty());

  // Still told to the services, which withdraw its records.
  EXPECT_EQ(core->WantedSnapshot("acme")->syncs(0).state(), v1::SYNC_STATE_REMOVED);
  EXPECT_EQ(core->WantedSnapshot("acme")->connections(1).state(), v1::CONNECTION_STATE_UNLINKED);
  EXPECT_FALSE(database->LoadCredential({"acme", "crm"}).value().has_value());
}

TEST_F(ControlCoreTest, ATenantThatIsNotInTheFileGoesOnlyWithPrune) {
  Apply(AcmeRequest());
  v1::ApplyRequest request;

  EXPECT_THAT(Texts(Apply(request)), ElementsAre(HasSubstr("WOULD_REMOVE tenant acme")));
  EXPECT_FALSE(core->WantedSnapshot("acme")->removed());
  request.set_prune(true);
  EXPECT_THAT(Texts(Apply(request)), ElementsAre("REMOVED tenant acme"));
  EXPECT_TRUE(core->WantedSnapshot("acme")->removed());
  EXPECT_THAT(Texts(Apply(request)), IsEmpty());

  // And it comes back.
  EXPECT_THAT(Texts(Apply(AcmeRequest())),
              ElementsAre("CREATED tenant acme", "CREATED connection acme/billing",
                          "CREATED connection acme/crm", "CREATED sync acme/main"));
  EXPECT_EQ(core->WantedSnapshot("acme")->connections(0).credential_revision(), 2);
}

TEST_F(ControlCoreTest, ChangesAreNamed) {
  Apply(AcmeRequest());
  v1::ApplyRequest request = AcmeRequest();
  v1::TenantConfig& tenant = *request.mutable_tenants(0);
  tenant.mutable_connections(0)->set_allow_insecure_loopback(true);
  tenant.mutable_connections(1)->set_url("https://crm.example");
  (*tenant.mutable_connections(1)->mutable_settings())["location"] = "LOC2";
  tenant.mutable_connections(1)->set_quota_share("0.5");
  (*request.mutable_credentials(1)->mutable_fields())["token"] = "another";
  tenant.mutable_syncs(0)->set_paused(true);
  tenant.mutable_syncs(0)->set_mapping("m.yaml");
  (*request.mutable_files())["m.yaml"] = "mapping 2";

  EXPECT_THAT(Texts(Apply(request)),
              ElementsAre("CHANGED connection acme/billing (allow_insecure_loopback)",
                          "CHANGED connection acme/crm (url, settings, quota_share, credential)",
                          "CHANGED sync acme/main (mapping, paused)"));
  EXPECT_EQ(core->WantedSnapshot("acme")->connections(1).credential_revision(), 2);
  EXPECT_EQ(core->WantedSnapshot("acme")->connections(1).quota_share(), "0.5");
}

// Its positions and entities are those of the old site: next to nothing of the new one was read.
TEST_F(ControlCoreTest, ASourceThatWasReadCannotBecomeAnotherSite) {
  Apply(AcmeRequest());
  v1::ApplyRequest request = AcmeRequest();
  v1::ConnectionConfig& billing = *request.mutable_tenants(0)->mutable_connections(0);
  billing.set_url("https://other.chargify.com");
  EXPECT_THAT(Apply(request).problems(),
              ElementsAre(AllOf(HasSubstr("connection acme/billing: is of site "
                                          "`https://acme.chargify.com` and cannot become"),
                                HasSubstr("other names"))))
      << "nobody says that nothing was read";

  const auto extractor = AttachService("extractor", {AcmePartition()});
  v1::ServiceStatus status = ExtractorStatus(false);
  status.mutable_streams(0)->set_read(1);
  ReportReady(*extractor, status);
  EXPECT_THAT(Apply(request).problems(), ElementsAre(HasSubstr("other names")));
  ReportReady(*extractor, ExtractorStatus(false));
  EXPECT_THAT(Texts(Apply(request)), ElementsAre("CHANGED connection acme/billing (url)"))
      << "a slip in a URL that has brought nothing yet is mended in place";

  // Nor under the name of one that was removed.
  status.mutable_streams(0)->set_first_read_done(true);
  ReportReady(*extractor, status);
  v1::ApplyRequest without = request;
  without.mutable_tenants(0)->clear_connections();
  without.mutable_tenants(0)->clear_syncs();
  without.clear_credentials();
  without.set_prune(true);
  Apply(without);
  ReportReady(*extractor);
  EXPECT_THAT(Apply(AcmeRequest()).problems(), ElementsAre(HasSubstr("other names")));
}

TEST_F(ControlCoreTest, ASourceOnThisMachineMayHaveAnotherPort) {
  v1::ApplyRequest request = AcmeRequest();
  v1::ConnectionConfig& billing = *request.mutable_tenants(0)->mutable_connections(0);
  billing.set_allow_insecure_loopback(true);
  billing.set_url("http://127.0.0.1:8001");
  Apply(request);
  billing.set_url("http://127.0.0.1:8002");
  EXPECT_THAT(Texts(Apply(request)), ElementsAre("CHANGED connection acme/billing (url)"));
  billing.set_url("https://acme.chargify.com");
  EXPECT_THAT(Apply(request).problems(), ElementsAre(HasSubstr("other names")));
}

TEST_F(ControlCoreTest, AProblemChangesNothingAndAllAreTold) {
  v1::ApplyRequest request = AcmeRequest();
  v1::TenantConfig& tenant = *request.mutable_tenants(0);
  tenant.mutable_syncs(0)->set_mapping("m.yaml");
  tenant.mutable_syncs(0)->set_rules("missing.yaml");
  (*request.mutable_files())["m.yaml"] = "bad";
  auto& fields = *request.mutable_credentials(1)->mutable_fields();
  fields.clear();
  fields["tokne"] = "x";
  request.add_credentials()->set_tenant("nobody");

  const v1::ApplyResponse response = Apply(request);

  EXPECT_THAT(response.problems(),
              UnorderedElementsAre(
                  "credential of acme/crm: `tokne` is not asked for by `highlevel`; did you mean "
                  "`token`?",
                  "credential of acme/crm: `token` is missing",
                  "missing.yaml: error: was not sent, and sync acme/main names it",
                  "m.yaml:1:1: error: bad",
                  "credential of nobody/: there is no such connection in this request"));
  EXPECT_THAT(response.changes(), IsEmpty());
  EXPECT_THAT(core->tenant_names(), IsEmpty());
}

TEST_F(ControlCoreTest, ASyncCannotJoinOtherConnectionsUnderItsName) {
  Apply(AcmeRequest());
  v1::ApplyRequest request = AcmeRequest();
  v1::ConnectionConfig& second = *request.mutable_tenants(0)->add_connections();
  second = request.tenants(0).connections(1);
  second.set_name("crm2");
  request.mutable_tenants(0)->mutable_syncs(0)->set_target("crm2");

  EXPECT_THAT(Apply(request).problems(), ElementsAre(HasSubstr("cannot join others")));
}

TEST_F(ControlCoreTest, AnUpgradeDoesNotChangeTheMappingOfALiveSync) {
  Apply(AcmeRequest());
  const std::string pinned = core->WantedSnapshot("acme")->syncs(0).mapping();
  catalogue.mapping.content = "mapping of a newer version";
  catalogue.connector_file.content = "connector of a newer version";

  EXPECT_THAT(Texts(Apply(AcmeRequest())), IsEmpty());
  EXPECT_EQ(core->WantedSnapshot("acme")->syncs(0).mapping(), pinned);
}

TEST_F(ControlCoreTest, AConnectionWithoutCredentialWaitsForIt) {
  v1::ApplyRequest request = AcmeRequest();
  request.mutable_credentials()->RemoveLast();
  Apply(request);
  EXPECT_EQ(core->WantedSnapshot("acme")->connections(1).state(),
            v1::CONNECTION_STATE_PENDING_AUTH);

  Apply(AcmeRequest());
  EXPECT_EQ(core->WantedSnapshot("acme")->connections(1).state(), v1::CONNECTION_STATE_LINKED);
}

TEST_F(ControlCoreTest, ACredentialGoesOnlyToTheOwnerOfTheTenantThatHasAUseForIt) {
  Apply(AcmeRequest());
  const auto owner = AttachService("loader", {AcmePartition()});
  const auto other = AttachService("loader", {(AcmePartition() + 1) % kPartitions});
  const auto transformer = AttachService("transformer", {AcmePartition()});
  const auto extractor = AttachService("extractor", {AcmePartition()});

  const v1::Credential given = AskForCredential(*owner, "crm");
  EXPECT_EQ(given.problem(), "");
  EXPECT_EQ(given.fields().at("token"), "canary-highlevel-token");
  EXPECT_EQ(given.revision(), 1);
  EXPECT_EQ(AskForCredential(*extractor, "billing").fields().at("api_key"), "canary-chargify-key");

  for (const v1::Credential& refused :
       {AskForCredential(*other, "crm"), AskForCredential(*transformer, "crm"),
        AskForCredential(*extractor, "crm"), AskForCredential(*owner, "billing"),
        AskForCredential(*owner, "nothing")}) {
    EXPECT_NE(refused.problem(), "");
    EXPECT_THAT(refused.fields(), IsEmpty());
  }
}

TEST_F(ControlCoreTest, AServiceCannotSayHelloAsAnother) {
  Apply(AcmeRequest());
  Service impostor;
  impostor.peer = 77;
  core->Attach(77, "transformer", [&](const v1::ToService& m) { impostor.received.push_back(m); });
  v1::FromService hello;
  hello.mutable_hello()->set_service("loader");
  Send(impostor, hello);
  v1::FromService ownership;
  ownership.mutable_ownership()->add_partitions(AcmePartition());
  Send(impostor, ownership);
  v1::FromService request;
  request.mutable_credential_request()->set_tenant("acme");
  request.mutable_credential_request()->set_connection("crm");
  Send(impostor, request);

  EXPECT_THAT(impostor.received, IsEmpty());
}

TEST_F(ControlCoreTest, ARefusedCredentialDeauthorizesOnlyIfItIsTheOneInForce) {
  Apply(AcmeRequest());
  const auto loader = AttachService("loader", {AcmePartition()});
  v1::FromService report;
  report.mutable_connection_report()->set_tenant("acme");
  report.mutable_connection_report()->set_connection("crm");
  report.mutable_connection_report()->set_problem("401");
  report.mutable_connection_report()->set_credential_refused(true);
  const auto state = [&] { return core->WantedSnapshot("acme")->connections(1).state(); };

  // Never asked again for another one: one 401 alone disables nothing.
  Send(*loader, report);
  EXPECT_EQ(state(), v1::CONNECTION_STATE_LINKED);

  // The report crosses a new credential.
  AskForCredential(*loader, "crm", 1);
  v1::ApplyRequest renewed = AcmeRequest();
  (*renewed.mutable_credentials(1)->mutable_fields())["token"] = "another";
  Apply(renewed);
  Send(*loader, report);
  EXPECT_EQ(state(), v1::CONNECTION_STATE_LINKED);

  AskForCredential(*loader, "crm", 2);
  Send(*loader, report);
  EXPECT_EQ(state(), v1::CONNECTION_STATE_DEAUTHORIZED);
  (*renewed.mutable_credentials(1)->mutable_fields())["token"] = "third";
  Apply(renewed);
  EXPECT_EQ(state(), v1::CONNECTION_STATE_LINKED);
}

TEST_F(ControlCoreTest, TheSameCredentialGivenAfterARefusalIsTriedAgain) {
  Apply(AcmeRequest());
  const auto loader = AttachService("loader", {AcmePartition()});
  v1::FromService report;
  report.mutable_connection_report()->set_tenant("acme");
  report.mutable_connection_report()->set_connection("crm");
  report.mutable_connection_report()->set_problem("401");
  report.mutable_connection_report()->set_credential_refused(true);
  AskForCredential(*loader, "crm", 1);
  Send(*loader, report);
  ASSERT_EQ(core->WantedSnapshot("acme")->connections(1).state(),
            v1::CONNECTION_STATE_DEAUTHORIZED);

  EXPECT_THAT(Texts(Apply(AcmeRequest())),
              ElementsAre("CHANGED connection acme/crm (the refused credential is tried again)"));
  EXPECT_EQ(core->WantedSnapshot("acme")->connections(1).state(), v1::CONNECTION_STATE_LINKED);
  EXPECT_EQ(AskForCredential(*loader, "crm").revision(), 2);
  EXPECT_THAT(Texts(Apply(AcmeRequest())), IsEmpty());

  // Of the one before.
  Send(*loader, report);
  EXPECT_EQ(core->WantedSnapshot("acme")->connections(1).state(), v1::CONNECTION_STATE_LINKED);
  AskForCredential(*loader, "crm", 2);
  Send(*loader, report);
  EXPECT_EQ(core->WantedSnapshot("acme")->connections(1).state(),
            v1::CONNECTION_STATE_DEAUTHORIZED);
}

TEST_F(ControlCoreTest, ARefusedConnectionIsReportedOnceInTheVendorsWordsAndWithAWayOut) {
  Apply(AcmeRequest());
  const auto extractor = AttachService("extractor", {AcmePartition()});
  v1::ServiceStatus status = ExtractorStatus(false);
  v1::ConnectionReport& refused = *status.add_connections();
  refused.set_tenant("acme");
  refused.set_connection("billing");
  refused.set_problem("the site refuses the API key (401): bad key");
  refused.set_fix("check the API key of connection billing");
  refused.set_credential_refused(true);
  ReportReady(*extractor, status);
  v1::FromService report;
  *report.mutable_connection_report() = refused;
  AskForCredential(*extractor, "billing", 1);
  Send(*extractor, report);
  ASSERT_EQ(core->WantedSnapshot("acme")->connections(0).state(),
            v1::CONNECTION_STATE_DEAUTHORIZED);

  const v1::StatusResponse joined = core->GetStatus(now, {}).value();

  ASSERT_EQ(joined.connections_size(), 1);
  EXPECT_EQ(joined.connections(0).connection(), "billing");
  EXPECT_THAT(joined.connections(0).problem(), HasSubstr("401"));
  EXPECT_THAT(joined.connections(0).fix(),
              AllOf(HasSubstr("check the API key"), HasSubstr("tributary apply -f FILE")));
  EXPECT_TRUE(joined.connections(0).credential_refused());
  ASSERT_EQ(joined.syncs_size(), 1);
  EXPECT_THAT(joined.syncs(0).problem(), HasSubstr("connection billing: the site refuses"));
}

TEST_F(ControlCoreTest, WhatWasSaidOfAConnectionThatIsGoneIsNotShown) {
  Apply(AcmeRequest());
  const auto loader = AttachService("loader", {AcmePartition()});
  v1::ServiceStatus status = LoaderStatus(0);
  v1::ConnectionReport& broken = *status.add_connections();
  broken.set_tenant("acme");
  broken.set_connection("crm");
  broken.set_problem("cannot be reached");
  ReportReady(*loader, status);
  v1::FromService report;
  *report.mutable_connection_report() = broken;
  Send(*loader, report);
  ASSERT_EQ(core->GetStatus(now, {}).value().connections_size(), 1);

  v1::ApplyRequest request = AcmeRequest();
  request.mutable_tenants(0)->clear_syncs();
  request.mutable_tenants(0)->mutable_connections()->RemoveLast();
  request.mutable_credentials()->RemoveLast();
  request.set_prune(true);
  Apply(request);
  EXPECT_EQ(core->GetStatus(now, {}).value().connections_size(), 0);

  // And with its tenant.
  Apply(AcmeRequest());
  ASSERT_EQ(core->GetStatus(now, {}).value().connections_size(), 1);
  v1::ApplyRequest nothing;
  nothing.set_prune(true);
  Apply(nothing);
  EXPECT_EQ(core->GetStatus(now, {}).value().connections_size(), 0);
}

TEST_F(ControlCoreTest, AStatusOfWhichSomethingWasLeftOutIsSaidSoAndNeverSettled) {
  Apply(AcmeRequest());
  const auto loader = AttachService("loader", {AcmePartition()});
  v1::ServiceStatus status = LoaderStatus(0);
  status.set_left_out(7);
  ReportReady(*loader, status);

  const v1::StatusResponse joined = core->GetStatus(now, {}).value();

  EXPECT_THAT(joined.missing_services(), Contains(HasSubstr("loader (of 7 entries")));
  EXPECT_FALSE(joined.settled());
}

TEST_F(ControlCoreTest, WaitingForAQuotaIsShownAndIsNoProblem) {
  Apply(AcmeRequest());
  const auto loader = AttachService("loader", {AcmePartition()});
  v1::ServiceStatus status = LoaderStatus(1);
  v1::ConnectionReport& waits = *status.add_connections();
  waits.set_tenant("acme");
  waits.set_connection("crm");
  waits.set_waits_for("quota `day`: 9 of 9 used");
  waits.mutable_waits_until()->set_seconds(1'760'054'400);
  ReportReady(*loader, status);

  const v1::StatusResponse joined = core->GetStatus(now, {}).value();

  ASSERT_EQ(joined.connections_size(), 1);
  EXPECT_EQ(joined.connections(0).waits_for(), "quota `day`: 9 of 9 used");
  EXPECT_EQ(joined.connections(0).waits_until().seconds(), 1'760'054'400);
  EXPECT_EQ(joined.syncs(0).problem(), "");

  // A problem that was told before is not hidden by it.
  v1::FromService report;
  report.mutable_connection_report()->set_tenant("acme");
  report.mutable_connection_report()->set_connection("crm");
  report.mutable_connection_report()->set_problem("a problem");
  Send(*loader, report);
  EXPECT_EQ(core->GetStatus(now, {}).value().connections(0).problem(), "a problem");
  EXPECT_EQ(core->GetStatus(now, {}).value().connections(0).waits_for(),
            "quota `day`: 9 of 9 used");
}

TEST_F(ControlCoreTest, AWebhookEndpointThatIsSwitchedOffIsShownAndIsNoProblem) {
  Apply(AcmeRequest());
  const auto extractor = AttachService("extractor", {AcmePartition()});
  v1::ServiceStatus status = ExtractorStatus(true);
  v1::ConnectionReport& report = *status.add_connections();
  report.set_tenant("acme");
  report.set_connection("billing");
  report.mutable_webhook_endpoints()->set_enabled(2);
  ReportReady(*extractor, status);
  EXPECT_EQ(core->GetStatus(now, {}).value().connections_size(), 0);

  report.mutable_webhook_endpoints()->set_disabled(1);
  ReportReady(*extractor, status);
  const v1::StatusResponse joined = core->GetStatus(now, {}).value();
  ASSERT_EQ(joined.connections_size(), 1);
  EXPECT_EQ(joined.connections(0).webhook_endpoints().disabled(), 1);
  EXPECT_EQ(joined.connections(0).problem(), "");
  EXPECT_EQ(joined.syncs(0).problem(), "");
}

TEST_F(ControlCoreTest, StatusNamesTheServicesThatAreMissing) {
  Apply(AcmeRequest());
  core->set_unpublished({});
  const auto loader = AttachService("loader", {AcmePartition()});
  ReportReady(*loader, LoaderStatus(0));

  const v1::StatusResponse status = core->GetStatus(now, {}).value();

  ASSERT_EQ(status.syncs_size(), 1);
  EXPECT_EQ(status.syncs(0).tenant(), "acme");
  EXPECT_EQ(status.syncs(0).state(), "active");
  EXPECT_THAT(status.missing_services(), ElementsAre(HasSubstr("extractor (of partition"),
                                                     HasSubstr("transformer (of partition")));
  EXPECT_FALSE(status.settled());
}

TEST_F(ControlCoreTest, SettledIsWhatEveryOwnerSays) {
  Apply(AcmeRequest());
  core->set_unpublished({});
  const auto loader = AttachService("loader", {AcmePartition()});
  const auto transformer = AttachService("transformer", {AcmePartition()});
  const auto extractor = AttachService("extractor", {AcmePartition()});
  const auto settled = [&] { return core->GetStatus(now, {}).value().settled(); };
  ReportReady(*transformer);
  ReportReady(*extractor);
  ReportReady(*loader);
  EXPECT_FALSE(settled()) << "nobody has spoken of the sync yet";

  ReportReady(*loader, LoaderStatus(0));
  ReportReady(*extractor, ExtractorStatus(false));
  EXPECT_FALSE(settled());
  ReportReady(*extractor, ExtractorStatus(true));
  EXPECT_TRUE(settled());

  ReportReady(*loader, LoaderStatus(1));
  EXPECT_FALSE(settled());
  EXPECT_EQ(core->GetStatus(now, {}).value().syncs(0).pending(), 1);
  ReportReady(*loader, LoaderStatus(0));
  core->set_unpublished({"tenant acme"});
  EXPECT_FALSE(settled());
}

TEST_F(ControlCoreTest, AFormerOwnersLastWordsDoNotCount) {
  Apply(AcmeRequest());
  const auto before = AttachService("loader", {AcmePartition()});
  ReportReady(*before, LoaderStatus(7));
  Send(*before, [] {
    v1::FromService ownership;
    ownership.mutable_ownership();
    return ownership;
  }());

  EXPECT_EQ(core->GetStatus(now, {}).value().syncs(0).pending(), 0);
}

TEST_F(ControlCoreTest, ANameThatIsNotKnownGetsTheNearest) {
  Apply(AcmeRequest());
  v1::StatusRequest request;
  request.set_tenant("acem");

  EXPECT_THAT(std::string(core->GetStatus(now, request).status().message()),
              HasSubstr("did you mean `acme`?"));
}

TEST_F(ControlCoreTest, ASyncIsPausedAndResumed) {
  Apply(AcmeRequest());
  v1::SetSyncPausedRequest request;
  request.set_tenant("acme");
  request.set_sync("main");
  request.set_paused(true);
  ASSERT_TRUE(core->SetSyncPaused(now, "tester", request).ok());
  EXPECT_EQ(core->GetStatus(now, {}).value().syncs(0).state(), "paused");
  Open();
  EXPECT_EQ(core->WantedSnapshot("acme")->syncs(0).state(), v1::SYNC_STATE_PAUSED);

  request.set_sync("mian");
  EXPECT_THAT(std::string(core->SetSyncPaused(now, "tester", request).status().message()),
              HasSubstr("did you mean `main`?"));
}

TEST_F(ControlCoreTest, ParkedItemsComeFromAllOwnersOnce) {
  Apply(AcmeRequest());
  const auto one = AttachService("loader", {0, 1});
  const auto two = AttachService("loader", {2, 3});
  std::optional<v1::ListParkedResponse> response;
  core->ListParked(now, {}, [&](auto answer) { response = answer.value(); });
  ASSERT_EQ(one->received.size(), 1U);
  ASSERT_EQ(two->received.size(), 1U);

  for (Service* service : {one.get(), two.get()}) {
    v1::FromService answer;
    answer.set_answer_to(service->received[0].id());
    answer.mutable_parked()->add_items()->set_key("acme/main/s/contact/customers/1");
    EXPECT_FALSE(response.has_value());
    Send(*service, answer);
    // Said again, it does not count again.
    Send(*service, answer);
  }

  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->items_size(), 1);
  EXPECT_EQ(response->problem(), "");
}

TEST_F(ControlCoreTest, OfManyParkedItemsAThousandComeAndThatThereAreMore) {
  Apply(AcmeRequest());
  const auto one = AttachService("loader", {0, 1});
  const auto two = AttachService("loader", {2, 3});
  v1::ListParkedRequest request;
  request.set_items_max(5000);
  std::optional<v1::ListParkedResponse> response;
  core->ListParked(now, request, [&](auto answer) { response = answer.value(); });

  for (Service* service : {one.get(), two.get()}) {
    EXPECT_EQ(service->received[0].list_parked().items_max(), 1000);
    v1::FromService answer;
    answer.set_answer_to(service->received[0].id());
    for (int i = 0; i < 600; ++i) {
      answer.mutable_parked()->add_items()->set_key(
          ids::StateKey("acme", "main", "contact", "customers",
                        std::to_string(i) + (service == one.get() ? "a" : "b")));
    }
    Send(*service, answer);
  }

  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->items_size(), 1000);
  EXPECT_TRUE(response->more());
}

TEST_F(ControlCoreTest, AServiceThatDoesNotAnswerIsNamedAfterTheDeadline) {
  Apply(AcmeRequest());
  const auto loader = AttachService("loader", {AcmePartition()});
  std::optional<v1::ListParkedResponse> response;
  core->ListParked(now, {}, [&](auto answer) { response = answer.value(); });
  EXPECT_EQ(core->next_tick(), now.steady + std::chrono::seconds(3));

  core->OnTick(now);
  EXPECT_FALSE(response.has_value());
  now.steady += std::chrono::seconds(3);
  core->OnTick(now);

  ASSERT_TRUE(response.has_value());
  EXPECT_THAT(response->problem(), HasSubstr("loader"));
}

TEST_F(ControlCoreTest, AServiceThatGoesAwayIsNotWaitedFor) {
  Apply(AcmeRequest());
  const auto loader = AttachService("loader", {AcmePartition()});
  std::optional<v1::ListParkedResponse> response;
  core->ListParked(now, {}, [&](auto answer) { response = answer.value(); });

  core->Detach(now, loader->peer);

  ASSERT_TRUE(response.has_value());
  EXPECT_THAT(response->problem(), HasSubstr("loader"));
}

TEST_F(ControlCoreTest, ADecisionGoesToTheLoaderThatOwnsTheTenant) {
  Apply(AcmeRequest());
  const auto loader = AttachService("loader", {AcmePartition()});
  const auto other = AttachService("loader", {(AcmePartition() + 1) % kPartitions});
  v1::DecideParkedRequest request;
  request.set_key(ids::StateKey("acme", "main", "contact", "customers", "1"));
  request.set_replay(true);
  std::optional<v1::DecideParkedResponse> response;

  core->DecideParked(now, "tester", request, [&](auto answer) { response = answer.value(); });
  ASSERT_EQ(loader->received.size(), 1U);
  EXPECT_THAT(other->received, IsEmpty());
  v1::FromService answer;
  answer.set_answer_to(loader->received[0].id());
  answer.mutable_decided();
  Send(*loader, answer);

  EXPECT_TRUE(response.has_value());
  EXPECT_THAT(database->LoadAudit(1).value()[0].what, HasSubstr("replay of acme/main"));
  absl::Status refused;
  core->DecideParked(now, "tester", {}, [&](auto reply) { refused = reply.status(); });
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ControlCoreTest, Rule28_AParkedActionIsDoneAgainByTheTransformerAndDroppedAtTheLoader) {
  Apply(AcmeRequest());
  const auto loader = AttachService("loader", {AcmePartition()});
  const auto transformer = AttachService("transformer", {AcmePartition()});
  const auto other = AttachService("transformer", {(AcmePartition() + 1) % kPartitions});
  v1::DecideParkedRequest request;
  request.set_key(ids::ActionKey("acme", "main", std::string(32, 'a')));
  request.set_replay(true);
  std::optional<v1::DecideParkedResponse> response;
  core->DecideParked(now, "tester", request, [&](auto answer) { response = answer.value(); });

  // Is it parked at all?
  ASSERT_EQ(loader->received.size(), 1U);
  EXPECT_EQ(loader->received[0].list_parked().key(), request.key());
  EXPECT_THAT(transformer->received, IsEmpty());
  v1::FromService parked;
  parked.set_answer_to(loader->received[0].id());
  v1::ParkedItem& item = *parked.mutable_parked()->add_items();
  item.set_key(request.key());
  item.set_reason(v1::REASON_UNKNOWN);
  Send(*loader, parked);

  ASSERT_EQ(transformer->received.size(), 1U);
  EXPECT_TRUE(transformer->received[0].decide_parked().replay());
  EXPECT_THAT(other->received, IsEmpty());
  ASSERT_EQ(loader->received.size(), 1U) << "not before the new attempt is durable";
  v1::FromService written;
  written.set_answer_to(transformer->received[0].id());
  written.mutable_decided();
  Send(*transformer, written);

  ASSERT_EQ(loader->received.size(), 2U);
  EXPECT_EQ(loader->received[1].decide_parked().key(), request.key());
  EXPECT_FALSE(loader->received[1].decide_parked().replay());
  EXPECT_FALSE(response.has_value());
  v1::FromService dropped;
  dropped.set_answer_to(loader->received[1].id());
  dropped.mutable_decided();
  Send(*loader, dropped);

  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->problem(), "");
}

TEST_F(ControlCoreTest, Rule28_WhatIsNotParkedOrFreesItselfIsNotDoneAgain) {
  Apply(AcmeRequest());
  const auto loader = AttachService("loader", {AcmePartition()});
  const auto transformer = AttachService("transformer", {AcmePartition()});
  v1::DecideParkedRequest request;
  request.set_key(ids::ActionKey("acme", "main", std::string(32, 'a')));
  request.set_replay(true);
  for (const bool is_parked : {false, true}) {
    std::optional<v1::DecideParkedResponse> response;
    core->DecideParked(now, "tester", request, [&](auto answer) { response = answer.value(); });
    v1::FromService answer;
    answer.set_answer_to(loader->received.back().id());
    answer.mutable_parked();
    if (is_parked) {
      v1::ParkedItem& item = *answer.mutable_parked()->add_items();
      item.set_key(request.key());
      item.set_reason(v1::REASON_RECORD);
    }
    Send(*loader, answer);

    ASSERT_TRUE(response.has_value());
    EXPECT_THAT(response->problem(),
                HasSubstr(is_parked ? "waits for its record" : "nothing is parked"));
  }
  EXPECT_THAT(transformer->received, IsEmpty());
}

TEST_F(ControlCoreTest, AParkedActionIsDroppedByTheLoaderAlone) {
  Apply(AcmeRequest());
  const auto loader = AttachService("loader", {AcmePartition()});
  const auto transformer = AttachService("transformer", {AcmePartition()});
  v1::DecideParkedRequest request;
  request.set_key(ids::ActionKey("acme", "main", std::string(32, 'a')));
  core->DecideParked(now, "tester", request, [](auto) {});

  ASSERT_EQ(loader->received.size(), 1U);
  EXPECT_FALSE(loader->received[0].decide_parked().replay());
  EXPECT_THAT(transformer->received, IsEmpty());
}

TEST_F(ControlCoreTest, AMissingServiceIsNamedAndNotCalledControlsFault) {
  Apply(AcmeRequest());
  const auto transformer = AttachService("transformer", {AcmePartition()});
  v1::DecideParkedRequest request;
  request.set_key(ids::StateKey("acme", "main", "contact", "customers", "1"));
  absl::Status decided;
  core->DecideParked(now, "tester", request, [&](auto answer) { decided = answer.status(); });

  EXPECT_EQ(decided.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(decided.message()), HasSubstr("loader (none that owns partition"));
}

TEST_F(ControlCoreTest, ATraceJoinsWhatTransformerAndLoaderKnow) {
  Apply(AcmeRequest());
  const auto loader = AttachService("loader", {AcmePartition()});
  const auto transformer = AttachService("transformer", {AcmePartition()});
  v1::TraceRequest request;
  request.set_tenant("acme");
  request.set_kind("customers");
  request.set_id("1");
  std::optional<v1::TraceResponse> response;
  core->Trace(now, request, [&](auto answer) { response = answer.value(); });

  v1::FromService from_transformer;
  from_transformer.set_answer_to(transformer->received[0].id());
  from_transformer.mutable_trace()->set_found(true);
  from_transformer.mutable_trace()->add_versions()->set_offset(5);
  Send(*transformer, from_transformer);
  v1::FromService from_loader;
  from_loader.set_answer_to(loader->received[0].id());
  from_loader.mutable_trace()->add_records()->set_key("k");
  from_loader.mutable_trace()->add_nearest("acme/billing/customers/2");
  Send(*loader, from_loader);

  ASSERT_TRUE(response.has_value());
  EXPECT_TRUE(response->found());
  EXPECT_EQ(response->entity(), "acme/customers/1");
  EXPECT_EQ(response->versions_size(), 1);
  EXPECT_EQ(response->records_size(), 1);
  EXPECT_THAT(response->nearest(), IsEmpty());
}

TEST_F(ControlCoreTest, ATraceTellsWhatBecameOfARecordWhoeverAnswersFirst) {
  Apply(AcmeRequest());
  const auto loader = AttachService("loader", {AcmePartition()});
  const auto transformer = AttachService("transformer", {AcmePartition()});
  v1::TraceRequest request;
  request.set_tenant("acme");
  request.set_kind("customers");
  request.set_id("1");
  for (const bool is_transformer_first : {true, false}) {
    std::optional<v1::TraceResponse> response;
    core->Trace(now, request, [&](auto answer) { response = answer.value(); });
    v1::FromService from_transformer;
    from_transformer.set_answer_to(transformer->received.back().id());
    from_transformer.mutable_trace()->set_found(true);
    from_transformer.mutable_trace()->set_entity("acme/billing/customers/1");
    v1::TraceResponse::Record& wanted = *from_transformer.mutable_trace()->add_records();
    wanted.set_key("k");
    wanted.set_reason("present");
    wanted.mutable_desired()->set_offset(5);
    v1::FromService from_loader;
    from_loader.set_answer_to(loader->received.back().id());
    from_loader.mutable_trace()->set_entity("customers/1");
    v1::TraceResponse::Record& done = *from_loader.mutable_trace()->add_records();
    done.set_key("k");
    done.set_status("parked");
    done.set_reason("refused");
    done.set_next("correct the customer");

    Send(is_transformer_first ? *transformer : *loader,
         is_transformer_first ? from_transformer : from_loader);
    Send(is_transformer_first ? *loader : *transformer,
         is_transformer_first ? from_loader : from_transformer);

    ASSERT_TRUE(response.has_value());
    EXPECT_EQ(response->entity(), "acme/billing/customers/1");
    ASSERT_EQ(response->records_size(), 1);
    EXPECT_EQ(response->records(0).status(), "parked");
    EXPECT_EQ(response->records(0).reason(), "refused");
    EXPECT_EQ(response->records(0).next(), "correct the customer");
    EXPECT_EQ(response->records(0).desired().offset(), 5);
  }
}

}  // namespace
}  // namespace tributary::control

#include "services/tributary/output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary::cli {
namespace {

// These shapes are scripted against: fields are only ever added.

TEST(OutputTest, StatusIsGroupedByTenant) {
  v1::StatusResponse response;
  v1::SyncStatus& main = *response.add_syncs();
  main.set_tenant("acme");
  main.set_sync("main");
  main.set_state("failing");
  main.set_freshness_seconds("12.5");
  main.set_pending(3);
  main.set_retrying(2);
  main.set_parked(1);
  main.set_problem("connection crm: 401");
  main.set_fix("exchange the token");
  v1::SyncStatus& other = *response.add_syncs();
  other.set_tenant("acme");
  other.set_sync("second");
  other.set_state("active");
  other.set_freshness_seconds("not a number\"");
  response.add_missing_services("loader (of partition 3)");

  EXPECT_EQ(
      StatusJson(response),
      R"({"tenants":[{"tenant":"acme","syncs":[)"
      R"({"sync":"main","state":"failing","freshness_seconds":12.5,"pending":3,"retrying":2,)"
      R"("parked":1,"problem":"connection crm: 401","fix":"exchange the token","applied":0,)"
      R"("noop":0,"superseded":0,"dropped":0,"in_doubt":0},)"
      R"({"sync":"second","state":"active","freshness_seconds":0,"pending":0,"retrying":0,)"
      R"("parked":0,"problem":null,"fix":null,"applied":0,"noop":0,"superseded":0,"dropped":0,)"
      R"("in_doubt":0}]}],"settled":false,"connections":[],"streams":[],)"
      R"-("missing_services":["loader (of partition 3)"]})-"
      "\n");
  EXPECT_EQ(StatusText(response),
            "TENANT  SYNC    STATE    BEHIND  PENDING  RETRYING  PARKED\n"
            "acme    main    failing  12s     3        2         1\n"
            "acme    second  active   0s      0        0         0\n"
            "sync acme/main: connection crm: 401\n"
            "  fix: exchange the token\n"
            "nothing is known from: loader (of partition 3)\n"
            "  fix: start it, or see at its /readyz what it waits for\n"
            "`tributary parked list` shows what waits for a person\n");

  // Once, at the connection, if that says it too.
  v1::ConnectionReport& report = *response.add_connections();
  report.set_tenant("acme");
  report.set_connection("crm");
  report.set_problem("401");
  report.set_fix("exchange the token");
  response.clear_missing_services();
  main.set_parked(0);
  EXPECT_EQ(StatusText(response),
            "TENANT  SYNC    STATE    BEHIND  PENDING  RETRYING  PARKED\n"
            "acme    main    failing  12s     3        2         0\n"
            "acme    second  active   0s      0        0         0\n"
            "connection acme/crm: 401\n"
            "  fix: exchange the token\n");

  report.clear_problem();
  report.clear_fix();
  report.set_waits_for("quota `day`: 180000 of 180000 used");
  report.mutable_waits_until()->set_seconds(1'760'054'400);
  EXPECT_THAT(StatusText(response),
              testing::HasSubstr("connection acme/crm: waits for quota `day`: 180000 of 180000 "
                                 "used, until 2025-10-10T00:00:00Z\n"));
  EXPECT_THAT(StatusJson(response),
              testing::HasSubstr(R"("waits_for":"quota `day`: 180000 of 180000 used",)"
                                 R"("waits_until":"2025-10-10T00:00:00Z")"));
}

TEST(OutputTest, StatusTellsOfACredentialThatEnds) {
  v1::StatusResponse response;
  v1::ConnectionReport& report = *response.add_connections();
  report.set_tenant("acme");
  report.set_connection("crm");
  report.set_fix("make a new one");
  report.mutable_credential_expires_at()->set_seconds(1'760'054'400);

  EXPECT_THAT(StatusText(response),
              testing::HasSubstr("connection acme/crm: its credential is good until "
                                 "2025-10-10T00:00:00Z\n  fix: make a new one\n"));
  EXPECT_THAT(StatusJson(response),
              testing::HasSubstr(R"("problem":null,"fix":"make a new one","waits_for":null,)"
                                 R"("waits_until":null,)"
                                 R"("credential_expires_at":"2025-10-10T00:00:00Z")"));

  // The fix stands once.
  report.set_problem("its credential has ended");
  EXPECT_THAT(StatusText(response),
              testing::HasSubstr("connection acme/crm: its credential has ended\n"
                                 "  fix: make a new one\n"
                                 "connection acme/crm: its credential is good until "
                                 "2025-10-10T00:00:00Z\n"));
}

TEST(OutputTest, StatusTellsOfWebhookEndpointsThatAreSwitchedOff) {
  v1::StatusResponse response;
  v1::ConnectionReport& report = *response.add_connections();
  report.set_tenant("acme");
  report.set_connection("billing");
  EXPECT_THAT(StatusJson(response), testing::HasSubstr(R"("webhook_endpoints":null}])"));
  report.mutable_webhook_endpoints()->set_enabled(3);
  report.mutable_webhook_endpoints()->set_disabled(1);

  EXPECT_THAT(StatusText(response),
              testing::HasSubstr("connection acme/billing: the site has switched webhook endpoints "
                                 "of others off: 0 paused, 1 disabled; Tributary itself misses "
                                 "nothing\n  fix: tell its owner"));
  EXPECT_THAT(StatusJson(response),
              testing::HasSubstr(R"("webhook_endpoints":{"enabled":3,"paused":0,"disabled":1,)"
                                 R"("other":0})"));
}

TEST(OutputTest, TraceTellsVersionsAndRecords) {
  v1::TraceResponse response;
  response.set_entity("acme/billing/customers/42");
  response.set_found(true);
  v1::Version& version = *response.add_versions();
  version.set_generation(1);
  version.set_offset(17);
  version.set_revision(4);
  v1::TraceResponse::Record& record = *response.add_records();
  record.set_key("acme/main/s/contact/customers/42");
  record.set_id("c-1");
  *record.mutable_desired() = version;
  record.set_status("waiting");
  record.set_next("at once");

  EXPECT_EQ(TraceJson(response),
            R"({"entity":"acme/billing/customers/42",)"
            R"("versions":[{"generation":1,"offset":17,"revision":4}],)"
            R"("records":[{"key":"acme/main/s/contact/customers/42","id":"c-1",)"
            R"("desired":{"generation":1,"offset":17,"revision":4},"resolved":null,)"
            R"("status":"waiting","reason":null,"next":"at once"}],)"
            R"("found":true,"nearest":[],"problem":null})"
            "\n");
  EXPECT_EQ(TraceText(response),
            "acme/billing/customers/42\n"
            "  change at offset 17 (revision 4)\n"
            "acme/main/s/contact/customers/42\n"
            "  status    waiting\n"
            "  id there  c-1\n"
            "  desired   change at offset 17 (revision 4)\n"
            "  next      at once\n");
}

TEST(OutputTest, ParkedItemsHaveKeyVersionReasonSinceAndFix) {
  v1::ListParkedResponse response;
  v1::ParkedItem& item = *response.add_items();
  item.set_key("acme/main/s/contact/customers/42");
  item.mutable_version()->set_offset(17);
  item.set_reason(v1::REASON_IDENTITY_CONFLICT);
  item.mutable_since()->set_seconds(1'700'000'000);
  item.set_fix("merge them");
  item.set_detail("is held by customers/7");

  EXPECT_EQ(ParkedJson(response),
            R"({"items":[{"key":"acme/main/s/contact/customers/42",)"
            R"("version":{"generation":0,"offset":17,"revision":0},"reason":"identity_conflict",)"
            R"("since":"2023-11-14T22:13:20Z","fix":"merge them",)"
            R"("detail":"is held by customers/7"}],"more":false,"problem":null})"
            "\n");
  EXPECT_EQ(ParkedText(response),
            "acme/main/s/contact/customers/42\n"
            "  identity_conflict since 2023-11-14T22:13:20Z: is held by customers/7\n"
            "  fix: merge them\n"
            "`tributary parked replay KEY` tries one again, `parked drop KEY` gives it up\n");
  EXPECT_EQ(ParkedText({}), "nothing is parked\n");
}

TEST(OutputTest, VerifyTellsItsCounts) {
  v1::VerifyResponse response;
  response.set_checked(9);
  response.set_lost(1);
  response.set_at_rest(true);
  response.add_problems("customer \"1\"");

  EXPECT_EQ(VerifyJson(response),
            R"({"ok":false,"checked":9,"lost":1,"stale":0,"double_outcomes":0,)"
            R"("problems":["customer \"1\""],"at_rest":true})"
            "\n");
}

TEST(OutputTest, ApplyTellsWhatChanged) {
  v1::ApplyResponse response;
  v1::AppliedChange& changed = *response.add_changes();
  changed.set_kind(v1::AppliedChange::KIND_CHANGED);
  changed.set_what("sync acme/main");
  changed.set_detail("mapping");
  v1::AppliedChange& gone = *response.add_changes();
  gone.set_kind(v1::AppliedChange::KIND_WOULD_REMOVE);
  gone.set_what("tenant old");

  EXPECT_EQ(ApplyJson(response, false),
            R"({"changes":[{"kind":"changed","what":"sync acme/main","detail":"mapping"},)"
            R"({"kind":"would_remove","what":"tenant old","detail":null}],)"
            R"("problems":[],"dry_run":false})"
            "\n");
  EXPECT_EQ(ApplyText(response, false),
            "changed: sync acme/main (mapping)\n"
            "not in the file: tenant old; --prune removes it\n");
  EXPECT_EQ(ApplyText({}, false), "nothing to change\n");
}

TEST(OutputTest, ListsShowNamesAndStates) {
  v1::ListTenantsResponse response;
  v1::TenantSnapshot& tenant = *response.add_tenants();
  tenant.set_tenant("acme");
  v1::Connection& connection = *tenant.add_connections();
  connection.set_name("crm");
  connection.set_integration("highlevel");
  connection.set_state(v1::CONNECTION_STATE_PENDING_AUTH);
  v1::Sync& sync = *tenant.add_syncs();
  sync.set_name("main");
  sync.set_source("billing");
  sync.set_target("crm");
  sync.set_state(v1::SYNC_STATE_ACTIVE);

  EXPECT_EQ(TenantsJson(response),
            R"({"tenants":[{"tenant":"acme","removed":false,"connections":1,"syncs":1}]})"
            "\n");
  EXPECT_EQ(ConnectionsJson(response),
            R"({"connections":[{"tenant":"acme","connection":"crm","integration":"highlevel",)"
            R"("url":null,"state":"PendingAuth","problem":null,"fix":null,)"
            R"("credential_expires_at":null}]})"
            "\n");
  connection.mutable_credential_expires_at()->set_seconds(1'760'054'400);
  EXPECT_EQ(ConnectionsText(response),
            "TENANT  CONNECTION  INTEGRATION  STATE        CREDENTIAL ENDS       URL  PROBLEM\n"
            "acme    crm         highlevel    PendingAuth  2025-10-10T00:00:00Z  -    -\n");
  EXPECT_EQ(SyncsJson(response),
            R"({"syncs":[{"tenant":"acme","sync":"main","source":"billing","target":"crm",)"
            R"("state":"active","mapping":null,"rules":null}]})"
            "\n");
  EXPECT_EQ(SyncsText(response),
            "TENANT  SYNC  SOURCE   TARGET  STATE\n"
            "acme    main  billing  crm     active\n");
}

TEST(OutputTest, ColumnsAreAsWideAsTheirWidestCellInCharacters) {
  EXPECT_EQ(Table({"A", "B"}, {{"ä", "1"}, {"xyz", "2"}}, ""), "A    B\nä    1\nxyz  2\n");
}

TEST(OutputTest, DurationsForPeopleHaveTwoUnits) {
  EXPECT_EQ(DurationText(0), "0s");
  EXPECT_EQ(DurationText(90), "1m 30s");
  EXPECT_EQ(DurationText(3600), "1h");
  EXPECT_EQ(DurationText(3605), "1h");
  EXPECT_EQ(DurationText(100'000), "1d 3h");
}

}  // namespace
}  // namespace tributary::cli

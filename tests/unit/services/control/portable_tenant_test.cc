#include "services/control/portable_tenant.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/services/control/fixture.h"

namespace tributary::control {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kPassphrase = "correct horse battery";

v1::ExportTenantRequest Asked(const std::string& passphrase) {
  v1::ExportTenantRequest request;
  request.set_tenant("acme");
  request.set_passphrase(passphrase);
  return request;
}

class PortableTenantTest : public ControlTest {
 protected:
  PortableTenantTest() {
    v1::ApplyRequest request = AcmeRequest();
    v1::TenantConfig& tenant = *request.mutable_tenants(0);
    tenant.mutable_syncs(0)->set_mapping("/home/me/own.mapping.yaml");
    tenant.mutable_syncs(0)->set_target_is_empty(true);
    tenant.mutable_syncs(0)->set_paused(true);
    (*tenant.mutable_connections(1)->mutable_settings())["location"] = "L1";
    tenant.mutable_connections(1)->set_quota_share("0.5");
    (*request.mutable_files())["/home/me/own.mapping.yaml"] = "mapping of mine";
    (*request.mutable_credentials(1)->mutable_expires_at())["token"].set_seconds(1'900'000'000);
    Apply(request);
  }

  v1::ApplyResponse Import(ControlCore& there, const v1::ExportedTenant& exported,
                           const std::string& passphrase = "") {
    v1::ImportTenantRequest request;
    *request.mutable_tenant() = exported;
    request.set_passphrase(passphrase);
    return there.ImportTenant(now, "tester", request).value();
  }
};

// An installation with another master key.
struct Elsewhere : ControlTest {
  void TestBody() override {}
  using ControlTest::core;
  using ControlTest::database;
};

TEST_F(PortableTenantTest, IsTheSameElsewhere) {
  const v1::ExportedTenant exported = core->ExportTenant(now, "tester", Asked(kPassphrase)).value();
  Elsewhere there;

  EXPECT_EQ(Import(*there.core, exported, kPassphrase).problems_size(), 0);

  v1::TenantSnapshot here_snapshot = *core->WantedSnapshot("acme");
  // It was empty once, and is not any more.
  here_snapshot.mutable_syncs(0)->set_target_is_empty(false);
  EXPECT_EQ(there.core->WantedSnapshot("acme")->SerializeAsString(),
            here_snapshot.SerializeAsString());
  EXPECT_EQ(here_snapshot.connections(1).credential_expires_at().seconds(), 1'900'000'000);
  EXPECT_EQ(there.core->FindBlob(here_snapshot.syncs(0).mapping())->content(), "mapping of mine");
  EXPECT_EQ(there.database->LoadCredential({"acme", "crm"}).value().value().at("token"),
            "canary-highlevel-token");
  EXPECT_EQ(there.database->LoadCredential({"acme", "billing"}).value().value().at("api_key"),
            "canary-chargify-key");
}

TEST_F(PortableTenantTest, NoSecretIsInItAndNoPlaceOfWhoMadeIt) {
  for (const char* passphrase : {"", kPassphrase}) {
    const std::string bytes =
        core->ExportTenant(now, "tester", Asked(passphrase)).value().SerializeAsString();
    EXPECT_THAT(bytes, Not(HasSubstr("canary")));
    EXPECT_THAT(bytes, Not(HasSubstr("/home/me")));
  }
  EXPECT_EQ(core->ExportTenant(now, "tester", Asked("")).value().sealed_credentials(), "");
  EXPECT_THAT(database->LoadAudit(1).value().at(0).what, HasSubstr("acme exported"));
}

TEST_F(PortableTenantTest, WithoutCredentialsItsConnectionsWaitForThem) {
  Elsewhere there;
  EXPECT_EQ(
      Import(*there.core, core->ExportTenant(now, "tester", Asked("")).value()).problems_size(), 0);
  const v1::TenantSnapshot snapshot = *there.core->WantedSnapshot("acme");
  ASSERT_EQ(snapshot.connections_size(), 2);
  for (const v1::Connection& connection : snapshot.connections()) {
    EXPECT_EQ(connection.state(), v1::CONNECTION_STATE_PENDING_AUTH);
    EXPECT_FALSE(connection.has_credential_expires_at());
  }
}

TEST_F(PortableTenantTest, OneThatIsThereIsNotTouched) {
  const v1::ExportedTenant exported = core->ExportTenant(now, "tester", Asked("")).value();
  const std::string before = core->WantedSnapshot("acme")->SerializeAsString();
  EXPECT_THAT(Import(*core, exported).problems(0), HasSubstr("is there already"));
  EXPECT_EQ(core->WantedSnapshot("acme")->SerializeAsString(), before);
}

TEST_F(PortableTenantTest, AnotherPassphraseOpensNothingAndMakesNothing) {
  v1::ExportedTenant exported = core->ExportTenant(now, "tester", Asked(kPassphrase)).value();
  Elsewhere there;
  EXPECT_THAT(Import(*there.core, exported, "another passphrase").problems(0),
              HasSubstr("do not open"));
  EXPECT_THAT(Import(*there.core, exported).problems(0), HasSubstr("--passphrase-file"));
  // What is sealed belongs to this tenant alone.
  exported.mutable_order()->mutable_tenants(0)->set_name("other");
  EXPECT_THAT(Import(*there.core, exported, kPassphrase).problems(0), HasSubstr("do not open"));
  EXPECT_TRUE(there.core->tenant_names().empty());
}

TEST_F(PortableTenantTest, WhatNobodyExportedIsRefused) {
  Elsewhere there;
  EXPECT_EQ(there.core->ExportTenant(now, "tester", Asked("")).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_THAT(Import(*there.core, {}).problems(0), HasSubstr("one tenant"));
  v1::ExportedTenant many = core->ExportTenant(now, "tester", Asked("")).value();
  many.mutable_order()->set_prune(true);
  EXPECT_THAT(Import(*there.core, many).problems(0), HasSubstr("one tenant"));
}

TEST(SealUnderTest, TakesNoShortPassphraseAndSeesEveryChange) {
  EXPECT_EQ(SealUnder("short", "p", "s").status().code(), absl::StatusCode::kInvalidArgument);
  const std::string sealed = SealUnder(kPassphrase, "place", "secret").value();
  EXPECT_EQ(UnsealUnder(kPassphrase, "place", sealed).value(), "secret");
  EXPECT_FALSE(UnsealUnder(kPassphrase, "elsewhere", sealed).ok());
  for (const std::size_t at :
       {std::size_t{0}, std::size_t{5}, std::size_t{20}, sealed.size() - 1}) {
    std::string damaged = sealed;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    EXPECT_FALSE(UnsealUnder(kPassphrase, "place", damaged).ok()) << at;
  }
  EXPECT_FALSE(UnsealUnder(kPassphrase, "place", sealed.substr(0, 30)).ok());
  EXPECT_NE(SealUnder(kPassphrase, "place", "secret").value(), sealed) << "a salt of its own";
}

}  // namespace
}  // namespace tributary::control

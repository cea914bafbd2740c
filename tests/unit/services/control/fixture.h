#pragma once

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "libs/stage/stage.h"
#include "services/control/catalogue.h"
#include "services/control/control_core.h"
#include "services/control/database.h"
#include "services/control/vault.h"

namespace tributary::control {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = ::testing::TempDir() + "control_test_XXXXXX";
    if (mkdtemp(name.data()) == nullptr) {
      std::abort();
    }
    path_ = name;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

class QuietLogger : public Logger {
 public:
  void Log(Level, std::string_view message, const Fields&) override {
    const std::lock_guard lock(mutex_);
    messages.emplace_back(message);
  }
  std::vector<std::string> messages;

 private:
  std::mutex mutex_;
};

/// Files that are accepted unless they contain `bad`.
class FakeCatalogue : public Catalogue {
 public:
  std::vector<std::string> integrations() const override {
    return {"chargify", "highlevel", "rest"};
  }
  const NamedFile* DefaultConnectorFile(std::string_view integration) const override {
    return integration == "highlevel" ? &connector_file : nullptr;
  }
  const NamedFile* DefaultMapping(std::string_view) const override { return &mapping; }
  const NamedFile* DefaultRules(std::string_view) const override { return &rules; }
  std::vector<std::string> CheckConnection(const v1::Connection&,
                                           const NamedFile* file) const override {
    return file == nullptr ? std::vector<std::string>() : Check(*file);
  }
  std::vector<std::string> CheckSync(const NamedFile& checked_mapping,
                                     const NamedFile& checked_rules,
                                     const NamedFile*) const override {
    std::vector<std::string> problems = Check(checked_mapping);
    for (std::string& problem : Check(checked_rules)) {
      problems.push_back(std::move(problem));
    }
    return problems;
  }
  std::vector<std::string> CredentialFieldNames(const v1::Connection& connection,
                                                const NamedFile*) const override {
    return {connection.integration() == "highlevel" ? "token" : "api_key"};
  }

  NamedFile connector_file = {"highlevel.yaml", "connector 1"};
  NamedFile mapping = {"highlevel.mapping.yaml", "mapping 1"};
  NamedFile rules = {"highlevel.rules.yaml", "rules 1"};

 private:
  static std::vector<std::string> Check(const NamedFile& file) {
    if (file.content.find("bad") == std::string::npos) {
      return {};
    }
    return {file.name + ":1:1: error: bad"};
  }
};

/// One tenant `acme` with connections `billing` and `crm` and the sync `main`, credentials given.
inline v1::ApplyRequest AcmeRequest() {
  v1::ApplyRequest request;
  v1::TenantConfig& tenant = *request.add_tenants();
  tenant.set_name("acme");
  v1::ConnectionConfig& billing = *tenant.add_connections();
  billing.set_name("billing");
  billing.set_integration("chargify");
  billing.set_url("https://acme.chargify.com");
  (*billing.mutable_credentials())["api_key"].set_env("CHARGIFY_KEY");
  v1::ConnectionConfig& crm = *tenant.add_connections();
  crm.set_name("crm");
  crm.set_integration("highlevel");
  (*crm.mutable_credentials())["token"].set_env("HIGHLEVEL_TOKEN");
  v1::SyncConfig& sync = *tenant.add_syncs();
  sync.set_name("main");
  sync.set_source("billing");
  sync.set_target("crm");
  sync.set_on_missing("recreate");
  v1::SealedInput& billing_key = *request.add_credentials();
  billing_key.set_tenant("acme");
  billing_key.set_connection("billing");
  (*billing_key.mutable_fields())["api_key"] = "canary-chargify-key";
  v1::SealedInput& crm_token = *request.add_credentials();
  crm_token.set_tenant("acme");
  crm_token.set_connection("crm");
  (*crm_token.mutable_fields())["token"] = "canary-highlevel-token";
  return request;
}

/// `KIND what detail`, one for each change.
inline std::vector<std::string> Texts(const v1::ApplyResponse& response) {
  std::vector<std::string> texts;
  for (const v1::AppliedChange& change : response.changes()) {
    std::string text = v1::AppliedChange::Kind_Name(change.kind()).substr(5) + " " + change.what();
    if (!change.detail().empty()) {
      text += " (" + change.detail() + ")";
    }
    texts.push_back(text);
  }
  return texts;
}

/// A core on a database of its own.
class ControlTest : public ::testing::Test {
 protected:
  ControlTest() { Open(); }

  /// Begins anew on the same files, as after a restart.
  void Open() {
    core.reset();
    database.reset();
    vault = Vault::Open(directory / "master.key").value();
    database = Database::Open(directory / "control.db", *vault).value();
    core = ControlCore::Make({.partitions = kPartitions}, *database, catalogue, logger).value();
  }

  v1::ApplyResponse Apply(const v1::ApplyRequest& request) {
    return core->Apply(now, "tester", request).value();
  }

  static constexpr std::int32_t kPartitions = 4;
  TemporaryDirectory directory;
  QuietLogger logger;
  FakeCatalogue catalogue;
  Now now{Instant(std::chrono::seconds(1000)), WallTime(std::chrono::hours(500'000))};
  std::unique_ptr<Vault> vault;
  std::unique_ptr<Database> database;
  std::unique_ptr<ControlCore> core;
};

}  // namespace tributary::control

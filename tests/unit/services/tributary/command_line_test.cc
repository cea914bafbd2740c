#include "services/tributary/command_line.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

namespace tributary::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// Answers what it was told to, and keeps what it was asked.
class FakeControl : public ControlCalls {
 public:
  struct Script {
    absl::Status status;
    v1::ApplyResponse apply;
    v1::ListTenantsResponse tenants;
    v1::ListParkedResponse parked;
    v1::DecideParkedResponse decided;
    v1::TraceResponse trace;
    v1::VerifyResponse verify;
    std::optional<v1::ApplyRequest> applied;
    std::optional<v1::TraceRequest> traced;
    std::optional<v1::SetSyncPausedRequest> paused;
    std::optional<v1::DecideParkedRequest> decision;
    v1::SweepResponse sweep;
    v1::ExportedTenant exported;
    std::optional<v1::ExportTenantRequest> asked_export;
    std::optional<v1::ImportTenantRequest> imported;
    std::optional<v1::SweepRequest> swept;
  };
  explicit FakeControl(Script& script) : script_(script) {}

  absl::StatusOr<v1::ApplyResponse> Apply(const v1::ApplyRequest& request) override {
    script_.applied = request;
    return Answer(script_.apply);
  }
  absl::StatusOr<v1::ListTenantsResponse> ListTenants(const v1::ListTenantsRequest&) override {
    return Answer(script_.tenants);
  }
  absl::StatusOr<v1::SetSyncPausedResponse> SetSyncPaused(
      const v1::SetSyncPausedRequest& request) override {
    script_.paused = request;
    return Answer(v1::SetSyncPausedResponse());
  }
  absl::StatusOr<v1::StatusResponse> GetStatus(const v1::StatusRequest&) override {
    return Answer(v1::StatusResponse());
  }
  absl::StatusOr<v1::ListParkedResponse> ListParked(const v1::ListParkedRequest&) override {
    return Answer(script_.parked);
  }
  absl::StatusOr<v1::DecideParkedResponse> DecideParked(
      const v1::DecideParkedRequest& request) override {
    script_.decision = request;
    return Answer(script_.decided);
  }
  absl::StatusOr<v1::SweepResponse> Sweep(const v1::SweepRequest& request) override {
    script_.swept = request;
    return Answer(script_.sweep);
  }
  absl::StatusOr<v1::TraceResponse> Trace(const v1::TraceRequest& request) override {
    script_.traced = request;
    return Answer(script_.trace);
  }
  absl::StatusOr<v1::VerifyResponse> Verify() override { return Answer(script_.verify); }
  absl::StatusOr<v1::BuildInfo> GetBuildInfo() override { return Answer(v1::BuildInfo()); }
  absl::StatusOr<v1::CopyDatabaseResponse> CopyDatabase() override {
    return Answer(v1::CopyDatabaseResponse());
  }
  absl::StatusOr<v1::ExportedTenant> ExportTenant(const v1::ExportTenantRequest& request) override {
    script_.asked_export = request;
    return Answer(script_.exported);
  }
  absl::StatusOr<v1::ApplyResponse> ImportTenant(const v1::ImportTenantRequest& request) override {
    script_.imported = request;
    return Answer(script_.apply);
  }

 private:
  template <typename Response>
  absl::StatusOr<Response> Answer(const Response& response) const {
    if (!script_.status.ok()) {
      return script_.status;
    }
    return response;
  }
  Script& script_;
};

class CommandLineTest : public ::testing::Test {
 protected:
  CommandLineTest() {
    std::string name = ::testing::TempDir() + "cli_test_XXXXXX";
    if (mkdtemp(name.data()) == nullptr) {
      std::abort();
    }
    directory_ = name;
  }
  ~CommandLineTest() override { std::filesystem::remove_all(directory_); }

  int Run(const std::vector<std::string>& words) {
    std::vector<const char*> argv = {"tributary"};
    for (const std::string& word : words) {
      argv.push_back(word.c_str());
    }
    out_.str("");
    err_.str("");
    return Main(
        static_cast<int>(argv.size()), argv.data(),
        {out_, err_,
         [this](const ControlPlace& place) -> absl::StatusOr<std::unique_ptr<ControlCalls>> {
           place_ = place;
           if (!connect_status_.ok()) {
             return connect_status_;
           }
           return std::make_unique<FakeControl>(script_);
         }});
  }

  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = directory_ + "/" + name;
    std::ofstream(path) << text;
    EXPECT_EQ(chmod(path.c_str(), 0600), 0);
    return path;
  }
  std::string WriteTenants(const std::string& mapping = "") {
    Write("chargify.key", "canary-key\n");
    Write("crm.key", "canary-token\n");
    return Write("tenants.yaml",
                 "tenants:\n"
                 "  - name: acme\n"
                 "    connections:\n"
                 "      - name: billing\n"
                 "        integration: chargify\n"
                 "        url: https://acme.chargify.com\n"
                 "        credentials: {api_key: {key_file: chargify.key}}\n"
                 "      - name: crm\n"
                 "        integration: highlevel\n"
                 "        settings: {location: LOC1}\n"
                 "        credentials: {token: {key_file: crm.key}}\n"
                 "    syncs:\n"
                 "      - {name: main, source: billing, target: crm" +
                     (mapping.empty() ? "" : ", mapping: " + mapping) + "}\n");
  }

  std::string directory_;
  std::ostringstream out_;
  std::ostringstream err_;
  FakeControl::Script script_;
  absl::Status connect_status_;
  ControlPlace place_;
};

TEST_F(CommandLineTest, HelpIsData) {
  EXPECT_EQ(Run({"--help"}), 0);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("apply"), HasSubstr("dev"), HasSubstr("Examples:")));
  EXPECT_EQ(err_.str(), "");
}

TEST_F(CommandLineTest, AnUnknownCommandGetsTheNearest) {
  EXPECT_EQ(Run({"aply"}), 2);
  EXPECT_THAT(err_.str(), HasSubstr("did you mean `apply`?"));
  EXPECT_EQ(Run({"parked", "repaly"}), 2);
  EXPECT_THAT(err_.str(), HasSubstr("did you mean `replay`?"));
  EXPECT_EQ(Run({"xyzzy"}), 2);
  EXPECT_THAT(err_.str(), HasSubstr("known are"));
  EXPECT_EQ(out_.str(), "");
}

TEST_F(CommandLineTest, OptionsInFrontDoNotHideAMistypedCommand) {
  EXPECT_EQ(Run({"--json", "--data", "d", "staus"}), 2);
  EXPECT_THAT(err_.str(), HasSubstr("did you mean `status`?"));
}

TEST_F(CommandLineTest, TheHelpOfEveryCommandHasAnExampleOfIt) {
  const std::vector<std::vector<std::string>> commands = {{"apply"},
                                                          {"config", "validate"},
                                                          {"tenant", "list"},
                                                          {"tenant", "show"},
                                                          {"connection"},
                                                          {"connection", "list"},
                                                          {"connection", "show"},
                                                          {"sync", "list"},
                                                          {"sync", "pause"},
                                                          {"sync", "resume"},
                                                          {"status"},
                                                          {"parked", "list"},
                                                          {"parked", "show"},
                                                          {"parked", "replay"},
                                                          {"parked", "drop"},
                                                          {"trace"},
                                                          {"verify"},
                                                          {"version"},
                                                          {"tls", "init"},
                                                          {"topics", "create"},
                                                          {"backup", "create"},
                                                          {"backup", "check"},
                                                          {"backup", "restore"},
                                                          {"doctor"},
                                                          {"export"},
                                                          {"import"},
                                                          {"plan"},
                                                          {"man"},
                                                          {"completion"}};
  for (std::vector<std::string> words : commands) {
    std::string command = "tributary";
    for (const std::string& word : words) {
      command += " " + word;
    }
    words.emplace_back("--help");
    EXPECT_EQ(Run(words), 0);
    EXPECT_THAT(out_.str(), HasSubstr("Example:\n  " + command));
  }
}

TEST_F(CommandLineTest, ThereIsAManualPageOfEveryProgram) {
  for (const std::string name : {"tributary", "dev", "tributary-simulator", "extractor",
                                 "transformer", "loader", "tributary-control"}) {
    EXPECT_EQ(Run({"man", name}), 0);
    EXPECT_THAT(out_.str(), HasSubstr(".SH OPTIONS"));
  }
  EXPECT_EQ(Run({"man", "lodaer"}), 2);
  EXPECT_THAT(err_.str(), HasSubstr("tributary-loader"));
}

TEST_F(CommandLineTest, TheManualPageHasEveryCommandThatTheHelpHas) {
  EXPECT_EQ(Run({"man"}), 0);
  const std::string page = out_.str();
  for (const std::string name :
       {"dev", "apply", "parked replay", "sync pause", "tls init", "topics create", "completion"}) {
    EXPECT_THAT(page, HasSubstr(".SS tributary " + name));
  }
  EXPECT_THAT(page, HasSubstr("See tributary\\-dev(1)."));
  EXPECT_THAT(page, HasSubstr(".SH EXIT STATUS\n0 good, 1"));
  EXPECT_THAT(page, HasSubstr("TRIBUTARY_CONTROL_ADDRESS"));
}

TEST_F(CommandLineTest, PlanTellsByItsExitCodeWhetherTheQuotaSuffices) {
  EXPECT_EQ(Run({"plan", "--tenants", "10", "--json"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr("{\"partitions\":16,"));
  EXPECT_EQ(Run({"plan", "--changes", "1000000"}), 1);
  EXPECT_THAT(err_.str(), HasSubstr("warning: a tenant needs"));
  EXPECT_EQ(Run({"plan", "--target", "nobody"}), 2);
  EXPECT_THAT(err_.str(), HasSubstr("rest-batch"));
}

TEST_F(CommandLineTest, WhatIsExportedIsWhatIsImported) {
  script_.exported.mutable_order()->add_tenants()->set_name("acme");
  (*script_.exported.mutable_order()->mutable_files())["a/own.yaml"] = "fields: {}\n";
  script_.exported.set_sealed_credentials("\x01 sealed");
  const std::string pass = Write("pass", "correct horse battery\n");
  const std::string file = directory_ + "/acme.json";

  EXPECT_EQ(Run({"export", "acme", file, "--with-credentials", "--passphrase-file", pass}), 0);
  EXPECT_EQ(script_.asked_export->passphrase(), "correct horse battery");
  EXPECT_EQ(Run({"import", file, "--passphrase-file", pass, "--dry-run"}), 0);
  EXPECT_EQ(script_.imported->tenant().SerializeAsString(), script_.exported.SerializeAsString());
  EXPECT_TRUE(script_.imported->dry_run());

  // Never over a file that is there.
  EXPECT_EQ(Run({"export", "acme", file}), 1);
  EXPECT_EQ(Run({"import", pass}), 78);
}

TEST_F(CommandLineTest, CredentialsAreExportedOnlyUnderAPassphrase) {
  EXPECT_EQ(Run({"export", "acme", directory_ + "/a.json", "--with-credentials"}), 2);
  EXPECT_THAT(err_.str(), HasSubstr("sealed under a passphrase"));
  EXPECT_FALSE(script_.asked_export);
  EXPECT_EQ(Run({"export", "acme", directory_ + "/a.json"}), 0);
  EXPECT_EQ(script_.asked_export->passphrase(), "");
}

TEST_F(CommandLineTest, PagesAreWrittenBySection) {
  EXPECT_EQ(Run({"man", "--write", directory_ + "/manual"}), 0);
  EXPECT_TRUE(std::filesystem::exists(directory_ + "/manual/man1/tributary.1"));
  EXPECT_TRUE(std::filesystem::exists(directory_ + "/manual/man8/tributary-loader.8"));
  Write("file", "");
  EXPECT_EQ(Run({"man", "--write", directory_ + "/file"}), 1);
  EXPECT_THAT(err_.str(), HasSubstr("fix: "));
}

TEST_F(CommandLineTest, AMissingServiceIsNamedAndNotControl) {
  script_.status = absl::AbortedError("without an answer: loader (none is attached)");
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"trace", "acme/customers/1"},
        {"parked", "replay", "k"},
        {"parked", "drop", "k"}}) {
    EXPECT_EQ(Run(words), 75);
    EXPECT_THAT(err_.str(), AllOf(HasSubstr("loader"), HasSubstr("fix: start that service"),
                                  Not(HasSubstr("control"))));
  }
}

TEST_F(CommandLineTest, WhatAnIncompleteTraceDidNotFindMayBeThere) {
  script_.trace.set_problem("without an answer: transformer (none is attached)");
  EXPECT_EQ(Run({"trace", "acme/customers/1"}), 75);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("transformer"), Not(HasSubstr("not known"))));
}

TEST_F(CommandLineTest, WrongUsageIsTwo) {
  EXPECT_EQ(Run({}), 2);
  EXPECT_EQ(Run({"apply"}), 2);
  EXPECT_EQ(Run({"status", "--nonsense"}), 2);
  EXPECT_EQ(Run({"trace", "acme"}), 2);
  EXPECT_EQ(Run({"sync", "pause", "acme"}), 2);
  EXPECT_EQ(Run({"status", "--control", "127.0.0.1:1"}), 2);
  EXPECT_EQ(Run({"status", "--data", "d", "--control", "127.0.0.1:1"}), 2);
}

TEST_F(CommandLineTest, WrongUsageIsToldTheWayOn) {
  Run({});
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("error: `tributary` needs a command"),
                                HasSubstr("Usage: tributary [OPTIONS]"), HasSubstr("  status ")));
  EXPECT_EQ(out_.str(), "");
  Run({"parked"});
  EXPECT_THAT(err_.str(),
              AllOf(HasSubstr("error: `tributary parked` needs a command"),
                    HasSubstr("Usage: tributary parked [OPTIONS]"), HasSubstr("  replay ")));
  Run({"parked", "replay"});
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("KEY is required"),
                                HasSubstr("fix: see `tributary parked replay --help`")));
  Run({"status", "--nonsense"});
  EXPECT_THAT(err_.str(), HasSubstr("fix: see `tributary status --help`"));
}

TEST_F(CommandLineTest, ApplySendsFilesAndSecretsAndNoReferences) {
  const std::string file = WriteTenants();

  EXPECT_EQ(Run({"apply", "-f", file, "--dry-run", "--prune"}), 0) << err_.str();

  ASSERT_TRUE(script_.applied.has_value());
  EXPECT_TRUE(script_.applied->dry_run());
  EXPECT_TRUE(script_.applied->prune());
  EXPECT_EQ(script_.applied->credentials(0).fields().at("api_key"), "canary-key");
  EXPECT_THAT(script_.applied->tenants(0).ShortDebugString(), Not(HasSubstr("key_file")));
  EXPECT_EQ(out_.str(), "nothing to change\n");
}

TEST_F(CommandLineTest, ApplyOfAFileWithProblemsAsksNothing) {
  const std::string file = Write("bad.yaml", "tenants:\n  - nmae: acme\n");

  EXPECT_EQ(Run({"apply", "-f", file}), 78);

  EXPECT_FALSE(script_.applied.has_value());
  EXPECT_THAT(err_.str(), HasSubstr(file + ":2:5: error: tenants[0].nmae: not known; did you mean "
                                           "`name`?"));
}

TEST_F(CommandLineTest, ApplyTellsAMissingSecretWithoutAsking) {
  const std::string file = WriteTenants();
  ASSERT_EQ(chmod((directory_ + "/crm.key").c_str(), 0644), 0);

  EXPECT_EQ(Run({"apply", "-f", file}), 78);

  EXPECT_FALSE(script_.applied.has_value());
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("credential `token` of acme/crm"), HasSubstr("chmod"),
                                Not(HasSubstr("canary"))));
}

TEST_F(CommandLineTest, ProblemsThatControlFindsAreConfigurationToo) {
  script_.apply.add_problems("m.yaml:1:1: error: bad");

  EXPECT_EQ(Run({"apply", "-f", WriteTenants()}), 78);
  EXPECT_THAT(err_.str(), HasSubstr("m.yaml:1:1: error: bad"));
}

TEST_F(CommandLineTest, ValidateNeedsNoControlAndNoSecrets) {
  connect_status_ = absl::UnavailableError("no");

  EXPECT_EQ(Run({"config", "validate", WriteTenants()}), 0) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("good"));
}

TEST_F(CommandLineTest, ValidateReadsTheMappingsToo) {
  const std::string mapping = Write("m.yaml", "objects: 3\n");

  EXPECT_EQ(Run({"config", "validate", WriteTenants("m.yaml")}), 78);
  EXPECT_THAT(err_.str(), HasSubstr(mapping + ":1:"));
}

TEST_F(CommandLineTest, ControlThatDoesNotAnswerIsTemporary) {
  script_.status = absl::UnavailableError("control at x does not answer");

  EXPECT_EQ(Run({"status"}), 75);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("error: control at x"), HasSubstr("fix: ")));
  EXPECT_EQ(out_.str(), "");
}

TEST_F(CommandLineTest, WhereControlIsComesFromFlagsOrADirectory) {
  Run({"status", "--control", "127.0.0.1:1", "--tls-dir", "t"});
  EXPECT_EQ(place_.address, "127.0.0.1:1");
  EXPECT_EQ(place_.tls_directory, "t");
  Run({"--data", "d", "status"});
  EXPECT_EQ(place_.address, "");
  EXPECT_EQ(place_.data_directory, "d");
  Run({"status"});
  EXPECT_EQ(place_.data_directory, "./tributary-data");
}

TEST_F(CommandLineTest, TraceTakesTheConnectionOrLeavesIt) {
  script_.trace.set_found(true);
  EXPECT_EQ(Run({"trace", "acme/customers/42"}), 0);
  EXPECT_EQ(script_.traced->connection(), "");
  EXPECT_EQ(script_.traced->kind(), "customers");
  EXPECT_EQ(Run({"trace", "acme/billing/customers/42", "--json"}), 0);
  EXPECT_EQ(script_.traced->connection(), "billing");
  EXPECT_EQ(script_.traced->id(), "42");
}

TEST_F(CommandLineTest, TraceOfSomethingUnknownTellsTheNearest) {
  script_.trace.add_nearest("acme/billing/customers/43");

  EXPECT_EQ(Run({"trace", "acme/customers/42"}), 1);
  EXPECT_THAT(err_.str(), HasSubstr("nearest: acme/billing/customers/43"));
  EXPECT_EQ(Run({"trace", "acme/customers/42", "--json"}), 1);
  EXPECT_THAT(out_.str(), HasSubstr(R"("nearest":["acme/billing/customers/43"])"));
}

TEST_F(CommandLineTest, VerifyTellsByItsExitCode) {
  script_.verify.set_ok(true);
  script_.verify.set_at_rest(true);
  EXPECT_EQ(Run({"verify"}), 0);
  script_.verify.set_ok(false);
  script_.verify.set_lost(1);
  EXPECT_EQ(Run({"verify", "--json"}), 1);
  EXPECT_THAT(out_.str(), HasSubstr(R"("lost":1)"));
  script_.verify.set_at_rest(false);
  EXPECT_EQ(Run({"verify"}), 75);
}

TEST_F(CommandLineTest, AnIncompleteListOfParkedItemsIsTemporary) {
  script_.parked.set_problem("without an answer: loader");

  EXPECT_EQ(Run({"parked", "list"}), 75);
  EXPECT_EQ(out_.str(), "nothing is parked\n");
}

TEST_F(CommandLineTest, ParkedItemsAreShownReplayedAndDropped) {
  script_.parked.add_items()->set_key("k");
  EXPECT_EQ(Run({"parked", "show", "k"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr("key      k\n"));
  EXPECT_EQ(Run({"parked", "show", "other"}), 1);
  EXPECT_EQ(Run({"parked", "drop", "k"}), 0);
  EXPECT_FALSE(script_.decision->replay());
  script_.decided.set_problem("nothing is parked under this key");
  EXPECT_EQ(Run({"parked", "replay", "k"}), 1);
  EXPECT_TRUE(script_.decision->replay());
}

TEST_F(CommandLineTest, ASweepIsOrderedOnceShownAndWaitedFor) {
  v1::SweepStatus& status = *script_.sweep.add_connections();
  status.set_tenant("acme");
  status.set_connection("crm");
  status.set_compared(7);
  EXPECT_EQ(Run({"sweep", "--json"}), 0);
  EXPECT_FALSE(script_.swept->start());
  EXPECT_THAT(out_.str(), AllOf(HasSubstr(R"("connection":"crm")"), HasSubstr(R"("compared":7)")));

  EXPECT_EQ(Run({"sweep", "acme/crm", "--now", "--wait", "1m"}), 0);
  EXPECT_TRUE(script_.swept->start());
  EXPECT_EQ(script_.swept->tenant(), "acme");
  EXPECT_EQ(script_.swept->connection(), "crm");

  // What is still due makes waiting vain.
  status.set_due(3);
  EXPECT_EQ(Run({"sweep", "acme", "--now", "--wait", "10ms"}), 75);
  EXPECT_EQ(Run({"sweep", "acme"}), 0);
  script_.sweep.set_problem("loader.sweep_period is 0: nothing is compared");
  EXPECT_EQ(Run({"sweep"}), 75);
  EXPECT_EQ(Run({"sweep", "a/b/c"}), 2);
  EXPECT_EQ(Run({"sweep", "--wait", "soon"}), 2);
}

TEST_F(CommandLineTest, ASyncIsPausedByItsName) {
  EXPECT_EQ(Run({"sync", "pause", "acme/main"}), 0);
  EXPECT_TRUE(script_.paused->paused());
  EXPECT_EQ(script_.paused->tenant(), "acme");
  EXPECT_EQ(script_.paused->sync(), "main");
  EXPECT_EQ(Run({"sync", "resume", "acme/main"}), 0);
  EXPECT_FALSE(script_.paused->paused());
}

TEST_F(CommandLineTest, AConnectionThatIsNotThereIsSaid) {
  script_.tenants.add_tenants()->set_tenant("acme");
  EXPECT_EQ(Run({"connection", "show", "acme/crm"}), 1);
  script_.tenants.mutable_tenants(0)->add_connections()->set_name("crm");
  EXPECT_EQ(Run({"connection", "show", "acme/crm", "--json"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr(R"("connection":"crm")"));
  EXPECT_EQ(Run({"tenant", "show", "acme", "--json"}), 0);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr(R"({"connections":[)"), HasSubstr(R"(],"syncs":[]})")));
  script_.tenants.clear_tenants();
  EXPECT_EQ(Run({"tenant", "show", "nobody"}), 1);
}

TEST_F(CommandLineTest, TlsInitMakesADirectoryForEachProcess) {
  EXPECT_EQ(
      Run({"tls", "init", directory_ + "/tls", "--host", "control.example", "--name", "kafka"}), 0);
  for (const char* name : {"control", "extractor", "transformer", "loader", "tributary", "kafka"}) {
    EXPECT_TRUE(std::filesystem::exists(directory_ + "/tls/" + name + "/key.pem")) << name;
  }
}

TEST_F(CommandLineTest, TlsInitGivesNobodyTheNameOfAnotherProcess) {
  for (const char* host : {"control", "tributary", "Loader", "extractor."}) {
    EXPECT_EQ(Run({"tls", "init", directory_ + "/tls", "--host", host}), 2) << host;
    EXPECT_THAT(err_.str(), HasSubstr(std::string("error: --host ") + host + ": ")) << host;
  }
  EXPECT_EQ(Run({"tls", "init", directory_ + "/tls", "--name", "loader", "--host", "b.example"}),
            2);
  EXPECT_THAT(err_.str(), HasSubstr("error: --name loader: "));
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/tls"));
}

TEST_F(CommandLineTest, TopicsOfAnEmbeddedLogAreMadeFoundedAndVerified) {
  const std::string file = Write("local.yaml",
                                 "log:\n  kind: embedded\n  partitions: 4\n"
                                 "  data_directory: " +
                                     directory_ + "/data\n");

  EXPECT_EQ(Run({"topics", "create", "--config", file, "--json"}), 0) << err_.str();
  const std::string first = out_.str();
  EXPECT_THAT(first, HasSubstr(R"({"generation":)"));
  EXPECT_EQ(Run({"topics", "create", "--config", file, "--json"}), 0) << err_.str();
  EXPECT_EQ(out_.str(), first);
  EXPECT_EQ(Run({"verify", "--config", file}), 0) << err_.str();
  connect_status_ = absl::NotFoundError("nothing runs");
  EXPECT_EQ(Run({"verify", "--data", directory_ + "/data"}), 0) << err_.str();
  EXPECT_EQ(Run({"verify", "--data", directory_ + "/nothing"}), 75);
}

TEST_F(CommandLineTest, VersionNeedsNothing) {
  connect_status_ = absl::UnavailableError("no");

  EXPECT_EQ(Run({"version", "--json"}), 0);
  EXPECT_THAT(out_.str(), HasSubstr(R"({"version":")"));
}

}  // namespace
}  // namespace tributary::cli

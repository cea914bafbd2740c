#include "libs/config/config.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/duration.pb.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

namespace tributary::config {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

std::vector<std::string> Texts(const Loaded& loaded) {
  std::vector<std::string> texts;
  for (const Problem& problem : loaded.problems) {
    texts.push_back(Format(problem));
  }
  return texts;
}

Loaded LoadService(std::string_view text) { return LoadText(text, "dir/f.yaml", {}); }

Loaded LoadTenants(std::string_view text) {
  LoadOptions options;
  options.allow_tenants = true;
  options.check_files = false;
  return LoadText(text, "dir/f.yaml", options);
}

constexpr std::string_view kGoodTenants = R"(tenants:
  - name: acme
    connections:
      - name: billing
        integration: chargify
        url: https://acme.chargify.com/
        credentials:
          api_key: {key_file: secrets/chargify}
      - name: crm
        integration: highlevel
        credentials:
          token: {env: HIGHLEVEL_TOKEN}
        settings:
          location: LOC1
    syncs:
      - name: main
        source: billing
        target: crm
)";

TEST(ConfigTest, DefaultsComeFromTheSchema) {
  const Loaded loaded = LoadService("");

  EXPECT_THAT(Texts(loaded), IsEmpty());
  EXPECT_EQ(loaded.config.log().kind(), "embedded");
  EXPECT_EQ(loaded.config.log().partitions(), 64);
  EXPECT_EQ(loaded.config.log().fetch_buffer_bytes(), 16 << 20);
  EXPECT_EQ(FromProto(loaded.config.loader().request_timeout()), std::chrono::seconds(30));
  EXPECT_EQ(FromProto(loaded.config.loader().action_age()), std::chrono::hours(720));
}

TEST(ConfigTest, EveryDefaultIsAcceptedByItsOwnRules) {
  // Through the environment, which takes any scalar by its path.
  const std::function<void(const google::protobuf::Descriptor&, const std::string&)> visit =
      [&](const google::protobuf::Descriptor& type, const std::string& path) {
        for (int i = 0; i < type.field_count(); ++i) {
          const auto& field = *type.field(i);
          const v1::OptionRules& rules = field.options().GetExtension(v1::accepts);
          const std::string child = path.empty() ? field.name() : path + "." + field.name();
          if (!rules.default_().empty() && !path.empty()) {
            LoadOptions options;
            options.flags = {{.path = child, .value = rules.default_(), .name = "--x"}};
            EXPECT_THAT(Texts(LoadText("", "f.yaml", options)), IsEmpty()) << child;
          }
          if (!field.is_repeated() && field.message_type() != nullptr &&
              field.message_type() != google::protobuf::Duration::descriptor()) {
            visit(*field.message_type(), child);
          }
        }
      };
  visit(*v1::ConfigFile::descriptor(), "");
}

TEST(ConfigTest, ReadsDurationsSizesMapsAndBooleans) {
  const Loaded loaded = LoadService(R"(log:
  kind: kafka
  fetch_buffer_bytes: 64MiB
  kafka:
    security.protocol: ssl
loader:
  request_timeout: 100ms
  action_age: 2d
)");

  EXPECT_THAT(Texts(loaded), IsEmpty());
  EXPECT_EQ(loaded.config.log().kind(), "kafka");
  EXPECT_EQ(loaded.config.log().fetch_buffer_bytes(), 64 << 20);
  EXPECT_EQ(loaded.config.log().kafka().at("security.protocol"), "ssl");
  EXPECT_EQ(FromProto(loaded.config.loader().request_timeout()), std::chrono::milliseconds(100));
  EXPECT_EQ(FromProto(loaded.config.loader().action_age()), std::chrono::hours(48));
}

TEST(ConfigTest, TellsAllProblemsAtOnceWithLineAndColumn) {
  const Loaded loaded = LoadService(R"(log:
  kind: kafak
  partitions: 0
  partitons: 4
loader:
  request_timout: 5s
  lease: ten
  pause_bound: [1s]
  body_bytes_max: 1GiB
lodaer: {}
)");

  EXPECT_THAT(
      Texts(loaded),
      ElementsAre(
          "dir/f.yaml:2:9: error: log.kind: `kafak` is not known: must be one of embedded, kafka; "
          "did you mean `kafka`?",
          "dir/f.yaml:3:15: error: log.partitions: `0` is out of bounds: must be between 1 and "
          "1024",
          "dir/f.yaml:4:3: error: log.partitons: not known; did you mean `partitions`?",
          "dir/f.yaml:6:3: error: loader.request_timout: not known; did you mean "
          "`request_timeout`?",
          "dir/f.yaml:7:10: error: loader.lease: expected a duration such as 90s, 5m or 2h, found "
          "`ten`",
          "dir/f.yaml:8:16: error: loader.pause_bound: expected a duration such as 90s, 5m or 2h, "
          "found a list",
          "dir/f.yaml:9:19: error: loader.body_bytes_max: `1GiB` is out of bounds: must be between "
          "4KiB and 64MiB",
          "dir/f.yaml:10:1: error: lodaer: not known; did you mean `loader`?"));
}

TEST(ConfigTest, OfManyProblemsItTellsTheFirstAndHowManyMoreThereAre) {
  std::string text = "loader:\n";
  for (int i = 0; i < 250; ++i) text += "  no_option_" + std::to_string(i) + ": 1\n";

  const std::vector<std::string> texts = Texts(LoadService(text));

  ASSERT_THAT(texts, SizeIs(201));
  EXPECT_THAT(texts.front(), HasSubstr("f.yaml:2:3: error: loader.no_option_0:"));
  EXPECT_EQ(texts.back(), "dir/f.yaml: error: and 50 more");
}

TEST(ConfigTest, SaysWhereTheFileIsNotYaml) {
  EXPECT_THAT(Texts(LoadService("log: {kind: kafka\nloader: [\n")),
              ElementsAre(HasSubstr("dir/f.yaml:")));
  EXPECT_THAT(Texts(LoadService("a: b: c\n")), ElementsAre(HasSubstr("dir/f.yaml:1:")));
  EXPECT_THAT(Texts(LoadService("- 1\n")), ElementsAre("dir/f.yaml:1:1: error: the file: expected "
                                                       "a map"));
  EXPECT_THAT(Texts(LoadService("log: {}\n---\nlog: {}\n")),
              ElementsAre(HasSubstr("one document is expected")));
}

TEST(ConfigTest, RefusesAnOptionThatIsSetTwice) {
  EXPECT_THAT(Texts(LoadService("log:\n  kind: kafka\n  kind: embedded\n")),
              ElementsAre("dir/f.yaml:3:3: error: log.kind: set twice"));
}

TEST(ConfigTest, OnlyTrueAndFalseAreBooleans) {
  std::string text(kGoodTenants);
  text += "        paused: no\n";
  EXPECT_THAT(Texts(LoadTenants(text)),
              ElementsAre(HasSubstr("tenants[0].syncs[0].paused: expected true or false, found "
                                    "`no`")));
}

TEST(ConfigTest, FlagWinsOverEnvironmentOverFileOverDefault) {
  LoadOptions options;
  options.environment = {{"TRIBUTARY_LOG_KIND", "embedded"},
                         {"TRIBUTARY_LOG_PARTITIONS", "8"},
                         {"TRIBUTARY_LOG_TOPIC_PREFIX", "env."},
                         {"HOME", "/root"}};
  options.flags = {{.path = "log.partitions", .value = "16", .name = "--partitions"}};

  const Loaded loaded = LoadText(
      "log: {kind: kafka, partitions: 4, topic_prefix: file., data_directory: d}", "f", options);

  EXPECT_THAT(Texts(loaded), IsEmpty());
  EXPECT_EQ(loaded.config.log().kind(), "embedded");
  EXPECT_EQ(loaded.config.log().partitions(), 16);
  EXPECT_EQ(loaded.config.log().topic_prefix(), "env.");
  EXPECT_EQ(loaded.config.log().data_directory(), "d");
}

TEST(ConfigTest, ProblemsOfEnvironmentAndFlagsNameThem) {
  LoadOptions options;
  options.environment = {{"TRIBUTARY_LOG_PARTITIONS", "many"}};
  options.flags = {{.path = "log.kind", .value = "x", .name = "--log"},
                   {.path = "log.knid", .value = "x", .name = "--set"}};

  EXPECT_THAT(Texts(LoadText("", "f", options)),
              ElementsAre("TRIBUTARY_LOG_PARTITIONS: error: log.partitions: expected a whole "
                          "number, found `many`",
                          HasSubstr("--log: error: log.kind: `x` is not known"),
                          "--set: error: log.knid: not known; did you mean `log.kind`?"));
}

TEST(ConfigTest, VariablesThatNameNoOptionAreOnlyWarnedOf) {
  LoadOptions options;
  // As an orchestrator sets it for a service called tributary-control.
  options.environment = {{"TRIBUTARY_CONTROL_PORT_7460_TCP", "tcp://10.0.0.1:7460"}};

  const Loaded loaded = LoadText("", "f", options);

  EXPECT_THAT(Texts(loaded), IsEmpty());
  EXPECT_THAT(loaded.warnings, ElementsAre(HasSubstr("TRIBUTARY_CONTROL_PORT_7460_TCP")));
}

TEST(ConfigTest, TenantsAreRefusedInAServicesFile) {
  EXPECT_THAT(Texts(LoadService(kGoodTenants)),
              ElementsAre(AllOf(HasSubstr("dir/f.yaml:1:1"), HasSubstr("tributary apply -f"))));
}

TEST(ConfigTest, ReadsTenants) {
  const Loaded loaded = LoadTenants(kGoodTenants);

  EXPECT_THAT(Texts(loaded), IsEmpty());
  ASSERT_EQ(loaded.config.tenants_size(), 1);
  const v1::TenantConfig& tenant = loaded.config.tenants(0);
  EXPECT_EQ(tenant.connections(0).url(), "https://acme.chargify.com");
  EXPECT_EQ(tenant.connections(0).credentials().at("api_key").key_file(), "dir/secrets/chargify");
  EXPECT_EQ(tenant.connections(1).credentials().at("token").env(), "HIGHLEVEL_TOKEN");
  EXPECT_EQ(tenant.connections(1).settings().at("location"), "LOC1");
  EXPECT_EQ(tenant.syncs(0).on_missing(), "recreate");
}

TEST(ConfigTest, ASecretInTheFileIsRefusedAndNotShown) {
  const Loaded loaded = LoadTenants(R"(tenants:
  - name: acme
    connections:
      - name: billing
        integration: chargify
        url: https://user:s3cr3t@acme.chargify.com
        credentials:
          api_key: s3cr3t
          other: {env: "s3cr3t!"}
          third: {value: s3cr3t}
          both: {env: A, key_file: b}
        settings:
          api_token: s3cr3t
log:
  kafka:
    sasl.password: s3cr3t
)");

  EXPECT_THAT(Texts(loaded),
              ElementsAre(HasSubstr(":6:14: error: tenants[0].connections[0].url: must not hold a "
                                    "user or password"),
                          HasSubstr("credentials.api_key: a secret is never written into a file"),
                          HasSubstr("credentials.other.env: what is given must match"),
                          HasSubstr("credentials.third.value: not known"),
                          HasSubstr("credentials.both: must have one of"),
                          HasSubstr("settings.api_token: looks like a secret"),
                          AllOf(HasSubstr("log.kafka.sasl.password: "),
                                HasSubstr("write `sasl.password.file: FILE`"))));
  for (const std::string& text : Texts(loaded)) {
    EXPECT_THAT(text, Not(HasSubstr("s3cr3t")));
  }
}

TEST(ConfigTest, ASecretThatStandsWhereANameBelongsIsNotShown) {
  for (const std::string credentials :
       {"{api_key s3cr3t}", "{api_key:s3cr3t}", "{api_key: {s3cr3t}}", "{s3cr3t}", "[s3cr3t]",
        "s3cr3t", "{api_key: [s3cr3t]}", "{api_key: *s3cr3t}", "{api_key: {key_file s3cr3t: x}}",
        "{api_key: {a s3cr3t, a s3cr3t}}", "{a s3cr3t, a s3cr3t}"}) {
    const Loaded loaded = LoadTenants(
        "tenants:\n  - name: acme\n    connections:\n      - name: billing\n"
        "        integration: chargify\n        url: https://acme.chargify.com\n"
        "        credentials: " +
        credentials + "\n");
    EXPECT_FALSE(loaded.problems.empty()) << credentials;
    EXPECT_THAT(Texts(loaded), Each(Not(HasSubstr("s3cr3t")))) << credentials;
  }
  for (const std::string settings : {"{sasl.password s3cr3t}", "{sasl.password:s3cr3t}"}) {
    const Loaded loaded = LoadService("log: {kafka: " + settings + "}\n");
    EXPECT_FALSE(loaded.problems.empty()) << settings;
    EXPECT_THAT(Texts(loaded), Each(Not(HasSubstr("s3cr3t")))) << settings;
  }
}

TEST(ConfigTest, ACredentialMaySayWhenItEnds) {
  const auto load = [](const std::string& expires) {
    return LoadTenants(
        "tenants:\n  - name: acme\n    connections:\n      - name: billing\n"
        "        integration: chargify\n        url: https://acme.chargify.com\n"
        "        credentials:\n          api_key: {env: KEY, expires: " +
        expires + "}\n");
  };
  for (const std::string good :
       {"2027-01-31", "2027-01-31T12:00:00Z", "'2027-01-31 12:00:00 -0500'", "''", "1970-01-01"}) {
    EXPECT_THAT(Texts(load(good)), IsEmpty()) << good;
  }
  for (const std::string bad : {"2027-02-30", "31.01.2027", "2027-01-31T12:00:00", "in 14 days",
                                "1800000000", "1969-12-31", "s3cr3t"}) {
    const Loaded loaded = load(bad);
    EXPECT_THAT(Texts(loaded),
                ElementsAre(AllOf(HasSubstr(":8:40: error: tenants[0].connections[0].credentials."
                                            "api_key.expires: expected a date such as 2027-01-31"),
                                  Not(HasSubstr("s3cr3t")))))
        << bad;
  }
}

TEST(ConfigTest, ASecretOfKafkaComesFromTheEnvironment) {
  LoadOptions options;
  options.environment = {{"TRIBUTARY_LOG_KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET", "s3cr3t"},
                         {"TRIBUTARY_LOG_KAFKA_SASL_PASSWORD_FILE", "/etc/password"}};

  const Loaded loaded = LoadText("log: {kafka: {sasl.username: me}}", "f", options);

  EXPECT_THAT(Texts(loaded), IsEmpty());
  EXPECT_EQ(loaded.config.log().kafka().at("sasl.oauthbearer.client.secret"), "s3cr3t");
  EXPECT_EQ(loaded.config.log().kafka().at("sasl.password.file"), "/etc/password");
  EXPECT_EQ(loaded.config.log().kafka().at("sasl.username"), "me");
}

TEST(ConfigTest, ASecretOfKafkaThatIsReadFromAFileComesFromNowhereElse) {
  for (const auto& [variable, fix] :
       {std::pair("SASL_PASSWORD", "SASL_PASSWORD_FILE"),
        std::pair("SSL_KEY_PEM", "SSL_KEY_LOCATION"),
        std::pair("SSL_KEY_PASSWORD", "SSL_KEY_PASSWORD_FILE"),
        std::pair("SSL_KEYSTORE_PASSWORD", "SSL_KEYSTORE_PASSWORD_FILE")}) {
    LoadOptions options;
    options.environment = {{std::string("TRIBUTARY_LOG_KAFKA_") + variable, "s3cr3t"}};
    EXPECT_THAT(Texts(LoadText("", "f", options)),
                ElementsAre(AllOf(HasSubstr(std::string("set TRIBUTARY_LOG_KAFKA_") + fix + " to"),
                                  Not(HasSubstr("s3cr3t")))));
  }
}

TEST(ConfigTest, SettingsOfKafkaOnWhichPromisesRestAreRefused) {
  EXPECT_THAT(Texts(LoadService("log:\n  kafka:\n    enable.auto.commit: true\n    acks: 1\n")),
              ElementsAre(HasSubstr("f.yaml:3:25: error: log.kafka.enable.auto.commit: is set by "
                                    "Tributary itself"),
                          HasSubstr("log.kafka.acks")));
}

TEST(ConfigTest, SpansGoToThisMachineOrByHttps) {
  for (const std::string good :
       {"http://127.0.0.1:4318/", "https://collector.example/otlp", "http://localhost:4318"}) {
    EXPECT_THAT(Texts(LoadService("tracing: {endpoint: '" + good + "'}\n")), IsEmpty()) << good;
  }
  EXPECT_EQ(
      LoadService("tracing: {endpoint: 'http://127.0.0.1:4318/'}\n").config.tracing().endpoint(),
      "http://127.0.0.1:4318");
  for (const std::string bad :
       {"http://collector.example:4318", "127.0.0.1:4318", "https://user:word@collector.example"}) {
    EXPECT_THAT(Texts(LoadService("tracing: {endpoint: '" + bad + "'}\n")),
                ElementsAre(HasSubstr("tracing.endpoint: ")))
        << bad;
  }
  EXPECT_THAT(Texts(LoadService("tracing: {sample_ratio: \"1.5\"}\n")),
              ElementsAre(HasSubstr("tracing.sample_ratio")));
}

TEST(ConfigTest, PlainHttpGoesToThisMachineOnlyAndOnlyWhenAllowed) {
  const auto problems = [](std::string_view url, bool allowed) {
    std::string text =
        "tenants:\n- name: a\n  connections:\n  - name: b\n    integration: "
        "highlevel\n    url: " +
        std::string(url) + "\n";
    if (allowed) {
      text += "    allow_insecure_loopback: true\n";
    }
    return Texts(LoadTenants(text));
  };

  EXPECT_THAT(problems("http://127.0.0.1:8080", true), IsEmpty());
  EXPECT_THAT(problems("http://[::1]:8080/x", true), IsEmpty());
  EXPECT_THAT(problems("http://localhost", true), IsEmpty());
  EXPECT_THAT(problems("https://crm.example:8443/base", false), IsEmpty());
  EXPECT_THAT(problems("http://127.0.0.1:8080", false),
              ElementsAre(HasSubstr("allow_insecure_loopback: true")));
  for (const char* url : {"http://crm.example", "http://127.0.0.1.evil.example", "http://10.0.0.1",
                          "http://localhost.evil.example"}) {
    EXPECT_THAT(problems(url, true), ElementsAre(HasSubstr("to this machine only"))) << url;
  }
  for (const char* url :
       {"ftp://x", "crm.example", "https://x?y=1", "https://a b", "https://x:99999", "https://"}) {
    EXPECT_THAT(problems(url, true), SizeIs(1)) << url;
  }
}

TEST(ConfigTest, NamesInSyncsMustExistAndFitTheirEnds) {
  const Loaded loaded = LoadTenants(R"(tenants:
  - name: acme
    connections:
      - {name: billing, integration: chargify, url: "https://a.chargify.com"}
      - {name: crm, integration: highlevle}
      - {name: billing, integration: highlevel}
    syncs:
      - {name: main, source: biling, target: crm}
      - {name: back, source: crm, target: billing}
      - {name: main, source: billing, target: nowhere}
      - {source: billing}
  - name: acme
  - name: "Not A Name"
)");

  EXPECT_THAT(
      Texts(loaded),
      ElementsAre(
          HasSubstr("5:34: error: tenants[0].connections[1].integration: there is no integration "
                    "`highlevle`; did you mean `highlevel`?"),
          HasSubstr("6:16: error: tenants[0].connections[2].name: there is already a connection "
                    "`billing`, in line 4"),
          HasSubstr("8:30: error: tenants[0].syncs[0].source: there is no connection `biling` in "
                    "this tenant; did you mean `billing`?"),
          HasSubstr("9:30: error: tenants[0].syncs[1].source: must be a `chargify` connection"),
          HasSubstr("9:43: error: tenants[0].syncs[1].target: must be a CRM"),
          HasSubstr("10:16: error: tenants[0].syncs[2].name: there is already a sync `main`"),
          HasSubstr("10:47: error: tenants[0].syncs[2].target: there is no connection `nowhere`"),
          HasSubstr("11:9: error: tenants[0].syncs[3].name: must be set"),
          HasSubstr("11:9: error: tenants[0].syncs[3].target: must be set"),
          HasSubstr("12:11: error: tenants[1].name: there is already a tenant `acme`, in line 2"),
          HasSubstr("13:11: error: tenants[2].name: `Not A Name` must match")));
}

TEST(ConfigTest, ARestConnectionNeedsItsConnectorFile) {
  EXPECT_THAT(Texts(LoadTenants("tenants: [{name: a, connections: [{name: b, integration: rest, "
                                "url: 'https://x'}]}]")),
              ElementsAre(HasSubstr("connector_file: must be set")));
}

TEST(ConfigTest, WhatComesOverTheNetworkIsCheckedByTheSameRules) {
  v1::ConfigFile config;
  LoadOptions options;
  options.allow_tenants = true;
  *config.add_tenants() = LoadTenants(kGoodTenants).config.tenants(0);
  EXPECT_THAT(Check("request", options, config), IsEmpty());

  v1::ConnectionConfig& connection = *config.mutable_tenants(0)->mutable_connections(0);
  connection.set_name("");
  connection.set_concurrency(5000);
  connection.set_url("http://crm.example");
  (*connection.mutable_credentials())["api_key"].set_env("not a name");
  config.mutable_tenants(0)->mutable_syncs(0)->set_on_missing("delete");

  std::vector<std::string> texts;
  for (const Problem& problem : Check("request", options, config)) {
    texts.push_back(Format(problem));
  }
  EXPECT_THAT(texts,
              ::testing::UnorderedElementsAre(
                  "request: error: tenants[0].connections[0].name: must be set",
                  HasSubstr("concurrency: `5000` is out of bounds"),
                  HasSubstr("credentials.api_key.env: what is given"),
                  HasSubstr("url: must be https"), HasSubstr("on_missing: `delete` is not known"),
                  HasSubstr("there is no connection `billing`")));
}

TEST(ConfigTest, AQuotaShareIsAPartAndNeverNothing) {
  v1::ConfigFile config;
  LoadOptions options;
  options.allow_tenants = true;
  *config.add_tenants() = LoadTenants(kGoodTenants).config.tenants(0);
  v1::ConnectionConfig& connection = *config.mutable_tenants(0)->mutable_connections(0);
  for (const char* share : {"", "1", "1.0", "0.5", ".25", "0.050", "0.333"}) {
    connection.set_quota_share(share);
    EXPECT_THAT(Check("request", options, config), IsEmpty()) << share;
  }
  for (const char* share : {"0", "0.0", ".000", "1.5", "2", "50%", "-0.5"}) {
    connection.set_quota_share(share);
    EXPECT_EQ(Check("request", options, config).size(), 1U) << share;
  }
}

class ConfigFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "config_test_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string Write(const std::string& name, const std::string& text, mode_t mode = 0600) {
    const std::string path = directory_ / name;
    std::ofstream(path) << text;
    EXPECT_EQ(chmod(path.c_str(), mode), 0);
    return path;
  }

  std::filesystem::path directory_;
};

TEST_F(ConfigFilesTest, PathsAreResolvedAgainstTheFileAndMustBeReadable) {
  Write("there.yaml", "x");
  const std::string file = Write("f.yaml", R"(tenants:
  - name: a
    connections:
      - {name: s, integration: chargify, url: "https://x"}
      - {name: t, integration: rest, url: "https://x", connector_file: ./there.yaml}
    syncs:
      - {name: m, source: s, target: t, mapping: missing.yaml}
)");
  LoadOptions options;
  options.allow_tenants = true;

  const Loaded loaded = Load(file, options);

  EXPECT_THAT(Texts(loaded),
              ElementsAre(AllOf(HasSubstr("f.yaml:7:50: error:"), HasSubstr("cannot read"),
                                HasSubstr("missing.yaml"))));
  EXPECT_EQ(loaded.config.tenants(0).connections(1).connector_file(), directory_ / "there.yaml");
}

TEST_F(ConfigFilesTest, AFileThatCannotBeReadIsAProblemAndAnEmptyOneIsNot) {
  EXPECT_THAT(Texts(Load(directory_ / "none.yaml", {})),
              ElementsAre(HasSubstr("none.yaml: error: the file cannot be read")));
  EXPECT_THAT(Texts(Load(directory_, {})), ElementsAre(HasSubstr("the file cannot be read")));
  EXPECT_THAT(Texts(Load(Write("empty.yaml", ""), {})), IsEmpty());
}

TEST_F(ConfigFilesTest, SecretsAreReadFromFilesThatAreNotOpenToEverybody) {
  v1::SecretReference reference;
  reference.set_key_file(Write("key", "s3cr3t\n"));
  EXPECT_EQ(ReadSecret(reference).value(), "s3cr3t");

  reference.set_key_file(Write("open", "s3cr3t\n", 0644));
  EXPECT_EQ(ReadSecret(reference).status().code(), absl::StatusCode::kFailedPrecondition);

  reference.set_key_file(Write("blank", "\n"));
  EXPECT_EQ(ReadSecret(reference).status().code(), absl::StatusCode::kNotFound);

  reference.set_key_file(directory_ / "none");
  EXPECT_EQ(ReadSecret(reference).status().code(), absl::StatusCode::kNotFound);
}

TEST(ConfigTest, SecretsAreReadFromTheEnvironment) {
  v1::SecretReference reference;
  reference.set_env("TRIBUTARY_CONFIG_TEST_SECRET");
  EXPECT_EQ(ReadSecret(reference).status().code(), absl::StatusCode::kNotFound);

  setenv("TRIBUTARY_CONFIG_TEST_SECRET", "s3cr3t", 1);
  EXPECT_EQ(ReadSecret(reference).value(), "s3cr3t");
  unsetenv("TRIBUTARY_CONFIG_TEST_SECRET");
}

}  // namespace
}  // namespace tributary::config

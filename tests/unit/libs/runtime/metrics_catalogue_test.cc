#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/observe/build_info.h"
#include "libs/observe/logger.h"
#include "libs/observe/metrics.h"
#include "libs/runtime/admin.h"
#include "libs/runtime/stage_metrics.h"
#include "libs/trace/exporter.h"
#include "services/control/metrics.h"
#include "services/extractor/extractor.h"
#include "services/extractor/metrics.h"
#include "services/loader/loader.h"
#include "services/loader/metrics.h"
#include "services/transformer/metrics.h"
#include "services/transformer/transformer.h"
#include "tributary/v1/control.pb.h"

// What the services show, without a broker: held against the table of libs/observe/README.md and
// the rules of Prometheus's own linter.

namespace tributary {
namespace {

struct Family {
  std::string type;
  std::string help;
  std::set<std::string> labels;
  std::set<std::string> services;
  int series = 0;
};
using Families = std::map<std::string, Family>;

v1::FromService StatusOf(int tenants) {
  v1::FromService message;
  for (int i = 0; i < tenants; ++i) {
    v1::SyncStatus& sync = *message.mutable_status()->add_syncs();
    sync.set_tenant("tenant" + std::to_string(i));
    sync.set_sync("main");
    sync.set_freshness_seconds("3");
    sync.set_pending(2);
    v1::ConnectionReport& connection = *message.mutable_status()->add_connections();
    connection.set_tenant(sync.tenant());
    connection.set_connection("billing");
    connection.mutable_webhook_endpoints()->set_disabled(1);
  }
  return message;
}

/// The exposition of one service with `tenants` tenants.
std::string Exposition(const std::string& service, int tenants) {
  observe::Metrics metrics;
  if (service == "control") {
    // What it shows beyond what all do.
    control::CredentialEndMetrics(metrics).Show({{{"tenant0", "crm"}, WallTime()}});
    return metrics.Exposition();
  }
  observe::AddBuildInfo(metrics);
  const auto logger = observe::MakeLogger({.service = service}, metrics);
  runtime::ServerNumbers(metrics).Show({});
  const trace::ExporterMetrics traces(metrics, service);
  runtime::StageMetrics outside(metrics, service, 200);
  outside.OnMessage(StatusOf(tenants));
  http::Completion completion;
  completion.status = 200;
  completion.delivery = http::Delivery::kComplete;
  outside.OnSend();
  outside.OnCompletion(completion, "GET");
  if (service == "extractor") {
    extractor::StageNumbers(metrics).Show({}, {});
  } else if (service == "transformer") {
    transformer::StageNumbers(metrics).Show({}, {});
  } else {
    loader::Counters counters;
    for (const char* integration : {"highlevel", "rest", "unknown"}) {
      counters.by_integration[integration].outcomes[1] = 3;
    }
    loader::StageNumbers(metrics).Show(counters, {});
  }
  return metrics.Exposition();
}

Families Shown(int tenants) {
  Families families;
  for (const char* service : {"control", "extractor", "transformer", "loader"}) {
    std::istringstream lines(Exposition(service, tenants));
    std::string name;
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      std::string hash;
      std::string kind;
      if (line.rfind("# HELP ", 0) == 0) {
        words >> hash >> kind >> name;
        std::getline(words >> std::ws, families[name].help);
      } else if (line.rfind("# TYPE ", 0) == 0) {
        words >> hash >> kind >> name >> families[name].type;
      } else {
        Family& family = families[name];
        family.services.insert(service);
        ++family.series;
        static const std::regex label(R"re([{,]([a-z_]+)=")re");
        for (std::sregex_iterator it(line.begin(), line.end(), label), end; it != end; ++it) {
          if ((*it)[1] != "le") family.labels.insert((*it)[1]);
        }
      }
    }
  }
  return families;
}

std::string Join(const std::set<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

/// A row of the table, as the README writes it.
std::string RowOf(const std::string& name, const Family& family) {
  return "| `" + name + "` | " + family.type + " | " + Join(family.labels) + " | " +
         (family.services.size() >= 3 ? "all" : Join(family.services)) + " | " + family.help + " |";
}

TEST(MetricsCatalogueTest, TheTableSaysExactlyWhatServicesShow) {
  std::set<std::string> shown;
  for (const auto& [name, family] : Shown(2)) shown.insert(RowOf(name, family));
  std::set<std::string> told;
  std::ifstream readme(TRIBUTARY_SOURCE_DIR "/libs/observe/README.md");
  ASSERT_TRUE(readme.good());
  for (std::string line; std::getline(readme, line);) {
    if (line.rfind("| `", 0) == 0) told.insert(line);
  }

  for (const std::string& row : shown) EXPECT_TRUE(told.contains(row)) << "missing:\n" << row;
  for (const std::string& row : told) EXPECT_TRUE(shown.contains(row)) << "not shown:\n" << row;
  EXPECT_GT(shown.size(), 40U);
}

// What `promtool check metrics` complains of.
TEST(MetricsCatalogueTest, KeepsToTheConventions) {
  static const std::regex name_rule("(tributary|process)(_[a-z0-9]+)+");
  static const std::set<std::string> labels = {
      "answer",      "code_class", "commit", "compiler",   "connection", "curl",
      "integration", "kind",       "level",  "librdkafka", "method",     "openssl",
      "outcome",     "operation",  "queue",  "reason",     "stage",      "status",
      "sync",        "tenant",     "topic",  "version"};
  static const std::set<std::string> of_syncs = {"tributary_pending", "tributary_retrying",
                                                 "tributary_parked", "tributary_freshness_seconds"};
  static const std::set<std::string> of_connections = {
      "tributary_credential_expires_timestamp_seconds", "tributary_webhook_endpoints"};
  for (const auto& [name, family] : Shown(2)) {
    EXPECT_TRUE(std::regex_match(name, name_rule)) << name;
    EXPECT_EQ(name.ends_with("_total"), family.type == "counter") << name;
    EXPECT_TRUE(family.help.size() > 8 && family.help.ends_with('.')) << name << family.help;
    for (const char* suffix : {"_count", "_sum", "_bucket", "_milliseconds", "_ms", "_minutes",
                               "_kilobytes", "_percent", "_gauge", "_counter"}) {
      EXPECT_FALSE(name.ends_with(suffix)) << name;
    }
    if (name.find("timestamp") != std::string::npos || name.find("duration") != std::string::npos) {
      EXPECT_TRUE(name.ends_with("_seconds")) << name;
    }
    for (const std::string& label : family.labels) {
      EXPECT_TRUE(labels.contains(label)) << name << " has " << label;
      EXPECT_EQ(name.find("_by_" + label), std::string::npos) << name;
    }
    EXPECT_EQ(family.labels.contains("tenant"),
              of_syncs.contains(name) || of_connections.contains(name))
        << name;
    EXPECT_EQ(family.labels.contains("sync"), of_syncs.contains(name)) << name;
    EXPECT_EQ(family.labels.contains("connection"), of_connections.contains(name)) << name;
  }
}

TEST(MetricsCatalogueTest, StaysSmallAtFiftyTenantsAndAddsUpAboveTwoHundred) {
  for (const char* service : {"extractor", "transformer", "loader"}) {
    const std::string text = Exposition(service, 50);
    std::istringstream lines(text);
    int series = 0;
    for (std::string line; std::getline(lines, line);) {
      if (line[0] == '#') continue;
      ++series;
      EXPECT_EQ(line.find("NaN"), std::string::npos) << line;
      EXPECT_FALSE(line.ends_with("Inf")) << line;
    }
    EXPECT_LE(series, 2000) << service;
  }
  EXPECT_THAT(Exposition("loader", 200), ::testing::HasSubstr("tenant=\"tenant7\""));
  const std::string many = Exposition("loader", 201);
  EXPECT_THAT(many, ::testing::Not(::testing::HasSubstr("tenant=\"")));
  EXPECT_THAT(many, ::testing::HasSubstr("tributary_pending 402\n"));
  EXPECT_THAT(Exposition("extractor", 200),
              ::testing::HasSubstr("tributary_webhook_endpoints{connection=\"billing\",status="
                                   "\"disabled\",tenant=\"tenant7\"} 1\n"));
  const std::string sites = Exposition("extractor", 201);
  EXPECT_THAT(sites, ::testing::Not(::testing::HasSubstr("tenant=\"")));
  EXPECT_THAT(sites,
              ::testing::HasSubstr("tributary_webhook_endpoints{status=\"disabled\"} 201\n"));
}

TEST(MetricsCatalogueTest, WhatASiteNoLongerSaysIsTakenBack) {
  observe::Metrics metrics;
  runtime::StageMetrics outside(metrics, "extractor", 200);
  outside.OnMessage(StatusOf(2));
  EXPECT_THAT(metrics.Exposition(), ::testing::HasSubstr("tenant=\"tenant1\""));
  outside.OnMessage(StatusOf(1));
  EXPECT_THAT(metrics.Exposition(), ::testing::Not(::testing::HasSubstr("tenant=\"tenant1\"")));
  EXPECT_THAT(metrics.Exposition(), ::testing::HasSubstr("tenant=\"tenant0\""));
}

// A stage that is begun anew counts from 0; what is shown does not go back.
TEST(MetricsCatalogueTest, TotalsGrowOverSeveralLivesOfAStage) {
  observe::Metrics metrics;
  for (int life = 0; life < 2; ++life) {
    loader::StageNumbers numbers(metrics);
    loader::Counters counters;
    counters.by_integration["rest"].outcomes[1] = 3;
    counters.by_integration["rest"].requests[0][0] = 4;
    numbers.Show(counters, {});
    numbers.Show(counters, {});
  }

  EXPECT_THAT(metrics.Exposition(),
              ::testing::HasSubstr(
                  "tributary_outcomes_total{integration=\"rest\",outcome=\"applied\"} 6\n"));
  EXPECT_THAT(metrics.Exposition(),
              ::testing::HasSubstr("tributary_target_requests_total{answer=\"done\",integration="
                                   "\"rest\",operation=\"write\"} 8\n"));
}

}  // namespace
}  // namespace tributary

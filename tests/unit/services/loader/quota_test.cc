#include <algorithm>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/http/message.h"
#include "tests/unit/services/loader/rig.h"

// What of a quota is spent, on what, and by whom. The rules of a budget itself are in
// tests/unit/libs/budget, its bounds in tests/simulation/quota_test.cc.

namespace tributary::loader {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::SizeIs;

class LoaderQuotaTest : public testing::Test {
 protected:
  void GiveRate(int connection, const std::string& rate) {
    rig_.tenant.mutable_connections(connection)->set_requests_per_second(rate);
    rig_.PublishTenant();
  }
  std::int64_t Refused() const { return rig_.world.Judge(rig_.time.now().wall, {}).provoked_429; }
  /// Requests that left since then.
  std::size_t SentSince(Instant begin) const {
    return static_cast<std::size_t>(
        std::count_if(rig_.sent.begin(), rig_.sent.end(),
                      [&](const Rig::Sent& sent) { return sent.at >= begin; }));
  }
  /// How many requests left before the first of `path` since then.
  std::size_t SentBefore(std::string_view path, Instant begin) const {
    std::size_t count = 0;
    for (const Rig::Sent& sent : rig_.sent) {
      if (sent.at < begin) continue;
      if (sent.path.find(path) != std::string::npos || sent.body.find(path) != std::string::npos) {
        return count;
      }
      ++count;
    }
    return 1'000'000;
  }
  v1::ConnectionReport ReportOf(const std::string& connection) const {
    for (auto it = rig_.to_control.rbegin(); it != rig_.to_control.rend(); ++it) {
      if (it->kind_case() != v1::FromService::kStatus) continue;
      for (const v1::ConnectionReport& report : it->status().connections()) {
        if (report.connection() == connection) return report;
      }
      return {};
    }
    return {};
  }

  Rig rig_;
};

// The limit stands nowhere here, a neighbour takes a third of it, and it is moved.
TEST_F(LoaderQuotaTest, WhatANeighbourLeavesOfALocationsQuotaIsUsed) {
  rig_.tenant.mutable_syncs(0)->set_target_is_empty(true);
  rig_.PublishTenant();
  rig_.world.SetQuota(rig_.time.now().wall, 100, 1.0 / 3);
  rig_.Run(seconds(20));
  for (int i = 1; i <= 1500; ++i) rig_.Contact(i, "", "n", 1);
  rig_.Start();
  const std::map<int, int> left = {{100, 67}, {10, 7}};
  std::int64_t refused = 0;
  for (const int limit : {100, 10, 100}) {
    rig_.world.SetQuota(rig_.time.now().wall, limit, 1.0 / 3);
    rig_.Run(seconds(40));
    EXPECT_LE(Refused() - refused, 1) << limit;
    refused = Refused();
    const Instant begin = rig_.time.now().steady;
    rig_.Run(seconds(30));
    EXPECT_GE(SentSince(begin), static_cast<std::size_t>(left.at(limit) * 3 * 0.94)) << limit;
    EXPECT_LE(SentSince(begin), static_cast<std::size_t>(left.at(limit) * 3)) << limit;
    EXPECT_EQ(Refused(), refused) << limit;
  }
  const IntegrationCounters& counters = rig_.counters().by_integration.at("highlevel");
  EXPECT_EQ(counters.quota.refused, refused);
  EXPECT_GT(counters.quota.waited, seconds(60));
  const budget::Usage usage =
      static_cast<const Loader&>(rig_.stage()).levels(rig_.time.now()).quotas.at("highlevel");
  EXPECT_GT(usage.ceiling[static_cast<std::size_t>(budget::Reason::kHeader)], 6.0);
  EXPECT_GT(usage.used_share, 0.9);
}

TEST_F(LoaderQuotaTest, APauseThatAFailingServerAsksForIsShownUntilItEnds) {
  rig_.wire = [&, done = false](const http::Request& request) mutable {
    Rig::Wire wire;
    if (done || request.method != "PUT") return wire;
    done = true;
    wire.answer.emplace();
    wire.answer->status = 503;
    wire.answer->headers = {{"Retry-After", "3600"}};
    return wire;
  };
  rig_.Client(1, "Ada", 1);
  rig_.Start();
  rig_.Run(seconds(2));
  rig_.Client(2, "Beth", 1);
  rig_.Run(seconds(60));
  const v1::ConnectionReport report = ReportOf("crm");
  EXPECT_EQ(report.waits_for(), "the pause after a request that failed");
  const std::int64_t left =
      report.waits_until().seconds() - rig_.time.now().wall.time_since_epoch().count() / 1'000'000;
  EXPECT_GT(left, 3500);
  EXPECT_LE(left, 3600);
  EXPECT_EQ(report.problem(), "");
  rig_.Run(seconds(3600));
  EXPECT_EQ(rig_.counters().applied, 2);
  EXPECT_EQ(ReportOf("crm").waits_for(), "");
}

TEST_F(LoaderQuotaTest, ALiveChangePassesALargeBackfill) {
  for (const bool in_batches : {false, true}) {
    Rig rig;
    rig.tenant.mutable_connections(1)->set_requests_per_second("10");
    if (in_batches) (*rig.tenant.mutable_connections(1)->mutable_settings())["batch"] = "true";
    rig.PublishTenant();
    rig.is_backfill = true;
    for (int i = 1; i <= 30'000; ++i) rig.Client(i, "old", 1);
    rig.Start();
    rig.Run(seconds(5));
    rig.is_backfill = false;
    for (const int customer : {7'000'001, 29'999}) {
      const std::size_t before = rig.sent.size();
      rig.Client(customer, "live", 2);
      rig.Run(seconds(2));
      std::size_t passed = 0;
      for (std::size_t i = before; i < rig.sent.size(); ++i) {
        const Rig::Sent& sent = rig.sent[i];
        if ((sent.path + sent.body).find(std::to_string(customer)) != std::string::npos) break;
        ++passed;
      }
      EXPECT_LE(passed, 2U) << customer << (in_batches ? " in batches" : "");
      EXPECT_LT(before + passed, rig.sent.size());
    }
  }
}

TEST_F(LoaderQuotaTest, ALiveChangeFromBeforeARestartPassesABackfillToo) {
  GiveRate(1, "10");
  rig_.is_backfill = true;
  for (int i = 1; i <= 20'000; ++i) rig_.Client(i, "old", 1);
  rig_.is_backfill = false;
  // The last one in the order of keys.
  rig_.Client(9'999'999, "live", 1);
  rig_.Start();
  rig_.Run(seconds(20));
  EXPECT_LE(SentBefore("/9999999", Instant()), 3U);
}

TEST_F(LoaderQuotaTest, UnderPressureOnlyTheNewestStateOfARecordIsSent) {
  GiveRate(1, "10");
  rig_.Start();
  rig_.Run(seconds(1));
  const Instant begin = rig_.time.now().steady;
  for (int version = 1; version <= 20; ++version) {
    for (int customer = 1; customer <= 50; ++customer) {
      rig_.Client(customer, "version " + std::to_string(version), version);
    }
    rig_.Run(milliseconds(250));
  }
  rig_.Run(seconds(10));
  // What the rate let through meanwhile, and the newest of each: not 1,000.
  EXPECT_LE(SentSince(begin), 60U + 60U);
  for (int customer = 1; customer <= 50; ++customer) {
    EXPECT_THAT(rig_.SentTo("PUT /clients/" + std::to_string(customer)).back().body,
                HasSubstr("version 20"));
  }
  EXPECT_GT(rig_.counters().superseded, 500);
}

TEST_F(LoaderQuotaTest, BatchesFillWhileTheyWaitAndALoneChangeDoesNot) {
  (*rig_.tenant.mutable_connections(1)->mutable_settings())["batch"] = "true";
  GiveRate(1, "2");
  rig_.Start();
  rig_.Client(900, "so that there is a token", 1);
  rig_.Run(seconds(5));
  const Instant begin = rig_.time.now().steady;
  rig_.Client(1, "lone", 1);
  rig_.Run(milliseconds(100));
  EXPECT_EQ(SentSince(begin), 1U);

  rig_.Run(seconds(3));
  const Instant busy = rig_.time.now().steady;
  for (int customer = 2; customer <= 601; ++customer) {
    rig_.Client(customer, "n", 1);
    rig_.Run(milliseconds(10));
  }
  rig_.Run(seconds(3));
  EXPECT_EQ(rig_.counters().applied, 602);
  // Six seconds at two a second, and a second's worth at once.
  EXPECT_LE(SentSince(busy), 18U);
}

TEST_F(LoaderQuotaTest, TwoConnectionsToOneLocationSpendOneQuotaInTurn) {
  *rig_.tenant.add_connections() = rig_.tenant.connections(0);
  rig_.tenant.mutable_connections(2)->set_name("other");
  *rig_.tenant.add_syncs() = rig_.tenant.syncs(0);
  rig_.tenant.mutable_syncs(2)->set_name("other");
  rig_.tenant.mutable_syncs(2)->set_target("other");
  for (const int i : {0, 2}) rig_.tenant.mutable_syncs(i)->set_target_is_empty(true);
  rig_.PublishTenant();
  rig_.world.SetQuota(rig_.time.now().wall, 20, 0);
  for (int i = 1; i <= 300; ++i) {
    const std::string key = rig_.Contact(i, "", "one" + std::to_string(i), 1);
    v1::Command command;
    // The same of the other sync, about other people.
    for (const eventlog::Record& record : rig_.log.records(eventlog::Topic::kCommands, 0)) {
      if (record.key != key || !record.value) continue;
      ASSERT_TRUE(command.ParseFromString(*record.value));
    }
    std::string other = key;
    other.replace(other.find("/hl/"), 4, "/other/");
    for (v1::Field& field : *command.mutable_state()->mutable_fields()) {
      if (field.path() == "firstName") field.mutable_value()->set_text("two");
      if (field.path() == "customFields.chargify_customer_id") {
        field.mutable_value()->set_text("9" + std::to_string(i));
      }
    }
    rig_.Command(other, command);
  }
  rig_.Start();
  rig_.Run(seconds(100));
  std::size_t two = 0;
  for (const Rig::Sent& sent : rig_.sent) {
    two += sent.body.find("\"two\"") != std::string::npos ? 1 : 0;
  }
  const std::size_t one = rig_.sent.size() - two;
  EXPECT_GE(one + two, 190U);
  EXPECT_LE(std::max(one, two) - std::min(one, two), 12U);
  EXPECT_EQ(Refused(), 0);
}

TEST_F(LoaderQuotaTest, AShareOfAQuotaIsAllThatIsUsed) {
  rig_.tenant.mutable_syncs(0)->set_target_is_empty(true);
  rig_.tenant.mutable_connections(0)->set_quota_share("0.5");
  rig_.PublishTenant();
  rig_.world.SetQuota(rig_.time.now().wall, 100, 0);
  for (int i = 1; i <= 300; ++i) rig_.Contact(i, "", "n", 1);
  rig_.Start();
  rig_.Run(seconds(40));
  EXPECT_NEAR(static_cast<double>(rig_.sent.size()), 220, 35);
}

TEST_F(LoaderQuotaTest, StatusShowsWhatOfAQuotaIsWaitedForAndUntilWhen) {
  rig_.tenant.mutable_syncs(0)->set_target_is_empty(true);
  rig_.PublishTenant();
  rig_.wire = [&](const http::Request& request) {
    Rig::Wire out;
    out.answer = rig_.world.Handle(rig_.time.now().wall, simulator::Target::kHighLevel, request);
    for (auto& [name, value] : out.answer->headers) {
      if (name == "X-RateLimit-Daily-Remaining") value = "0";
    }
    return out;
  };
  for (int i = 1; i <= 3; ++i) rig_.Contact(i, "", "n", 1);
  rig_.Start();
  rig_.Run(seconds(5));
  EXPECT_EQ(rig_.sent.size(), 1U);
  EXPECT_THAT(ReportOf("hl").waits_for(), HasSubstr("`day`"));
  const std::int64_t until = ReportOf("hl").waits_until().seconds();
  EXPECT_EQ(until % 86'400, 0) << until;
  EXPECT_EQ(ReportOf("hl").problem(), "");
}

TEST_F(LoaderQuotaTest, WhatWasHeldBackAtTheSendIsNoAnswer) {
  rig_.wire = [](const http::Request& request) {
    return Rig::Wire{.before = request.method == "PUT" ? milliseconds(500) : milliseconds(0)};
  };
  rig_.Client(1, "n", 1);
  rig_.Start();
  for (int i = 0; i < 100 && !rig_.counters().by_integration.contains("rest"); ++i) {
    rig_.Run(milliseconds(10));
  }
  rig_.Run(milliseconds(200));
  rig_.Client(1, "newer", 2);
  rig_.Run(seconds(5));
  EXPECT_EQ(rig_.counters().refused_at_send, 1);
  const IntegrationCounters& counters = rig_.counters().by_integration.at("rest");
  for (const auto& answers : counters.requests) {
    EXPECT_EQ(answers[static_cast<std::size_t>(http::AnswerClass::kThrottled)], 0);
  }
  EXPECT_THAT(rig_.SentTo("PUT"), SizeIs(1));
}

TEST_F(LoaderQuotaTest, TheLongestRestAfterFailuresIsConfigured) {
  rig_.options.target_delay_max = seconds(3);
  rig_.Faults(R"([{"target":"rest","match":"POST /auth","kind":"unavailable"}])");
  rig_.Client(1, "n", 1);
  rig_.Start();
  rig_.Run(seconds(60));
  const std::size_t before = rig_.SentTo("POST /auth").size();
  rig_.Run(seconds(60));
  // Evenly between nothing and three seconds.
  EXPECT_GE(rig_.SentTo("POST /auth").size() - before, 20U);
}

}  // namespace
}  // namespace tributary::loader

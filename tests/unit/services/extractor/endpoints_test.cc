#include <chrono>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "services/extractor/documents.h"
#include "tests/unit/services/extractor/simulated_site.h"

// Webhook endpoints of the site: looked at once an hour, and nobody else is the worse for it.

namespace tributary::extractor::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::Contains;
using ::testing::HasSubstr;

constexpr std::string_view kPath = "/endpoints.json";

class EndpointsTest : public SiteTest {
 protected:
  EndpointsTest() : world_(WorldOptionsWith(3, 40)) {}

  /// Polls as a real one does. `answer`, if given, is what comes instead of the world's endpoints.
  ExtractorBench::Setup Polling() {
    ExtractorBench::Setup setup = SetupFor(world_);
    setup.options.poll_interval = 30s;
    return setup;
  }
  SiteHandler Handler() {
    return [this, site = HandlerOf(world_)](WallTime now, const http::Request& request) {
      if (TargetOf(request.url) != kPath || !instead_) return site(now, request);
      SiteAnswer answer = *instead_;
      answer.headers = DateHeader(now);
      return answer;
    };
  }

  /// When each question was asked.
  static std::vector<Instant> Asked(const ExtractorBench& bench) {
    std::vector<Instant> times;
    for (std::size_t i = 0; i < bench.requests().size(); ++i) {
      if (bench.requests()[i] == kPath) times.push_back(bench.request_times()[i]);
    }
    return times;
  }

  /// None: nothing is known.
  static std::optional<EndpointCounts> Shown(const ExtractorBench& bench) {
    if (bench.status().connections_size() != 1 ||
        !bench.status().connections(0).has_webhook_endpoints()) {
      return std::nullopt;
    }
    const v1::WebhookEndpoints& shown = bench.status().connections(0).webhook_endpoints();
    return EndpointCounts{.enabled = shown.enabled(),
                          .paused = shown.paused(),
                          .disabled = shown.disabled(),
                          .other = shown.other()};
  }

  static void ExpectNothingIsSaidOfStreams(const ExtractorBench& bench) {
    EXPECT_EQ(bench.status().connections(0).problem(), "");
    for (const v1::StreamStatus& stream : bench.status().streams()) {
      EXPECT_EQ(stream.problem(), "") << stream.stream();
      EXPECT_TRUE(stream.settled()) << stream.stream();
    }
  }

  simulator::World world_;
  std::optional<SiteAnswer> instead_;
  const EndpointCounts kBothOn{.enabled = 2};
};

TEST(ParseEndpointsTest, CountsThemByStatus) {
  EXPECT_EQ(ParseEndpoints(R"([{"id":11,"url":"https://a.test/x","site_id":1,"status":"enabled",
                                "webhook_subscriptions":["payment_success"]},
                               {"id":12,"status":"paused"},{"id":13,"status":"disabled"},
                               {"id":14,"status":"asleep"},{"endpoint":{"status":"disabled"}}])")
                .value(),
            (EndpointCounts{.enabled = 1, .paused = 1, .disabled = 2, .other = 1}));
  EXPECT_EQ(ParseEndpoints("[]").value(), EndpointCounts());
  for (const char* garbage : {"", "[", "{}", "null", "[1]", R"([{"id":1}])", R"([{"status":3}])",
                              "<html>", R"({"errors":["no"]})"}) {
    EXPECT_FALSE(ParseEndpoints(garbage).ok()) << garbage;
  }
}

TEST_F(EndpointsTest, AreAskedForOnceAnHour) {
  ExtractorBench bench(Polling(), Handler());
  bench.Start();
  bench.RunFor(3h + 10min);

  EXPECT_EQ(Shown(bench), kBothOn);
  const std::vector<Instant> asked = Asked(bench);
  ASSERT_EQ(asked.size(), 4u);
  for (std::size_t i = 1; i < asked.size(); ++i) EXPECT_GE(asked[i] - asked[i - 1], 1h);
  ExpectNothingIsSaidOfStreams(bench);
}

TEST_F(EndpointsTest, OneThatIsSwitchedOffIsShownUntilItIsOn) {
  ExtractorBench bench(Polling(), Handler());
  bench.Start();
  ASSERT_TRUE(bench.RunUntil([&] { return Shown(bench) == kBothOn; }, 1min));

  ASSERT_TRUE(world_.SetEndpoint(12, "disabled").ok());
  ASSERT_TRUE(bench.RunUntil(
      [&] { return Shown(bench) == EndpointCounts{.enabled = 1, .disabled = 1}; }, 61min));
  EXPECT_THAT(bench.log_lines(), Contains(HasSubstr("has switched a webhook endpoint off")));
  ExpectNothingIsSaidOfStreams(bench);

  ASSERT_TRUE(world_.SetEndpoint(12, "enabled").ok());
  EXPECT_TRUE(bench.RunUntil([&] { return Shown(bench) == kBothOn; }, 61min));
}

TEST_F(EndpointsTest, AreKnownAgainSoonAfterARestart) {
  ExtractorBench bench(Polling(), Handler());
  ASSERT_TRUE(world_.SetEndpoint(11, "paused").ok());
  bench.Start();
  ASSERT_TRUE(bench.RunUntil([&] { return Shown(bench).has_value(); }, 1min));
  bench.RunFor(5min);

  bench.Kill();
  bench.Start();
  EXPECT_TRUE(bench.RunUntil(
      [&] { return Shown(bench) == EndpointCounts{.enabled = 1, .paused = 1}; }, 3min));
}

TEST_F(EndpointsTest, ComeAfterEverythingElse) {
  ExtractorBench::Setup setup = Polling();
  setup.options.requests_in_flight_max = 1;
  setup.options.page_size = 5;
  // Some dozens of pages, of which no more than one comes between the question and the next status.
  ExtractorBench bench(setup, [site = Handler()](WallTime now, const http::Request& request) {
    SiteAnswer answer = site(now, request);
    answer.delay = 1s;
    return answer;
  });
  bench.Start();
  ASSERT_TRUE(bench.RunUntil([&] { return !Asked(bench).empty(); }, 5min));
  EXPECT_GT(bench.requests().size(), 20u);

  bench.RunFor(1500ms);
  ASSERT_EQ(bench.status().streams_size(), static_cast<int>(kStreamKinds));
  for (const v1::StreamStatus& stream : bench.status().streams()) {
    // Components begin when the log has subscriptions: for that moment there is nothing to ask.
    if (stream.stream() == Name(StreamKind::kComponents)) continue;
    EXPECT_TRUE(stream.first_read_done()) << stream.stream();
  }
}

TEST_F(EndpointsTest, ARefusalIsCountedAndDisturbsNobody) {
  for (const int status : {401, 403, 404}) {
    ExtractorBench bench(Polling(), Handler());
    instead_ = SiteAnswer{.status = status, .body = "not for you"};
    bench.Start();
    bench.RunFor(2h + 10min);

    EXPECT_EQ(Asked(bench).size(), 3u) << status;
    EXPECT_FALSE(Shown(bench)) << status;
    ExpectNothingIsSaidOfStreams(bench);
    EXPECT_TRUE(bench.to_control().empty() ||
                !bench.to_control().back().credential_request().refused_revision())
        << status;
  }
}

TEST_F(EndpointsTest, WhatWasKnownStandsForAWhileIfNothingReadableComes) {
  const std::vector<SiteAnswer> bad = {{.status = 200, .body = "<html>soon</html>"},
                                       {.status = 200, .body = R"([{"id":1}])"},
                                       {.status = 500, .body = "oops"},
                                       {.status = 422, .body = R"({"errors":["closed"]})"},
                                       {.delivery = http::Delivery::kBroken}};
  for (const SiteAnswer& answer : bad) {
    instead_.reset();
    ASSERT_TRUE(world_.SetEndpoint(12, "disabled").ok());
    ExtractorBench bench(Polling(), Handler());
    bench.Start();
    ASSERT_TRUE(bench.RunUntil([&] { return Shown(bench).has_value(); }, 1min));
    const EndpointCounts known = *Shown(bench);

    instead_ = answer;
    bench.RunFor(1h + 45min);
    EXPECT_EQ(Shown(bench), known) << answer.body;
    bench.RunFor(20min);
    EXPECT_FALSE(Shown(bench)) << answer.body;
    // One in ten minutes, at most.
    EXPECT_LE(Asked(bench).size(), 8u + 1u);
    ExpectNothingIsSaidOfStreams(bench);

    instead_.reset();
    EXPECT_TRUE(bench.RunUntil([&] { return Shown(bench) == known; }, 11min)) << answer.body;
  }
}

TEST_F(EndpointsTest, OneThatHangsHoldsNoPlaceForLong) {
  instead_ = SiteAnswer{.delay = 10min};
  ExtractorBench::Setup setup = Polling();
  setup.options.requests_in_flight_max = 1;
  ExtractorBench bench(setup, Handler());
  bench.Start();
  ASSERT_TRUE(bench.RunUntil([&] { return Asked(bench).size() == 1; }, 5min));
  const std::size_t before = bench.requests().size();

  // The next poll is due within 30 s; the only place is free again after 10.
  bench.RunFor(45s);
  EXPECT_GT(bench.requests().size(), before);
  EXPECT_EQ(Asked(bench).size(), 1u);
}

TEST_F(EndpointsTest, A429IsObeyedByTheWholeSite) {
  ExtractorBench bench(Polling(), Handler());
  instead_ = SiteAnswer{.status = 429, .body = "usage violation"};
  bench.Start();
  ASSERT_TRUE(bench.RunUntil([&] { return Asked(bench).size() == 1; }, 5min));
  bench.RunFor(1s);
  const std::size_t before = bench.requests().size();

  bench.RunFor(2min);
  EXPECT_EQ(bench.requests().size(), before) << "the site is left alone";
  bench.RunFor(4min);
  EXPECT_GT(bench.requests().size(), before);
  EXPECT_EQ(Asked(bench).size(), 1u);
}

}  // namespace
}  // namespace tributary::extractor::testing

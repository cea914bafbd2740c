#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/time/rfc3339.h"
#include "tests/unit/services/extractor/extractor_bench.h"

// Sites that offer three lists and nothing else, and make of their parameters what they like.

namespace tributary::extractor::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

struct Habits {
  bool ignores_page = false;
  /// Rows of a page, whatever is asked for. 0: as asked for.
  std::size_t page_size = 0;
  bool newest_first = false;
  bool honours_since_id = false;
  bool has_date = true;
  bool shows_ids_only = false;
  /// Behind the last page.
  bool answers_404 = false;
};

std::size_t NumberIn(const std::string& target, const std::string& name, std::size_t otherwise) {
  const std::size_t at = target.find(name + "=");
  return at == std::string::npos ? otherwise : std::stoul(target.substr(at + name.size() + 1));
}

std::string Numbered(int first, int i) { return std::to_string(first + i); }

class ForeignSite {
 public:
  explicit ForeignSite(Habits habits) : habits_(habits) {}

  SiteAnswer operator()(WallTime now, const http::Request& request) const {
    const std::string target = TargetOf(request.url);
    const std::string path = target.substr(0, target.find('?'));
    const bool is_known =
        path == "/customers.json" || path == "/subscriptions.json" || path == "/events.json";
    if (!is_known) return {.status = 404, .body = "nothing here"};
    std::vector<std::string> rows;
    for (int i = 1; i <= count; ++i) {
      const std::string time =
          "\"2026-01-01T00:" + Numbered(10, i % 50) + ":" + Numbered(10, i / 50) + "Z\"";
      const std::string times =
          habits_.shows_ids_only ? "" : ",\"created_at\":" + time + ",\"updated_at\":" + time;
      if (path == "/customers.json") {
        rows.push_back("{\"customer\":{\"id\":" + Numbered(0, i) + times + "}}");
      } else if (path == "/subscriptions.json") {
        rows.push_back("{\"subscription\":{\"id\":" + Numbered(1'000, i) +
                       ",\"customer\":{\"id\":" + Numbered(0, i) + "}" + times + "}}");
      } else {
        if (habits_.honours_since_id &&
            5'000 + static_cast<std::size_t>(i) <= NumberIn(target, "since_id", 0)) {
          continue;
        }
        rows.push_back("{\"event\":{\"id\":" + Numbered(5'000, i) +
                       ",\"key\":\"signup_success\",\"customer_id\":" + Numbered(0, i) +
                       ",\"created_at\":" + time + "}}");
      }
    }
    if (habits_.newest_first) std::reverse(rows.begin(), rows.end());
    const std::size_t size =
        habits_.page_size > 0 ? habits_.page_size : NumberIn(target, "&per_page", 20);
    const std::size_t page = habits_.ignores_page ? 1 : NumberIn(target, "&page", 1);
    SiteAnswer answer;
    if (habits_.has_date) answer.headers = DateHeader(now);
    const std::size_t begin = std::min(rows.size(), (page - 1) * size);
    if (habits_.answers_404 && page > 1 && begin == rows.size()) {
      return {.status = 404, .body = "no such page"};
    }
    answer.body = "[";
    for (std::size_t i = begin; i < std::min(rows.size(), begin + size); ++i) {
      answer.body += (i > begin ? "," : "") + rows[i];
    }
    answer.body += "]";
    return answer;
  }

  int count = 45;

 private:
  Habits habits_;
};

struct Foreign {
  const char* name;
  Habits habits;
};

ExtractorBench::Setup FastSetup() {
  ExtractorBench::Setup setup;
  setup.settings = {{"poll_interval", "1s"}, {"visibility_lag", "2s"}};
  return setup;
}

class ForeignSiteTest : public ::testing::TestWithParam<Foreign> {};

TEST_P(ForeignSiteTest, IsReadWholeAndThenFollowedWithFewRequests) {
  for (const int count : {0, 1, 3, 45}) {
    ForeignSite site(GetParam().habits);
    site.count = count;
    ExtractorBench bench(FastSetup(), [&site](WallTime now, const http::Request& request) {
      return site(now, request);
    });
    bench.Start();
    ASSERT_TRUE(bench.RunUntilSettled(2min)) << count << " " << bench.status().DebugString();
    for (const char* stream : {"site", "components", "invoices"}) {
      EXPECT_THAT(bench.Stream(stream)->unavailable(), HasSubstr("404")) << stream;
    }
    const auto expect_all = [&] {
      const Topics topics = bench.Read();
      for (int i = 1; i <= site.count; ++i) {
        const auto customer = topics.changes.find("acme/billing/customers/" + Numbered(0, i));
        ASSERT_NE(customer, topics.changes.end()) << i;
        EXPECT_TRUE(topics.changes.contains("acme/billing/subscriptions/" + Numbered(1'000, i)));
        EXPECT_TRUE(topics.events.contains(Numbered(5'000, i))) << i;
      }
      EXPECT_EQ(topics.changes.size(), 2u * static_cast<std::size_t>(site.count));
      EXPECT_EQ(topics.events_history.size(), static_cast<std::size_t>(site.count))
          << bench.Stream("events")->DebugString();
    };
    expect_all();

    // What comes later is seen, and looking costs no more than its polls.
    site.count += 7;
    bench.RunFor(5s);
    const std::size_t before = bench.requests().size();
    bench.RunFor(20s);
    expect_all();
    const std::size_t pages =
        GetParam().habits.page_size > 0
            ? static_cast<std::size_t>(site.count) / GetParam().habits.page_size + 1
            : 2;
    EXPECT_LE(bench.requests().size() - before, 21u * 3 * (5 + 2 * pages)) << count;
    EXPECT_TRUE(bench.RunUntilSettled(1min)) << bench.status().DebugString();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Sites, ForeignSiteTest,
    ::testing::Values(
        Foreign{"IgnoresPerPage", {.page_size = 10'000}},
        Foreign{"IgnoresEveryParameter", {.ignores_page = true, .page_size = 10'000}},
        Foreign{"IgnoresEveryParameterNewestFirst",
                {.ignores_page = true, .page_size = 10'000, .newest_first = true}},
        Foreign{"IgnoresEveryParameterWithoutAClock",
                {.ignores_page = true, .page_size = 10'000, .has_date = false}},
        Foreign{"ShowsIdsOnly",
                {.ignores_page = true, .page_size = 10'000, .shows_ids_only = true}},
        Foreign{"HasPagesOfItsOwn", {.page_size = 15}},
        Foreign{"HasPagesOfItsOwnNewestFirst", {.page_size = 15, .newest_first = true}},
        Foreign{"HasNoPageBehindTheLast", {.page_size = 15, .answers_404 = true}},
        Foreign{"KnowsSinceIdOnly",
                {.ignores_page = true, .page_size = 10'000, .honours_since_id = true}},
        Foreign{"KnowsPagesOnly", {.page_size = 0}}),
    [](const auto& tested) { return tested.param.name; });

// A list that cannot be read whole is asked for at the pace of polls, and says why.
TEST(ForeignSiteLimitsTest, ShowsThatOnlyTheFirstRowsCanBeHad) {
  ForeignSite site({.ignores_page = true, .page_size = 0});
  site.count = 250;
  ExtractorBench bench(FastSetup(), [&site](WallTime now, const http::Request& request) {
    return site(now, request);
  });
  bench.Start();

  bench.RunFor(20s);

  EXPECT_THAT(bench.Stream("subscriptions")->problem(), HasSubstr("only the first rows"));
  EXPECT_FALSE(bench.Stream("subscriptions")->settled());
  EXPECT_TRUE(bench.Read().changes.contains("acme/billing/customers/200"));
  EXPECT_LE(bench.requests().size(), 20u * 3 * 8);
}

// What an event names and the site never shows must hold up neither that event nor those behind it.
TEST(ForeignSiteEventsTest, GoOnWithoutAnEntityThatTheSiteNeverShows) {
  for (const bool has_date : {true, false}) {
    for (const int by_id : {404, 500}) {
      ForeignSite site({.honours_since_id = true, .has_date = has_date});
      WallTime later{};
      const SiteHandler handler = [&](WallTime now, const http::Request& request) {
        const std::string target = TargetOf(request.url);
        SiteAnswer answer = site(now, request);
        if (target.starts_with("/customers/")) answer.status = by_id;
        if (later == WallTime{} || !target.starts_with("/events.json")) return answer;
        answer.body.pop_back();
        for (const char* rest : {"1,\"customer_id\":9999", "2,\"customer_id\":7"}) {
          if (answer.body.size() > 1) answer.body += ",";
          answer.body += "{\"event\":{\"key\":\"signup_success\",\"created_at\":\"" +
                         FormatRfc3339(later) + "\",\"id\":600" + rest + "}}";
        }
        answer.body += "]";
        return answer;
      };
      ExtractorBench::Setup setup = FastSetup();
      setup.options.retry_delay_max = 5s;
      ExtractorBench bench(setup, handler);
      bench.Start();
      ASSERT_TRUE(bench.RunUntilSettled(2min));
      later = bench.wall();
      bench.RunFor(2min);

      const Topics topics = bench.Read();
      ASSERT_TRUE(topics.events.contains("6001")) << has_date << " " << by_id;
      EXPECT_TRUE(topics.events.at("6001").live());
      EXPECT_EQ(topics.events.at("6001").entities_size(), 0);
      ASSERT_TRUE(topics.events.contains("6002"));
      EXPECT_EQ(topics.events.at("6002").entities_size(), 1);
      EXPECT_THAT(bench.log_lines(),
                  ::testing::Contains(HasSubstr("An event goes on without an entity")));
      if (has_date) {
        EXPECT_THAT(bench.Stream("events")->problem(), HasSubstr("without customers/9999"));
      }
    }
  }
}

}  // namespace
}  // namespace tributary::extractor::testing

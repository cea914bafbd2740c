#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/simulator/civil_time.h"
#include "tests/unit/services/simulator/client.h"

namespace tributary::simulator {
namespace {

using ::testing::HasSubstr;

TEST(Chargify, RefusesAWrongKeyInPlainText) {
  Client client(Quiet(1));
  const Answer answer = client.Ask(Target::kChargify, "GET", "/site.json",
                                   {{"Authorization", "Basic " + Base64("wrong:x")}});
  EXPECT_EQ(answer.status, 401);
  EXPECT_EQ(answer.body, "HTTP Basic: Access denied.\n");
}

TEST(Chargify, ListsWebhookEndpointsWithoutWrappers) {
  Client client(Quiet(1));
  const std::string both = client.Chargify("/endpoints.json").body;
  EXPECT_THAT(both, HasSubstr(R"([{"id":11,"url":"https://)"));
  EXPECT_THAT(both, HasSubstr(R"("status":"enabled","webhook_subscriptions":[")"));

  ASSERT_TRUE(client.world.SetEndpoint(12, "disabled").ok());
  EXPECT_THAT(client.Chargify("/endpoints.json").body, HasSubstr(R"("status":"disabled")"));
  EXPECT_TRUE(absl::IsNotFound(client.world.SetEndpoint(13, "disabled")));
  EXPECT_TRUE(absl::IsInvalidArgument(client.world.SetEndpoint(12, "off")));
}

TEST(Chargify, ClampsThePageSizeInSilence) {
  Client client(Quiet(450));
  EXPECT_EQ(client.List("/customers.json", "customer").size(), 50u);
  EXPECT_EQ(client.List("/customers.json?per_page=500", "customer").size(), 200u);
  EXPECT_EQ(client.List("/customers.json?per_page=500&page=3", "customer").size(), 50u);
  EXPECT_EQ(client.List("/customers.json?per_page=-1", "customer").size(), 50u);
  EXPECT_EQ(client.List("/customers.json?per_page=500&page=4", "customer").size(), 0u);
  EXPECT_EQ(client.List("/subscriptions.json", "subscription").size(), 20u);
}

TEST(Chargify, RefusesPageZero) {
  Client client(Quiet(1));
  const Answer answer = client.Chargify("/customers.json?page=0");
  EXPECT_EQ(answer.status, 422);
  EXPECT_EQ(answer.body, R"({"errors":["invalid page: 0"]})");
}

TEST(Chargify, IgnoresADateFieldThatItDoesNotKnow) {
  Client client(Quiet(30));
  const std::string window = "&start_datetime=2030-01-01%2000:00:00&per_page=200";
  EXPECT_TRUE(client.List("/customers.json?date_field=updated_at" + window, "customer").empty());
  EXPECT_EQ(client.List("/customers.json?date_field=changed_at" + window, "customer").size(), 30u);
  EXPECT_EQ(client.List("/customers.json?x=1" + window, "customer").size(), 30u);
}

TEST(Chargify, FiltersInvoicesByDueDateUnlessTold) {
  Client client(Quiet(40));
  const auto all = client.List("/invoices.json?per_page=200", "invoices");
  ASSERT_FALSE(all.empty());
  const std::string day = TextAt(all.front(), "due_date");
  const auto due =
      client.List("/invoices.json?per_page=200&start_date=" + day + "&end_date=" + day, "invoices");
  ASSERT_FALSE(due.empty());
  for (const json::Value& row : due) EXPECT_EQ(TextAt(row, "due_date"), day);
}

TEST(Chargify, CountsDaysInTheZoneOfTheSite) {
  Client client(Quiet(60));
  const auto all = client.List("/customers.json?per_page=200", "customer");
  const std::string day = TextAt(all[30], "created_at").substr(0, 10);
  const auto rows = client.List(
      "/customers.json?per_page=200&date_field=created_at&start_date=" + day + "&end_date=" + day,
      "customer");
  ASSERT_FALSE(rows.empty());
  std::size_t expected = 0;
  for (const json::Value& row : all) {
    expected += TextAt(row, "created_at").substr(0, 10) == day ? 1u : 0u;
  }
  EXPECT_EQ(rows.size(), expected);
}

TEST(Chargify, WritesTimesWithTheOffsetOfTheDay) {
  const SiteZone zone;
  EXPECT_EQ(SiteTime(zone, 1'785'000'000), "2026-07-25T13:20:00-04:00");
  EXPECT_EQ(SiteTime(zone, 1'798'000'000), "2026-12-22T23:26:40-05:00");
  // The hour that comes twice.
  EXPECT_EQ(SiteTime(zone, 1'793'510'999), "2026-11-01T01:29:59-04:00");
  EXPECT_EQ(SiteTime(zone, 1'793'514'600), "2026-11-01T01:30:00-05:00");
  EXPECT_EQ(ParseSiteTime(zone, "2026-07-25 13:20:00"), 1'785'000'000);
  EXPECT_EQ(ParseSiteTime(zone, "2026-07-25T17:20:00Z"), 1'785'000'000);
  EXPECT_EQ(ParseSiteTime(zone, "2026-07-25 19:20:00 +02:00"), 1'785'000'000);
  EXPECT_EQ(ParseSiteDay(zone, "2026-07-25"), 1'785'000'000 - 13 * 3'600 - 1'200);
  EXPECT_EQ(ParseSiteTime(zone, "yesterday"), std::nullopt);
}

TEST(Chargify, ListsEventsNewestFirstAndSinceIdWithThatId) {
  Client client(Quiet(20));
  const auto newest = client.List("/events.json?per_page=3", "event");
  ASSERT_EQ(newest.size(), 3u);
  EXPECT_GT(*newest[0].Find("id")->ToInt64(), *newest[1].Find("id")->ToInt64());
  const auto since =
      client.List("/events.json?direction=asc&since_id=" + TextAt(newest[2], "id"), "event");
  ASSERT_EQ(since.size(), 3u);
  EXPECT_EQ(since[0], newest[2]);
  EXPECT_EQ(since[2], newest[0]);
  const auto until =
      client.List("/events.json?max_id=" + TextAt(newest[1], "id") + "&per_page=1", "event");
  EXPECT_EQ(until[0], newest[1]);
  const auto one = client.List("/events.json?filter=customer_create&per_page=200", "event");
  EXPECT_EQ(one.size(), 20u);
  EXPECT_EQ(client.Chargify("/events/count.json?filter=customer_create").body, R"({"count":20})");
}

TEST(Chargify, AnswersFourAtOnceThenSlowsThenRefusesWithoutSayingWhen) {
  WorldOptions options = Quiet(5);
  options.answer_delay = std::chrono::milliseconds(100);
  options.queue_max = 2;
  World world(options);
  http::Request request;
  request.url = "/site.json";
  request.headers = {{"Authorization", "Basic " + Base64(world.access().chargify_key + ":x")}};
  std::vector<std::int64_t> delays;
  for (int i = 0; i < 6; ++i) {
    const Answer answer = world.Handle(kStart, Target::kChargify, request);
    EXPECT_EQ(answer.status, 200);
    delays.push_back(answer.delay.count() / 1'000);
  }
  EXPECT_THAT(delays, ::testing::ElementsAre(100, 100, 100, 100, 200, 200));
  EXPECT_EQ(world.Judge(kStart).provoked_429, 0);
  const Answer refused = world.Handle(kStart, Target::kChargify, request);
  EXPECT_EQ(refused.status, 429);
  EXPECT_THAT(refused.body, HasSubstr("usage violation"));
  EXPECT_EQ(http::FindHeader(refused.headers, "Retry-After"), nullptr);
  EXPECT_EQ(world.Judge(kStart).provoked_429, 1);
  EXPECT_EQ(world.Handle(kStart + std::chrono::seconds(1), Target::kChargify, request).status, 200);
}

TEST(Chargify, ShowsAChangeLateButWithinTheLag) {
  WorldOptions options = Quiet(50);
  options.switches.late_visibility = true;
  Client client(options);
  const auto before = client.List("/customers.json?per_page=200", "customer");
  int late = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    const std::string id = TextAt(before[i], "id");
    ASSERT_TRUE(client.world.Set(client.now, "customers", id, R"({"city":"Elsewhere"})").ok());
  }
  const auto at_once = client.List("/customers.json?per_page=200", "customer");
  for (const json::Value& row : at_once) late += TextAt(row, "city") != "Elsewhere" ? 1 : 0;
  EXPECT_GT(late, 5);
  EXPECT_LT(late, 50);
  client.now += std::chrono::seconds(2);
  for (const json::Value& row : client.List("/customers.json?per_page=200", "customer")) {
    EXPECT_EQ(TextAt(row, "city"), "Elsewhere");
  }
}

TEST(Chargify, ShowsEventsOutOfOrder) {
  WorldOptions options = Quiet(50);
  options.switches.late_visibility = true;
  Client client(options);
  client.world.Mutate(client.now, 60);
  const auto first =
      client.List("/events.json?direction=asc&per_page=200&since_id=" +
                      TextAt(client.List("/events.json?per_page=200", "event").back(), "id"),
                  "event");
  const std::int64_t newest = *first.back().Find("id")->ToInt64();
  client.now += std::chrono::seconds(2);
  int older_that_came_later = 0;
  std::set<std::string> seen;
  for (const json::Value& row : first) seen.insert(TextAt(row, "id"));
  for (const json::Value& row : client.List("/events.json?per_page=200", "event")) {
    const bool is_new = seen.count(TextAt(row, "id")) == 0;
    if (is_new && *row.Find("id")->ToInt64() < newest &&
        *row.Find("id")->ToInt64() > *first.front().Find("id")->ToInt64()) {
      ++older_that_came_later;
    }
  }
  EXPECT_GT(older_that_came_later, 0);
}

TEST(Chargify, MixesTheOrderOfTies) {
  WorldOptions options = Quiet(400);
  options.switches.unstable_ties = true;
  Client client(options);
  const auto first = client.List("/customers.json?per_page=200", "customer");
  bool differs = false;
  for (int i = 0; i < 10; ++i) {
    const auto again = client.List("/customers.json?per_page=200", "customer");
    for (std::size_t row = 0; row + 1 < again.size(); ++row) {
      const auto time = [&](std::size_t at) {
        return *ParseSiteTime(SiteZone(), TextAt(again[at], "created_at"));
      };
      EXPECT_LE(time(row), time(row + 1));
    }
    differs = differs || !(again == first);
  }
  EXPECT_TRUE(differs);
}

TEST(Chargify, ChangesWhileItIsReadPageByPage) {
  WorldOptions options = Quiet(200);
  options.switches.mutations_per_page = 4;
  options.mutations_total = 10;
  Client client(options);
  client.List("/customers.json", "customer");
  EXPECT_EQ(client.world.mutations(), 4);
  EXPECT_FALSE(client.world.finished_mutating());
  client.List("/customers.json?page=2", "customer");
  client.List("/customers.json?page=3", "customer");
  EXPECT_EQ(client.world.mutations(), 10);
  EXPECT_TRUE(client.world.finished_mutating());
}

TEST(Chargify, TellsOfADeletionByEventsOnly) {
  Client client(Quiet(30));
  std::set<std::string> ids;
  for (const auto& row : client.List("/customers.json?per_page=200", "customer")) {
    ids.insert(TextAt(row, "id"));
  }
  std::string gone;
  for (int i = 0; i < 2'000 && gone.empty(); ++i) {
    client.world.Mutate(client.now, 1);
    for (const auto& row : client.List("/events.json?filter=customer_delete", "event")) {
      gone = TextAt(row, "customer_id");
    }
  }
  ASSERT_FALSE(gone.empty());
  EXPECT_EQ(client.Chargify("/customers/" + gone + ".json").status, 404);
  for (const auto& row : client.List("/customers.json?per_page=200", "customer")) {
    EXPECT_NE(TextAt(row, "id"), gone);
  }
  for (const auto& row : client.List("/subscriptions.json?per_page=200", "subscription")) {
    EXPECT_NE(TextAt(row, "customer.id"), gone);
  }
}

TEST(Chargify, MutatesOneRowTwiceInOneSecond) {
  Client client(Quiet(5));
  client.world.Mutate(client.now, 300);
  // The same id and time with two contents, somewhere in the history.
  std::set<std::string> seen;
  int twice = 0;
  client.world.ForEachTruth([&](std::string_view line) {
    const json::Value entry = *json::Parse(line);
    if (TextAt(entry, "op") != "put" || TextAt(entry, "seq") == "0") return;
    twice += seen.insert(TextAt(entry, "id") + TextAt(entry, "document.updated_at")).second ? 0 : 1;
  });
  EXPECT_GT(twice, 0);
}

TEST(Chargify, DatesItsAnswersByItsOwnClock) {
  WorldOptions options = Quiet(1);
  options.site_clock_offset = std::chrono::seconds(-90);
  Client client(options);
  const Answer answer = client.Chargify("/site.json");
  EXPECT_EQ(*http::FindHeader(answer.headers, "Date"), HttpDate(1'790'000'000 - 90));
}

TEST(Chargify, TakesWhatItDoesNotKnowIntoADocument) {
  Client client(Quiet(3));
  const std::string id = TextAt(client.List("/customers.json", "customer")[1], "id");
  ASSERT_TRUE(client.world
                  .Set(client.now, "customers", id,
                       R"({"plan_facts":{"a":[1,"2",null]},"email":"new@example.com"})")
                  .ok());
  const Answer answer = client.Chargify("/customers/" + id + ".json");
  EXPECT_THAT(answer.body, HasSubstr(R"("plan_facts":{"a":[1,"2",null]})"));
  EXPECT_EQ(TextAt(BodyOf(answer), "customer.email"), "new@example.com");
  EXPECT_TRUE(absl::IsNotFound(client.world.Set(client.now, "customers", "1", "{}")));
  EXPECT_TRUE(absl::IsInvalidArgument(client.world.Set(client.now, "planets", id, "{}")));
}

TEST(Chargify, WritesMoneyUnpaddedAndQuantitiesInTwoWays) {
  Client client(Quiet(200));
  bool has_text = false;
  bool has_number = false;
  for (const auto& row :
       client.List("/subscriptions_components.json?per_page=200", "subscriptions_components")) {
    if (TextAt(row, "component_handle") != "storage_gb") continue;
    has_text = has_text || row.Find("allocated_quantity")->string() != nullptr;
    has_number = has_number || row.Find("allocated_quantity")->number() != nullptr;
  }
  EXPECT_TRUE(has_text);
  EXPECT_TRUE(has_number);
  bool has_one_place = false;
  for (const auto& row : client.List("/invoices.json?per_page=200", "invoices")) {
    const std::string total = TextAt(row, "total_amount");
    has_one_place = has_one_place || (total.size() > 2 && total[total.size() - 2] == '.');
    const Answer alone = client.Chargify("/invoices/" + TextAt(row, "uid") + ".json");
    ASSERT_EQ(alone.status, 200);
    EXPECT_EQ(BodyOf(alone), row);
  }
  EXPECT_TRUE(has_one_place);
}

TEST(Chargify, AnswersAPageOfAHundredThousandWithoutTouchingAll) {
  WorldOptions options = Quiet(100'000);
  Client client(options);
  const auto rows = client.List("/customers.json?per_page=200&page=500", "customer");
  EXPECT_EQ(rows.size(), 200u);
}

}  // namespace
}  // namespace tributary::simulator

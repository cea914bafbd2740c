#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/eventlog/table.h"
#include "libs/ids/keys.h"
#include "libs/time/rfc3339.h"
#include "services/extractor/extractor.h"
#include "tests/unit/services/extractor/simulated_site.h"

// The rules of the protocol that concern reading a source, by their numbers.

namespace tributary::extractor::testing {
namespace {

using namespace std::chrono_literals;
using eventlog::Topic;
using ::testing::HasSubstr;
using ::testing::Not;

class RulesTest : public SiteTest {
 protected:
  using World = simulator::World;

  static std::vector<std::string> RequestsOf(const ExtractorBench& bench, std::string_view path) {
    std::vector<std::string> found;
    for (const std::string& request : bench.requests()) {
      if (request.starts_with(path)) found.push_back(request);
    }
    return found;
  }
  static std::string FirstCustomer(const Topics& topics) {
    for (const auto& [key, change] : topics.changes) {
      if (change.entity().kind() == "customers" && !change.entity().gone()) {
        return change.entity().id();
      }
    }
    return "";
  }
  static std::string DocumentOf(const Topics& topics, const std::string& key) {
    const auto found = topics.changes.find("acme/billing/" + key);
    return found == topics.changes.end() ? "" : found->second.entity().document();
  }
};

SiteHandler WithDate(SiteHandler site, std::function<http::Headers(WallTime)> date) {
  return
      [site = std::move(site), date = std::move(date)](WallTime now, const http::Request& request) {
        SiteAnswer answer = site(now, request);
        std::erase_if(answer.headers, [](const auto& header) { return header.first == "Date"; });
        for (auto& header : date(now)) answer.headers.push_back(header);
        return answer;
      };
}

TEST_F(RulesTest, Rule4ReadsAgainWhatADeadOwnerHasOverwritten) {
  World world(WorldOptionsWith(1, 5));
  ExtractorBench bench(SetupFor(world), HandlerOf(world));
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(5min));
  const std::string id = FirstCustomer(bench.Read());
  const std::string key = "acme/billing/customers/" + id;
  v1::ChangeEvent stale = bench.Read().changes[key];
  stale.mutable_entity()->set_document("{\"stale\":true}");

  // Behind the fence, under the token of somebody before.
  bench.log().Append(Topic::kChanges, 0, key, stale.SerializeAsString(),
                     {{std::string(eventlog::kTokenHeader),
                       eventlog::FormatToken({.generation = 1'700'000'000, .offset = 1})}});
  bench.RunFor(10s);

  EXPECT_THAT(RequestsOf(bench, "/customers/" + id), Not(::testing::IsEmpty()));
  const eventlog::Record* newest = nullptr;
  for (const auto& record : bench.log().records(Topic::kChanges, 0)) {
    if (record.key == key) newest = &record;
  }
  v1::ChangeEvent change;
  ASSERT_TRUE(change.ParseFromString(newest->value.value_or("")));
  EXPECT_THAT(change.entity().document(), Not(HasSubstr("stale")));
}

/// As the owner that holds the partition now would write it.
eventlog::Headers CurrentToken(ExtractorBench& bench, Topic topic) {
  eventlog::Token token{.generation = 1'700'000'000, .offset = 1};
  for (const auto& record : bench.log().records(topic, 0)) {
    if (record.key.starts_with("!f/") && record.value) token.offset = record.offset;
  }
  return {{std::string(eventlog::kTokenHeader), eventlog::FormatToken(token)}};
}

const std::deque<SetAside>& SetAsideOf(ExtractorBench& bench) {
  return static_cast<const ReadingStage&>(bench.stage()).set_aside();
}

/// Of the newest entry of a key. None: it cannot be decoded.
std::optional<v1::Entity> Newest(ExtractorBench& bench, const std::string& key) {
  std::optional<v1::Entity> newest;
  for (const auto& record : bench.log().records(Topic::kChanges, 0)) {
    if (record.key != key) continue;
    v1::ChangeEvent change;
    newest.reset();
    if (change.ParseFromString(record.value.value_or(""))) newest = change.entity();
  }
  return newest;
}

TEST_F(RulesTest, Rule4ReadsAgainWhatCannotBeDecoded) {
  for (const bool while_running : {true, false}) {
    World world(WorldOptionsWith(1, 5));
    ExtractorBench bench(SetupFor(world), HandlerOf(world));
    bench.Start();
    ASSERT_TRUE(bench.RunUntilSettled(5min));
    const std::string id = FirstCustomer(bench.Read());
    const std::string key = "acme/billing/customers/" + id;
    const std::string document = bench.Read().changes[key].entity().document();
    const eventlog::Headers token = CurrentToken(bench, Topic::kChanges);
    if (!while_running) bench.Kill();
    bench.log().Append(Topic::kChanges, 0, key, "\xff\xfe", token);
    const eventlog::Offset offset = bench.log().records(Topic::kChanges, 0).back().offset;
    if (!while_running) bench.Start();
    bench.RunFor(1min);

    ASSERT_EQ(SetAsideOf(bench).size(), 1u) << while_running;
    EXPECT_EQ(SetAsideOf(bench)[0].topic, Topic::kChanges);
    EXPECT_EQ(SetAsideOf(bench)[0].offset, offset);
    EXPECT_EQ(SetAsideOf(bench)[0].key, key);
    EXPECT_EQ(SetAsideOf(bench)[0].prefix_hex, "fffe");
    EXPECT_THAT(bench.log_lines(), ::testing::Contains(HasSubstr("cannot be decoded")));
    const auto newest = Newest(bench, key);
    ASSERT_TRUE(newest) << while_running;
    EXPECT_EQ(Comparable(newest->document()), Comparable(document));
    EXPECT_FALSE(newest->gone());
  }
}

// A site that shows lists and nothing by id has not lost what it does not show by id.
TEST_F(RulesTest, Rule4ReadsTheListWholeWhereNothingCanBeHadById) {
  World world(WorldOptionsWith(1, 5));
  const SiteHandler lists_only = [site = HandlerOf(world)](WallTime now,
                                                           const http::Request& request) {
    const std::string target = TargetOf(request.url);
    if (target.starts_with("/customers/") || target.starts_with("/subscriptions/")) {
      return SiteAnswer{.status = 404, .body = "nothing here"};
    }
    return site(now, request);
  };
  ExtractorBench bench(SetupFor(world), lists_only);
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(5min));
  const std::string key = "acme/billing/customers/" + FirstCustomer(bench.Read());
  bench.log().Append(Topic::kChanges, 0, key, "\xff", CurrentToken(bench, Topic::kChanges));
  bench.RunFor(1min);

  const auto newest = Newest(bench, key);
  ASSERT_TRUE(newest);
  EXPECT_FALSE(newest->gone());
  EXPECT_FALSE(newest->document().empty());
}

TEST_F(RulesTest, Rule4MarksAsGoneWhatNeitherTheListNorAReadByIdShows) {
  World world(WorldOptionsWith(1, 5));
  ExtractorBench bench(SetupFor(world), HandlerOf(world));
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(5min));
  const std::string key = "acme/billing/customers/987654321";
  bench.log().Append(Topic::kChanges, 0, key, "\xff", CurrentToken(bench, Topic::kChanges));
  bench.RunFor(1min);

  const auto newest = Newest(bench, key);
  ASSERT_TRUE(newest);
  EXPECT_TRUE(newest->gone());
}

// Seed 11876 of the simulation: nobody could tell any more which component was gone, so what it had
// been to its customer stayed at the CRM.
TEST_F(RulesTest, Rule4AGoneMarkerSaysWhatADeadOwnerSaw) {
  World world(WorldOptionsWith(1, 5));
  ExtractorBench bench(SetupFor(world), HandlerOf(world));
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(5min));
  for (const std::string kind : {"components", "customers"}) {
    const std::string key = "acme/billing/" + kind + "/98765-71001";
    v1::ChangeEvent seen;
    v1::Entity& entity = *seen.mutable_entity();
    entity.set_connection("billing");
    entity.set_kind(kind);
    entity.set_id("98765-71001");
    entity.add_customers("4711");
    entity.set_document("{\"component_handle\":\"seats\"}");
    entity.set_document_hash("hash");
    bench.log().Append(Topic::kChanges, 0, key, seen.SerializeAsString(),
                       {{std::string(eventlog::kTokenHeader),
                         eventlog::FormatToken({.generation = 1'700'000'000, .offset = 1})}});
    bench.RunFor(2min);

    const auto newest = Newest(bench, key);
    ASSERT_TRUE(newest) << kind;
    EXPECT_TRUE(newest->gone()) << kind;
    EXPECT_THAT(newest->former_customers(), ::testing::Contains("4711"));
    // The state of a customer is what was read, never what a dead owner wrote.
    EXPECT_EQ(newest->document(), kind == "components" ? entity.document() : "");
    EXPECT_EQ(newest->document_hash(), kind == "components" ? entity.document_hash() : "");
  }
}

TEST_F(RulesTest, Rule45TakesACursorThatCannotBeDecodedForNone) {
  World world(WorldOptionsWith(12, 30));
  ExtractorBench bench(SetupFor(world), HandlerOf(world));
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(5min));
  const eventlog::Headers token = CurrentToken(bench, Topic::kCursors);
  bench.Kill();
  bench.log().Append(Topic::kCursors, 0, "acme/billing/customers", "\xff\x01", token);
  const std::size_t before = RequestsOf(bench, "/customers.json").size();
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(5min));

  ASSERT_EQ(SetAsideOf(bench).size(), 1u);
  EXPECT_EQ(SetAsideOf(bench)[0].topic, Topic::kCursors);
  EXPECT_EQ(SetAsideOf(bench)[0].key, "acme/billing/customers");
  EXPECT_THAT(RequestsOf(bench, "/customers.json")[before], Not(HasSubstr("start_datetime")));

  // While it runs, its own position stands and is written again.
  bench.log().Append(Topic::kCursors, 0, "acme/billing/customers", "\xff\x02",
                     CurrentToken(bench, Topic::kCursors));
  bench.RunFor(5s);
  EXPECT_EQ(SetAsideOf(bench).size(), 2u);
  v1::Cursor cursor;
  for (const auto& record : bench.log().records(Topic::kCursors, 0)) {
    if (record.key != "acme/billing/customers") continue;
    if (!cursor.ParseFromString(record.value.value_or(""))) cursor.Clear();
  }
  EXPECT_TRUE(cursor.first_read_done());
}

TEST_F(RulesTest, KeepsATenantWhoseSnapshotCannotBeDecodedAndShowsTheRecord) {
  World world(WorldOptionsWith(13, 5));
  ExtractorBench bench(SetupFor(world), HandlerOf(world));
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(5min));
  bench.log().Append(Topic::kTenants, 0, "acme", "\xff\x03", CurrentToken(bench, Topic::kTenants));
  bench.log().Append(Topic::kNotifications, 0, "acme", "\xff\x04", {});
  bench.RunFor(5s);

  ASSERT_EQ(SetAsideOf(bench).size(), 2u);
  const auto& counters = static_cast<const ReadingStage&>(bench.stage()).counters();
  EXPECT_EQ(counters.set_aside[static_cast<std::size_t>(Topic::kTenants)], 1);
  EXPECT_EQ(counters.set_aside[static_cast<std::size_t>(Topic::kNotifications)], 1);
  const std::size_t before = bench.requests().size();
  bench.RunFor(5s);
  EXPECT_GT(bench.requests().size(), before) << "the last good snapshot stands";
}

TEST_F(RulesTest, Rule11WaitsForADeadOwnerAndThenAsksOneAtATime) {
  simulator::WorldOptions options = WorldOptionsWith(2, 100);
  options.answer_delay = 200ms;
  World world(options);
  ExtractorBench::Setup setup = SetupFor(world);
  setup.options.page_size = 20;
  setup.options.lease = 10s;
  setup.options.pause_bound = 5s;
  setup.options.request_timeout = 30s;
  ExtractorBench bench(setup, HandlerOf(world));
  bench.Start();
  bench.RunFor(2s);
  EXPECT_GT(bench.in_flight_max(), 1);
  bench.Kill();
  bench.RunFor(1s);
  bench.ResetInFlightMax();
  const std::size_t before = bench.requests().size();
  const Instant restarted = bench.steady();

  bench.Start();
  bench.RunFor(40s);

  ASSERT_GT(bench.requests().size(), before);
  EXPECT_GE(bench.request_times()[before] - restarted, 15s);  // V + P
  EXPECT_EQ(bench.in_flight_max(), 1);                        // until V + P + Q
}

TEST_F(RulesTest, Rule37EventsCarryWhatTheyConcernAndAreLiveOnlyAfterTheFirstRead) {
  World world(WorldOptionsWith(3, 20));
  ExtractorBench bench(SetupFor(world), HandlerOf(world));
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(5min));
  for (const auto& [id, event] : bench.Read().events) EXPECT_FALSE(event.live()) << id;
  const std::size_t history = bench.Read().events.size();

  bench.RunFor(5s);
  world.Mutate(bench.wall(), 30);
  bench.RunFor(10s);
  ASSERT_TRUE(bench.RunUntilSettled(5min));

  std::size_t live = 0;
  for (const auto& [id, event] : bench.Read().events) {
    if (!event.live()) continue;
    ++live;
    if (event.customer().empty()) continue;
    bool has_customer = false;
    for (const v1::Entity& entity : event.entities()) {
      if (entity.kind() != "customers") continue;
      has_customer = true;
      EXPECT_EQ(entity.id(), event.customer());
      EXPECT_TRUE(entity.gone() || !entity.document().empty());
    }
    EXPECT_TRUE(has_customer) << event.key() << " " << id;
  }
  EXPECT_GT(live, 0u);
  EXPECT_EQ(bench.Read().events.size(), history + live);
}

TEST_F(RulesTest, Rule38ReadsARowAgainThatWasReadInTheSecondOfItsChange) {
  World world(WorldOptionsWith(4, 5));
  ExtractorBench bench(SetupFor(world), HandlerOf(world));
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(5min));
  const std::string id = FirstCustomer(bench.Read());
  const WallTime changed = bench.wall();
  ASSERT_TRUE(world.Set(changed, "customers", id, R"({"city":"Oslo"})").ok());
  ASSERT_TRUE(bench.RunUntil(
      [&] { return DocumentOf(bench.Read(), "customers/" + id).find("Oslo") != std::string::npos; },
      1min));

  const std::size_t before = bench.requests().size();
  const Instant read = bench.steady();
  bench.RunFor(5s);

  bool again = false;
  for (std::size_t i = before; i < bench.requests().size(); ++i) {
    const std::string& request = bench.requests()[i];
    const std::size_t at = request.find("start_datetime=");
    if (!request.starts_with("/customers.json") || at == std::string::npos) continue;
    const std::string from = FormatAtOffset(changed, -300);
    // Percent-encoding keeps the order of times of one day.
    const std::string hour =
        request.substr(at + 28, 2) + request.substr(at + 33, 2) + request.substr(at + 38, 2);
    const std::string of_change = from.substr(11, 2) + from.substr(14, 2) + from.substr(17, 2);
    if (bench.request_times()[i] - read >= 1s && hour <= of_change) again = true;
  }
  EXPECT_TRUE(again);
}

// Seed 2635 of the simulation: the process died between the entry of a deleted subscription and
// those of its components.
TEST_F(RulesTest, Rule38WhatASubscriptionSaysReachesItsComponentsAfterACrashToo) {
  World world(WorldOptionsWith(4, 5));
  ExtractorBench bench(SetupFor(world), HandlerOf(world));
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(5min));
  const std::map<std::string, v1::ChangeEvent> changes = bench.Read().changes;
  const auto key_of = [](std::string_view kind, std::string_view id) {
    return ids::ChangeKey(ExtractorBench::kTenant, ExtractorBench::kConnection, kind, id);
  };
  const auto component = changes.lower_bound(key_of("components", ""));
  ASSERT_TRUE(component != changes.end() && component->second.entity().kind() == "components");
  const std::string id = component->second.entity().id();
  const std::string subscription = id.substr(0, id.find('-'));
  bench.Kill();
  v1::ChangeEvent gone = changes.at(key_of("subscriptions", subscription));
  gone.mutable_entity()->set_gone(true);
  gone.mutable_entity()->mutable_updated_at()->set_seconds(
      bench.wall().time_since_epoch().count() / 1'000'000 + 3600);
  eventlog::Token token;
  for (const eventlog::Record& record : bench.log().records(Topic::kChanges, 0)) {
    if (record.key.starts_with("!f/") && record.value) token = {1'700'000'000, record.offset};
  }
  bench.log().Append(Topic::kChanges, 0, key_of("subscriptions", subscription),
                     gone.SerializeAsString(),
                     {{std::string(eventlog::kTokenHeader), eventlog::FormatToken(token)}});
  // It is read again, and what is read is no news.
  ASSERT_TRUE(world.Set(bench.wall(), "subscriptions", subscription, R"({"memo":"x"})").ok());

  bench.Start();
  bench.RunFor(2min);

  EXPECT_TRUE(bench.Read().changes.at(key_of("components", id)).entity().gone());
}

TEST_F(RulesTest, Rule39NeverClosesAWindow) {
  simulator::WorldOptions options = WorldOptionsWith(5, 60);
  options.mutation_rate = 5;
  options.mutations_total = 50;
  World world(options);
  ExtractorBench bench(SetupFor(world), HandlerOf(world));
  bench.Start();
  bench.RunFor(30s);

  bool has_window = false;
  for (const std::string& request : bench.requests()) {
    EXPECT_EQ(request.find("end_date"), std::string::npos) << request;
    EXPECT_EQ(request.find("max_id"), std::string::npos) << request;
    EXPECT_EQ(request.find("sort=updated_at"), std::string::npos) << request;
    has_window = has_window || request.find("start_datetime") != std::string::npos;
  }
  EXPECT_TRUE(has_window);
}

TEST_F(RulesTest, Rule40CountsWindowsOnTheSitesClock) {
  simulator::WorldOptions options = WorldOptionsWith(6, 20);
  options.site_clock_offset = -3h;
  options.mutation_rate = 3;
  options.mutations_total = 60;
  World world(options);
  ExtractorBench bench(SetupFor(world), HandlerOf(world));
  bench.Start();
  ASSERT_TRUE(bench.RunUntil([&] { return world.finished_mutating(); }, 10min));
  ASSERT_TRUE(bench.RunUntilSettled(5min));

  ExpectMirrorIsTruth(world, bench.Read());
  const v1::Cursor cursor = bench.Read().cursors["acme/billing/customers"];
  const WallTime lower(std::chrono::seconds(cursor.lower_bound().seconds()));
  EXPECT_LT(lower, bench.wall() - 3h);
}

TEST_F(RulesTest, Rule40LeavesTheWindowWhereItWasWithoutAClock) {
  World world(WorldOptionsWith(7, 20));
  int mode = 0;
  const SiteHandler site = WithDate(HandlerOf(world), [&](WallTime now) -> http::Headers {
    if (mode == 1) return {};
    if (mode == 2) return {{"Date", "yesterday"}};
    return DateHeader(mode == 3 ? now - 1h : now);
  });
  ExtractorBench::Setup setup = SetupFor(world);
  setup.options.cursor_interval = 0s;  // every scan stores its position
  ExtractorBench bench(setup, site);
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(5min));
  for (mode = 1; mode <= 3; ++mode) {
    bench.RunFor(3s);
    const auto lower = bench.Read().cursors["acme/billing/customers"].lower_bound().seconds();
    bench.RunFor(10s);
    EXPECT_EQ(bench.Read().cursors["acme/billing/customers"].lower_bound().seconds(), lower);
    EXPECT_THAT(bench.Stream("customers")->problem(), HasSubstr("clock")) << mode;
  }
  mode = 0;
  bench.RunFor(10s);
  EXPECT_EQ(bench.Stream("customers")->problem(), "");
}

TEST_F(RulesTest, Rule40BelievesAJumpAheadWhenTheNextScanSaysItToo) {
  World world(WorldOptionsWith(7, 20));
  Duration ahead{};
  int answers = 0;
  const SiteHandler site = [&, inner = HandlerOf(world)](WallTime now,
                                                         const http::Request& request) {
    SiteAnswer answer = inner(now, request);
    if (!TargetOf(request.url).starts_with("/customers.json") || answers == 0) return answer;
    --answers;
    std::erase_if(answer.headers, [](const auto& header) { return header.first == "Date"; });
    answer.headers.push_back(DateHeader(now + ahead).front());
    return answer;
  };
  ExtractorBench::Setup setup = SetupFor(world);
  setup.options.cursor_interval = 0s;  // every scan stores its position
  ExtractorBench bench(setup, site);
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(5min));
  const auto lower = [&] {
    return WallTime(std::chrono::seconds(
        bench.Read().cursors["acme/billing/customers"].lower_bound().seconds()));
  };
  ahead = 1h;
  answers = 1;
  ASSERT_TRUE(bench.RunUntil([&] { return answers == 0; }, 1min));
  bench.RunFor(5s);
  EXPECT_LT(lower(), bench.wall());
  EXPECT_GT(lower(), bench.wall() - 1min);
  EXPECT_EQ(bench.Stream("customers")->problem(), "");

  answers = 1'000'000;
  bench.RunFor(10s);
  EXPECT_GT(lower(), bench.wall() + 30min);
}

TEST_F(RulesTest, Rule42BeginsTheWindowAgainAfterACrash) {
  simulator::WorldOptions options = WorldOptionsWith(8, 100);
  options.answer_delay = 300ms;
  World world(options);
  ExtractorBench::Setup setup = SetupFor(world);
  setup.options.page_size = 20;
  ExtractorBench bench(setup, HandlerOf(world));
  bench.Start();
  ASSERT_TRUE(
      bench.RunUntil([&] { return RequestsOf(bench, "/customers.json").size() >= 3; }, 1min));
  bench.Kill();
  const std::size_t before = RequestsOf(bench, "/customers.json").size();
  bench.Start();
  bench.RunFor(1min);

  const std::vector<std::string> requests = RequestsOf(bench, "/customers.json");
  ASSERT_GT(requests.size(), before);
  EXPECT_THAT(requests[before], HasSubstr("page=1&"));
  EXPECT_THAT(requests[before], Not(HasSubstr("start_datetime")));
}

TEST_F(RulesTest, Rule43SeesTheSecondChangeOfOneSecond) {
  simulator::WorldOptions options = WorldOptionsWith(9, 5);
  options.switches.late_visibility = false;
  World world(options);
  ExtractorBench::Setup setup = SetupFor(world);
  setup.options.poll_interval = 100ms;
  ExtractorBench bench(setup, HandlerOf(world));
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(5min));
  const std::string id = FirstCustomer(bench.Read());
  while (bench.wall().time_since_epoch() % 1s != Duration{}) bench.RunFor(1ms);
  const auto shows = [&](const char* city) {
    return bench.RunUntil(
        [&] { return DocumentOf(bench.Read(), "customers/" + id).find(city) != std::string::npos; },
        700ms);
  };

  ASSERT_TRUE(world.Set(bench.wall(), "customers", id, R"({"city":"Oslo"})").ok());
  ASSERT_TRUE(shows("Oslo"));
  ASSERT_TRUE(world.Set(bench.wall(), "customers", id, R"({"city":"Bergen"})").ok());
  ASSERT_TRUE(shows("Bergen"));
  ASSERT_TRUE(world.Set(bench.wall(), "customers", id, R"({"city":"Oslo"})").ok());
  EXPECT_TRUE(shows("Oslo"));
  ExpectNoKeyGoesBack(bench.Read());
}

TEST_F(RulesTest, Rule44TheEventsCursorPassesOnlyWhatIsOlderThanTheLag) {
  simulator::WorldOptions options = WorldOptionsWith(10, 20);
  options.visibility_lag = 10s;
  options.mutation_rate = 4;
  options.mutations_total = 200;
  World world(options);
  ExtractorBench bench(SetupFor(world), HandlerOf(world));
  bench.Start();
  std::map<std::int64_t, std::int64_t> created;
  for (int i = 0; i < 60; ++i) {
    bench.RunFor(1s);
    const Topics topics = bench.Read();
    for (const auto& [id, event] : topics.events) {
      created[std::stoll(id)] = event.occurred_at().seconds();
    }
    const auto cursor = topics.cursors.find("acme/billing/events");
    if (cursor == topics.cursors.end() || cursor->second.since_id().empty()) continue;
    const auto at = created.find(std::stoll(cursor->second.since_id()));
    ASSERT_NE(at, created.end());
    EXPECT_LE(WallTime(std::chrono::seconds(at->second)), bench.wall() - 10s);
  }
  ASSERT_TRUE(bench.RunUntilSettled(10min));
  ExpectMirrorIsTruth(world, bench.Read());
}

TEST_F(RulesTest, Rule45ThePositionFollowsTheAcknowledgements) {
  World world(WorldOptionsWith(11, 30));
  ExtractorBench bench(SetupFor(world), HandlerOf(world));
  bench.SlowLog(4s);
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(10min));

  WallTime last_customer{};
  WallTime first_cursor{};
  for (const auto& record : bench.log().records(Topic::kChanges, 0)) {
    if (record.key.starts_with("acme/billing/customers/")) last_customer = record.appended_at;
  }
  for (const auto& record : bench.log().records(Topic::kCursors, 0)) {
    if (record.key == "acme/billing/customers") {
      first_cursor = record.appended_at;
      break;
    }
  }
  EXPECT_GE(first_cursor - last_customer, 4s);
}

TEST_F(RulesTest, ReadsNoFurtherThanTheLogTakesIt) {
  World world(WorldOptionsWith(13, 200));
  ExtractorBench::Setup setup = SetupFor(world);
  setup.options.page_size = 10;
  setup.options.unacknowledged_pages_max = 3;
  setup.options.unread_entries_max = 25;
  ExtractorBench bench(setup, HandlerOf(world));
  bench.SlowLog(2s);
  bench.Start();
  std::int64_t pages = 0;
  std::int64_t entries = 0;
  const bool settled = bench.RunUntil(
      [&] {
        const Levels levels = dynamic_cast<const ReadingStage&>(bench.stage())
                                  .levels({.steady = bench.steady(), .wall = bench.wall()});
        EXPECT_EQ(levels.unacknowledged_pages_max, 3);
        EXPECT_EQ(levels.unread_entries_max, 25);
        pages = std::max(pages, levels.unacknowledged_pages);
        entries = std::max(entries, levels.unread_entries);
        const v1::StreamStatus* customers = bench.Stream("customers");
        return customers != nullptr && customers->settled();
      },
      60min);

  EXPECT_TRUE(settled);
  // What is under way when the limit is met still comes: a page of each stream.
  EXPECT_GE(entries, 25);
  constexpr int kStreams = 6;
  EXPECT_LE(entries, 25 + 10 * kStreams);
  EXPECT_LE(pages, 3);
  ASSERT_TRUE(bench.RunUntilSettled(60min));
  ExpectMirrorIsTruth(world, bench.Read());
}

TEST_F(RulesTest, Rule45ACursorOfAnotherGenerationIsVoid) {
  World world(WorldOptionsWith(12, 30));
  ExtractorBench bench(SetupFor(world), HandlerOf(world));
  v1::Cursor cursor;
  cursor.set_generation(1'600'000'000);
  cursor.set_first_read_done(true);
  cursor.mutable_lower_bound()->set_seconds(bench.wall().time_since_epoch() / 1s);
  bench.log().Append(Topic::kCursors, 0, "acme/billing/customers", cursor.SerializeAsString(),
                     {{std::string(eventlog::kTokenHeader),
                       eventlog::FormatToken({.generation = 1'700'000'000, .offset = 1})}});
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(5min));

  EXPECT_THAT(RequestsOf(bench, "/customers.json").front(), Not(HasSubstr("start_datetime")));
  ExpectMirrorIsTruth(world, bench.Read());
}

TEST_F(RulesTest, Rule45WhatOccurredBehindTheCursorOfAnOldGenerationIsLive) {
  World world(WorldOptionsWith(21, 5));
  ExtractorBench bench(SetupFor(world), HandlerOf(world));
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(5min));
  world.Mutate(bench.wall(), 20);
  bench.RunFor(10min);
  bench.Kill();
  const auto events = [&](std::size_t first, bool live) {
    std::set<std::string> ids;
    const auto& records = bench.log().records(Topic::kEvents, 0);
    for (std::size_t i = first; i < records.size(); ++i) {
      v1::SourceEvent event;
      if (!event.ParseFromString(records[i].value.value_or(""))) continue;
      if (event.live() == live) ids.insert(event.id());
    }
    return ids;
  };
  const std::size_t before = bench.log().records(Topic::kEvents, 0).size();
  const std::set<std::string> was_live = events(0, true);
  ASSERT_FALSE(was_live.empty());

  world.Mutate(bench.wall(), 20);
  bench.log().Lose(Topic::kChanges, 0);
  bench.log().FoundAnew(1'700'000'001);
  bench.Start();
  bench.RunFor(10min);

  const std::set<std::string> is_live = events(before, true);
  EXPECT_FALSE(is_live.empty());
  for (const std::string& id : is_live) EXPECT_FALSE(was_live.contains(id)) << id;
  // All that was live once is history now, and of the rest nothing is.
  const std::set<std::string> history = events(before, false);
  for (const std::string& id : was_live) EXPECT_TRUE(history.contains(id)) << id;
  for (const std::string& event : TruthOf(world).events) {
    EXPECT_TRUE(is_live.contains(event) || history.contains(event)) << event;
  }
}

// ---- what sites do to their readers ----

TEST_F(RulesTest, ReadsAForeignSiteThatKnowsThreeListsOnly) {
  World world(WorldOptionsWith(13, 30));
  const SiteHandler foreign = [site = HandlerOf(world)](WallTime now,
                                                        const http::Request& request) {
    const std::string target = TargetOf(request.url);
    for (const char* known : {"/customers.json", "/subscriptions.json", "/events.json"}) {
      if (target.starts_with(known)) return site(now, request);
    }
    return SiteAnswer{.status = 404, .body = "nothing here"};
  };
  ExtractorBench bench(SetupFor(world), foreign);
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(5min)) << bench.status().DebugString();
  world.Mutate(bench.wall(), 20);
  bench.RunFor(10s);
  ASSERT_TRUE(bench.RunUntilSettled(5min));

  for (const char* stream : {"site", "components", "invoices"}) {
    EXPECT_THAT(bench.Stream(stream)->unavailable(), HasSubstr("404")) << stream;
  }
  const Topics topics = bench.Read();
  const Truth truth = TruthOf(world);
  for (const auto& [key, document] : truth.entities) {
    if (!document || key.starts_with("components/") || key.starts_with("invoices/")) continue;
    EXPECT_EQ(Comparable(DocumentOf(topics, key)), *document) << key;
  }
  for (const std::string& event : truth.events) EXPECT_TRUE(topics.events.contains(event));
}

TEST_F(RulesTest, NeverTakesAnUnreadableAnswerForSuccess) {
  for (const char* kind : {"malformed", "html", "empty", "truncate", "error", "reset_after"}) {
    World world(WorldOptionsWith(14, 60));
    ASSERT_TRUE(world
                    .SetFaults(R"([{"target":"chargify","match":"","kind":")" + std::string(kind) +
                               R"(","probability":0.3,"count":25}])")
                    .ok());
    ExtractorBench::Setup setup = SetupFor(world);
    setup.options.page_size = 20;
    ExtractorBench bench(setup, HandlerOf(world));
    bench.Start();
    ASSERT_TRUE(bench.RunUntilSettled(10min)) << kind << bench.status().DebugString();
    ExpectMirrorIsTruth(world, bench.Read());
    if (std::string_view(kind) == "html") {
      EXPECT_TRUE(std::any_of(bench.log_lines().begin(), bench.log_lines().end(),
                              [](const std::string& line) {
                                return line.starts_with("An answer could not be read.") &&
                                       line.find("sha256=") != std::string::npos;
                              }));
    }
  }
}

TEST_F(RulesTest, KeepsAPositionBehindARowThatCannotBeRead) {
  World world(WorldOptionsWith(15, 10));
  bool is_broken = true;
  const SiteHandler site = [&, inner = HandlerOf(world)](WallTime now,
                                                         const http::Request& request) {
    SiteAnswer answer = inner(now, request);
    const std::size_t at = answer.body.find(R"({"customer":{)");
    if (is_broken && TargetOf(request.url).starts_with("/customers.json") && at == 1) {
      answer.body.replace(at, 13, R"({"patron":{"no":1},"x":{)");
    }
    return answer;
  };
  ExtractorBench bench(SetupFor(world), site);
  bench.Start();
  bench.RunFor(20s);

  EXPECT_THAT(bench.Stream("customers")->problem(), HasSubstr("could not be read"));
  EXPECT_FALSE(bench.Stream("customers")->first_read_done());
  EXPECT_FALSE(bench.Read().cursors.contains("acme/billing/customers"));
  EXPECT_FALSE(FirstCustomer(bench.Read()).empty()) << "the other rows flow";

  is_broken = false;
  ASSERT_TRUE(bench.RunUntilSettled(5min));
  ExpectMirrorIsTruth(world, bench.Read());
}

TEST_F(RulesTest, ItsStatusCanBeReadWhateverTheSiteAnswersWith) {
  World world(WorldOptionsWith(15, 10));
  const std::pair<std::string, std::string> kPages[] = {
      // Latin-1.
      {"<h1>Service indisponible, r\xE9\x65ssayez</h1>", "indisponible, r\uFFFDessayez"},
      // The character stands across the place of the cut.
      {std::string(299, 'x') + "\u00e9 and more", "xxx"}};
  for (const auto& [page, shown] : kPages) {
    const SiteHandler site = [&, inner = HandlerOf(world)](WallTime now,
                                                           const http::Request& request) {
      SiteAnswer answer = inner(now, request);
      if (TargetOf(request.url).starts_with("/customers.json")) {
        answer.status = 503;
        answer.body = page;
      }
      return answer;
    };
    ExtractorBench bench(SetupFor(world), site);
    bench.Start();
    bench.RunFor(20s);

    EXPECT_THAT(bench.Stream("customers")->problem(), HasSubstr("HTTP 503: "));
    EXPECT_THAT(bench.Stream("customers")->problem(), HasSubstr(shown));
    v1::ServiceStatus read;
    EXPECT_TRUE(read.ParseFromString(bench.status().SerializeAsString()));
  }
}

TEST_F(RulesTest, KeepsAPositionBehindAnEventThatCannotBeReadInALongHistoryToo) {
  World world(WorldOptionsWith(15, 100));
  bool is_broken = true;
  const SiteHandler site = [&, inner = HandlerOf(world)](WallTime now,
                                                         const http::Request& request) {
    SiteAnswer answer = inner(now, request);
    const std::size_t at = answer.body.find(R"("created_at":")");
    // The first event of all.
    if (is_broken && TargetOf(request.url).starts_with("/events.json") &&
        request.url.find("since_id") == std::string::npos && at != std::string::npos) {
      answer.body.replace(at, 14, R"("created_at":"x)");
    }
    return answer;
  };
  ExtractorBench::Setup setup = SetupFor(world);
  setup.options.page_size = 5;
  setup.options.unacknowledged_pages_max = 2;
  ExtractorBench bench(setup, site);
  bench.Start();
  bench.RunFor(20s);

  EXPECT_THAT(bench.log_lines(), ::testing::Contains(HasSubstr("could not be read")));
  const Topics topics = bench.Read();
  ASSERT_GT(topics.events.size(), 20u) << "the other events flow, of more pages than wait at once";
  EXPECT_EQ(topics.cursors.at("acme/billing/events").since_id(), "");

  is_broken = false;
  ASSERT_TRUE(bench.RunUntilSettled(5min));
  ExpectMirrorIsTruth(world, bench.Read());
}

TEST_F(RulesTest, AsksAPersonOnlyWhenTheKeyIsRefusedAgainAndAgain) {
  World world(WorldOptionsWith(16, 10));
  ExtractorBench::Setup setup = SetupFor(world);
  const std::string right = setup.api_key;
  setup.api_key = "wrong";
  ExtractorBench bench(setup, HandlerOf(world));
  bench.Start();
  bench.RunFor(20s);
  EXPECT_FALSE(bench.status().connections(0).credential_refused());
  bench.RunFor(3min);
  EXPECT_TRUE(bench.status().connections(0).credential_refused());
  EXPECT_THAT(bench.status().connections(0).fix(), HasSubstr("check the API key"));
  EXPECT_EQ(bench.stage().failure(), "");

  bench.SetApiKey(right, 2);
  ASSERT_TRUE(bench.RunUntilSettled(5min));
  EXPECT_EQ(bench.status().connections(0).problem(), "");
  ExpectMirrorIsTruth(world, bench.Read());
}

TEST_F(RulesTest, LeavesASiteAloneForMinutesAfterA429AndThenAsksOneAtATime) {
  World world(WorldOptionsWith(17, 60));
  ASSERT_TRUE(
      world.SetFaults(R"([{"target":"chargify","match":"page=2","kind":"throttle","count":1}])")
          .ok());
  ExtractorBench::Setup setup = SetupFor(world);
  setup.options.page_size = 20;
  ExtractorBench bench(setup, HandlerOf(world));
  bench.Start();
  bench.RunFor(1s);
  const std::size_t before = bench.requests().size();
  bench.ResetInFlightMax();
  bench.RunFor(2min);
  EXPECT_EQ(bench.requests().size(), before);
  ASSERT_TRUE(bench.RunUntil([&] { return bench.requests().size() > before; }, 3min));
  bench.RunFor(30s);

  EXPECT_EQ(bench.in_flight_max(), 1);
  ASSERT_TRUE(bench.RunUntilSettled(10min));
  ExpectMirrorIsTruth(world, bench.Read());
}

TEST_F(RulesTest, ConnectionsToOneSiteShareItsRequestsInTurnAndWithoutAPause) {
  World world(WorldOptionsWith(19, 40));
  ExtractorBench::Setup setup = SetupFor(world);
  setup.connections = 3;
  setup.options.requests_in_flight_max = 1;
  setup.options.page_size = 20;
  const SiteHandler site = HandlerOf(world);
  ExtractorBench bench(setup, [&](WallTime now, const http::Request& request) {
    SiteAnswer answer = site(now, request);
    answer.delay = 100ms;
    return answer;
  });
  bench.Start();
  ASSERT_TRUE(bench.RunUntil([&] { return bench.requests().size() > 100; }, 1min));
  EXPECT_EQ(bench.in_flight_max(), 1);
  // While each has much to read, the next asks as soon as one was answered, whosever turn it is.
  const auto& times = bench.request_times();
  EXPECT_LT(times[60] - times[10], 50 * 120ms);
  ASSERT_TRUE(bench.RunUntilSettled(10min));
  std::set<std::string> readers;
  for (const auto& [key, cursor] : bench.Read().cursors) {
    if (cursor.first_read_done()) readers.insert(key.substr(0, key.rfind('/')));
  }
  EXPECT_EQ(readers.size(), 3u);
}

TEST_F(RulesTest, StopsAskingAConnectionThatIsNoLongerLinked) {
  World world(WorldOptionsWith(18, 10));
  ExtractorBench bench(SetupFor(world), HandlerOf(world));
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(5min));
  bench.PublishTenant(false);
  bench.RunFor(1s);
  const std::size_t before = bench.requests().size();
  bench.RunFor(1min);
  EXPECT_EQ(bench.requests().size(), before);
}

}  // namespace
}  // namespace tributary::extractor::testing

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "services/extractor/extractor.h"
#include "tests/unit/services/extractor/simulated_site.h"

// Rule 37 of the protocol: events that nobody handled are read again, and no others.

namespace tributary::extractor::testing {
namespace {

using namespace std::chrono_literals;
using eventlog::Topic;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

class LostEventsTest : public SiteTest {
 protected:
  using World = simulator::World;

  /// Its first read is behind it, and what has changed since was read too.
  static void StartAndChange(ExtractorBench& bench, World& world) {
    bench.Start();
    ASSERT_TRUE(bench.RunUntilSettled(5min));
    world.Mutate(bench.wall(), 20);
    bench.RunFor(1min);
  }

  /// Ids of live events in the `events` that is there.
  static std::set<std::string> LiveEvents(const ExtractorBench& bench) {
    std::set<std::string> ids;
    for (const v1::SourceEvent& event : bench.Read().events_history) {
      if (event.live()) ids.insert(event.id());
    }
    return ids;
  }

  /// For two minutes. Who appends behind what the log has lost begins anew (rules 5 and 6).
  static void RunAndRestart(ExtractorBench& bench) {
    for (int i = 0; i < 24; ++i) {
      bench.RunFor(5s);
      if (bench.stage().failure().empty()) continue;
      bench.Kill();
      bench.Start();
    }
  }

  static std::int64_t EventsEndInCursor(const ExtractorBench& bench) {
    return bench.Read().cursors["acme/billing/events"].events_end();
  }
};

TEST_F(LostEventsTest, Rule37ReadsEventsAgainWhenSomebodyMissesThem) {
  for (const bool is_killed : {false, true}) {
    World world(WorldOptionsWith(21, 5));
    ExtractorBench bench(SetupFor(world), HandlerOf(world));
    ASSERT_NO_FATAL_FAILURE(StartAndChange(bench, world));
    const WallTime from = bench.wall();
    bench.RunFor(1min);
    world.Mutate(bench.wall(), 20);
    bench.RunFor(1min);
    const auto live_since = [&](WallTime time, std::size_t first) {
      std::multiset<std::string> ids;
      const auto& records = bench.log().records(Topic::kEvents, 0);
      for (std::size_t i = first; i < records.size(); ++i) {
        v1::SourceEvent event;
        if (!event.ParseFromString(records[i].value.value_or(""))) continue;
        const WallTime at = WallTime(std::chrono::seconds(event.occurred_at().seconds()));
        if (event.live() && at >= time) ids.insert(event.id());
      }
      return ids;
    };
    const auto wanted = live_since(from, 0);
    ASSERT_FALSE(wanted.empty());
    const std::size_t before = bench.log().records(Topic::kEvents, 0).size();

    v1::Notification notification;
    notification.set_connection("billing");
    notification.mutable_read_events_again_from()->set_seconds(
        std::chrono::floor<std::chrono::seconds>(from.time_since_epoch()).count());
    bench.log().Append(Topic::kNotifications, 0, "acme", notification.SerializeAsString(), {});
    if (is_killed) {
      bench.RunFor(50ms);
      bench.Kill();
      bench.Start();
    }
    bench.RunFor(2min);

    // Those that are missed and no older ones; once more each if the reader died.
    const auto again = live_since(WallTime::min(), before);
    EXPECT_EQ(std::set(again.begin(), again.end()), std::set(wanted.begin(), wanted.end()));
    EXPECT_TRUE(is_killed || again.size() == wanted.size()) << again.size();
    EXPECT_EQ(bench.log().committed("extractor", Topic::kNotifications, 0), 1);
    // And not once more.
    const std::size_t after = bench.log().records(Topic::kEvents, 0).size();
    bench.RunFor(5min);
    EXPECT_EQ(bench.log().records(Topic::kEvents, 0).size(), after);
  }
}

TEST_F(LostEventsTest, Rule37ReadsEventsAgainOfAConnectionThatWasUnlinkedBeforeItCouldBegin) {
  enum class Linked : std::uint8_t { kAtOnce, kLater, kByTheNextOwner };
  for (const Linked linked : {Linked::kAtOnce, Linked::kLater, Linked::kByTheNextOwner}) {
    World world(WorldOptionsWith(21, 5));
    bool is_slow = false;
    const SiteHandler site = [&, inner = HandlerOf(world)](WallTime now,
                                                           const http::Request& request) {
      SiteAnswer answer = inner(now, request);
      if (is_slow && TargetOf(request.url).starts_with("/events.json")) answer.delay = 10s;
      return answer;
    };
    ExtractorBench bench(SetupFor(world), site);
    ASSERT_NO_FATAL_FAILURE(StartAndChange(bench, world));
    const std::set<std::string> live = LiveEvents(bench);
    ASSERT_FALSE(live.empty());
    const std::size_t before = bench.Read().events_history.size();

    // A walk is under way, so that the one that is asked for waits for its end.
    is_slow = true;
    bench.RunFor(3s);
    v1::Notification notification;
    notification.set_connection("billing");
    notification.mutable_read_events_again_from()->set_seconds(1);
    bench.log().Append(Topic::kNotifications, 0, "acme", notification.SerializeAsString(), {});
    bench.RunFor(1s);
    bench.PublishTenant(false);
    if (linked != Linked::kAtOnce) bench.RunFor(5s);
    is_slow = false;
    if (linked == Linked::kByTheNextOwner) bench.Kill();
    bench.PublishTenant(true);
    if (linked == Linked::kByTheNextOwner) bench.Start();
    bench.RunFor(2min);

    std::set<std::string> again;
    const std::vector<v1::SourceEvent> history = bench.Read().events_history;
    for (std::size_t i = before; i < history.size(); ++i) {
      if (history[i].live()) again.insert(history[i].id());
    }
    EXPECT_EQ(again, live) << static_cast<int>(linked);
    EXPECT_EQ(bench.log().committed("extractor", Topic::kNotifications, 0), 1);
  }
}

TEST_F(LostEventsTest, Rule37ReadsEventsAgainThatWereLostBeforeAnybodyHandledThem) {
  enum class Reader : std::uint8_t { kLives, kIsDead, kIsNotLinked };
  for (const Reader reader : {Reader::kLives, Reader::kIsDead, Reader::kIsNotLinked}) {
    World world(WorldOptionsWith(21, 5));
    ExtractorBench bench(SetupFor(world), HandlerOf(world));
    ASSERT_NO_FATAL_FAILURE(StartAndChange(bench, world));
    const std::set<std::string> live = LiveEvents(bench);
    ASSERT_FALSE(live.empty());
    ASSERT_EQ(EventsEndInCursor(bench), bench.log().end(Topic::kEvents, 0));

    if (reader == Reader::kIsDead) bench.Kill();
    if (reader == Reader::kIsNotLinked) bench.PublishTenant(false);
    bench.RunFor(1s);
    bench.log().Lose(Topic::kEvents, 0);
    if (reader == Reader::kIsDead) bench.Start();
    RunAndRestart(bench);
    if (reader == Reader::kIsNotLinked) {
      EXPECT_EQ(bench.log().end(Topic::kEvents, 0), 0);
      bench.PublishTenant(true);
      RunAndRestart(bench);
    }

    EXPECT_EQ(LiveEvents(bench), live);
    EXPECT_THAT(bench.log_lines(), Contains(HasSubstr("The events were lost")));
    EXPECT_EQ(EventsEndInCursor(bench), bench.log().end(Topic::kEvents, 0));
    EXPECT_EQ(bench.log().committed("extractor", Topic::kNotifications, 0), 1);
    // It is asked for once.
    bench.Kill();
    bench.Start();
    bench.RunFor(5min);
    EXPECT_EQ(bench.log().end(Topic::kNotifications, 0), 1);
  }
}

// It asks where `events` ends now and then; an acknowledgement may tell before.
TEST_F(LostEventsTest, Rule37AnAcknowledgementInFrontOfWhatIsKnownTellsOfAnotherLog) {
  World world(WorldOptionsWith(22, 5));
  ExtractorBench bench(SetupFor(world), HandlerOf(world));
  ASSERT_NO_FATAL_FAILURE(StartAndChange(bench, world));
  const std::set<std::string> live = LiveEvents(bench);
  bench.Kill();
  bench.Start();
  ASSERT_TRUE(bench.RunUntil([&] { return bench.stage().not_ready_because().empty(); }, 1min));
  const Instant started = bench.steady();
  bench.RunFor(500ms);

  bench.log().Lose(Topic::kEvents, 0);
  world.Mutate(bench.wall(), 20);
  ASSERT_TRUE(bench.RunUntil([&] { return bench.log().end(Topic::kNotifications, 0) > 0; }, 1min));
  EXPECT_LT(bench.steady() - started, 10s);
  EXPECT_GT(bench.log().end(Topic::kEvents, 0), 0);
  RunAndRestart(bench);

  const std::set<std::string> now = LiveEvents(bench);
  for (const std::string& id : live) EXPECT_TRUE(now.contains(id)) << id;
}

TEST_F(LostEventsTest, Rule37EventsThatAreThereAreNotReadAgain) {
  World world(WorldOptionsWith(23, 5));
  ExtractorBench bench(SetupFor(world), HandlerOf(world));
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(5min));
  for (int i = 0; i < 5; ++i) {
    world.Mutate(bench.wall(), 5);
    bench.RunFor(20s);
    bench.Kill();
    bench.Start();
    bench.RunFor(20s);
  }
  ASSERT_FALSE(LiveEvents(bench).empty());

  EXPECT_EQ(bench.log().end(Topic::kNotifications, 0), 0);
  EXPECT_THAT(bench.log_lines(), Not(Contains(HasSubstr("The events were lost"))));
}

}  // namespace
}  // namespace tributary::extractor::testing

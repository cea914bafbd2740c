#include "services/extractor/extractor.h"

#include <algorithm>
#include <chrono>

#include "gtest/gtest.h"

#include "tests/unit/services/extractor/simulated_site.h"

namespace tributary::extractor::testing {
namespace {

using namespace std::chrono_literals;

TEST_F(SiteTest, ShowsEverythingOfAQuietSiteOnce) {
  simulator::World world(WorldOptionsWith(1, 450));
  ExtractorBench bench(SetupFor(world), HandlerOf(world));

  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(5min)) << bench.status().DebugString();

  const Topics topics = bench.Read();
  ExpectMirrorIsTruth(world, topics);
  EXPECT_EQ(topics.history.size(), topics.changes.size()) << "unchanged entities came again";
  EXPECT_LE(bench.in_flight_max(), 4);
}

TEST_F(SiteTest, SitesTakeTurnsWhenAllTheirRequestsHaveOneLimit) {
  simulator::World world(WorldOptionsWith(1, 300));
  ExtractorBench::Setup setup = SetupFor(world);
  setup.connections = 3;
  setup.options.page_size = 20;
  setup.options.requests_in_flight_total_max = 2;
  std::int64_t most = 0;
  ExtractorBench* extractor = nullptr;
  ExtractorBench bench(setup, [&, site = HandlerOf(world)](WallTime now, const http::Request& r) {
    const auto& stage = static_cast<const ReadingStage&>(extractor->stage());
    const Levels levels = stage.levels({.steady = extractor->steady(), .wall = now});
    EXPECT_LE(levels.requests, levels.requests_max);
    most = std::max(most, levels.requests);
    return site(now, r);
  });
  extractor = &bench;

  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(30min)) << bench.status().DebugString();

  EXPECT_EQ(most, 2) << "queue(source_requests)";
  EXPECT_EQ(bench.in_flight_max(), 2);
  // Nobody was left out.
  for (const char* const name : {"billing", "billing-2", "billing-3"}) {
    EXPECT_TRUE(std::any_of(bench.status().streams().begin(), bench.status().streams().end(),
                            [&](const auto& stream) { return stream.connection() == name; }))
        << name;
  }
}

class BusySiteTest : public SiteTest, public ::testing::WithParamInterface<std::uint64_t> {};

TEST_P(BusySiteTest, FollowsASiteThatChangesWhileItIsRead) {
  const std::uint64_t seed = GetParam();
  simulator::WorldOptions options = WorldOptionsWith(seed, 140);
  options.mutation_rate = 4;
  options.mutations_total = 200;
  options.switches.mutations_per_page = 2;
  simulator::World world(options);
  ExtractorBench::Setup setup = SetupFor(world);
  setup.options.page_size = 25;
  ExtractorBench bench(setup, HandlerOf(world));

  bench.Start();
  ASSERT_TRUE(bench.RunUntil([&] { return world.finished_mutating(); }, 10min));
  ASSERT_TRUE(bench.RunUntilSettled(5min)) << bench.status().DebugString();

  const Topics topics = bench.Read();
  ExpectMirrorIsTruth(world, topics);
  ExpectNoKeyGoesBack(topics);
  EXPECT_EQ(world.Judge(bench.wall(), {.highlevel = false, .rest = false}).provoked_429, 0);
}

// Rule 42: after a crash the window begins again; rule 45: the position never runs ahead.
TEST_P(BusySiteTest, Rule42And45LosesNothingWhenKilledAgainAndAgain) {
  const std::uint64_t seed = GetParam();
  simulator::WorldOptions options = WorldOptionsWith(seed, 90);
  options.mutation_rate = 3;
  options.mutations_total = 160;
  options.switches.mutations_per_page = 1;
  simulator::World world(options);
  ExtractorBench::Setup setup = SetupFor(world);
  setup.options.page_size = 20;
  setup.options.lease = 2s;
  setup.options.pause_bound = 1s;
  setup.options.request_timeout = 5s;
  ExtractorBench bench(setup, HandlerOf(world));
  eventlog::testing::SeededRandom chance(seed);

  bench.Start();
  for (int i = 0; i < 8; ++i) {
    bench.RunFor(chance.Between(3s, 12s));
    bench.Kill();
    bench.RunFor(chance.Between(10ms, 2s));
    bench.SlowLog(chance.Between(Duration{}, 300ms));
    bench.Start();
  }
  ASSERT_TRUE(bench.RunUntil([&] { return world.finished_mutating(); }, 10min));
  ASSERT_TRUE(bench.RunUntilSettled(5min)) << bench.status().DebugString();

  const Topics topics = bench.Read();
  ExpectMirrorIsTruth(world, topics);
  ExpectNoKeyGoesBack(topics);
}

INSTANTIATE_TEST_SUITE_P(Seeds, BusySiteTest, ::testing::Range<std::uint64_t>(1, 5));

}  // namespace
}  // namespace tributary::extractor::testing

#include "services/extractor/extractor.h"

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "libs/json/value.h"
#include "services/simulator/world.h"
#include "tests/unit/services/extractor/extractor_bench.h"

namespace tributary::extractor::testing {
namespace {

using namespace std::chrono_literals;

SiteHandler HandlerOf(simulator::World& world) {
  return [&world](WallTime now, const http::Request& request) {
    simulator::Answer answer = world.Handle(now, simulator::Target::kChargify, request);
    SiteAnswer out;
    out.delivery = answer.form == simulator::Answer::Form::kAnswer ? http::Delivery::kComplete
                                                                   : http::Delivery::kBroken;
    out.status = answer.status;
    out.headers = std::move(answer.headers);
    out.body = std::move(answer.body);
    out.delay = answer.delay;
    return out;
  };
}


/// Without copies of other entities, which change without their row's `updated_at`.
std::string Comparable(json::Value document) {
  json::Object own;
  for (auto& [name, value] : *document.object()) {
    if (name == "customer" || name == "product_name") continue;
    own.emplace_back(name, std::move(value));
  }
  return json::Write(json::Value(std::move(own)));
}

struct Truth {
  /// By `kind/id`: the last document; none: gone.
  std::map<std::string, std::optional<std::string>> entities;
  std::set<std::string> events;
};

Truth TruthOf(const simulator::World& world) {
  Truth truth;
  world.ForEachTruth([&](std::string_view line) {
    const auto parsed = json::Parse(line);
    ASSERT_TRUE(parsed.ok()) << line;
    const std::string op = *parsed->Find("op")->string();
    const std::string id = parsed->Find("id")->ToIdText().value_or("");
    if (op == "event") {
      truth.events.insert(id);
      return;
    }
    const std::string key = *parsed->Find("kind")->string() + "/" + id;
    if (op == "gone") {
      truth.entities[key] = std::nullopt;
    } else {
      truth.entities[key] = Comparable(*parsed->Find("document"));
    }
  });
  return truth;
}

/// Every entity that the history holds is in the mirror as it was last, and every event is there.
void ExpectMirrorIsTruth(const simulator::World& world, const Topics& topics) {
  const Truth truth = TruthOf(world);
  int wrong = 0;
  for (const auto& [key, document] : truth.entities) {
    const auto found = topics.changes.find("acme/billing/" + key);
    if (found == topics.changes.end()) {
      // What was gone before anybody looked needs not be known.
      if (document) ADD_FAILURE() << key << " is missing";
      continue;
    }
    const v1::Entity& entity = found->second.entity();
    if (entity.gone() != !document) {
      ADD_FAILURE() << key << (document ? " is shown as gone" : " is not shown as gone");
    } else if (document) {
      const auto ours = json::Parse(entity.document());
      ASSERT_TRUE(ours.ok());
      EXPECT_EQ(Comparable(*ours), *document) << key;
    }
    if (::testing::Test::HasFailure() && ++wrong > 5) return;
  }
  for (const std::string& event : truth.events) {
    EXPECT_TRUE(topics.events.contains(event)) << "event " << event;
  }
}

/// Rules 5 and 38: no key ever goes back.
void ExpectNoKeyGoesBack(const Topics& topics) {
  std::map<std::string, const v1::Entity*> last;
  for (const auto& [key, change] : topics.history) {
    const v1::Entity& now = change.entity();
    if (const auto before = last.find(key); before != last.end()) {
      const v1::Entity& then = *before->second;
      const auto order = [](const v1::Entity& entity) {
        return std::tuple(entity.updated_at().seconds(), entity.updated_at().nanos(),
                          entity.read().reader().offset(), entity.read().number());
      };
      if (now.has_updated_at() && then.has_updated_at()) {
        EXPECT_LT(order(then), order(now)) << key;
      }
      // Rule 34: who it ever belonged to is never forgotten.
      std::set<std::string> named(now.customers().begin(), now.customers().end());
      named.insert(now.former_customers().begin(), now.former_customers().end());
      for (const std::string& customer : then.customers()) EXPECT_TRUE(named.contains(customer));
      for (const std::string& customer : then.former_customers()) {
        EXPECT_TRUE(named.contains(customer));
      }
    }
    last[key] = &now;
  }
}

class SiteTest : public ::testing::Test {
 protected:
  simulator::WorldOptions WorldOptionsWith(std::uint64_t seed, std::int32_t customers) {
    simulator::WorldOptions options;
    options.seed = seed;
    options.customers = customers;
    options.start = eventlog::testing::VirtualTime().now().wall;
    return options;
  }
  ExtractorBench::Setup SetupFor(const simulator::World& world) {
    ExtractorBench::Setup setup;
    setup.options.visibility_lag = 2s;
    setup.options.poll_interval = 1s;
    setup.options.retry_delay_max = 5s;
    setup.api_key = world.access().chargify_key;
    setup.seed = world.options().seed;
    return setup;
  }
};

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

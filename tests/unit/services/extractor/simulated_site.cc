#include "tests/unit/services/extractor/simulated_site.h"

#include <tuple>
#include <utility>

#include "libs/json/value.h"

namespace tributary::extractor::testing {

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

std::string Comparable(std::string_view text) {
  auto document = json::Parse(text);
  if (!document.ok() || document->object() == nullptr) return std::string(text);
  json::Object own;
  for (auto& [name, value] : *document->object()) {
    if (name == "customer" || name == "product_name") continue;
    own.emplace_back(name, std::move(value));
  }
  return json::Write(json::Value(std::move(own)));
}

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
      truth.entities[key] = Comparable(json::Write(*parsed->Find("document")));
    }
  });
  return truth;
}

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
      EXPECT_EQ(Comparable(entity.document()), *document) << key;
    }
    if (::testing::Test::HasFailure() && ++wrong > 5) return;
  }
  for (const std::string& event : truth.events) {
    EXPECT_TRUE(topics.events.contains(event)) << "event " << event;
  }
}

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

simulator::WorldOptions SiteTest::WorldOptionsWith(std::uint64_t seed, std::int32_t customers) {
  simulator::WorldOptions options;
  options.seed = seed;
  options.customers = customers;
  options.start = eventlog::testing::VirtualTime().now().wall;
  return options;
}

ExtractorBench::Setup SiteTest::SetupFor(const simulator::World& world) {
  ExtractorBench::Setup setup;
  setup.options.visibility_lag = world.options().visibility_lag;
  setup.options.poll_interval = 1s;
  setup.options.retry_delay_max = 5s;
  setup.api_key = world.access().chargify_key;
  setup.seed = world.options().seed;
  return setup;
}

}  // namespace tributary::extractor::testing

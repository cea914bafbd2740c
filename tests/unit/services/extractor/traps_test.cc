#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/json/value.h"
#include "libs/time/rfc3339.h"
#include "tests/unit/services/extractor/naive_readers.h"
#include "tests/unit/services/extractor/simulated_site.h"

// The traps of Chargify's API, by the numbers of the list that we keep of them: for each a small
// reader that falls in, and the extractor against the same site, which does not.

namespace tributary::extractor::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

class TrapTest : public SiteTest {
 protected:
  using World = simulator::World;

  /// A client with a clock of its own, beginning where the world begins.
  struct Client {
    World& world;
    SiteHandler site;
    WallTime now;
    Duration step = 50ms;

    explicit Client(World& behind, SiteHandler handler = {})
        : world(behind),
          site(handler ? std::move(handler) : HandlerOf(behind)),
          now(behind.options().start) {}

    naive::Fetch fetch() {
      return [this](const std::string& path) {
        http::Request request;
        request.url = "http://127.0.0.1:1" + path;
        // "Basic " and base64 of "key:x"; the bench makes its own the same way.
        request.headers = {{"Authorization", authorization}};
        SiteAnswer answer = site(now, request);
        now += step;
        return answer;
      };
    }
    std::string authorization;
  };

  /// Lets the extractor read the site until it is still, and gives what the topics say.
  Topics Extract(World& world, SiteHandler site = {}) {
    ExtractorBench::Setup setup = SetupFor(world);
    setup.options.page_size = page_size_;
    ExtractorBench bench(setup, site ? std::move(site) : HandlerOf(world));
    bench.Start();
    EXPECT_TRUE(bench.RunUntilSettled(3min)) << bench.status().DebugString();
    statuses_ = bench.status();
    requests_ = bench.requests();
    in_flight_max_ = bench.in_flight_max();
    return bench.Read();
  }

  static std::string AuthorizationOf(const World& world) {
    // As the bench sees it, so that no second base64 is needed here.
    std::string header;
    World copy(world.options());
    ExtractorBench::Setup setup = SetupFor(world);
    ExtractorBench bench(setup, [&](WallTime, const http::Request& request) {
      header = *http::FindHeader(request.headers, "Authorization");
      return SiteAnswer{.status = 404};
    });
    bench.Start();
    bench.RunUntil([&] { return !header.empty(); }, 1min);
    return header;
  }

  Client ClientOf(World& world, SiteHandler site = {}) {
    Client client(world, std::move(site));
    client.authorization = AuthorizationOf(world);
    return client;
  }

  /// Ids of a kind that the site has and shows.
  static naive::Ids Living(const World& world, const std::string& kind) {
    naive::Ids ids;
    for (const auto& [key, document] : TruthOf(world).entities) {
      if (document && key.starts_with(kind + "/")) ids.insert(key.substr(kind.size() + 1));
    }
    return ids;
  }
  static naive::Ids Shown(const Topics& topics, const std::string& kind) {
    naive::Ids ids;
    for (const auto& [key, change] : topics.changes) {
      if (change.entity().kind() == kind && !change.entity().gone())
        ids.insert(change.entity().id());
    }
    return ids;
  }
  static naive::Ids EventsShown(const Topics& topics) {
    naive::Ids ids;
    for (const auto& [id, event] : topics.events) ids.insert(id);
    return ids;
  }
  /// Every event that the site has, read while it stands still.
  static naive::Ids AllEvents(Client& client) {
    naive::Ids ids;
    for (int page = 1;; ++page) {
      const auto body = json::Parse(
          client.fetch()("/events.json?direction=asc&per_page=200&page=" + std::to_string(page))
              .body);
      if (!body.ok() || body->array() == nullptr || body->array()->empty()) return ids;
      for (const json::Value& row : *body->array()) {
        ids.insert(row.FindPath("event.id")->ToIdText().value_or(""));
      }
    }
  }
  static std::string DocumentOf(const Topics& topics, const std::string& kind,
                                const std::string& id) {
    const auto found = topics.changes.find("acme/billing/" + kind + "/" + id);
    return found == topics.changes.end() ? "" : found->second.entity().document();
  }
  static std::string First(const World& world, const std::string& kind) {
    return *Living(world, kind).begin();
  }

  std::int32_t page_size_ = 200;
  v1::ServiceStatus statuses_;
  std::vector<std::string> requests_;
  int in_flight_max_ = 0;
};

/// Replaces the first occurrence.
std::string Replaced(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

TEST_F(TrapTest, Trap1SinceIdIsInclusiveHereAndExclusiveThere) {
  World world(WorldOptionsWith(11, 40));
  // As the feed of invoice events has it: greater, not greater or equal.
  const SiteHandler exclusive = [site = HandlerOf(world)](WallTime now,
                                                          const http::Request& request) {
    http::Request shifted = request;
    const std::size_t at = request.url.find("since_id=");
    if (at != std::string::npos) {
      const std::string id = request.url.substr(at + 9);
      shifted.url = request.url.substr(0, at + 9) + std::to_string(std::stoll(id) + 1);
    }
    return site(now, shifted);
  };
  page_size_ = 20;
  Client client = ClientOf(world, exclusive);

  Client plain = ClientOf(world);
  const naive::Ids all = AllEvents(plain);
  const naive::Ids naive_ids = naive::EventsTakingCursorsForInclusive(client.fetch());
  const Topics topics = Extract(world, exclusive);

  EXPECT_LT(naive_ids.size(), all.size());
  EXPECT_EQ(EventsShown(topics), all);
  EXPECT_EQ(EventsShown(Extract(world)), all) << "inclusive, as documented";
}

TEST_F(TrapTest, Trap2EventsComeNewestFirst) {
  World world(WorldOptionsWith(12, 40));
  Client client = ClientOf(world);

  const naive::Ids all = AllEvents(client);
  const naive::Ids naive_ids = naive::EventsInDefaultOrderAfterACrash(client.fetch());

  EXPECT_LT(naive_ids.size(), all.size());
  EXPECT_EQ(EventsShown(Extract(world)), all);
}

TEST_F(TrapTest, Trap2EventsAreReadWholeFromASiteThatIgnoresTheDirection) {
  World world(WorldOptionsWith(12, 40));
  const SiteHandler descending = [site = HandlerOf(world)](WallTime now,
                                                           const http::Request& request) {
    http::Request other = request;
    if (request.url.find("/events.json") != std::string::npos) {
      other.url = Replaced(request.url, "direction=asc", "direction=desc");
    }
    return site(now, other);
  };

  Client client = ClientOf(world);
  const naive::Ids all = AllEvents(client);

  EXPECT_FALSE(all.empty());
  EXPECT_EQ(EventsShown(Extract(world, descending)), all);
}

TEST_F(TrapTest, Trap3PagesDriftAndTiesRepeat) {
  simulator::WorldOptions options = WorldOptionsWith(13, 150);
  options.mutations_total = 120;
  options.switches.mutations_per_page = 4;
  World for_naive(options);
  Client client = ClientOf(for_naive);
  const naive::Ids naive_ids = naive::CustomersPageByPage(client.fetch(), 20);
  naive::Ids missed;
  for (const std::string& id : Living(for_naive, "customers")) {
    if (!naive_ids.contains(id)) missed.insert(id);
  }

  World world(options);
  page_size_ = 50;
  const Topics topics = Extract(world);

  EXPECT_FALSE(missed.empty());
  ExpectMirrorIsTruth(world, topics);
}

TEST_F(TrapTest, Trap4AWrongDateFieldGivesTheWholeTable) {
  World world(WorldOptionsWith(14, 70));
  const SiteHandler ignoring = [site = HandlerOf(world)](WallTime now,
                                                         const http::Request& request) {
    http::Request other = request;
    other.url = Replaced(request.url, "date_field=updated_at", "date_field=changed_at");
    return site(now, other);
  };
  ExtractorBench::Setup setup = SetupFor(world);
  setup.options.page_size = 50;
  ExtractorBench bench(setup, ignoring);
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(10min));
  const std::string last = *Living(world, "customers").rbegin();
  ASSERT_TRUE(world.Set(bench.wall(), "customers", last, R"({"first_name":"Later"})").ok());
  bench.RunFor(10s);
  Client client = ClientOf(world, ignoring);
  client.now = bench.wall();

  const naive::Documents changed =
      naive::ChangesTrustingTheFilter(client.fetch(), FormatAtOffset(client.now - 2min, 0));

  EXPECT_FALSE(changed.contains(last));
  Client plain = ClientOf(world);
  plain.now = bench.wall();
  EXPECT_TRUE(naive::ChangesTrustingTheFilter(plain.fetch(), FormatAtOffset(plain.now - 2min, 0))
                  .contains(last))
      << "it works where the filter does";
  EXPECT_THAT(DocumentOf(bench.Read(), "customers", last), HasSubstr("Later"));
  EXPECT_THAT(bench.Stream("customers")->problem(), HasSubstr("ignores date_field"));
}

TEST_F(TrapTest, Trap5CustomersAreNotInTheOrderOfTheirUpdates) {
  World world(WorldOptionsWith(15, 100));
  // The first row was the last one to change.
  const std::string first = First(world, "customers");
  ASSERT_TRUE(world.Set(world.options().start, "customers", first, R"({"city":"Oslo"})").ok());
  Client client = ClientOf(world);
  client.now += 5s;

  const naive::Ids naive_ids = naive::CustomersFromLargestUpdateAfterACrash(client.fetch(), 20);

  EXPECT_LT(naive_ids.size(), 100u);
  ExtractorBench::Setup setup = SetupFor(world);
  setup.options.page_size = 20;
  ExtractorBench bench(setup, HandlerOf(world));
  bench.Start();
  ASSERT_TRUE(bench.RunUntil(
      [&] {
        return std::any_of(bench.requests().begin(), bench.requests().end(),
                           [](const auto& path) { return path.starts_with("/customers.json"); });
      },
      1min));
  bench.Kill();
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(20min));
  EXPECT_EQ(Shown(bench.Read(), "customers"), Living(world, "customers"));
}

TEST_F(TrapTest, Trap6ATimeWithoutAZoneIsTheSitesOwn) {
  World world(WorldOptionsWith(16, 30));
  ExtractorBench bench(SetupFor(world), HandlerOf(world));
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(10min));
  const std::string id = First(world, "customers");
  ASSERT_TRUE(world.Set(bench.wall(), "customers", id, R"({"city":"Oslo"})").ok());
  bench.RunFor(30s);
  Client client = ClientOf(world);
  client.now = bench.wall();

  const naive::Documents changed = naive::ChangesWithoutAZone(client.fetch(), client.now - 2min);

  EXPECT_FALSE(changed.contains(id));
  EXPECT_TRUE(naive::ChangesTrustingTheFilter(client.fetch(), FormatAtOffset(client.now - 2min, 0))
                  .contains(id))
      << "the zone alone makes the difference";
  EXPECT_THAT(DocumentOf(bench.Read(), "customers", id), HasSubstr("Oslo"));
  // A site that overlooks the zone reads the same instant.
  const SiteHandler zoneless = [site = HandlerOf(world)](WallTime now,
                                                         const http::Request& request) {
    http::Request other = request;
    const std::size_t at = other.url.find("-05%3A00");
    if (at != std::string::npos) other.url.erase(at, 8);
    return site(now, other);
  };
  World again(WorldOptionsWith(16, 30));
  ExtractorBench other(SetupFor(again), zoneless);
  other.Start();
  ASSERT_TRUE(other.RunUntilSettled(10min));
  ASSERT_TRUE(again.Set(other.wall(), "customers", id, R"({"city":"Oslo"})").ok());
  other.RunFor(10s);
  EXPECT_THAT(DocumentOf(other.Read(), "customers", id), HasSubstr("Oslo"));
}

TEST_F(TrapTest, Trap7TimesOfOneSiteHaveTwoOffsetsAYear) {
  simulator::WorldOptions options = WorldOptionsWith(17, 10);
  // An hour before clocks in New York are put back: 2026-11-01 06:00 UTC.
  const WallTime before = ParseZonedTime("2026-11-01T05:30:00Z")->utc;
  const Duration shift = before - options.start;
  options.start = before;
  World world(options);
  const SiteHandler shifted = [site = HandlerOf(world), shift](WallTime now,
                                                               const http::Request& request) {
    return site(now + shift, request);
  };
  ExtractorBench bench(SetupFor(world), shifted);
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(10min));
  const std::string id = First(world, "customers");
  naive::Documents kept;
  Client client = ClientOf(world);
  const auto both_read = [&](std::string_view city) {
    ASSERT_TRUE(world
                    .Set(bench.wall() + shift, "customers", id,
                         R"({"city":")" + std::string(city) + R"("})")
                    .ok());
    bench.RunFor(10s);
    client.now = bench.wall() + shift;
    naive::KeepNewestByText(client.fetch(), id, kept);
  };

  bench.RunFor(25min);
  both_read("Oslo");  // 01:55 -04:00
  bench.RunFor(20min);
  both_read("Bergen");  // 01:16 -05:00: later, and the smaller text

  EXPECT_THAT(kept[id], HasSubstr("Oslo"));
  EXPECT_THAT(DocumentOf(bench.Read(), "customers", id), HasSubstr("Bergen"));
}

TEST_F(TrapTest, Trap12OnlyEventsTellOfDeletions) {
  World world(WorldOptionsWith(18, 60));
  Client client = ClientOf(world);
  ExtractorBench bench(SetupFor(world), HandlerOf(world));
  bench.Start();
  ASSERT_TRUE(bench.RunUntilSettled(10min));
  naive::Ids known = naive::CustomersKnownByLists(client.fetch(), {});
  const auto any_gone = [&] {
    bool found = false;
    world.ForEachTruth([&](std::string_view line) {
      const std::size_t at = line.find(R"("op":"gone","kind":"customers","id":")");
      if (at == std::string_view::npos) return;
      const std::string_view id = line.substr(at + 37);
      found = found || known.contains(std::string(id.substr(0, id.find('"'))));
    });
    return found;
  };
  for (int i = 0; i < 200 && !any_gone(); ++i) {
    world.Mutate(bench.wall(), 5);
    bench.RunFor(1s);
  }
  bench.RunFor(30s);
  ASSERT_TRUE(bench.RunUntilSettled(10min));
  client.now = bench.wall();

  known = naive::CustomersKnownByLists(client.fetch(), std::move(known));

  EXPECT_NE(known, Living(world, "customers"));
  EXPECT_EQ(Shown(bench.Read(), "customers"), Living(world, "customers"));
  ExpectMirrorIsTruth(world, bench.Read());
}

TEST_F(TrapTest, Trap21FourRequestsAtOnceAndNoMore) {
  simulator::WorldOptions options = WorldOptionsWith(19, 300);
  options.answer_delay = 500ms;
  World for_naive(options);
  Client client = ClientOf(for_naive);
  client.step = Duration{};
  const naive::Ids naive_ids = naive::CustomersAllAtOnce(client.fetch(), 16, 20);

  World world(options);
  const Topics topics = Extract(world);

  EXPECT_LT(naive_ids.size(), 300u);
  EXPECT_EQ(Shown(topics, "customers"), Living(world, "customers"));
  EXPECT_LE(in_flight_max_, 4);
  EXPECT_EQ(world.Judge(options.start + 1h, {.highlevel = false, .rest = false}).provoked_429, 0);
}

TEST_F(TrapTest, Trap22A422IsNotAlwaysOurMistake) {
  World world(WorldOptionsWith(20, 100));
  const std::string block =
      R"([{"target":"chargify","match":"/customers.json","kind":"account_block","count":2}])";
  Client client = ClientOf(world);
  ASSERT_TRUE(world.SetFaults(block).ok());
  const naive::Ids naive_ids = naive::CustomersSkippingRefusedPages(client.fetch(), 20);

  ASSERT_TRUE(world.SetFaults(block).ok());
  const Topics topics = Extract(world);

  EXPECT_LT(naive_ids.size(), 100u);
  EXPECT_EQ(Shown(topics, "customers"), Living(world, "customers"));
}

TEST_F(TrapTest, Trap22AClosedAccountIsShownAtTheConnection) {
  World world(WorldOptionsWith(20, 10));
  ASSERT_TRUE(world.SetFaults(R"([{"target":"chargify","match":"","kind":"account_block"}])").ok());
  ExtractorBench bench(SetupFor(world), HandlerOf(world));
  bench.Start();
  bench.RunFor(1min);

  ASSERT_EQ(bench.status().connections_size(), 1);
  EXPECT_THAT(bench.status().connections(0).problem(), HasSubstr("HTTP 422"));
  EXPECT_FALSE(bench.status().connections(0).credential_refused());

  ASSERT_TRUE(world.SetFaults("[]").ok());
  EXPECT_TRUE(bench.RunUntilSettled(20min));
  EXPECT_EQ(bench.status().connections(0).problem(), "");
}

TEST_F(TrapTest, Trap23ARefusalIsPlainTextAndNotForGood) {
  World world(WorldOptionsWith(21, 100));
  const std::string once =
      R"([{"target":"chargify","match":"page=3","kind":"unauthorized","count":1}])";
  Client client = ClientOf(world);
  ASSERT_TRUE(world.SetFaults(once).ok());
  const naive::Ids naive_ids = naive::CustomersUntilFirst401(client.fetch(), 20);

  ASSERT_TRUE(world.SetFaults(once).ok());
  page_size_ = 20;
  const Topics topics = Extract(world);

  EXPECT_LT(naive_ids.size(), 100u);
  EXPECT_EQ(Shown(topics, "customers"), Living(world, "customers"));
  EXPECT_EQ(statuses_.connections(0).problem(), "");
}

TEST_F(TrapTest, Trap24EveryTwoHundredIsASuccess) {
  World world(WorldOptionsWith(22, 100));
  const SiteHandler created = [site = HandlerOf(world)](WallTime now,
                                                        const http::Request& request) {
    SiteAnswer answer = site(now, request);
    if (answer.status == 200 && request.url.find("&page=2&") != std::string::npos) {
      answer.status = 201;
    }
    return answer;
  };
  Client client = ClientOf(world, created);
  const naive::Ids naive_ids = naive::CustomersOf200Only(client.fetch(), 20);

  page_size_ = 20;
  const Topics topics = Extract(world, created);

  EXPECT_LT(naive_ids.size(), 100u);
  EXPECT_EQ(Shown(topics, "customers"), Living(world, "customers"));
}

TEST_F(TrapTest, Trap26WhatChangedIsShownLater) {
  simulator::WorldOptions options = WorldOptionsWith(23, 40);
  options.mutation_rate = 5;
  options.mutations_total = 300;
  options.visibility_lag = 10s;
  World for_naive(options);
  Client client = ClientOf(for_naive);
  naive::Documents kept;
  WallTime last_poll = options.start - 24h * 3000;
  for (int i = 0; i < 120; ++i) {
    client.now += 1s;
    naive::ChangesSinceLastPoll(client.fetch(), last_poll, client.now, kept);
  }
  int stale = 0;
  for (const auto& [key, document] : TruthOf(for_naive).entities) {
    if (!document || !key.starts_with("customers/")) continue;
    if (Comparable(kept[key.substr(10)]) != *document) ++stale;
  }

  World world(options);
  ExtractorBench bench(SetupFor(world), HandlerOf(world));
  bench.Start();
  ASSERT_TRUE(bench.RunUntil([&] { return world.finished_mutating(); }, 10min));
  ASSERT_TRUE(bench.RunUntilSettled(10min));

  EXPECT_GT(stale, 0);
  ExpectMirrorIsTruth(world, bench.Read());
}

TEST_F(TrapTest, Trap29StatesThatNobodyHasListedPassThrough) {
  World world(WorldOptionsWith(24, 30));
  naive::Ids ids = Living(world, "subscriptions");
  ASSERT_TRUE(
      world.Set(world.options().start, "subscriptions", *ids.begin(), R"({"state":"assessing"})")
          .ok());
  ASSERT_TRUE(
      world
          .Set(world.options().start, "subscriptions", *ids.rbegin(), R"({"state":"on_probation"})")
          .ok());
  Client client = ClientOf(world);
  client.now += 5s;

  const naive::Ids naive_ids = naive::SubscriptionsOfKnownStates(client.fetch());
  const Topics topics = Extract(world);

  EXPECT_FALSE(naive_ids.contains(*ids.begin()));
  EXPECT_FALSE(naive_ids.contains(*ids.rbegin()));
  EXPECT_THAT(DocumentOf(topics, "subscriptions", *ids.begin()), HasSubstr("assessing"));
  EXPECT_THAT(DocumentOf(topics, "subscriptions", *ids.rbegin()), HasSubstr("on_probation"));
}

TEST_F(TrapTest, Trap34EuropeanSitesHaveAnotherHost) {
  World world(WorldOptionsWith(25, 10));
  const SiteHandler europe = [site = HandlerOf(world)](WallTime now, const http::Request& request) {
    if (!request.url.starts_with("https://acme.ebilling.maxio.com/")) {
      return SiteAnswer{.delivery = http::Delivery::kNotSent, .status = 0};
    }
    return site(now, request);
  };
  ExtractorBench::Setup setup = SetupFor(world);
  setup.url = "";
  setup.settings = {{"subdomain", "acme"}, {"region", "eu"}};
  ExtractorBench bench(setup, europe);
  bench.Start();

  Client client = ClientOf(world, [&](WallTime now, const http::Request& request) {
    http::Request other = request;
    other.url = "https://" + naive::HostOf("acme") + TargetOf(request.url);
    return europe(now, other);
  });

  EXPECT_TRUE(naive::CustomersPageByPage(client.fetch(), 200).empty());
  EXPECT_TRUE(bench.RunUntilSettled(10min));
  EXPECT_EQ(Shown(bench.Read(), "customers"), Living(world, "customers"));
}

TEST_F(TrapTest, Trap35DocumentsDriftWithoutNotice) {
  World world(WorldOptionsWith(26, 30));
  const naive::Ids ids = Living(world, "subscriptions");
  ASSERT_TRUE(world
                  .Set(world.options().start, "subscriptions", *ids.begin(),
                       R"({"product":null,"vat_status":{"a":[1,"2",null]},"price":1241.50})")
                  .ok());
  Client client = ClientOf(world);
  client.now += 5s;

  const naive::Documents naive_documents = naive::SubscriptionsByStruct(client.fetch());
  const Topics topics = Extract(world);

  EXPECT_FALSE(naive_documents.contains(*ids.begin()));
  EXPECT_EQ(naive_documents.size() + 1, ids.size()) << "it takes all others";
  const std::string document = DocumentOf(topics, "subscriptions", *ids.begin());
  EXPECT_THAT(document, HasSubstr(R"("vat_status":{"a":[1,"2",null]})"));
  EXPECT_THAT(document, HasSubstr("1241.50")) << "numbers stay as they were written";
  EXPECT_EQ(Shown(topics, "subscriptions"), ids);
}

TEST_F(TrapTest, Trap42MoreRowsThanTheSiteGivesIsNotTheLastPage) {
  World world(WorldOptionsWith(27, 450));
  Client client = ClientOf(world);
  const naive::Ids naive_ids = naive::CustomersUntilShortPage(client.fetch(), 500);
  // Another site clamps to what nobody has documented.
  const SiteHandler clamped = [site = HandlerOf(world)](WallTime now,
                                                        const http::Request& request) {
    http::Request other = request;
    const std::size_t at = request.url.find("per_page=");
    if (at != std::string::npos && std::stoi(request.url.substr(at + 9)) > 70) {
      std::size_t end = at + 9;
      while (end < request.url.size() && request.url[end] != '&') ++end;
      other.url = request.url.substr(0, at) + "per_page=70" + request.url.substr(end);
    }
    return site(now, other);
  };

  EXPECT_EQ(naive_ids.size(), 200u);
  EXPECT_EQ(Shown(Extract(world), "customers"), Living(world, "customers"));
  EXPECT_EQ(Shown(Extract(world, clamped), "customers"), Living(world, "customers"));
}

}  // namespace
}  // namespace tributary::extractor::testing

#include "tests/simulation/trouble.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "libs/ids/keys.h"
#include "libs/json/value.h"

namespace tributary::simulation {

using eventlog::Topic;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

namespace {

constexpr std::uint64_t kRareSalt = 0x7261726521;

}  // namespace

void Trouble::Plan(Instant end, double times) {
  begin_ = s_.time.now().steady + seconds(2);
  end_ = end - seconds(3);
  times_ = times;
  // Of its own: where none of it strikes, a history is as it was before there was any.
  rare_ = eventlog::testing::SeededRandom(eventlog::testing::SeededRandom(s_.random).Next() ^
                                          kRareSalt);
  // In some histories hardly anything goes well.
  more_ = Percent(30) ? 3 : 1;
  PlanNetwork();
  const auto repeat = [this](std::uint64_t count, void (Trouble::*plan)()) {
    for (; count > 0; --count) (this->*plan)();
  };
  repeat(Amount(4), &Trouble::PlanCrash);
  repeat(Amount(2), &Trouble::PlanSuspension);
  repeat(Amount(2), &Trouble::PlanEviction);
  repeat(Amount(2), &Trouble::PlanStall);
  repeat(Amount(1), &Trouble::PlanFailedProduce);
  repeat(Amount(2), &Trouble::PlanDrain);
  repeat(Amount(1), &Trouble::PlanOldDisk);
  repeat(Amount(1), &Trouble::PlanClockJump);
  repeat(Amount(1), &Trouble::PlanFlapping);
  if (is(Theme::kEvents)) repeat(2, &Trouble::PlanTrials);
  if (is(Theme::kTakeover)) repeat(3, &Trouble::PlanLateRenewal);
  if (is(Theme::kCompaction)) PlanSlowRebuild();
  PlanNewRevision();
  PlanInterruption();
  PlanPerson();
  PlanLoss();
  PlanOtherFields();
  PlanSharedEmail();
}

void Trouble::End() {
  is_over_ = true;
  SetOtherFields(false);
  s_.network.SetFaults({});
  for (const std::unique_ptr<simulator::World>& world : s_.worlds) {
    world->StopMutating();
    static_cast<void>(world->SetFaults("[]"));
  }
  for (const std::unique_ptr<Node>& node : s_.nodes) {
    node->CrashAfter(std::int64_t{1} << 60);
    node->Resume();
    if (node->alive()) s_.log.Recover(node->member());
  }
}

std::uint64_t Trouble::Amount(std::uint64_t some) {
  const auto most = static_cast<std::uint64_t>(static_cast<double>(2 * some * more_) * times_);
  return Percent(30) ? 0 : s_.random.Below(most + 1);
}

Instant Trouble::Sometime() { return begin_ + Between(Duration::zero(), end_ - begin_); }

Node& Trouble::AnyNode() {
  if (is(Theme::kEvents) || is(Theme::kRemap) || is(Theme::kCompaction)) {
    if (Percent(70)) return AnyOf("transformer");
  }
  if (is(Theme::kSource) && Percent(70)) return AnyOf("extractor");
  // Half of what goes wrong hits a loader: most rules are about it.
  if (Percent(50)) return AnyOf("loader");
  return *s_.nodes[s_.random.Below(s_.nodes.size())];
}

Node& Trouble::AnyOf(std::string_view service) {
  std::vector<Node*> nodes;
  for (const std::unique_ptr<Node>& node : s_.nodes) {
    if (node->service() == service) nodes.push_back(node.get());
  }
  return *nodes[s_.random.Below(nodes.size())];
}

Node* Trouble::Find(std::string_view sender) {
  for (const std::unique_ptr<Node>& node : s_.nodes) {
    if (node->alive() && node->name() == sender) return node.get();
  }
  return nullptr;
}

void Trouble::KillAndRestart(Node& node, std::string_view why, std::uint32_t loses_disk_percent) {
  if (!node.alive()) return;
  node.Kill(why);
  const Disk disk = Percent(loses_disk_percent) ? Disk::kLost : Disk::kKept;
  s_.time.After(Between(milliseconds(10), 2 * s_.session_timeout),
                [&node, disk] { node.Start(disk); });
}

void Trouble::Suspend(Node& node, Duration length) {
  if (!node.alive() || node.suspended()) return;
  ++counts_.suspensions;
  node.Suspend();
  s_.time.After(length, [&node, life = node.life()] {
    if (node.life() == life) node.Resume();
  });
}

void Trouble::Evict(Node& node, Duration told_after) {
  if (!node.alive()) return;
  ++counts_.evictions;
  s_.coordinators.at(node.service()).Evict(node, told_after);
}

void Trouble::Stall(Node& node, Duration length) {
  if (!node.alive()) return;
  ++counts_.stalls;
  s_.trace.Line(node.name(), "reads nothing for a while");
  s_.log.StallReading(node.member(), s_.time.now().steady + length);
}

// ---- wires and worlds ----

void Trouble::PlanNetwork() {
  NetworkFaults network;
  const auto per_mille = [this](std::uint64_t most) {
    return static_cast<std::uint32_t>(Percent(20) ? 0 : s_.random.Below(most * more_));
  };
  network.connect_fails = per_mille(30);
  network.connect_slow = per_mille(is(Theme::kHandOver) ? 200 : 40);
  network.answer_lost = per_mille(60);
  network.answer_late = per_mille(60);
  network.request_late = per_mille(100);
  network.pauses = per_mille(is(Theme::kTakeover) ? 150 : 50);
  if (breaks(RuleBreak::kPauseBeyondTheBound)) network.pause_max = seconds(30);
  s_.network.SetFaults(network);
  s_.network.OnMoment([this](const Network::Moment& moment) { OnMoment(moment); });
  for (const std::unique_ptr<simulator::World>& world : s_.worlds) {
    const absl::Status status = world->SetFaults(WorldFaults());
    if (!status.ok()) problems_.push_back("faults: " + std::string(status.message()));
  }
}

std::string Trouble::WorldFaults() {
  std::string out = "[";
  const auto add = [&](const char* target, const char* kind, std::uint64_t percent_max,
                       const std::string& more = "") {
    const std::uint64_t percent = s_.random.Below(percent_max + 1);
    if (percent == 0) return;
    if (out.size() > 1) out += ",";
    out += std::string(R"({"target":")") + target + R"(","kind":")" + kind +
           R"(","probability":0.)" + (percent < 10 ? "0" : "") + std::to_string(percent) + more +
           "}";
  };
  const auto delay = [](Duration length) {
    return R"(,"delay_ms":)" + std::to_string(length / milliseconds(1));
  };
  // What the wire takes and this stay below L.
  const std::string late = delay(s_.settle * 9 / 20);
  const bool much = is(Theme::kLostRecords);
  for (const char* const target : {"highlevel", "rest"}) {
    add(target, "error", 4);
    add(target, "error_after_apply", 4);
    add(target, "unavailable_after_apply", 4, R"(,"retry_after":3)");
    add(target, "reset_before", 3);
    add(target, "reset_after", 4);
    add(target, "apply_late", much ? 25 : 5, late);
    if (s_.beyond_settle_max > Duration::zero()) {
      add(target, "apply_late", 15, delay(Between(s_.settle, s_.beyond_settle_max)));
    }
    add(target, "hang", 2);
    add(target, "hang_after_apply", 2);
    add(target, "truncate", 3);
    add(target, "malformed", 3);
    add(target, "html", 2);
    add(target, "empty", 2);
    add(target, "accepted", 3);
    add(target, "throttle", 4, R"(,"retry_after":2)");
    add(target, "unauthorized", 2);
    add(target, "slow", 5, delay(milliseconds(400)));
  }
  add("chargify", "error", 4);
  add("chargify", "reset_before", 4);
  add("chargify", "truncate", 4);
  add("chargify", "malformed", 3);
  add("chargify", "html", 2);
  add("chargify", "throttle", 2);
  add("chargify", "unauthorized", 1);
  add("chargify", "slow", 10, delay(milliseconds(1500)));
  return out + "]";
}

// What happens in the few moments in which most can go wrong.
void Trouble::OnMoment(const Network::Moment& moment) {
  if (is_over_) return;
  Node* const node = Find(moment.sender);
  if (node == nullptr) return;
  const auto at = Between(Duration::zero(), moment.length);
  if (moment.is_checked) {
    // Between the check and the bytes: the successor begins, and may know nothing of this request.
    if (!Percent(is(Theme::kTakeover) ? 50 : 10)) return;
    const Duration told_after = Between(milliseconds(1), seconds(10));
    const bool stalls = Percent(50);
    s_.time.After(at / 4, [this, node, life = node->life(), told_after, stalls] {
      if (is_over_ || node->life() != life) return;
      if (stalls) Stall(*node, told_after);
      Evict(*node, told_after);
    });
  } else {
    // Between what the stage decided and the check.
    if (!Percent(is(Theme::kHandOver) ? 30 : 10)) return;
    const Duration length = Between(milliseconds(100), seconds(25));
    const bool evicts = Percent(80);
    s_.time.After(at, [this, node, life = node->life(), length, evicts] {
      if (is_over_ || node->life() != life) return;
      Suspend(*node, length);
      if (evicts) Evict(*node, Between(milliseconds(1), seconds(10)));
    });
  }
}

// ---- processes ----

void Trouble::PlanCrash() {
  Node& node = AnyNode();
  const bool at_a_step = Percent(60);
  const auto steps = static_cast<std::int64_t>(1 + s_.random.Below(30));
  const bool twice = Percent(25);
  const std::uint32_t loses_disk = is(Theme::kCompaction) ? 80 : 30;
  s_.time.At(Sometime(), [this, &node, at_a_step, steps, twice, loses_disk] {
    if (!node.alive()) return;
    if (at_a_step) {
      // The node starts again by itself.
      node.CrashAfter(steps, Percent(loses_disk) ? Disk::kLost : Disk::kKept);
    } else {
      KillAndRestart(node, "kill -9", loses_disk);
    }
    if (!twice) return;
    // Two owners in a row within L: whoever may be the successor dies too.
    s_.time.After(Between(milliseconds(10), 2 * s_.session_timeout),
                  [this, service = node.service()] {
                    if (is_over_) return;
                    for (const std::unique_ptr<Node>& other : s_.nodes) {
                      if (other->service() != service) continue;
                      KillAndRestart(*other, "kill -9, right after another");
                    }
                  });
  });
}

void Trouble::PlanSuspension() {
  Node& node = AnyNode();
  const Duration length =
      Percent(30) ? Between(milliseconds(1), s_.pause_bound) : Between(s_.pause_bound, seconds(25));
  const bool evicts = Percent(70);
  const Duration evict_after = Between(milliseconds(1), length);
  s_.time.At(Sometime(), [this, &node, length, evicts, evict_after] {
    if (!node.alive() || node.suspended()) return;
    Suspend(node, length);
    if (!evicts) return;
    s_.time.After(evict_after, [this, &node, life = node.life()] {
      if (!node.alive() || node.life() != life || !node.suspended()) return;
      Evict(node, Between(milliseconds(1), seconds(10)));
    });
  });
}

void Trouble::PlanEviction() {
  Node& node = AnyNode();
  const Duration told_after = Between(milliseconds(1), seconds(12));
  // Its fetches come late too, so that it does not see its successor's fence.
  const bool stalls = Percent(50);
  s_.time.At(Sometime(), [this, &node, told_after, stalls] {
    if (!node.alive()) return;
    if (stalls) Stall(node, told_after);
    Evict(node, told_after);
  });
}

void Trouble::PlanStall() {
  Node& node = AnyNode();
  const Duration length = Between(milliseconds(100), seconds(15));
  s_.time.At(Sometime(), [this, &node, length] { Stall(node, length); });
}

void Trouble::PlanFailedProduce() {
  Node& node = AnyNode();
  const bool lands = Percent(50);
  s_.time.At(Sometime(), [this, &node, lands] {
    if (!node.alive()) return;
    s_.trace.Line(node.name(), "its next produce will fail");
    s_.log.FailNextProduce(node.member(), lands);
  });
}

void Trouble::PlanDrain() {
  Node& node = AnyNode();
  s_.time.At(Sometime(), [this, &node] {
    if (!node.alive() || node.suspended()) return;
    ++counts_.drains;
    s_.trace.Line(node.name(), "SIGTERM");
    node.Drain();
    WaitForDrain(node, node.life(), s_.time.now().steady + seconds(40));
  });
}

void Trouble::WaitForDrain(Node& node, std::int64_t life, Instant deadline) {
  s_.time.After(milliseconds(200), [this, &node, life, deadline] {
    if (!node.alive() || node.life() != life) return;
    if (node.stage()->drained() || s_.time.now().steady >= deadline) {
      if (!node.stage()->drained()) problems_.push_back(node.instance() + " does not drain");
      KillAndRestart(node, "has drained");
    } else {
      WaitForDrain(node, life, deadline);
    }
  });
}

// Rule 11: a renewal is granted, then its member is thrown out, and the answer comes when the
// successor begins. Both have the same to send, and nothing else tells the old one: it does not see
// its successor's entries.
void Trouble::PlanLateRenewal() {
  Node& node = AnyOf("loader");
  const Duration late = s_.lease + s_.pause_bound + Between(Duration::zero(), seconds(2));
  s_.time.At(Sometime(), [this, &node, late] {
    if (!node.alive()) return;
    s_.log.AnswerNextRenewalLate(node.member(), late, [this, &node, late, life = node.life()] {
      s_.time.After(Duration::zero(), [this, &node, late, life] {
        if (is_over_ || node.life() != life) return;
        s_.trace.Line(node.name(), "its renewal is answered late");
        s_.log.StallReading(node.member(), Topic::kRecords, s_.time.now().steady + late + s_.lease);
        Evict(node, late + s_.lease);
        for (const std::unique_ptr<simulator::World>& world : s_.worlds) {
          world->Mutate(s_.time.now().wall, 6);
        }
      });
    });
  });
}

// Rule 9: a transformer without its disk reads `changes` from its start and is behind, while the
// subscriptions of a customer change faster than that: the newest is always behind the end that was
// sampled. Without the lag of compaction it would take this customer for one who has none.
void Trouble::PlanSlowRebuild() {
  simulator::World& world = *s_.worlds[s_.random.Below(s_.worlds.size())];
  const Duration late = Between(seconds(9), seconds(13));
  s_.time.At(Sometime(), [this, &world, late] {
    const std::map<std::string, std::string> customers = world.NewestDocuments("customers");
    if (is_over_ || customers.empty()) return;
    const std::string customer =
        std::next(customers.begin(), static_cast<std::ptrdiff_t>(s_.random.Below(customers.size())))
            ->first;
    for (const std::unique_ptr<Node>& node : s_.nodes) {
      if (node->service() != "transformer" || !node->alive()) continue;
      node->Kill("kill -9, and its disk is lost");
      s_.time.After(seconds(5), [this, late, raw = node.get()] {
        raw->Start(Disk::kLost);
        if (is_over_) return;
        s_.trace.Line(raw->name(), "reads changes late");
        s_.log.ReadLate(raw->member(), Topic::kChanges, late);
      });
    }
    // What it knows is newer than what it knew, without the subscriptions too.
    static_cast<void>(
        world.Set(s_.time.now().wall, "customers", customer, R"({"organization":"Slow"})"));
    for (int i = 1; i < 45; ++i) {
      s_.time.After(seconds(i), [this, &world, customer, i] {
        if (is_over_) return;
        for (const auto& [id, document] : world.NewestDocuments("subscriptions")) {
          if (document.find(R"("customer":{"id":)" + customer + "}") == document.npos) continue;
          // Gone meanwhile: nothing.
          static_cast<void>(world.Set(s_.time.now().wall, "subscriptions", id,
                                      R"({"balance_in_cents":)" + std::to_string(i) + "}"));
        }
      });
    }
  });
}

// A disk is copied, and later a process of the service comes back with the copy: from a backup,
// or from another machine.
void Trouble::PlanOldDisk() {
  Node& node = AnyNode();
  const bool is_of_another = Percent(30);
  const Duration age = Between(seconds(5), minutes(2));
  s_.time.At(Sometime(), [this, &node, is_of_another, age] {
    Node* to = &node;
    for (const std::unique_ptr<Node>& other : s_.nodes) {
      if (is_of_another && other.get() != &node && other->service() == node.service()) {
        to = other.get();
      }
    }
    to->SetBackup(node.CopyDisk());
    s_.time.After(age, [this, to] {
      if (!to->alive() || is_over_) return;
      ++counts_.old_disks;
      to->Kill("kill -9, and its disk comes from a backup");
      s_.time.After(Between(milliseconds(10), 2 * s_.session_timeout),
                    [to] { to->Start(Disk::kOld); });
    });
  });
}

// Rule 11: only the wall clock can be set.
void Trouble::PlanClockJump() {
  Node& node = AnyNode();
  const Duration by = Between(-minutes(3), minutes(3));
  s_.time.At(Sometime(), [this, &node, by] {
    ++counts_.clock_jumps;
    s_.trace.Line(node.instance(), "its wall clock is set");
    node.SetClock(by);
  });
}

// ---- the log and the source ----

// Section 0 and rules 12, 35, 45: topics are lost, and a person orders their founding.
void Trouble::PlanLoss() {
  const bool is_theme =
      is(Theme::kLostRecords) || is(Theme::kLostChanges) || is(Theme::kDuplicates);
  if (!is_theme && !Percent(15)) return PlanRareLoss();
  static constexpr std::array kTopics = {Topic::kRecords, Topic::kRecords, Topic::kChanges,
                                         Topic::kChanges, Topic::kTenants, Topic::kCursors};
  std::vector<Topic> topics = {kTopics[s_.random.Below(kTopics.size())]};
  if (is(Theme::kLostRecords) || is(Theme::kDuplicates)) topics = {Topic::kRecords};
  if (is(Theme::kLostChanges)) topics = {Topic::kChanges};
  const Topic other = kTopics[s_.random.Below(kTopics.size())];
  if (Percent(20) && other != topics.front()) topics.push_back(other);
  // Soon enough that what was under way still is, or not.
  const Duration until_order =
      Between(milliseconds(100), is(Theme::kLostRecords) ? seconds(2) : seconds(15));
  Lose(std::move(topics), Sometime(), until_order);
}

// The same of what is derived from the others, and of streams.
void Trouble::PlanRareLoss() {
  static constexpr std::array kTopics = {Topic::kCommands, Topic::kCommands,      Topic::kEvents,
                                         Topic::kEvents,   Topic::kNotifications, Topic::kOutcomes};
  if (!rare_.Percent(12)) return;
  std::vector<Topic> topics = {kTopics[rare_.Below(kTopics.size())]};
  const Topic other = kTopics[rare_.Below(kTopics.size())];
  if (rare_.Percent(20) && other != topics.front()) topics.push_back(other);
  const Instant at = begin_ + rare_.Between(Duration::zero(), end_ - begin_);
  Lose(std::move(topics), at, rare_.Between(milliseconds(100), seconds(15)));
}

void Trouble::Lose(std::vector<Topic> topics, Instant at, Duration until_order) {
  s_.time.At(at, [this, topics = std::move(topics), until_order] {
    ++counts_.lost_topics;
    for (const Topic topic : topics) {
      s_.trace.Line("log", "loses " + std::string(eventlog::Name(topic)));
      for (eventlog::Partition p = 0; p < s_.partitions; ++p) s_.log.Lose(topic, p);
      s_.checks.OnLost(topic);
      mirror_was_lost_ = mirror_was_lost_ || topic == Topic::kChanges;
    }
    s_.time.After(until_order, [this] {
      s_.trace.Line("log", "is founded anew by order");
      // As control has it: the Unix time, but later than the last one.
      newest_generation_ =
          std::max(std::max(newest_generation_, s_.generation) + 1,
                   std::chrono::floor<seconds>(s_.time.now().wall).time_since_epoch().count());
      s_.log.FoundAnew(breaks(RuleBreak::kGenerationStays) ? s_.generation : newest_generation_);
      if (!breaks(RuleBreak::kOldCursorsCount)) return;
      // What they have read they know to be old: let them read it again.
      for (const std::unique_ptr<Node>& node : s_.nodes) {
        if (node->service() != "extractor" || !node->alive()) continue;
        node->Kill("kill -9");
        node->Start(Disk::kLost);
      }
    });
  });
}

// Contents A, B, A of one customer (rule 20).
void Trouble::PlanFlapping() {
  simulator::World& world = *s_.worlds[s_.random.Below(s_.worlds.size())];
  const std::map<std::string, std::string> customers = world.NewestDocuments("customers");
  if (customers.empty()) return;
  const std::string id =
      std::next(customers.begin(), static_cast<std::ptrdiff_t>(s_.random.Below(customers.size())))
          ->first;
  Instant at = Sometime();
  for (int i = 0; i < 4; ++i) {
    s_.time.At(at, [this, &world, id, is_even = i % 2 == 0] {
      if (is_over_) return;
      // Gone meanwhile: nothing.
      static_cast<void>(
          world.Set(s_.time.now().wall, "customers", id,
                    is_even ? R"({"organization":"Even"})" : R"({"organization":"Odd"})"));
    });
    at += Between(milliseconds(500), seconds(9));
  }
}

// Trials begin while no transformer runs, and end before one does (rule 37).
void Trouble::PlanTrials() {
  simulator::World& world = *s_.worlds[s_.random.Below(s_.worlds.size())];
  s_.time.At(Sometime(), [this, &world] {
    for (const std::unique_ptr<Node>& node : s_.nodes) {
      if (node->service() != "transformer" || !node->alive()) continue;
      node->Kill("kill -9, and it stays away");
      s_.time.After(seconds(11), [raw = node.get()] { raw->Start(Disk::kKept); });
    }
    world.Mutate(s_.time.now().wall, 10);
    s_.time.After(seconds(9), [this, &world] {
      if (is_over_) return;
      for (const auto& [id, document] : world.NewestDocuments("subscriptions")) {
        if (document.find(R"("state":"trialing")") == document.npos) continue;
        static_cast<void>(
            world.Set(s_.time.now().wall, "subscriptions", id, R"({"state":"active"})"));
      }
    });
  });
}

}  // namespace tributary::simulation

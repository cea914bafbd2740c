#include "tests/simulation/outages.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "libs/json/value.h"

namespace tributary::simulation {
namespace {

using eventlog::Topic;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::array<std::pair<Outage, std::string_view>, 11> kNames = {
    {{Outage::kNone, "none"},
     {Outage::kLog, "log"},
     {Outage::kControl, "control"},
     {Outage::kDisks, "disks"},
     {Outage::kOffsets, "offsets"},
     {Outage::kEvents, "events"},
     {Outage::kPeople, "people"},
     {Outage::kRebalances, "rebalances"},
     {Outage::kTargets, "targets"},
     {Outage::kLateCommit, "late-commit"},
     {Outage::kLateCommitWithoutMark, "late-commit-without-mark"}}};
constexpr std::array<std::string_view, 3> kStages = {"extractor", "transformer", "loader"};
constexpr int kTargetsAwayDays = 10;

}  // namespace

std::optional<Outage> OutageOf(std::string_view name) {
  for (const auto& [outage, known] : kNames) {
    if (name == known) return outage;
  }
  return std::nullopt;
}

std::string_view NameOf(Outage outage) {
  for (const auto& [known, name] : kNames) {
    if (outage == known) return name;
  }
  return "";
}

void Outages::Plan(Outage outage, Instant begin, Instant end) {
  if (outage == Outage::kNone) return;
  s_.time.At(begin, [this, outage, end] {
    switch (outage) {
      case Outage::kNone:
        return;
      case Outage::kLog:
        s_.trace.Line("log", "is away for an hour");
        s_.log.BeAwayFor(hours(1));
        return;
      case Outage::kControl:
        return LoseControl();
      case Outage::kDisks:
        return LoseDisks();
      case Outage::kOffsets:
        return LoseOffsets();
      case Outage::kEvents:
        return LoseEvents();
      case Outage::kPeople:
        s_.checks.PeopleMeddle();
        return Meddle(end);
      case Outage::kRebalances:
        return Rebalance(end);
      case Outage::kTargets:
        return LoseTargets();
      case Outage::kLateCommit:
      case Outage::kLateCommitWithoutMark:
        s_.time.After(seconds(30),
                      [this, end, outage] { CommitLate(end, outage == Outage::kLateCommit); });
        return;
    }
  });
}

void Outages::ForEach(std::string_view service, const std::function<void(Node&)>& each) {
  for (const std::unique_ptr<Node>& node : s_.nodes) {
    if (node->service() == service) each(*node);
  }
}

void Outages::KillAll(std::string_view service, std::string_view why, Duration away, Disk disk) {
  ForEach(service, [&](Node& node) {
    node.Kill(why);
    s_.time.After(away, [&node, disk] { node.Start(disk); });
  });
}

void Outages::LoseControl() {
  s_.trace.Line("control", "is down for a day");
  control_is_away_ = true;
  KillAll("control", "down for a day", hours(24), Disk::kKept);
  s_.time.After(hours(24), [this] { control_is_away_ = false; });
  s_.time.After(hours(12), [this] {
    for (const std::string_view service : kStages) {
      KillAll(service, "while control is down", seconds(5), Disk::kKept);
    }
  });
}

void Outages::LoseDisks() {
  Duration after{};
  for (const std::string_view service : {"extractor", "transformer", "loader", "control"}) {
    s_.time.After(after, [this, service] {
      KillAll(service, "with all disks of its service", seconds(5), Disk::kLost);
    });
    after += seconds(25);
  }
}

void Outages::LoseOffsets() {
  for (const std::string_view service : kStages) {
    KillAll(service, "for long", minutes(10), Disk::kKept);
    s_.log.ForgetCommits(service);
  }
}

void Outages::LoseEvents() {
  KillAll("transformer", "for long", minutes(1), Disk::kKept);
  s_.time.After(seconds(55), [this] {
    for (eventlog::Partition p = 0; p < s_.partitions; ++p) {
      const eventlog::Offset end = s_.log.end(Topic::kEvents, p);
      expired_unread_ += end - s_.log.committed("transformer", Topic::kEvents, p).value_or(0);
      s_.log.ExpireBefore(Topic::kEvents, p, end);
    }
  });
}

void Outages::CommitLate(Instant end, bool with_mark) {
  ForEach("transformer", [](Node& node) { node.Kill("for long"); });
  // What comes meanwhile nobody has handled when it is lost.
  s_.time.After(seconds(20), [this, end, with_mark] {
    std::map<eventlog::Partition, eventlog::Offset> positions;
    for (eventlog::Partition p = 0; p < s_.partitions; ++p) {
      const std::optional<eventlog::Offset> next =
          s_.log.committed("transformer", Topic::kEvents, p);
      const std::string mark = s_.log.mark("transformer", Topic::kEvents, p);
      s_.log.Lose(Topic::kEvents, p);
      if (!next) continue;
      s_.log.LandCommit("transformer", Topic::kEvents, p, *next, with_mark ? mark : "");
      // Nothing hides in front of the first.
      if (*next > 0) positions[p] = *next;
    }
    s_.trace.Line("log", "loses events, and gets commits of the lost ones");
    s_.checks.OnLost(Topic::kEvents);
    StartTransformersBeyond(positions, end - seconds(20));
  });
}

void Outages::StartTransformersBeyond(
    const std::map<eventlog::Partition, eventlog::Offset>& positions, Instant at_last) {
  const bool are_passed = std::ranges::all_of(positions, [this](const auto& position) {
    return s_.log.end(Topic::kEvents, position.first) > position.second;
  });
  if (are_passed || s_.time.now().steady >= at_last) {
    if (are_passed && !positions.empty()) ++positions_outgrown_;
    ForEach("transformer", [](Node& node) { node.Start(Disk::kKept); });
    return;
  }
  s_.time.After(seconds(1),
                [this, positions, at_last] { StartTransformersBeyond(positions, at_last); });
}

void Outages::Rebalance(Instant end) {
  if (s_.time.now().steady >= end) return;
  Node& node = *s_.nodes[s_.random.Below(s_.nodes.size())];
  if (node.alive() && s_.random.Percent(50)) {
    s_.coordinators.at(node.service()).Evict(node, s_.random.Between(seconds(0), seconds(3)));
  } else if (node.alive() && s_.random.Percent(50)) {
    node.Drain();
    s_.time.After(seconds(2), [this, &node, life = node.life()] {
      if (!node.alive() || node.life() != life) return;
      node.Kill("has drained, or not");
      s_.time.After(s_.random.Between(seconds(0), seconds(6)),
                    [&node] { node.Start(Disk::kKept); });
    });
  } else if (node.alive()) {
    node.Kill("kill -9");
    s_.time.After(s_.random.Between(seconds(0), seconds(6)), [&node] { node.Start(Disk::kKept); });
  }
  s_.time.After(seconds(3), [this, end] { Rebalance(end); });
}

// People at a CRM know nothing of us: they write another name, take our tags away, delete.
void Outages::Meddle(Instant end) {
  if (s_.time.now().steady >= end) return;
  s_.time.After(s_.random.Between(seconds(1), seconds(8)), [this, end] { Meddle(end); });
  const std::size_t at = s_.random.Below(s_.worlds.size());
  simulator::World& world = *s_.worlds[at];
  const absl::StatusOr<json::Value> records = json::Parse(world.Records());
  const json::Array& contacts = *records->Find("highlevel")->Find("contacts")->array();
  if (contacts.empty()) return;
  const json::Value& contact = contacts[s_.random.Below(contacts.size())];
  const std::string path = "/contacts/" + *contact.Find("id")->string();
  http::Request request;
  request.headers = {{"Authorization", "Bearer " + world.access().highlevel_token},
                     {"Version", "2021-07-28"}};
  switch (s_.random.Below(3)) {
    case 0:
      request.method = "DELETE";
      request.url = path;
      break;
    case 1:
      request.method = "PUT";
      request.url = path;
      request.body = R"({"firstName":"By hand"})";
      break;
    default:
      request.method = "DELETE";
      request.url = path + "/tags";
      request.body = R"({"tags":["chargify:active","chargify:trialing","chargify:canceled"]})";
      break;
  }
  // Who writes the same again and again is shown and left alone (LoaderSweepTest).
  if (!meddled_.insert(request.method + request.url).second) return;
  const simulator::Answer answer =
      world.Handle(s_.time.now().wall, simulator::Target::kHighLevel, request);
  if (answer.status != 200) return;
  ++deeds_;
  s_.trace.Line("world-" + std::to_string(at),
                "a person: " + request.method + " " + request.url + " " + request.body);
}

void Outages::LoseTargets() {
  static constexpr std::array kKinds = {"hang", "reset_before", "error", "unavailable", "html"};
  simulator::World& world = *s_.worlds.front();
  for (int day = 0; day <= kTargetsAwayDays; ++day) {
    s_.time.After(hours(24) * day, [this, &world, day] {
      s_.trace.Line("world-0", "its CRMs are away, day " + std::to_string(day));
      std::string faults;
      for (const char* const target : {"highlevel", "rest"}) {
        faults += (faults.empty() ? "" : ",") + std::string(R"({"target":")") + target +
                  R"(","kind":")" + kKinds[static_cast<std::size_t>(day) % kKinds.size()] + R"("})";
      }
      static_cast<void>(world.SetFaults(day == kTargetsAwayDays ? "[]" : "[" + faults + "]"));
    });
  }
}

}  // namespace tributary::simulation

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "libs/eventlog/testing/simulated_log.h"
#include "services/simulator/world.h"
#include "tests/simulation/checks.h"
#include "tests/simulation/coordinator.h"
#include "tests/simulation/network.h"
#include "tests/simulation/node.h"
#include "tests/simulation/rule_breaks.h"
#include "tests/simulation/tenants_publisher.h"

namespace tributary::simulation {

/// All that trouble can be made with.
struct Scene {
  eventlog::testing::VirtualTime& time;
  eventlog::testing::SeededRandom& random;
  Trace& trace;
  eventlog::testing::SimulatedLog& log;
  std::vector<std::unique_ptr<simulator::World>>& worlds;
  Network& network;
  std::vector<std::unique_ptr<Node>>& nodes;
  std::map<std::string, Coordinator>& coordinators;
  Checks& checks;
  Orders& orders;
  std::int32_t partitions = 0;
  std::int64_t generation = 0;
  /// L, V and P.
  Duration settle{};
  Duration lease{};
  Duration pause_bound{};
  /// Until a group notices that a member is dead.
  Duration session_timeout{};
  Theme theme = Theme::kNone;
  RuleBreak rule_break = RuleBreak::kNone;
  /// CRMs do what they were asked so late at the latest, beyond L; zero: within it.
  Duration beyond_settle_max{};
};

/// What goes wrong in a history, by its seed: how much of each kind (in many histories nothing of
/// some), when, and by the theme what follows what.
class Trouble {
 public:
  struct Counts {
    std::int64_t suspensions = 0;
    std::int64_t evictions = 0;
    std::int64_t drains = 0;
    std::int64_t stalls = 0;
    std::int64_t lost_topics = 0;
    std::int64_t old_disks = 0;
    std::int64_t clock_jumps = 0;
    /// What a person wanted dropped.
    std::int64_t drops = 0;
  };

  /// `scene` stays where it is.
  explicit Trouble(const Scene& scene) : s_(scene) {}

  /// `times`: how much of the usual.
  void Plan(Instant end, double times);
  void End();
  /// A person has what is parked tried again.
  void ReplayParked() { DecideParked(/*replays=*/true); }

  const Counts& counts() const { return counts_; }
  const std::vector<std::string>& problems() const { return problems_; }
  bool mirror_was_lost() const { return mirror_was_lost_; }

 private:
  bool breaks(RuleBreak what) const { return s_.rule_break == what; }
  bool is(Theme theme) const { return s_.theme == theme; }
  /// Nothing, some, or much of something.
  std::uint64_t Amount(std::uint64_t some);
  Instant Sometime();
  Duration Between(Duration min, Duration max) { return s_.random.Between(min, max); }
  bool Percent(std::uint32_t percent) { return s_.random.Percent(percent); }
  Node& AnyNode();
  Node& AnyOf(std::string_view service);
  Node* Find(std::string_view sender);
  void KillAndRestart(Node& node, std::string_view why, std::uint32_t loses_disk_percent = 30);
  void Suspend(Node& node, Duration length);
  void Evict(Node& node, Duration told_after);
  void Stall(Node& node, Duration length);

  void PlanNetwork();
  std::string WorldFaults();
  void OnMoment(const Network::Moment& moment);
  void PlanCrash();
  void PlanSuspension();
  void PlanEviction();
  void PlanStall();
  void PlanFailedProduce();
  void PlanDrain();
  void WaitForDrain(Node& node, std::int64_t life, Instant deadline);
  void PlanOldDisk();
  void PlanClockJump();
  void PlanNewRevision();
  void PlanInterruption();
  void PlanPerson();
  void DecideParked(bool replays);
  void ChangeMappings(const std::function<std::string(std::string_view)>& change);
  void SetOtherFields(bool are_other);
  void PlanOtherFields();
  void PlanSharedEmail();
  void PlanLoss();
  void PlanRareLoss();
  void Lose(std::vector<eventlog::Topic> topics, Instant at, Duration until_order);
  void PlanFlapping();
  void PlanTrials();
  void PlanLateRenewal();
  void PlanSlowRebuild();

  const Scene& s_;
  eventlog::testing::SeededRandom rare_{0};
  Instant begin_{};
  Instant end_{};
  bool is_over_ = false;
  std::uint64_t more_ = 1;
  double times_ = 1;
  Counts counts_;
  // 0: topics have not been founded anew yet.
  std::int64_t newest_generation_ = 0;
  bool mirror_was_lost_ = false;
  std::vector<std::string> problems_;
};

}  // namespace tributary::simulation

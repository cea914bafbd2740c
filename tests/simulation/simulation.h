#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/time/time.h"
#include "tests/simulation/rule_breaks.h"

namespace tributary::simulation {

/// Something is away for long, or is lost as a whole; instead of what goes wrong by chance.
enum class Outage : std::uint8_t {
  kNone,
  /// Nobody reaches the log for an hour.
  kLog,
  /// Control is down for a day, and the services start anew meanwhile.
  kControl,
  /// The disks of all processes of a service, one service after another.
  kDisks,
  /// What the groups of the stages have committed.
  kOffsets,
  /// All that is in `events` expires while no transformer runs.
  kEvents,
  /// People at a CRM change, delete and untag records every few seconds.
  kPeople,
  /// Somebody joins or leaves its group, in an orderly way or not, every three seconds.
  kRebalances,
  /// The CRMs of a tenant, for ten days and in every way.
  kTargets,
  /// `events` is lost while no transformer runs, the last commit of one lands in the new topic, and
  /// that has grown beyond it before one runs again.
  kLateCommit,
  /// The same of version 0.1, whose positions do not say of which log they are.
  kLateCommitWithoutMark,
};
/// By the names that `simulate --outage` takes.
std::optional<Outage> OutageOf(std::string_view name);
std::string_view NameOf(Outage outage);

/// One seed is one history: stages, log, network, worlds and everything that goes wrong.
struct SimulationOptions {
  std::uint64_t seed = 1;
  /// 0: one or two, by the seed.
  std::int32_t tenants = 0;
  /// Of each tenant.
  std::int32_t customers = 3;
  /// How long the source changes and things go wrong, in virtual time; zero: 40 or 100 s, by the
  /// seed. What happens grows with it beyond those.
  Duration length{};
  bool faults = true;
  Outage outage = Outage::kNone;
  /// CRMs also do what they were asked later than L: older states come over newer ones, actions are
  /// done twice (protocol section 7). At rest every state must be right, and every second one
  /// shown.
  bool beyond_settle = false;
  /// Rule 15.
  bool sweeps = true;
  /// All records have a field that nobody knows.
  bool adds_unknown_field = false;
  /// Switched off, so that the history should fail.
  RuleBreak rule_break = RuleBreak::kNone;
  /// None: of the seed.
  std::optional<Theme> theme;
  bool keeps_trace = false;
};

struct SimulationResult {
  /// Empty: everything that was promised held.
  std::vector<std::string> problems;
  /// Only if asked for.
  std::int64_t trace_lines = 0;
  std::string trace;

  // What this history went through, so that a run that tests nothing is seen.
  std::int64_t crashes = 0;
  std::int64_t suspensions = 0;
  std::int64_t evictions = 0;
  std::int64_t drains = 0;
  std::int64_t lost_topics = 0;
  std::int64_t old_disks = 0;
  std::int64_t clock_jumps = 0;
  /// What a person gave up.
  std::int64_t drops = 0;
  std::int64_t void_entries = 0;
  std::int64_t intents = 0;
  std::int64_t checked_sends = 0;
  std::int64_t unattributed_sends = 0;
  std::int64_t unknown_outcomes = 0;
  std::int64_t mutations = 0;
  std::int64_t actions = 0;
  std::int64_t parked = 0;
  /// Events that nobody had read when they expired.
  std::int64_t expired_unread = 0;
  std::int64_t deeds = 0;
  /// See Outages.
  std::int64_t positions_outgrown = 0;
  /// Only beyond L.
  std::int64_t regressions = 0;
  std::int64_t shown = 0;
  /// Virtual time from the end of the faults until everything was at rest.
  double minutes_to_rest = 0;
};

SimulationResult Simulate(const SimulationOptions& options);

/// A history that shows what a rule is for: it fails as the table says without it, and holds with
/// it, under the same theme.
struct Finding {
  std::uint64_t seed = 0;
  std::string problem;
};
std::optional<Finding> FindShowing(const RuleBreakInfo& info, std::uint64_t first,
                                   std::uint64_t seeds);

/// For people: how to see this history again.
std::string CommandToRepeat(const SimulationOptions& options);

}  // namespace tributary::simulation

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "tests/simulation/simulation.h"

// Runs histories and says what each went through. For people; the test runs the same.

namespace {

using tributary::simulation::Outage;
using tributary::simulation::OutageOf;
using tributary::simulation::RuleBreak;
using tributary::simulation::RuleBreakInfo;
using tributary::simulation::RuleBreakOf;
using tributary::simulation::RuleBreaks;

using tributary::simulation::Finding;
using tributary::simulation::FindShowing;

// Lists the rules that can be switched off; or looks for a history that shows each.
int TryRuleBreaks(const std::vector<RuleBreakInfo>& infos, bool tries, std::uint64_t first,
                  std::uint64_t seeds) {
  int unseen = 0;
  for (const RuleBreakInfo& info : infos) {
    std::printf("%s (%s): %s\n", std::string(info.name).c_str(),
                std::string(info.configurations).c_str(), std::string(info.means).c_str());
    if (!tries) continue;
    const std::optional<Finding> found = FindShowing(info, first, seeds);
    if (!found) ++unseen;
    std::printf("  %s %llu: %s\n", found ? "seed" : "NOT SEEN up to",
                static_cast<unsigned long long>(found ? found->seed : first + seeds - 1),
                found ? found->problem.substr(0, found->problem.find('\n')).c_str() : "");
    std::fflush(stdout);
  }
  return unseen == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Runs the whole pipeline on virtual time, one history for each seed.");
  std::uint64_t first = 1;
  std::uint64_t seeds = 1;
  double seconds = 0;
  double hours = 0;
  bool trace = false;
  bool no_faults = false;
  bool search = false;
  std::string broken;
  std::string outage_name = "none";
  bool beyond_settle = false;
  bool no_sweep = false;
  bool unknown_field = false;
  app.add_option("--first", first, "first seed");
  app.add_option("--seeds", seeds, "how many");
  app.add_option("--seconds", seconds,
                 "virtual seconds of mutations and faults in each; 0: 40 or 100, by the seed");
  app.add_option("--hours", hours, "begin no further history after so many hours of real time");
  app.add_flag("--trace", trace, "print everything that happens");
  app.add_flag("--no-faults", no_faults, "nothing goes wrong");
  app.add_option("--outage", outage_name,
                 "away for long or lost as a whole: log, control, disks, offsets, events, "
                 "rebalances, targets, late-commit, late-commit-without-mark");
  app.add_flag("--beyond-settle", beyond_settle, "CRMs also do what they were asked later than L");
  app.add_flag("--no-sweep", no_sweep, "rule 15 is switched off");
  app.add_flag("--unknown-field", unknown_field, "every record has a field that nobody knows");
  app.add_option("--break", broken, "switch this rule off; `list` lists them, `all` tries all");
  app.add_flag("--search", search, "stop at the first history that shows what --break does");
  CLI11_PARSE(app, argc, argv);

  if (broken == "list" || broken == "all") {
    return TryRuleBreaks(RuleBreaks(), broken == "all", first, seeds);
  }
  const std::optional<Outage> outage = OutageOf(outage_name);
  if (!outage) {
    std::fprintf(stderr, "unknown outage: %s\n", outage_name.c_str());
    return 2;
  }
  RuleBreak rule_break = RuleBreak::kNone;
  if (!broken.empty()) {
    const std::optional<RuleBreak> known = RuleBreakOf(broken);
    if (!known) {
      std::fprintf(stderr, "unknown: %s; --break list lists them\n", broken.c_str());
      return 2;
    }
    rule_break = *known;
  }
  if (search) {
    std::vector<RuleBreakInfo> wanted;
    for (const RuleBreakInfo& info : RuleBreaks()) {
      if (info.what == rule_break) wanted.push_back(info);
    }
    return TryRuleBreaks(wanted, true, first, seeds);
  }

  std::uint64_t failed = 0;
  std::uint64_t run = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (std::uint64_t seed = first; seed < first + seeds; ++seed, ++run) {
    const std::chrono::duration<double, std::ratio<3600>> took =
        std::chrono::steady_clock::now() - begin;
    if (hours > 0 && took.count() >= hours) break;
    tributary::simulation::SimulationOptions options;
    options.seed = seed;
    options.length = std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
    options.faults = !no_faults;
    options.keeps_trace = trace;
    options.rule_break = rule_break;
    options.outage = *outage;
    options.beyond_settle = beyond_settle;
    options.sweeps = !no_sweep;
    options.adds_unknown_field = unknown_field;
    const tributary::simulation::SimulationResult result = tributary::simulation::Simulate(options);
    if (trace) std::fputs(result.trace.c_str(), stdout);
    std::printf(
        "seed %llu: %s, %lld crashes, %lld suspensions, %lld evictions, %lld drains, %lld lost "
        "topics, %lld old disks, %lld clock jumps, %lld void, "
        "%lld unknown, %lld intents, %lld+%lld sends, %lld actions, %lld mutations, at rest after "
        "%.1f min\n",
        static_cast<unsigned long long>(seed), result.problems.empty() ? "ok" : "FAILED",
        static_cast<long long>(result.crashes), static_cast<long long>(result.suspensions),
        static_cast<long long>(result.evictions), static_cast<long long>(result.drains),
        static_cast<long long>(result.lost_topics), static_cast<long long>(result.old_disks),
        static_cast<long long>(result.clock_jumps), static_cast<long long>(result.void_entries),
        static_cast<long long>(result.unknown_outcomes), static_cast<long long>(result.intents),
        static_cast<long long>(result.checked_sends),
        static_cast<long long>(result.unattributed_sends), static_cast<long long>(result.actions),
        static_cast<long long>(result.mutations), result.minutes_to_rest);
    if (beyond_settle) {
      std::printf("  %lld older states over newer ones, %lld second ones shown\n",
                  static_cast<long long>(result.regressions), static_cast<long long>(result.shown));
    }
    for (const std::string& problem : result.problems) std::printf("  %s\n", problem.c_str());
    std::fflush(stdout);
    if (!result.problems.empty()) ++failed;
  }
  std::printf("%llu of %llu failed\n", static_cast<unsigned long long>(failed),
              static_cast<unsigned long long>(run));
  return failed == 0 ? 0 : 1;
}

#include <cstdint>
#include <cstdio>
#include <map>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>

#include "tests/simulation/simulation.h"

// Runs histories and says what each went through. For people; the test runs the same.

namespace {

using tributary::simulation::RuleBreak;
using tributary::simulation::RuleBreakInfo;
using tributary::simulation::RuleBreakOf;
using tributary::simulation::RuleBreaks;

// Lists the rules that can be switched off; or looks for a history that shows each.
int TryRuleBreaks(bool tries, std::uint64_t first, std::uint64_t seeds) {
  int unseen = 0;
  // What fails with all rules on shows nothing.
  std::map<std::uint64_t, bool> holds;
  const auto holds_with_all_rules = [&](std::uint64_t seed) {
    const auto known = holds.find(seed);
    if (known != holds.end()) return known->second;
    tributary::simulation::SimulationOptions options;
    options.seed = seed;
    return holds[seed] = tributary::simulation::Simulate(options).problems.empty();
  };
  for (const RuleBreakInfo& info : RuleBreaks()) {
    std::printf("%s (%s): %s\n", std::string(info.name).c_str(),
                std::string(info.configurations).c_str(), std::string(info.means).c_str());
    if (!tries) continue;
    std::uint64_t failing = 0;
    std::string seen;
    for (std::uint64_t seed = first; seed < first + seeds && seen.empty(); ++seed) {
      tributary::simulation::SimulationOptions options;
      options.seed = seed;
      options.rule_break = info.what;
      const auto result = tributary::simulation::Simulate(options);
      if (result.problems.empty() || !holds_with_all_rules(seed)) continue;
      failing = seed;
      seen = result.problems.front();
    }
    if (seen.empty()) ++unseen;
    std::printf("  %s %llu: %s\n", seen.empty() ? "NOT SEEN up to" : "seed",
                static_cast<unsigned long long>(seen.empty() ? first + seeds - 1 : failing),
                seen.c_str());
    std::fflush(stdout);
  }
  return unseen == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Runs the whole pipeline on virtual time, one history for each seed.");
  std::uint64_t first = 1;
  std::uint64_t seeds = 1;
  double hours = 1;
  bool trace = false;
  bool no_faults = false;
  std::string broken;
  app.add_option("--first", first, "first seed");
  app.add_option("--seeds", seeds, "how many");
  app.add_option("--hours", hours, "virtual hours of mutations and faults");
  app.add_flag("--trace", trace, "print everything that happens");
  app.add_flag("--no-faults", no_faults, "nothing goes wrong");
  app.add_option("--break", broken, "switch this rule off; `list` lists them, `all` tries all");
  CLI11_PARSE(app, argc, argv);

  if (broken == "list" || broken == "all") return TryRuleBreaks(broken == "all", first, seeds);
  RuleBreak rule_break = RuleBreak::kNone;
  if (!broken.empty()) {
    const std::optional<RuleBreak> known = RuleBreakOf(broken);
    if (!known) {
      std::fprintf(stderr, "unknown: %s; --break list lists them\n", broken.c_str());
      return 2;
    }
    rule_break = *known;
  }

  std::uint64_t failed = 0;
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    tributary::simulation::SimulationOptions options;
    options.seed = seed;
    options.minutes = static_cast<std::int32_t>(hours * 60);
    options.faults = !no_faults;
    options.keeps_trace = trace;
    options.rule_break = rule_break;
    const tributary::simulation::SimulationResult result = tributary::simulation::Simulate(options);
    if (trace) std::fputs(result.trace.c_str(), stdout);
    std::printf(
        "seed %llu: %s, %lld crashes, %lld suspensions, %lld evictions, %lld drains, %lld lost "
        "topics, %lld old disks, %lld clock jumps, %lld void, "
        "%lld unknown, %lld intents, %lld+%lld sends, %lld actions, %lld mutations, at rest after "
        "%.1f min, %lld lines %016llx\n",
        static_cast<unsigned long long>(seed), result.problems.empty() ? "ok" : "FAILED",
        static_cast<long long>(result.crashes), static_cast<long long>(result.suspensions),
        static_cast<long long>(result.evictions), static_cast<long long>(result.drains),
        static_cast<long long>(result.lost_topics), static_cast<long long>(result.old_disks),
        static_cast<long long>(result.clock_jumps), static_cast<long long>(result.void_entries),
        static_cast<long long>(result.unknown_outcomes), static_cast<long long>(result.intents),
        static_cast<long long>(result.checked_sends),
        static_cast<long long>(result.unattributed_sends), static_cast<long long>(result.actions),
        static_cast<long long>(result.mutations), result.minutes_to_rest,
        static_cast<long long>(result.trace_lines),
        static_cast<unsigned long long>(result.trace_hash));
    for (const std::string& problem : result.problems) std::printf("  %s\n", problem.c_str());
    std::fflush(stdout);
    if (!result.problems.empty()) ++failed;
  }
  if (failed != 0) {
    std::printf("%llu of %llu failed\n", static_cast<unsigned long long>(failed),
                static_cast<unsigned long long>(seeds));
  }
  return failed == 0 ? 0 : 1;
}

#include <cstdint>
#include <cstdio>
#include <string>

#include <CLI/CLI.hpp>

#include "tests/simulation/simulation.h"

// Runs histories and says what each went through. For people; the test runs the same.

int main(int argc, char** argv) {
  CLI::App app("Runs the whole pipeline on virtual time, one history for each seed.");
  std::uint64_t first = 1;
  std::uint64_t seeds = 1;
  double hours = 1;
  bool trace = false;
  bool no_faults = false;
  app.add_option("--first", first, "first seed");
  app.add_option("--seeds", seeds, "how many");
  app.add_option("--hours", hours, "virtual hours of mutations and faults");
  app.add_flag("--trace", trace, "print everything that happens");
  app.add_flag("--no-faults", no_faults, "nothing goes wrong");
  CLI11_PARSE(app, argc, argv);

  std::uint64_t failed = 0;
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    tributary::simulation::SimulationOptions options;
    options.seed = seed;
    options.minutes = static_cast<std::int32_t>(hours * 60);
    options.faults = !no_faults;
    options.keeps_trace = trace;
    const tributary::simulation::SimulationResult result = tributary::simulation::Simulate(options);
    if (trace) std::fputs(result.trace.c_str(), stdout);
    std::printf(
        "seed %llu: %s, %lld crashes, %lld suspensions, %lld evictions, %lld drains, %lld void, "
        "%lld unknown, %lld intents, %lld+%lld sends, %lld actions, %lld mutations, at rest after "
        "%.1f min, %lld lines %016llx\n",
        static_cast<unsigned long long>(seed), result.problems.empty() ? "ok" : "FAILED",
        static_cast<long long>(result.crashes), static_cast<long long>(result.suspensions),
        static_cast<long long>(result.evictions), static_cast<long long>(result.drains),
        static_cast<long long>(result.void_entries),
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

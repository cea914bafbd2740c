// How much of a quota is used, and how often its server has to refuse, on virtual time:
//
//   quota_bench [SCENARIO…]
//
// One JSON object a line. The same numbers in every run; tests/simulation/quota_test.cc holds the
// bounds.

#include <cstdio>
#include <string>

#include "tests/bench/quota_run.h"

int main(int argc, char** argv) {
  namespace bench = tributary::bench;
  for (const bench::QuotaScenario& scenario : bench::QuotaScenarios()) {
    bool is_wanted = argc < 2 || argv[1][0] == '-';
    for (int i = 1; i < argc; ++i) is_wanted = is_wanted || scenario.name == argv[i];
    if (!is_wanted) continue;
    const bench::QuotaResult result = bench::RunQuota(scenario);
    std::string phases;
    for (const bench::QuotaPhase& phase : result.phases) {
      char line[256];
      std::snprintf(line, sizeof line,
                    R"(%s{"limit":%lld,"share":%.4f,"refused":%lld,"in_steady_state":%lld})",
                    phases.empty() ? "" : ",", static_cast<long long>(phase.limit), phase.share(),
                    static_cast<long long>(phase.refused),
                    static_cast<long long>(phase.refused_in_steady_state));
      phases += line;
    }
    std::printf(R"({"scenario":"%s","used_share":%.4f,"refused":%lld,"neighbour_refused":%lld,)"
                R"("live_wait_seconds_max":%.3f,"phases":[%s]})"
                "\n",
                scenario.name.c_str(), result.total.share(),
                static_cast<long long>(result.total.refused),
                static_cast<long long>(result.total.neighbour_refused),
                static_cast<double>(result.live_wait_max.count()) / 1e6, phases.c_str());
  }
  return 0;
}

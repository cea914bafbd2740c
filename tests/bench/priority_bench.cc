// Live changes beside a backfill at a target that takes ten requests a second, on virtual time:
//
//   priority_bench [KEYS]
//
// KEYS (a million) wait when the loader starts, one by one and in batches. Then comes a live change
// a second, to a record of the backfill and to a new one in turn. One JSON object a line: how many
// requests of the backfill left between such a change and the request that carries it, and how long
// that took. LoaderQuotaTest.ALiveChangePassesALargeBackfill holds the bound.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "tests/unit/services/loader/rig.h"

namespace tributary::loader {
namespace {

constexpr int kLiveChanges = 60;
constexpr std::string_view kName = "live change ";

bool Run(int keys, bool in_batches) {
  Rig rig;
  rig.tenant.mutable_connections(1)->set_requests_per_second("10");
  if (in_batches) (*rig.tenant.mutable_connections(1)->mutable_settings())["batch"] = "true";
  rig.PublishTenant();
  rig.is_backfill = true;
  for (int i = 1; i <= keys; ++i) rig.Client(i, "somebody", 1);
  const std::clock_t began = std::clock();
  rig.Start();
  rig.Run(std::chrono::seconds(30));
  const double start_seconds = static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC;
  const std::size_t sent_before = rig.sent.size();

  rig.is_backfill = false;
  std::vector<std::size_t> passed;
  std::vector<double> seconds;
  for (int change = 0; change < kLiveChanges; ++change) {
    const int customer = change % 2 == 0 ? keys - change : keys + 1 + change;
    // Ends with what no other name begins with.
    const std::string name = std::string(kName) + std::to_string(change) + ".";
    const std::size_t before = rig.sent.size();
    const Instant at = rig.time.now().steady;
    rig.Client(customer, name, 2);
    rig.Run(std::chrono::seconds(1));
    for (std::size_t i = before; i < rig.sent.size(); ++i) {
      if (rig.sent[i].body.find(name) == std::string::npos) continue;
      passed.push_back(i - before);
      seconds.push_back(static_cast<double>((rig.sent[i].at - at).count()) / 1e6);
      break;
    }
  }
  const std::size_t sent = rig.sent.size() - sent_before;
  const bool is_complete = passed.size() == kLiveChanges;
  std::printf(
      R"({"keys":%d,"in_batches":%s,"start_cpu_seconds":%.1f,"requests":%zu,"live_changes":%d,)"
      R"("sent_within_a_second":%zu,"passed_by_backfill_max":%zu,"seconds_max":%.3f})"
      "\n",
      keys, in_batches ? "true" : "false", start_seconds, sent, kLiveChanges, passed.size(),
      passed.empty() ? 0 : *std::max_element(passed.begin(), passed.end()),
      seconds.empty() ? 0 : *std::max_element(seconds.begin(), seconds.end()));
  return is_complete;
}

}  // namespace
}  // namespace tributary::loader

int main(int argc, char** argv) {
  const int keys = argc > 1 && argv[1][0] != '-' ? std::atoi(argv[1]) : 1'000'000;
  bool is_complete = true;
  for (const bool in_batches : {false, true}) {
    is_complete = tributary::loader::Run(keys, in_batches) && is_complete;
  }
  return is_complete ? 0 : 1;
}

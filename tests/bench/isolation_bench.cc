// What the neighbours feel when four tenants misbehave:
//
//   isolation_bench [--tenants 1000] [--pile 100000] [--hanging N] [--failing N] [--garbage N]
//
// A number of 0 leaves that tenant out, to see which of them is felt.
//
// On virtual time; a stage is busy for as long as the CPU was, so what a tenant costs keeps others
// waiting as it would in a process. The run without the bad ones comes twice, to see what a ratio
// of equals is. One JSON object. The times are of the machine, and no test depends on them;
// tests/simulation/isolation_test.cc does the same with times that are made up.

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "tests/bench/isolation_run.h"

namespace {

using tributary::Duration;
using tributary::bench::IsolationOptions;
using tributary::bench::IsolationResult;
using tributary::bench::Percentiles;
using tributary::bench::RunIsolation;

Duration CpuTime() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + Duration(time.tv_nsec / 1000);
}

std::string Text(const Percentiles& found) {
  char line[128];
  std::snprintf(line, sizeof line, R"({"p50":%.4f,"p99":%.4f,"max":%.4f})", found.p50, found.p99,
                found.max);
  return line;
}

std::string Text(const IsolationResult& result) {
  char line[512];
  std::snprintf(line, sizeof line,
                R"({"from_source":%s,"from_log":%s,"changes":%lld,"missing":%lld,)"
                R"("pile_left":[%lld,%lld],"hung_requests":%lld,"mapping_errors":%lld,)"
                R"("parked":%lld,"garbage":%lld})",
                Text(result.from_source).c_str(), Text(result.from_log).c_str(),
                static_cast<long long>(result.changes), static_cast<long long>(result.missing),
                static_cast<long long>(result.pile_left_at_begin),
                static_cast<long long>(result.pile_left_at_end),
                static_cast<long long>(result.hung_requests),
                static_cast<long long>(result.mapping_errors),
                static_cast<long long>(result.parked), static_cast<long long>(result.garbage));
  return line;
}

std::string Ratios(const IsolationResult& of, const IsolationResult& to) {
  char line[128];
  std::snprintf(line, sizeof line, R"({"from_source_p99":%.3f,"from_log_p99":%.3f})",
                of.from_source.p99 / to.from_source.p99, of.from_log.p99 / to.from_log.p99);
  return line;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("What the neighbours of tenants that misbehave feel.");
  IsolationOptions options;
  bool json = false;
  app.add_option("--tenants", options.tenants, "of which four are the bad ones");
  app.add_option("--pile", options.pile, "records that wait for one tenant's CRM");
  app.add_option("--hanging", options.hanging, "customers of the one whose target hangs");
  app.add_option("--failing", options.failing, "customers of the one whose mapping fails");
  app.add_option("--garbage", options.garbage_events_per_second,
                 "events a second that are none, of the one whose site talks nonsense");
  app.add_option("--seed", options.seed, "of the run");
  app.add_flag("--json", json, "as always");
  CLI11_PARSE(app, argc, argv);
  options.takes = [](std::size_t, const std::function<void()>& work) {
    const Duration begin = CpuTime();
    work();
    return CpuTime() - begin;
  };

  const auto run = [&](bool has_bad_ones) {
    const IsolationResult result = RunIsolation(has_bad_ones ? options : OnlyTheOthers(options));
    std::fprintf(stderr, "%s: %s\n", has_bad_ones ? "with" : "without", Text(result).c_str());
    return result;
  };
  const IsolationResult without = run(false);
  const IsolationResult again = run(false);
  const IsolationResult with = run(true);
  std::printf(R"({"tenants":%d,"pile":%d,"without":%s,"with":%s,"paired":%s,"ratio":%s})"
              "\n",
              options.tenants, options.pile, Text(without).c_str(), Text(with).c_str(),
              Ratios(again, without).c_str(), Ratios(with, without).c_str());
  return 0;
}

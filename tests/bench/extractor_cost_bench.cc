// What the extractor's stage costs a customer, without threads, sockets and Kafka:
//
//   extractor_cost_bench [CUSTOMERS]
//
// The first read of the bare customers of `whole_job --bare`, from the simulator's own site: one
// row is read of each, one change written. For counting instructions; what the stage alone has, and
// neither the simulated log nor the site:
//
//   valgrind --tool=callgrind '--toggle-collect=*Extractor::OnLog*'
//     '--toggle-collect=*Extractor::OnTick*' '--toggle-collect=*Extractor::OnHttp*'
//     build/release/bin/extractor_cost_bench 5000

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "services/simulator/world.h"
#include "tests/bench/digest.h"
#include "tests/unit/services/extractor/extractor_bench.h"
#include "tests/unit/services/extractor/simulated_site.h"

using tributary::eventlog::Topic;
using tributary::extractor::testing::ExtractorBench;

int main(int argc, char** argv) {
  const int customers = argc > 1 ? std::atoi(argv[1]) : 10'000;
  tributary::simulator::WorldOptions options;
  options.customers = customers;
  options.bare_customers = true;
  options.start = tributary::eventlog::testing::VirtualTime().now().wall;
  tributary::simulator::World world(options);
  ExtractorBench::Setup setup;
  setup.options.visibility_lag = options.visibility_lag;
  setup.api_key = world.access().chargify_key;
  ExtractorBench bench(setup, tributary::extractor::testing::HandlerOf(world));

  bench.Start();
  const std::clock_t began = std::clock();
  const bool is_settled = bench.RunUntilSettled(std::chrono::hours(1));
  const double seconds = static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC;

  const std::vector<tributary::eventlog::Record>& changes = bench.log().records(Topic::kChanges, 0);
  int read = 0;
  for (const auto& record : changes) {
    read += record.key.find("/customers/") != std::string::npos ? 1 : 0;
  }
  std::printf(
      "{\"customers\":%d,\"changes\":%d,\"settled\":%s,\"digest\":\"%s\","
      "\"cpu_us_per_customer\":%.1f}\n",
      customers, read, is_settled ? "true" : "false", tributary::bench::DigestOf(changes).c_str(),
      seconds * 1e6 / customers);
  return is_settled && read == customers ? 0 : 1;
}

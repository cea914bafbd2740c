// What the loader's stage costs a record, without threads, sockets and Kafka:
//
//   loader_cost_bench [KEYS [batch|single [coming]]]
//
// Every key is written once. The keys are there when the loader starts, or come while it works.
// Then it is killed, and takes over what is written already. In the figure are the simulated log
// and the simulated CRM too, and their share is the same for two builds of the stage: compare, and
// look whether it grows with KEYS.

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>

#include "tests/unit/services/loader/rig.h"

int main(int argc, char** argv) {
  using tributary::loader::Rig;
  const int keys = argc > 1 ? std::atoi(argv[1]) : 10'000;
  Rig rig;
  rig.tenant.mutable_connections(1)->set_requests_per_second("100000");
  if (argc > 2 && std::string(argv[2]) == "batch")
    (*rig.tenant.mutable_connections(1)->mutable_settings())["batch"] = "true";
  rig.PublishTenant();
  const auto put_keys = [&] {
    for (int i = 1; i <= keys; ++i) rig.Client(i, "somebody, number " + std::to_string(i), 1);
  };
  if (argc > 3) {
    rig.Start();
    rig.Run(std::chrono::seconds(1));
    put_keys();
  } else {
    put_keys();
    rig.Start();
  }
  const std::clock_t began = std::clock();
  for (int i = 0; i < 36'000 && rig.counters().applied < keys; ++i) {
    rig.Run(std::chrono::milliseconds(100));
  }
  const double seconds = static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC;
  const auto applied = static_cast<long long>(rig.counters().applied);
  const std::size_t requests = rig.sent.size();
  rig.Kill();
  const std::clock_t killed = std::clock();
  rig.Start();
  rig.Run(std::chrono::seconds(30));
  const double again = static_cast<double>(std::clock() - killed) / CLOCKS_PER_SEC;
  std::printf(
      "{\"keys\":%d,\"applied\":%lld,\"requests\":%zu,\"cpu_us_per_key\":%.1f,"
      "\"take_over_cpu_us_per_key\":%.2f}\n",
      keys, applied, requests, seconds * 1e6 / keys, again * 1e6 / keys);
  return applied == keys ? 0 : 1;
}

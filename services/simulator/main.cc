#include <csignal>
#include <cstdint>
#include <iostream>
#include <string>
#include <utility>

#include <CLI/CLI.hpp>

#include "libs/http/server.h"
#include "services/simulator/app.h"

// A made-up Chargify and made-up CRMs, for demonstrations and tests.

int main(int argc, char** argv) {
  // Before any thread, so that all of them leave the signals to this one.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  tributary::simulator::ServerSettings settings;
  tributary::simulator::WorldOptions& world = settings.world;
  std::string listen = "127.0.0.1:8700";
  std::int64_t offset_seconds = 0;
  std::int64_t visibility_lag_ms = world.visibility_lag / std::chrono::milliseconds(1);
  CLI::App app("A simulated Chargify site and simulated CRMs", "simulator");
  app.add_option("--seed", world.seed, "Same seed, same history");
  app.add_option("--customers", world.customers, "Customers of the site at its start")
      ->check(CLI::Range(0, 10'000'000));
  app.add_flag("--bare-customers", world.bare_customers,
               "At the start nothing but customers: no subscriptions, invoices, events");
  app.add_option("--listen", listen, "HOST:PORT of Chargify; HighLevel and REST come next to it");
  app.add_option("--tenant", world.tenant, "Name of the merchant");
  app.add_option("--mutation-rate", world.mutation_rate, "Changes per second")
      ->check(CLI::Range(0.0, 100'000.0));
  app.add_option("--mutations", world.mutations_total, "Changes in all, by rate and by page");
  app.add_option("--mutations-per-page", world.switches.mutations_per_page,
                 "Changes right after each page that is read");
  app.add_option("--clock-offset", offset_seconds, "Seconds that the site's clock is ahead");
  app.add_option("--visibility-lag-ms", visibility_lag_ms,
                 "How late the site shows a change at most; 0: at once")
      ->check(CLI::Range(0, 3'600'000));
  CLI11_PARSE(app, argc, argv);

  const auto address = tributary::http::ParseListen(listen);
  if (!address) {
    std::cerr << "simulator: --listen: HOST:PORT is expected, not " << listen << "\n";
    return 2;
  }
  settings.host = address->first;
  settings.port = address->second;
  world.visibility_lag = std::chrono::milliseconds(visibility_lag_ms);
  world.switches.late_visibility = visibility_lag_ms > 0;
  world.site_clock_offset = std::chrono::seconds(offset_seconds);
  auto server = tributary::simulator::SimulatorServer::Start(std::move(settings));
  if (!server.ok()) {
    std::cerr << "simulator: " << server.status().message() << "\n";
    return 1;
  }
  std::cout << (*server)->PortsJson() << std::endl;
  int signal = 0;
  sigwait(&signals, &signal);
  (*server)->Stop();
  return 0;
}

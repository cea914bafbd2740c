#include "services/simulator/flags.h"

#include <cstdint>
#include <iostream>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

namespace tributary::simulator {
namespace {

constexpr int kUsage = 2;

// What is looked at once more before it is a setting.
struct Words {
  std::string listen = "127.0.0.1:8700";
  std::int64_t offset_seconds = 0;
  std::int64_t visibility_lag_ms = WorldOptions().visibility_lag / std::chrono::milliseconds(1);
};

std::unique_ptr<CLI::App> MakeApp(WorldOptions& world, Words& words) {
  auto app =
      std::make_unique<CLI::App>("A simulated Chargify site and simulated CRMs", "simulator");
  app->add_option("--seed", world.seed, "Same seed, same history");
  app->add_option("--customers", world.customers, "Customers of the site at its start")
      ->check(CLI::Range(0, 10'000'000));
  app->add_flag("--bare-customers", world.bare_customers,
                "At the start nothing but customers: no subscriptions, invoices, events");
  app->add_option("--listen", words.listen,
                  "HOST:PORT of Chargify; HighLevel and REST come next to it");
  app->add_option("--tenant", world.tenant, "Name of the merchant");
  app->add_option("--mutation-rate", world.mutation_rate, "Changes per second")
      ->check(CLI::Range(0.0, 100'000.0));
  app->add_option("--mutations", world.mutations_total, "Changes in all, by rate and by page");
  app->add_option("--mutations-per-page", world.switches.mutations_per_page,
                  "Changes right after each page that is read");
  app->add_option("--clock-offset", words.offset_seconds, "Seconds that the site's clock is ahead");
  app->add_option("--visibility-lag-ms", words.visibility_lag_ms,
                  "How late the site shows a change at most; 0: at once")
      ->check(CLI::Range(0, 3'600'000));
  return app;
}

}  // namespace

command_line::Command DescribeFlags() {
  WorldOptions world;
  Words words;
  return command_line::Describe(*MakeApp(world, words));
}

ParsedFlags ParseFlags(int argc, const char* const* argv) {
  ParsedFlags parsed;
  WorldOptions& world = parsed.settings.world;
  Words words;
  const std::unique_ptr<CLI::App> app = MakeApp(world, words);
  try {
    app->parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    parsed.exit_code = app->exit(error) == 0 ? 0 : kUsage;
    return parsed;
  }
  parsed.listen = words.listen;
  world.visibility_lag = std::chrono::milliseconds(words.visibility_lag_ms);
  world.switches.late_visibility = words.visibility_lag_ms > 0;
  world.site_clock_offset = std::chrono::seconds(words.offset_seconds);
  return parsed;
}

}  // namespace tributary::simulator

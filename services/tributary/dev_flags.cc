#include "services/tributary/dev_flags.h"

#include <iostream>
#include <memory>

#include <CLI/CLI.hpp>

#include "libs/config/quantities.h"

namespace tributary::dev {
namespace {

constexpr int kUsage = 2;

// What is looked at once more before it is a flag.
struct Words {
  std::string log;
  std::string bootstrap_servers;
  std::string topic_prefix;
  std::string data;
  std::string timeout;
  bool no_simulator = false;
};

std::unique_ptr<CLI::App> MakeApp(Flags& flags, Words& words) {
  auto app = std::make_unique<CLI::App>(
      "Runs everything in one process: a made-up Chargify site and two made-up CRMs, or "
      "your own accounts, and all four services.",
      "tributary dev");
  app->add_flag("--once", flags.once,
                "Stop changing the source, wait until nothing is left to do, report and end");
  app->add_option("--customers", flags.customers, "Customers of the made-up site")
      ->check(CLI::Range(1, 10'000'000))
      ->capture_default_str();
  app->add_option("--seed", flags.seed, "The same seed makes the same history")
      ->capture_default_str();
  app->add_option("--log", words.log, "Where records travel")
      ->check(CLI::IsMember({"embedded", "kafka"}));
  app->add_option("--bootstrap-servers", words.bootstrap_servers, "Of Kafka")
      ->type_name("HOST:PORT,…");
  app->add_option("--topic-prefix", words.topic_prefix, "In front of topics and groups on Kafka");
  app->add_option("--data", words.data, "Directory for everything that is kept")->type_name("DIR");
  app->add_option("--timeout", words.timeout, "Of --once: 90s, 5m, 2h; then exit 75 (default 10m)")
      ->type_name("D");
  app->add_flag("--json", flags.json, "Only JSON on standard output");
  app->add_flag("--no-simulator", words.no_simulator, "Use the real accounts of --config");
  app->add_option("--config", flags.config, "Configuration with tenants")->type_name("F");
  app->add_flag("-v,--verbose", flags.verbose, "Log more than problems");
  app->footer(
      "Examples:\n"
      "  tributary dev\n"
      "  tributary dev --once --customers 200 --seed 7\n"
      "  tributary dev --no-simulator --config tributary.yaml --data ./tributary-data\n\n"
      "Exit: 0 settled and right, 1 settled and wrong, 75 not settled in time, 78 wrong "
      "configuration, 2 wrong usage.");
  return app;
}

}  // namespace

command_line::Command DescribeFlags() {
  Flags flags;
  Words words;
  return command_line::Describe(*MakeApp(flags, words));
}

ParsedFlags ParseFlags(int argc, const char* const* argv) {
  ParsedFlags parsed;
  Flags& flags = parsed.flags;
  Words words;
  const std::unique_ptr<CLI::App> app = MakeApp(flags, words);
  const auto refuse = [&parsed](const std::string& why) {
    std::cerr << "error: " << why << "\nfix: see `tributary dev --help`\n";
    parsed.exit_code = kUsage;
    return parsed;
  };
  try {
    app->parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) return refuse(error.what());
    app->exit(error);
    parsed.exit_code = 0;
    return parsed;
  }
  flags.simulator = !words.no_simulator;
  if (app->count("--log") > 0) flags.log = words.log;
  if (app->count("--bootstrap-servers") > 0) flags.bootstrap_servers = words.bootstrap_servers;
  if (app->count("--topic-prefix") > 0) flags.topic_prefix = words.topic_prefix;
  if (app->count("--data") > 0) flags.data = words.data;
  if (app->count("--timeout") > 0) {
    flags.timeout = config::ParseDuration(words.timeout);
    if (!flags.timeout || *flags.timeout <= Duration::zero()) {
      return refuse("--timeout: not a duration such as 90s, 5m or 2h: " + words.timeout);
    }
    if (!flags.once) return refuse("--timeout works only with --once");
  }
  if (words.no_simulator && flags.config.empty()) return refuse("--no-simulator needs --config");
  if (!words.no_simulator && !flags.config.empty()) {
    return refuse("--config is for your own accounts: add --no-simulator");
  }
  if (flags.data && flags.data->empty()) return refuse("--data: empty");
  const bool embedded = !flags.log || *flags.log == "embedded";
  if (!words.no_simulator && embedded && (flags.bootstrap_servers || flags.topic_prefix)) {
    return refuse("--bootstrap-servers and --topic-prefix work only with --log kafka");
  }
  return parsed;
}

}  // namespace tributary::dev

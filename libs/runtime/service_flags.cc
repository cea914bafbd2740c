#include "libs/runtime/service_flags.h"

#include <iostream>
#include <map>
#include <memory>
#include <utility>

#include <CLI/CLI.hpp>

#include "libs/config/config.h"
#include "libs/eventlog/kafka/kafka_log.h"
#include "libs/http/server.h"
#include "libs/observe/build_info.h"

namespace tributary::runtime {
namespace {

constexpr int kUsage = 2;
constexpr int kConfiguration = 78;

struct Arguments {
  std::string file;
  bool check = false;
  std::string admin_listen;
};

std::unique_ptr<CLI::App> MakeApp(const std::string& name, Arguments& arguments) {
  static const std::map<std::string, std::string> descriptions = {
      {"extractor", "Reads Chargify and writes every change of it to the log."},
      {"transformer", "Joins changes to views and maps them to commands."},
      {"loader", "Makes the records at CRMs equal the commands."},
      {"control", "Keeps tenants, connections and credentials, and tells the services of them."}};
  auto app = std::make_unique<CLI::App>(descriptions.at(name), name);
  app->add_option("--config", arguments.file, "Configuration file (YAML)")
      ->required()
      ->type_name("F");
  app->add_flag("--check", arguments.check, "Only check the configuration: exit 0 or 78");
  app->add_option("--admin-listen", arguments.admin_listen,
                  "Where /livez, /readyz and /metrics are served")
      ->type_name("HOST:PORT");
  app->set_version_flag("--version", name + " " + observe::GetBuildInfo().version,
                        "Which version this is");
  app->footer("Example: " + name +
              " --config /etc/tributary/tributary.yaml --admin-listen 127.0.0.1:9464");
  return app;
}

/// What would end the service at its start, by path of the option.
std::vector<std::pair<std::string, std::string>> ProblemsOf(const std::string& name,
                                                            const v1::ConfigFile& config) {
  std::vector<std::pair<std::string, std::string>> problems;
  if (config.log().kind() == "kafka") {
    eventlog::KafkaOptions options;
    options.bootstrap_servers = config.log().bootstrap_servers();
    options.settings.insert(config.log().kafka().begin(), config.log().kafka().end());
    problems = eventlog::KafkaLog::ProblemsOf(options);
  } else {
    problems.emplace_back("log.kind",
                          "the embedded log works within one process only (tributary dev); a "
                          "service of its own needs `kafka`");
  }
  if (config.control().tls_directory().empty()) {
    problems.emplace_back("control.tls_directory",
                          "must be set; `tributary tls init DIR` makes DIR/" + name);
  }
  const auto check_listen = [&](const std::string& path, const std::string& listen) {
    if (http::ParseListen(listen)) return;
    problems.emplace_back(path, "expected HOST:PORT, such as 127.0.0.1:9464");
  };
  if (!config.admin().listen().empty()) check_listen("admin.listen", config.admin().listen());
  if (name == "control") check_listen("control.listen", config.control().listen());
  return problems;
}

}  // namespace

const std::vector<std::string>& ServiceNames() {
  static const std::vector<std::string> names = {"extractor", "transformer", "loader", "control"};
  return names;
}

command_line::Command DescribeService(const std::string& name) {
  Arguments arguments;
  return command_line::Describe(*MakeApp(name, arguments));
}

ServiceCommand ReadServiceCommandLine(const std::string& name, int argc, const char* const* argv) {
  Arguments arguments;
  const std::unique_ptr<CLI::App> app = MakeApp(name, arguments);
  const std::string& file = arguments.file;
  ServiceCommand command;
  try {
    app->parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    command.exit_code = app->exit(error) == 0 ? 0 : kUsage;
    return command;
  }

  config::LoadOptions options;
  options.environment = config::ProcessEnvironment();
  if (app->count("--admin-listen") > 0) {
    options.flags.push_back(
        {.path = "admin.listen", .value = arguments.admin_listen, .name = "--admin-listen"});
  }
  options.more_checks = [&name](const v1::ConfigFile& config) { return ProblemsOf(name, config); };
  config::Loaded loaded = config::Load(file, options);
  for (const std::string& warning : loaded.warnings) std::cerr << name << ": " << warning << '\n';
  for (const config::Problem& problem : loaded.problems) {
    std::cerr << config::Format(problem) << '\n';
  }
  if (!loaded.problems.empty()) {
    command.exit_code = kConfiguration;
  } else if (arguments.check) {
    std::cout << file << ": ok\n";
    command.exit_code = 0;
  }
  command.config = std::move(loaded.config);
  return command;
}

}  // namespace tributary::runtime

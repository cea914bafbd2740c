#include "libs/runtime/service_flags.h"

#include <iostream>

#include <CLI/CLI.hpp>

#include "libs/config/config.h"
#include "libs/observe/build_info.h"

namespace tributary::runtime {
namespace {

constexpr int kUsage = 2;
constexpr int kConfiguration = 78;

}  // namespace

ServiceCommand ReadServiceCommandLine(const std::string& name, const std::string& description,
                                      int argc, const char* const* argv) {
  std::string file;
  std::string admin_listen;
  bool check = false;
  CLI::App app(description, name);
  app.add_option("--config", file, "Configuration file (YAML)")->required()->type_name("F");
  app.add_flag("--check", check, "Only check the configuration: exit 0 or 78");
  app.add_option("--admin-listen", admin_listen, "Where /livez, /readyz and /metrics are served")
      ->type_name("HOST:PORT");
  app.set_version_flag("--version", name + " " + observe::GetBuildInfo().version);
  app.footer("Example: " + name + " --config /etc/tributary/" + name +
             ".yaml --admin-listen 127.0.0.1:9464");
  ServiceCommand command;
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    command.exit_code = app.exit(error) == 0 ? 0 : kUsage;
    return command;
  }

  config::LoadOptions options;
  options.environment = config::ProcessEnvironment();
  if (app.count("--admin-listen") > 0) {
    options.flags.push_back(
        {.path = "admin.listen", .value = admin_listen, .name = "--admin-listen"});
  }
  config::Loaded loaded = config::Load(file, options);
  for (const std::string& warning : loaded.warnings) std::cerr << name << ": " << warning << '\n';
  for (const config::Problem& problem : loaded.problems) {
    std::cerr << config::Format(problem) << '\n';
  }
  if (loaded.problems.empty() && loaded.config.log().kind() != "kafka") {
    loaded.problems.emplace_back();
    std::cerr << file << ": error: log.kind: the embedded log works within one process only "
              << "(tributary dev); a service of its own needs `kafka`\n";
  }
  if (!loaded.problems.empty()) {
    command.exit_code = kConfiguration;
  } else if (check) {
    std::cout << file << ": ok\n";
    command.exit_code = 0;
  }
  command.config = std::move(loaded.config);
  return command;
}

}  // namespace tributary::runtime

#pragma once

#include <optional>
#include <string>
#include <vector>

#include "libs/command_line/command.h"
#include "tributary/v1/config.pb.h"

namespace tributary::runtime {

/// What the command line of a service comes to.
struct ServiceCommand {
  /// Set: the process ends with it, everything has been said. 0 for --help, --version and a --check
  /// without findings, 2 for wrong usage, 78 for a wrong configuration.
  std::optional<int> exit_code;
  v1::ConfigFile config;
};

/// `NAME --config F [--check] [--admin-listen HOST:PORT]`; flag > environment > file > default. All
/// problems of the configuration are printed at once, also those that the service itself would have
/// with it. `name`: one of ServiceNames().
ServiceCommand ReadServiceCommandLine(const std::string& name, int argc, const char* const* argv);

/// In the order of the flow.
const std::vector<std::string>& ServiceNames();
/// What the command line of the service takes.
command_line::Command DescribeService(const std::string& name);

}  // namespace tributary::runtime

#pragma once

#include <optional>
#include <string>

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
/// problems of the configuration are printed at once.
ServiceCommand ReadServiceCommandLine(const std::string& name, const std::string& description,
                                      int argc, const char* const* argv);

}  // namespace tributary::runtime

#pragma once

#include <optional>
#include <string>

#include "libs/command_line/command.h"
#include "services/simulator/app.h"

namespace tributary::simulator {

struct ParsedFlags {
  /// Set: the process ends with it, everything has been said.
  std::optional<int> exit_code;
  /// HOST:PORT, as it was given.
  std::string listen;
  /// But for host and port.
  ServerSettings settings;
};

ParsedFlags ParseFlags(int argc, const char* const* argv);

/// What its command line takes.
command_line::Command DescribeFlags();

}  // namespace tributary::simulator

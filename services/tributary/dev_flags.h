#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "libs/command_line/command.h"
#include "libs/time/time.h"

namespace tributary::dev {

/// `tributary dev …`, as the design's section 11 fixes it.
struct Flags {
  /// Settle, report, end.
  bool once = false;
  std::int32_t customers = 50;
  std::uint64_t seed = 1;
  /// None: the configuration's, or the embedded one.
  std::optional<std::string> log;
  std::optional<std::string> bootstrap_servers;
  std::optional<std::string> topic_prefix;
  std::optional<std::string> data;
  /// Of --once.
  std::optional<Duration> timeout;
  bool json = false;
  bool simulator = true;
  std::string config;
  bool verbose = false;
};

struct ParsedFlags {
  /// Set: the process ends with it, everything has been said.
  std::optional<int> exit_code;
  Flags flags;
};

ParsedFlags ParseFlags(int argc, const char* const* argv);

/// What its command line takes.
command_line::Command DescribeFlags();

}  // namespace tributary::dev

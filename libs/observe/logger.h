#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "libs/observe/metrics.h"
#include "libs/stage/stage.h"

namespace tributary::observe {

struct LogOptions {
  enum class Format : std::uint8_t {
    /// For people on a terminal, else JSON.
    kAuto,
    kJson,
    kHuman,
  };
  /// Of every line.
  std::string service;
  Logger::Level level = Logger::Level::kInfo;
  Format format = Format::kAuto;
  /// Where lines go; borrowed. 1: standard output.
  int descriptor = 1;
};

/// One line for each message, written at once and whole. From any thread. Counts
/// `tributary_log_messages_total{level}`, also what is below `level`.
///
/// JSON: `ts` (RFC 3339, UTC, microseconds), `level`, `service`, `msg`, then the fields; a field
/// that is named like one of these gets a `_` behind it. Control bytes are escaped, and what is not
/// UTF-8 is replaced.
std::unique_ptr<Logger> MakeLogger(const LogOptions& options, Metrics& metrics);

/// None: not a level.
std::optional<Logger::Level> ParseLevel(std::string_view text);
std::optional<LogOptions::Format> ParseFormat(std::string_view text);

}  // namespace tributary::observe

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libs/time/time.h"

namespace google::protobuf {
class Duration;
}  // namespace google::protobuf

// Quantities as people write them in files and flags.

namespace tributary::config {

/// `100ms`, `90s`, `5m`, `2h`, `30d`, and sums from the largest unit down such as `1h30m`; `0`.
/// None: malformed or too large.
std::optional<Duration> ParseDuration(std::string_view text);
/// `4096`, `512B`, `8KiB`, `64MiB`, `1GiB`. None: malformed or too large.
std::optional<std::int64_t> ParseSize(std::string_view text);
/// The shortest text that ParseDuration reads back, e.g. `1h30m`.
std::string FormatDuration(Duration duration);

Duration FromProto(const google::protobuf::Duration& duration);
google::protobuf::Duration ToProto(Duration duration);

}  // namespace tributary::config

#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

#include "libs/time/time.h"

namespace tributary::control {

/// From so long before its end on, a person is told of a credential. The alert
/// TributaryTokenEndsSoon begins at the same time.
inline constexpr Duration kCredentialEndsSoon = std::chrono::days(14);

/// Seconds since 1970 beyond which nothing ends: the year 9999.
inline constexpr std::int64_t kEndSecondsMax = 253'402'300'799;

/// When a token ends, if it says so itself (a JWT with `exp`). The signature is its server's
/// concern.
std::optional<WallTime> EndOfToken(std::string_view token);

}  // namespace tributary::control

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libs/time/time.h"

// Times as text, always with their zone: what is compared is UTC, never text.

namespace tributary {

/// A time with the offset in which it was written.
struct ZonedTime {
  WallTime utc{};
  /// East of UTC.
  std::int32_t offset_minutes = 0;
};

/// `2021-03-29T07:47:00-04:00`, with fraction, `Z`, a blank instead of `T`, a blank before the
/// offset, and an offset without colon. None: anything else, also a time without a zone.
std::optional<ZonedTime> ParseZonedTime(std::string_view text);

/// As ParseZonedTime, or a date alone, `2027-01-31`, which is its midnight in UTC.
std::optional<WallTime> ParseDateOrTime(std::string_view text);

/// The three forms of an HTTP date are one since RFC 9110: `Sun, 06 Nov 1994 08:49:37 GMT`.
std::optional<WallTime> ParseHttpDate(std::string_view text);

/// With zeros in front, up to so many places: far faster than printf, and there are many times.
void AppendDigits(std::string& out, std::int64_t value, std::size_t places);

/// RFC 3339 in UTC; a fraction (as few digits of micro seconds as hold it) only if there is one.
std::string FormatRfc3339(WallTime time);

/// `2021-03-29 07:47:00-04:00`, cut to whole seconds towards the past.
std::string FormatAtOffset(WallTime time, std::int32_t offset_minutes);

}  // namespace tributary

#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

// Moments and spans of time in expressions. Nothing here reads a clock.

namespace tributary::cel {

/// A moment in UTC, years 1 to 9999, with the precision in which it was written.
struct Timestamp {
  std::int64_t seconds = 0;  // since 1970
  std::int32_t nanos = 0;
  /// Digits behind the second's point; says nothing about the moment.
  std::int32_t digits = 0;

  friend bool operator==(const Timestamp& a, const Timestamp& b) {
    return a.seconds == b.seconds && a.nanos == b.nanos;
  }
  friend std::strong_ordering operator<=>(const Timestamp& a, const Timestamp& b) {
    if (a.seconds != b.seconds) return a.seconds <=> b.seconds;
    return a.nanos <=> b.nanos;
  }
};

/// RFC 3339 (`2021-03-29T07:47:00-04:00`), the form of webhooks (`2016-11-08 16:22:26 -0500`), or a
/// date alone, which is its midnight in UTC. None: neither, or outside the years 1 to 9999.
std::optional<Timestamp> ParseTimestamp(std::string_view text);
/// RFC 3339 in UTC.
std::string ToText(const Timestamp& timestamp);
/// None: outside the years 1 to 9999.
std::optional<Timestamp> Shift(const Timestamp& timestamp, std::int64_t nanos);
/// None: beyond 292 years.
std::optional<std::int64_t> NanosBetween(const Timestamp& from, const Timestamp& to);

struct CalendarTime {
  std::int64_t year = 0;
  int month = 1;    // 1 to 12
  int day = 1;      // 1 to 31
  int weekday = 0;  // 0 is Sunday
  int day_of_year = 1;
  int hour = 0;
  int minute = 0;
  int second = 0;
};
CalendarTime ToCalendar(const Timestamp& timestamp, std::int64_t offset_seconds);
/// Seconds east of UTC of `UTC`, `Z`, `+05:30`, `-0400`. None: no such offset.
std::optional<std::int64_t> ParseOffset(std::string_view text);
/// `%Y %m %d %e %H %M %S %y %j %b %B %a %A %z %%`, English names. None: another letter behind `%`.
std::optional<std::string> Format(const Timestamp& timestamp, std::string_view format,
                                  std::int64_t offset_seconds);

/// `1h30m`, `1.5s`, `-10ms` in nanoseconds. None: malformed or beyond 292 years.
std::optional<std::int64_t> ParseDuration(std::string_view text);
/// Seconds as decimal text with an `s`.
std::string DurationText(std::int64_t nanos);

}  // namespace tributary::cel

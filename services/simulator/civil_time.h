#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libs/time/time.h"
#include "services/simulator/world.h"

// Calendar arithmetic of a site: its times carry the offset of its zone, daylight saving included.

namespace tributary::simulator {

/// Whole seconds since 1970, rounded down.
std::int64_t SecondsOf(WallTime time);
WallTime TimeOf(std::int64_t seconds);

std::int32_t OffsetMinutes(const SiteZone& zone, std::int64_t seconds);
/// 2021-03-29T07:47:00-04:00
std::string SiteTime(const SiteZone& zone, std::int64_t seconds);
/// 2021-03-29, as the site's calendar has it.
std::string SiteDate(const SiteZone& zone, std::int64_t seconds);
/// Mon, 29 Mar 2021 11:47:00 GMT
std::string HttpDate(std::int64_t seconds);
/// 2021-03-29T11:47:00.123Z
std::string IsoUtc(WallTime time);

/// `YYYY-MM-DD HH:MM:SS`, with `T` for the blank if you like, and a zone (`Z`, `UTC`, `+02:00`,
/// `-0400`); without a zone it is the site's clock. A bare date is its first second.
std::optional<std::int64_t> ParseSiteTime(const SiteZone& zone, std::string_view text);
/// First second of a `YYYY-MM-DD` of the site's calendar.
std::optional<std::int64_t> ParseSiteDay(const SiteZone& zone, std::string_view text);

}  // namespace tributary::simulator

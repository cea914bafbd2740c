#include "services/simulator/civil_time.h"

#include <array>
#include <charconv>

#include "libs/time/rfc3339.h"

namespace tributary::simulator {
namespace {

constexpr std::int64_t kDay = 86'400;

struct Civil {
  std::int64_t year = 1970;
  std::int64_t month = 1;
  std::int64_t day = 1;
};

// Days since 1970 of the proleptic Gregorian calendar, and back.
std::int64_t DaysOf(Civil date) {
  const std::int64_t year = date.month <= 2 ? date.year - 1 : date.year;
  const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
  const std::int64_t year_of_era = year - era * 400;
  const std::int64_t day_of_year =
      (153 * (date.month + (date.month > 2 ? -3 : 9)) + 2) / 5 + date.day - 1;
  const std::int64_t day_of_era =
      year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146'097 + day_of_era - 719'468;
}

Civil CivilOf(std::int64_t days) {
  days += 719'468;
  const std::int64_t era = (days >= 0 ? days : days - 146'096) / 146'097;
  const std::int64_t day_of_era = days - era * 146'097;
  const std::int64_t year_of_era =
      (day_of_era - day_of_era / 1'460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  const std::int64_t day_of_year =
      day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::int64_t month_part = (5 * day_of_year + 2) / 153;
  const std::int64_t day = day_of_year - (153 * month_part + 2) / 5 + 1;
  const std::int64_t month = month_part < 10 ? month_part + 3 : month_part - 9;
  return {year_of_era + era * 400 + (month <= 2 ? 1 : 0), month, day};
}

std::int64_t FloorDiv(std::int64_t value, std::int64_t by) {
  return value / by - (value % by < 0 ? 1 : 0);
}

// 0 is Sunday.
std::int64_t WeekdayOf(std::int64_t days) {
  const std::int64_t rest = (days + 4) % 7;
  return rest < 0 ? rest + 7 : rest;
}

std::int64_t NthSunday(std::int64_t year, std::int64_t month, std::int64_t nth) {
  const std::int64_t first = DaysOf({year, month, 1});
  return first + (7 - WeekdayOf(first)) % 7 + 7 * (nth - 1);
}

std::int64_t LastSunday(std::int64_t year, std::int64_t month) {
  const std::int64_t last = DaysOf({month == 12 ? year + 1 : year, month % 12 + 1, 1}) - 1;
  return last - WeekdayOf(last);
}

bool IsSaving(const SiteZone& zone, std::int64_t seconds) {
  if (zone.daylight_saving == SiteZone::DaylightSaving::kNone) return false;
  const std::int64_t year = CivilOf(FloorDiv(seconds, kDay)).year;
  if (zone.daylight_saving == SiteZone::DaylightSaving::kEurope) {
    return seconds >= LastSunday(year, 3) * kDay + 3'600 &&
           seconds < LastSunday(year, 10) * kDay + 3'600;
  }
  const std::int64_t standard = zone.standard_minutes * std::int64_t{60};
  return seconds >= NthSunday(year, 3, 2) * kDay + 7'200 - standard &&
         seconds < NthSunday(year, 11, 1) * kDay + 3'600 - standard;
}

std::optional<std::int64_t> Digits(std::string_view text) {
  std::int64_t value = 0;
  if (text.empty()) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

std::optional<std::int64_t> LocalDay(std::string_view text) {
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return std::nullopt;
  const auto year = Digits(text.substr(0, 4));
  const auto month = Digits(text.substr(5, 2));
  const auto day = Digits(text.substr(8, 2));
  if (!year || !month || !day || *month < 1 || *month > 12 || *day < 1 || *day > 31) {
    return std::nullopt;
  }
  return DaysOf({*year, *month, *day});
}

// A time of the site's wall clock. In the hour that comes twice, the first one.
std::int64_t FromSiteClock(const SiteZone& zone, std::int64_t local) {
  const std::int64_t standard = zone.standard_minutes * std::int64_t{60};
  const std::int64_t guess = local - standard - 3'600;
  if (OffsetMinutes(zone, guess) * std::int64_t{60} == local - guess) return guess;
  return local - standard;
}

void AppendDate(std::string& out, const Civil& date) {
  AppendDigits(out, date.year, 4);
  out.push_back('-');
  AppendDigits(out, date.month, 2);
  out.push_back('-');
  AppendDigits(out, date.day, 2);
}

void AppendTimeOfDay(std::string& out, std::int64_t seconds) {
  AppendDigits(out, seconds / 3'600, 2);
  out.push_back(':');
  AppendDigits(out, seconds / 60 % 60, 2);
  out.push_back(':');
  AppendDigits(out, seconds % 60, 2);
}

}  // namespace

std::int64_t SecondsOf(WallTime time) {
  return FloorDiv(time.time_since_epoch().count(), 1'000'000);
}

WallTime TimeOf(std::int64_t seconds) { return WallTime(std::chrono::seconds(seconds)); }

std::int32_t OffsetMinutes(const SiteZone& zone, std::int64_t seconds) {
  return zone.standard_minutes + (IsSaving(zone, seconds) ? 60 : 0);
}

std::string SiteTime(const SiteZone& zone, std::int64_t seconds) {
  const std::int32_t offset = OffsetMinutes(zone, seconds);
  const std::int64_t local = seconds + offset * std::int64_t{60};
  const std::int64_t days = FloorDiv(local, kDay);
  const std::int32_t distance = offset < 0 ? -offset : offset;
  std::string out;
  out.reserve(25);
  AppendDate(out, CivilOf(days));
  out.push_back('T');
  AppendTimeOfDay(out, local - days * kDay);
  out.push_back(offset < 0 ? '-' : '+');
  AppendDigits(out, distance / 60, 2);
  out.push_back(':');
  AppendDigits(out, distance % 60, 2);
  return out;
}

std::string SiteDate(const SiteZone& zone, std::int64_t seconds) {
  std::string out;
  AppendDate(out,
             CivilOf(FloorDiv(seconds + OffsetMinutes(zone, seconds) * std::int64_t{60}, kDay)));
  return out;
}

std::string HttpDate(std::int64_t seconds) {
  static constexpr std::array kDays = {"Sun, ", "Mon, ", "Tue, ", "Wed, ",
                                       "Thu, ", "Fri, ", "Sat, "};
  static constexpr std::array kMonths = {" Jan ", " Feb ", " Mar ", " Apr ", " May ", " Jun ",
                                         " Jul ", " Aug ", " Sep ", " Oct ", " Nov ", " Dec "};
  const std::int64_t days = FloorDiv(seconds, kDay);
  const Civil date = CivilOf(days);
  std::string out;
  out.reserve(29);
  out += kDays[static_cast<std::size_t>(WeekdayOf(days))];
  AppendDigits(out, date.day, 2);
  out += kMonths[static_cast<std::size_t>(date.month - 1)];
  AppendDigits(out, date.year, 4);
  out.push_back(' ');
  AppendTimeOfDay(out, seconds - days * kDay);
  out += " GMT";
  return out;
}

std::string IsoUtc(WallTime time) {
  const std::int64_t seconds = SecondsOf(time);
  const std::int64_t days = FloorDiv(seconds, kDay);
  std::string out;
  out.reserve(24);
  AppendDate(out, CivilOf(days));
  out.push_back('T');
  AppendTimeOfDay(out, seconds - days * kDay);
  out.push_back('.');
  AppendDigits(out, (time.time_since_epoch().count() - seconds * 1'000'000) / 1'000, 3);
  out.push_back('Z');
  return out;
}

std::optional<std::int64_t> ParseSiteDay(const SiteZone& zone, std::string_view text) {
  const auto day = LocalDay(text);
  if (!day) return std::nullopt;
  return FromSiteClock(zone, *day * kDay);
}

std::optional<std::int64_t> ParseSiteTime(const SiteZone& zone, std::string_view text) {
  if (text.size() == 10) return ParseSiteDay(zone, text);
  if (text.size() < 19 || (text[10] != ' ' && text[10] != 'T') || text[13] != ':' ||
      text[16] != ':') {
    return std::nullopt;
  }
  const auto day = LocalDay(text.substr(0, 10));
  const auto hour = Digits(text.substr(11, 2));
  const auto minute = Digits(text.substr(14, 2));
  const auto second = Digits(text.substr(17, 2));
  if (!day || !hour || !minute || !second) return std::nullopt;
  const std::int64_t local = *day * kDay + *hour * 3'600 + *minute * 60 + *second;
  std::string_view rest = text.substr(19);
  if (!rest.empty() && rest.front() == '.') {
    const std::size_t end = rest.find_first_not_of("0123456789", 1);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end);
  }
  while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
  if (rest.empty()) return FromSiteClock(zone, local);
  if (rest == "Z" || rest == "UTC") return local;
  const char sign = rest.front();
  std::string digits;
  for (const char c : rest.substr(1)) {
    if (c != ':') digits.push_back(c);
  }
  if ((sign != '+' && sign != '-') || digits.size() != 4) return std::nullopt;
  const auto hours = Digits(std::string_view(digits).substr(0, 2));
  const auto minutes = Digits(std::string_view(digits).substr(2, 2));
  if (!hours || !minutes) return std::nullopt;
  const std::int64_t offset = *hours * 3'600 + *minutes * 60;
  return sign == '-' ? local + offset : local - offset;
}

}  // namespace tributary::simulator

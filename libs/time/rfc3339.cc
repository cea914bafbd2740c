#include "libs/time/rfc3339.h"

#include <array>
#include <charconv>

namespace tributary {
namespace {

using std::chrono::days;
using std::chrono::floor;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

/// Reads from the front of a text; once something was not there, everything fails.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  int Digits(std::size_t count) {
    if (rest_.size() < count) return Fail();
    int value = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const char c = rest_[i];
      if (c < '0' || c > '9') return Fail();
      value = value * 10 + (c - '0');
    }
    rest_.remove_prefix(count);
    return value;
  }

  bool Take(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  void Expect(char c) {
    if (!Take(c)) Fail();
  }

  char Next() {
    if (rest_.empty()) {
      Fail();
      return '\0';
    }
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }

  bool at_digit() const { return !rest_.empty() && rest_.front() >= '0' && rest_.front() <= '9'; }
  std::string_view rest() const { return rest_; }
  bool ended() const { return ok_ && rest_.empty(); }
  bool ok() const { return ok_; }

 private:
  int Fail() {
    ok_ = false;
    return 0;
  }

  std::string_view rest_;
  bool ok_ = true;
};

std::optional<WallTime> FromCivil(int year, int month, int day, int hour, int minute, int second) {
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  // 60 is a leap second; it is the second after 59.
  if (!date.ok() || hour > 23 || minute > 59 || second > 60) return std::nullopt;
  const std::chrono::sys_days since_epoch(date);
  return WallTime(std::chrono::duration_cast<Duration>(
      since_epoch.time_since_epoch() + hours(hour) + minutes(minute) + seconds(second)));
}

struct Civil {
  int year;
  unsigned month;
  unsigned day;
  int hour;
  int minute;
  int second;
  std::int64_t micros;
};

Civil ToCivil(WallTime time) {
  const Duration since_epoch = time.time_since_epoch();
  const auto day = floor<days>(since_epoch);
  const std::chrono::year_month_day date{std::chrono::sys_days(day)};
  const Duration within = since_epoch - day;
  const auto whole = floor<seconds>(within);
  const auto count = whole.count();
  return {.year = static_cast<int>(date.year()),
          .month = static_cast<unsigned>(date.month()),
          .day = static_cast<unsigned>(date.day()),
          .hour = static_cast<int>(count / 3600),
          .minute = static_cast<int>(count / 60 % 60),
          .second = static_cast<int>(count % 60),
          .micros = (within - whole).count()};
}

std::string DateAndTime(const Civil& civil, char between) {
  std::string text;
  text.reserve(32);
  AppendDigits(text, civil.year, 4);
  text.push_back('-');
  AppendDigits(text, civil.month, 2);
  text.push_back('-');
  AppendDigits(text, civil.day, 2);
  text.push_back(between);
  AppendDigits(text, civil.hour, 2);
  text.push_back(':');
  AppendDigits(text, civil.minute, 2);
  text.push_back(':');
  AppendDigits(text, civil.second, 2);
  return text;
}

}  // namespace

std::optional<ZonedTime> ParseZonedTime(std::string_view text) {
  Reader in(text);
  const int year = in.Digits(4);
  in.Expect('-');
  const int month = in.Digits(2);
  in.Expect('-');
  const int day = in.Digits(2);
  const char separator = in.Next();
  if (separator != 'T' && separator != 't' && separator != ' ') return std::nullopt;
  const int hour = in.Digits(2);
  in.Expect(':');
  const int minute = in.Digits(2);
  in.Expect(':');
  const int second = in.Digits(2);
  std::int64_t micros = 0;
  if (in.Take('.')) {
    if (!in.at_digit()) return std::nullopt;
    std::int64_t unit = 100'000;
    while (in.at_digit()) {
      micros += in.Digits(1) * unit;
      unit /= 10;
    }
  }
  in.Take(' ');
  int offset_minutes = 0;
  if (!in.Take('Z') && !in.Take('z')) {
    const char sign = in.Next();
    if (sign != '+' && sign != '-') return std::nullopt;
    const int offset_hour = in.Digits(2);
    in.Take(':');
    const int offset_minute = in.Digits(2);
    if (offset_hour > 23 || offset_minute > 59) return std::nullopt;
    offset_minutes = (offset_hour * 60 + offset_minute) * (sign == '-' ? -1 : 1);
  }
  if (!in.ended()) return std::nullopt;
  const std::optional<WallTime> local = FromCivil(year, month, day, hour, minute, second);
  if (!local) return std::nullopt;
  return ZonedTime{.utc = *local + Duration(micros) - minutes(offset_minutes),
                   .offset_minutes = offset_minutes};
}

std::optional<WallTime> ParseDateOrTime(std::string_view text) {
  constexpr std::size_t kDateSize = 10;
  const std::optional<ZonedTime> time = ParseZonedTime(
      text.size() == kDateSize ? std::string(text) + "T00:00:00Z" : std::string(text));
  return time ? std::optional(time->utc) : std::nullopt;
}

std::optional<WallTime> ParseHttpDate(std::string_view text) {
  const std::size_t comma = text.find(", ");
  if (comma == std::string_view::npos) return std::nullopt;
  Reader in(text.substr(comma + 2));
  const int day = in.Digits(2);
  in.Expect(' ');
  const std::array<char, 3> name = {in.Next(), in.Next(), in.Next()};
  constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  const std::size_t month = kMonths.find(std::string_view(name.data(), name.size()));
  if (!in.ok() || month == std::string_view::npos || month % 3 != 0) return std::nullopt;
  in.Expect(' ');
  const int year = in.Digits(4);
  in.Expect(' ');
  const int hour = in.Digits(2);
  in.Expect(':');
  const int minute = in.Digits(2);
  in.Expect(':');
  const int second = in.Digits(2);
  if (!in.ok() || in.rest() != " GMT") return std::nullopt;
  return FromCivil(year, static_cast<int>(month / 3) + 1, day, hour, minute, second);
}

void AppendDigits(std::string& out, std::int64_t value, std::size_t places) {
  std::array<char, 20> digits{};
  const char* const end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  const auto count = static_cast<std::size_t>(end - digits.data());
  if (count < places) out.append(places - count, '0');
  out.append(digits.data(), count);
}

std::string FormatRfc3339(WallTime time) {
  const Civil civil = ToCivil(time);
  std::string text = DateAndTime(civil, 'T');
  if (civil.micros != 0) {
    text.push_back('.');
    AppendDigits(text, civil.micros, 6);
    while (text.back() == '0') text.pop_back();
  }
  text.push_back('Z');
  return text;
}

std::string FormatAtOffset(WallTime time, std::int32_t offset_minutes) {
  const int absolute = offset_minutes < 0 ? -offset_minutes : offset_minutes;
  std::string text = DateAndTime(ToCivil(time + minutes(offset_minutes)), ' ');
  text.push_back(offset_minutes < 0 ? '-' : '+');
  AppendDigits(text, absolute / 60, 2);
  text.push_back(':');
  AppendDigits(text, absolute % 60, 2);
  return text;
}

}  // namespace tributary

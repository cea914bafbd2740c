#include "libs/cel/timestamp.h"

#include <array>
#include <chrono>

namespace tributary::cel {
namespace {

constexpr std::int64_t kNanosPerSecond = 1'000'000'000;
constexpr std::int64_t kSecondsPerDay = 86'400;
constexpr std::int64_t kFirstSecond = -62'135'596'800;  // 0001-01-01T00:00:00Z
constexpr std::int64_t kLastSecond = 253'402'300'799;   // 9999-12-31T23:59:59Z

bool InRange(std::int64_t seconds) { return seconds >= kFirstSecond && seconds <= kLastSecond; }

// Reads fixed fields from the front of a text.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  bool AtEnd() const { return text_.empty(); }
  char Peek() const { return text_.empty() ? '\0' : text_.front(); }
  bool Take(char wanted) {
    if (Peek() != wanted || text_.empty()) return false;
    text_.remove_prefix(1);
    return true;
  }
  std::optional<int> TakeDigits(std::size_t count) {
    if (text_.size() < count) return std::nullopt;
    int number = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (text_[i] < '0' || text_[i] > '9') return std::nullopt;
      number = number * 10 + (text_[i] - '0');
    }
    text_.remove_prefix(count);
    return number;
  }
  std::string_view rest() const { return text_; }

 private:
  std::string_view text_;
};

void AppendPadded(std::string& out, std::int64_t number, std::size_t width, char pad = '0') {
  const std::string digits = std::to_string(number);
  if (digits.size() < width) out.append(width - digits.size(), pad);
  out += digits;
}

}  // namespace

std::optional<std::int64_t> ParseOffset(std::string_view text) {
  if (text == "UTC" || text == "Z" || text == "z") return 0;
  Reader reader(text);
  const bool west = reader.Peek() == '-';
  if (!reader.Take('+') && !reader.Take('-')) return std::nullopt;
  const std::optional<int> hours = reader.TakeDigits(2);
  if (!hours || *hours > 23) return std::nullopt;
  reader.Take(':');
  const std::optional<int> minutes = reader.TakeDigits(2);
  if (!minutes || *minutes > 59 || !reader.AtEnd()) return std::nullopt;
  const std::int64_t seconds = *hours * 3600 + *minutes * 60;
  return west ? -seconds : seconds;
}

std::optional<Timestamp> ParseTimestamp(std::string_view text) {
  Reader reader(text);
  const std::optional<int> year = reader.TakeDigits(4);
  if (!year || *year < 1 || !reader.Take('-')) return std::nullopt;
  const std::optional<int> month = reader.TakeDigits(2);
  if (!month || !reader.Take('-')) return std::nullopt;
  const std::optional<int> day = reader.TakeDigits(2);
  if (!day) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(*year),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok()) return std::nullopt;
  Timestamp timestamp;
  timestamp.seconds = std::chrono::sys_days(date).time_since_epoch().count() * kSecondsPerDay;
  if (reader.AtEnd()) return timestamp;

  if (!reader.Take('T') && !reader.Take('t') && !reader.Take(' ')) return std::nullopt;
  const std::optional<int> hour = reader.TakeDigits(2);
  if (!hour || *hour > 23 || !reader.Take(':')) return std::nullopt;
  const std::optional<int> minute = reader.TakeDigits(2);
  if (!minute || *minute > 59 || !reader.Take(':')) return std::nullopt;
  const std::optional<int> second = reader.TakeDigits(2);
  // 60: a leap second, which is taken for the second behind it.
  if (!second || *second > 60) return std::nullopt;
  if (reader.Take('.')) {
    std::int32_t weight = 100'000'000;
    std::optional<int> digit = reader.TakeDigits(1);
    if (!digit) return std::nullopt;
    for (; digit; digit = reader.TakeDigits(1)) {
      if (timestamp.digits < 9) ++timestamp.digits;
      timestamp.nanos += *digit * weight;
      weight /= 10;
    }
  }
  reader.Take(' ');
  const std::optional<std::int64_t> offset = ParseOffset(reader.rest());
  if (!offset) return std::nullopt;
  timestamp.seconds += *hour * 3600 + *minute * 60 + *second - *offset;
  if (!InRange(timestamp.seconds)) return std::nullopt;
  return timestamp;
}

std::string ToText(const Timestamp& timestamp) {
  const CalendarTime time = ToCalendar(timestamp, 0);
  std::string text;
  AppendPadded(text, time.year, 4);
  text += '-';
  AppendPadded(text, time.month, 2);
  text += '-';
  AppendPadded(text, time.day, 2);
  text += 'T';
  AppendPadded(text, time.hour, 2);
  text += ':';
  AppendPadded(text, time.minute, 2);
  text += ':';
  AppendPadded(text, time.second, 2);
  if (timestamp.digits > 0 || timestamp.nanos != 0) {
    std::string fraction;
    AppendPadded(fraction, timestamp.nanos, 9);
    std::size_t digits = static_cast<std::size_t>(timestamp.digits);
    while (digits < 9 && fraction.find_first_not_of('0', digits) != std::string::npos) ++digits;
    text += '.';
    text += fraction.substr(0, digits);
  }
  text += 'Z';
  return text;
}

std::optional<Timestamp> Shift(const Timestamp& timestamp, std::int64_t nanos) {
  Timestamp shifted = timestamp;
  shifted.seconds += nanos / kNanosPerSecond;
  shifted.nanos += static_cast<std::int32_t>(nanos % kNanosPerSecond);
  if (shifted.nanos < 0) {
    shifted.nanos += static_cast<std::int32_t>(kNanosPerSecond);
    --shifted.seconds;
  } else if (shifted.nanos >= kNanosPerSecond) {
    shifted.nanos -= static_cast<std::int32_t>(kNanosPerSecond);
    ++shifted.seconds;
  }
  if (!InRange(shifted.seconds)) return std::nullopt;
  return shifted;
}

std::optional<std::int64_t> NanosBetween(const Timestamp& from, const Timestamp& to) {
  std::int64_t nanos = 0;
  if (__builtin_mul_overflow(to.seconds - from.seconds, kNanosPerSecond, &nanos) ||
      __builtin_add_overflow(nanos, static_cast<std::int64_t>(to.nanos - from.nanos), &nanos)) {
    return std::nullopt;
  }
  return nanos;
}

CalendarTime ToCalendar(const Timestamp& timestamp, std::int64_t offset_seconds) {
  const std::chrono::sys_seconds moment{std::chrono::seconds(timestamp.seconds + offset_seconds)};
  const auto days = std::chrono::floor<std::chrono::days>(moment);
  const std::chrono::year_month_day date{days};
  const auto in_day = static_cast<int>((moment - days).count());
  CalendarTime time;
  time.year = static_cast<int>(date.year());
  time.month = static_cast<int>(static_cast<unsigned>(date.month()));
  time.day = static_cast<int>(static_cast<unsigned>(date.day()));
  time.weekday = static_cast<int>(std::chrono::weekday(days).c_encoding());
  time.day_of_year = static_cast<int>(
      (days - std::chrono::sys_days(date.year() / std::chrono::January / 1)).count() + 1);
  time.hour = in_day / 3600;
  time.minute = in_day / 60 % 60;
  time.second = in_day % 60;
  return time;
}

std::optional<std::string> Format(const Timestamp& timestamp, std::string_view format,
                                  std::int64_t offset_seconds) {
  constexpr std::array<std::string_view, 12> kMonths = {
      "January", "February", "March",     "April",   "May",      "June",
      "July",    "August",   "September", "October", "November", "December"};
  constexpr std::array<std::string_view, 7> kDays = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                     "Thursday", "Friday", "Saturday"};
  const CalendarTime time = ToCalendar(timestamp, offset_seconds);
  const std::string_view month = kMonths[static_cast<std::size_t>(time.month - 1)];
  const std::string_view day = kDays[static_cast<std::size_t>(time.weekday)];
  std::string out;
  for (std::size_t at = 0; at < format.size(); ++at) {
    if (format[at] != '%') {
      out += format[at];
      continue;
    }
    if (++at == format.size()) return std::nullopt;
    switch (format[at]) {
      case 'Y':
        AppendPadded(out, time.year, 4);
        break;
      case 'y':
        AppendPadded(out, time.year % 100, 2);
        break;
      case 'm':
        AppendPadded(out, time.month, 2);
        break;
      case 'd':
        AppendPadded(out, time.day, 2);
        break;
      case 'e':
        out += std::to_string(time.day);
        break;
      case 'j':
        AppendPadded(out, time.day_of_year, 3);
        break;
      case 'H':
        AppendPadded(out, time.hour, 2);
        break;
      case 'M':
        AppendPadded(out, time.minute, 2);
        break;
      case 'S':
        AppendPadded(out, time.second, 2);
        break;
      case 'b':
        out += month.substr(0, 3);
        break;
      case 'B':
        out += month;
        break;
      case 'a':
        out += day.substr(0, 3);
        break;
      case 'A':
        out += day;
        break;
      case 'z': {
        const std::int64_t minutes = (offset_seconds < 0 ? -offset_seconds : offset_seconds) / 60;
        out += offset_seconds < 0 ? '-' : '+';
        AppendPadded(out, minutes / 60, 2);
        AppendPadded(out, minutes % 60, 2);
        break;
      }
      case '%':
        out += '%';
        break;
      default:
        return std::nullopt;
    }
  }
  return out;
}

std::optional<std::int64_t> ParseDuration(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  if (text.empty()) return std::nullopt;
  std::int64_t total = 0;
  while (!text.empty()) {
    std::int64_t whole = 0;
    std::size_t at = 0;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
      if (__builtin_mul_overflow(whole, std::int64_t{10}, &whole) ||
          __builtin_add_overflow(whole, std::int64_t{text[at] - '0'}, &whole)) {
        return std::nullopt;
      }
    }
    if (at == 0) return std::nullopt;
    std::string_view fraction;
    if (at < text.size() && text[at] == '.') {
      const std::size_t begin = ++at;
      while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
      if (at == begin) return std::nullopt;
      fraction = text.substr(begin, at - begin);
    }
    text.remove_prefix(at);
    std::int64_t unit = 0;
    const auto take_unit = [&](std::string_view name, std::int64_t nanos) {
      if (unit != 0 || !text.starts_with(name)) return;
      text.remove_prefix(name.size());
      unit = nanos;
    };
    take_unit("ms", 1'000'000);
    take_unit("us", 1'000);
    take_unit("ns", 1);
    take_unit("s", kNanosPerSecond);
    take_unit("m", 60 * kNanosPerSecond);
    take_unit("h", 3600 * kNanosPerSecond);
    take_unit("d", kSecondsPerDay * kNanosPerSecond);
    if (unit == 0) return std::nullopt;
    std::int64_t part = 0;
    if (__builtin_mul_overflow(whole, unit, &part)) return std::nullopt;
    std::int64_t weight = unit;
    for (const char digit : fraction) {
      if (weight % 10 != 0) break;  // below a nanosecond
      weight /= 10;
      if (__builtin_add_overflow(part, (digit - '0') * weight, &part)) return std::nullopt;
    }
    if (__builtin_add_overflow(total, part, &total)) return std::nullopt;
  }
  return negative ? -total : total;
}

std::string DurationText(std::int64_t nanos) {
  const bool negative = nanos < 0;
  const std::uint64_t magnitude =
      negative ? 0 - static_cast<std::uint64_t>(nanos) : static_cast<std::uint64_t>(nanos);
  std::string text = negative ? "-" : "";
  text += std::to_string(magnitude / kNanosPerSecond);
  if (const std::uint64_t fraction = magnitude % kNanosPerSecond; fraction != 0) {
    std::string digits = std::to_string(fraction);
    digits.insert(0, 9 - digits.size(), '0');
    digits.erase(digits.find_last_not_of('0') + 1);
    text += '.';
    text += digits;
  }
  text += 's';
  return text;
}

}  // namespace tributary::cel

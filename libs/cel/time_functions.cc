#include "libs/cel/function_parts.h"
#include "libs/utf8/utf8.h"

namespace tributary::cel {
namespace {

using Kind = Value::Kind;

Value CalendarPart(Function function, std::span<const Value> arguments) {
  if (arguments[0].kind() == Kind::kDuration) {
    const std::int64_t nanos = arguments[0].nanos();
    switch (function) {
      case Function::kGetHours:
        return Value::Int(nanos / 3'600'000'000'000);
      case Function::kGetMinutes:
        return Value::Int(nanos / 60'000'000'000);
      case Function::kGetSeconds:
        return Value::Int(nanos / 1'000'000'000);
      default:
        return Value::Int(nanos / 1'000'000 % 1000);
    }
  }
  std::int64_t offset = 0;
  if (arguments.size() > 1) {
    const std::optional<std::int64_t> parsed = ParseOffset(arguments[1].text());
    if (!parsed) return Value::Error("a time zone is `UTC` or an offset such as `-05:00`");
    offset = *parsed;
  }
  const CalendarTime time = ToCalendar(arguments[0].timestamp(), offset);
  switch (function) {
    case Function::kGetFullYear:
      return Value::Int(time.year);
    case Function::kGetMonth:
      return Value::Int(time.month - 1);
    case Function::kGetDate:
      return Value::Int(time.day);
    case Function::kGetDayOfMonth:
      return Value::Int(time.day - 1);
    case Function::kGetDayOfWeek:
      return Value::Int(time.weekday);
    case Function::kGetDayOfYear:
      return Value::Int(time.day_of_year - 1);
    case Function::kGetHours:
      return Value::Int(time.hour);
    case Function::kGetMinutes:
      return Value::Int(time.minute);
    case Function::kGetSeconds:
      return Value::Int(time.second);
    default:
      return Value::Int(arguments[0].timestamp().nanos / 1'000'000);
  }
}

Value FormatDate(std::span<const Value> arguments) {
  std::int64_t offset = 0;
  if (arguments.size() > 2) {
    const std::optional<std::int64_t> parsed = ParseOffset(arguments[2].text());
    if (!parsed) return Value::Error("a time zone is `UTC` or an offset such as `-05:00`");
    offset = *parsed;
  }
  std::optional<std::string> text = Format(arguments[0].timestamp(), arguments[1].text(), offset);
  if (!text) return Value::Error("formatDate knows %Y %y %m %d %e %j %H %M %S %b %B %a %A %z %%");
  return Value::String(std::move(*text));
}

Value ParseTime(const Value& value) {
  if (value.kind() == Kind::kTimestamp) return value;
  if (value.kind() == Kind::kInt) {
    const std::optional<Timestamp> moment = [&]() -> std::optional<Timestamp> {
      if (value.integer() < -62'135'596'800 || value.integer() > 253'402'300'799) {
        return std::nullopt;
      }
      return Timestamp{value.integer(), 0, 0};
    }();
    return moment ? Value::Time(*moment) : Value::Error("outside of the years 1 to 9999");
  }
  const std::optional<Timestamp> moment = ParseTimestamp(value.text());
  if (moment) return Value::Time(*moment);
  return Value::Error("timestamp: \"" + utf8::Cleaned(value.text(), kQuotedBytesMax) +
                      "\" is not a time such as 2026-11-21T08:00:00Z");
}

}  // namespace

Value CallTime(Function function, std::span<const Value> arguments) {
  const Value& a = arguments[0];
  switch (function) {
    case Function::kTimestamp:
      return ParseTime(a);
    case Function::kDuration: {
      if (a.kind() == Kind::kDuration) return a;
      const std::optional<std::int64_t> nanos = ParseDuration(a.text());
      return nanos ? Value::Span(*nanos)
                   : Value::Error("duration: write it like `36h`, `90s`, `1h30m`");
    }
    case Function::kGetFullYear:
    case Function::kGetMonth:
    case Function::kGetDate:
    case Function::kGetDayOfMonth:
    case Function::kGetDayOfWeek:
    case Function::kGetDayOfYear:
    case Function::kGetHours:
    case Function::kGetMinutes:
    case Function::kGetSeconds:
    case Function::kGetMilliseconds:
      return CalendarPart(function, arguments);
    case Function::kFormatDate:
      return FormatDate(arguments);
    default:
      return Value::Error("not known");
  }
}

}  // namespace tributary::cel

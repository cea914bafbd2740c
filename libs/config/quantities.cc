#include "libs/config/quantities.h"

#include <array>
#include <charconv>
#include <limits>

#include <google/protobuf/duration.pb.h>

namespace tributary::config {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t factor;
};
// Microseconds, largest first.
constexpr std::array kTimeUnits = {Unit{"d", 86'400'000'000}, Unit{"h", 3'600'000'000},
                                   Unit{"m", 60'000'000},     Unit{"s", 1'000'000},
                                   Unit{"ms", 1'000},         Unit{"us", 1}};
constexpr std::array kSizeUnits = {Unit{"GiB", std::int64_t{1} << 30}, Unit{"MiB", 1 << 20},
                                   Unit{"KiB", 1 << 10}, Unit{"B", 1}, Unit{"", 1}};

// Takes the digits at the front of `text`.
std::optional<std::int64_t> TakeNumber(std::string_view& text) {
  std::int64_t number = 0;
  if (text.empty() || text.front() < '0' || text.front() > '9') {
    return std::nullopt;
  }
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) {
    return std::nullopt;
  }
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return number;
}

}  // namespace

std::optional<Duration> ParseDuration(std::string_view text) {
  if (text == "0") {
    return Duration::zero();
  }
  std::int64_t sum = 0;
  std::size_t smallest_yet = 0;
  if (text.empty()) {
    return std::nullopt;
  }
  while (!text.empty()) {
    const std::optional<std::int64_t> number = TakeNumber(text);
    if (!number) {
      return std::nullopt;
    }
    std::size_t letters = 0;
    while (letters < text.size() && (text[letters] < '0' || text[letters] > '9')) {
      ++letters;
    }
    const std::string_view name = text.substr(0, letters);
    text.remove_prefix(letters);
    std::size_t unit = smallest_yet;
    while (unit < kTimeUnits.size() && kTimeUnits[unit].name != name) {
      ++unit;
    }
    if (unit == kTimeUnits.size()) {
      return std::nullopt;
    }
    smallest_yet = unit + 1;
    std::int64_t part = 0;
    if (__builtin_mul_overflow(*number, kTimeUnits[unit].factor, &part) ||
        __builtin_add_overflow(sum, part, &sum)) {
      return std::nullopt;
    }
  }
  return Duration(sum);
}

std::optional<std::int64_t> ParseSize(std::string_view text) {
  const std::optional<std::int64_t> number = TakeNumber(text);
  if (!number) {
    return std::nullopt;
  }
  for (const Unit& unit : kSizeUnits) {
    if (text == unit.name) {
      std::int64_t size = 0;
      if (__builtin_mul_overflow(*number, unit.factor, &size)) {
        return std::nullopt;
      }
      return size;
    }
  }
  return std::nullopt;
}

std::string FormatDuration(Duration duration) {
  std::int64_t rest = duration.count();
  if (rest == 0) {
    return "0s";
  }
  std::string text;
  if (rest < 0) {
    text = "-";
    rest = -rest;
  }
  for (const Unit& unit : kTimeUnits) {
    if (rest >= unit.factor) {
      text += std::to_string(rest / unit.factor);
      text += unit.name;
      rest %= unit.factor;
    }
  }
  return text;
}

Duration FromProto(const google::protobuf::Duration& duration) {
  return std::chrono::seconds(duration.seconds()) + Duration(duration.nanos() / 1000);
}

google::protobuf::Duration ToProto(Duration duration) {
  google::protobuf::Duration proto;
  proto.set_seconds(duration.count() / 1'000'000);
  proto.set_nanos(static_cast<std::int32_t>(duration.count() % 1'000'000 * 1000));
  return proto;
}

}  // namespace tributary::config

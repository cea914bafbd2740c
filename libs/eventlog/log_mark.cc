#include "libs/eventlog/log_mark.h"

#include <algorithm>
#include <charconv>

namespace tributary::eventlog {
namespace {

constexpr std::string_view kGeneration = "generation=";
constexpr std::string_view kSeen = "seen=";

std::optional<std::int64_t> Number(std::string_view digits) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return number;
}

}  // namespace

std::string FormatMark(const LogMark& mark) {
  std::string text;
  if (mark.generation != 0) text.append(kGeneration).append(std::to_string(mark.generation));
  if (mark.seen) {
    if (!text.empty()) text.push_back(' ');
    text.append(kSeen).append(std::to_string(mark.seen->offset)).push_back('@');
    text.append(std::to_string(mark.seen->appended_at.time_since_epoch().count()));
  }
  return text;
}

LogMark ParseMark(std::string_view text) {
  LogMark mark;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    std::string_view part = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (part.starts_with(kGeneration)) {
      part.remove_prefix(kGeneration.size());
      mark.generation = Number(part).value_or(0);
    } else if (part.starts_with(kSeen)) {
      part.remove_prefix(kSeen.size());
      const std::size_t at = part.find('@');
      if (at == std::string_view::npos) continue;
      const std::optional<std::int64_t> offset = Number(part.substr(0, at));
      const std::optional<std::int64_t> time = Number(part.substr(at + 1));
      if (offset && time && *offset >= 0) mark.seen = {*offset, WallTime(Duration(*time))};
    }
  }
  return mark;
}

}  // namespace tributary::eventlog

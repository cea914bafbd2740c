#include "libs/http/message.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace tributary::http {
namespace {

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return Lower(x) == Lower(y); });
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::optional<std::int64_t> Digits(std::string_view text) {
  std::int64_t value = 0;
  if (text.empty()) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`; the two obsolete forms are not understood.
std::optional<WallTime> HttpDate(std::string_view text) {
  static constexpr std::array<std::string_view, 12> kMonths = {
      "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  if (text.size() != 29 || text.substr(3, 2) != ", " || text[7] != ' ' || text[11] != ' ' ||
      text[16] != ' ' || text[19] != ':' || text[22] != ':' || text.substr(25) != " GMT") {
    return std::nullopt;
  }
  const auto* const month = std::find(kMonths.begin(), kMonths.end(), text.substr(8, 3));
  const auto day = Digits(text.substr(5, 2));
  const auto year = Digits(text.substr(12, 4));
  const auto hour = Digits(text.substr(17, 2));
  const auto minute = Digits(text.substr(20, 2));
  const auto second = Digits(text.substr(23, 2));
  if (month == kMonths.end() || !day || !year || !hour || !minute || !second) return std::nullopt;
  const std::chrono::year_month_day date{
      std::chrono::year(static_cast<int>(*year)),
      std::chrono::month(static_cast<unsigned>(month - kMonths.begin()) + 1),
      std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok() || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
  const Duration since_epoch = std::chrono::sys_days(date).time_since_epoch() +
                               std::chrono::hours(*hour) + std::chrono::minutes(*minute) +
                               std::chrono::seconds(*second);
  return WallTime(since_epoch);
}

/// Longer than any server means it; keeps sums away from overflow.
constexpr std::int64_t kRetryAfterSecondsMax = 30 * 86'400;

std::optional<Duration> RetryAfter(const Headers& headers, WallTime now) {
  const std::string* const header = FindHeader(headers, "Retry-After");
  if (header == nullptr) return std::nullopt;
  const std::string_view text = Trim(*header);
  if (const auto seconds = Digits(text)) {
    return std::chrono::seconds(std::min(*seconds, kRetryAfterSecondsMax));
  }
  if (const auto date = HttpDate(text)) {
    return std::clamp<Duration>(*date - now, Duration::zero(),
                                std::chrono::seconds(kRetryAfterSecondsMax));
  }
  return std::nullopt;
}

AnswerClass ClassOfComplete(int status, bool body_parses) {
  if (status >= 200 && status < 300) {
    // 202: taken, and perhaps done later. 206: a part of what was asked for.
    const bool whole = status != 202 && status != 206;
    return whole && body_parses ? AnswerClass::kDone : AnswerClass::kUnknown;
  }
  switch (status) {
    case 401:
      return AnswerClass::kUnauthorised;
    case 408:
      return AnswerClass::kUnknown;
    case 429:
      return AnswerClass::kThrottled;
    default:
      // A redirect says nothing of what was done before it (303 follows a done POST).
      return status >= 400 && status < 500 ? AnswerClass::kRefused : AnswerClass::kUnknown;
  }
}

}  // namespace

const std::string* FindHeader(const Headers& headers, std::string_view name) {
  for (const auto& [header, value] : headers) {
    if (EqualsIgnoringCase(header, name)) return &value;
  }
  return nullptr;
}

std::string_view Name(AnswerClass answer) {
  switch (answer) {
    case AnswerClass::kDone:
      return "done";
    case AnswerClass::kRefused:
      return "refused";
    case AnswerClass::kThrottled:
      return "throttled";
    case AnswerClass::kUnauthorised:
      return "unauthorised";
    case AnswerClass::kUnknown:
      return "unknown";
  }
  return "unknown";
}

Classified Classify(const Completion& completion, bool body_parses, bool creates_or_acts,
                    WallTime now_wall) {
  Classified result;
  const std::string because = completion.error.empty() ? "" : ": " + completion.error;
  const std::string status = "status " + std::to_string(completion.status);
  switch (completion.delivery) {
    case Delivery::kNotSent:
      result.answer = AnswerClass::kThrottled;
      result.evidence =
          completion.refused_at_send ? "not sent: refused at the send" : "not sent" + because;
      return result;

    case Delivery::kBroken:
      result.retry_after = RetryAfter(completion.headers, now_wall);
      // The status line alone is proof enough that a state was not written, as a repeat of it does
      // no harm that the newest version would not undo. A second create or action stays.
      if (completion.status == 429 && !creates_or_acts) {
        result.answer = AnswerClass::kThrottled;
        result.evidence = status + ", the rest of the answer is missing" + because;
        return result;
      }
      result.answer = AnswerClass::kUnknown;
      result.evidence = completion.status == 0
                            ? "sent, no answer" + because
                            : "sent, " + status + ", the answer is not complete" + because;
      return result;

    case Delivery::kComplete:
      result.retry_after = RetryAfter(completion.headers, now_wall);
      result.answer = ClassOfComplete(completion.status, body_parses);
      result.evidence = status;
      if (completion.status >= 200 && completion.status < 300 && !body_parses) {
        result.evidence += ", the body is not what was promised";
      }
      return result;
  }
  return result;
}

}  // namespace tributary::http

#include "services/control/credential_end.h"

#include <string>

#include "absl/strings/escaping.h"

#include "libs/json/value.h"

namespace tributary::control {

std::optional<WallTime> EndOfToken(std::string_view token) {
  const std::size_t first = token.find('.');
  const std::size_t second = first == std::string_view::npos ? first : token.find('.', first + 1);
  if (second == std::string_view::npos) {
    return std::nullopt;
  }
  std::string claims;
  const std::string_view part = token.substr(first + 1, second - first - 1);
  if (!absl::WebSafeBase64Unescape(absl::string_view(part.data(), part.size()), &claims)) {
    return std::nullopt;
  }
  const absl::StatusOr<json::Value> parsed = json::Parse(claims);
  const json::Value* end = parsed.ok() ? parsed->Find("exp") : nullptr;
  const std::optional<std::int64_t> seconds = end == nullptr ? std::nullopt : end->ToInt64();
  if (!seconds || *seconds < 0 || *seconds > kEndSecondsMax) {
    return std::nullopt;
  }
  return WallTime(std::chrono::seconds(*seconds));
}

}  // namespace tributary::control

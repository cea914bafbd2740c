#include <charconv>

#include "libs/budget/budget.h"
#include "libs/connector/parse.h"

// Whom a connection is for the server, and how often it may ask.

namespace tributary::connector {
namespace {

std::optional<Duration> TimeOfDay(std::string_view text) {
  const auto number = [](std::string_view digits) -> std::optional<int> {
    int value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (digits.size() != 2 || error != std::errc() || end != digits.data() + 2) return std::nullopt;
    return value;
  };
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto hour = number(text.substr(0, colon));
  const auto minute = number(text.substr(colon + 1));
  if (!hour || !minute || *hour > 23 || *minute > 59 || *hour < 0 || *minute < 0) {
    return std::nullopt;
  }
  return std::chrono::hours(*hour) + std::chrono::minutes(*minute);
}

budget::WindowOptions ReadWindow(FileReader& reader, const YAML::Node& map) {
  budget::WindowOptions out;
  if (!reader.Map(map, "a window",
                  {"name", "kind", "length", "requests", "reserve_for_live", "limit_header",
                   "remaining_header", "used_header", "reset_header",
                   "interval_milliseconds_header", "header_part", "resets_at"})) {
    return out;
  }
  out.name = reader.Text(map, "name", true);
  if (const std::string kind = reader.Text(map, "kind", false); kind == "fixed") {
    out.kind = budget::WindowOptions::Kind::kFixed;
  } else if (!kind.empty() && kind != "sliding") {
    reader.Problem(map["kind"], "`kind` must be sliding or fixed");
  }
  out.length = reader.Time(map, "length", out.length, std::chrono::milliseconds(100),
                           std::chrono::hours(24 * 31));
  out.requests = reader.Integer(map, "requests", 0, 1, 1'000'000'000);
  out.reserve_for_live =
      static_cast<double>(reader.Integer(map, "reserve_for_live", 0, 0, 90)) / 100;
  out.limit_header = reader.Text(map, "limit_header", false);
  out.remaining_header = reader.Text(map, "remaining_header", false);
  out.used_header = reader.Text(map, "used_header", false);
  out.reset_header = reader.Text(map, "reset_header", false);
  out.interval_milliseconds_header = reader.Text(map, "interval_milliseconds_header", false);
  out.header_part = static_cast<std::int32_t>(reader.Integer(map, "header_part", 0, 0, 8));
  if (const std::string text = reader.Text(map, "resets_at", false); !text.empty()) {
    out.resets_at = TimeOfDay(text);
    if (!out.resets_at)
      reader.Problem(map["resets_at"], "`resets_at` must be a time such as 00:00");
  }
  const bool is_fixed = out.kind == budget::WindowOptions::Kind::kFixed;
  if (!is_fixed && (out.resets_at || !out.reset_header.empty())) {
    reader.Problem(map, "a sliding window is never reset; write `kind: fixed`");
  }
  return out;
}

}  // namespace

void ReadAuthentication(FileReader& reader, const YAML::Node& root, Authentication& out) {
  const YAML::Node map = root["authentication"];
  if (!map) {
    reader.Problem(root, "`authentication` is missing");
    return;
  }
  if (!reader.Map(
          map, "authentication",
          {"kind", "header", "value", "request", "basic", "token", "expires_in", "renew_before"})) {
    return;
  }
  const std::string kind = reader.Text(map, "kind", true);
  if (kind == "token_request") {
    out.kind = Authentication::Kind::kTokenRequest;
  } else if (!kind.empty() && kind != "bearer") {
    reader.Problem(map["kind"], "`kind` is `bearer` or `token_request`");
  }
  if (map["header"]) out.header = reader.Text(map, "header", false);
  out.value = reader.Pattern(map, "value", true);
  const bool has_token = out.kind == Authentication::Kind::kTokenRequest;
  for (const std::string& name : out.value.placeholders()) {
    if (name.starts_with("credentials.") || (has_token && name == "token")) continue;
    reader.Problem(map["value"],
                   has_token ? "`value` is made of {token} and credentials alone"
                             : "`value` is made of credentials alone, such as {credentials.key}");
  }
  if (out.kind != Authentication::Kind::kTokenRequest) return;
  if (map["request"]) {
    out.request = ReadCall(reader, map["request"], "a token request", "token");
  } else {
    reader.Problem(map, "`request` is missing");
  }
  if (const YAML::Node basic = map["basic"]) {
    if (reader.Map(basic, "basic", {"user", "password"})) {
      out.basic_user = reader.Pattern(basic, "user", true);
      out.basic_password = reader.Pattern(basic, "password", false);
    }
  }
  out.token = reader.Text(map, "token", true);
  out.expires_in = reader.Text(map, "expires_in", false);
  out.renew_before = reader.Time(map, "renew_before", std::chrono::seconds(60), Duration::zero(),
                                 std::chrono::hours(1));
}

void ReadLimits(FileReader& reader, const YAML::Node& root, Limits& out) {
  const YAML::Node map = root["limits"];
  if (!map) return;
  if (!reader.Map(map, "limits", {"concurrency", "requests_per_second", "scope", "windows"})) {
    return;
  }
  out.concurrency = static_cast<std::int32_t>(reader.Integer(map, "concurrency", 4, 1, 1024));
  const std::string rate = reader.Text(map, "requests_per_second", false);
  if (!rate.empty()) {
    double value = 0;
    const auto [end, error] = std::from_chars(rate.data(), rate.data() + rate.size(), value);
    if (error != std::errc() || end != rate.data() + rate.size() || value <= 0 || value > 100'000) {
      reader.Problem(map["requests_per_second"], "must be a number above 0, at most 100000");
    } else {
      out.requests_per_second = value;
    }
  }
  out.scope = reader.Pattern(map, "scope", false);
  for (const std::string& name : out.scope.placeholders()) {
    if (!name.starts_with("settings.")) {
      reader.Problem(map["scope"], "`scope` is made of settings alone, such as {settings.app}");
    }
  }
  const YAML::Node windows = map["windows"];
  if (!windows) return;
  if (!windows.IsSequence() || windows.size() > budget::kWindowsMax) {
    reader.Problem(windows, "`windows` must be a list of at most " +
                                std::to_string(budget::kWindowsMax) + " windows");
    return;
  }
  for (const YAML::Node& window : windows) out.windows.push_back(ReadWindow(reader, window));
}

}  // namespace tributary::connector

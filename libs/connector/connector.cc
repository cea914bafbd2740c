#include "libs/connector/connector.h"

#include <algorithm>

#include "libs/config/quantities.h"
#include "libs/nearest/nearest.h"

namespace tributary::connector {
namespace {

constexpr Duration kSettleMin = std::chrono::milliseconds(100);
constexpr Duration kSettleMax = std::chrono::hours(1);
constexpr Duration kIndexLagMax = std::chrono::hours(1);

Duration Override(const Account& account, std::string_view name, Duration fallback) {
  const auto found = account.settings.find(std::string(name));
  if (found == account.settings.end()) return fallback;
  return config::ParseDuration(found->second).value_or(fallback);
}

}  // namespace

std::string_view Name(TargetKind kind) {
  switch (kind) {
    case TargetKind::kConditional:
      return "conditional";
    case TargetKind::kUpsertByUniqueKey:
      return "upsert_by_unique_key";
    case TargetKind::kCreateOnly:
      return "create_only";
    case TargetKind::kMatchNotUnique:
      return "match_not_unique";
  }
  return "create_only";
}

std::string Object::CheckField(std::string_view path) const {
  if (open || names.contains(path)) return "";
  const std::size_t dot = path.find('.');
  if (dot != std::string_view::npos && dot + 1 < path.size()) {
    const std::string_view first = path.substr(0, dot);
    if (sections.contains(first) || (!pairs_prefix.empty() && first == pairs_prefix)) {
      return "";
    }
  }
  std::vector<std::string> known(names.begin(), names.end());
  const std::string_view rest = dot == std::string_view::npos ? "key" : path.substr(dot + 1);
  for (const std::string& section : sections) known.push_back(section + "." + std::string(rest));
  if (!pairs_prefix.empty()) known.push_back(pairs_prefix + "." + std::string(rest));
  return "`" + std::string(path) + "` is not a field of `" + name + "`" + DidYouMean(path, known);
}

const Object* Connector::FindObject(std::string_view object) const {
  const auto found = objects.find(object);
  return found == objects.end() ? nullptr : &found->second;
}

const Call* Object::FindLookup(std::string_view lookup) const {
  const auto found = std::find_if(lookups.begin(), lookups.end(),
                                  [&](const Call& call) { return call.name == lookup; });
  return found == lookups.end() ? nullptr : &*found;
}

const ActionOperation* Connector::FindAction(std::string_view operation) const {
  const auto found = actions.find(operation);
  return found == actions.end() ? nullptr : &found->second;
}

std::vector<std::string> Connector::CheckSettings(
    const std::map<std::string, std::string>& given) const {
  std::vector<std::string> problems;
  std::vector<std::string> known = {"settle", "index_lag"};
  for (const auto& [name, setting] : settings) {
    known.push_back(name);
    if (setting.required && !given.contains(name)) {
      problems.push_back("setting `" + name + "` is missing");
    }
  }
  for (const auto& [name, value] : given) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      problems.push_back("setting `" + name + "` is not known" + DidYouMean(name, known));
    } else if (name == "settle") {
      const auto duration = config::ParseDuration(value);
      if (!duration || *duration < kSettleMin || *duration > kSettleMax) {
        problems.push_back("setting `settle` is `" + value + "`; it takes 100ms to 1h");
      }
    } else if (name == "index_lag") {
      const auto duration = config::ParseDuration(value);
      if (!duration || *duration > kIndexLagMax) {
        problems.push_back("setting `index_lag` is `" + value + "`; it takes 0s to 1h");
      }
    }
  }
  return problems;
}

Account Connector::MakeAccount(std::string_view url, bool allow_insecure_loopback,
                               std::map<std::string, std::string> given) const {
  Account account;
  account.url = url.empty() ? base_url : std::string(url);
  while (!account.url.empty() && account.url.back() == '/') account.url.pop_back();
  account.allow_insecure_loopback = allow_insecure_loopback;
  account.settings = std::move(given);
  for (const auto& [name, setting] : settings) {
    if (!setting.fallback.empty()) account.settings.emplace(name, setting.fallback);
  }
  return account;
}

Duration Connector::SettleOf(const Account& account) const {
  return std::clamp<Duration>(Override(account, "settle", settle), kSettleMin, kSettleMax);
}

Duration Connector::IndexLagOf(const Account& account) const {
  return std::clamp<Duration>(Override(account, "index_lag", index_lag), Duration::zero(),
                              kIndexLagMax);
}

std::string Connector::ScopeOf(const Account& account) const {
  if (limits.scope.empty()) return "";
  const Lookup settings_of = [&](std::string_view name) -> std::optional<json::Value> {
    constexpr std::string_view kPrefix = "settings.";
    if (!name.starts_with(kPrefix)) return std::nullopt;
    const auto found = account.settings.find(std::string(name.substr(kPrefix.size())));
    if (found == account.settings.end()) return std::nullopt;
    return json::Value(found->second);
  };
  const std::optional<std::string> scope = limits.scope.Render(settings_of, nullptr);
  return scope ? integration + " " + account.url + " " + *scope : "";
}

}  // namespace tributary::connector

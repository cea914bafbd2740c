#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tributary::cli {

/// What `tributary doctor` found at one place.
struct Finding {
  enum class Severity : std::uint8_t { kGood, kWarning, kError };
  Severity severity = Severity::kGood;
  /// `configuration`, `disk`, `broker`, `control`, `clock`, `reachability`, `credentials`,
  /// `status`.
  std::string check;
  /// A directory, a host, a connection.
  std::string place;
  /// For people. Never a secret.
  std::string detail;
  /// What to do. Empty only if good.
  std::string fix;
};

using Findings = std::vector<Finding>;

inline Finding Good(std::string check, std::string place, std::string detail) {
  return {Finding::Severity::kGood, std::move(check), std::move(place), std::move(detail), ""};
}
inline Finding Warning(std::string check, std::string place, std::string detail, std::string fix) {
  return {Finding::Severity::kWarning, std::move(check), std::move(place), std::move(detail),
          std::move(fix)};
}
inline Finding Error(std::string check, std::string place, std::string detail, std::string fix) {
  return {Finding::Severity::kError, std::move(check), std::move(place), std::move(detail),
          std::move(fix)};
}

}  // namespace tributary::cli

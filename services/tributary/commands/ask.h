#pragma once

#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "services/tributary/command_tree.h"

// How a command asks control, and says what came of it.

namespace tributary::cli {

inline constexpr const char* kFixOfService =
    "fix: start that service, or see at its /readyz what it waits for; then try again\n";

/// Says why something failed and what to do; the exit code.
int Fail(const Streams& streams, const absl::Status& status);

/// The exit code after saying that control cannot be reached.
int FailToConnect(const Streams& streams, const absl::Status& status);

/// Calls control, or says why that was not possible. None: `code` is the exit code.
template <typename Response, typename Call>
std::optional<Response> Ask(const Streams& streams, const Connect& connect, int& code,
                            const Call& call) {
  absl::StatusOr<std::unique_ptr<ControlCalls>> control = connect();
  if (!control.ok()) {
    code = FailToConnect(streams, control.status());
    return std::nullopt;
  }
  absl::StatusOr<Response> response = call(**control);
  if (!response.ok()) {
    code = Fail(streams, response.status());
    return std::nullopt;
  }
  return *std::move(response);
}

void Print(const Streams& streams, const std::string& json, const std::string& text);

/// At each `/`; one empty part for an empty path.
std::vector<std::string> SplitPath(const std::string& path);

}  // namespace tributary::cli

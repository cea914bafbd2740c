#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "libs/http/server.h"
#include "libs/observe/metrics.h"
#include "tributary/v1/config.pb.h"

namespace tributary::runtime {

/// What the admin server shows. Called on its thread, any time.
struct AdminSources {
  /// The server adds its own.
  observe::Metrics* metrics = nullptr;
  /// Empty: ready.
  std::function<std::vector<std::string>()> not_ready_because;
  /// Empty: alive. Must depend on nothing outside this process.
  std::function<std::string()> not_alive_because;
  /// What else this process serves; may be empty. Answers 404 for what it does not know.
  http::SyncHandler more;
};

/// Shows what an HTTP server counts. `metrics` outlives it; one thread.
class ServerNumbers {
 public:
  explicit ServerNumbers(observe::Metrics& metrics);
  void Show(const http::ServerCounters& counters);

 private:
  observe::Gauge connections_;
  observe::Gauge unsent_bytes_;
  observe::FollowedCounter accepted_;
  observe::FollowedCounter displaced_;
  observe::FollowedCounter refused_;
  observe::FollowedCounter timed_out_;
  observe::FollowedCounter accept_failures_;
  observe::FollowedCounter requests_;
  observe::FollowedCounter requests_refused_;
};

/// `/livez`, `/readyz` (and `/healthz`, the same), with reasons one a line, and `/metrics`.
///
/// Errors: those of http::Server::Start; kInvalidArgument for an address that is not HOST:PORT.
absl::StatusOr<std::unique_ptr<http::Server>> StartAdmin(const v1::AdminConfig& config,
                                                         AdminSources sources);

}  // namespace tributary::runtime

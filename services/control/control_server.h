#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "libs/tls/tls.h"
#include "services/control/control_core.h"
#include "services/control/post.h"

namespace tributary::control {

struct ControlServerOptions {
  /// `127.0.0.1:7460`; port 0: any.
  std::string listen;
  tls::Identity identity;
  std::int32_t message_bytes_max = 4 << 20;
  /// Told how many messages wait for services, all together, and at how many for one its stream
  /// ends. From any thread.
  std::function<void(std::int64_t depth, std::int64_t capacity)> on_queue;
  /// Told how many tasks of callers wait for the core's thread. At the capacity calls of operators
  /// are refused; a service is read no further while 64 of its own wait. From any thread.
  std::function<void(std::int64_t depth, std::int64_t capacity)> on_tasks;
};

/// The core over gRPC with mutual TLS. Who calls is told by the names in the client's certificate:
/// `tributary` may call Control, a service may attach as what it is.
class ControlServer {
 public:
  /// Runs a verification and answers, from any thread; it takes its time.
  using Verifier = std::function<void(Reply<v1::VerifyResponse>)>;

  /// `core` is used through `post` only. Without a verifier, Verify says that it is not available.
  ///
  /// Errors: kUnavailable when the address is taken or cannot be used.
  static absl::StatusOr<std::unique_ptr<ControlServer>> Start(ControlServerOptions options,
                                                              ControlCore& core, Post post,
                                                              Verifier verifier);
  /// Ends every stream and waits for the calls under way; tasks posted before must still run.
  ~ControlServer();

  int port() const;

 private:
  struct State;
  explicit ControlServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace tributary::control

#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "libs/http/message.h"
#include "libs/time/time.h"

// HTTP/1.1 to the outside, by libcurl. Has no thread of its own: requests move while their owner is
// inside Poll().

namespace tributary::http {

struct ClientOptions {
  /// In flight at one scheme, host and port; further ones wait in order.
  int requests_per_host_max = 16;
  /// In flight at all.
  int requests_max = 256;
  Duration connect_timeout = std::chrono::seconds(10);
  std::size_t header_bytes_max = 64u << 10;
  /// Of reads, and only to the same scheme, host and port. A write follows none.
  int redirects_max = 3;
  /// A connection that was idle longer is not used again.
  Duration connection_idle_max = std::chrono::seconds(30);
  Duration connection_age_max = std::chrono::seconds(300);
  std::string user_agent = "tributary";
  /// PEM. Empty: the system's.
  std::string ca_file;
};

/// Used by one thread, but for Wake().
///
/// A Request with is_write is transmitted at most once, whatever libcurl would like to do (protocol
/// rule 16). An answer counts as complete when its Content-Length is satisfied, its last chunk has
/// come, or its status allows no body. An answer without any of these ends with its connection, and
/// cannot be told from one that was cut: a 2xx of that kind is complete only if its body is one
/// bracketed JSON document, whose reader finds out if the rest is missing; else it is kBroken.
class Client final : public ClientPort {
 public:
  /// Asked right before the first byte of each transmission leaves, inside Poll(). False: it does
  /// not leave.
  using MaySend = std::function<bool(RequestId)>;

  Client(ClientOptions options, MaySend may_send);
  /// Gives up on everything without completions.
  ~Client() override;

  void Send(RequestId id, Request request) override;
  void Cancel(RequestId id) override;

  /// Moves requests along and returns what ended. Waits up to `max_wait` for an end, for one of
  /// `wake_fds` to become readable (it stays so: draining it is the caller's), or for Wake().
  std::vector<Completion> Poll(const std::vector<int>& wake_fds, Duration max_wait);

  /// Ends a wait in Poll(), now or the next one. From any thread.
  void Wake();

  /// Schemes, hosts and ports that it need not take apart again; all are forgotten beyond
  /// kKnownTargetsMax.
  static constexpr std::size_t kKnownTargetsMax = 256;
  std::size_t known_targets() const;

  /// Sent and not yet returned by Poll(), queued ones included.
  std::size_t open() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tributary::http

#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"

#include "libs/http/message.h"
#include "libs/http/request_reader.h"
#include "libs/time/time.h"

// The one HTTP/1.1 server: health, metrics, webhooks, the simulator. Hardened against slow, large
// and ambiguous requests; what it refuses never reaches the handler. Plain text: behind an ingress,
// or on the loopback.

namespace tributary::http {

/// What a server has done since it began. Read from any thread.
struct ServerCounters {
  std::atomic<std::int64_t> connections_open = 0;
  std::atomic<std::int64_t> connections_accepted = 0;
  /// Closed to make room: it had kept the server waiting longer than any other.
  std::atomic<std::int64_t> connections_displaced = 0;
  /// Closed at once: every other one was being served.
  std::atomic<std::int64_t> connections_refused = 0;
  /// Closed since a header, a body or the reading of an answer took too long.
  std::atomic<std::int64_t> connections_timed_out = 0;
  /// Accepting failed: no descriptor was left, most likely.
  std::atomic<std::int64_t> accept_failures = 0;
  std::atomic<std::int64_t> requests = 0;
  /// Malformed or ambiguous (400), too large (413, 431), and those for whose answer there was no
  /// room (503).
  std::atomic<std::int64_t> requests_refused = 0;
  std::atomic<std::int64_t> unsent_bytes = 0;
};

struct ServerOptions {
  std::string host = "127.0.0.1";
  /// 0: any free one, see Server::port().
  std::uint16_t port = 0;
  /// Handlers run on these. With 1 no two handlers run at once.
  int threads = 1;
  /// Beyond it the connection gives way that has kept the server waiting longest, for its first
  /// request or else for its next one; if all are being served, the new one is closed at once. So
  /// whoever asks at once is answered, however many others only hold connections.
  int connections_max = 256;
  std::size_t header_bytes_max = 8u << 10;
  int headers_max = 100;
  std::size_t body_bytes_max = 1u << 20;
  /// From the first byte of a request (or the accept) to the end of its header.
  Duration header_timeout = std::chrono::seconds(5);
  /// From the end of the header to the end of the body; and for sending the answer.
  Duration request_timeout = std::chrono::seconds(15);
  /// Between two requests.
  Duration idle_timeout = std::chrono::seconds(60);
  int requests_per_connection_max = 100;
  /// Answers that clients have not read yet, all together; further ones are 503 without a body.
  std::size_t unsent_bytes_max = 64u << 20;
  Duration connection_age_max = std::chrono::seconds(60);
  /// Where to count. Null pointer: nowhere that anybody sees.
  std::shared_ptr<ServerCounters> counters;
};

struct ServerResponse {
  /// How a simulator breaks an answer.
  enum class Fault : std::uint8_t {
    kNone,
    /// No answer; the connection is reset.
    kReset,
    /// No answer; the connection is closed in order.
    kClose,
    /// The header and half of the body, then the connection is closed.
    kTruncate,
    /// No answer; the connection stays open until the client gives up.
    kHang,
    /// The whole body, but neither its length nor chunks: only the close ends it.
    kUnframed,
  };
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  /// Besides Content-Type, Content-Length, Date and Connection.
  Headers headers;
  std::string body;
  /// Waits so long before the first byte.
  Duration delay{};
  Fault fault = Fault::kNone;
};

/// To be called once, from any thread, at any time; a second call, or one after the connection or
/// the server has ended, does nothing.
using Respond = std::function<void(ServerResponse)>;
using AsyncHandler = std::function<void(ServerRequest, Respond)>;
using SyncHandler = std::function<ServerResponse(const ServerRequest&)>;

/// The first parameter of that name in a query, percent-decoded (`+` is a blank). None: absent.
std::optional<std::string> QueryParameter(std::string_view query, std::string_view name);
/// Percent-decodes one path segment. None: malformed.
std::optional<std::string> PercentDecode(std::string_view text);

class Server {
 public:
  /// Listens when it returns. Errors: kInvalidArgument for an address that is none, kUnavailable
  /// when it cannot be listened on (the text names the address).
  static absl::StatusOr<std::unique_ptr<Server>> Start(ServerOptions options, AsyncHandler handler);
  static absl::StatusOr<std::unique_ptr<Server>> Start(ServerOptions options, SyncHandler handler);

  /// Stops.
  ~Server();

  std::uint16_t port() const;
  /// `http://127.0.0.1:PORT`
  std::string url() const;

  /// Closes every connection at once; no handler runs after it returns. May be called again; not
  /// from a handler.
  void Stop();

 private:
  struct State;
  explicit Server(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// `HOST:PORT`, IPv6 in brackets. None: malformed.
std::optional<std::pair<std::string, std::uint16_t>> ParseListen(std::string_view text);

}  // namespace tributary::http

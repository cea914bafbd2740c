#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/time/time.h"

// HTTP as a stage sees it: what it asks for, and what is known of the answer. No sockets here.

namespace tributary::http {

using RequestId = std::uint64_t;

/// In order of appearance; names compare without case.
using Headers = std::vector<std::pair<std::string, std::string>>;

/// The first header of that name. Null pointer: none.
const std::string* FindHeader(const Headers& headers, std::string_view name);

struct Request {
  std::string method = "GET";
  /// Absolute. Plain http only where `allow_insecure_loopback`, and only to a loopback address.
  std::string url;
  Headers headers;
  std::string body;
  /// Hard cap, from connect to the last byte of the answer (Q of the protocol for writes).
  Duration timeout{};
  std::size_t body_bytes_max = 4u << 20;
  bool allow_insecure_loopback = false;
  /// A write is transmitted at most once and follows no redirect (protocol rule 16).
  bool is_write = false;
};

/// How far a request got; the evidence for its answer class.
enum class Delivery : std::uint8_t {
  /// Certainly no byte of it reached the server: connect failed, or the check at the send refused.
  kNotSent,
  /// Bytes left, and no complete answer came: reset, time-out, truncated, too large.
  kBroken,
  /// A complete answer.
  kComplete,
};

struct Completion {
  RequestId id = 0;
  Delivery delivery = Delivery::kNotSent;
  /// Of a complete answer, and of a broken one whose header came; else 0.
  int status = 0;
  Headers headers;
  std::string body;
  /// For people: what went wrong on the way. Empty: nothing.
  std::string error;
  /// The check at the send said no (see ClientPort).
  bool refused_at_send = false;
  Duration elapsed{};
};

/// What a stage can ask of HTTP. Calls only queue; the answer comes as a Completion fact, exactly
/// one for each Send, also after Cancel. Right before the first byte leaves, whoever implements
/// this asks the stage's MaySend() (protocol rules 11 and 17).
class ClientPort {
 public:
  virtual ~ClientPort() = default;
  virtual void Send(RequestId id, Request request) = 0;
  /// Gives up on a request. Its completion says kNotSent or kBroken.
  virtual void Cancel(RequestId id) = 0;
};

/// Answer class of an HTTP write; see the design, section 4.
enum class AnswerClass : std::uint8_t {
  kDone,
  kRefused,
  kThrottled,
  kUnauthorised,
  kUnknown,
};
std::string_view Name(AnswerClass answer);

struct Classified {
  AnswerClass answer = AnswerClass::kUnknown;
  /// Why, for people and receipts.
  std::string evidence;
  /// What the server asked for (Retry-After in seconds or as a date). None: it did not say.
  std::optional<Duration> retry_after;
};

/// Classifies by protocol rule 24, before a connector file's own meaning of statuses. `body_parses`
/// says whether the body of a 2xx could be read as what the operation promises. `creates_or_acts`:
/// a doubtful "throttled", a 429 whose answer did not come whole, counts as unknown; a whole one is
/// the limiter's word and throttled for everything. For reads an unknown is simply tried again.
/// `now_wall` resolves a Retry-After date.
Classified Classify(const Completion& completion, bool body_parses, bool creates_or_acts,
                    WallTime now_wall);

}  // namespace tributary::http

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/connector/connector.h"

// Answers, read as a connector file says. Protocol rule 24 is the base: unknown is everything that
// is not certainly done or certainly not done.

namespace tributary::connector {

struct Interpreted {
  http::AnswerClass answer = http::AnswerClass::kUnknown;
  /// Refused because the record is certainly not there.
  bool missing = false;
  /// Refused because of the connection, not of the record.
  bool misconfigured = false;
  /// An answer of success that could not be read; its bytes are worth keeping.
  bool unreadable = false;
  /// Where the record is, as a done answer says. Empty: it promises none.
  std::string id;
  /// Refused because this one exists already.
  std::string adopt_id;
  /// The record's tags, where the answer tells.
  std::optional<std::vector<std::string>> tags;
  std::optional<Duration> retry_after;
  /// Short, for receipts: what was seen.
  std::string evidence;
  /// For people: what the target said, at most 4 KiB.
  std::string detail;
};

/// Of one call. The whole body is parsed; a 2xx that does not parse, or lacks what the call
/// promises, is unknown, never done.
Interpreted Interpret(const Connector& connector, const Call& call,
                      const http::Completion& completion, WallTime now_wall);

/// Of a batch, one for each of `keys`; a key without a result of its own is unknown.
std::vector<Interpreted> InterpretBatch(const Connector& connector, const Object& object,
                                        const http::Completion& completion,
                                        const std::vector<std::string>& keys, WallTime now_wall);

struct Found {
  /// `answer` is done when the target certainly told what there is; `id` of the answer is not used.
  Interpreted answer;
  /// In the order of the answer.
  std::vector<std::string> ids;
};
/// `equals` and `contains`: texts that an item must hold. Empty: anything.
Found InterpretLookup(const Connector& connector, const Call& call,
                      const http::Completion& completion, std::string_view equals,
                      std::string_view contains, WallTime now_wall);

struct TokenAnswer {
  Interpreted answer;
  /// Secret.
  std::string token;
  std::optional<Duration> expires_in;
};
TokenAnswer InterpretToken(const Connector& connector, const http::Completion& completion,
                           WallTime now_wall);

/// It is refused for too much use. `call` may be null.
bool SaysThrottled(const Connector& connector, const Call* call,
                   const http::Completion& completion);

}  // namespace tributary::connector

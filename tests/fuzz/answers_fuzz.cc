#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/budget/budget.h"
#include "libs/connector/connector.h"
#include "libs/connector/interpret.h"
#include "libs/json/value.h"
#include "tests/fuzz/invariant.h"

// Answers of CRMs, read as the connector files that are shipped say. Input: a byte each for the
// connector, the call, the delivery and the status; headers up to a NUL, one a line; the body.
// Protocol rule 24: what is not certain is never done.

namespace tributary::connector {
namespace {

using fuzz::Require;
using http::AnswerClass;
using http::Delivery;

struct Subject {
  const Connector* connector;
  const Object* object;
  const Call* call;
};

std::vector<Subject> Subjects() {
  static const Connector highlevel =
      *Connector::Parse("highlevel.yaml", *BuiltinFile("highlevel.yaml"));
  static const Connector rest = *Connector::Parse("rest.yaml", *BuiltinFile("rest.yaml"));
  std::vector<Subject> subjects;
  for (const Connector* connector : {&highlevel, &rest}) {
    for (const auto& [name, object] : connector->objects) {
      for (const std::vector<Call>* calls : {&object.lookups, &object.create, &object.update}) {
        for (const Call& call : *calls) subjects.push_back({connector, &object, &call});
      }
      if (object.read) subjects.push_back({connector, &object, &object.read->call});
      if (object.tags_add) subjects.push_back({connector, &object, &*object.tags_add});
    }
    for (const auto& [name, action] : connector->actions) {
      const Object* object = connector->FindObject(action.object);
      subjects.push_back({connector, object, &action.call});
      if (action.lookup) subjects.push_back({connector, object, &*action.lookup});
    }
  }
  return subjects;
}

constexpr int kStatuses[] = {200, 201, 202, 204, 206, 301, 303, 400, 401, 403,
                             404, 408, 409, 422, 429, 500, 503, 100, 0};

http::Headers HeadersOf(std::string_view lines) {
  http::Headers headers;
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(line.size() + 1, lines.size()));
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    headers.emplace_back(line.substr(0, colon), line.substr(colon + 1));
  }
  return headers;
}

bool IsSame(const Interpreted& a, const Interpreted& b) {
  return a.answer == b.answer && a.id == b.id && a.adopt_id == b.adopt_id && a.tags == b.tags &&
         a.retry_after == b.retry_after && a.evidence == b.evidence && a.detail == b.detail;
}

void CheckAnswer(const http::Completion& completion, const Interpreted& seen) {
  Require(!seen.evidence.empty(), "it says what was seen");
  Require(seen.detail.size() <= 4096, "what the target said is cut");
  if (completion.delivery == Delivery::kNotSent) {
    Require(seen.answer == AnswerClass::kThrottled, "what was not sent may be sent");
  }
  if (completion.delivery == Delivery::kBroken) {
    Require(seen.answer == AnswerClass::kUnknown || seen.answer == AnswerClass::kThrottled,
            "a broken answer decides nothing");
  }
  if (seen.retry_after) {
    Require(*seen.retry_after >= Duration::zero() && *seen.retry_after <= std::chrono::hours(721),
            "a pause that is asked for is one that can be made");
  }
}

void Check(std::string_view input) {
  static const std::vector<Subject> subjects = Subjects();
  fuzz::Choices choices(input);
  const Subject& subject = subjects[choices.Below(subjects.size())];
  http::Completion completion;
  completion.delivery = static_cast<Delivery>(choices.Below(3));
  completion.status = kStatuses[choices.Below(std::size(kStatuses))];
  if (completion.delivery == Delivery::kNotSent) completion.status = 0;
  completion.headers = HeadersOf(choices.TakeToNul());
  completion.body = std::string(choices.rest());
  const WallTime now{std::chrono::hours(24 * 365 * 56)};
  const absl::StatusOr<json::Value> body = json::Parse(completion.body);

  const Interpreted seen = Interpret(*subject.connector, *subject.call, completion, now);
  CheckAnswer(completion, seen);
  Require(IsSame(seen, Interpret(*subject.connector, *subject.call, completion, now)),
          "it is read the same each time");
  if (seen.answer == AnswerClass::kDone) {
    Require(completion.delivery == Delivery::kComplete, "only a complete answer says done");
    Require(completion.status < 200 || completion.status >= 300 || body.ok(),
            "a success that cannot be read is not done");
    Require(completion.status < 200 || completion.status >= 300 || subject.call->id.empty() ||
                !seen.id.empty(),
            "done names the record where the call promises it");
  }

  const Found found = InterpretLookup(*subject.connector, *subject.call, completion, "c1", "", now);
  CheckAnswer(completion, found.answer);
  Require(found.ids.empty() || found.answer.answer == AnswerClass::kDone,
          "a look-up that is not done has found nothing");
  for (const std::string& id : found.ids) Require(!id.empty(), "what is found has an id");

  if (subject.object->batch) {
    const std::vector<std::string> keys = {"1", "2", "c1"};
    const std::vector<Interpreted> results =
        InterpretBatch(*subject.connector, *subject.object, completion, keys, now);
    Require(results.size() == keys.size(), "a result for each");
    for (const Interpreted& result : results) {
      CheckAnswer(completion, result);
      if (result.answer == AnswerClass::kDone) Require(body.ok(), "done by what could be read");
    }
  }
  if (subject.connector->authentication.kind == Authentication::Kind::kTokenRequest) {
    const TokenAnswer token = InterpretToken(*subject.connector, completion, now);
    Require(token.token.empty() || token.answer.answer == AnswerClass::kDone,
            "a token comes with an answer that is done");
    if (token.expires_in) Require(*token.expires_in >= Duration::zero(), "and lasts for a time");
    Require(token.token.empty() || token.answer.detail.find(token.token) == std::string::npos ||
                token.token.size() < 8,
            "and is not told to people");
  }
  budget::Options options;
  options.requests_per_second = subject.connector->limits.requests_per_second;
  options.windows = subject.connector->limits.windows;
  budget::Budget budget(options);
  const Now at{.steady = Instant(std::chrono::hours(1)), .wall = now};
  budget.Answered(at, budget.Sent(at), completion.headers);
  Require(budget.NextSendAt(at, true) - at.steady <= std::chrono::hours(24 * 366),
          "what a server says it allows ends some time");
  const budget::Budget::Standing standing = budget.standing(at);
  Require(std::isfinite(standing.requests_per_second) && standing.requests_per_second >= 0,
          "a rate is one");
}

}  // namespace
}  // namespace tributary::connector

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tributary::connector::Check(tributary::fuzz::TextOf(data, size));
  return 0;
}

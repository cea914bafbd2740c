#include "services/simulator/faults.h"

#include <array>
#include <charconv>
#include <utility>

#include "libs/json/value.h"

namespace tributary::simulator {
namespace {

using Kind = Faults::Kind;

struct Named {
  std::string_view name;
  Kind kind;
};
constexpr std::array<Named, 19> kKinds = {
    {{"status", Kind::kStatus},
     {"throttle", Kind::kThrottle},
     {"unauthorized", Kind::kUnauthorized},
     {"error", Kind::kError},
     {"unavailable", Kind::kUnavailable},
     {"account_block", Kind::kAccountBlock},
     {"reset_before", Kind::kResetBefore},
     {"hang", Kind::kHang},
     {"error_after_apply", Kind::kErrorAfterApply},
     {"unavailable_after_apply", Kind::kUnavailableAfterApply},
     {"accepted", Kind::kAccepted},
     {"malformed", Kind::kMalformed},
     {"html", Kind::kHtml},
     {"empty", Kind::kEmpty},
     {"truncate", Kind::kTruncate},
     {"reset_after", Kind::kResetAfter},
     {"hang_after_apply", Kind::kHangAfterApply},
     {"apply_late", Kind::kApplyLate},
     {"slow", Kind::kSlow}}};

absl::Status Wrong(std::size_t index, const std::string& what) {
  return absl::InvalidArgumentError("faults[" + std::to_string(index) + "]: " + what);
}

}  // namespace

bool Applies(Kind kind) { return kind >= Kind::kErrorAfterApply && kind != Kind::kApplyLate; }

absl::Status Faults::Set(std::string_view json) {
  const auto parsed = json::Parse(json);
  if (!parsed.ok()) return absl::InvalidArgumentError(std::string(parsed.status().message()));
  if (parsed->array() == nullptr) return absl::InvalidArgumentError("faults: a list is expected");
  std::vector<Fault> faults;
  for (const json::Value& item : *parsed->array()) {
    const std::size_t index = faults.size();
    if (item.object() == nullptr) return Wrong(index, "an object is expected");
    Fault fault;
    bool has_kind = false;
    for (const auto& [name, value] : *item.object()) {
      const std::string text = value.ToIdText().value_or("");
      const auto integer = value.ToInt64();
      if (name == "target") {
        if (text == "*") continue;
        for (const Target target : {Target::kChargify, Target::kHighLevel, Target::kRest}) {
          if (text == Name(target)) fault.target = target;
        }
        if (!fault.target)
          return Wrong(index, "target: chargify, highlevel, rest or * is expected");
      } else if (name == "match") {
        fault.match = text;
      } else if (name == "kind") {
        for (const Named& named : kKinds) {
          if (named.name != text) continue;
          fault.kind = named.kind;
          has_kind = true;
        }
        if (!has_kind) return Wrong(index, "kind: unknown: " + text);
      } else if (name == "probability") {
        const auto [end, error] =
            std::from_chars(text.data(), text.data() + text.size(), fault.probability);
        if (error != std::errc() || end != text.data() + text.size() || fault.probability < 0 ||
            fault.probability > 1) {
          return Wrong(index, "probability: a number from 0 to 1 is expected");
        }
      } else if (name == "count" && integer) {
        fault.count = *integer;
      } else if (name == "delay_ms" && integer) {
        fault.delay = std::chrono::milliseconds(*integer);
      } else if (name == "status" && integer) {
        fault.status = static_cast<int>(*integer);
      } else if (name == "body") {
        fault.body = text;
      } else if (name == "retry_after" && integer) {
        fault.retry_after = *integer;
      } else {
        return Wrong(index, name + ": unknown, or not of its type");
      }
    }
    if (!has_kind) return Wrong(index, "kind is missing");
    faults.push_back(std::move(fault));
  }
  faults_ = std::move(faults);
  return absl::OkStatus();
}

std::optional<Faults::Fault> Faults::Strike(Target target, std::string_view request_line) {
  for (Fault& fault : faults_) {
    if (fault.count == 0 || (fault.target && *fault.target != target)) continue;
    if (!fault.match.empty() && request_line.find(fault.match) == std::string_view::npos) continue;
    if (fault.probability < 1 && !random_.Chance(fault.probability)) continue;
    if (fault.count > 0) --fault.count;
    return fault;
  }
  return std::nullopt;
}

void Spoil(const Faults::Fault& fault, Target target, Answer& answer) {
  const auto say = [&](int status, std::string_view type, std::string body) {
    answer.status = status;
    bool has_type = false;
    for (auto& [name, value] : answer.headers) {
      if (name != "Content-Type") continue;
      value = type;
      has_type = true;
    }
    if (!has_type) answer.headers.emplace_back("Content-Type", type);
    answer.body = std::move(body);
  };
  constexpr std::string_view kJson = "application/json";
  answer.delay += fault.delay;
  switch (fault.kind) {
    case Kind::kStatus:
      say(fault.status, kJson, fault.body);
      break;
    case Kind::kThrottle:
      say(429, "text/plain",
          fault.body.empty() ? "Your request was denied due to a usage violation." : fault.body);
      break;
    case Kind::kUnauthorized:
      if (target == Target::kChargify) {
        say(401, "text/plain", "HTTP Basic: Access denied.\n");
      } else {
        say(401, kJson, R"({"statusCode":401,"message":"Invalid JWT","error":"token expired"})");
      }
      break;
    case Kind::kError:
    case Kind::kErrorAfterApply:
      say(500, kJson, R"({"error":"internal server error"})");
      break;
    case Kind::kUnavailable:
    case Kind::kUnavailableAfterApply:
      say(503, "text/html", "<html><body>Service unavailable</body></html>");
      break;
    case Kind::kAccountBlock:
      say(422, kJson, R"({"errors":["This account has been canceled."]})");
      break;
    case Kind::kAccepted:
      say(202, kJson, R"({"status":"queued"})");
      break;
    case Kind::kMalformed:
      say(200, kJson, answer.body.substr(0, answer.body.size() / 2) + "\x01");
      break;
    case Kind::kHtml:
      say(200, "text/html", "<html><body>We will be back soon</body></html>");
      break;
    case Kind::kEmpty:
      say(200, kJson, "");
      break;
    case Kind::kTruncate:
      answer.form = Answer::Form::kTruncate;
      break;
    case Kind::kResetBefore:
      answer.form = Answer::Form::kResetBeforeApply;
      break;
    case Kind::kResetAfter:
    case Kind::kApplyLate:
      answer.form = Answer::Form::kResetAfterApply;
      break;
    case Kind::kHang:
    case Kind::kHangAfterApply:
      answer.form = Answer::Form::kHang;
      break;
    case Kind::kSlow:
      break;
  }
  if (fault.retry_after) {
    answer.headers.emplace_back("Retry-After", std::to_string(*fault.retry_after));
  }
}

}  // namespace tributary::simulator

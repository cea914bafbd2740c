#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "services/simulator/query.h"
#include "services/simulator/random.h"
#include "services/simulator/world.h"

namespace tributary::simulator {

/// Orders that make answers go wrong. Each is {"target": "chargify"|"highlevel"|"rest"|"*",
/// "match": part of "METHOD /path?query", "kind", "probability": 1, "count": no limit,
/// "delay_ms": 0, "status", "body", "retry_after": seconds}. Kinds:
/// - before anything is done: `status` (with `status` and `body`), `throttle` (429), `unauthorized`
///   (401), `error` (500), `unavailable` (503), `account_block` (422 on whatever is asked),
///   `reset_before`, `hang`
/// - after it was done: `error_after_apply` (500), `unavailable_after_apply` (503), `accepted`
///   (202), `malformed` (200 that is no JSON), `html` (200 with a page), `empty` (200 without a
///   body), `truncate`, `reset_after`, `hang_after_apply`
/// - `apply_late`: no answer, and it is done `delay_ms` later
/// - `slow`: `delay_ms` later
class Faults {
 public:
  enum class Kind : std::uint8_t {
    kStatus,
    kThrottle,
    kUnauthorized,
    kError,
    kUnavailable,
    kAccountBlock,
    kResetBefore,
    kHang,
    kErrorAfterApply,
    kUnavailableAfterApply,
    kAccepted,
    kMalformed,
    kHtml,
    kEmpty,
    kTruncate,
    kResetAfter,
    kHangAfterApply,
    kApplyLate,
    kSlow,
  };
  struct Fault {
    std::optional<Target> target;
    std::string match;
    Kind kind = Kind::kSlow;
    double probability = 1;
    /// Below 0: no limit.
    std::int64_t count = -1;
    Duration delay{};
    int status = 500;
    std::string body;
    std::optional<std::int64_t> retry_after;
  };

  explicit Faults(std::uint64_t seed) : random_(seed, 31) {}

  /// Replaces all of them. kInvalidArgument: names what is wrong, nothing is replaced.
  absl::Status Set(std::string_view json);
  /// The first that strikes this request.
  std::optional<Fault> Strike(Target target, std::string_view request_line);

 private:
  Random random_;
  std::vector<Fault> faults_;
};

/// True: the request is carried out although its answer goes wrong.
bool Applies(Faults::Kind kind);
/// Makes `answer` as ordered.
void Spoil(const Faults::Fault& fault, Target target, Answer& answer);

}  // namespace tributary::simulator

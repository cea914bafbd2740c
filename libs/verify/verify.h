#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"

#include "libs/eventlog/log.h"
#include "tributary/v1/control.pb.h"

// The promise, checked from the topics alone: nothing is lost and nothing rests on an older state.

namespace tributary::verify {

/// Any log: Kafka, the embedded one (LogAdmin::ReadAll), a simulated one, a vector.
struct Reader {
  std::int32_t partitions = 0;
  /// Every kept record of the topic up to its present ends, each partition in order, until `visit`
  /// returns false.
  std::function<absl::Status(eventlog::Topic topic,
                             const std::function<bool(const eventlog::Record&)>& visit)>
      read_all;
};

struct Options {
  /// A of the protocol.
  Duration action_age = std::chrono::hours(24 * 30);
  /// Called between two passes when the first one found something: what is only on its way has
  /// moved by then. Empty: one pass, and whatever it finds counts.
  std::function<void()> wait;
  int problems_max = 100;
};

/// Of each active sync:
///   lost — a customer that a valid change names has no valid command, or only one that is older
///     than that change; an action has no outcome and nothing says why; not every customer has been
///     mapped under the revision in force;
///   stale — the version that the record was last resolved with is not the desired one, and it is
///     not parked; the version of a command fell; two records hold one record of the target;
///   double_outcomes — an action has two final outcomes.
/// Not at rest: an intent is open, a retry is due, an entry is void and not repaired yet, or the
/// log moved between the passes. `ok`: none of all this.
///
/// Errors: those of the reader.
absl::StatusOr<v1::VerifyResponse> Verify(const Reader& reader, const Options& options);

}  // namespace tributary::verify

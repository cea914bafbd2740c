#pragma once

#include <cstdint>

#include "absl/status/statusor.h"

#include "libs/eventlog/admin.h"

namespace tributary::eventlog {

/// Founds a log that is an earlier state of itself, from a backup: under a larger generation, every
/// partition marked as one that has lost what was written behind the backup. So no version is given
/// twice, who takes over waits out the last owner, and what may have been done at a target is
/// looked up before it is done again.
///
/// Errors: those of Found; kFailedPrecondition when there is nothing founded.
absl::StatusOr<std::int64_t> FoundRestored(LogAdmin& admin, const FoundOptions& options);

}  // namespace tributary::eventlog

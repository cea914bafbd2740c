#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"

#include "libs/time/time.h"

namespace tributary::eventlog {

/// Copies an embedded log into `to`, which is made and must hold none yet. Another process may be
/// writing to it: the copy is one committed state, as a reader sees it. Copying the file itself is
/// not that: pages that were free at its beginning are in use at its end.
///
/// The copy is made as `to`.new and renamed when it is whole and synced.
///
/// Errors: kNotFound when there is no log; kFailedPrecondition when `to` has one, or an interrupted
/// copy is left; kInternal with what the system said.
absl::Status CopyEmbeddedLog(const std::string& from, const std::string& to);

/// Makes a log of a copy: what was written behind the copy is lost (restored.h). `to` is there from
/// when it is founded, so that nobody takes it for the log that it was.
///
/// Errors: those of CopyEmbeddedLog and FoundRestored.
absl::Status RestoreEmbeddedLog(const std::string& from, const std::string& to, WallTime now,
                                const std::function<std::uint64_t()>& random);

struct LogContents {
  std::int32_t partitions = 0;
  std::int64_t records = 0;
};

/// Reads every record of a log that nobody has open.
///
/// Errors: kDataLoss when a record is not what was written; those of EmbeddedLog::Open.
absl::StatusOr<LogContents> CheckEmbeddedLog(const std::string& directory);

}  // namespace tributary::eventlog

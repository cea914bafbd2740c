#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"

#include "libs/eventlog/admin.h"
#include "libs/eventlog/local_store.h"
#include "libs/time/time.h"

// From one set of topics to another, with another number of partitions, at another broker or in
// another kind of log. Blocking; done by `tributary topics migrate` while no service runs.

namespace tributary::eventlog {

struct MigrationOptions {
  /// For the generation of the new topics.
  WallTime now{};
  /// 64 random bits.
  std::function<std::uint64_t()> random;
  /// Empty; room for a copy of all tables of each side.
  LocalStores& source_copies;
  LocalStores& target_copies;
  /// What is being done, for people.
  std::function<void(const std::string& step)> say;
};

struct MigrationReport {
  std::int64_t generation = 0;
  std::int64_t table_entries = 0;
  std::int64_t stream_records = 0;
};

/// Closes the source, founds the target under a larger generation, and writes what every key of the
/// source's tables stands at, and every record of its streams, to the partition of its tenant
/// there. Reads all of it back and compares. The source keeps everything.
///
/// Left out: `tenants`, which control writes again from its database. The transformer's marks of
/// what it has mapped name the generation, so it derives everything once under the new one; the
/// loader finds the hashes that it knows.
///
/// Interrupted anywhere, the same call goes on: nobody reads the target before it has ended well,
/// and what is written twice is the same. Errors: kFailedPrecondition when a service holds a
/// partition of the source or has ended badly, when an entry is void and not repaired, or when the
/// target is in use or of another attempt; kDataLoss when what is read back differs; those of the
/// logs.
absl::StatusOr<MigrationReport> Migrate(LogAdmin& source, LogAdmin& target,
                                        const MigrationOptions& options);

/// Gives a source that Migrate has closed back to its services. The target is worth nothing from
/// then on; nobody must have used it.
///
/// Errors: kFailedPrecondition when it is not closed.
absl::Status Reopen(LogAdmin& source);

}  // namespace tributary::eventlog

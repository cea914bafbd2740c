#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "libs/eventlog/local_store.h"

namespace tributary::eventlog {

struct LmdbStoresOptions {
  /// Address space, not memory: the file grows by what is written. Doubled when full.
  std::size_t map_bytes = std::size_t{256} << 20;
  std::size_t map_bytes_max = std::size_t{1} << 40;
};

/// Local stores of one member in one LMDB file in `directory`, which is locked for as long as the
/// result or one of its stores lives. All of them belong to one thread.
///
/// Nothing is synced to disk on the way: a killed process loses nothing, and after the machine has
/// gone down without a clean close the whole copy is thrown away instead of being believed, since
/// it can be read again from the topics. Keys may have any length.
///
/// Errors: kFailedPrecondition when another process holds the directory, naming it.
absl::StatusOr<std::unique_ptr<LocalStores>> MakeLmdbStores(const std::string& directory,
                                                            const LmdbStoresOptions& options = {});

}  // namespace tributary::eventlog

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "libs/eventlog/log.h"

namespace tributary::eventlog {

/// An ordered map of bytes on disk, for the local copy of one partition of one table. One thread.
/// I/O errors are fatal to the process that owns the store: a copy that cannot be trusted is thrown
/// away and read again.
class LocalStore {
 public:
  struct Write {
    std::string_view key;
    /// None: delete.
    std::optional<std::string_view> value;
  };

  virtual ~LocalStore() = default;

  /// All of `writes`, one behind the other, and the meta data, or nothing of it. Cheapest in the
  /// order of the keys.
  virtual absl::Status Apply(const std::vector<Write>& writes, std::string_view meta) = 0;
  /// What the last Apply stored as meta. Empty: the store is new.
  virtual std::string meta() const = 0;
  /// The view lives until the next Apply or Clear of any store that was opened with this one.
  virtual std::optional<std::string_view> Find(std::string_view key) const = 0;
  /// Visits keys with the prefix in byte order, beginning at the first key >= `from` (if given),
  /// until `visit` returns false. The views live until it returns. No Apply inside.
  virtual void Scan(
      std::string_view prefix, std::string_view from,
      const std::function<bool(std::string_view key, std::string_view value)>& visit) const = 0;
  virtual absl::Status Clear() = 0;
};

/// Opens the stores of one member. Stores of different partitions may share one file.
class LocalStores {
 public:
  virtual ~LocalStores() = default;
  virtual absl::StatusOr<std::unique_ptr<LocalStore>> Open(Topic topic, Partition partition) = 0;
};

/// In memory; what it holds lives as long as the LocalStores object: the disk of a simulated
/// machine.
std::unique_ptr<LocalStores> MakeMemoryStores();

}  // namespace tributary::eventlog

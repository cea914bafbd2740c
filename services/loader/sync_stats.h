#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>

#include "libs/time/time.h"
#include "services/loader/heads.h"

// What waits in one sync, in a memory that does not grow with how much waits.

namespace tributary::loader {

/// The times of the changes that wait: the newest to the second, and those behind thousands of
/// seconds with a change to an hour or so.
class WaitingTimes {
 public:
  void Add(WallTime time);
  /// `time` was added before.
  void Remove(WallTime time);
  /// Of the oldest; of an old one not later than it is. None: nothing waits.
  std::optional<WallTime> oldest() const;
  std::size_t size() const { return fine_.size() + coarse_.size(); }

  static constexpr std::size_t kFineSecondsMax = 16384;
  static constexpr std::int64_t kCoarseSeconds = 4096;

 private:
  /// By the first second of the piece.
  std::map<std::int64_t, std::int64_t> fine_;
  std::map<std::int64_t, std::int64_t> coarse_;
  /// Earlier ones are in `coarse_`; a multiple of kCoarseSeconds.
  std::int64_t fine_from_ = INT64_MIN;
};

struct SyncStats {
  std::int64_t pending = 0;
  std::int64_t retrying = 0;
  std::int64_t parked = 0;
  /// With a second one at the target, or otherwise than written.
  std::int64_t shown = 0;
  WaitingTimes waiting;
  /// Rule 18: of keys whose last command is void, cannot be read, or is older than one before it:
  /// the largest version seen. Nobody writes such, so there are hardly any.
  std::unordered_map<std::string, PlainVersion> newest_seen;

  std::int64_t applied = 0;
  std::int64_t noop = 0;
  std::int64_t superseded = 0;
  std::int64_t dropped = 0;

  void Add(const Share& share);
  void Remove(const Share& share);
};

}  // namespace tributary::loader

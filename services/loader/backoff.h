#pragma once

#include <algorithm>
#include <cstdint>

#include "libs/time/time.h"

// When one connection rests after failures, and how many keys it has under way.

namespace tributary::loader {

/// A delay between 0 and min(max, min * 2^attempt), evenly: full jitter. `random`: 64 random bits.
Duration FullJitter(Duration min, Duration max, std::int32_t attempt, std::uint64_t random);

class Backoff {
 public:
  /// Requests open at once, at most.
  void SetConcurrency(std::int32_t concurrency) { concurrency_ = std::max(concurrency, 1); }

  /// Slots for each request that may be open: while it is, the keys that come next have their
  /// intents written, and those before it their entries, many in one batch of the log.
  static constexpr std::int32_t kSlotsPerRequest = 4;
  /// One more key may be under way, from its look-up or intent to its entry. A backfill leaves the
  /// last one free.
  bool HasSlot(Instant now, bool is_live) const;
  void TakeSlots(std::int32_t slots) { slots_ += slots; }
  void ReturnSlots(std::int32_t slots) { slots_ -= slots; }

  /// One more request may be open.
  bool MayOpen(Instant now) const;
  void Opened() { ++open_; }
  void Closed() { --open_; }

  /// Nothing begins before `until`.
  void PauseUntil(Instant until) { paused_until_ = std::max(paused_until_, until); }
  Instant paused_until() const { return paused_until_; }

  /// Consecutive failures of the target as a whole; while there is one, one request at a time
  /// tries.
  void Failed() { ++failures_; }
  void Succeeded() { failures_ = 0; }
  std::int32_t failures() const { return failures_; }

 private:
  std::int32_t concurrency_ = 1;
  std::int32_t slots_ = 0;
  std::int32_t open_ = 0;
  std::int32_t failures_ = 0;
  Instant paused_until_{};
};

}  // namespace tributary::loader

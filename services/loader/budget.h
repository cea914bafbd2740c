#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "libs/time/time.h"

// What one connection may spend, and when it rests.

namespace tributary::loader {

/// A delay between 0 and min(max, min * 2^attempt), evenly: full jitter. `random`: 64 random bits.
Duration FullJitter(Duration min, Duration max, std::int32_t attempt, std::uint64_t random);

class Budget {
 public:
  /// The static ceiling. `requests_per_second` > 0.
  void SetCeiling(std::int32_t concurrency, double requests_per_second);
  /// What the server's headers tell; the ceiling is not passed by a person's own number.
  void Learn(double requests_per_second);

  /// Slots for each request that may be open: while it is, the keys that come next have their
  /// intents written, and those before it their entries, many in one batch of the log.
  static constexpr std::int32_t kSlotsPerRequest = 4;
  /// One more key may be under way, from its look-up or intent to its entry.
  bool HasSlot(Instant now) const;
  void TakeSlots(std::int32_t slots) { slots_ += slots; }
  void ReturnSlots(std::int32_t slots) { slots_ -= slots; }

  /// One more request may be open.
  bool MayOpen() const;

  /// When the next request may leave. In the past: now.
  Instant NextSendAt() const;
  void Sent(Instant now);
  /// It is open no more.
  void Answered() { --open_; }

  /// Nothing begins before `until`.
  void PauseUntil(Instant until);
  Instant paused_until() const { return paused_until_; }

  /// Consecutive failures of the target as a whole; while there is one, one request at a time
  /// tries.
  void Failed() { ++failures_; }
  void Succeeded() { failures_ = 0; }
  std::int32_t failures() const { return failures_; }

 private:
  Duration Interval() const;

  std::int32_t concurrency_ = 1;
  double rate_ = 1;
  std::int32_t slots_ = 0;
  std::int32_t open_ = 0;
  std::int32_t failures_ = 0;
  /// Of the generic cell rate algorithm: when the next request would be due at a steady rate.
  Instant due_{};
  Instant paused_until_{};
};

}  // namespace tributary::loader

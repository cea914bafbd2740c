#pragma once

#include <cstdint>

#include "libs/time/time.h"

namespace tributary::extractor {

/// Counts the requests that are in flight at one site, whoever asks: the site counts them too,
/// queues what is too many and then refuses (trap 21). Slow answers are its first sign.
class SiteGate {
 public:
  struct Options {
    int in_flight_max = 4;
    /// An answer that took longer counts as a warning.
    Duration slow_answer = std::chrono::seconds(20);
    /// Without a warning for so long, one more is allowed.
    Duration recover_after = std::chrono::minutes(1);
  };

  explicit SiteGate(Options options) : options_(options), allowed_(options.in_flight_max) {}

  bool may_enter(Now now) const;
  /// When the pause ends that keeps everybody out. The past: nobody is.
  Instant paused_until() const { return paused_until_; }
  bool paused(Now now) const { return now.steady < paused_until_; }
  int in_flight() const { return in_flight_; }
  int allowed(Now now) const;

  void Enter() { ++in_flight_; }
  void Leave(Now now, Duration elapsed);
  /// The site refused for too much use: nobody before `until`, and then one at a time.
  void Refused(Now now, Instant until);
  /// One at a time until then: a dead owner's requests may still be under way (rule 11).
  void SingleUntil(Instant until);

 private:
  Options options_;
  int allowed_;
  int in_flight_ = 0;
  Instant paused_until_{};
  Instant single_until_{};
  Instant warned_at_{};
};

}  // namespace tributary::extractor

#include "services/loader/budget.h"

#include <algorithm>
#include <cmath>

namespace tributary::loader {

Duration FullJitter(Duration min, Duration max, std::int32_t attempt, std::uint64_t random) {
  Duration ceiling = min;
  for (std::int32_t i = 0; i < attempt && ceiling < max; ++i) ceiling *= 2;
  ceiling = std::min(ceiling, max);
  if (ceiling.count() <= 0) return Duration::zero();
  return Duration(
      static_cast<std::int64_t>(random % (static_cast<std::uint64_t>(ceiling.count()) + 1)));
}

void Budget::SetCeiling(std::int32_t concurrency, double requests_per_second) {
  concurrency_ = std::max(concurrency, 1);
  rate_ = std::max(requests_per_second, 0.001);
}

void Budget::Learn(double requests_per_second) { rate_ = std::max(requests_per_second, 0.001); }

bool Budget::HasSlot(Instant now) const {
  return now >= paused_until_ && slots_ < (failures_ > 0 ? 1 : concurrency_ * kSlotsPerRequest);
}

bool Budget::MayOpen() const { return open_ < (failures_ > 0 ? 1 : concurrency_); }

Duration Budget::Interval() const {
  return Duration(static_cast<std::int64_t>(std::llround(1e6 / rate_)));
}

Instant Budget::NextSendAt() const {
  // As many at once as a second allows, so that a window of any length sees one second more than
  // its share at most.
  const Duration burst = Interval() * std::max<std::int64_t>(std::llround(rate_) - 1, 0);
  return std::max(due_ - burst, paused_until_);
}

void Budget::Sent(Instant now) {
  due_ = std::max(due_, now) + Interval();
  ++open_;
}

void Budget::PauseUntil(Instant until) { paused_until_ = std::max(paused_until_, until); }

}  // namespace tributary::loader

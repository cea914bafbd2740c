#include "services/loader/backoff.h"

namespace tributary::loader {

Duration FullJitter(Duration min, Duration max, std::int32_t attempt, std::uint64_t random) {
  Duration ceiling = min;
  for (std::int32_t i = 0; i < attempt && ceiling < max; ++i) ceiling *= 2;
  ceiling = std::min(ceiling, max);
  if (ceiling.count() <= 0) return Duration::zero();
  return Duration(
      static_cast<std::int64_t>(random % (static_cast<std::uint64_t>(ceiling.count()) + 1)));
}

bool Backoff::HasSlot(Instant now, bool is_live) const {
  if (now < paused_until_) return false;
  if (failures_ > 0) return slots_ < 1;
  return slots_ < concurrency_ * kSlotsPerRequest - (is_live ? 0 : 1);
}

bool Backoff::MayOpen(Instant now) const {
  return now >= paused_until_ && open_ < (failures_ > 0 ? 1 : concurrency_);
}

}  // namespace tributary::loader

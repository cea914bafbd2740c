#include "services/simulator/quota.h"

#include <algorithm>

namespace tributary::simulator {

Duration Quota::NeighbourEvery() const {
  // Rounded up: never one more in a window.
  return (options_.length + Duration(neighbour_max() - 1)) / neighbour_max();
}

std::int64_t Quota::neighbour_max() const {
  return static_cast<std::int64_t>(static_cast<double>(options_.requests_max) *
                                   options_.neighbour_share);
}

void Quota::Forget(WallTime now) {
  if (options_.is_fixed) {
    const WallTime window(now.time_since_epoch() / options_.length * options_.length);
    if (window != window_) counted_.clear();
    window_ = window;
    return;
  }
  while (!counted_.empty() && counted_.front() <= now - options_.length) counted_.pop_front();
}

bool Quota::Count(WallTime now) {
  Forget(now);
  if (static_cast<std::int64_t>(counted_.size()) >= options_.requests_max) return false;
  counted_.push_back(now);
  return true;
}

void Quota::Advance(WallTime now) {
  if (neighbour_max() > 0) {
    const Duration every = NeighbourEvery();
    if (neighbour_at_ == WallTime()) neighbour_at_ = now + every / 2;
    for (; neighbour_at_ <= now; neighbour_at_ += every) {
      ++(Count(neighbour_at_) ? neighbour_taken_ : neighbour_refused_);
    }
  }
  Forget(now);
}

bool Quota::Take(WallTime now) {
  Advance(now);
  const bool is_taken = Count(now);
  ++(is_taken ? taken_ : refused_);
  return is_taken;
}

void Quota::SetMax(WallTime now, std::int64_t requests_max) {
  Advance(now);
  options_.requests_max = requests_max;
  if (neighbour_max() > 0) {
    neighbour_at_ = std::min(neighbour_at_, now) + NeighbourEvery();
  }
}

void Quota::SetNeighbour(WallTime now, double share) {
  Advance(now);
  if (share == options_.neighbour_share) return;
  options_.neighbour_share = share;
  neighbour_at_ = now;
}

std::int64_t Quota::remaining() const {
  return std::max<std::int64_t>(0,
                                options_.requests_max - static_cast<std::int64_t>(counted_.size()));
}

WallTime Quota::next_reset(WallTime now) const {
  return WallTime(now.time_since_epoch() / options_.length * options_.length) + options_.length;
}

Duration Quota::retry_after(WallTime now) const {
  if (options_.is_fixed) return next_reset(now) - now;
  return counted_.empty() ? Duration::zero() : counted_.front() + options_.length - now;
}

}  // namespace tributary::simulator

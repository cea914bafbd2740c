#include "libs/eventlog/testing/virtual_time.h"

#include <algorithm>

namespace tributary::eventlog::testing {
namespace {

// 2026-01-01T00:00:00Z at the beginning of the steady timeline.
constexpr Duration kWallOffset = std::chrono::seconds(1767225600);

}  // namespace

std::uint64_t SeededRandom::Next() {
  // SplitMix64 (public domain, Sebastiano Vigna).
  state_ += 0x9e3779b97f4a7c15;
  std::uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

std::uint64_t SeededRandom::Below(std::uint64_t bound) { return bound == 0 ? 0 : Next() % bound; }

Duration SeededRandom::Between(Duration min, Duration max) {
  if (max <= min) return min;
  const auto width = static_cast<std::uint64_t>((max - min).count()) + 1;
  return min + Duration(static_cast<std::int64_t>(Below(width)));
}

Now VirtualTime::now() const { return {now_, WallTime(kWallOffset + now_.time_since_epoch())}; }

void VirtualTime::At(Instant time, Task task) {
  tasks_.emplace(std::make_pair(std::max(time, now_), ++sequence_), std::move(task));
}

bool VirtualTime::RunOne() {
  if (tasks_.empty()) return false;
  auto node = tasks_.extract(tasks_.begin());
  now_ = node.key().first;
  node.mapped()();
  return true;
}

void VirtualTime::RunUntil(Instant time) {
  while (!tasks_.empty() && tasks_.begin()->first.first <= time) RunOne();
  now_ = std::max(now_, time);
}

Instant VirtualTime::next() const {
  return tasks_.empty() ? Instant::max() : tasks_.begin()->first.first;
}

}  // namespace tributary::eventlog::testing

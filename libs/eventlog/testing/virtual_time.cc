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
  std::size_t place = tasks_.size();
  if (free_places_.empty()) {
    tasks_.push_back(std::move(task));
  } else {
    place = free_places_.back();
    free_places_.pop_back();
    tasks_[place] = std::move(task);
  }
  due_.push_back({std::max(time, now_), ++sequence_, place});
  std::push_heap(due_.begin(), due_.end(), IsLater);
}

bool VirtualTime::RunOne() {
  if (due_.empty()) return false;
  std::pop_heap(due_.begin(), due_.end(), IsLater);
  const Due next = due_.back();
  due_.pop_back();
  now_ = next.time;
  const Task task = std::exchange(tasks_[next.task], nullptr);
  free_places_.push_back(next.task);
  task();
  return true;
}

void VirtualTime::RunUntil(Instant time) {
  while (!due_.empty() && due_.front().time <= time) RunOne();
  now_ = std::max(now_, time);
}

Instant VirtualTime::next() const { return due_.empty() ? Instant::max() : due_.front().time; }

}  // namespace tributary::eventlog::testing

#include "services/loader/sync_stats.h"

#include <iterator>

namespace tributary::loader {
namespace {

std::int64_t SecondOf(WallTime time) { return time.time_since_epoch().count() / 1'000'000; }

std::int64_t CoarseOf(std::int64_t second) {
  const std::int64_t rest = second % WaitingTimes::kCoarseSeconds;
  return second - (rest < 0 ? rest + WaitingTimes::kCoarseSeconds : rest);
}

void TakeOne(std::map<std::int64_t, std::int64_t>& counts, std::int64_t at) {
  const auto found = counts.find(at);
  if (found != counts.end() && --found->second == 0) counts.erase(found);
}

}  // namespace

void WaitingTimes::Add(WallTime time) {
  const std::int64_t second = SecondOf(time);
  if (second < fine_from_) {
    ++coarse_[CoarseOf(second)];
    return;
  }
  ++fine_[second];
  if (fine_.size() <= kFineSecondsMax) return;
  // The older half, by whole pieces, so that a time is always looked for where it is.
  const auto middle = std::next(fine_.begin(), static_cast<std::ptrdiff_t>(fine_.size() / 2));
  fine_from_ = CoarseOf(middle->first) + kCoarseSeconds;
  const auto end = fine_.lower_bound(fine_from_);
  for (auto it = fine_.begin(); it != end; ++it) coarse_[CoarseOf(it->first)] += it->second;
  fine_.erase(fine_.begin(), end);
}

void WaitingTimes::Remove(WallTime time) {
  const std::int64_t second = SecondOf(time);
  if (second < fine_from_) {
    TakeOne(coarse_, CoarseOf(second));
  } else {
    TakeOne(fine_, second);
  }
}

std::optional<WallTime> WaitingTimes::oldest() const {
  const auto& counts = coarse_.empty() ? fine_ : coarse_;
  if (counts.empty()) return std::nullopt;
  return WallTime(std::chrono::seconds(counts.begin()->first));
}

void SyncStats::Add(const Share& share) {
  pending += share.is_pending ? 1 : 0;
  retrying += share.is_retrying ? 1 : 0;
  parked += share.is_parked ? 1 : 0;
  shown += share.is_shown ? 1 : 0;
  if (share.is_pending && share.changed_at != WallTime()) waiting.Add(share.changed_at);
}

void SyncStats::Remove(const Share& share) {
  pending -= share.is_pending ? 1 : 0;
  retrying -= share.is_retrying ? 1 : 0;
  parked -= share.is_parked ? 1 : 0;
  shown -= share.is_shown ? 1 : 0;
  if (share.is_pending && share.changed_at != WallTime()) waiting.Remove(share.changed_at);
}

}  // namespace tributary::loader

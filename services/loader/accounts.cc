#include <algorithm>

#include "services/loader/entries.h"
#include "services/loader/stage.h"

// What waits, is retried or parked, by sync; for status, and for rule 18.

namespace tributary::loader {

void LoaderStage::Account(Lane& lane) {
  Account(*lane.stats, lane.key, lane.parts.kind == ids::CommandKey::Kind::kAction, DesiredOf(lane),
          lane.entry);
}

void LoaderStage::Account(SyncStats& stats, const std::string& key, bool is_action,
                          const v1::Command* desired, const v1::RecordEntry& entry) {
  const auto known = stats.open.find(key);
  SyncStats::OpenKey now;
  if (known != stats.open.end()) {
    now.newest = known->second.newest;
    stats.pending -= known->second.is_pending ? 1 : 0;
    stats.retrying -= known->second.is_retrying ? 1 : 0;
  }
  bool is_open = false;
  if (desired != nullptr && is_action) {
    is_open = !entry.final();
  } else if (desired != nullptr) {
    now.newest = std::max(now.newest, PlainOf(desired->version()));
    is_open = !entry.has_resolved() || PlainOf(entry.resolved()) < now.newest;
  }
  bool is_parked = entry.status() == v1::RecordEntry::STATUS_PARKED;
  if (is_parked && !is_action && desired != nullptr && !StaysParked(entry.reason()) &&
      Compare(entry.status_version(), desired->version()) < 0) {
    is_parked = false;
  }
  if (is_parked) {
    stats.parked.insert(key);
  } else if (!stats.parked.empty()) {
    stats.parked.erase(key);
  }
  if (!is_open) {
    if (known == stats.open.end()) return;
    if (desired != nullptr || is_action) {
      stats.open.erase(known);
    } else {
      // Its command is void or cannot be read now; what was desired before still counts.
      known->second = now;
    }
    return;
  }
  now.is_pending = !is_parked;
  now.is_retrying = now.is_pending && entry.status() == v1::RecordEntry::STATUS_RETRYING;
  if (desired->has_changed_at()) now.changed_at = TimeOf(desired->changed_at());
  stats.pending += now.is_pending ? 1 : 0;
  stats.retrying += now.is_retrying ? 1 : 0;
  if (known != stats.open.end()) {
    known->second = now;
  } else {
    stats.open.emplace(key, now);
  }
}

}  // namespace tributary::loader

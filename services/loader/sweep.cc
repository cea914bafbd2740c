#include <algorithm>

#include "services/loader/entries.h"
#include "services/loader/index_rows.h"
#include "services/loader/stage.h"

// The sweep of protocol rule 15: what a target has is compared with what was written there. A
// request that was applied later than L, or that left later than P after its check, belongs to a
// key that was in doubt; so such keys are compared soon after, some times, and every record once in
// a period. A state that differs is repaired: its entry forgets that it was resolved, and what
// follows is a write like any other. A second record or action can only be shown.
//
// One comparison at a time for each target connection, through the lane of its key (rule 22), while
// nothing else waits for the target, and within a share of its rate.

namespace tributary::loader {
namespace {

using eventlog::Topic;
using http::AnswerClass;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

/// Entries that one step of a pass looks at, and the time between two steps.
constexpr std::size_t kScanSeenMax = 4096;
constexpr Duration kScanPause = milliseconds(20);
/// Keys that one call tries in vain.
constexpr int kTriesMax = 64;
/// By the wall clock, which may be set meanwhile.
constexpr Duration kLookAgainAfter = minutes(10);
/// Parts of a period at which records that were never compared are due.
constexpr std::int32_t kPhases = 1000;

Duration PassInterval(Duration period) {
  return std::clamp<Duration>(period / 8, seconds(10), std::chrono::hours(24));
}

}  // namespace

std::optional<WallTime> LoaderStage::ComparisonDueAt(const SweepState& sweep, std::string_view key,
                                                     const ids::CommandKey& parts,
                                                     const v1::RecordEntry& entry) const {
  if (entry.in_doubt() || entry.has_intent()) return std::nullopt;
  const v1::Comparison& comparison = entry.comparison();
  const WallTime last = comparison.has_last_at() ? TimeOf(comparison.last_at()) : WallTime();
  if (comparison.has_due_at()) {
    return last < sweep.all_before ? std::min(now_.wall, TimeOf(comparison.due_at()))
                                   : TimeOf(comparison.due_at());
  }
  // Of actions only those that were in doubt.
  if (parts.kind != ids::CommandKey::Kind::kState || entry.id().empty()) return std::nullopt;
  if (entry.status() == v1::RecordEntry::STATUS_PARKED || !entry.has_resolved() ||
      (entry.outcome() != v1::OUTCOME_APPLIED && entry.outcome() != v1::OUTCOME_NOOP)) {
    return std::nullopt;
  }
  if (last < sweep.all_before) return now_.wall;
  if (comparison.has_last_at()) return last + options_.sweep_period;
  // When it was written is not known: each at its own part of the period, so that a first load is
  // not read back at once, and a restart begins nothing anew.
  const Duration period = options_.sweep_period;
  const Duration phase = period / kPhases * ids::PartitionOf(key, kPhases);
  const Duration into = (now_.wall.time_since_epoch() - phase) % period;
  // What fell due while nobody looked is not left to the next period.
  return into <= 2 * PassInterval(period) ? now_.wall - into : now_.wall - into + period;
}

void LoaderStage::NoteComparison(const TargetKey& target, const std::string& key,
                                 std::optional<WallTime> due_at) {
  Target* const found = FindTarget(target);
  if (found == nullptr || !sweeps()) return;
  if (!due_at) {
    found->sweep.due.Drop(key);
    return;
  }
  found->sweep.due.Add(key, *due_at, sweep_keys_max());
  MarkDirty(found);
}

void LoaderStage::ScanForSweep(Target& target) {
  SweepState& sweep = target.sweep;
  const eventlog::Table* const records = owner_->table(Topic::kRecords, target.partition);
  if (records == nullptr) return;
  if (!sweep.scanning) {
    sweep.scanning = true;
    sweep.due.Forgive();
    sweep.scan_from.clear();
  }
  std::size_t seen = 0;
  bool ended = true;
  records->Scan(ids::EncodePart(target.key.first) + "/", sweep.scan_from,
                [&](std::string_view key, const eventlog::TableEntry& entry) {
                  if (++seen > kScanSeenMax) {
                    sweep.scan_from = std::string(key);
                    ended = false;
                    return false;
                  }
                  const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
                  if (!parts || entry.is_void || TargetOf(*parts) != target.key ||
                      !scratch_entry_.ParseFromString(entry.value)) {
                    return true;
                  }
                  const std::optional<WallTime> at =
                      ComparisonDueAt(sweep, key, *parts, scratch_entry_);
                  if (at && *at <= now_.wall)
                    sweep.due.Add(std::string(key), *at, sweep_keys_max());
                  return true;
                });
  if (!ended) return;
  sweep.scanning = false;
  sweep.next_pass_at = now_.steady + PassInterval(options_.sweep_period);
}

void LoaderStage::Sweep(Target& target) {
  if (!sweeps() || target.connector == nullptr || !target.linked) return;
  const auto partition = partitions_.find(target.partition);
  if (partition == partitions_.end() || partition->second.revoking) return;
  // Whoever changes one of these has the target looked at again.
  if (target.ready_count() > 0 || target.waiting_count() > 0 || target.must_scan()) {
    return;
  }
  SweepState& sweep = target.sweep;
  if (sweep.next_pass_at == Instant()) {
    sweep.next_pass_at =
        now_.steady + std::min<Duration>(PassInterval(options_.sweep_period), minutes(5));
  }
  if (sweep.scanning || sweep.next_pass_at <= now_.steady) {
    ScanForSweep(target);
    if (sweep.scanning) WakeAt(target, now_.steady + kScanPause);
  }
  if (sweep.open) return;
  for (int tries = 0; sweep.due.first_at().value_or(WallTime::max()) <= now_.wall; ++tries) {
    const Instant at =
        std::max({sweep.next_at, target.quota->budget.NextSendAt(now_, /*is_live=*/false),
                  target.backoff.paused_until()});
    if (at > now_.steady || tries == kTriesMax) {
      WakeAt(target, std::max(at, now_.steady + kScanPause));
      return;
    }
    if (!target.quota->budget.MayOpen(now_) || !target.backoff.MayOpen(now_.steady)) {
      WakeAt(target, now_.steady + seconds(1));
      return;
    }
    if (!HasProof(target)) return;
    if (BeginComparison(target, sweep.due.TakeFirst())) return;
  }
  if (sweep.due.overflowed() && !sweep.scanning) {
    sweep.next_pass_at = std::min(sweep.next_pass_at, now_.steady + minutes(1));
  }
  Instant next = std::max(sweep.next_pass_at, now_.steady + kScanPause);
  if (const std::optional<WallTime> first = sweep.due.first_at()) {
    const Duration left = *first - now_.wall;
    next = std::min(next, now_.steady + std::clamp<Duration>(left, kScanPause, kLookAgainAfter));
  }
  WakeAt(target, next);
}

void LoaderStage::AnswerSweep(std::int64_t id, const v1::SweepRequest& request) {
  v1::FromService message;
  message.set_answer_to(id);
  v1::SweepResponse& response = *message.mutable_swept();
  if (!sweeps()) response.set_problem("loader.sweep_period is 0: nothing is compared");
  for (auto& [key, target] : targets_) {
    if (!request.tenant().empty() && request.tenant() != key.first) continue;
    if (!request.connection().empty() && request.connection() != key.second) continue;
    SweepState& sweep = target.sweep;
    if (request.start() && sweeps()) {
      sweep.all_before = now_.wall;
      sweep.next_pass_at = now_.steady;
      // A pass under way began by the old order.
      sweep.scanning = false;
      sweep.problem.clear();
      sweep.missing_in_a_row = 0;
      sweep.next_at = std::min(sweep.next_at, now_.steady);
      MarkDirty(&target);
    }
    v1::SweepStatus& status = *response.add_connections();
    status.set_tenant(key.first);
    status.set_connection(key.second);
    status.set_compared(sweep.compared);
    status.set_repaired(sweep.repaired);
    status.set_missing(sweep.missing);
    status.set_second(sweep.second);
    status.set_due(static_cast<std::int64_t>(sweep.due.CountDue(now_.wall)));
    status.set_running(sweep.open || sweep.scanning || sweep.due.overflowed() ||
                       (request.start() && sweeps()));
    std::int64_t shown = 0;
    for (const auto& [name, stats] : stats_) {
      const v1::Sync* const sync = directory_.FindSync(name.first, name.second);
      if (name.first == key.first && sync != nullptr && sync->target() == key.second) {
        shown += stats.shown;
      }
    }
    status.set_shown(shown);
    status.set_problem(!sweep.problem.empty() ? sweep.problem
                       : !target.linked       ? "the connection is not Linked"
                                              : target.problem);
  }
  ports_.control.Send(message);
}

}  // namespace tributary::loader

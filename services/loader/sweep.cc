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
/// Between requests where nothing is known of a limit, before the share.
constexpr Duration kSpacingMin = milliseconds(10);
/// Keys that one call tries in vain.
constexpr int kTriesMax = 64;
/// After a doubt a key is compared so often: 4, 20 and 100 L after its end.
constexpr std::int32_t kComparisonsAfterDoubt = 3;
constexpr std::int32_t kFirstComparisonAfterSettles = 4;
constexpr std::int32_t kComparisonsApart = 5;
/// So often in a row a state is written again.
constexpr std::int32_t kRepairsMax = 3;
/// A target that has lost so many in a row is more likely another account.
constexpr std::int32_t kMissingInARowMax = 20;
constexpr Duration kRestAfterProblem = minutes(10);
/// By the wall clock, which may be set meanwhile.
constexpr Duration kLookAgainAfter = minutes(10);
/// Parts of a period at which records that were never compared are due.
constexpr std::int32_t kPhases = 1000;

Duration PassInterval(Duration period) {
  return std::clamp<Duration>(period / 8, seconds(10), std::chrono::hours(24));
}

void ClearDue(SweepState& sweep, const std::string& key) {
  const auto known = sweep.due_of.find(key);
  if (known == sweep.due_of.end()) return;
  sweep.due.erase({known->second, key});
  sweep.due_of.erase(known);
}

std::string Joined(const google::protobuf::RepeatedPtrField<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

}  // namespace

// ---- when ----

Duration LoaderStage::CompareAfter(const TargetKey& target, std::int32_t since_doubt) const {
  Duration after = kFirstComparisonAfterSettles * SettleOf(target);
  for (std::int32_t i = 0; i < since_doubt; ++i) after *= kComparisonsApart;
  return after + IndexLagOf(target);
}

void LoaderStage::CompareSoon(Lane& lane) const {
  const auto target = targets_.find(lane.target);
  if (!sweeps() || target == targets_.end() || target->second.connector == nullptr) return;
  const connector::Connector& connector = *target->second.connector;
  v1::RecordEntry& next = lane.next_entry;
  if (lane.parts.kind == ids::CommandKey::Kind::kAction) {
    const v1::Action& action = lane.command->action();
    const connector::ActionOperation* const operation = connector.FindAction(action.operation());
    if (operation == nullptr || !operation->lookup) return;
    next.mutable_comparison()->set_record_key(action.record_key());
  } else {
    const connector::Object* const object = connector.FindObject(lane.parts.object);
    if (object == nullptr || !object->read) return;
  }
  v1::Comparison& comparison = *next.mutable_comparison();
  comparison.set_since_doubt(0);
  SetTime(now_.wall + CompareAfter(lane.target, 0), comparison.mutable_due_at());
}

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

void LoaderStage::AddDue(SweepState& sweep, const std::string& key, WallTime at) const {
  ClearDue(sweep, key);
  sweep.due.insert({at, key});
  sweep.due_of[key] = at;
  if (sweep.due.size() <= static_cast<std::size_t>(options_.sweep_keys_max)) return;
  sweep.overflowed = true;
  ClearDue(sweep, std::string(sweep.due.rbegin()->second));
}

void LoaderStage::NoteComparison(const TargetKey& target, const std::string& key,
                                 std::optional<WallTime> due_at) {
  Target* const found = FindTarget(target);
  if (found == nullptr || !sweeps()) return;
  if (!due_at) {
    ClearDue(found->sweep, key);
    return;
  }
  AddDue(found->sweep, key, *due_at);
  MarkDirty(found);
}

void LoaderStage::ScanForSweep(Target& target) {
  SweepState& sweep = target.sweep;
  const eventlog::Table* const records = owner_->table(Topic::kRecords, target.partition);
  if (records == nullptr) return;
  if (!sweep.scanning) {
    sweep.scanning = true;
    sweep.overflowed = false;
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
                  if (at && *at <= now_.wall) AddDue(sweep, std::string(key), *at);
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
  if (target.ready_count() > 0 || target.waiting_count() > 0 || target.scanning ||
      target.scan_wanted) {
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
  for (int tries = 0; !sweep.due.empty() && sweep.due.begin()->first <= now_.wall; ++tries) {
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
    const std::string key = sweep.due.begin()->second;
    ClearDue(sweep, key);
    if (BeginComparison(target, key)) return;
  }
  if (sweep.overflowed && !sweep.scanning) {
    sweep.next_pass_at = std::min(sweep.next_pass_at, now_.steady + minutes(1));
  }
  Instant next = std::max(sweep.next_pass_at, now_.steady + kScanPause);
  if (!sweep.due.empty()) {
    const Duration left = sweep.due.begin()->first - now_.wall;
    next = std::min(next, now_.steady + std::clamp<Duration>(left, kScanPause, kLookAgainAfter));
  }
  WakeAt(target, next);
}

// ---- one comparison ----

bool LoaderStage::MayCompare(Lane& lane) {
  const v1::RecordEntry& entry = lane.entry;
  const v1::Sync* const sync = directory_.FindSync(lane.parts.tenant, lane.parts.sync);
  if (sync == nullptr || sync->state() != v1::SYNC_STATE_ACTIVE) return false;
  if (lane.doubt != Doubt::kNone || entry.in_doubt() || entry.has_intent() || lane.repair_wanted) {
    return false;
  }
  const auto target = targets_.find(lane.target);
  if (target == targets_.end() || target->second.connector == nullptr) return false;
  const connector::Connector& connector = *target->second.connector;
  if (lane.parts.kind == ids::CommandKey::Kind::kAction) {
    const connector::ActionOperation* const operation = connector.FindAction(entry.object());
    return entry.final() && entry.comparison().has_due_at() && operation != nullptr &&
           operation->lookup.has_value();
  }
  const v1::Command* const desired = DesiredOf(lane);
  if (desired == nullptr || !desired->has_state() || !desired->mapping_error().empty())
    return false;
  const v1::DesiredState::Presence presence = desired->state().presence();
  const connector::Object* const object = connector.FindObject(lane.parts.object);
  return (presence == v1::DesiredState::PRESENCE_PRESENT ||
          presence == v1::DesiredState::PRESENCE_GONE) &&
         object != nullptr && object->read && !entry.id().empty() &&
         entry.status() != v1::RecordEntry::STATUS_PARKED && entry.has_resolved() &&
         Compare(entry.resolved(), desired->version()) == 0 &&
         (entry.outcome() == v1::OUTCOME_APPLIED || entry.outcome() == v1::OUTCOME_NOOP);
}

bool LoaderStage::BeginComparison(Target& target, const std::string& key) {
  Lane* const found = LaneOf(key);
  if (found == nullptr) return false;
  Lane& lane = *found;
  if (lane.busy() || lane.target != target.key || !MayCompare(lane)) {
    // One that was in doubt waits until it can be; the others come with the next pass.
    if (lane.entry.comparison().has_due_at() && lane.target == target.key) {
      AddDue(target.sweep, key,
             now_.wall + std::clamp<Duration>(2 * target.settle, seconds(1), minutes(5)));
    }
    if (!lane.busy()) ForgetIfIdle(lane);
    return false;
  }
  lane.connector = target.connector;
  lane.command = lane.desired;
  lane.version_text = lane.parts.kind == ids::CommandKey::Kind::kAction
                          ? lane.parts.action_id
                          : TextOf(lane.command->version());
  lane.traceparent = ids::TraceParent(lane.key + "/" + lane.version_text);
  lane.comparing = std::make_unique<Comparing>();
  lane.has_slot = true;
  target.backoff.TakeSlots(1);
  target.sweep.open = true;
  CompareNext(lane);
  return true;
}

void LoaderStage::CompareNext(Lane& lane) {
  Comparing& comparing = *lane.comparing;
  Target* const target = FindTarget(lane.target);
  connector::CallInput input;
  const connector::Call* call = nullptr;
  if (lane.parts.kind == ids::CommandKey::Kind::kAction) {
    const connector::ActionOperation* const operation =
        lane.connector->FindAction(lane.entry.object());
    const std::optional<v1::RecordEntry> record = ReadBack(lane.entry.comparison().record_key());
    input.id = record ? record->id() : "";
    input.marker = lane.parts.action_id;
    if (comparing.next_call == 0 && operation != nullptr && operation->lookup) {
      call = &*operation->lookup;
    }
  } else {
    const connector::Object* const object = lane.connector->FindObject(lane.parts.object);
    const v1::DesiredState& state = lane.command->state();
    input.id = lane.entry.id();
    input.state = &state;
    input.marker = connector::FieldText(state, object->marker);
    if (comparing.next_call == 0) {
      call = &object->read->call;
    } else if (object->creates_blindly()) {
      // By the marker alone: who else has this e-mail is none of ours.
      for (; comparing.next_call <= object->lookups.size(); ++comparing.next_call) {
        const connector::Call& candidate = object->lookups[comparing.next_call - 1];
        const bool is_of_marker =
            !candidate.item_equals.empty() || !candidate.item_contains.empty();
        if (is_of_marker && connector::Applies(candidate, state)) {
          call = &candidate;
          break;
        }
      }
    }
  }
  if (call == nullptr || target == nullptr) {
    ConcludeComparison(lane);
    return;
  }
  absl::StatusOr<http::Request> request =
      connector::Render(*lane.connector, target->account, nullptr, *call, input);
  ++comparing.next_call;
  if (!request.ok()) {
    // It cannot be asked for: as if it were not described.
    ConcludeComparison(lane);
    return;
  }
  lane.call = call;
  lane.request = *std::move(request);
  lane.request_id = 0;
  lane.phase = Lane::Phase::kComparing;
  const Duration between = std::max<Duration>(target->quota->budget.Spacing(now_), kSpacingMin) *
                           100 / std::max(options_.sweep_share_percent, 1);
  target->sweep.next_at = std::max(target->sweep.next_at, now_.steady) + between;
  target->Await(lane.key, Priority::kBackfill);
  MarkDirty(target);
}

void LoaderStage::CompareLater(Lane& lane, Duration delay) {
  if (Target* const target = FindTarget(lane.target)) {
    AddDue(target->sweep, lane.key, now_.wall + delay);
    target->sweep.next_at = std::max(target->sweep.next_at, now_.steady + delay);
  }
  Rest(lane);
}

void LoaderStage::OnComparisonAnswer(Lane& lane, const http::Completion& completion) {
  if (lane.phase != Lane::Phase::kComparing) return;
  Target* const target = FindTarget(lane.target);
  const auto partition = partitions_.find(lane.partition);
  if (target == nullptr || completion.refused_at_send || partition == partitions_.end() ||
      partition->second.revoking) {
    CompareLater(lane, seconds(1));
    return;
  }
  lane.request_id = 0;
  Comparing& comparing = *lane.comparing;
  const bool is_action = lane.parts.kind == ids::CommandKey::Kind::kAction;
  const bool is_read = !is_action && comparing.next_call == 1;
  connector::Interpreted answer;
  if (is_read) {
    const connector::Object& object = *lane.connector->FindObject(lane.parts.object);
    comparing.shown = connector::CompareRead(*lane.connector, object, completion,
                                             lane.command->state(), now_.wall);
    answer = comparing.shown.answer;
  } else {
    const connector::Found found = FoundBy(lane, completion);
    answer = found.answer;
    // Of two actions neither is the first.
    const std::string& own =
        is_action ? (found.ids.empty() ? "" : found.ids.front()) : lane.entry.id();
    for (const std::string& id : found.ids) {
      if (id != own) comparing.others.push_back(id);
    }
  }
  if (answer.unreadable) ++counters_.unreadable;
  OnTargetAnswered(*target, completion, answer.answer == AnswerClass::kDone || answer.missing);
  if (answer.answer == AnswerClass::kDone) {
    target->sweep.problem.clear();
    CompareNext(lane);
    return;
  }
  if (is_read && answer.missing) {
    ConcludeMissing(lane);
    return;
  }
  switch (answer.answer) {
    case AnswerClass::kUnauthorised:
      ++counters_.unauthorised;
      OnUnauthorised(*target, lane.proof);
      CompareLater(lane, seconds(1));
      return;
    case AnswerClass::kThrottled:
      ++counters_.throttled;
      PauseAfterFailure(*target, answer.retry_after);
      CompareLater(lane, seconds(1));
      return;
    case AnswerClass::kRefused:
      // Perhaps it may not read; that is no reason not to write.
      target->sweep.problem = "the target does not let its records be read: " + answer.detail;
      CompareLater(lane, kRestAfterProblem);
      return;
    case AnswerClass::kDone:
    case AnswerClass::kUnknown:
      CompareLater(lane, std::max(answer.retry_after.value_or(Duration::zero()),
                                  std::min<Duration>(target->settle, seconds(30))));
      return;
  }
}

// ---- what follows from it ----

void LoaderStage::RepairFromSweep(Lane& lane, v1::Reason reason, const std::string& detail) {
  v1::RecordEntry& next = lane.next_entry;
  // What is not resolved is desired; it goes the way of every write (rule 22).
  next.clear_resolved();
  next.clear_content_hash();
  next.clear_calls();
  next.set_status(v1::RecordEntry::STATUS_WAITING);
  *next.mutable_status_version() = lane.command->version();
  next.set_reason(reason);
  next.set_detail(detail);
  // Looked at once more, when it has been written.
  v1::Comparison& comparison = *next.mutable_comparison();
  SetTime(now_.wall + SettleOf(lane.target) + IndexLagOf(lane.target), comparison.mutable_due_at());
  comparison.set_since_doubt(std::min(comparison.since_doubt(), kComparisonsAfterDoubt - 1));
  Log(Logger::Level::kWarning, "The sweep repairs a record.",
      {{"tenant", lane.parts.tenant},
       {"connection", lane.target.second},
       {"key", lane.key},
       {"reason", std::string(TextOf(reason))},
       {"detail", detail}});
}

void LoaderStage::ConcludeComparison(Lane& lane) {
  Target* const target = FindTarget(lane.target);
  const Comparing comparing = std::move(*lane.comparing);
  lane.next_entry = lane.entry;
  v1::RecordEntry& next = lane.next_entry;
  v1::Comparison& comparison = *next.mutable_comparison();
  SetTime(now_.wall, comparison.mutable_last_at());
  if (comparison.has_due_at()) {
    comparison.set_since_doubt(comparison.since_doubt() + 1);
    if (comparison.since_doubt() >= kComparisonsAfterDoubt) {
      comparison.clear_due_at();
    } else {
      SetTime(now_.wall + CompareAfter(lane.target, comparison.since_doubt()),
              comparison.mutable_due_at());
    }
  }
  auto& counts = CountersOf(lane.target).compared;
  const auto count = [&](Compared what) { ++counts[static_cast<std::size_t>(what)]; };
  if (target != nullptr) {
    ++target->sweep.compared;
    target->sweep.missing_in_a_row = 0;
  }
  const bool was_second = comparison.others_size() > 0;
  comparison.mutable_others()->Assign(comparing.others.begin(), comparing.others.end());
  if (!comparing.others.empty()) {
    count(Compared::kSecond);
    if (target != nullptr) ++target->sweep.second;
    if (!was_second) {
      SetTime(now_.wall, next.mutable_since());
      Log(Logger::Level::kWarning, "The target has a second one.",
          {{"tenant", lane.parts.tenant},
           {"connection", lane.target.second},
           {"key", lane.key},
           {"id", next.id()},
           {"others", Joined(comparison.others())}});
    }
  }
  const connector::Shown& shown = comparing.shown;
  const bool is_state = lane.parts.kind == ids::CommandKey::Kind::kState;
  comparison.mutable_differing()->Clear();
  if (is_state && shown.answer.id != next.id()) {
    // A person merged it into another one.
    lane.comparing.reset();
    if (target != nullptr) target->sweep.open = false;
    const std::string holder = HolderOf(lane, lane.parts.object, shown.answer.id);
    Park(lane, v1::REASON_IDENTITY_CONFLICT,
         "the target answered for record " + shown.answer.id +
             (holder.empty() ? "" : ", which belongs to " + holder) + ", instead of " + next.id() +
             " of " + lane.key,
         200);
    return;
  }
  if (!is_state || shown.differing.empty()) {
    comparison.clear_repaired();
    comparison.clear_repairs();
    if (comparing.others.empty()) count(Compared::kEqual);
  } else if (comparison.repaired() == shown.hash) {
    count(Compared::kShownSo);
  } else if (comparison.repairs() >= kRepairsMax) {
    count(Compared::kGivenUp);
    comparison.mutable_differing()->Assign(shown.differing.begin(), shown.differing.end());
    SetTime(now_.wall, next.mutable_since());
  } else {
    count(Compared::kDiffers);
    if (target != nullptr) ++target->sweep.repaired;
    comparison.set_repaired(shown.hash);
    comparison.set_repairs(comparison.repairs() + 1);
    const connector::Object& object = *lane.connector->FindObject(lane.parts.object);
    if (object.tags_add && shown.answer.tags) {
      next.mutable_tags()->Assign(shown.tags.begin(), shown.tags.end());
    }
    std::string fields;
    for (const std::string& path : shown.differing) fields += (fields.empty() ? "" : ", ") + path;
    RepairFromSweep(lane, v1::REASON_DIFFERS, "is not as it was written: " + fields);
  }
  Conclude(lane, std::nullopt);
}

void LoaderStage::ConcludeMissing(Lane& lane) {
  Target& target = *FindTarget(lane.target);
  ++target.sweep.missing;
  if (++target.sweep.missing_in_a_row > kMissingInARowMax) {
    target.sweep.problem = std::to_string(kMissingInARowMax) +
                           " records in a row are missing at the target; is it the right account?";
    CompareLater(lane, kRestAfterProblem);
    return;
  }
  ++target.sweep.compared;
  ++CountersOf(lane.target).compared[static_cast<std::size_t>(Compared::kMissing)];
  const std::string detail = lane.comparing->shown.answer.detail;
  lane.next_entry = lane.entry;
  v1::RecordEntry& next = lane.next_entry;
  v1::Comparison& comparison = *next.mutable_comparison();
  SetTime(now_.wall, comparison.mutable_last_at());
  comparison.clear_due_at();
  const v1::Sync* const sync = directory_.FindSync(lane.parts.tenant, lane.parts.sync);
  if (sync != nullptr && sync->on_missing() == v1::Sync::ON_MISSING_LEAVE) {
    Verdict verdict;
    verdict.outcome = v1::OUTCOME_LEFT;
    verdict.reason = v1::REASON_MISSING;
    verdict.detail = detail;
    next.clear_content_hash();
    next.clear_calls();
    ResolveWithoutCall(lane, verdict);
    return;
  }
  const bool creates_blindly = lane.connector->FindObject(lane.parts.object)->creates_blindly();
  if (creates_blindly) {
    // Rule 27: once a version, never a loop.
    if (comparison.has_remade() && Compare(comparison.remade(), lane.command->version()) == 0) {
      Park(lane, v1::REASON_MISSING, detail, 0);
      return;
    }
    next.clear_id();
    next.clear_tags();
    lane.looked_up = false;
  }
  *comparison.mutable_remade() = lane.command->version();
  RepairFromSweep(lane, v1::REASON_MISSING, detail);
  Conclude(lane, std::nullopt);
}

// ---- what people see and order ----

std::string LoaderStage::ShownDetailOf(const v1::RecordEntry& entry) {
  const v1::Comparison& comparison = entry.comparison();
  if (comparison.others_size() > 0) {
    return "the target has " + Joined(comparison.others()) + " besides " + entry.id();
  }
  if (comparison.differing_size() == 0) return "";
  return "differs at the target after it was written " + std::to_string(comparison.repairs()) +
         " times: " + Joined(comparison.differing());
}

v1::ParkedItem LoaderStage::ShownItemOf(const std::string& key, const v1::RecordEntry& entry) {
  v1::ParkedItem item;
  item.set_key(key);
  if (entry.has_resolved()) *item.mutable_version() = entry.resolved();
  const bool is_second = entry.comparison().others_size() > 0;
  item.set_reason(is_second ? v1::REASON_SECOND : v1::REASON_DIFFERS);
  item.set_detail(ShownDetailOf(entry));
  if (entry.has_since()) *item.mutable_since() = entry.since();
  item.set_fix(FixOf(item.reason(), key));
  return item;
}

std::string LoaderStage::DecideShown(Lane& lane, bool replay) {
  if (lane.busy()) return "it is being written or compared just now; try again";
  if (lane.doubt != Doubt::kNone) return "it is in doubt; try again later";
  lane.next_entry = lane.entry;
  v1::Comparison& comparison = *lane.next_entry.mutable_comparison();
  // Out of sight until a comparison finds it again: now, or when the period says so.
  comparison.clear_others();
  comparison.clear_differing();
  comparison.clear_repairs();
  comparison.clear_repaired();
  comparison.set_since_doubt(kComparisonsAfterDoubt - 1);
  comparison.clear_due_at();
  if (replay) SetTime(now_.wall, comparison.mutable_due_at());
  lane.next_entry.clear_since();
  lane.version_text = lane.parts.kind == ids::CommandKey::Kind::kAction
                          ? lane.parts.action_id
                          : TextOf(lane.entry.resolved());
  lane.traceparent = ids::TraceParent(lane.key + "/" + lane.version_text);
  Conclude(lane, std::nullopt);
  return "";
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
    const auto is_due = [&](const auto& due) { return due.first <= now_.wall; };
    status.set_due(std::count_if(sweep.due.begin(), sweep.due.end(), is_due));
    status.set_running(sweep.open || sweep.scanning || sweep.overflowed ||
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

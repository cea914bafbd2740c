#include <algorithm>

#include "services/loader/entries.h"
#include "services/loader/stage.h"

// One comparison of the sweep (sweep.cc): when a key in doubt is due, its requests, what follows
// from the answers, and what people see of it.

namespace tributary::loader {
namespace {

using http::AnswerClass;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

/// After a doubt a key is compared so often: 4, 20 and 100 L after its end.
constexpr std::int32_t kComparisonsAfterDoubt = 3;
constexpr std::int32_t kFirstComparisonAfterSettles = 4;
constexpr std::int32_t kComparisonsApart = 5;
/// What a target shows after so many repairs as it did before is its own way to show what is
/// written. After one it may be another request that was late.
constexpr std::int32_t kRepairsShownSoMin = 2;
/// So often in a row a state is written again.
constexpr std::int32_t kRepairsMax = 3;
/// A target that has lost so many in a row is more likely another account.
constexpr std::int32_t kMissingInARowMax = 20;
constexpr Duration kRestAfterProblem = minutes(10);
/// Between requests where nothing is known of a limit, before the share.
constexpr Duration kSpacingMin = milliseconds(10);

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

// ---- its requests ----

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
      target.sweep.due.Add(
          key, now_.wall + std::clamp<Duration>(2 * target.settle, seconds(1), minutes(5)),
          sweep_keys_max());
    }
    if (!lane.busy()) ForgetIfIdle(lane);
    return false;
  }
  lane.connector = target.connector;
  lane.command = lane.desired;
  lane.version_text = lane.parts.kind == ids::CommandKey::Kind::kAction
                          ? lane.parts.action_id
                          : TextOf(lane.command->version());
  lane.traceparent = TraceParentOf(lane.key, lane.version_text, nullptr);
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
        if (candidate.finds_marker() && connector::Applies(candidate, state)) {
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
    target->sweep.due.Add(lane.key, now_.wall + delay, sweep_keys_max());
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
    if (lane.parts.kind == ids::CommandKey::Kind::kState) {
      for (const std::string& id : comparing.others) {
        OnReached(lane, HolderOf(lane, lane.parts.object, id));
      }
    }
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
  } else if (comparison.repaired() == shown.hash && comparison.repairs() >= kRepairsShownSoMin) {
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
  ConcludeUnreported(lane);
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
  // Rule 27: once a version, never a loop.
  if (comparison.has_remade() && Compare(comparison.remade(), lane.command->version()) == 0) {
    Park(lane, v1::REASON_MISSING, detail, 0);
    return;
  }
  if (lane.connector->FindObject(lane.parts.object)->creates_blindly()) {
    next.clear_id();
    next.clear_tags();
    lane.looked_up = false;
  }
  *comparison.mutable_remade() = lane.command->version();
  RepairFromSweep(lane, v1::REASON_MISSING, detail);
  ConcludeUnreported(lane);
}

// ---- what people see and decide ----

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
  lane.traceparent = TraceParentOf(lane.key, lane.version_text, nullptr);
  ConcludeUnreported(lane);
  return "";
}

}  // namespace tributary::loader

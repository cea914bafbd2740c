#include <utility>

#include "services/loader/entries.h"
#include "services/loader/stage.h"

// What ends a call, or needs none: its receipt, and then its entry, are acknowledged; and the lane
// rests (protocol rules 16 and 21).

namespace tributary::loader {
namespace {

using eventlog::Topic;

constexpr std::string_view kSource = "/loader";

}  // namespace

void LoaderStage::FinishState(Lane& lane) {
  v1::RecordEntry& next = lane.next_entry;
  const connector::Object& object = *lane.connector->FindObject(lane.parts.object);
  const v1::DesiredState& state = lane.command->state();
  const v1::Outcome outcome = lane.sent_any ? v1::OUTCOME_APPLIED : v1::OUTCOME_NOOP;
  *next.mutable_resolved() = lane.command->version();
  next.set_outcome(outcome);
  next.set_content_hash(state.content_hash());
  const bool is_same_again =
      !lane.creating && next.has_applied() && Compare(next.applied(), lane.command->version()) == 0;
  if (lane.sent_any && !is_same_again && next.has_comparison()) {
    // How the target showed another state, or another record, says nothing of this one.
    next.mutable_comparison()->clear_repaired();
  }
  if (lane.sent_any) *next.mutable_applied() = lane.command->version();
  next.set_in_doubt(false);
  next.clear_intent();
  next.set_object(lane.parts.object);
  const std::vector<std::string> tags =
      connector::CanonicalTags(object, {state.tags().begin(), state.tags().end()});
  next.mutable_tags()->Clear();
  for (const std::string& tag : tags) next.add_tags(tag);
  if (lane.creating && !object.upserts) {
    // What was created is what these updates would make of it.
    next.clear_calls();
    connector::CallInput input;
    input.id = next.id();
    input.state = &state;
    for (const connector::Call& call : object.update) {
      if (!connector::Applies(call, state)) continue;
      const absl::StatusOr<http::Request> request = connector::Render(
          *lane.connector, FindTarget(lane.target)->account, &object, call, input);
      if (!request.ok()) continue;
      v1::CallHash& hash = *next.add_calls();
      hash.set_step(call.name);
      hash.set_hash(connector::HashOf(*request));
    }
  }
  ClearStatus(next);
  if (lane.doubt != Doubt::kNone) CompareSoon(lane);
  lane.doubt = Doubt::kNone;
  lane.looked_up = false;
  lane.lookup_failures = 0;
  SyncStats& stats = StatsOf(lane.parts);
  if (outcome == v1::OUTCOME_APPLIED) {
    ++counters_.applied;
    ++stats.applied;
  } else {
    ++counters_.noop;
    ++stats.noop;
  }
  ReleaseMatchLocks(lane, lane.creating);
  Conclude(lane, ReceiptOf(lane, outcome, v1::REASON_UNSPECIFIED, "", 0));
}

void LoaderStage::FinishAction(Lane& lane, v1::Outcome outcome, v1::Reason reason,
                               const std::string& detail, int http_status) {
  v1::RecordEntry& next = lane.next_entry;
  next.set_outcome(outcome);
  next.clear_intent();
  next.set_in_doubt(false);
  next.set_object(lane.command->action().operation());
  if (lane.command->action().has_event_time()) {
    *next.mutable_event_time() = lane.command->action().event_time();
  }
  ClearStatus(next);
  next.set_final(true);
  if (outcome == v1::OUTCOME_PARKED || outcome == v1::OUTCOME_UNKNOWN) {
    next.set_status(v1::RecordEntry::STATUS_PARKED);
    SetTime(now_.wall, next.mutable_since());
  }
  next.set_reason(reason);
  next.set_detail(detail);
  SyncStats& stats = StatsOf(lane.parts);
  switch (outcome) {
    case v1::OUTCOME_APPLIED:
      ++counters_.applied;
      ++stats.applied;
      break;
    case v1::OUTCOME_DROPPED:
      ++counters_.dropped;
      ++stats.dropped;
      break;
    case v1::OUTCOME_UNKNOWN:
      ++counters_.actions_unknown;
      break;
    default:
      ++counters_.parked;
      break;
  }
  if (lane.doubt != Doubt::kNone) CompareSoon(lane);
  lane.doubt = Doubt::kNone;
  lane.looked_up = false;
  Conclude(lane, ReceiptOf(lane, outcome, reason, detail, http_status));
}

void LoaderStage::ResolveWithoutCall(Lane& lane, const Verdict& verdict) {
  v1::RecordEntry& next = lane.next_entry;
  *next.mutable_resolved() = lane.command->version();
  next.set_outcome(verdict.outcome);
  next.clear_intent();
  ClearStatus(next);
  next.set_object(lane.parts.object);
  next.set_reason(verdict.reason);
  next.set_detail(verdict.detail);
  // Rule 21: what closes the intent of a key in doubt says so itself.
  next.set_in_doubt(lane.doubt != Doubt::kNone);
  if (Target* const target = FindTarget(lane.target)) target->alone.erase(lane.key);
  SyncStats& stats = StatsOf(lane.parts);
  switch (verdict.outcome) {
    case v1::OUTCOME_NOOP:
      ++counters_.noop;
      ++stats.noop;
      break;
    case v1::OUTCOME_DROPPED:
      ++counters_.dropped;
      ++stats.dropped;
      break;
    default:
      ++counters_.left;
      break;
  }
  Conclude(lane, ReceiptOf(lane, verdict.outcome, verdict.reason, verdict.detail, 0));
}

void LoaderStage::Park(Lane& lane, v1::Reason reason, const std::string& detail, int http_status) {
  v1::RecordEntry& next = lane.next_entry;
  next.clear_intent();
  next.set_object(lane.parts.object);
  next.set_in_doubt(lane.doubt != Doubt::kNone);
  next.set_status(v1::RecordEntry::STATUS_PARKED);
  *next.mutable_status_version() = lane.command->version();
  next.set_reason(reason);
  next.set_detail(detail);
  next.clear_retry_at();
  SetTime(now_.wall, next.mutable_since());
  ++counters_.parked;
  ReleaseMatchLocks(lane, false);
  Conclude(lane, ReceiptOf(lane, v1::OUTCOME_PARKED, reason, detail, http_status));
}

void LoaderStage::BeginNextEntry(Lane& lane) {
  lane.next_entry = lane.entry;
  if (!lane.tags_before) return;
  lane.next_entry.mutable_tags()->Clear();
  for (const std::string& tag : *lane.tags_before) lane.next_entry.add_tags(tag);
  lane.tags_are_restored = true;
}

void LoaderStage::CloseIntent(Lane& lane) {
  BeginNextEntry(lane);
  lane.next_entry.clear_intent();
  lane.next_entry.set_in_doubt(lane.doubt != Doubt::kNone);
  ConcludeUnreported(lane);
}

const v1::Receipt& LoaderStage::ReceiptOf(const Lane& lane, v1::Outcome outcome, v1::Reason reason,
                                          const std::string& detail, int http_status) {
  v1::Receipt& receipt = scratch_receipt_;
  receipt.Clear();
  receipt.set_key(lane.key);
  if (lane.parts.kind == ids::CommandKey::Kind::kAction) {
    receipt.set_action_id(lane.parts.action_id);
    receipt.set_operation(lane.command->action().operation());
  } else {
    *receipt.mutable_version() = lane.command->version();
    std::string& operation = *receipt.mutable_operation();
    operation = lane.parts.object;
    if (lane.call != nullptr) operation.append(".").append(lane.call->name);
  }
  receipt.set_send(lane.next_entry.sends());
  receipt.set_outcome(outcome);
  receipt.set_reason(reason);
  receipt.set_detail(detail);
  receipt.set_http_status(http_status);
  receipt.set_id(lane.next_entry.id());
  SetTime(now_.wall, receipt.mutable_at());
  return receipt;
}

void LoaderStage::ConcludeUnreported(Lane& lane) {
  lane.intent_unsent = false;
  WriteNextEntry(lane);
}

void LoaderStage::Conclude(Lane& lane, const v1::Receipt& receipt) {
  lane.intent_unsent = false;
  IntegrationCounters& counters = CountersOf(lane.target);
  ++counters.outcomes[static_cast<std::size_t>(receipt.outcome())];
  if (receipt.outcome() == v1::OUTCOME_PARKED) {
    ++counters.parked[static_cast<std::size_t>(receipt.reason())];
  }
  lane.phase = Lane::Phase::kReceipt;
  eventlog::RecordMeta meta = MetaOf(
      lane, ids::ReceiptId(lane.key, lane.version_text, receipt.send(), TextOf(receipt.outcome())),
      "tributary.receipt.v1");
  // A span of its own behind the command's: there may be several.
  meta.traceparent = eventlog::WithSpan(meta.traceparent, meta.id);
  lane.write =
      owner_->Append(Topic::kOutcomes, lane.partition, lane.key, receipt.SerializeAsString(), meta);
  // Refused: the partition is lost, and OnGone forgets the lane.
  if (lane.write != 0) writes_[lane.write] = &lane;
}

eventlog::RecordMeta LoaderStage::MetaOf(const Lane& lane, std::string id, std::string_view type) {
  eventlog::RecordMeta meta;
  meta.id = std::move(id);
  meta.source = kSource;
  meta.type = type;
  meta.traceparent = lane.traceparent;
  return meta;
}

void LoaderStage::WriteNextEntry(Lane& lane) {
  if (lane.next_entry.in_doubt()) {
    // Rule 20, whatever is written: when the doubt has ended without a write, what was done before
    // it says nothing of what is there.
    lane.next_entry.clear_content_hash();
    lane.next_entry.clear_calls();
  }
  if (lane.next_entry.final() || lane.next_entry.has_intent()) {
    lane.next_entry.clear_action_command();
  } else if (lane.parts.kind == ids::CommandKey::Kind::kAction) {
    lane.next_entry.set_action_command(ActionCommandOf(lane.entry));
  }
  const bool is_intent = lane.next_entry_goes_on;
  lane.phase = is_intent ? Lane::Phase::kIntent : Lane::Phase::kEntry;
  lane.next_entry_goes_on = false;
  // From now on its own entry says it.
  lane.doubt_is_of_loss = false;
  lane.write = owner_->Write(Topic::kRecords, lane.partition, lane.key,
                             lane.next_entry.SerializeAsString(), lane.traceparent);
  if (lane.write != 0) writes_[lane.write] = &lane;
}

void LoaderStage::Rest(Lane& lane) {
  lane.phase = Lane::Phase::kIdle;
  lane.batch = 0;
  lane.claim.clear();
  UpdateHolds(lane);
  lane.request_id = 0;
  if (lane.comparing != nullptr) {
    lane.comparing.reset();
    if (Target* const target = FindTarget(lane.target)) target->sweep.open = false;
  }
  ReleaseMatchLocks(lane, false);
  if (lane.is_batched) {
    lane.is_batched = false;
    Target* const target = FindTarget(lane.target);
    if (target != nullptr) --target->batched_keys;
    MarkDirty(target);
  }
  if (lane.has_slot) {
    lane.has_slot = false;
    Target* const target = FindTarget(lane.target);
    if (target != nullptr) target->backoff.ReturnSlots(1);
    MarkDirty(target);
  }
  if (std::exchange(lane.target_is_stale, false)) {
    TakeTarget(lane);
  }
  Touch(lane);
}

void LoaderStage::AwaitUntil(Lane& lane, Instant until) {
  lane.not_before = std::max(lane.not_before, until);
  SetTimer(lane, lane.not_before);
  Rest(lane);
}

void LoaderStage::Tombstone(const std::string& key) {
  const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
  if (!parts || parts->kind != ids::CommandKey::Kind::kAction) return;
  const eventlog::Table* records = Table(Topic::kRecords, parts->tenant);
  const eventlog::Table* commands = Table(Topic::kCommands, parts->tenant);
  if (records == nullptr || commands == nullptr || !commands->Get(key)) return;
  const std::optional<eventlog::TableEntry> entry = records->Get(key);
  v1::RecordEntry record;
  if (!entry || entry->is_void || !record.ParseFromString(entry->value) || !record.final()) return;
  // A parked one keeps its command, so that a person can have it done; of unknown outcome too.
  if (record.status() == v1::RecordEntry::STATUS_PARKED) return;
  owner_->Append(Topic::kCommands, PartitionOf(parts->tenant), key, std::nullopt, {});
}

}  // namespace tributary::loader

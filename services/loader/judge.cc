#include <algorithm>

#include "services/loader/entries.h"
#include "services/loader/stage.h"

// What may be done with a key now: protocol rules 17 to 22 and 26 to 31. Judging changes nothing.

namespace tributary::loader {
namespace {

using eventlog::Topic;

bool StaysParked(v1::Reason reason) {
  return reason == v1::REASON_IDENTITY_CONFLICT || reason == v1::REASON_CONNECTION ||
         reason == v1::REASON_PERSON;
}

}  // namespace

std::optional<LoaderStage::Desired> LoaderStage::DesiredOf(const std::string& key) {
  const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
  if (!parts) return std::nullopt;
  const eventlog::Table* commands = Table(Topic::kCommands, parts->tenant);
  if (commands == nullptr) return std::nullopt;
  std::optional<eventlog::TableEntry> entry = commands->Get(key);
  if (!entry || entry->is_void) return std::nullopt;
  Desired desired;
  if (!desired.command.ParseFromString(entry->value)) return std::nullopt;
  desired.bytes = std::move(entry->value);
  return desired;
}

Lane* LoaderStage::FindLane(const std::string& key) {
  const auto found = lanes_.find(key);
  return found == lanes_.end() ? nullptr : &found->second;
}

std::optional<v1::RecordEntry> LoaderStage::EntryOf(const std::string& key) {
  if (const Lane* lane = FindLane(key)) return lane->entry;
  return ReadBack(key);
}

std::optional<v1::RecordEntry> LoaderStage::ReadBack(const std::string& key) const {
  const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
  const eventlog::Table* records = parts ? Table(Topic::kRecords, parts->tenant) : nullptr;
  if (records == nullptr) return std::nullopt;
  const std::optional<eventlog::TableEntry> entry = records->Get(key);
  v1::RecordEntry record;
  if (!entry || entry->is_void || !record.ParseFromString(entry->value)) return std::nullopt;
  return record;
}

Lane& LoaderStage::LaneOf(const std::string& key) {
  if (Lane* lane = FindLane(key)) return *lane;
  std::optional<v1::RecordEntry> entry = EntryOf(key);
  Lane lane;
  lane.key = key;
  const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
  if (parts) lane.parts = *parts;
  lane.partition = PartitionOf(lane.parts.tenant);
  lane.target = TargetOf(lane.parts);
  if (entry) lane.entry = *std::move(entry);
  // In doubt ends only with an entry; a lane in doubt is not forgotten before.
  if (!lane.entry.final() && (lane.entry.in_doubt() || lane.entry.has_intent())) {
    lane.doubt = Doubt::kSettling;
    lane.settle_until = now_.steady + SettleOf(lane.target);
  }
  return lanes_.emplace(key, std::move(lane)).first->second;
}

TargetKey LoaderStage::TargetOf(const ids::CommandKey& parts) const {
  const v1::Sync* sync = directory_.FindSync(parts.tenant, parts.sync);
  return {parts.tenant, sync == nullptr ? "" : sync->target()};
}

Duration LoaderStage::SettleOf(const TargetKey& key) const {
  const auto target = targets_.find(key);
  return target == targets_.end() || target->second.connector == nullptr ? std::chrono::seconds(120)
                                                                         : target->second.settle;
}

Duration LoaderStage::IndexLagOf(const TargetKey& key) const {
  const auto target = targets_.find(key);
  return target == targets_.end() || target->second.connector == nullptr ? std::chrono::seconds(60)
                                                                         : target->second.index_lag;
}

std::string LoaderStage::HolderOf(const Lane& lane, const std::string& object,
                                  const std::string& id) {
  for (const auto& [key, other] : lanes_) {
    if (&other == &lane || other.target != lane.target || other.parts.object != object) continue;
    if (other.parts.kind != ids::CommandKey::Kind::kState) continue;
    if (other.claim == id || other.entry.id() == id) return key;
  }
  const eventlog::Table* records = Table(Topic::kRecords, lane.parts.tenant);
  if (records == nullptr) return "";
  std::vector<std::string> keys;
  records->ScanIndex(ids::JoinKey({"i", lane.parts.tenant, object, id}) + "/",
                     [&](std::string_view, std::string_view key) {
                       keys.emplace_back(key);
                       return true;
                     });
  for (const std::string& key : keys) {
    if (key == lane.key || lanes_.contains(key)) continue;
    const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
    if (parts && TargetOf(*parts) == lane.target) return key;
  }
  return "";
}

void LoaderStage::RememberEventTime(const std::string& tenant, WallTime time) {
  WallTime& newest = newest_event_[tenant];
  newest = std::max(newest, time);
}

LoaderStage::Verdict LoaderStage::Judge(const std::string& key) {
  const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
  if (!parts) return {};
  const Lane* lane = FindLane(key);
  std::optional<Desired> desired = DesiredOf(key);
  // The first command for which an intent was recorded decides the content of an action; its
  // command is still there unless its end was read back.
  if (desired && parts->kind == ids::CommandKey::Kind::kAction && lane != nullptr &&
      lane->entry.has_intent() && !lane->entry.intent().action_command().empty()) {
    v1::Command first;
    if (first.ParseFromString(lane->entry.intent().action_command())) desired->command = first;
  }
  if (!desired) return {};
  return parts->kind == ids::CommandKey::Kind::kAction ? JudgeAction(key, *parts, *desired)
                                                       : JudgeState(key, *parts, *desired);
}

LoaderStage::Verdict LoaderStage::JudgeState(const std::string& key, const ids::CommandKey& parts,
                                             const Desired& desired) {
  using Kind = Verdict::Kind;
  const v1::Command& command = desired.command;
  const v1::Sync* sync = directory_.FindSync(parts.tenant, parts.sync);
  if (sync == nullptr || !command.has_version()) return {};
  const Lane* lane = FindLane(key);
  const v1::RecordEntry entry = EntryOf(key).value_or(v1::RecordEntry());
  const Doubt doubt = lane == nullptr ? Doubt::kNone : lane->doubt;

  if (IsResolved(entry, command.version())) {
    if (doubt == Doubt::kSettling) return {.kind = Kind::kWait, .until = lane->settle_until};
    if (doubt == Doubt::kSettled) return {.kind = Kind::kEndDoubt};
    return {};
  }
  // Rule 18: what was read last is not what is desired, unless it is the newest.
  const SyncStats& stats = StatsOf(parts);
  const auto newest = stats.newest.find(key);
  if (newest != stats.newest.end() && Compare(newest->second, command.version()) > 0) return {};

  if (entry.status() == v1::RecordEntry::STATUS_PARKED &&
      (StaysParked(entry.reason()) || Compare(entry.status_version(), command.version()) >= 0)) {
    // Parked in doubt: the doubt itself still ends, so that nothing stays open for ever.
    if (doubt == Doubt::kSettling) return {.kind = Kind::kWait, .until = lane->settle_until};
    return {};
  }
  if (!command.mapping_error().empty()) {
    return {.kind = Kind::kPark, .reason = v1::REASON_MAPPING, .detail = command.mapping_error()};
  }
  const v1::DesiredState& state = command.state();
  if (state.presence() == v1::DesiredState::PRESENCE_UNWANTED ||
      state.presence() == v1::DesiredState::PRESENCE_WITHDRAWN ||
      state.presence() == v1::DesiredState::PRESENCE_ERASED) {
    return {.kind = Kind::kResolve, .outcome = v1::OUTCOME_LEFT};
  }
  if (sync->state() != v1::SYNC_STATE_ACTIVE) return {};
  if (doubt == Doubt::kSettling) return {.kind = Kind::kWait, .until = lane->settle_until};
  if (lane != nullptr && lane->not_before > now_.steady) {
    return {.kind = Kind::kWait, .until = lane->not_before};
  }
  // Rule 20: a hash is there only if the last write is certain.
  if (doubt == Doubt::kNone && !entry.content_hash().empty() && !entry.id().empty() &&
      entry.content_hash() == state.content_hash()) {
    return {.kind = Kind::kResolve, .outcome = v1::OUTCOME_NOOP};
  }
  return {.kind = Kind::kSend};
}

LoaderStage::Verdict LoaderStage::JudgeAction(const std::string& key, const ids::CommandKey& parts,
                                              const Desired& desired) {
  using Kind = Verdict::Kind;
  if (!desired.command.has_action()) return {};
  const v1::Action& action = desired.command.action();
  const v1::Sync* sync = directory_.FindSync(parts.tenant, parts.sync);
  if (sync == nullptr) return {};
  const Lane* lane = FindLane(key);
  const v1::RecordEntry entry = EntryOf(key).value_or(v1::RecordEntry());
  const Doubt doubt = lane == nullptr ? Doubt::kNone : lane->doubt;

  // Read back as valid, not only written (rule 29).
  const std::optional<v1::RecordEntry> record = ReadBack(action.record_key());
  const bool has_record = record && !record->id().empty();

  if (entry.final()) {
    if (entry.status() != v1::RecordEntry::STATUS_PARKED || entry.reason() != v1::REASON_RECORD) {
      return {};
    }
    if (!has_record) {
      waiters_[action.record_key()].insert(key);
      return {};
    }
  }
  const auto target = targets_.find(TargetKey(parts.tenant, sync->target()));
  const connector::ActionOperation* operation =
      target == targets_.end() || target->second.connector == nullptr
          ? nullptr
          : target->second.connector->FindAction(action.operation());
  const bool connector_known = target != targets_.end() && target->second.connector != nullptr;
  if (!connector_known) return {};

  const bool hopeless =
      record && (record->status() == v1::RecordEntry::STATUS_PARKED ||
                 record->outcome() == v1::OUTCOME_LEFT || record->outcome() == v1::OUTCOME_DROPPED);
  if (doubt != Doubt::kNone) {
    // Rule 30. A look-up needs the id of the record, which may itself be in doubt and come back.
    const bool has_look_up = operation != nullptr && operation->lookup.has_value();
    if (has_look_up && !has_record && !hopeless) {
      waiters_[action.record_key()].insert(key);
      return {};
    }
    const bool can_look_up = has_look_up && has_record;
    if (!can_look_up && !action.at_least_once()) {
      return {.kind = Kind::kPark,
              .outcome = v1::OUTCOME_UNKNOWN,
              .reason = v1::REASON_UNKNOWN,
              .detail = "its call may or may not have been done, and it cannot be looked up"};
    }
    if (doubt == Doubt::kSettling) return {.kind = Kind::kWait, .until = lane->settle_until};
  } else {
    const auto newest = newest_event_.find(parts.tenant);
    if (action.has_event_time() && newest != newest_event_.end() &&
        newest->second - TimeOf(action.event_time()) > options_.action_age) {
      return {.kind = Kind::kResolve,
              .outcome = v1::OUTCOME_DROPPED,
              .reason = v1::REASON_TOO_OLD,
              .detail = "its event is older than the age to which actions are done"};
    }
  }
  if (!desired.command.mapping_error().empty()) {
    return {.kind = Kind::kPark,
            .outcome = v1::OUTCOME_PARKED,
            .reason = v1::REASON_MAPPING,
            .detail = desired.command.mapping_error()};
  }
  if (sync->state() != v1::SYNC_STATE_ACTIVE) return {};
  if (operation == nullptr) {
    return {.kind = Kind::kPark,
            .outcome = v1::OUTCOME_PARKED,
            .reason = v1::REASON_UNSUPPORTED,
            .detail = "operation `" + action.operation() + "` is not described"};
  }
  if (!action.after_action_id().empty()) {
    const std::string before = ids::ActionKey(parts.tenant, parts.sync, action.after_action_id());
    const std::optional<v1::RecordEntry> previous = ReadBack(before);
    const bool is_final = previous && previous->final();
    if (!is_final) {
      waiters_[before].insert(key);
      return {};
    }
  }
  if (!has_record) {
    waiters_[action.record_key()].insert(key);
    if (!hopeless) return {};
    return {.kind = Kind::kPark,
            .outcome = v1::OUTCOME_PARKED,
            .reason = v1::REASON_RECORD,
            .detail = "record " + action.record_key() + " is not at the target"};
  }
  if (lane != nullptr && lane->not_before > now_.steady) {
    return {.kind = Kind::kWait, .until = lane->not_before};
  }
  return {.kind = Kind::kSend};
}

void LoaderStage::Evaluate(const std::string& key) {
  const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
  if (!parts) return;
  const eventlog::Partition partition = PartitionOf(parts->tenant);
  const auto state = partitions_.find(partition);
  if (state == partitions_.end()) return;
  Lane* lane = FindLane(key);
  if (lane != nullptr && lane->busy()) return;
  if (lane != nullptr && lane->repair_wanted) {
    // Written again as it is now, open intent and flag included (rule 16, end).
    lane->next_entry = lane->entry;
    Conclude(*lane, std::nullopt);
    return;
  }
  if (state->second.revoking) {
    if (lane != nullptr && lane->intent_unsent) CloseIntent(*lane);
    return;
  }
  if (!owner_->ready(partition)) {
    blocked_.insert(key);
    return;
  }
  if (lane != nullptr && lane->doubt == Doubt::kSettling && lane->settle_until <= now_.steady) {
    lane->doubt = Doubt::kSettled;
    lane->looked_up = false;
  }
  const Verdict verdict = Judge(key);
  switch (verdict.kind) {
    case Verdict::Kind::kNothing:
      if (lane != nullptr && lane->intent_unsent) {
        CloseIntent(*lane);
      } else {
        ForgetIfIdle(key);
      }
      return;
    case Verdict::Kind::kWait:
      if (lane != nullptr && lane->intent_unsent) {
        CloseIntent(*lane);
        return;
      }
      SetTimer(LaneOf(key), verdict.until);
      return;
    case Verdict::Kind::kEndDoubt: {
      lane->doubt = Doubt::kNone;
      lane->next_entry = lane->entry;
      lane->next_entry.set_in_doubt(false);
      lane->next_entry.clear_intent();
      lane->next_entry.set_status(v1::RecordEntry::STATUS_WAITING);
      lane->next_entry.clear_reason();
      lane->next_entry.clear_detail();
      lane->next_entry.clear_retry_at();
      Conclude(*lane, std::nullopt);
      return;
    }
    case Verdict::Kind::kResolve:
    case Verdict::Kind::kPark: {
      Lane& mine = LaneOf(key);
      const std::optional<Desired> desired = DesiredOf(key);
      if (!desired) return;
      mine.command = desired->command;
      mine.command_bytes = desired->bytes;
      mine.next_entry = WithoutPromises(mine);
      if (parts->kind == ids::CommandKey::Kind::kAction) {
        FinishAction(mine, verdict.outcome, verdict.reason, verdict.detail, 0);
      } else if (verdict.kind == Verdict::Kind::kPark) {
        Park(mine, verdict.reason, verdict.detail, 0);
      } else {
        ResolveWithoutCall(mine, verdict);
      }
      return;
    }
    case Verdict::Kind::kSend: {
      const v1::Sync* sync = directory_.FindSync(parts->tenant, parts->sync);
      Priority priority = Priority::kLive;
      if (lane != nullptr && lane->entry.attempts() > 0) {
        priority = Priority::kRetry;
      } else if (const std::optional<Desired> desired = DesiredOf(key);
                 desired && desired->command.state().backfill()) {
        priority = Priority::kBackfill;
      }
      Enqueue(key, {parts->tenant, sync->target()}, priority);
      return;
    }
  }
}

void LoaderStage::SetTimer(Lane& lane, Instant at) {
  timers_.insert({std::max(at, now_.steady + Duration(1)), lane.key});
}

void LoaderStage::ForgetIfIdle(const std::string& key) {
  const Lane* lane = FindLane(key);
  if (lane == nullptr || lane->busy() || lane->intent_unsent || lane->repair_wanted) return;
  if (lane->doubt != Doubt::kNone || lane->not_before > now_.steady) return;
  // What was acknowledged and not yet read back is known here only.
  if (lane->acknowledged > lane->read_back) return;
  lanes_.erase(key);
}

void LoaderStage::Account(const std::string& key) {
  const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
  if (!parts) return;
  SyncStats& stats = StatsOf(*parts);
  stats.pending.erase(key);
  stats.retrying.erase(key);
  stats.parked.erase(key);
  const v1::RecordEntry entry = EntryOf(key).value_or(v1::RecordEntry());
  const std::optional<Desired> desired = DesiredOf(key);
  const bool is_action = parts->kind == ids::CommandKey::Kind::kAction;
  bool open = false;
  if (desired && is_action) {
    open = !entry.final();
  } else if (desired) {
    v1::Version& newest = stats.newest[key];
    if (Compare(newest, desired->command.version()) < 0) newest = desired->command.version();
    open = !IsResolved(entry, newest);
    if (!open) stats.newest.erase(key);
  }
  if (entry.status() == v1::RecordEntry::STATUS_PARKED) {
    const bool is_stale = !is_action && desired && !StaysParked(entry.reason()) &&
                          Compare(entry.status_version(), desired->command.version()) < 0;
    if (!is_stale) {
      stats.parked.insert(key);
      return;
    }
  }
  if (!open) return;
  if (entry.status() == v1::RecordEntry::STATUS_RETRYING) stats.retrying.insert(key);
  stats.pending[key] =
      desired->command.has_changed_at() ? TimeOf(desired->command.changed_at()) : WallTime();
}

}  // namespace tributary::loader

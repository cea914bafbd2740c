#include <algorithm>

#include "services/loader/entries.h"
#include "services/loader/stage.h"

// What may be done with a key now: protocol rules 17 to 22 and 26 to 31. Judging changes nothing.

namespace tributary::loader {
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

void LoaderStage::RememberEventTime(const std::string& tenant, WallTime time) {
  WallTime& newest = newest_event_[tenant];
  newest = std::max(newest, time);
}

LoaderStage::Verdict LoaderStage::Judge(Lane& lane) {
  const v1::Command* desired = DesiredOf(lane);
  if (desired == nullptr) return {};
  if (lane.parts.kind != ids::CommandKey::Kind::kAction) return JudgeState(lane, *desired);
  // The first command for which an intent was recorded decides the content of an action; its
  // command is still there unless its end was read back.
  v1::Command first;
  const std::string& bytes = ActionCommandOf(lane.entry);
  if (!bytes.empty() && first.ParseFromString(bytes)) desired = &first;
  return JudgeAction(lane, *desired);
}

bool LoaderStage::MayGoOn(Lane& lane) {
  if (Judge(lane).kind != Verdict::Kind::kSend) return false;
  return lane.parts.kind == ids::CommandKey::Kind::kAction || lane.desired == lane.command ||
         Compare(lane.desired->version(), lane.command->version()) == 0;
}

LoaderStage::Verdict LoaderStage::JudgeState(const Lane& lane, const v1::Command& command) {
  using Kind = Verdict::Kind;
  const v1::Sync* sync = directory_.FindSync(lane.parts.tenant, lane.parts.sync);
  if (sync == nullptr) return {};
  const v1::RecordEntry& entry = lane.entry;
  const Doubt doubt = lane.doubt;

  if (IsResolved(entry, command.version())) {
    if (doubt == Doubt::kSettling) return {.kind = Kind::kWait, .until = lane.settle_until};
    if (doubt == Doubt::kNone) return {};
    // A record that was made just before L had passed is seen S later: until then nobody who finds
    // none may take it that there is none (rule 26).
    const Instant seen = lane.settle_until + IndexLagOf(lane.target);
    if (entry.id().empty() && now_.steady < seen) return {.kind = Kind::kWait, .until = seen};
    return {.kind = Kind::kEndDoubt};
  }
  // Rule 18: what was read last is not what is desired, unless it is the newest.
  if (NewestSeen(lane) > PlainOf(command.version())) return {};

  if (entry.status() == v1::RecordEntry::STATUS_PARKED &&
      (StaysParked(entry.reason()) || Compare(entry.status_version(), command.version()) >= 0)) {
    // Parked in doubt: the doubt itself still ends, so that nothing stays open for ever.
    if (doubt == Doubt::kSettling) return {.kind = Kind::kWait, .until = lane.settle_until};
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
  if (doubt == Doubt::kSettling) return {.kind = Kind::kWait, .until = lane.settle_until};
  if (lane.not_before > now_.steady) return {.kind = Kind::kWait, .until = lane.not_before};
  // Rule 20: a hash is there only if the last write is certain.
  if (doubt == Doubt::kNone && !entry.content_hash().empty() && !entry.id().empty() &&
      entry.content_hash() == state.content_hash()) {
    return {.kind = Kind::kResolve, .outcome = v1::OUTCOME_NOOP};
  }
  return {.kind = Kind::kSend};
}

LoaderStage::Verdict LoaderStage::JudgeAction(const Lane& lane, const v1::Command& command) {
  using Kind = Verdict::Kind;
  const v1::Action& action = command.action();
  const ids::CommandKey& parts = lane.parts;
  const v1::Sync* sync = directory_.FindSync(parts.tenant, parts.sync);
  if (sync == nullptr) return {};
  const v1::RecordEntry& entry = lane.entry;
  const Doubt doubt = lane.doubt;

  // Read back as valid, not only written (rule 29).
  const std::optional<v1::RecordEntry> record = ReadBack(action.record_key());
  const bool has_record = record && !record->id().empty();

  if (entry.final()) {
    if (entry.status() != v1::RecordEntry::STATUS_PARKED || entry.reason() != v1::REASON_RECORD) {
      return {};
    }
    if (!has_record) {
      waiters_[action.record_key()].insert(lane.key);
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
      waiters_[action.record_key()].insert(lane.key);
      return {};
    }
    const bool can_look_up = has_look_up && has_record;
    // No entry clears a doubt in front of L, not even one that says that it will stay unknown.
    if (doubt == Doubt::kSettling) return {.kind = Kind::kWait, .until = lane.settle_until};
    if (!can_look_up && !action.at_least_once()) {
      return {.kind = Kind::kPark,
              .outcome = v1::OUTCOME_UNKNOWN,
              .reason = v1::REASON_UNKNOWN,
              .detail = "its call may or may not have been done, and it cannot be looked up"};
    }
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
  if (!command.mapping_error().empty()) {
    return {.kind = Kind::kPark,
            .outcome = v1::OUTCOME_PARKED,
            .reason = v1::REASON_MAPPING,
            .detail = command.mapping_error()};
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
      waiters_[before].insert(lane.key);
      return {};
    }
  }
  if (!has_record) {
    waiters_[action.record_key()].insert(lane.key);
    if (!hopeless) return {};
    return {.kind = Kind::kPark,
            .outcome = v1::OUTCOME_PARKED,
            .reason = v1::REASON_RECORD,
            .detail = "record " + action.record_key() + " is not at the target"};
  }
  if (lane.not_before > now_.steady) return {.kind = Kind::kWait, .until = lane.not_before};
  return {.kind = Kind::kSend};
}

Priority LoaderStage::PriorityOf(const Lane& lane) {
  if (lane.entry.attempts() > 0) return Priority::kRetry;
  const bool is_backfill = lane.desired != nullptr && lane.desired->state().backfill();
  return is_backfill ? Priority::kBackfill : Priority::kLive;
}

void LoaderStage::Evaluate(Lane& lane) {
  const auto state = partitions_.find(lane.partition);
  if (state == partitions_.end() || lane.busy()) return;
  if (lane.repair_wanted) {
    // Written again as it is now, open intent and flag included (rule 16, end).
    lane.next_entry = lane.entry;
    ConcludeUnreported(lane);
    return;
  }
  if (!lane.reached_by.empty()) {
    WriteAgain(lane);
    return;
  }
  if (state->second.revoking) {
    if (lane.intent_unsent) {
      CloseIntent(lane);
    } else {
      ForgetIfIdle(lane);
    }
    return;
  }
  if (!owner_->ready(lane.partition)) {
    blocked_.insert(lane.key);
    return;
  }
  if (lane.doubt == Doubt::kSettling && lane.settle_until <= now_.steady) {
    lane.doubt = Doubt::kSettled;
    lane.looked_up = false;
  }
  const Verdict verdict = Judge(lane);
  switch (verdict.kind) {
    case Verdict::Kind::kNothing:
      if (lane.intent_unsent) {
        CloseIntent(lane);
      } else {
        ForgetIfIdle(lane);
      }
      return;
    case Verdict::Kind::kWait:
      if (lane.intent_unsent) {
        CloseIntent(lane);
      } else if (Target* const target = lane.doubt_is_of_loss ? FindTarget(lane.target) : nullptr) {
        // Perhaps a million of them: none is kept in memory, they are found again when L has
        // passed.
        target->rescan_at = std::min(target->rescan_at, verdict.until);
        WakeAt(*target, target->rescan_at);
        ForgetIfIdle(lane);
      } else {
        SetTimer(lane, verdict.until);
      }
      return;
    case Verdict::Kind::kEndDoubt: {
      lane.doubt = Doubt::kNone;
      lane.next_entry = lane.entry;
      CompareSoon(lane);
      lane.next_entry.set_in_doubt(false);
      lane.next_entry.clear_content_hash();
      lane.next_entry.clear_calls();
      lane.next_entry.clear_intent();
      lane.next_entry.set_status(v1::RecordEntry::STATUS_WAITING);
      lane.next_entry.clear_reason();
      lane.next_entry.clear_detail();
      lane.next_entry.clear_retry_at();
      ConcludeUnreported(lane);
      return;
    }
    case Verdict::Kind::kResolve:
    case Verdict::Kind::kPark:
      if (Target* const target =
              LogIsBusy() && !lane.intent_unsent ? FindTarget(lane.target) : nullptr) {
        FindLater(*target, lane.key);
        ForgetIfIdle(lane);
        return;
      }
      TakeCommand(lane, lane.desired, lane.desired_bytes);
      BeginNextEntry(lane);
      if (lane.parts.kind == ids::CommandKey::Kind::kAction) {
        FinishAction(lane, verdict.outcome, verdict.reason, verdict.detail, 0);
      } else if (verdict.kind == Verdict::Kind::kPark) {
        Park(lane, verdict.reason, verdict.detail, 0);
      } else {
        ResolveWithoutCall(lane, verdict);
      }
      return;
    case Verdict::Kind::kSend: {
      Enqueue(lane, PriorityOf(lane));
      return;
    }
  }
}

}  // namespace tributary::loader

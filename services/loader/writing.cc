#include <algorithm>
#include <utility>

#include "services/loader/entries.h"
#include "services/loader/stage.h"

// From a key that may be written to its call: look-up, and an intent that is acknowledged (protocol
// rules 16, 26 and 29).

namespace tributary::loader {
namespace {

std::string Lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

}  // namespace

void LoaderStage::TakeCommand(Lane& lane, std::shared_ptr<const v1::Command> command,
                              std::string bytes) {
  const bool is_action = lane.parts.kind == ids::CommandKey::Kind::kAction;
  lane.command = std::move(command);
  lane.command_bytes = std::move(bytes);
  lane.version_text = is_action ? lane.parts.action_id : TextOf(lane.command->version());
  lane.traceparent = TraceParentOf(lane.key, lane.version_text, lane.command.get());
}

void LoaderStage::Begin(const std::string& key, std::uint64_t batch) {
  Lane* const found = LaneOf(key);
  if (found == nullptr || found->busy()) return;
  Lane& lane = *found;
  Target* target = FindTarget(lane.target);
  if (target == nullptr || Judge(lane).kind != Verdict::Kind::kSend) {
    Touch(lane);
    return;
  }
  if (batch == 0) {
    lane.has_slot = true;
    target->backoff.TakeSlots(1);
    target->alone.erase(key);
  }
  lane.connector = target->connector;
  TakeCommand(lane, lane.desired, lane.desired_bytes);
  BeginNextEntry(lane);
  lane.claim.clear();
  UpdateHolds(lane);
  lane.next_lookup = 0;
  lane.sent_any = false;
  lane.tags_told = false;
  lane.is_confirming = false;
  lane.is_confirmed = false;
  lane.would_reach.clear();
  if (lane.parts.kind == ids::CommandKey::Kind::kAction) {
    BeginAction(lane);
  } else {
    BeginState(lane, batch);
  }
}

void LoaderStage::BeginState(Lane& lane, std::uint64_t batch) {
  const connector::Object* object = lane.connector->FindObject(lane.parts.object);
  if (object == nullptr) {
    Park(lane, v1::REASON_UNSUPPORTED,
         "object `" + lane.parts.object + "` is not described in the connector file", 0);
    return;
  }
  const v1::DesiredState& state = lane.command->state();
  if (!object->unique_key.empty()) {
    const std::string id = connector::FieldText(state, object->unique_key);
    if (id.empty()) {
      Park(lane, v1::REASON_MAPPING, "unique key `" + object->unique_key + "` has no value", 0);
      return;
    }
    const std::string holder = HolderOf(lane, object->name, id);
    if (!holder.empty()) {
      Park(lane, v1::REASON_IDENTITY_CONFLICT,
           "record " + id + " belongs to " + holder + ", claimed by " + lane.key, 0);
      return;
    }
    lane.claim = id;
    UpdateHolds(lane);
    lane.creating = lane.entry.id().empty();
    if (batch != 0) lane.batch = batch;
    PlanCalls(lane);
    return;
  }
  lane.creating = lane.entry.id().empty();
  if (lane.creating) {
    if (!TakeMatchLocks(lane, *object)) {
      // A rival makes, or may just have made, the record that we would match.
      AwaitUntil(lane, now_.steady + std::clamp<Duration>(IndexLagOf(lane.target),
                                                          std::chrono::milliseconds(100),
                                                          std::chrono::seconds(1)));
      return;
    }
    const v1::Sync* sync = directory_.FindSync(lane.parts.tenant, lane.parts.sync);
    const bool target_is_empty = sync != nullptr && sync->target_is_empty() &&
                                 lane.doubt == Doubt::kNone && lane.entry.sends() == 0;
    const Duration lag = IndexLagOf(lane.target);
    // What nobody had then somebody may have now: this version may match by other words, and a
    // rival that has made one since has kept them for S from there (rule 25).
    if (lane.looked_up &&
        (lane.looked_up_for != lane.match_locks || now_.steady - lane.looked_up_at > lag)) {
      lane.looked_up = false;
    }
    if (!lane.looked_up && !target_is_empty) {
      const Instant visible = lane.doubt == Doubt::kSettled
                                  ? lane.settle_until + lag
                                  : partitions_[lane.partition].lookups_from;
      if (now_.steady < visible) {
        AwaitUntil(lane, visible);
        return;
      }
      NextLookup(lane);
      return;
    }
  } else {
    const std::string holder = HolderOf(lane, object->name, lane.entry.id());
    if (!holder.empty()) {
      Park(lane, v1::REASON_IDENTITY_CONFLICT,
           "record " + lane.entry.id() + " belongs to " + holder + ", claimed by " + lane.key, 0);
      return;
    }
  }
  PlanCalls(lane);
}

void LoaderStage::BeginAction(Lane& lane) {
  // The first command for which an intent was recorded decides.
  if (const std::string& bytes = ActionCommandOf(lane.entry); !bytes.empty()) {
    const auto first = std::make_shared<v1::Command>();
    if (first->ParseFromString(bytes)) TakeCommand(lane, first, bytes);
  }
  const connector::ActionOperation* operation =
      lane.connector->FindAction(lane.command->action().operation());
  if (operation == nullptr) {
    Rest(lane);
    return;
  }
  if (lane.doubt != Doubt::kNone && operation->lookup && !lane.looked_up) {
    const Instant visible = lane.settle_until + IndexLagOf(lane.target);
    if (now_.steady < visible) {
      AwaitUntil(lane, visible);
      return;
    }
    NextLookup(lane);
    return;
  }
  const std::optional<v1::RecordEntry> record = ReadBack(lane.command->action().record_key());
  if (!record || record->id().empty()) {
    // It became unknown during the look-up. No fault of the action, which waits for it (rule 29).
    Rest(lane);
    return;
  }
  connector::CallInput input;
  input.id = record->id();
  input.marker = lane.parts.action_id;
  input.action = &lane.command->action();
  absl::StatusOr<http::Request> request = connector::Render(
      *lane.connector, FindTarget(lane.target)->account, nullptr, operation->call, input);
  if (!request.ok()) {
    FinishAction(lane, v1::OUTCOME_PARKED, v1::REASON_MAPPING,
                 std::string(request.status().message()), 0);
    return;
  }
  WriteIntent(lane, operation->call, *std::move(request), {});
}

void LoaderStage::NextLookup(Lane& lane) {
  Target* target = FindTarget(lane.target);
  connector::CallInput input;
  const connector::Call* lookup = nullptr;
  if (lane.parts.kind == ids::CommandKey::Kind::kAction) {
    const connector::ActionOperation* operation =
        lane.connector->FindAction(lane.command->action().operation());
    const std::optional<v1::RecordEntry> record = ReadBack(lane.command->action().record_key());
    input.id = record ? record->id() : "";
    input.marker = lane.parts.action_id;
    input.action = &lane.command->action();
    if (lane.next_lookup == 0) lookup = &*operation->lookup;
  } else {
    const connector::Object* object = lane.connector->FindObject(lane.parts.object);
    const v1::DesiredState& state = lane.command->state();
    input.state = &state;
    input.marker = connector::FieldText(state, object->marker);
    while (lane.next_lookup < object->lookups.size()) {
      const connector::Call& candidate = object->lookups[lane.next_lookup];
      if (connector::Applies(candidate, state)) {
        lookup = &candidate;
        break;
      }
      ++lane.next_lookup;
    }
  }
  if (lookup == nullptr) {
    // Certainly nowhere: make it.
    lane.looked_up = true;
    lane.looked_up_at = now_.steady;
    lane.looked_up_for = lane.match_locks;
    if (lane.parts.kind == ids::CommandKey::Kind::kAction) {
      BeginAction(lane);
    } else {
      PlanCalls(lane);
    }
    return;
  }
  absl::StatusOr<http::Request> request =
      connector::Render(*lane.connector, target->account, nullptr, *lookup, input);
  if (!request.ok()) {
    if (lane.parts.kind == ids::CommandKey::Kind::kAction) {
      FinishAction(lane, v1::OUTCOME_PARKED, v1::REASON_MAPPING,
                   std::string(request.status().message()), 0);
    } else {
      Park(lane, v1::REASON_MAPPING, std::string(request.status().message()), 0);
    }
    return;
  }
  lane.call = lookup;
  lane.request = *std::move(request);
  lane.request_id = 0;
  lane.phase = Lane::Phase::kLookingUp;
  target->Await(lane.key, PriorityOf(lane));
  MarkDirty(target);
}

void LoaderStage::PlanCalls(Lane& lane) {
  const connector::Object& object = *lane.connector->FindObject(lane.parts.object);
  const v1::DesiredState& state = lane.command->state();
  lane.creating = lane.next_entry.id().empty();
  lane.calls.clear();
  lane.next_call = 0;
  for (const connector::Call& call : lane.creating ? object.create : object.update) {
    if (connector::Applies(call, state)) lane.calls.push_back(&call);
  }
  if (!lane.creating && !lane.is_confirmed && Confirm(lane)) return;
  NextCall(lane);
}

bool LoaderStage::Confirm(Lane& lane) {
  const connector::Object& object = *lane.connector->FindObject(lane.parts.object);
  const v1::DesiredState& state = lane.command->state();
  Target* const target = FindTarget(lane.target);
  connector::CallInput input;
  input.id = lane.next_entry.id();
  input.state = &state;
  for (const connector::Call* const call : lane.calls) {
    if (call->confirmed_by.empty()) continue;
    const connector::Call& lookup = *object.FindLookup(call->confirmed_by);
    if (!connector::Applies(lookup, state)) continue;
    const absl::StatusOr<http::Request> write =
        connector::Render(*lane.connector, target->account, &object, *call, input);
    if (!write.ok() || IsDone(lane, *call, connector::HashOf(*write))) continue;
    input.marker = connector::FieldText(state, object.marker);
    absl::StatusOr<http::Request> request =
        connector::Render(*lane.connector, target->account, nullptr, lookup, input);
    if (!request.ok()) continue;
    // An id that was found just now is in no entry yet: without it, it is looked for again.
    lane.looked_up = false;
    lane.is_confirming = true;
    lane.call = &lookup;
    lane.request = *std::move(request);
    lane.request_id = 0;
    lane.phase = Lane::Phase::kLookingUp;
    target->Await(lane.key, PriorityOf(lane));
    MarkDirty(target);
    return true;
  }
  return false;
}

bool LoaderStage::IsDone(const Lane& lane, const connector::Call& call, const std::string& hash) {
  return lane.doubt == Doubt::kNone &&
         std::any_of(lane.next_entry.calls().begin(), lane.next_entry.calls().end(),
                     [&](const v1::CallHash& known) {
                       return known.step() == call.name && known.hash() == hash;
                     });
}

void LoaderStage::NextCall(Lane& lane) {
  const connector::Object& object = *lane.connector->FindObject(lane.parts.object);
  const v1::DesiredState& state = lane.command->state();
  const Target* target = FindTarget(lane.target);
  const bool is_certain = lane.doubt == Doubt::kNone;
  connector::CallInput input;
  input.id = lane.next_entry.id();
  input.state = &state;
  for (; lane.next_call < lane.calls.size(); ++lane.next_call) {
    const connector::Call& call = *lane.calls[lane.next_call];
    absl::StatusOr<http::Request> request =
        connector::Render(*lane.connector, target->account, &object, call, input);
    if (!request.ok()) {
      Park(lane, v1::REASON_MAPPING, std::string(request.status().message()), 0);
      return;
    }
    const std::string hash = connector::HashOf(*request);
    if (IsDone(lane, call, hash)) continue;
    if (!call.confirmed_by.empty() && !lane.would_reach.empty()) {
      const std::string holder = HolderOf(lane, object.name, lane.would_reach);
      Park(lane, v1::REASON_IDENTITY_CONFLICT,
           "`" + call.name + "` would reach record " + lane.would_reach +
               (holder.empty() ? "" : ", which belongs to " + holder) + ", instead of " + input.id +
               " of " + lane.key,
           0);
      return;
    }
    lane.request_hash = hash;
    WriteIntent(lane, call, *std::move(request), {});
    return;
  }
  if (object.tags_add && object.tags_remove) {
    const std::vector<std::string> desired =
        connector::CanonicalTags(object, {state.tags().begin(), state.tags().end()});
    std::vector<std::string> have(lane.next_entry.tags().begin(), lane.next_entry.tags().end());
    have = connector::CanonicalTags(object, std::move(have));
    // Without certainty everything that should be there is added; adding twice does no harm.
    const bool known = lane.tags_told || is_certain;
    std::vector<std::string> add;
    std::vector<std::string> remove;
    std::set_difference(desired.begin(), desired.end(), have.begin(), have.end(),
                        std::back_inserter(add));
    std::set_difference(have.begin(), have.end(), desired.begin(), desired.end(),
                        std::back_inserter(remove));
    if (!known) add = desired;
    const connector::Call* call = nullptr;
    std::vector<std::string> tags;
    if (!add.empty()) {
      call = &*object.tags_add;
      tags = add;
    } else if (!remove.empty()) {
      call = &*object.tags_remove;
      tags = remove;
    }
    if (call != nullptr) {
      input.tags = tags;
      absl::StatusOr<http::Request> request =
          connector::Render(*lane.connector, target->account, &object, *call, input);
      if (!request.ok()) {
        Park(lane, v1::REASON_UNSUPPORTED, std::string(request.status().message()), 0);
        return;
      }
      lane.request_hash.clear();
      WriteIntent(lane, *call, *std::move(request), std::move(tags));
      return;
    }
  }
  FinishState(lane);
}

void LoaderStage::WriteIntent(Lane& lane, const connector::Call& call, http::Request request,
                              std::vector<std::string> tags) {
  lane.call = &call;
  lane.call_tags = std::move(tags);
  lane.request = std::move(request);
  v1::RecordEntry& next = lane.next_entry;
  const bool is_action = lane.parts.kind == ids::CommandKey::Kind::kAction;
  next.set_sends(next.sends() + 1);
  next.set_final(false);
  v1::Intent& intent = *next.mutable_intent();
  intent.Clear();
  intent.set_send(next.sends());
  intent.set_step(call.name);
  SetTime(now_.wall, intent.mutable_written_at());
  if (is_action) {
    intent.set_action_command(lane.command_bytes);
    next.set_object(lane.command->action().operation());
    if (lane.command->action().has_event_time()) {
      *next.mutable_event_time() = lane.command->action().event_time();
    }
  } else {
    *intent.mutable_version() = lane.command->version();
    intent.set_content_hash(lane.command->state().content_hash());
    next.set_object(lane.parts.object);
    // Whether they arrive or not, they are ours to take away again.
    const connector::Object& object = *lane.connector->FindObject(lane.parts.object);
    if (object.tags_add && &call == &*object.tags_add) {
      lane.tags_before.emplace(next.tags().begin(), next.tags().end());
      lane.tags_are_restored = false;
      std::vector<std::string> all(next.tags().begin(), next.tags().end());
      all.insert(all.end(), lane.call_tags.begin(), lane.call_tags.end());
      all = connector::CanonicalTags(object, std::move(all));
      next.mutable_tags()->Clear();
      for (std::string& tag : all) next.add_tags(std::move(tag));
    }
  }
  next.set_in_doubt(lane.doubt != Doubt::kNone);
  if (lane.doubt != Doubt::kNone) {
    next.clear_content_hash();
    next.clear_calls();
  }
  const bool is_new_version =
      !is_action &&
      (!next.has_status_version() || Compare(next.status_version(), lane.command->version()) != 0);
  const std::int32_t attempts = is_new_version ? 0 : next.attempts();
  const v1::Reason reason = next.reason();
  ClearStatus(next);
  next.set_attempts(attempts);
  if (!is_action) *next.mutable_status_version() = lane.command->version();
  // "Cleared the id once at this version" must outlive the intent (rule 27).
  if (!is_new_version && reason == v1::REASON_MISSING) next.set_reason(reason);
  if (lane.batch != 0) {
    Batch& batch = batches_[lane.batch];
    batch.keys.push_back(lane.key);
    ++batch.unacknowledged;
    if (Target* const target = lane.is_batched ? nullptr : FindTarget(lane.target)) {
      lane.is_batched = true;
      ++target->batched_keys;
    }
  }
  lane.next_entry_goes_on = true;
  ConcludeUnreported(lane);
}

bool LoaderStage::TakeMatchLocks(Lane& lane, const connector::Object& object) {
  std::vector<std::string> names;
  for (const std::string& path : object.match) {
    const std::string value = Lower(connector::FieldText(lane.command->state(), path));
    if (value.empty()) continue;
    names.push_back(
        ids::JoinKey({lane.target.first, lane.target.second, object.name, path, value}));
  }
  for (const std::string& name : names) {
    const auto held = match_locks_.find(name);
    if (held != match_locks_.end() && held->second.key != lane.key &&
        held->second.until > now_.steady) {
      return false;
    }
  }
  for (const std::string& name : names) match_locks_[name] = {lane.key, Instant::max()};
  lane.match_locks = std::move(names);
  return true;
}

void LoaderStage::ReleaseMatchLocks(Lane& lane, bool made_one) {
  for (const std::string& name : lane.match_locks) {
    const auto held = match_locks_.find(name);
    if (held == match_locks_.end() || held->second.key != lane.key) continue;
    if (made_one) {
      held->second.until = now_.steady + IndexLagOf(lane.target);
    } else if (lane.doubt != Doubt::kNone) {
      // It may have been made after all; nobody else matches before that can be seen.
      held->second.until = lane.settle_until + IndexLagOf(lane.target);
    } else {
      match_locks_.erase(held);
      continue;
    }
    match_lock_ends_.insert({held->second.until, name});
  }
  lane.match_locks.clear();
}

}  // namespace tributary::loader

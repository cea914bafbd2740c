#include <algorithm>
#include <utility>

#include "services/loader/entries.h"
#include "services/loader/stage.h"

// What an answer makes of a key: protocol rules 19 to 21, 24 to 27 and 30.

namespace tributary::loader {
namespace {

using http::AnswerClass;

constexpr std::size_t kKeptAnswerBytesMax = 64u << 10;

}  // namespace

void LoaderStage::OnCallAnswer(Lane& lane, const connector::Interpreted& answer,
                               const http::Completion& completion) {
  if (lane.phase != Lane::Phase::kSending) return;
  const bool may_be_done =
      answer.answer == AnswerClass::kDone || answer.answer == AnswerClass::kUnknown;
  if (may_be_done) lane.tags_before.reset();
  const bool may_go_again = completion.refused_at_send;
  if (may_be_done || may_go_again) {
    lane.next_entry = lane.entry;
  } else {
    BeginNextEntry(lane);
  }
  Target* target = FindTarget(lane.target);
  const bool was_refused_here = completion.refused_at_send;
  if (answer.unreadable) ++counters_.unreadable;
  if (target != nullptr && lane.batch == 0 && !was_refused_here) {
    OnTargetAnswered(*target, completion,
                     answer.answer == AnswerClass::kDone ||
                         (answer.answer == AnswerClass::kRefused && !answer.misconfigured));
  }
  switch (answer.answer) {
    case AnswerClass::kDone:
      OnDone(lane, answer, completion.status);
      return;
    case AnswerClass::kThrottled:
      if (was_refused_here) {
        // Nothing left, so the intent may stay for the send that follows.
        lane.intent_unsent = true;
        Rest(lane);
        return;
      }
      ++counters_.throttled;
      if (target != nullptr && lane.batch == 0 && IsFailure(answer.answer, completion)) {
        PauseAfterFailure(*target, answer.retry_after);
      }
      PutBack(lane);
      return;
    case AnswerClass::kUnauthorised:
      ++counters_.unauthorised;
      if (target != nullptr && lane.batch == 0) OnUnauthorised(*target, lane.proof);
      PutBack(lane);
      return;
    case AnswerClass::kRefused:
      if (answer.misconfigured) {
        if (target != nullptr && lane.batch == 0) OnMisconfigured(*target, answer.detail);
        PutBack(lane);
        return;
      }
      OnRefused(lane, answer, completion.status);
      return;
    case AnswerClass::kUnknown:
      if (target != nullptr && lane.batch == 0) PauseAfterFailure(*target, answer.retry_after);
      OnUnknown(lane, answer, completion);
      return;
  }
}

void LoaderStage::PutBack(Lane& lane) {
  lane.next_entry.clear_intent();
  lane.next_entry.set_in_doubt(lane.doubt != Doubt::kNone);
  ConcludeUnreported(lane);
}

bool LoaderStage::Adopt(Lane& lane, const std::string& id, std::string* conflict,
                        std::string* holder) {
  // What it claimed when it began was looked up then.
  std::string other = lane.claim == id ? "" : HolderOf(lane, lane.parts.object, id);
  if (!other.empty()) {
    *conflict = "record " + id + " belongs to " + other + ", claimed by " + lane.key;
    if (holder != nullptr) *holder = std::move(other);
    return false;
  }
  lane.claim = id;
  UpdateHolds(lane);
  lane.next_entry.set_id(id);
  return true;
}

void LoaderStage::OnReached(const Lane& lane, const std::string& holder) {
  Lane* const other = holder.empty() ? nullptr : LaneOf(holder);
  if (other == nullptr) return;
  other->reached_by = lane.key;
  Touch(*other);
}

void LoaderStage::WriteAgain(Lane& lane) {
  const std::string by = std::exchange(lane.reached_by, "");
  Log(Logger::Level::kWarning, "A write for another customer has reached this record.",
      {{"tenant", lane.parts.tenant},
       {"connection", lane.target.second},
       {"key", lane.key},
       {"id", lane.entry.id()},
       {"by", by}});
  const bool was_unsent = lane.intent_unsent;
  BeginNextEntry(lane);
  v1::RecordEntry& next = lane.next_entry;
  if (was_unsent) {
    next.clear_intent();
    next.set_in_doubt(lane.doubt != Doubt::kNone);
  }
  next.clear_content_hash();
  next.clear_calls();
  // What is parked or was given up is written when a person says so.
  if (next.status() == v1::RecordEntry::STATUS_WAITING && next.has_resolved() &&
      (next.outcome() == v1::OUTCOME_APPLIED || next.outcome() == v1::OUTCOME_NOOP)) {
    *next.mutable_status_version() = next.resolved();
    next.clear_resolved();
    next.set_reason(v1::REASON_DIFFERS);
    next.set_detail("a write for " + by + " has reached it");
  }
  ConcludeUnreported(lane);
}

void LoaderStage::OnDone(Lane& lane, const connector::Interpreted& answer, int http_status) {
  if (lane.parts.kind == ids::CommandKey::Kind::kAction) {
    lane.next_entry.set_id(answer.id);
    FinishAction(lane, v1::OUTCOME_APPLIED, v1::REASON_UNSPECIFIED, "", http_status);
    return;
  }
  v1::RecordEntry& next = lane.next_entry;
  std::string conflict;
  std::string holder;
  if (!answer.id.empty() && next.id().empty()) {
    if (!Adopt(lane, answer.id, &conflict, &holder)) {
      OnReached(lane, holder);
      // What the target says about identity stands above what we wished.
      next.clear_content_hash();
      next.clear_calls();
      if (lane.doubt != Doubt::kNone) CompareSoon(lane);
      lane.doubt = Doubt::kNone;
      Park(lane, v1::REASON_IDENTITY_CONFLICT, conflict, http_status);
      return;
    }
  } else if (!answer.id.empty() && answer.id != next.id()) {
    next.clear_content_hash();
    next.clear_calls();
    if (lane.doubt != Doubt::kNone) CompareSoon(lane);
    lane.doubt = Doubt::kNone;
    holder = HolderOf(lane, lane.parts.object, answer.id);
    OnReached(lane, holder);
    Park(lane, v1::REASON_IDENTITY_CONFLICT,
         "the target answered for record " + answer.id +
             (holder.empty() ? "" : ", which belongs to " + holder) + ", instead of " + next.id() +
             " of " + lane.key,
         http_status);
    return;
  }
  lane.sent_any = true;
  const connector::Object& object = *lane.connector->FindObject(lane.parts.object);
  // Until all calls are done the record is neither the old state nor the new one.
  next.clear_content_hash();
  next.clear_intent();
  if (answer.tags) {
    const std::string& prefix = lane.command->state().tag_prefix();
    std::vector<std::string> ours;
    for (const std::string& tag : connector::CanonicalTags(object, *answer.tags)) {
      const std::vector<std::string> own = connector::CanonicalTags(object, {prefix});
      if (!own.empty() && tag.starts_with(own.front())) ours.push_back(tag);
    }
    next.mutable_tags()->Clear();
    for (std::string& tag : ours) next.add_tags(std::move(tag));
    lane.tags_told = true;
  }
  if (!lane.call_tags.empty()) {
    if (object.tags_remove && lane.call == &*object.tags_remove) {
      std::vector<std::string> left(next.tags().begin(), next.tags().end());
      std::erase_if(left, [&](const std::string& tag) {
        return std::find(lane.call_tags.begin(), lane.call_tags.end(), tag) != lane.call_tags.end();
      });
      next.mutable_tags()->Clear();
      for (std::string& tag : left) next.add_tags(std::move(tag));
    }
    // Added ones were put into the entry with the intent.
    lane.tags_told = true;
  } else {
    v1::CallHash* hash = nullptr;
    for (v1::CallHash& known : *next.mutable_calls()) {
      if (known.step() == lane.call->name) hash = &known;
    }
    if (hash == nullptr) hash = next.add_calls();
    hash->set_step(lane.call->name);
    hash->set_hash(lane.request_hash);
    ++lane.next_call;
  }
  NextCall(lane);
}

void LoaderStage::OnRefused(Lane& lane, const connector::Interpreted& answer, int http_status) {
  const bool is_action = lane.parts.kind == ids::CommandKey::Kind::kAction;
  if (is_action) {
    FinishAction(lane, v1::OUTCOME_PARKED, answer.missing ? v1::REASON_MISSING : v1::REASON_REFUSED,
                 answer.detail, http_status);
    return;
  }
  if (answer.missing) {
    OnMissing(lane, answer, http_status);
    return;
  }
  if (!answer.adopt_id.empty() && answer.adopt_id != lane.next_entry.id()) {
    std::string conflict;
    if (!lane.next_entry.id().empty()) {
      // Ours would take over what identifies another record.
      const std::string holder = HolderOf(lane, lane.parts.object, answer.adopt_id);
      Park(lane, v1::REASON_IDENTITY_CONFLICT,
           answer.detail + "; record " + answer.adopt_id + (holder.empty() ? "" : " of " + holder) +
               " has it already, claimed by " + lane.key,
           http_status);
      return;
    }
    if (!Adopt(lane, answer.adopt_id, &conflict)) {
      Park(lane, v1::REASON_IDENTITY_CONFLICT, conflict, http_status);
      return;
    }
    // It exists: from now on it is written by its id.
    lane.next_entry.clear_intent();
    PlanCalls(lane);
    return;
  }
  Park(lane, v1::REASON_REFUSED, answer.detail, http_status);
}

void LoaderStage::OnMissing(Lane& lane, const connector::Interpreted& answer, int http_status) {
  v1::RecordEntry& next = lane.next_entry;
  const v1::Sync* sync = directory_.FindSync(lane.parts.tenant, lane.parts.sync);
  if (sync != nullptr && sync->on_missing() == v1::Sync::ON_MISSING_LEAVE) {
    Verdict verdict;
    verdict.outcome = v1::OUTCOME_LEFT;
    verdict.reason = v1::REASON_MISSING;
    verdict.detail = answer.detail;
    next.clear_content_hash();
    next.clear_calls();
    ResolveWithoutCall(lane, verdict);
    return;
  }
  const bool was_cleared = next.reason() == v1::REASON_MISSING && next.has_status_version() &&
                           Compare(next.status_version(), lane.command->version()) == 0;
  const connector::Object& object = *lane.connector->FindObject(lane.parts.object);
  if (was_cleared || next.id().empty() || !object.creates_blindly()) {
    // Once per version: never a loop.
    Park(lane, v1::REASON_MISSING, answer.detail, http_status);
    return;
  }
  next.clear_id();
  next.clear_intent();
  next.clear_content_hash();
  next.clear_calls();
  next.clear_tags();
  next.set_in_doubt(lane.doubt != Doubt::kNone);
  next.set_reason(v1::REASON_MISSING);
  next.set_detail(answer.detail);
  *next.mutable_status_version() = lane.command->version();
  lane.looked_up = false;
  ConcludeUnreported(lane);
}

void LoaderStage::OnUnknown(Lane& lane, const connector::Interpreted& answer,
                            const http::Completion& completion) {
  ++counters_.unknown;
  v1::RecordEntry& next = lane.next_entry;
  const bool is_action = lane.parts.kind == ids::CommandKey::Kind::kAction;
  // L counts from the bytes, and they may have left P after the check at the send (rule 15), though
  // not after this answer.
  const Instant sent =
      lane.left ? std::min(now_.steady, lane.sent_at + options_.pause_bound) : now_.steady;
  lane.doubt = Doubt::kSettling;
  lane.settle_until = std::max(lane.settle_until, sent + SettleOf(lane.target));
  lane.looked_up = false;
  lane.left = false;
  next.clear_content_hash();
  next.clear_calls();
  if (answer.unreadable) {
    next.set_kept_answer(completion.body.substr(0, kKeptAnswerBytesMax));
  }
  const v1::Reason reason = answer.unreadable ? v1::REASON_UNREADABLE : v1::REASON_UNKNOWN;
  if (is_action) {
    const connector::ActionOperation* operation =
        lane.connector->FindAction(lane.command->action().operation());
    const bool can_look_up = operation != nullptr && operation->lookup.has_value();
    if (!can_look_up && !lane.command->action().at_least_once()) {
      FinishAction(lane, v1::OUTCOME_UNKNOWN, reason, answer.detail, completion.status);
      return;
    }
  }
  // A record is to blame for what it alone meets. While the target as a whole is away, for days
  // perhaps, nothing is parked for it.
  bool is_of_target = false;
  // A batch that was answered says of each of its records what is of that one.
  const bool is_of_record = lane.batch != 0 && completion.delivery == http::Delivery::kComplete &&
                            completion.status >= 200 && completion.status < 300;
  if (Target* const target = FindTarget(lane.target); target != nullptr && !is_of_record) {
    const bool is_away = completion.delivery != http::Delivery::kComplete ||
                         (completion.status >= 502 && completion.status <= 504);
    is_of_target =
        !target->last_failed_key.empty() && (is_away || target->last_failed_key != lane.key);
    target->last_failed_key = lane.key;
  }
  const std::int32_t attempts = next.attempts() + (is_of_target ? 0 : 1);
  if (!is_action && attempts >= options_.attempts_max) {
    const std::string kept = next.kept_answer();
    next.set_attempts(attempts);
    Park(lane, reason, answer.detail, completion.status);
    return;
  }
  // The intent stays open: it says that the request may be under way.
  next.set_in_doubt(true);
  next.set_status(v1::RecordEntry::STATUS_RETRYING);
  next.set_reason(reason);
  next.set_detail(answer.detail);
  next.set_attempts(attempts);
  if (!is_action) *next.mutable_status_version() = lane.command->version();
  const Duration delay =
      FullJitter(options_.retry_delay_min, options_.retry_delay_max, attempts, ports_.random());
  lane.not_before =
      std::max(lane.settle_until,
               now_.steady + std::max(delay, answer.retry_after.value_or(Duration::zero())));
  SetTime(now_.wall + (lane.not_before - now_.steady), next.mutable_retry_at());
  SetTime(now_.wall, next.mutable_since());
  ++counters_.retrying;
  SetTimer(lane, lane.not_before);
  ReleaseMatchLocks(lane, false);
  Conclude(lane, ReceiptOf(lane, v1::OUTCOME_RETRYING, reason, answer.detail, completion.status));
}

connector::Found LoaderStage::FoundBy(const Lane& lane, const http::Completion& completion) const {
  std::string marker = lane.parts.action_id;
  if (lane.parts.kind != ids::CommandKey::Kind::kAction) {
    const connector::Object* object = lane.connector->FindObject(lane.parts.object);
    marker = connector::FieldText(lane.command->state(), object->marker);
  }
  const connector::Lookup values = [&](std::string_view name) -> std::optional<json::Value> {
    if (name == "marker") return json::Value(marker);
    return std::nullopt;
  };
  const std::string equals = lane.call->item_equals.Render(values, nullptr).value_or("");
  const std::string contains = lane.call->item_contains.Render(values, nullptr).value_or("");
  return connector::InterpretLookup(*lane.connector, *lane.call, completion, equals, contains,
                                    now_.wall);
}

void LoaderStage::OnLookupAnswer(Lane& lane, const http::Completion& completion) {
  if (lane.phase != Lane::Phase::kLookingUp) return;
  const bool is_action = lane.parts.kind == ids::CommandKey::Kind::kAction;
  const connector::Found found = FoundBy(lane, completion);
  Target* target = FindTarget(lane.target);
  // An id that was found before this look-up is there only.
  const bool is_confirming = std::exchange(lane.is_confirming, false);
  if (!is_confirming) BeginNextEntry(lane);
  lane.request_id = 0;
  if (completion.refused_at_send) {
    Rest(lane);
    return;
  }
  if (found.answer.unreadable) ++counters_.unreadable;
  if (target != nullptr) {
    OnTargetAnswered(*target, completion, found.answer.answer == AnswerClass::kDone);
  }
  switch (found.answer.answer) {
    case AnswerClass::kDone:
      break;
    case AnswerClass::kUnauthorised:
      ++counters_.unauthorised;
      if (target != nullptr) OnUnauthorised(*target, lane.proof);
      Rest(lane);
      return;
    case AnswerClass::kThrottled:
      ++counters_.throttled;
      if (target != nullptr && IsFailure(found.answer.answer, completion)) {
        PauseAfterFailure(*target, found.answer.retry_after);
      }
      Rest(lane);
      return;
    case AnswerClass::kRefused:
      if (found.answer.misconfigured) {
        if (target != nullptr) OnMisconfigured(*target, found.answer.detail);
        Rest(lane);
      } else if (is_action) {
        FinishAction(lane, v1::OUTCOME_UNKNOWN, v1::REASON_REFUSED, found.answer.detail,
                     completion.status);
      } else {
        Park(lane, v1::REASON_REFUSED, found.answer.detail, completion.status);
      }
      return;
    case AnswerClass::kUnknown: {
      // A read that failed leaves nothing in doubt.
      if (target != nullptr) PauseAfterFailure(*target, found.answer.retry_after);
      ++lane.lookup_failures;
      AwaitUntil(lane, now_.steady + FullJitter(options_.retry_delay_min, options_.retry_delay_max,
                                                lane.lookup_failures, ports_.random()));
      return;
    }
  }
  lane.lookup_failures = 0;
  if (is_confirming) {
    OnConfirmation(lane, found.ids.empty() ? "" : found.ids.front());
    return;
  }
  if (found.ids.empty()) {
    ++lane.next_lookup;
    NextLookup(lane);
    return;
  }
  if (is_action) {
    lane.next_entry.set_id(found.ids.front());
    FinishAction(lane, v1::OUTCOME_APPLIED, v1::REASON_UNSPECIFIED, "found by its marker",
                 completion.status);
    return;
  }
  std::string conflict;
  std::string holder;
  if (!Adopt(lane, found.ids.front(), &conflict, &holder)) {
    // It bears our marker: a write of ours has been there, whose answer nobody saw.
    if (lane.call->finds_marker()) OnReached(lane, holder);
    Park(lane, v1::REASON_IDENTITY_CONFLICT, conflict, completion.status);
    return;
  }
  lane.looked_up = true;
  PlanCalls(lane);
}

void LoaderStage::OnConfirmation(Lane& lane, const std::string& id) {
  lane.is_confirmed = true;
  if (id != lane.next_entry.id()) {
    // A person may have changed our record, or deleted it: before anything that finds it by words
    // it gets them again by its id, or is missing.
    lane.next_entry.clear_calls();
    lane.would_reach = id;
  }
  PlanCalls(lane);
}

void LoaderStage::OnBatchAnswer(const Flight& flight, const http::Completion& completion) {
  const auto found = batches_.find(flight.batch);
  if (found == batches_.end()) return;
  const Batch batch = std::move(found->second);
  batches_.erase(found);
  Target* target = FindTarget(batch.target);
  if (target != nullptr) target->backoff.ReturnSlots(Backoff::kSlotsPerRequest);
  const connector::Object& object = *batch.connector->FindObject(batch.object);
  std::vector<std::string> ids;
  for (const std::string& key : batch.keys) {
    const Lane* lane = FindLane(key);
    ids.push_back(
        lane == nullptr ? "" : connector::FieldText(lane->command->state(), object.unique_key));
  }
  const std::vector<connector::Interpreted> answers =
      connector::InterpretBatch(*batch.connector, object, completion, ids, now_.wall);
  const bool whole_is_good = completion.delivery == http::Delivery::kComplete &&
                             completion.status >= 200 && completion.status < 300;
  if (target != nullptr && !completion.refused_at_send && !answers.empty()) {
    const connector::Interpreted& first = answers.front();
    OnTargetAnswered(*target, completion, whole_is_good);
    if (!whole_is_good) {
      if (first.answer == AnswerClass::kUnauthorised) {
        OnUnauthorised(*target, flight.proof);
      } else if (first.misconfigured) {
        OnMisconfigured(*target, first.detail);
      } else if (IsFailure(first.answer, completion)) {
        PauseAfterFailure(*target, first.retry_after);
      }
    } else if (std::any_of(answers.begin(), answers.end(), [](const connector::Interpreted& item) {
                 return item.answer == AnswerClass::kThrottled;
               })) {
      // Some of it was too much; which window, nobody says.
      target->quota->budget.PauseUntil(now_.steady +
                                       first.retry_after.value_or(std::chrono::seconds(1)));
    }
  }
  for (std::size_t i = 0; i < batch.keys.size(); ++i) {
    Lane* lane = FindLane(batch.keys[i]);
    if (lane == nullptr) continue;
    const bool is_refused = answers[i].answer == AnswerClass::kRefused && !answers[i].misconfigured;
    const bool is_of_the_connection =
        answers[i].answer == AnswerClass::kUnauthorised || answers[i].misconfigured;
    if (whole_is_good ? is_of_the_connection : is_refused) {
      // One bad record refuses them all, or one item says what it cannot know of the connection:
      // each on its own tells which.
      if (target != nullptr) target->alone.insert(lane->key);
      BeginNextEntry(*lane);
      PutBack(*lane);
      continue;
    }
    OnCallAnswer(*lane, answers[i], completion);
  }
}

}  // namespace tributary::loader

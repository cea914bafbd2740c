#include <algorithm>
#include <utility>

#include "services/loader/entries.h"
#include "services/loader/index_rows.h"
#include "services/loader/stage.h"

// What is next for a target, and its way out: the queue of keys that may be tried, the scan that
// finds the others again, batches, and the check at the send (protocol rule 17).

namespace tributary::loader {
namespace {

using eventlog::Topic;

/// Of one call: keys that are found, and keys that are looked at.
constexpr std::size_t kScanFoundMax = 512;
constexpr std::size_t kScanSeenMax = 4096;
constexpr char kBatchMark = '#';
/// For the intent, which is written before the send.
constexpr Duration kBeginsBefore = std::chrono::milliseconds(100);
/// Whoever's turn it is says so; this is for one that cannot any more.
constexpr Duration kTurnLooksAgain = std::chrono::seconds(1);

}  // namespace

void LoaderStage::Enqueue(Lane& lane, Priority priority) {
  Target* const target = FindTarget(lane.target);
  if (target == nullptr) {
    ForgetIfIdle(lane);
    return;
  }
  MarkDirty(target);
  const auto ready_max = static_cast<std::size_t>(options_.ready_keys_max);
  if (target->HasRoom(priority, ready_max)) {
    target->Push(lane.key, priority);
    // So many wait with what was read of them; the others are read again when it is their turn.
    if (lanes_.size() <= ready_max + static_cast<std::size_t>(options_.batched_keys_max)) return;
  } else {
    target->ScanFrom(lane.key);
  }
  ForgetIfIdle(lane);
}

bool LoaderStage::MayBeOpen(const ids::CommandKey& parts, std::string_view key,
                            std::string_view command) const {
  // What cannot be read is set aside.
  if (parts.kind == ids::CommandKey::Kind::kAction) {
    if (!CommandHeadOf(parts.kind, command)) return false;
    const RecordHead record = RecordHeadInTable(parts.tenant, key);
    return !record.is_final || record.reason == v1::REASON_RECORD;
  }
  const std::optional<PlainVersion> version = StateVersionOf(command);
  if (!version) return false;
  const RecordHead record = RecordHeadInTable(parts.tenant, key);
  return !record.resolved || *record.resolved < *version;
}

void LoaderStage::FindLater(Target& target, std::string_view key) {
  target.ScanFrom(key);
  if (LogIsBusy()) wait_for_log_.insert(target.key);
  MarkDirty(&target);
}

void LoaderStage::ScanMore(Target& target) {
  if (!target.must_scan()) return;
  if (LogIsBusy()) {
    wait_for_log_.insert(target.key);
    return;
  }
  if (!target.scanning) {
    target.scanning = true;
    target.scan_from = *std::exchange(target.next_scan_from, std::nullopt);
  }
  const eventlog::Table* commands = owner_->table(Topic::kCommands, target.partition);
  if (commands == nullptr) {
    target.scanning = false;
    return;
  }
  const auto ready_max = static_cast<std::size_t>(options_.ready_keys_max);
  const std::size_t found_max = std::min({ready_max - std::min(target.ready_count(), ready_max),
                                          kScanFoundMax, open_writes_max() - writes_.size()});
  std::vector<std::pair<std::string, ids::CommandKey>> found;
  std::size_t seen = 0;
  bool ended = true;
  commands->ScanViews(ids::EncodePart(target.key.first) + "/", target.scan_from,
                      [&](std::string_view key, const eventlog::TableEntryView& entry) {
                        if (found.size() >= found_max || ++seen > kScanSeenMax) {
                          target.scan_from = std::string(key);
                          ended = false;
                          return false;
                        }
                        std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
                        if (!parts || parts->kind == ids::CommandKey::Kind::kMapped ||
                            entry.is_void || TargetOf(*parts) != target.key) {
                          return true;
                        }
                        const Lane* const lane = FindLane(key);
                        if (lane != nullptr ? !lane->busy() : MayBeOpen(*parts, key, entry.value)) {
                          found.emplace_back(key, *std::move(parts));
                        }
                        return true;
                      });
  if (ended) target.scanning = false;
  for (auto& [key, parts] : found) {
    Lane* const lane = FindLane(key);
    Evaluate(lane != nullptr ? *lane : MakeLane(key, std::move(parts)));
  }
}

bool LoaderStage::CanBatch(const Target& target, const connector::Object& object) const {
  if (!object.batch || object.update.size() != 1 || object.tags_add ||
      !object.update.front().confirmed_by.empty()) {
    return false;
  }
  if (object.batch->enabled_by.empty()) return true;
  const auto setting = target.account.settings.find(object.batch->enabled_by);
  return setting != target.account.settings.end() && setting->second == "true";
}

void LoaderStage::Pump(Target& target) {
  const auto partition = partitions_.find(target.partition);
  if (partition == partitions_.end() || partition->second.revoking) return;
  if (!owner_->ready(target.partition)) {
    WakeAt(target, now_.steady + std::chrono::milliseconds(200));
    return;
  }
  if (target.rescan_at <= now_.steady) {
    target.rescan_at = Instant::max();
    target.ScanFrom("");
  } else if (target.rescan_at < Instant::max()) {
    WakeAt(target, target.rescan_at);
  }
  if (target.connector == nullptr) return;
  // Resolving without a call needs neither credential nor slot.
  for (int rounds = 0; target.ready_count() == 0 && target.must_scan() && !LogIsBusy(); ++rounds) {
    if (rounds == 8) {
      WakeAt(target, now_.steady);
      break;
    }
    ScanMore(target);
  }
  if (LogIsBusy() && target.must_scan()) wait_for_log_.insert(target.key);
  const bool has_work = target.waiting_count() > 0 || target.ready_count() > 0;
  if (!has_work || !target.linked || !HasProof(target)) {
    LeaveTurns(target);
    if (!has_work) Sweep(target);
    target.waits_since.reset();
    return;
  }
  SendWaiting(target);
  BeginReady(target);
  Sweep(target);
}

void LoaderStage::WaitForQuota(Target& target, Instant until) {
  if (until == Instant::max()) return;
  if (!target.waits_since) target.waits_since = now_.steady;
  WakeAt(target, until);
}

void LoaderStage::SendWaiting(Target& target) {
  budget::Budget& budget = target.quota->budget;
  while (const std::optional<Priority> priority = target.NextWaiting()) {
    if (!target.backoff.MayOpen(now_.steady)) {
      if (target.backoff.paused_until() > now_.steady) {
        WakeAt(target, target.backoff.paused_until());
      }
      LeaveTurns(target);
      return;
    }
    if (!TakesTurn(target)) {
      WaitForQuota(target, now_.steady + kTurnLooksAgain);
      return;
    }
    const Instant at = budget.NextSendAt(now_, *priority != Priority::kBackfill);
    const bool may_open = budget.MayOpen(now_);
    if (at > now_.steady || !may_open) {
      if (target.quota->targets > 1 && target.quota->turns.empty()) {
        target.quota->turns.push_back(target.key);
      }
      // Otherwise an answer wakes it.
      WaitForQuota(target, at > now_.steady ? at : Instant::max());
      return;
    }
    std::deque<std::string>& queue = target.waiting[static_cast<std::size_t>(*priority)];
    const std::string name = std::move(queue.front());
    queue.pop_front();
    SendName(target, name);
    std::deque<TargetKey>& turns = target.quota->turns;
    if (turns.empty() || turns.front() != target.key) continue;
    turns.pop_front();
    if (turns.empty()) continue;
    MarkDirty(turns.front());
    if (target.NextWaiting()) turns.push_back(target.key);
  }
}

Instant LoaderStage::BeginAt(Target& target, Priority priority) {
  // Before it is its turn only so early that its intent is written by then: until then a newer
  // state or a more urgent key may come, or another key for its batch.
  std::int64_t ahead = 0;
  for (std::size_t i = 0; i <= static_cast<std::size_t>(priority); ++i) {
    ahead += static_cast<std::int64_t>(target.waiting[i].size());
  }
  budget::Budget& budget = target.quota->budget;
  const Instant next =
      std::max(budget.NextSendAt(now_, priority != Priority::kBackfill), now_.steady);
  return next + budget.Spacing(now_) * ahead - kBeginsBefore;
}

void LoaderStage::BeginReady(Target& target) {
  while (const std::optional<Priority> priority = target.NextReady()) {
    if (!target.backoff.HasSlot(now_.steady, *priority != Priority::kBackfill)) break;
    if (const Instant at = BeginAt(target, *priority); at > now_.steady) {
      WaitForQuota(target, at);
      break;
    }
    const std::string key = *target.Pop();
    const connector::Object* const object = BatchObjectOf(target, key);
    if (object == nullptr) {
      Begin(key, 0);
    } else if (target.batched_keys > 0 &&
               target.batched_keys + object->batch->size > options_.batched_keys_max) {
      // A key that rests makes room.
      target.PutBack(key, *priority);
      break;
    } else {
      FillBatch(target, *object, key);
    }
    if (target.ready_count() == 0) ScanMore(target);
  }
  if (target.ready_count() > 0 && target.backoff.paused_until() > now_.steady) {
    WakeAt(target, target.backoff.paused_until());
  }
}

void LoaderStage::Settle(const Flight& flight, const http::Completion& completion) {
  Quota& quota = *flight.quota;
  if (!quota.turns.empty()) MarkDirty(quota.turns.front());
  if (completion.delivery == http::Delivery::kNotSent) {
    quota.budget.NotSent(flight.ticket);
    return;
  }
  const connector::Call* call = nullptr;
  std::shared_ptr<const connector::Connector> connector;
  if (const Lane* const lane = FindLane(flight.key); lane != nullptr && lane->call != nullptr) {
    call = lane->call;
    connector = lane->connector;
  } else if (const Target* const target = FindTarget(flight.target)) {
    connector = target->connector;
  }
  if (connector != nullptr && connector::SaysThrottled(*connector, call, completion)) {
    ++CountersOf(flight.target).quota.refused;
    quota.budget.Refused(now_, flight.ticket, completion.headers,
                         http::Classify(completion, true, false, now_.wall).retry_after);
    return;
  }
  quota.budget.Answered(now_, flight.ticket, completion.headers);
}

const connector::Object* LoaderStage::BatchObjectOf(const Target& target, const std::string& key) {
  const Lane* const lane = LaneOf(key);
  if (lane == nullptr || lane->parts.kind != ids::CommandKey::Kind::kState) return nullptr;
  if (target.alone.size() >= static_cast<std::size_t>(options_.batched_keys_max) ||
      target.alone.contains(key)) {
    return nullptr;
  }
  const connector::Object* const object = target.connector->FindObject(lane->parts.object);
  return object != nullptr && CanBatch(target, *object) ? object : nullptr;
}

void LoaderStage::FillBatch(Target& target, const connector::Object& object,
                            const std::string& first) {
  const std::uint64_t id = ++next_batch_;
  Batch& batch = batches_[id];
  batch.target = target.key;
  batch.partition = target.partition;
  batch.connector = target.connector;
  batch.object = object.name;
  if (const Lane* const lane = LaneOf(first)) batch.priority = PriorityOf(*lane);
  // Its keys are many already.
  target.backoff.TakeSlots(Backoff::kSlotsPerRequest);
  Begin(first, id);
  while (batch.keys.size() < static_cast<std::size_t>(object.batch->size) &&
         target.ready_count() > 0) {
    const Priority priority = *target.NextReady();
    const std::string next = *target.Pop();
    if (BatchObjectOf(target, next) != &object) {
      target.PutBack(next, priority);
      break;
    }
    Begin(next, id);
  }
  batch.closed = true;
  if (batch.keys.empty()) {
    batches_.erase(id);
    target.backoff.ReturnSlots(Backoff::kSlotsPerRequest);
  } else if (batch.unacknowledged == 0) {
    target.Await(std::string(1, kBatchMark) + std::to_string(id), batch.priority);
  }
}

void LoaderStage::SendName(Target& target, const std::string& name) {
  if (name.front() == kBatchMark) {
    SendBatch(target, std::stoull(name.substr(1)));
    return;
  }
  if (Lane* lane = FindLane(name)) SendLane(target, *lane);
}

http::RequestId LoaderStage::Send(Target& target, http::Request request, Flight flight,
                                  bool is_write) {
  request.timeout = options_.request_timeout;
  request.body_bytes_max = options_.body_bytes_max;
  request.is_write = is_write;
  flight.target = target.key;
  flight.partition = target.partition;
  flight.proof = target.proof;
  const http::RequestId id = ++next_request_;
  flight.quota = target.quota;
  flight.ticket = target.quota->budget.Sent(now_);
  flights_[id] = std::move(flight);
  target.backoff.Opened();
  if (target.waits_since) {
    target.quota->counters->quota.waited += now_.steady - *target.waits_since;
    target.waits_since.reset();
  }
  ++counters_.requests;
  ports_.http.Send(id, std::move(request));
  return id;
}

void LoaderStage::SendLane(Target& target, Lane& lane) {
  const bool compares = lane.phase == Lane::Phase::kComparing;
  const bool is_lookup = compares || lane.phase == Lane::Phase::kLookingUp;
  if (!is_lookup && lane.phase != Lane::Phase::kAwaitingSend) return;
  // Queued twice.
  if (is_lookup && lane.request_id != 0) return;
  http::Request request = std::move(lane.request);
  // The newest desired version, whatever was queued (rule 17).
  if (!(compares ? MayCompare(lane) : MayGoOn(lane)) ||
      !connector::Authorise(*lane.connector, target.credentials.value_or(connector::Credentials()),
                            target.token, request)
           .ok()) {
    // An acknowledged intent stays for the one that follows.
    Rest(lane);
    return;
  }
  Flight flight;
  flight.kind = compares    ? Flight::Kind::kCompare
                : is_lookup ? Flight::Kind::kLookup
                            : Flight::Kind::kCall;
  flight.key = lane.key;
  lane.proof = target.proof;
  lane.left = false;
  if (!is_lookup) {
    lane.phase = Lane::Phase::kSending;
    lane.intent_unsent = false;
  }
  lane.request_id = Send(target, std::move(request), std::move(flight), !is_lookup);
}

void LoaderStage::BatchIntentAcknowledged(std::uint64_t id) {
  const auto found = batches_.find(id);
  if (found == batches_.end()) return;
  Batch& batch = found->second;
  if (batch.unacknowledged > 0) --batch.unacknowledged;
  if (!batch.closed || batch.unacknowledged > 0) return;
  if (Target* target = FindTarget(batch.target)) {
    target->Await(std::string(1, kBatchMark) + std::to_string(id), batch.priority);
  }
}

void LoaderStage::DissolveBatch(std::uint64_t id) {
  const auto found = batches_.find(id);
  if (found == batches_.end()) return;
  const Batch batch = std::move(found->second);
  batches_.erase(found);
  if (Target* target = FindTarget(batch.target)) {
    target->backoff.ReturnSlots(Backoff::kSlotsPerRequest);
  }
  for (const std::string& key : batch.keys) {
    Lane* lane = FindLane(key);
    if (lane == nullptr) continue;
    if (lane->phase == Lane::Phase::kAwaitingSend) Rest(*lane);
  }
}

void LoaderStage::SendBatch(Target& target, std::uint64_t id) {
  const auto found = batches_.find(id);
  if (found == batches_.end()) return;
  Batch& batch = found->second;
  std::vector<std::string> keys;
  std::vector<connector::BatchItem> items;
  for (const std::string& key : batch.keys) {
    Lane* lane = FindLane(key);
    if (lane == nullptr || lane->phase != Lane::Phase::kAwaitingSend) continue;
    if (!MayGoOn(*lane)) {
      Rest(*lane);
      continue;
    }
    keys.push_back(key);
    items.push_back({&lane->command->state(), lane->request.body});
  }
  if (keys.empty()) {
    DissolveBatch(id);
    return;
  }
  batch.keys = keys;
  const connector::Object& object = *batch.connector->FindObject(batch.object);
  absl::StatusOr<http::Request> request =
      connector::RenderBatch(*batch.connector, target.account, object, items);
  if (!request.ok() ||
      !connector::Authorise(*batch.connector, target.credentials.value_or(connector::Credentials()),
                            target.token, *request)
           .ok()) {
    DissolveBatch(id);
    return;
  }
  Flight flight;
  flight.kind = Flight::Kind::kBatch;
  flight.batch = id;
  batch.sent = true;
  for (const std::string& key : keys) {
    Lane& lane = *FindLane(key);
    lane.phase = Lane::Phase::kSending;
    lane.intent_unsent = false;
    lane.left = false;
    lane.proof = target.proof;
  }
  Send(target, *std::move(request), std::move(flight), true);
}

}  // namespace tributary::loader

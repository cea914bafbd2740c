#include "services/loader/stage.h"

#include <algorithm>
#include <utility>

#include "services/loader/entries.h"
#include "services/loader/index_rows.h"
#include "tributary/v1/config.pb.h"

namespace tributary::loader {
namespace {

using eventlog::Partition;
using eventlog::Topic;

eventlog::OwnerOptions OwnerOptionsOf(const Options& options) {
  eventlog::OwnerOptions owner;
  owner.service = "loader";
  owner.instance = options.instance;
  owner.writes = {Topic::kRecords};
  owner.reads = {Topic::kTenants, Topic::kCommands};
  owner.indexers = {{Topic::kRecords, IndexRecord}, {Topic::kCommands, IndexCommand}};
  owner.is_leased = true;
  owner.lease = options.lease;
  owner.pause_bound = options.pause_bound;
  owner.min_compaction_lag = options.min_compaction_lag;
  owner.delete_retention = options.delete_retention;
  owner.predecessor_is_dead = options.predecessor_is_dead;
  return owner;
}

Duration DurationOf(const google::protobuf::Duration& duration, Duration fallback) {
  const Duration value =
      std::chrono::seconds(duration.seconds()) + std::chrono::microseconds(duration.nanos() / 1000);
  return value.count() == 0 ? fallback : value;
}

}  // namespace

Options OptionsFrom(const v1::ConfigFile& file) {
  Options options;
  const v1::LoaderConfig& loader = file.loader();
  options.instance = file.log().instance();
  if (file.log().partitions() > 0) options.partitions = file.log().partitions();
  options.min_compaction_lag =
      DurationOf(file.log().min_compaction_lag(), options.min_compaction_lag);
  options.delete_retention = DurationOf(file.log().delete_retention(), options.delete_retention);
  options.lease = DurationOf(loader.lease(), options.lease);
  // Zero is a meaning of its own here: no pause is possible.
  if (loader.has_pause_bound()) options.pause_bound = DurationOf(loader.pause_bound(), {});
  options.request_timeout = DurationOf(loader.request_timeout(), options.request_timeout);
  options.action_age = DurationOf(loader.action_age(), options.action_age);
  options.retry_delay_min = DurationOf(loader.retry_delay_min(), options.retry_delay_min);
  options.retry_delay_max = DurationOf(loader.retry_delay_max(), options.retry_delay_max);
  options.target_delay_max = DurationOf(loader.target_delay_max(), options.target_delay_max);
  if (loader.attempts_max() > 0) options.attempts_max = loader.attempts_max();
  if (loader.ready_keys_max() > 0) options.ready_keys_max = loader.ready_keys_max();
  // Zero is a meaning of its own here too: no sweep.
  if (loader.has_sweep_period()) options.sweep_period = DurationOf(loader.sweep_period(), {});
  if (loader.sweep_share_percent() > 0) options.sweep_share_percent = loader.sweep_share_percent();
  if (loader.sweep_keys_max() > 0) options.sweep_keys_max = loader.sweep_keys_max();
  if (loader.body_bytes_max() > 0) {
    options.body_bytes_max = static_cast<std::size_t>(loader.body_bytes_max());
  }
  return options;
}

std::unique_ptr<Loader> MakeLoader(Options options, StagePorts ports) {
  return std::make_unique<LoaderStage>(std::move(options), std::move(ports));
}

LoaderStage::LoaderStage(Options options, StagePorts ports)
    : options_(std::move(options)),
      ports_(std::move(ports)),
      connectors_(options_.connectors ? options_.connectors : std::make_shared<Connectors>()) {
  eventlog::OwnerListener& listener = *this;
  owner_ = std::make_unique<eventlog::Owner>(OwnerOptionsOf(options_), ports_.log, ports_.stores,
                                             ports_.random, listener);
}

LoaderStage::~LoaderStage() = default;

// ---- what is told ----

void LoaderStage::OnLog(Now now, const eventlog::Fact& fact) {
  now_ = now;
  owner_->OnFact(now, fact);
  Work();
}

void LoaderStage::OnTick(Now now) {
  now_ = now;
  owner_->OnTick(now);
  while (!timers_.empty() && timers_.begin()->first <= now.steady) {
    const std::string key = timers_.begin()->second;
    timers_.erase(timers_.begin());
    Touch(key);
  }
  while (!target_wakes_.empty() && target_wakes_.begin()->first <= now.steady) {
    Target* const target = FindTarget(target_wakes_.begin()->second);
    target_wakes_.erase(target_wakes_.begin());
    if (target == nullptr) continue;
    if (target->wake <= now.steady) target->wake = Instant::max();
    MarkDirty(target);
  }
  const std::set<std::string> blocked = std::exchange(blocked_, {});
  for (const std::string& key : blocked) Touch(key);
  std::vector<Partition> to_abort;
  for (auto& [partition, state] : partitions_) {
    if (state.revoking && !state.aborted && state.abort_at <= now.steady) {
      to_abort.push_back(partition);
    }
  }
  for (const Partition partition : to_abort) AbortOpen(partition);
  while (!match_lock_ends_.empty() && match_lock_ends_.begin()->first <= now.steady) {
    const auto lock = match_locks_.find(match_lock_ends_.begin()->second);
    match_lock_ends_.erase(match_lock_ends_.begin());
    // It may have been taken anew.
    if (lock != match_locks_.end() && lock->second.until <= now.steady) match_locks_.erase(lock);
  }
  Work();
  if (now.steady >= next_status_) {
    next_status_ = now.steady + options_.status_interval;
    ReportStatus();
  }
}

Instant LoaderStage::next_tick() const {
  Instant next = std::min(owner_->next_tick(), next_status_);
  if (!timers_.empty()) next = std::min(next, timers_.begin()->first);
  if (!target_wakes_.empty()) next = std::min(next, target_wakes_.begin()->first);
  if (!match_lock_ends_.empty()) next = std::min(next, match_lock_ends_.begin()->first);
  for (const auto& [partition, state] : partitions_) {
    if (state.revoking && !state.aborted) next = std::min(next, state.abort_at);
  }
  if (!blocked_.empty()) next = std::min(next, now_.steady + std::chrono::milliseconds(200));
  return next;
}

void LoaderStage::OnHttp(Now now, http::Completion completion) {
  now_ = now;
  const auto found = flights_.find(completion.id);
  if (found == flights_.end()) return;
  const Flight flight = std::move(found->second);
  flights_.erase(found);
  if (completion.refused_at_send) ++counters_.refused_at_send;
  Target* target = FindTarget(flight.target);
  if (target != nullptr) target->backoff.Closed();
  Settle(flight, completion);
  const auto count_plain = [&](Operation operation) {
    const bool acts = flight.kind != Flight::Kind::kToken;
    CountAnswer(flight.target, operation, completion,
                http::Classify(completion, true, acts, now.wall).answer);
  };
  switch (flight.kind) {
    case Flight::Kind::kToken:
      count_plain(Operation::kToken);
      if (target != nullptr) OnTokenAnswer(*target, completion);
      break;
    case Flight::Kind::kBatch:
      count_plain(Operation::kBatch);
      OnBatchAnswer(flight, completion);
      break;
    case Flight::Kind::kLookup:
      count_plain(Operation::kLookup);
      if (Lane* lane = FindLane(flight.key)) OnLookupAnswer(*lane, completion);
      break;
    case Flight::Kind::kCompare:
      count_plain(Operation::kCompare);
      if (Lane* lane = FindLane(flight.key)) OnComparisonAnswer(*lane, completion);
      break;
    case Flight::Kind::kCall:
      if (Lane* lane = FindLane(flight.key)) {
        const connector::Interpreted answer =
            connector::Interpret(*lane->connector, *lane->call, completion, now.wall);
        const bool is_action = lane->parts.kind == ids::CommandKey::Kind::kAction;
        CountAnswer(flight.target, is_action ? Operation::kAction : Operation::kWrite, completion,
                    answer.answer);
        OnCallAnswer(*lane, answer, completion);
      }
      break;
  }
  MarkDirty(flight.target);
  Work();
}

static_assert(kOutcomes == v1::Outcome_ARRAYSIZE && kReasons == v1::Reason_ARRAYSIZE);

IntegrationCounters& LoaderStage::CountersOf(const TargetKey& key) {
  Target* const target = FindTarget(key);
  if (target != nullptr && target->counters != nullptr) return *target->counters;
  return counters_.by_integration["unknown"];
}

void LoaderStage::CountAnswer(const TargetKey& key, Operation operation,
                              const http::Completion& completion, http::AnswerClass answer) {
  // What we held back ourselves is no answer; it has a counter of its own.
  if (completion.refused_at_send) return;
  ++CountersOf(key).requests[static_cast<std::size_t>(operation)][static_cast<std::size_t>(answer)];
}

void LoaderStage::OnControl(Now now, const v1::ToService& message) {
  now_ = now;
  switch (message.kind_case()) {
    case v1::ToService::kCredential:
      OnCredential(message.credential());
      break;
    case v1::ToService::kListParked:
      AnswerParked(message.id(), message.list_parked());
      break;
    case v1::ToService::kDecideParked:
      AnswerDecide(message.id(), message.decide_parked());
      break;
    case v1::ToService::kTrace:
      AnswerTrace(message.id(), message.trace());
      break;
    case v1::ToService::kSweep:
      AnswerSweep(message.id(), message.sweep());
      break;
    case v1::ToService::KIND_NOT_SET:
      break;
  }
  Work();
}

bool LoaderStage::MaySend(Now now, http::RequestId id) {
  now_ = now;
  const auto found = flights_.find(id);
  if (found == flights_.end()) return false;
  const Flight& flight = found->second;
  const auto state = partitions_.find(flight.partition);
  if (state == partitions_.end() || state->second.revoking) return false;
  if (!owner_->may_send(now, flight.partition)) return false;
  const Target* target = FindTarget(flight.target);
  if (target == nullptr || !target->linked) return false;
  if (flight.kind == Flight::Kind::kToken || flight.kind == Flight::Kind::kLookup ||
      flight.kind == Flight::Kind::kCompare) {
    return true;
  }

  // Rule 17, for each record that the request writes.
  std::vector<std::string> keys = {flight.key};
  if (flight.kind == Flight::Kind::kBatch) {
    const auto batch = batches_.find(flight.batch);
    if (batch == batches_.end()) return false;
    keys = batch->second.keys;
  }
  for (const std::string& key : keys) {
    Lane* const lane = FindLane(key);
    if (lane == nullptr || lane->phase != Lane::Phase::kSending) return false;
    if (!lane->entry.has_intent() || lane->doubt == Doubt::kSettling) return false;
    if (!MayGoOn(*lane)) return false;
    // What others hold in the table was looked up when it began; since then only lanes claim.
    if (lane->parts.kind == ids::CommandKey::Kind::kState && !lane->entry.id().empty() &&
        !OpenHolderOf(*lane, lane->parts.object, lane->entry.id()).empty()) {
      return false;
    }
  }
  for (const std::string& key : keys) {
    Lane* lane = FindLane(key);
    lane->left = true;
    lane->sent_at = now.steady;
  }
  return true;
}

void LoaderStage::Drain(Now now) {
  now_ = now;
  draining_ = true;
  owner_->ReleaseAll(now);
  Work();
}

bool LoaderStage::drained() const { return draining_ && owner_->partitions().empty(); }

std::vector<std::string> LoaderStage::not_ready_because() const {
  return owner_->not_ready_because();
}

std::string LoaderStage::failure() const { return owner_->failure(); }

// ---- ownership ----

void LoaderStage::OnReplacing(Topic topic, Partition partition, std::string_view key) {
  before_ = {};
  if (topic == Topic::kTenants || key.starts_with('!') || !partitions_.contains(partition)) return;
  const Lane* const lane = FindLane(key);
  std::optional<ids::CommandKey> parts = lane != nullptr ? lane->parts : ids::ParseCommandKey(key);
  if (!parts || parts->kind == ids::CommandKey::Kind::kMapped) return;
  before_.has_lane = lane != nullptr;
  // A lane knows what its record stands at, and counts itself.
  if (lane == nullptr || topic == Topic::kCommands) {
    before_.command = CommandHeadInTable(*parts, key, &before_.command_is_void);
  }
  if (lane == nullptr) {
    before_.record = RecordHeadInTable(parts->tenant, key);
    const bool is_action = parts->kind == ids::CommandKey::Kind::kAction;
    if (topic == Topic::kRecords && is_action && before_.record.is_final) {
      before_.end = owner_->table(topic, partition)->Get(key)->value;
    }
    before_.share = ShareOf(is_action, before_.command, before_.record);
  }
  before_.parts = std::move(parts);
}

void LoaderStage::OnEntry(Topic topic, Partition partition, std::string_view key,
                          const std::optional<eventlog::TableEntry>& entry) {
  if (!partitions_.contains(partition)) return;
  const std::string text(key);
  if (topic == Topic::kTenants) {
    OnTenantsEntry(partition, text, entry);
    return;
  }
  if (key.starts_with('!')) return;
  std::optional<CommandHead> head;
  if (before_.parts && topic == Topic::kCommands && entry) {
    head = CommandHeadOf(before_.parts->kind, entry->value);
  }
  if (before_.parts && !before_.has_lane) {
    // What is counted of a key without a lane follows the tables.
    RecordHead record = std::move(before_.record);
    if (topic == Topic::kRecords) {
      record = entry && !entry->is_void ? RecordHeadOf(entry->value).value_or(RecordHead())
                                        : RecordHead();
    }
    SyncStats& stats = StatsOf(*before_.parts);
    stats.Remove(before_.share);
    stats.Add(ShareOf(before_.parts->kind == ids::CommandKey::Kind::kAction,
                      topic == Topic::kCommands ? head : before_.command, record));
  }
  if (topic == Topic::kRecords) OnRecordEntry(partition, text, entry);
  if (topic == Topic::kCommands) OnCommandEntry(partition, text, entry, head);
}

void LoaderStage::OnTenantsEntry(Partition partition, const std::string& key,
                                 const std::optional<eventlog::TableEntry>& entry) {
  if (entry && !entry->is_void && !IsTenantsEntry(key, entry->value)) {
    // The last good one stays.
    KeepAside(Topic::kTenants, partition, entry->offset, key, entry->value);
    return;
  }
  ForgetAside(Topic::kTenants, key);
  const std::string tenant = directory_.OnEntry(partition, key, entry);
  if (!tenant.empty()) RefreshTenant(tenant);
}

void LoaderStage::OnRecordEntry(Partition partition, const std::string& key,
                                const std::optional<eventlog::TableEntry>& entry) {
  Lane* lane = FindLane(key);
  if (!entry) {
    const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
    if (parts && parts->kind == ids::CommandKey::Kind::kState) {
      KeepAside(Topic::kRecords, partition,
                owner_->table(Topic::kRecords, partition)->next_offset() - 1, key, std::nullopt);
      RepairVoid(partition, key, now_.steady);
    }
    return;
  }
  if (entry->is_void) {
    // Its owner sent nothing after t0 + V + P; all that it could have sent has an intent before.
    RepairVoid(partition, key, now_.steady, before_.end);
    return;
  }
  // What was acknowledged there is ours, and can be read.
  const bool is_ours = lane != nullptr && lane->acknowledged == entry->offset;
  if (!is_ours && !scratch_entry_.ParseFromString(entry->value)) {
    KeepAside(Topic::kRecords, partition, entry->offset, key, entry->value);
    RepairVoid(partition, key, now_.steady);
    return;
  }
  if (lane != nullptr && entry->offset >= lane->acknowledged) {
    NoteEntry(*lane, lane->acknowledged, entry->offset);
    WakeWhoWaitsForLog();
  }
  ForgetAside(Topic::kRecords, key);
  const ids::CommandKey* const parts =
      lane != nullptr ? &lane->parts : (before_.parts ? &*before_.parts : nullptr);
  if (parts != nullptr && parts->kind == ids::CommandKey::Kind::kAction) Tombstone(key);
  if (const auto waiting = waiters_.find(key); waiting != waiters_.end()) {
    const std::set<std::string> waiters = std::move(waiting->second);
    waiters_.erase(waiting);
    for (const std::string& waiter : waiters) Touch(waiter);
  }
  if (lane != nullptr) ForgetIfIdle(*lane);
}

void LoaderStage::OnCommandEntry(Partition partition, const std::string& key,
                                 const std::optional<eventlog::TableEntry>& entry,
                                 std::optional<CommandHead> head) {
  Lane* lane = FindLane(key);
  std::optional<ids::CommandKey> parts =
      before_.parts ? std::move(before_.parts) : ids::ParseCommandKey(key);
  if (parts && parts->kind == ids::CommandKey::Kind::kMapped) return;
  const bool is_action = parts && parts->kind == ids::CommandKey::Kind::kAction;
  if (!entry && !is_action) {
    // Only the commands of finished actions end.
    KeepAside(Topic::kCommands, partition,
              owner_->table(Topic::kCommands, partition)->next_offset() - 1, key, std::nullopt);
  }
  if (!parts) {
    if (entry) KeepAside(Topic::kCommands, partition, entry->offset, key, entry->value);
    return;
  }
  const bool is_valid = entry && !entry->is_void;
  const bool is_readable = is_valid && head.has_value();
  if (is_valid && !is_readable) {
    KeepAside(Topic::kCommands, partition, entry->offset, key, entry->value);
  }
  if (is_readable) {
    ForgetAside(Topic::kCommands, key);
  } else {
    head.reset();
  }
  SyncStats& stats = lane != nullptr ? *lane->stats : StatsOf(*parts);
  if (!is_action) {
    const bool was_pending = lane != nullptr ? lane->counted.is_pending : before_.share.is_pending;
    if (before_.command_is_void) before_.command.reset();
    if (was_pending && head && before_.command && before_.command->version < head->version) {
      ++stats.superseded;
      ++counters_.superseded;
      ++CountersOf(TargetOf(*parts)).outcomes[v1::OUTCOME_SUPERSEDED];
    }
    NoteNewest(stats, key, before_.command, head);
  }
  bool is_read = false;
  if (lane == nullptr) {
    // What cannot even wait is found again by the scan, and read then.
    Target* const target = FindTarget(TargetOf(*parts));
    const auto can_wait = [&] {
      if (LogIsBusy()) return false;
      const Priority priority = IsBackfill(entry->value) ? Priority::kBackfill : Priority::kLive;
      return target->HasRoom(priority, static_cast<std::size_t>(options_.ready_keys_max));
    };
    if (is_readable && !is_action && target != nullptr && !can_wait()) {
      FindLater(*target, key);
      return;
    }
    lane = &MakeLane(key, *std::move(parts));
    // The state that stands there now is read with the lane.
    is_read = is_readable && lane->desired_is_read;
  }
  if (!is_read) {
    if (auto command = std::make_shared<v1::Command>();
        is_readable && ParseInto(entry->value, *command)) {
      if (is_action && command->action().has_event_time()) {
        RememberEventTime(lane->parts.tenant, TimeOf(command->action().event_time()));
      }
      SetDesired(*lane, std::move(command), entry->value);
    } else {
      // A void one is taken as a hint.
      static_cast<void>(SetDesired(
          *lane, is_valid ? std::nullopt : owner_->table(Topic::kCommands, partition)->Find(key)));
    }
  }
  // Rule 12: the events are read again, and the ledger does not know what it had of them.
  if (is_action && MayHaveBeenDone(*lane)) TakeForSent(*lane);
  Account(*lane);
  Touch(*lane);
  // Emitted again after its tombstone, by a replay of its event: the ledger says that it is done.
  if (entry && is_action) Tombstone(key);
}

void LoaderStage::OnStreamRecord(const eventlog::Record&) {}

void LoaderStage::OnWritten(eventlog::ProduceId id, eventlog::Offset offset) {
  const auto found = writes_.find(id);
  if (found == writes_.end()) return;
  Lane& lane = *found->second;
  writes_.erase(found);
  WakeWhoWaitsForLog();
  if (lane.write != id) return;
  lane.write = 0;
  if (lane.phase == Lane::Phase::kReceipt) {
    WriteNextEntry(lane);
    return;
  }
  lane.entry = std::move(lane.next_entry);
  if (std::exchange(lane.tags_are_restored, false)) lane.tags_before.reset();
  NoteEntry(lane, offset, lane.read_back);
  // A void entry behind it may have been read before this acknowledgement.
  if (offset > lane.covered_at) lane.repair_wanted = false;
  UpdateHolds(lane);
  Account(lane);
  if (lane.entry.has_comparison()) {
    NoteComparison(lane.target, lane.key, HeadOf(lane.entry).compare_at);
  }
  if (lane.phase == Lane::Phase::kIntent) {
    lane.phase = Lane::Phase::kAwaitingSend;
    lane.intent_unsent = true;
    Target* const target = FindTarget(lane.target);
    if (lane.batch != 0) {
      BatchIntentAcknowledged(lane.batch);
    } else if (target != nullptr) {
      target->Await(lane.key, PriorityOf(lane));
    }
    MarkDirty(target);
    const Partition partition = lane.partition;
    if (partitions_[partition].revoking) AbortOpen(partition);
    return;
  }
  const Partition partition = lane.partition;
  Rest(lane);
  ReleaseIfDone(partition);
}

void LoaderStage::OnRevoking(Partition partition, Instant deadline) {
  const auto state = partitions_.find(partition);
  if (state == partitions_.end()) {
    owner_->Release(partition);
    return;
  }
  state->second.revoking = true;
  state->second.abort_at = std::min(now_.steady + options_.revoke_grace, deadline);
  // What has not been handed to HTTP yet does not leave any more.
  std::vector<std::uint64_t> unsent;
  for (const auto& [id, batch] : batches_) {
    if (batch.partition == partition && !batch.sent) unsent.push_back(id);
  }
  for (const std::uint64_t id : unsent) DissolveBatch(id);
  for (Lane* const lane : LanesOf(partition)) {
    if (lane->phase == Lane::Phase::kAwaitingSend) Rest(*lane);
    const bool reads =
        lane->phase == Lane::Phase::kLookingUp || lane->phase == Lane::Phase::kComparing;
    if (reads && lane->request_id == 0) Rest(*lane);
    Touch(*lane);
  }
  ReleaseIfDone(partition);
}

std::vector<http::RequestId> LoaderStage::FlightsOf(Partition partition) const {
  std::vector<http::RequestId> open;
  for (const auto& [id, flight] : flights_) {
    if (flight.partition == partition) open.push_back(id);
  }
  std::sort(open.begin(), open.end());
  return open;
}

void LoaderStage::AbortOpen(Partition partition) {
  PartitionState& state = partitions_[partition];
  if (state.revoking && now_.steady >= state.abort_at) {
    state.aborted = true;
    for (const http::RequestId id : FlightsOf(partition)) ports_.http.Cancel(id);
  }
  for (Lane* const lane : LanesOf(partition)) {
    if (lane->phase != Lane::Phase::kAwaitingSend) continue;
    Rest(*lane);
    Touch(*lane);
  }
}

void LoaderStage::ReleaseIfDone(Partition partition) {
  const auto state = partitions_.find(partition);
  if (state == partitions_.end() || !state->second.revoking || state->second.released) return;
  for (const auto& [key, lane] : lanes_) {
    if (lane.partition != partition) continue;
    if (lane.busy() || lane.intent_unsent || lane.repair_wanted || !lane.reached_by.empty()) return;
  }
  state->second.released = true;
  owner_->Release(partition);
}

void LoaderStage::OnGone(Partition partition) {
  for (const http::RequestId id : FlightsOf(partition)) {
    ports_.http.Cancel(id);
    const auto flight = flights_.find(id);
    // Of other partitions there may be targets in its scope.
    flight->second.quota->budget.Answered(now_, flight->second.ticket, {});
    flights_.erase(flight);
  }
  std::erase_if(batches_, [&](const auto& b) { return b.second.partition == partition; });
  std::set<std::string> keys;
  for (const auto& [key, lane] : lanes_) {
    if (lane.partition != partition) continue;
    keys.insert(key);
    if (lane.is_unread()) --unread_entries_;
  }
  const auto lane_is_ours = [&](const Lane* lane) { return lane->partition == partition; };
  std::erase_if(todo_, lane_is_ours);
  absl::erase_if(writes_, [&](const auto& w) { return lane_is_ours(w.second); });
  for (auto& [name, lanes] : holders_) {
    lanes.erase(std::remove_if(lanes.begin(), lanes.end(), lane_is_ours), lanes.end());
  }
  absl::erase_if(holders_, [](const auto& h) { return h.second.empty(); });
  std::erase_if(timers_, [&](const auto& t) { return keys.contains(t.second); });
  absl::erase_if(match_locks_, [&](const auto& m) { return keys.contains(m.second.key); });
  absl::erase_if(lanes_, [&](const auto& l) { return l.second.partition == partition; });
  for (auto& [key, target] : targets_) {
    if (target.partition == partition) LeaveQuota(target);
  }
  std::erase_if(dirty_targets_, [&](const Target* t) { return t->partition == partition; });
  std::erase_if(targets_, [&](const auto& t) { return t.second.partition == partition; });
  const auto is_ours = [&](const std::string& tenant) { return PartitionOf(tenant) == partition; };
  std::erase_if(stats_, [&](const auto& s) { return is_ours(s.first.first); });
  std::erase_if(newest_event_, [&](const auto& n) { return is_ours(n.first); });
  const auto key_is_ours = [&](const std::string& key) {
    const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
    return parts && is_ours(parts->tenant);
  };
  std::erase_if(blocked_, key_is_ours);
  std::erase_if(waiters_, [&](const auto& w) { return key_is_ours(w.first); });
  std::erase_if(set_aside_, [&](const SetAside& a) { return a.partition == partition; });
  directory_.Forget(partition);
  partitions_.erase(partition);
  WakeWhoWaitsForLog();
  Log(Logger::Level::kInfo, "Partition given up.", {{"partition", std::to_string(partition)}});
}

void LoaderStage::Touch(Lane& lane) {
  if (lane.is_touched) return;
  lane.is_touched = true;
  todo_.push_back(&lane);
}

void LoaderStage::Touch(const std::string& key) {
  if (Lane* const lane = LaneOf(key)) Touch(*lane);
}

void LoaderStage::Work() {
  // Each round only does what the one before made possible.
  while (!todo_.empty() || !dirty_targets_.empty()) {
    while (!todo_.empty()) {
      Lane& lane = *todo_.front();
      todo_.pop_front();
      lane.is_touched = false;
      Evaluate(lane);
    }
    const std::vector<Target*> dirty = std::exchange(dirty_targets_, {});
    for (Target* const target : dirty) target->is_dirty = false;
    for (Target* const target : dirty) Pump(*target);
  }
  std::vector<Partition> revoking;
  for (const auto& [partition, state] : partitions_) {
    if (state.revoking) revoking.push_back(partition);
  }
  for (const Partition partition : revoking) ReleaseIfDone(partition);
}

void LoaderStage::Log(Logger::Level level, std::string_view message, Logger::Fields fields) {
  ports_.logger.Log(level, message, fields);
}

Partition LoaderStage::PartitionOf(const std::string& tenant) const {
  return ids::PartitionOf(tenant, options_.partitions);
}

const eventlog::Table* LoaderStage::Table(Topic topic, const std::string& tenant) const {
  return owner_->table(topic, PartitionOf(tenant));
}

}  // namespace tributary::loader

#include "services/loader/stage.h"

#include <algorithm>

#include "services/loader/entries.h"
#include "tributary/v1/config.pb.h"

namespace tributary::loader {
namespace {

using eventlog::Partition;
using eventlog::Topic;

/// Rows: `i/<tenant>/<object>/<id>` who holds a record of the target; `p/<tenant>` what is parked.
std::vector<std::string> IndexRecord(std::string_view key, const eventlog::TableEntry& entry) {
  if (entry.is_void) return {};
  const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
  v1::RecordEntry record;
  if (!parts || !record.ParseFromString(entry.value)) return {};
  std::vector<std::string> rows;
  if (parts->kind == ids::CommandKey::Kind::kState && !record.id().empty()) {
    rows.push_back(ids::JoinKey({"i", parts->tenant, parts->object, record.id()}) + "/");
  }
  if (record.status() == v1::RecordEntry::STATUS_PARKED) {
    rows.push_back(ids::JoinKey({"p", parts->tenant}) + "/");
  }
  return rows;
}

/// Rows: `c/<tenant>/<customer>`, for `trace`.
std::vector<std::string> IndexCommand(std::string_view key, const eventlog::TableEntry& entry) {
  const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
  v1::Command command;
  if (!parts || entry.is_void || !command.ParseFromString(entry.value)) return {};
  if (command.customer().empty()) return {};
  return {ids::JoinKey({"c", parts->tenant, command.customer()}) + "/"};
}

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
  if (loader.attempts_max() > 0) options.attempts_max = loader.attempts_max();
  if (loader.ready_keys_max() > 0) options.ready_keys_max = loader.ready_keys_max();
  if (loader.body_bytes_max() > 0) {
    options.body_bytes_max = static_cast<std::size_t>(loader.body_bytes_max());
  }
  return options;
}

std::unique_ptr<Loader> MakeLoader(Options options, StagePorts ports) {
  return std::make_unique<LoaderStage>(std::move(options), std::move(ports));
}

LoaderStage::LoaderStage(Options options, StagePorts ports)
    : options_(std::move(options)), ports_(std::move(ports)) {
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
    Touch(timers_.begin()->second);
    timers_.erase(timers_.begin());
  }
  for (auto& [key, target] : targets_) {
    if (target.wake <= now.steady) {
      target.wake = Instant::max();
      dirty_targets_.insert(key);
    }
  }
  for (const std::string& key : blocked_) Touch(key);
  blocked_.clear();
  std::vector<Partition> to_abort;
  for (auto& [partition, state] : partitions_) {
    if (state.revoking && !state.aborted && state.abort_at <= now.steady) {
      to_abort.push_back(partition);
    }
  }
  for (const Partition partition : to_abort) AbortOpen(partition);
  std::erase_if(match_locks_, [&](const auto& lock) { return lock.second.until <= now.steady; });
  Work();
  if (now.steady >= next_status_) {
    next_status_ = now.steady + options_.status_interval;
    ReportStatus();
  }
}

Instant LoaderStage::next_tick() const {
  Instant next = std::min(owner_->next_tick(), next_status_);
  if (!timers_.empty()) next = std::min(next, timers_.begin()->first);
  for (const auto& [key, target] : targets_) next = std::min(next, target.wake);
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
  const Flight flight = found->second;
  flights_.erase(found);
  if (completion.refused_at_send) ++counters_.refused_at_send;
  Target* target = FindTarget(flight.target);
  const http::AnswerClass plain =
      http::Classify(completion, true, flight.kind != Flight::Kind::kToken, now.wall).answer;
  switch (flight.kind) {
    case Flight::Kind::kToken:
      CountAnswer(flight.target, Operation::kToken, plain);
      if (target != nullptr) OnTokenAnswer(*target, completion);
      break;
    case Flight::Kind::kBatch:
      CountAnswer(flight.target, Operation::kBatch, plain);
      OnBatchAnswer(flight, completion);
      break;
    case Flight::Kind::kLookup:
      CountAnswer(flight.target, Operation::kLookup, plain);
      if (Lane* lane = FindLane(flight.key)) OnLookupAnswer(*lane, completion);
      break;
    case Flight::Kind::kCall:
      if (Lane* lane = FindLane(flight.key)) {
        const connector::Interpreted answer =
            connector::Interpret(*lane->connector, *lane->call, completion, now.wall);
        const bool is_action = lane->parts.kind == ids::CommandKey::Kind::kAction;
        CountAnswer(flight.target, is_action ? Operation::kAction : Operation::kWrite,
                    answer.answer);
        OnCallAnswer(*lane, answer, completion);
      }
      break;
  }
  dirty_targets_.insert(flight.target);
  Work();
}

static_assert(kOutcomes == v1::Outcome_ARRAYSIZE && kReasons == v1::Reason_ARRAYSIZE);

IntegrationCounters& LoaderStage::CountersOf(const TargetKey& key) {
  Target* const target = FindTarget(key);
  if (target != nullptr && target->counters != nullptr) return *target->counters;
  return counters_.by_integration["unknown"];
}

void LoaderStage::CountAnswer(const TargetKey& key, Operation operation, http::AnswerClass answer) {
  ++CountersOf(key).requests[static_cast<std::size_t>(operation)][static_cast<std::size_t>(answer)];
}

void LoaderStage::CountSetAside(Topic topic) {
  ++counters_.undecodable;
  ++counters_.set_aside[static_cast<std::size_t>(topic)];
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
  if (flight.kind == Flight::Kind::kToken || flight.kind == Flight::Kind::kLookup) return true;

  // Rule 17, for each record that the request writes.
  std::vector<std::string> keys = {flight.key};
  if (flight.kind == Flight::Kind::kBatch) {
    const auto batch = batches_.find(flight.batch);
    if (batch == batches_.end()) return false;
    keys = batch->second.keys;
  }
  for (const std::string& key : keys) {
    const Lane* lane = FindLane(key);
    if (lane == nullptr || lane->phase != Lane::Phase::kSending) return false;
    if (!lane->entry.has_intent() || lane->doubt == Doubt::kSettling) return false;
    if (Judge(key).kind != Verdict::Kind::kSend) return false;
    if (lane->parts.kind == ids::CommandKey::Kind::kState) {
      const std::optional<Desired> desired = DesiredOf(key);
      if (!desired || Compare(desired->command.version(), lane->command.version()) != 0) {
        return false;
      }
      if (!lane->entry.id().empty() &&
          !HolderOf(*lane, lane->parts.object, lane->entry.id()).empty()) {
        return false;
      }
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

void LoaderStage::OnReady(const eventlog::Takeover& takeover) {
  const Partition partition = takeover.partition;
  PartitionState& state = partitions_[partition];
  state = {};
  state.doubt_from = takeover.doubt_counts_from;
  state.lookups_from = takeover.began;
  if (const eventlog::Table* tenants = owner_->table(Topic::kTenants, partition)) {
    directory_.Load(partition, *tenants);
  }
  std::vector<std::string> names;
  directory_.ForEach([&](const tenants::TenantState& tenant) {
    if (tenant.partition == partition) names.push_back(tenant.snapshot.tenant());
  });
  for (const std::string& name : names) RefreshTenant(name);
  LoadRecords(partition);
  LoadCommands(partition);
  Log(Logger::Level::kInfo, "Partition taken over.",
      {{"partition", std::to_string(partition)},
       {"unclean", takeover.unclean ? "true" : "false"},
       {"in_doubt",
        std::to_string(std::count_if(lanes_.begin(), lanes_.end(), [&](const auto& lane) {
          return lane.second.partition == partition && lane.second.doubt != Doubt::kNone;
        }))}});
}

void LoaderStage::LoadRecords(Partition partition) {
  const eventlog::Table* records = owner_->table(Topic::kRecords, partition);
  if (records == nullptr) return;
  PartitionState& state = partitions_[partition];
  bool any = false;
  // Collected first: a lane reads the table that is being scanned.
  std::vector<std::string> in_doubt;
  std::vector<std::string> later;
  std::vector<std::string> parked;
  records->Scan("", "", [&](std::string_view key, const eventlog::TableEntry& entry) {
    if (key.starts_with('!')) return true;
    any = true;
    const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
    v1::RecordEntry record;
    if (!parts || entry.is_void || !record.ParseFromString(entry.value)) {
      in_doubt.emplace_back(key);
      return true;
    }
    if (record.has_event_time()) RememberEventTime(parts->tenant, TimeOf(record.event_time()));
    if (!record.final() && (record.has_intent() || record.in_doubt())) in_doubt.emplace_back(key);
    if (record.final() && record.in_doubt()) in_doubt.emplace_back(key);
    if (record.has_retry_at()) later.emplace_back(key);
    if (record.status() == v1::RecordEntry::STATUS_PARKED) parked.emplace_back(key);
    return true;
  });
  for (const std::string& key : in_doubt) {
    const std::optional<eventlog::TableEntry> entry = records->Get(key);
    v1::RecordEntry record;
    if (!entry || entry->is_void || !record.ParseFromString(entry->value)) {
      RepairVoid(key, state.doubt_from);
      continue;
    }
    Lane& lane = LaneOf(key);
    lane.doubt = Doubt::kSettling;
    lane.settle_until = state.doubt_from + SettleOf(lane.target);
    Touch(key);
  }
  for (const std::string& key : later) {
    Lane& lane = LaneOf(key);
    const Duration left = TimeOf(lane.entry.retry_at()) - now_.wall;
    lane.not_before =
        now_.steady + std::clamp<Duration>(left, Duration::zero(), options_.retry_delay_max);
    Touch(key);
  }
  for (const std::string& key : parked) Account(key);
  // A record that a lost entry knew of can be found only when the index has caught up.
  if (any) {
    Duration lag{};
    for (const auto& [key, target] : targets_) {
      if (target.partition == partition) lag = std::max(lag, target.index_lag);
    }
    state.lookups_from += lag;
  }
}

void LoaderStage::LoadCommands(Partition partition) {
  const eventlog::Table* commands = owner_->table(Topic::kCommands, partition);
  if (commands == nullptr) return;
  std::vector<std::string> keys;
  commands->Scan("", "", [&](std::string_view key, const eventlog::TableEntry& entry) {
    if (key.starts_with('!') || entry.is_void) return true;
    const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
    if (!parts || parts->kind == ids::CommandKey::Kind::kMapped) return true;
    keys.emplace_back(key);
    return true;
  });
  for (const std::string& key : keys) {
    const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
    if (parts->kind == ids::CommandKey::Kind::kAction) {
      const std::optional<Desired> desired = DesiredOf(key);
      if (desired && desired->command.action().has_event_time()) {
        RememberEventTime(parts->tenant, TimeOf(desired->command.action().event_time()));
      }
    }
    Account(key);
    if (parts->kind == ids::CommandKey::Kind::kAction) {
      Touch(key);
      // A final entry that was read back, and whose tombstone got lost with its owner.
      Tombstone(key);
    }
  }
  for (auto& [key, target] : targets_) {
    if (target.partition != partition) continue;
    target.scan_wanted = true;
    dirty_targets_.insert(key);
  }
}

void LoaderStage::RepairVoid(const std::string& key, Instant doubt_from) {
  Lane* existing = FindLane(key);
  if (existing != nullptr && existing->acknowledged >= 0) {
    // Ours is newer than what covers it: the same again (rule 16, end).
    existing->repair_wanted = true;
    Touch(key);
    return;
  }
  if (existing != nullptr && existing->busy()) {
    existing->repair_wanted = true;
    return;
  }
  const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
  if (!parts) {
    CountSetAside(Topic::kRecords);
    return;
  }
  v1::RecordEntry hint;
  if (const eventlog::Table* records = Table(Topic::kRecords, parts->tenant)) {
    if (const std::optional<eventlog::TableEntry> entry = records->Get(key)) {
      if (!hint.ParseFromString(entry->value)) CountSetAside(Topic::kRecords);
    }
  }
  Lane& lane = LaneOf(key);
  lane.entry.Clear();
  // Unknown, not absent: nothing is resolved, and the id may serve as a hint.
  lane.entry.set_id(hint.id());
  lane.entry.set_sends(hint.sends());
  *lane.entry.mutable_tags() = hint.tags();
  if (parts->kind == ids::CommandKey::Kind::kAction && hint.has_intent()) {
    *lane.entry.mutable_intent() = hint.intent();
  }
  if (hint.has_event_time()) *lane.entry.mutable_event_time() = hint.event_time();
  lane.entry.set_in_doubt(true);
  lane.entry.set_status(v1::RecordEntry::STATUS_WAITING);
  lane.doubt = Doubt::kSettling;
  lane.settle_until = doubt_from + SettleOf(lane.target);
  lane.looked_up = false;
  lane.repair_wanted = true;
  Touch(key);
}

void LoaderStage::OnEntry(Topic topic, Partition partition, std::string_view key,
                          const std::optional<eventlog::TableEntry>& entry) {
  if (!partitions_.contains(partition)) return;
  if (topic == Topic::kTenants) {
    const std::string tenant = directory_.OnEntry(partition, key, entry);
    if (!tenant.empty()) RefreshTenant(tenant);
    return;
  }
  if (key.starts_with('!')) return;
  if (topic == Topic::kRecords) OnRecordEntry(partition, std::string(key), entry);
  if (topic == Topic::kCommands) OnCommandEntry(std::string(key), entry);
}

void LoaderStage::OnRecordEntry(Partition, const std::string& key,
                                const std::optional<eventlog::TableEntry>& entry) {
  if (!entry) return;
  if (entry->is_void) {
    // Its owner sent nothing after t0 + V + P; all that it could have sent has an intent before.
    RepairVoid(key, now_.steady);
    return;
  }
  if (Lane* lane = FindLane(key)) {
    if (entry->offset >= lane->acknowledged) lane->read_back = entry->offset;
  }
  Tombstone(key);
  if (const auto waiting = waiters_.find(key); waiting != waiters_.end()) {
    for (const std::string& waiter : waiting->second) Touch(waiter);
    waiters_.erase(waiting);
  }
  ForgetIfIdle(key);
}

void LoaderStage::OnCommandEntry(const std::string& key,
                                 const std::optional<eventlog::TableEntry>& entry) {
  const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
  if (!parts || parts->kind == ids::CommandKey::Kind::kMapped) return;
  if (entry && !entry->is_void) {
    v1::Command command;
    if (!command.ParseFromString(entry->value)) {
      CountSetAside(Topic::kCommands);
      Log(Logger::Level::kError, "A command cannot be decoded; it is set aside.",
          {{"key", key},
           {"topic", "commands"},
           {"offset", std::to_string(entry->offset)},
           {"bytes", ids::ToHex(entry->value.substr(0, 256))}});
      return;
    }
    if (command.has_action() && command.action().has_event_time()) {
      RememberEventTime(parts->tenant, TimeOf(command.action().event_time()));
    }
    if (command.has_state()) {
      SyncStats& stats = StatsOf(*parts);
      const auto pending = stats.newest.find(key);
      if (pending != stats.newest.end() && stats.pending.contains(key) &&
          Compare(pending->second, command.version()) < 0) {
        ++stats.superseded;
        ++counters_.superseded;
        const v1::Sync* const sync = directory_.FindSync(parts->tenant, parts->sync);
        ++CountersOf({parts->tenant, sync == nullptr ? "" : sync->target()})
              .outcomes[v1::OUTCOME_SUPERSEDED];
      }
    }
  }
  Account(key);
  Touch(key);
  // Emitted again after its tombstone, by a replay of its event: the ledger says that it is done.
  if (parts->kind == ids::CommandKey::Kind::kAction) Tombstone(key);
}

void LoaderStage::OnStreamRecord(const eventlog::Record&) {}

void LoaderStage::OnWritten(eventlog::ProduceId id, eventlog::Offset offset) {
  const auto found = writes_.find(id);
  if (found == writes_.end()) return;
  const std::string key = found->second;
  writes_.erase(found);
  Lane* lane = FindLane(key);
  if (lane == nullptr || lane->write != id) return;
  lane->write = 0;
  if (lane->phase == Lane::Phase::kReceipt) {
    WriteNextEntry(*lane);
    return;
  }
  lane->entry = lane->next_entry;
  lane->acknowledged = offset;
  lane->repair_wanted = false;
  Account(key);
  if (lane->phase == Lane::Phase::kIntent) {
    lane->phase = Lane::Phase::kAwaitingSend;
    lane->intent_unsent = true;
    if (lane->batch != 0) {
      BatchIntentAcknowledged(lane->batch);
    } else if (Target* target = FindTarget(lane->target)) {
      target->waiting_for_rate.push_back(key);
    }
    dirty_targets_.insert(lane->target);
    if (partitions_[lane->partition].revoking) AbortOpen(lane->partition);
    return;
  }
  Rest(*lane);
  ReleaseIfDone(lane->partition);
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
  std::vector<std::string> keys;
  for (const auto& [key, lane] : lanes_) {
    if (lane.partition == partition) keys.push_back(key);
  }
  for (const std::string& key : keys) {
    Lane& lane = lanes_.at(key);
    if (lane.phase == Lane::Phase::kAwaitingSend) Rest(lane);
    if (lane.phase == Lane::Phase::kLookingUp && lane.request_id == 0) Rest(lane);
    Touch(key);
  }
  ReleaseIfDone(partition);
}

void LoaderStage::AbortOpen(Partition partition) {
  PartitionState& state = partitions_[partition];
  if (state.revoking && now_.steady >= state.abort_at) {
    state.aborted = true;
    std::vector<http::RequestId> open;
    for (const auto& [id, flight] : flights_) {
      if (flight.partition == partition) open.push_back(id);
    }
    for (const http::RequestId id : open) ports_.http.Cancel(id);
  }
  std::vector<std::string> keys;
  for (const auto& [key, lane] : lanes_) {
    if (lane.partition == partition && lane.phase == Lane::Phase::kAwaitingSend)
      keys.push_back(key);
  }
  for (const std::string& key : keys) {
    Rest(lanes_.at(key));
    Touch(key);
  }
}

void LoaderStage::ReleaseIfDone(Partition partition) {
  const auto state = partitions_.find(partition);
  if (state == partitions_.end() || !state->second.revoking || state->second.released) return;
  for (const auto& [key, lane] : lanes_) {
    if (lane.partition != partition) continue;
    if (lane.busy() || lane.intent_unsent || lane.repair_wanted) return;
  }
  state->second.released = true;
  owner_->Release(partition);
}

void LoaderStage::OnGone(Partition partition) {
  std::vector<http::RequestId> open;
  for (const auto& [id, flight] : flights_) {
    if (flight.partition == partition) open.push_back(id);
  }
  for (const http::RequestId id : open) {
    ports_.http.Cancel(id);
    flights_.erase(id);
  }
  std::erase_if(batches_, [&](const auto& b) { return b.second.partition == partition; });
  std::set<std::string> keys;
  for (const auto& [key, lane] : lanes_) {
    if (lane.partition == partition) keys.insert(key);
  }
  std::erase_if(lanes_, [&](const auto& l) { return l.second.partition == partition; });
  std::erase_if(writes_, [&](const auto& w) { return keys.contains(w.second); });
  std::erase_if(timers_, [&](const auto& t) { return keys.contains(t.second); });
  std::erase_if(targets_, [&](const auto& t) { return t.second.partition == partition; });
  const auto is_ours = [&](const std::string& tenant) { return PartitionOf(tenant) == partition; };
  std::erase_if(stats_, [&](const auto& s) { return is_ours(s.first.first); });
  std::erase_if(newest_event_, [&](const auto& n) { return is_ours(n.first); });
  std::erase_if(dirty_targets_, [&](const TargetKey& t) { return !targets_.contains(t); });
  const auto key_is_ours = [&](const std::string& key) {
    const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
    return parts && is_ours(parts->tenant);
  };
  std::erase_if(todo_, key_is_ours);
  std::erase_if(blocked_, key_is_ours);
  std::erase_if(waiters_, [&](const auto& w) { return key_is_ours(w.first); });
  std::erase_if(match_locks_, [&](const auto& m) { return keys.contains(m.second.key); });
  directory_.Forget(partition);
  partitions_.erase(partition);
  Log(Logger::Level::kInfo, "Partition given up.", {{"partition", std::to_string(partition)}});
}

void LoaderStage::Work() {
  // Each round only does what the one before made possible.
  while (!todo_.empty() || !dirty_targets_.empty()) {
    while (!todo_.empty()) {
      const std::string key = *todo_.begin();
      todo_.erase(todo_.begin());
      Evaluate(key);
    }
    if (dirty_targets_.empty()) break;
    const TargetKey target_key = *dirty_targets_.begin();
    dirty_targets_.erase(dirty_targets_.begin());
    if (Target* target = FindTarget(target_key)) Pump(*target);
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

#include "services/transformer/stage.h"

#include <algorithm>

#include "libs/ids/keys.h"
#include "tributary/v1/config.pb.h"

namespace tributary::transformer {
namespace {

using eventlog::Topic;

eventlog::OwnerOptions OwnerOptionsOf(const Options& options) {
  eventlog::OwnerOptions owner;
  owner.service = "transformer";
  owner.instance = options.instance;
  owner.writes = {Topic::kCommands};
  owner.reads = {Topic::kTenants, Topic::kChanges};
  owner.streams = {Topic::kEvents};
  owner.persists_when_told = {Topic::kChanges};
  owner.indexers = {{Topic::kChanges, IndexChange}};
  owner.is_leased = false;
  owner.lease = options.lease;
  owner.pause_bound = options.pause_bound;
  owner.min_compaction_lag = options.min_compaction_lag;
  owner.delete_retention = options.delete_retention;
  owner.predecessor_is_dead = options.predecessor_is_dead;
  return owner;
}

/// Of a command that neither a change nor an event is the reason of.
std::string TraceOf(const std::string& key, const v1::Version& version) {
  std::string id = key;
  for (const std::int64_t part : {version.generation(), version.offset(), version.revision()}) {
    id.append("/").append(std::to_string(part));
  }
  return ids::TraceId(id);
}

}  // namespace

TransformerStage::TransformerStage(Options options, StagePorts ports)
    : options_(std::move(options)),
      compiled_(options_.compiled ? options_.compiled : std::make_shared<CompiledFiles>()),
      ports_(ports),
      // Not make_unique: that one does not see the private base.
      owner_(new eventlog::Owner(OwnerOptionsOf(options_), ports_.log, ports_.stores, ports_.random,
                                 *this)) {}

TransformerStage::~TransformerStage() = default;

// ---- what happened ----

void TransformerStage::OnLog(Now now, const eventlog::Fact& fact) {
  now_ = now;
  owner_->OnFact(now, fact);
  Touch(fact);
  Work();
}

void TransformerStage::OnHttp(Now, http::Completion) {}

void TransformerStage::OnControl(Now now, const v1::ToService& message) {
  now_ = now;
  if (message.kind_case() == v1::ToService::kTrace) AnswerTrace(message.id(), message.trace());
  if (message.kind_case() == v1::ToService::kDecideParked) {
    AnswerDecide(message.id(), message.decide_parked());
  }
}

void TransformerStage::OnTick(Now now) {
  now_ = now;
  owner_->OnTick(now);
  for (const auto& [partition, work] : partitions_) {
    // Events may wait until something is over.
    if (!work.events.empty() || PutOffUntil(work) <= now.steady) touched_.insert(partition);
  }
  Work();
  if (now.steady >= status_due_) {
    status_due_ = now.steady + options_.status_interval;
    Report();
  }
}

Instant TransformerStage::next_tick() const {
  Instant next = std::min(owner_->next_tick(), status_due_);
  for (const auto& [partition, work] : partitions_) {
    // What is not ours to work on waits for the log, not for the time.
    const Instant until = PutOffUntil(work);
    if (until < next && !work.is_revoking && owner_->ready(partition)) next = until;
  }
  return touched_.empty() ? next : std::min(next, now_.steady);
}

bool TransformerStage::MaySend(Now, http::RequestId) { return false; }

void TransformerStage::Drain(Now now) {
  now_ = now;
  owner_->ReleaseAll(now);
}

bool TransformerStage::drained() const { return owner_->partitions().empty(); }

std::vector<std::string> TransformerStage::not_ready_because() const {
  return owner_->not_ready_because();
}

std::string TransformerStage::failure() const {
  return failure_.empty() ? owner_->failure() : failure_;
}

// ---- ownership ----

const eventlog::Table& TransformerStage::table(Topic topic, eventlog::Partition partition) const {
  return *owner_->table(topic, partition);
}

void TransformerStage::OnReady(const eventlog::Takeover& takeover) {
  const eventlog::Partition partition = takeover.partition;
  touched_.insert(partition);
  PartitionWork& work = partitions_[partition];
  work = PartitionWork();
  work.partition = partition;
  work.generation = takeover.generation;
  std::optional<eventlog::Offset> committed;
  for (const auto& [topic, next] : takeover.committed) {
    if (topic == Topic::kChanges) committed = next;
  }
  work.committed = committed.value_or(0);
  const eventlog::Table& changes = table(Topic::kChanges, partition);

  // Rule 33: what was committed is derived and durable; whatever is named behind it may not be.
  std::vector<std::string> keys;
  const std::string first = OffsetRow(work.committed);
  changes.ScanIndex("o/", [&](std::string_view row, std::string_view key) {
    if (row >= first) keys.emplace_back(key);
    return true;
  });
  const auto touch = [&](const std::string& key, bool is_held) {
    const std::optional<eventlog::TableEntry> entry = changes.Get(key);
    if (!entry) return;
    for (const Customer& customer : NewsOf(key, *entry).value_or(ChangeNews()).customers) {
      if (is_held) {
        work.held.insert(customer);
      } else {
        work.waiting.Add(customer);
      }
    }
  };
  for (const std::string& key : keys) touch(key, false);
  for (const std::string& key : changes.void_keys()) touch(key, true);
  keys.clear();
  changes.ScanIndex("u/", [&](std::string_view, std::string_view key) {
    keys.emplace_back(key);
    return true;
  });
  for (const std::string& key : keys) {
    const std::optional<eventlog::TableEntry> entry = changes.Get(key);
    if (entry && !entry->is_void) {
      KeepAside(Topic::kChanges, partition, entry->offset, key, entry->value);
    }
  }

  directory_.Load(partition, table(Topic::kTenants, partition));
  std::set<std::string> tenants;
  directory_.ForEach([&](const tenants::TenantState& tenant) {
    if (tenant.partition == partition) tenants.insert(tenant.snapshot.tenant());
  });
  for (const auto& [name, objects] : SyncsInCommands(work, "")) tenants.insert(name.first);
  for (const std::string& tenant : tenants) Refresh(work, tenant);

  for (const eventlog::ExpiredUnread& expired : takeover.expired) OnEventsExpired(work, expired);
  FindLostEvents(work, takeover);

  const std::set<std::string> void_keys = table(Topic::kCommands, partition).void_keys();
  for (const std::string& key : void_keys) {
    const std::optional<eventlog::TableEntry> entry = table(Topic::kCommands, partition).Get(key);
    if (entry) RepairCommand(work, key, *entry);
  }
}

void TransformerStage::OnGone(eventlog::Partition partition) {
  ForgetDecisions(partition);
  partitions_.erase(partition);
  directory_.Forget(partition);
  std::erase_if(pending_, [&](const auto& write) { return write.second.partition == partition; });
}

void TransformerStage::OnRevoking(eventlog::Partition partition, Instant) {
  const auto work = partitions_.find(partition);
  if (work != partitions_.end()) work->second.is_revoking = true;
  // It waits for what is unacknowledged; what is not committed is derived again by the successor.
  owner_->Release(partition);
}

// ---- what was read ----

void TransformerStage::OnEntry(Topic topic, eventlog::Partition partition, std::string_view key,
                               const std::optional<eventlog::TableEntry>& entry) {
  const auto found = partitions_.find(partition);
  if (found == partitions_.end()) return;
  PartitionWork& work = found->second;
  switch (topic) {
    case Topic::kTenants: {
      const std::string tenant = directory_.OnEntry(partition, key, entry);
      if (!tenant.empty()) {
        Refresh(work, tenant);
      } else if (key.starts_with("!b/")) {
        // Somebody may have waited for it.
        std::set<std::string> waiting;
        for (const auto& [name, sync] : work.syncs) {
          if (!sync.problem.empty()) waiting.insert(name.first);
        }
        for (const std::string& name : waiting) Refresh(work, name);
      }
      break;
    }
    case Topic::kChanges:
      if (entry) OnChange(work, key, *entry);
      break;
    case Topic::kCommands:
      OnCommand(work, key, entry);
      break;
    default:
      break;
  }
}

void TransformerStage::OnChange(PartitionWork& work, std::string_view key,
                                const eventlog::TableEntry& entry) {
  const std::optional<ChangeNews> news = NewsOf(key, entry);
  if (!news) {
    KeepAside(Topic::kChanges, work.partition, entry.offset, key, entry.value);
    return;
  }
  for (const Customer& customer : news->customers) {
    if (entry.is_void) {
      work.held.insert(customer);
    } else if (news->first_read) {
      if (work.waiting.put_off() == 0) work.put_off_first = now_.steady;
      work.put_off_last = now_.steady;
      work.waiting.PutOff(customer);
    } else {
      work.waiting.Add(customer);
    }
  }
}

void TransformerStage::OnCommand(PartitionWork& work, std::string_view key,
                                 const std::optional<eventlog::TableEntry>& entry) {
  if (entry && entry->is_void) {
    RepairCommand(work, key, *entry);
    return;
  }
  if (!work.own_actions.empty()) {
    const auto action = work.own_actions.find(key);
    if (action != work.own_actions.end()) work.own_actions.erase(action);
  }
  const auto own = entry ? work.own_states.find(key) : work.own_states.end();
  if (own == work.own_states.end()) return;
  if (own->second.offset) {
    if (entry->offset >= *own->second.offset) work.own_states.erase(own);
    return;
  }
  // It may be read back before its acknowledgement was seen.
  v1::Command command;
  if (command.ParseFromString(entry->value) &&
      Compare(command.version(), own->second.state.version) >= 0) {
    work.own_states.erase(own);
  }
}

void TransformerStage::OnStreamRecord(const eventlog::Record& record) {
  const auto work = partitions_.find(record.partition);
  if (work == partitions_.end()) return;
  work->second.events.push_back({.record = record});
  if (!work->second.events_paused && work->second.events.size() > kEventsWaitingMax) {
    work->second.events_paused = true;
    owner_->Pause(Topic::kEvents, record.partition);
  }
}

void TransformerStage::OnWritten(eventlog::ProduceId id, eventlog::Offset offset) {
  const auto found = pending_.find(id);
  if (found == pending_.end()) {
    for (auto& [partition, work] : partitions_) {
      if (work.read_again.erase(id) != 0) touched_.insert(partition);
    }
    return;
  }
  const PendingWrite write = std::move(found->second);
  pending_.erase(found);
  touched_.insert(write.partition);
  OnDecisionWritten(id);
  const auto work = partitions_.find(write.partition);
  if (work == partitions_.end()) return;
  --work->second.unacknowledged;
  work->second.unacknowledged_bytes -= write.bytes;
  if (!write.state_key.empty()) {
    const auto own = work->second.own_states.find(write.state_key);
    if (own != work->second.own_states.end() && own->second.id == id) own->second.offset = offset;
  }
  const auto sync = work->second.syncs.find(write.sync);
  if (sync != work->second.syncs.end()) {
    --sync->second.unacknowledged;
    if (sync->second.mapped_under_way == write.mapped) {
      sync->second.mapped_under_way.reset();
      sync->second.mapped = write.mapped;
    }
  }
  if (write.event) {
    for (EventWork& event : work->second.events) {
      if (event.record.offset != *write.event) continue;
      event.unacknowledged.erase(id);
      break;
    }
  }
}

// ---- what to do ----

bool TransformerStage::may_write(const PartitionWork& work) const {
  return !work.is_revoking && owner_->ready(work.partition) && work.read_again.empty() &&
         work.unacknowledged_bytes < options_.batch_bytes_max &&
         work.own_states.size() < static_cast<std::size_t>(options_.unread_commands_max);
}

bool TransformerStage::MayRemap(const PartitionWork& work) const {
  return work.own_states.size() < static_cast<std::size_t>(options_.remap_unread_commands_max);
}

void TransformerStage::Touch(const eventlog::Fact& fact) {
  if (const auto* fetched = std::get_if<eventlog::Fetched>(&fact)) {
    std::optional<eventlog::Partition> last;
    for (const eventlog::Record& record : fetched->records) {
      if (last != record.partition) touched_.insert(record.partition);
      last = record.partition;
    }
  } else if (!std::holds_alternative<eventlog::Produced>(fact)) {
    // Rare, and of any number of partitions.
    TouchAll();
  }
}

void TransformerStage::TouchAll() {
  for (const auto& [partition, work] : partitions_) touched_.insert(partition);
}

void TransformerStage::Work() {
  if (!failure().empty()) {
    touched_.clear();
    return;
  }
  std::erase_if(touched_, [this](eventlog::Partition partition) {
    const auto work = partitions_.find(partition);
    return work == partitions_.end() || !WorkOn(work->second);
  });
}

bool TransformerStage::WorkOn(PartitionWork& work) {
  if (work.is_revoking || !owner_->ready(work.partition)) return false;
  ReleaseHeld(work);
  ReleasePutOff(work);
  std::int32_t budget = options_.batch_customers_max;
  bool has_more = HandleEvents(work);
  while (work.waiting.due() > 0 && may_write(work)) {
    if (budget-- <= 0) {
      has_more = true;
      break;
    }
    Derive(work, *work.waiting.Take());
  }
  // Syncs take turns, so that a large tenant does not hold up the others.
  bool is_working = true;
  while (is_working && budget > 0) {
    is_working = false;
    for (auto& [name, sync] : work.syncs) {
      if (!may_write(work) || !MayRemap(work) || budget <= 0) break;
      if (!sync.withdraw.empty()) {
        const std::string key = std::move(sync.withdraw.front());
        sync.withdraw.pop_front();
        Withdraw(work, name, key);
      } else if (!sync.remap.empty()) {
        const Customer customer{name.first, sync.sync.source(), sync.remap.front()};
        sync.remap.pop_front();
        DeriveFor(work, name, sync, customer,
                  gatherer_.Read(table(Topic::kChanges, work.partition), customer));
      } else {
        continue;
      }
      --budget;
      is_working = true;
    }
  }
  bool waits_for_turn = false;
  for (auto& [name, sync] : work.syncs) {
    waits_for_turn = waits_for_turn || !sync.withdraw.empty() || !sync.remap.empty();
    FinishRemap(work, name, sync);
  }
  CommitEvents(work);
  FinishBatch(work);
  return may_write(work) && (has_more || (waits_for_turn && MayRemap(work)));
}

Instant TransformerStage::PutOffUntil(const PartitionWork& work) const {
  if (work.waiting.put_off() == 0) return Instant::max();
  return std::min(work.put_off_last + options_.first_read_quiet,
                  work.put_off_first + options_.first_read_wait_max);
}

void TransformerStage::ReleasePutOff(PartitionWork& work) {
  const bool is_full =
      work.waiting.size() >= static_cast<std::size_t>(options_.waiting_customers_max);
  if (is_full || PutOffUntil(work) <= now_.steady) work.waiting.ReleasePutOff();
}

void TransformerStage::ReleaseHeld(PartitionWork& work) {
  // The repair of an entity need not name everyone whom the void entry named.
  if (work.held.empty() || !table(Topic::kChanges, work.partition).void_keys().empty()) return;
  for (const Customer& customer : work.held) work.waiting.Add(customer);
  work.held.clear();
}

void TransformerStage::FinishBatch(PartitionWork& work) {
  const eventlog::Table& changes = table(Topic::kChanges, work.partition);
  const auto limit = static_cast<std::size_t>(options_.waiting_customers_max);
  if (work.waiting.due() >= limit && !work.changes_paused) {
    work.changes_paused = true;
    owner_->Pause(Topic::kChanges, work.partition);
  } else if (work.changes_paused && work.waiting.due() < limit / 2) {
    work.changes_paused = false;
    owner_->Resume(Topic::kChanges, work.partition);
  }
  // Rule 32: outputs acknowledged, then the local copy with its offset, then the group's commit.
  const bool is_done = work.waiting.size() == 0 && work.unacknowledged == 0;
  const eventlog::Offset next = changes.next_offset();
  // A copy that is ahead of the commit is what a rebuilt one is: what it holds beyond the commit is
  // derived at the next start (rule 33), so a long batch need not stay in memory.
  const bool is_large =
      changes.unpersisted() >= static_cast<std::size_t>(options_.unpersisted_changes_max);
  if (is_large || (is_done && next > work.committed)) {
    const absl::Status persisted = owner_->Persist(Topic::kChanges, work.partition);
    if (!persisted.ok()) {
      failure_ = "the local copy of changes cannot be written: " + std::string(persisted.message());
      return;
    }
  }
  if (!is_done || next <= work.committed) return;
  owner_->Commit(Topic::kChanges, work.partition, next);
  work.committed = next;
  ++counters_.batches;
}

eventlog::ProduceId TransformerStage::Put(PartitionWork& work, const std::string& key,
                                          const v1::Command& command, const SyncKey& sync,
                                          std::optional<eventlog::Offset> event) {
  std::string bytes = command.SerializeAsString();
  const std::string trace =
      command.trace_id().empty() ? TraceOf(key, command.version()) : command.trace_id();
  const auto size = static_cast<std::int64_t>(bytes.size());
  const eventlog::ProduceId id =
      owner_->Write(Topic::kCommands, work.partition, key, std::move(bytes),
                    ids::TraceParent(trace, ids::SpanId(trace, key)));
  // Not ours any more: OnGone comes, and the successor derives it.
  if (id == 0) return id;
  PendingWrite write;
  write.partition = work.partition;
  if (command.has_state()) write.state_key = key;
  write.sync = sync;
  write.event = event;
  write.bytes = size;
  write.mapped = command.has_mapped() ? command.mapped().revision() : -1;
  pending_.emplace(id, std::move(write));
  ++work.unacknowledged;
  work.unacknowledged_bytes += size;
  const auto of_sync = work.syncs.find(sync);
  if (of_sync != work.syncs.end()) ++of_sync->second.unacknowledged;
  if (event) {
    for (EventWork& waiting : work.events) {
      if (waiting.record.offset == *event) waiting.unacknowledged.insert(id);
    }
  }
  return id;
}

void TransformerStage::KeepAside(Topic topic, eventlog::Partition partition,
                                 eventlog::Offset offset, std::string_view key,
                                 std::string_view bytes) {
  ++counters_.undecodable;
  ++counters_.set_aside[static_cast<std::size_t>(topic)];
  set_aside_.Add(topic, partition, offset, key, bytes, ports_.logger);
}

namespace {

Duration FromProto(const google::protobuf::Duration& duration) {
  return std::chrono::seconds(duration.seconds()) + Duration(duration.nanos() / 1000);
}

}  // namespace

Options OptionsFrom(const v1::ConfigFile& file) {
  Options options;
  options.instance = file.log().instance();
  options.partitions = file.log().partitions();
  options.lease = FromProto(file.loader().lease());
  options.pause_bound = FromProto(file.loader().pause_bound());
  options.min_compaction_lag = FromProto(file.log().min_compaction_lag());
  options.delete_retention = FromProto(file.log().delete_retention());
  options.action_age = FromProto(file.loader().action_age());
  options.batch_customers_max = file.transformer().batch_customers_max();
  options.batch_bytes_max = file.transformer().batch_bytes_max();
  return options;
}

std::unique_ptr<Transformer> MakeTransformer(Options options, StagePorts ports) {
  return std::make_unique<TransformerStage>(std::move(options), ports);
}

}  // namespace tributary::transformer

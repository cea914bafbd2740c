#include <algorithm>
#include <utility>

#include "libs/eventlog/owner_state.h"
#include "libs/ids/keys.h"
#include "tributary/v1/log.pb.h"

namespace tributary::eventlog {
namespace {

// A topic that has not been set up yet is looked at again.
constexpr Duration kUnfoundedDelay = std::chrono::seconds(2);
// What contradicts itself waits for a person.
constexpr Duration kContradictionDelay = std::chrono::seconds(5);
constexpr Duration kSampleInterval = std::chrono::seconds(10);

std::string Hex(std::uint64_t number) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out(16, '0');
  for (std::size_t i = 0; i < 16; ++i) out[15 - i] = kDigits[(number >> (4 * i)) & 15];
  return out;
}

}  // namespace

void Owner::State::Begin(Partition partition) {
  auto state = std::make_unique<Owned>();
  Owned& o = *state;
  o.partition = partition;
  o.serial = ++last_serial;
  o.assigned_at = now.steady;
  o.fence_asked_at = now.steady;
  const auto open = [&](Topic topic, bool is_written) {
    absl::StatusOr<std::unique_ptr<LocalStore>> store = stores.Open(topic, partition);
    if (!store.ok()) {
      Fail("opening the local copy of " + std::string(Name(topic)) + ": " +
           std::string(store.status().message()));
      return;
    }
    Table::Options table_options;
    table_options.topic = topic;
    table_options.partition = partition;
    for (const auto& [of, indexer] : options.indexers) {
      if (of == topic) table_options.indexer = indexer;
    }
    table_options.persists_when_told = PersistsWhenTold(topic);
    TableState& table = o.tables.emplace_back();
    table.topic = topic;
    table.is_written = is_written;
    table.table = std::make_unique<Table>(std::move(table_options), *std::move(store));
    CheckStore(table);
    const WallTime usable_until = table.table->complete_at() + options.delete_retention / 2;
    if (table.table->next_offset() > 0 && usable_until < now.wall) {
      Discard(table);
    } else if (table.table->rebuilding()) {
      table.is_rebuilt = true;
      if (table.table->next_offset() == 0) table.table->SetCompleteAt(now.wall);
    }
    table.persisted_before = table.table->next_offset();
  };
  for (const Topic topic : options.writes) open(topic, true);
  for (const Topic topic : options.reads) open(topic, false);
  if (!failure.empty()) return;
  for (const Topic topic : options.streams) o.streams.emplace_back().topic = topic;

  owned[partition] = std::move(state);
  for (TableState& table : o.tables) Sample(o, table, SampleOf::kFounding);
  for (StreamState& stream : o.streams) {
    SampleStream(o, stream);
    FetchCommitted(o, stream.topic);
  }
  for (const Topic topic : options.persists_when_told) FetchCommitted(o, topic);
  // A lease that was renewed before says nothing of this partition.
  if (options.is_leased && renewal_id == 0) RequestLease();
}

bool Owner::State::PersistsWhenTold(Topic topic) const {
  return std::find(options.persists_when_told.begin(), options.persists_when_told.end(), topic) !=
         options.persists_when_told.end();
}

void Owner::State::CheckStore(const TableState& table) {
  if (!table.table->store_status().ok()) {
    Fail("local copy of " + std::string(Name(table.topic)) + ": " +
         std::string(table.table->store_status().message()));
  }
}

void Owner::State::Discard(TableState& table) {
  static_cast<void>(table.table->Clear());
  CheckStore(table);
  table.table->SetCompleteAt(now.wall);
  table.is_rebuilt = true;
  table.persisted_before = 0;
  table.is_reached = false;
  table.is_probed = false;
}

void Owner::State::Sample(Owned& o, TableState& table, SampleOf purpose) {
  table.sample_id = ++last_id;
  table.sample_of = purpose;
  table.sample_sent_at = now.steady;
  table.sample_sent_wall = now.wall;
  table.sample_due.reset();
  log.SampleEnd(table.sample_id, table.topic, o.partition);
}

void Owner::State::SampleLater(TableState& table, SampleOf purpose, Duration delay) {
  table.sample_due = now.steady + delay;
  table.due_of = purpose;
}

void Owner::State::SampleStream(Owned& o, StreamState& stream) {
  stream.sample_id = ++last_id;
  stream.sample_due.reset();
  log.SampleEnd(stream.sample_id, stream.topic, o.partition);
}

void Owner::State::FetchCommitted(Owned& o, Topic topic) {
  CommittedState& state = o.committed[topic];
  state.id = ++last_id;
  state.due.reset();
  log.FetchCommitted(state.id, topic, o.partition);
}

void Owner::State::StartReading(Owned& o, TableState& table, Reading reading, Offset from) {
  StopReading(o, table);
  table.reading = reading;
  log.StartReading(table.topic, o.partition, from);
}

void Owner::State::StopReading(Owned& o, TableState& table) {
  if (table.reading != Reading::kNone) log.StopReading(table.topic, o.partition);
  table.reading = Reading::kNone;
  table.reading_since = ++reading_epoch;
}

void Owner::State::NotFounded(Owned& o, TableState& table) {
  StopReading(o, table);
  if (table.table->next_offset() > 0) Discard(table);
  o.problem = "topic " + std::string(Name(table.topic)) + " has not been set up, or is lost";
  SampleLater(table, SampleOf::kFounding, kUnfoundedDelay);
}

void Owner::State::OnFoundingSample(Owned& o, TableState& table, const EndSampled& fact) {
  table.founding_end = fact.end;
  if (fact.begin >= fact.end) {
    NotFounded(o, table);
    return;
  }
  const Offset next = table.table->next_offset();
  if (next > 0 && (next > fact.end || next < fact.begin)) Discard(table);
  if (table.table->next_offset() == 0) {
    StartReading(o, table, Reading::kFolding, fact.begin);
  } else if (table.is_probed) {
    StartReading(o, table, Reading::kFolding, table.table->next_offset());
    CheckFounded(o, table);
    Advance(o);
  } else {
    StartReading(o, table, Reading::kProbing, fact.begin);
  }
}

void Owner::State::ProbeFounding(Owned& o, TableState& table, const Record& record) {
  v1::Founding founding;
  if (record.key == "!g" && record.value && founding.ParseFromString(*record.value)) {
    if (!table.table->has_folded_generation(founding.generation())) Discard(table);
    // What the shell has taken from the port before this is still to come. Reading starts again
    // only behind the answer to a question that was asked after the stop.
    StopReading(o, table);
    table.is_probed = true;
    Sample(o, table, SampleOf::kFounding);
  } else if (record.offset + 1 >= table.founding_end) {
    NotFounded(o, table);
  }
}

void Owner::State::CheckFounded(Owned& o, TableState& table) {
  if (table.is_founded || table.reading != Reading::kFolding) return;
  if (table.table->next_offset() < table.founding_end) return;
  if (table.table->generation()) {
    table.is_founded = true;
  } else {
    NotFounded(o, table);
  }
}

ProduceId Owner::State::Produce(Owned* o, PendingKind kind, Topic topic, Partition partition,
                                std::string key, std::optional<std::string> value,
                                Headers headers) {
  const ProduceId id = ++last_produce_id;
  pending.push_back({kind, topic, partition, o == nullptr ? 0 : o->serial});
  log.Produce(id, topic, partition, std::move(key), std::move(value), std::move(headers));
  return id;
}

void Owner::State::FenceNext(Owned& o) {
  const Topic topic = options.writes[o.fences_written];
  v1::Fence fence;
  fence.set_generation(o.generation);
  fence.set_service(options.service);
  fence.set_instance(options.instance);
  o.fence_id = Produce(&o, PendingKind::kFence, topic, o.partition,
                       "!f/" + ids::EncodePart(options.service) + "/" +
                           ids::EncodePart(options.instance) + "/" + Hex(random()) + Hex(random()),
                       fence.SerializeAsString(), Headers());
}

void Owner::State::OnFenceWritten(Owned& o, Offset offset) {
  o.fence_id = 0;
  TableState& table = *o.Find(options.writes[o.fences_written]);
  table.token = Token{o.generation, offset};
  table.token_text = FormatToken(*table.token);
  ++o.fences_written;
  if (IsUsurped(table)) {
    Suspend(o);
  } else if (o.fences_written < options.writes.size()) {
    FenceNext(o);
  } else {
    StartReadingToTheEnd(o, Phase::kReading);
  }
}

bool Owner::State::IsUsurped(const TableState& table) {
  return table.token && table.table->newest_fence() && *table.table->newest_fence() > *table.token;
}

void Owner::State::StartReadingToTheEnd(Owned& o, Phase phase) {
  o.phase = phase;
  for (TableState& table : o.tables) {
    table.is_reached = false;
    table.target.reset();
    Sample(o, table, SampleOf::kEnd);
  }
  Advance(o);
}

void Owner::State::CheckReached(Owned& o, TableState& table) {
  if (!table.target || table.table->next_offset() < *table.target) return;
  const Duration age = now.steady - table.target_sampled_at;
  if (!table.is_reached && age > options.min_compaction_lag / 2) {
    // Rule 9: compaction may have removed something below the end that was not read.
    table.target.reset();
    if (table.sample_of != SampleOf::kEnd) Sample(o, table, SampleOf::kEnd);
    return;
  }
  table.is_reached = true;
  table.table->SetCompleteAt(table.target_sampled_wall);
  table.target.reset();
}

bool Owner::State::AllReached(const Owned& o) {
  return std::all_of(o.tables.begin(), o.tables.end(),
                     [](const TableState& table) { return table.is_reached; });
}

void Owner::State::Advance(Owned& o) {
  if (!failure.empty()) return;
  switch (o.phase) {
    case Phase::kFounding:
      TryFence(o);
      return;
    case Phase::kReading:
      if (!AllReached(o)) return;
      o.is_unclean = IsUnclean(o);
      if (options.is_leased && o.is_unclean && !options.predecessor_is_dead) {
        o.wait_until = o.fence_asked_at + options.lease + options.pause_bound;
        o.phase = Phase::kWaiting;
        if (now.steady >= o.wait_until) StartReadingToTheEnd(o, Phase::kRereading);
      } else {
        Ready(o);
      }
      return;
    case Phase::kRereading:
      if (AllReached(o)) Ready(o);
      return;
    case Phase::kReady:
      if (o.is_behind && AllReached(o)) o.is_behind = false;
      return;
    case Phase::kFencing:
    case Phase::kWaiting:
    case Phase::kRevoking:
    case Phase::kReleasing:
    case Phase::kSuspended:
      return;
  }
}

void Owner::State::TryFence(Owned& o) {
  for (const TableState& table : o.tables) {
    if (!table.is_founded) return;
  }
  if (!o.tables.empty()) o.generation = *o.tables.front().table->generation();
  for (const TableState& table : o.tables) {
    if (*table.table->generation() != o.generation) {
      o.problem = "generation of " + std::string(Name(o.tables.front().topic)) + " is " +
                  std::to_string(o.generation) + ", of " + std::string(Name(table.topic)) + " " +
                  std::to_string(*table.table->generation());
      if (!o.restart_at) o.restart_at = now.steady + kContradictionDelay;
      return;
    }
  }
  for (StreamState& stream : o.streams) {
    CommittedState& committed = o.committed[stream.topic];
    if (!stream.is_sampled || !committed.is_known) return;
    if (!stream.is_proven && !Prove(o, stream, committed)) return;
    // Rule 37. Nothing committed means that nothing was read, so records that are gone were not
    // read either.
    const Offset from = committed.next.value_or(0);
    stream.next = std::max(from, stream.begin);
    stream.expired_from.reset();
    if (from < stream.begin) stream.expired_from = from;
  }
  for (const Topic topic : options.persists_when_told) {
    if (!o.committed[topic].is_known) return;
  }
  o.problem.clear();
  o.fence_asked_at = now.steady;
  o.phase = Phase::kFencing;
  if (options.writes.empty()) {
    StartReadingToTheEnd(o, Phase::kReading);
  } else {
    FenceNext(o);
  }
}

// A commit that was under way when its topic was lost may land in the new one. Whoever believed it
// would never learn of the loss.
bool Owner::State::Prove(Owned& o, StreamState& stream, CommittedState& committed) {
  if (stream.is_proving) return false;
  const std::optional<LogMark::Seen>& seen = committed.mark.seen;
  if (committed.next && (*committed.next > stream.end || (seen && seen->offset >= stream.end))) {
    OnProof(o, stream, std::nullopt);
  } else if (committed.next && seen && seen->offset >= stream.begin) {
    stream.is_proving = true;
    log.StartReading(stream.topic, o.partition, seen->offset);
  } else {
    // Nothing is committed, or nothing that is kept tells of which log it is.
    stream.is_proven = true;
  }
  return stream.is_proven;
}

void Owner::State::OnProof(Owned& o, StreamState& stream,
                           const std::optional<LogMark::Seen>& found) {
  if (stream.is_proving) log.StopReading(stream.topic, o.partition);
  stream.is_proving = false;
  stream.is_proven = true;
  CommittedState& committed = o.committed[stream.topic];
  if (found && found == committed.mark.seen) {
    stream.newest = found;
    return;
  }
  committed.next.reset();
  committed.is_of_another_log = true;
}

void Owner::State::ProveTable(const Owned& o, const TableState& table,
                              CommittedState& committed) const {
  if (!committed.next) return;
  // Compaction removes what a position could name; but a table that was lost says so, and with it
  // the generation has grown.
  const Table& t = *table.table;
  const bool is_of_lost = t.founded_after_loss() && committed.mark.generation != o.generation;
  if (!is_of_lost && *committed.next <= t.next_offset()) return;
  committed.next.reset();
  committed.is_of_another_log = true;
}

bool Owner::State::IsUnclean(const Owned& o) const {
  for (const TableState& table : o.tables) {
    if (!table.is_written) continue;
    const std::optional<Token> before = table.table->newest_fence_before(*table.token);
    if (!before || !table.table->released(*before)) return true;
  }
  return false;
}

void Owner::State::Ready(Owned& o) {
  o.phase = Phase::kReady;
  o.housekeeping_due = now.steady + kHousekeepingInterval;
  Takeover takeover;
  takeover.partition = o.partition;
  takeover.generation = o.generation;
  takeover.unclean = o.is_unclean;
  takeover.began = o.fence_asked_at;
  takeover.doubt_counts_from = o.fence_asked_at;
  if (o.is_unclean && !options.predecessor_is_dead) {
    takeover.doubt_counts_from += options.lease + options.pause_bound;
  }
  for (const Topic topic : options.writes) {
    takeover.tokens.emplace_back(topic, *o.Find(topic)->token);
  }
  for (TableState& table : o.tables) {
    if (table.is_rebuilt) takeover.rebuilt.push_back(table.topic);
    if (PersistsWhenTold(table.topic)) {
      takeover.persisted_before.emplace_back(table.topic, table.persisted_before);
    }
    table.table->SetRebuilding(false);
    static_cast<void>(table.table->Persist());
    CheckStore(table);
    SampleLater(table, SampleOf::kEnd, SampleInterval());
  }
  for (auto& [topic, committed] : o.committed) {
    if (const TableState* const table = o.Find(topic)) ProveTable(o, *table, committed);
    takeover.committed.emplace_back(topic, committed.next);
    if (committed.is_of_another_log) takeover.replaced.push_back(topic);
  }
  for (const StreamState& stream : o.streams) {
    if (!stream.expired_from) continue;
    takeover.expired.push_back({stream.topic, *stream.expired_from, stream.next});
  }
  if (!failure.empty()) return;
  listener.OnReady(takeover);
  if (!Lives(o) || o.phase != Phase::kReady) return;
  // Rule 37: what a lost table of ours had of them they still say.
  const bool is_lost = std::any_of(o.tables.begin(), o.tables.end(), [](const TableState& table) {
    return table.is_written && table.table->IsEmptySinceLoss();
  });
  for (StreamState& stream : o.streams) {
    if (is_lost) stream.next = stream.begin;
    stream.is_following = true;
    log.StartReading(stream.topic, o.partition, stream.next);
  }
}

Duration Owner::State::SampleInterval() const {
  return std::clamp<Duration>(options.min_compaction_lag / 8, std::chrono::seconds(1),
                              kSampleInterval);
}

void Owner::State::OnAssigned(const Assigned& fact) {
  has_joined = true;
  if (is_draining) return;
  for (const Partition partition : fact.partitions) {
    Owned* const o = Find(partition);
    if (o != nullptr) {
      if (o->phase != Phase::kSuspended) continue;
      owned.erase(partition);
    }
    Begin(partition);
  }
}

}  // namespace tributary::eventlog

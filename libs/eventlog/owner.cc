#include "libs/eventlog/owner.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "libs/ids/keys.h"
#include "libs/time/rfc3339.h"
#include "tributary/v1/log.pb.h"

namespace tributary::eventlog {
namespace {

// How soon something that the log refused, or that is not set up yet, is asked for again.
constexpr Duration kRetryDelay = std::chrono::seconds(1);
// A topic that has not been set up yet is looked at again.
constexpr Duration kUnfoundedDelay = std::chrono::seconds(2);
// What contradicts itself waits for a person.
constexpr Duration kContradictionDelay = std::chrono::seconds(5);
// A stage has this long to bring what is open to entries; it aborts requests after 2 s (rule 13).
constexpr Duration kRevokeDeadline = std::chrono::seconds(5);
constexpr Duration kSampleInterval = std::chrono::seconds(10);
constexpr Duration kHousekeepingInterval = std::chrono::seconds(5);
// While a copy is read for the first time it becomes durable in pieces of this size.
constexpr std::size_t kRebuildPieceEntries = 1000;

bool BelongsToTheLog(std::string_view key) {
  return key.starts_with('!') && !key.starts_with("!b/");
}

std::string Hex(std::uint64_t number) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out(16, '0');
  for (std::size_t i = 0; i < 16; ++i) out[15 - i] = kDigits[(number >> (4 * i)) & 15];
  return out;
}

enum class Reading : std::uint8_t {
  kNone,
  // From the beginning, only to find the founding: the copy must not be of another generation.
  kProbing,
  kFolding,
};

enum class SampleOf : std::uint8_t { kNothing, kFounding, kEnd };

struct TableState {
  Topic topic{};
  bool is_written = false;
  std::unique_ptr<Table> table;

  Reading reading = Reading::kNone;
  // Of Owner::State::reading_epoch, when reading began or ended.
  std::uint64_t reading_since = 0;
  bool is_rebuilt = false;
  Offset persisted_before = 0;

  // The topic itself, not the copy, has told its generation.
  bool is_founded = false;
  Offset founding_end = 0;
  // The copy is of this topic.
  bool is_probed = false;

  std::uint64_t sample_id = 0;
  SampleOf sample_of = SampleOf::kNothing;
  Instant sample_sent_at{};
  WallTime sample_sent_wall{};
  // None: no sample is due.
  std::optional<Instant> sample_due;
  SampleOf due_of = SampleOf::kNothing;

  // The sampled end (rule 8). None: not sampled.
  std::optional<Offset> target;
  Instant target_sampled_at{};
  WallTime target_sampled_wall{};
  bool is_reached = false;
  // Of the last sample, for lag and to see that the copy is complete.
  Offset last_end = 0;
  WallTime last_end_wall{};

  std::optional<Token> token;
  std::string token_text;
  // Old fences and releases whose tombstone is under way or done (rule 2).
  std::set<std::string> tombstoned;
};

struct CommittedState {
  std::uint64_t id = 0;
  bool is_known = false;
  std::optional<Offset> next;
  std::optional<Instant> due;
};

struct StreamState {
  Topic topic{};
  std::uint64_t sample_id = 0;
  std::optional<Instant> sample_due;
  bool is_sampled = false;
  Offset begin = 0;
  Offset end = 0;
  Offset next = 0;
  bool is_following = false;
};

struct CommitState {
  std::uint64_t id = 0;
  Offset sent = -1;
  Offset wanted = -1;
  Offset done = -1;
  std::optional<Instant> retry_at;
};

enum class Phase : std::uint8_t {
  // Learning the generation of every table.
  kFounding,
  kFencing,
  kReading,
  // An unclean predecessor's lease and pause are not over.
  kWaiting,
  kRereading,
  kReady,
  kRevoking,
  kReleasing,
  // Somebody's newer fence was seen; waits until the group confirms that we are the owner.
  kSuspended,
};

struct Owned {
  Partition partition = 0;
  Phase phase = Phase::kFounding;
  Instant assigned_at{};
  std::int64_t generation = 0;
  std::vector<TableState> tables;
  std::vector<StreamState> streams;
  std::map<Topic, CommittedState> committed;
  std::map<Topic, CommitState> commits;

  std::size_t fences_written = 0;
  ProduceId fence_id = 0;
  Instant fence_asked_at{};
  bool is_unclean = false;
  Instant wait_until{};
  bool is_behind = false;
  // Of the stage, and of ourselves (rule 2).
  std::set<ProduceId> unacknowledged;
  std::set<ProduceId> tombstones;
  std::set<ProduceId> releases;
  bool release_wanted = false;
  Instant revoke_deadline{};
  Instant housekeeping_due{};
  std::optional<Instant> restart_at;
  // For people. Empty: nothing is wrong, it only takes its time.
  std::string problem;

  TableState* Find(Topic topic) {
    for (TableState& table : tables) {
      if (table.topic == topic) return &table;
    }
    return nullptr;
  }
  StreamState* FindStream(Topic topic) {
    for (StreamState& stream : streams) {
      if (stream.topic == topic) return &stream;
    }
    return nullptr;
  }
  bool serves() const {
    return phase == Phase::kReady || phase == Phase::kRevoking || phase == Phase::kReleasing;
  }
};

}  // namespace

struct Owner::State {
  OwnerOptions options;
  LogPort& log;
  LocalStores& stores;
  RandomSource random;
  OwnerListener& listener;

  Now now{};
  std::string failure;
  std::map<Partition, std::unique_ptr<Owned>> owned;
  // What was given up while it may still be referred to by a caller up the stack.
  std::vector<std::unique_ptr<Owned>> graveyard;
  std::uint64_t last_id = 0;
  ProduceId last_produce_id = 0;
  std::uint64_t reading_epoch = 0;
  // What a produce belongs to. Appends to streams of partitions that are not ours: none.
  std::map<ProduceId, std::optional<Partition>> produces;
  // Set while the group waits for FinishRevoking.
  std::optional<std::set<Partition>> revoking;
  bool is_draining = false;

  std::uint64_t renewal_id = 0;
  std::optional<Instant> renewal_due;
  std::optional<Instant> lease_sent_at;

  State(OwnerOptions owner_options, LogPort& log_port, LocalStores& local_stores,
        RandomSource random_source, OwnerListener& owner_listener)
      : options(std::move(owner_options)),
        log(log_port),
        stores(local_stores),
        random(std::move(random_source)),
        listener(owner_listener) {}

  void Fail(std::string why) {
    if (failure.empty()) failure = std::move(why);
  }

  Owned* Find(Partition partition) {
    const auto found = owned.find(partition);
    return found == owned.end() ? nullptr : found->second.get();
  }
  // Of a partition that a callback may have ended meanwhile.
  bool Lives(const Owned& o) {
    const Owned* const found = Find(o.partition);
    return found == &o && failure.empty();
  }

  // ---- beginning ----

  void Begin(Partition partition) {
    auto state = std::make_unique<Owned>();
    Owned& o = *state;
    o.partition = partition;
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

  bool PersistsWhenTold(Topic topic) const {
    return std::find(options.persists_when_told.begin(), options.persists_when_told.end(), topic) !=
           options.persists_when_told.end();
  }

  void CheckStore(const TableState& table) {
    if (!table.table->store_status().ok()) {
      Fail("local copy of " + std::string(Name(table.topic)) + ": " +
           std::string(table.table->store_status().message()));
    }
  }

  // Rule 7: a copy that cannot be trusted is read again from the topic.
  void Discard(TableState& table) {
    static_cast<void>(table.table->Clear());
    CheckStore(table);
    table.table->SetCompleteAt(now.wall);
    table.is_rebuilt = true;
    table.persisted_before = 0;
    table.is_reached = false;
    table.is_probed = false;
  }

  void Sample(Owned& o, TableState& table, SampleOf purpose) {
    table.sample_id = ++last_id;
    table.sample_of = purpose;
    table.sample_sent_at = now.steady;
    table.sample_sent_wall = now.wall;
    table.sample_due.reset();
    log.SampleEnd(table.sample_id, table.topic, o.partition);
  }

  void SampleLater(TableState& table, SampleOf purpose, Duration delay) {
    table.sample_due = now.steady + delay;
    table.due_of = purpose;
  }

  void SampleStream(Owned& o, StreamState& stream) {
    stream.sample_id = ++last_id;
    stream.sample_due.reset();
    log.SampleEnd(stream.sample_id, stream.topic, o.partition);
  }

  void FetchCommitted(Owned& o, Topic topic) {
    CommittedState& state = o.committed[topic];
    state.id = ++last_id;
    state.due.reset();
    log.FetchCommitted(state.id, topic, o.partition);
  }

  void StartReading(Owned& o, TableState& table, Reading reading, Offset from) {
    StopReading(o, table);
    table.reading = reading;
    log.StartReading(table.topic, o.partition, from);
  }

  void StopReading(Owned& o, TableState& table) {
    if (table.reading != Reading::kNone) log.StopReading(table.topic, o.partition);
    table.reading = Reading::kNone;
    table.reading_since = ++reading_epoch;
  }

  void NotFounded(Owned& o, TableState& table) {
    StopReading(o, table);
    if (table.table->next_offset() > 0) Discard(table);
    o.problem = "topic " + std::string(Name(table.topic)) + " has not been set up, or is lost";
    SampleLater(table, SampleOf::kFounding, kUnfoundedDelay);
  }

  void OnFoundingSample(Owned& o, TableState& table, const EndSampled& fact) {
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

  void ProbeFounding(Owned& o, TableState& table, const Record& record) {
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

  // The newest founding counts, so everything up to the sampled end is looked at.
  void CheckFounded(Owned& o, TableState& table) {
    if (table.is_founded || table.reading != Reading::kFolding) return;
    if (table.table->next_offset() < table.founding_end) return;
    if (table.table->generation()) {
      table.is_founded = true;
    } else {
      NotFounded(o, table);
    }
  }

  // ---- fences ----

  RecordMeta ControlMeta(std::string id, std::string type) const {
    RecordMeta meta;
    meta.id = std::move(id);
    meta.source = "/" + options.service + "/" + options.instance;
    meta.type = std::move(type);
    meta.time = FormatRfc3339(now.wall);
    return meta;
  }

  ProduceId Produce(std::optional<Partition> owner, Topic topic, Partition partition,
                    std::string key, std::optional<std::string> value, Headers headers) {
    const ProduceId id = ++last_produce_id;
    produces.emplace(id, owner);
    log.Produce(id, topic, partition, std::move(key), std::move(value), std::move(headers));
    return id;
  }

  void FenceNext(Owned& o) {
    const Topic topic = options.writes[o.fences_written];
    const std::string random_part = Hex(random()) + Hex(random());
    v1::Fence fence;
    fence.set_generation(o.generation);
    fence.set_service(options.service);
    fence.set_instance(options.instance);
    o.fence_id = Produce(o.partition, topic, o.partition,
                         "!f/" + ids::EncodePart(options.service) + "/" +
                             ids::EncodePart(options.instance) + "/" + random_part,
                         fence.SerializeAsString(),
                         ToHeaders(ControlMeta(random_part, "tributary.fence.v1")));
  }

  void OnFenceWritten(Owned& o, Offset offset) {
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

  static bool IsUsurped(const TableState& table) {
    return table.token && table.table->newest_fence() &&
           *table.table->newest_fence() > *table.token;
  }

  // Rule 4: stop writing at once. The group may still take us for the owner, namely when the newer
  // fence is a dead owner's that landed late; then begin anew.
  void Suspend(Owned& o) {
    Partition partition = o.partition;
    Give(o);
    if (!failure.empty()) return;
    auto state = std::make_unique<Owned>();
    state->partition = partition;
    state->phase = Phase::kSuspended;
    state->assigned_at = now.steady;
    state->problem = "another owner has fenced this partition";
    owned[partition] = std::move(state);
    if (renewal_id == 0) RequestLease();
  }

  // ---- reading to the ends ----

  void StartReadingToTheEnd(Owned& o, Phase phase) {
    o.phase = phase;
    for (TableState& table : o.tables) {
      table.is_reached = false;
      table.target.reset();
      Sample(o, table, SampleOf::kEnd);
    }
    Advance(o);
  }

  void CheckReached(Owned& o, TableState& table) {
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

  static bool AllReached(const Owned& o) {
    return std::all_of(o.tables.begin(), o.tables.end(),
                       [](const TableState& table) { return table.is_reached; });
  }

  // Takes every step that has become possible.
  void Advance(Owned& o) {
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

  void TryFence(Owned& o) {
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
      const CommittedState& committed = o.committed[stream.topic];
      if (!stream.is_sampled || !committed.is_known) return;
      // Rule 37: never a reset by itself. Nothing committed means that nothing was read, so records
      // that are gone were not read either.
      const Offset from = committed.next.value_or(0);
      if (from < stream.begin || from > stream.end) {
        o.problem = "stream " + std::string(Name(stream.topic)) + ": committed offset " +
                    (committed.next ? std::to_string(from) : std::string("none")) +
                    " is outside of the log (" + std::to_string(stream.begin) + " to " +
                    std::to_string(stream.end) + "): records have expired unread";
        if (!o.restart_at) o.restart_at = now.steady + kContradictionDelay;
        return;
      }
      stream.next = from;
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

  // Rule 13: clean only if the newest older fence of every own table was released.
  bool IsUnclean(const Owned& o) const {
    for (const TableState& table : o.tables) {
      if (!table.is_written) continue;
      const std::optional<Token> before = table.table->newest_fence_before(*table.token);
      if (!before || !table.table->released(*before)) return true;
    }
    return false;
  }

  void Ready(Owned& o) {
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
    for (const auto& [topic, committed] : o.committed) {
      takeover.committed.emplace_back(topic, committed.next);
    }
    if (!failure.empty()) return;
    listener.OnReady(takeover);
    if (!Lives(o) || o.phase != Phase::kReady) return;
    for (StreamState& stream : o.streams) {
      stream.is_following = true;
      log.StartReading(stream.topic, o.partition, stream.next);
    }
  }

  Duration SampleInterval() const {
    return std::clamp<Duration>(options.min_compaction_lag / 8, std::chrono::seconds(1),
                                kSampleInterval);
  }

  // ---- ending ----

  // Gives a partition up: nothing of it is read, written or told from now on.
  void Give(Owned& o) {
    const Partition partition = o.partition;
    for (TableState& table : o.tables) {
      StopReading(o, table);
      // What was read back is true whoever owns it (rule 7). Not of those whose stage decides.
      if (!PersistsWhenTold(table.topic)) {
        static_cast<void>(table.table->Persist());
        CheckStore(table);
      }
    }
    for (const StreamState& stream : o.streams) {
      if (stream.is_following) log.StopReading(stream.topic, partition);
    }
    const bool was_told = o.serves();
    const auto found = owned.find(partition);
    graveyard.push_back(std::move(found->second));
    owned.erase(found);
    if (was_told) listener.OnGone(partition);
    if (revoking) {
      revoking->erase(partition);
      FinishRevokingIfDone();
    }
  }

  void FinishRevokingIfDone() {
    if (!revoking || !revoking->empty()) return;
    revoking.reset();
    log.FinishRevoking();
  }

  void Revoke(Owned& o) {
    if (o.phase == Phase::kRevoking || o.phase == Phase::kReleasing) return;
    if (o.phase != Phase::kReady) {
      // Whoever was never ready has not waited its predecessor out, and must not write a release:
      // the successor would take that for the end of the predecessor too.
      Give(o);
      return;
    }
    o.phase = Phase::kRevoking;
    o.revoke_deadline = now.steady + kRevokeDeadline;
    listener.OnRevoking(o.partition, o.revoke_deadline);
  }

  void ReleaseIfDone(Owned& o) {
    if (o.phase != Phase::kReleasing) return;
    if (!o.unacknowledged.empty() || !o.tombstones.empty()) return;
    if (!o.release_wanted) {
      if (o.releases.empty()) Give(o);
      return;
    }
    o.release_wanted = false;
    for (const Topic topic : options.writes) {
      const TableState& table = *o.Find(topic);
      v1::Release release;
      release.set_generation(table.token->generation);
      release.set_token(table.token->offset);
      Headers headers = ToHeaders(ControlMeta(table.token_text, "tributary.release.v1"));
      headers.emplace_back(std::string(kTokenHeader), table.token_text);
      o.releases.insert(Produce(o.partition, topic, o.partition, "!r/" + table.token_text,
                                release.SerializeAsString(), std::move(headers)));
    }
    if (o.releases.empty()) Give(o);
  }

  // ---- lease ----

  void RequestLease() {
    renewal_id = ++last_id;
    renewal_due = now.steady + (options.is_leased ? options.lease / 4 : kRetryDelay);
    log.RenewLease(renewal_id);
  }

  bool WantsLease() const {
    if (owned.empty()) return false;
    if (options.is_leased) return true;
    return std::any_of(owned.begin(), owned.end(),
                       [](const auto& entry) { return entry.second->phase == Phase::kSuspended; });
  }

  void RenewIfDue() {
    if (renewal_id != 0 || !WantsLease()) return;
    if (!renewal_due || now.steady >= *renewal_due) RequestLease();
  }

  void OnLease(const LeaseRenewed& fact) {
    if (fact.id != renewal_id) return;
    renewal_id = 0;
    if (!fact.error.empty()) return;
    if (!lease_sent_at || *lease_sent_at < fact.sent_at) lease_sent_at = fact.sent_at;
    std::vector<Partition> confirmed;
    for (const auto& [partition, o] : owned) {
      if (o->phase == Phase::kSuspended && fact.sent_at >= o->assigned_at) {
        confirmed.push_back(partition);
      }
    }
    for (const Partition partition : confirmed) {
      owned.erase(partition);
      Begin(partition);
    }
  }

  // ---- commits ----

  void SendCommit(Owned& o, Topic topic, CommitState& commit) {
    commit.id = ++last_id;
    commit.sent = commit.wanted;
    commit.retry_at.reset();
    log.Commit(commit.id, topic, o.partition, commit.sent);
  }

  void OnCommitDone(const CommitDone& fact) {
    for (const auto& [partition, o] : owned) {
      for (auto& [topic, commit] : o->commits) {
        if (commit.id != fact.id) continue;
        commit.id = 0;
        if (!fact.error.empty()) {
          commit.retry_at = now.steady + kRetryDelay;
          return;
        }
        commit.done = commit.sent;
        if (commit.wanted > commit.done) SendCommit(*o, topic, commit);
        return;
      }
    }
  }

  // ---- facts ----

  void OnAssigned(const Assigned& fact) {
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

  void OnRevoking(const Revoking& fact) {
    revoking.emplace();
    for (const Partition partition : fact.partitions) {
      if (Find(partition) != nullptr) revoking->insert(partition);
    }
    for (const Partition partition : fact.partitions) {
      if (Owned* const o = Find(partition)) Revoke(*o);
      if (!failure.empty()) return;
    }
    FinishRevokingIfDone();
  }

  void OnLost(const Lost& fact) {
    for (const Partition partition : fact.partitions) {
      if (Owned* const o = Find(partition)) Give(*o);
    }
  }

  void OnProduced(const Produced& fact) {
    const auto found = produces.find(fact.id);
    if (found == produces.end()) return;
    const std::optional<Partition> partition = found->second;
    produces.erase(found);
    if (!fact.error.empty()) {
      Fail("produce failed: " + fact.error);
      return;
    }
    if (!partition) {
      listener.OnWritten(fact.id, fact.offset);
      return;
    }
    Owned* const o = Find(*partition);
    if (o == nullptr) return;
    if (o->fence_id == fact.id) {
      OnFenceWritten(*o, fact.offset);
      return;
    }
    if (o->releases.erase(fact.id) != 0 || o->tombstones.erase(fact.id) != 0) {
      ReleaseIfDone(*o);
      return;
    }
    // Of an ownership before this one.
    if (o->unacknowledged.erase(fact.id) == 0) return;
    listener.OnWritten(fact.id, fact.offset);
    if (Lives(*o)) ReleaseIfDone(*o);
  }

  void OnFetched(const Fetched& fact) {
    const std::uint64_t epoch = reading_epoch;
    std::set<Partition> touched;
    for (const Record& record : fact.records) {
      if (!failure.empty()) return;
      Owned* const o = Find(record.partition);
      if (o == nullptr) continue;
      touched.insert(record.partition);
      if (!IsTable(record.topic)) {
        StreamState* const stream = o->FindStream(record.topic);
        if (stream == nullptr || !stream->is_following || record.offset < stream->next) continue;
        stream->next = record.offset + 1;
        listener.OnStreamRecord(record);
        continue;
      }
      TableState* const table = o->Find(record.topic);
      // What is left of a batch whose reading has ended in the middle of it is not wanted.
      if (table == nullptr || table->reading_since > epoch) continue;
      if (table->reading == Reading::kProbing) {
        ProbeFounding(*o, *table, record);
      } else if (table->reading == Reading::kFolding) {
        Fold(*o, *table, record);
      }
    }
    for (const Partition partition : touched) {
      Owned* const o = Find(partition);
      if (o == nullptr || !failure.empty()) continue;
      for (TableState& table : o->tables) CheckReached(*o, table);
      Advance(*o);
    }
  }

  void Fold(Owned& o, TableState& table, const Record& record) {
    Table& t = *table.table;
    if (record.offset < t.next_offset()) return;
    const std::optional<TableEntry> entry = t.Apply(record);
    if (!o.serves() && PersistsWhenTold(table.topic) && t.unpersisted() >= kRebuildPieceEntries) {
      static_cast<void>(t.Persist());
    }
    CheckStore(table);
    if (!failure.empty()) return;
    CheckFounded(o, table);
    if (record.key == "!g" && o.phase != Phase::kFounding && t.generation() != o.generation) {
      Restart(o);
      return;
    }
    if (IsUsurped(table)) {
      Suspend(o);
      return;
    }
    if (!o.serves()) return;
    if (o.phase == Phase::kReady && table.is_reached &&
        now.wall - record.appended_at > options.min_compaction_lag / 2) {
      // Rule 9: what is read now may have holes; derive and send after the next sampled end.
      o.is_behind = true;
      table.is_reached = false;
      table.target.reset();
      Sample(o, table, SampleOf::kEnd);
    }
    if (!BelongsToTheLog(record.key)) {
      listener.OnEntry(table.topic, o.partition, record.key, entry);
    }
  }

  void Restart(Owned& o) {
    const Partition partition = o.partition;
    Give(o);
    if (failure.empty() && !is_draining) Begin(partition);
  }

  void OnCaughtUp(const CaughtUp& fact) {
    Owned* const o = Find(fact.partition);
    if (o == nullptr) return;
    TableState* const table = o->Find(fact.topic);
    if (table == nullptr || table->reading == Reading::kNone) return;
    if (table->reading == Reading::kProbing) {
      if (fact.next >= table->founding_end) NotFounded(*o, *table);
      return;
    }
    table->table->AdvanceTo(fact.next);
    CheckFounded(*o, *table);
    CheckReached(*o, *table);
    Advance(*o);
  }

  void OnOutOfRange(const OutOfRange& fact) {
    Owned* const o = Find(fact.partition);
    if (o == nullptr) return;
    if (StreamState* const stream = o->FindStream(fact.topic)) {
      if (!stream->is_following) return;
      // Rule 37: not ready, in sight, never reset by itself.
      stream->is_following = false;
      o->problem = "stream " + std::string(Name(fact.topic)) + ": offset " +
                   std::to_string(fact.asked) + " is outside of the log (" +
                   std::to_string(fact.begin) + " to " + std::to_string(fact.end) +
                   "): records have expired unread";
      return;
    }
    TableState* const table = o->Find(fact.topic);
    if (table == nullptr || table->reading == Reading::kNone) return;
    if (o->phase == Phase::kFounding || o->phase == Phase::kFencing) {
      table->reading = Reading::kNone;
      table->is_founded = false;
      Discard(*table);
      Sample(*o, *table, SampleOf::kFounding);
      return;
    }
    // The topic under a running owner was cut or made anew.
    Discard(*table);
    Restart(*o);
  }

  void OnEndSampled(const EndSampled& fact) {
    Owned* const o = Find(fact.partition);
    if (o == nullptr) return;
    if (StreamState* const stream = o->FindStream(fact.topic)) {
      if (stream->sample_id != fact.id) return;
      stream->sample_id = 0;
      if (!fact.error.empty()) {
        stream->sample_due = now.steady + kRetryDelay;
        return;
      }
      stream->is_sampled = true;
      stream->begin = fact.begin;
      stream->end = fact.end;
      Advance(*o);
      return;
    }
    TableState* const table = o->Find(fact.topic);
    if (table == nullptr || table->sample_id != fact.id) return;
    const SampleOf purpose = table->sample_of;
    table->sample_id = 0;
    table->sample_of = SampleOf::kNothing;
    if (!fact.error.empty()) {
      SampleLater(*table, purpose, kRetryDelay);
      return;
    }
    if (purpose == SampleOf::kFounding) {
      OnFoundingSample(*o, *table, fact);
      return;
    }
    table->target = fact.end;
    table->target_sampled_at = table->sample_sent_at;
    table->target_sampled_wall = table->sample_sent_wall;
    table->last_end = fact.end;
    if (o->serves()) SampleLater(*table, SampleOf::kEnd, SampleInterval());
    CheckReached(*o, *table);
    Advance(*o);
  }

  void OnCommittedOffset(const CommittedOffset& fact) {
    Owned* const o = Find(fact.partition);
    if (o == nullptr) return;
    const auto found = o->committed.find(fact.topic);
    if (found == o->committed.end() || found->second.id != fact.id) return;
    CommittedState& committed = found->second;
    committed.id = 0;
    if (!fact.error.empty()) {
      committed.due = now.steady + kRetryDelay;
      return;
    }
    committed.is_known = true;
    committed.next = fact.next;
    Advance(*o);
  }

  // ---- time ----

  void Tick(Owned& o) {
    if (o.restart_at && now.steady >= *o.restart_at) {
      Restart(o);
      return;
    }
    for (TableState& table : o.tables) {
      if (table.sample_due && now.steady >= *table.sample_due && table.sample_id == 0) {
        Sample(o, table, table.due_of);
      }
    }
    for (StreamState& stream : o.streams) {
      if (stream.sample_due && now.steady >= *stream.sample_due) SampleStream(o, stream);
    }
    for (auto& [topic, committed] : o.committed) {
      if (committed.due && now.steady >= *committed.due) FetchCommitted(o, topic);
    }
    for (auto& [topic, commit] : o.commits) {
      if (commit.retry_at && now.steady >= *commit.retry_at) SendCommit(o, topic, commit);
    }
    if (o.phase == Phase::kWaiting && now.steady >= o.wait_until) {
      // Rule 12: not the ends of t0; the old owner has written intents and sent until now.
      StartReadingToTheEnd(o, Phase::kRereading);
      return;
    }
    if ((o.phase == Phase::kRevoking || o.phase == Phase::kReleasing) &&
        now.steady >= o.revoke_deadline) {
      // Without a release: the successor takes it as unclean.
      Give(o);
      return;
    }
    if (o.phase == Phase::kReady && now.steady >= o.housekeeping_due) {
      o.housekeeping_due = now.steady + kHousekeepingInterval;
      KeepHouse(o);
    }
  }

  void KeepHouse(Owned& o) {
    for (TableState& table : o.tables) {
      Table& t = *table.table;
      const bool is_aging =
          t.complete_at() - t.persisted_complete_at() > options.delete_retention / 16;
      if (PersistsWhenTold(table.topic) ? (t.unpersisted() == 0 && is_aging)
                                        : (t.unpersisted() > 0 || is_aging)) {
        static_cast<void>(t.Persist());
        CheckStore(table);
      }
      if (!table.is_written || o.is_behind || !t.void_keys().empty()) continue;
      // Rule 2: nothing void is left, so no reader needs the older fences.
      for (std::string& key : t.old_control_keys()) {
        if (!table.tombstoned.insert(key).second) continue;
        Headers headers = ToHeaders(ControlMeta(key, "tributary.tombstone.v1"));
        headers.emplace_back(std::string(kTokenHeader), table.token_text);
        o.tombstones.insert(Produce(o.partition, table.topic, o.partition, std::move(key),
                                    std::nullopt, std::move(headers)));
      }
    }
  }
};

Owner::Owner(OwnerOptions options, LogPort& log, LocalStores& stores, RandomSource random,
             OwnerListener& listener)
    : state_(
          std::make_unique<State>(std::move(options), log, stores, std::move(random), listener)) {}

Owner::~Owner() = default;

void Owner::OnFact(Now now, const Fact& fact) {
  State& s = *state_;
  s.now = now;
  if (!s.failure.empty()) return;
  struct Visitor {
    State& s;
    void operator()(const Assigned& f) const { s.OnAssigned(f); }
    void operator()(const Revoking& f) const { s.OnRevoking(f); }
    void operator()(const Lost& f) const { s.OnLost(f); }
    void operator()(const Produced& f) const { s.OnProduced(f); }
    void operator()(const Fetched& f) const { s.OnFetched(f); }
    void operator()(const CaughtUp& f) const { s.OnCaughtUp(f); }
    void operator()(const OutOfRange& f) const { s.OnOutOfRange(f); }
    void operator()(const EndSampled& f) const { s.OnEndSampled(f); }
    void operator()(const CommittedOffset& f) const { s.OnCommittedOffset(f); }
    void operator()(const CommitDone& f) const { s.OnCommitDone(f); }
    void operator()(const LeaseRenewed& f) const { s.OnLease(f); }
    void operator()(const Failed& f) const { s.Fail(f.error); }
  };
  std::visit(Visitor{s}, fact);
  s.graveyard.clear();
}

void Owner::OnTick(Now now) {
  State& s = *state_;
  s.now = now;
  if (!s.failure.empty()) return;
  s.RenewIfDue();
  std::vector<Partition> partitions;
  for (const auto& [partition, o] : s.owned) partitions.push_back(partition);
  for (const Partition partition : partitions) {
    if (!s.failure.empty()) break;
    if (Owned* const o = s.Find(partition)) s.Tick(*o);
  }
  s.graveyard.clear();
}

Instant Owner::next_tick() const {
  const State& s = *state_;
  Instant next = Instant::max();
  if (!s.failure.empty()) return next;
  const auto at = [&next](const std::optional<Instant>& time) {
    if (time) next = std::min(next, *time);
  };
  if (s.renewal_id == 0 && s.WantsLease()) at(s.renewal_due);
  for (const auto& [partition, o] : s.owned) {
    at(o->restart_at);
    for (const TableState& table : o->tables) {
      if (table.sample_id == 0) at(table.sample_due);
    }
    for (const StreamState& stream : o->streams) at(stream.sample_due);
    for (const auto& [topic, committed] : o->committed) at(committed.due);
    for (const auto& [topic, commit] : o->commits) at(commit.retry_at);
    if (o->phase == Phase::kWaiting) at(o->wait_until);
    if (o->phase == Phase::kRevoking || o->phase == Phase::kReleasing) at(o->revoke_deadline);
    if (o->phase == Phase::kReady) at(o->housekeeping_due);
  }
  return next;
}

ProduceId Owner::Write(Topic topic, Partition partition, std::string_view key,
                       std::optional<std::string> value, const RecordMeta& meta) {
  State& s = *state_;
  Owned* const o = s.Find(partition);
  if (o == nullptr || !s.failure.empty()) return 0;
  if (o->phase != Phase::kReady && o->phase != Phase::kRevoking) return 0;
  const TableState* const table = o->Find(topic);
  if (table == nullptr || !table->is_written) return 0;
  Headers headers = ToHeaders(meta);
  headers.emplace_back(std::string(kTokenHeader), table->token_text);
  const ProduceId id = s.Produce(partition, topic, partition, std::string(key), std::move(value),
                                 std::move(headers));
  o->unacknowledged.insert(id);
  return id;
}

ProduceId Owner::Append(Topic topic, Partition partition, std::string_view key,
                        std::optional<std::string> value, const RecordMeta& meta) {
  State& s = *state_;
  if (!s.failure.empty()) return 0;
  if (topic == Topic::kNotifications) {
    // Any extractor receives any tenant's webhooks.
    return s.Produce(std::nullopt, topic, partition, std::string(key), std::move(value),
                     ToHeaders(meta));
  }
  Owned* const o = s.Find(partition);
  if (o == nullptr) return 0;
  if (o->phase != Phase::kReady && o->phase != Phase::kRevoking) return 0;
  if (IsTable(topic)) {
    if (topic != Topic::kCommands || value) return 0;
    const std::optional<ids::CommandKey> parsed = ids::ParseCommandKey(key);
    if (!parsed || parsed->kind != ids::CommandKey::Kind::kAction) return 0;
  }
  const ProduceId id =
      s.Produce(partition, topic, partition, std::string(key), std::move(value), ToHeaders(meta));
  o->unacknowledged.insert(id);
  return id;
}

const Table* Owner::table(Topic topic, Partition partition) const {
  Owned* const o = state_->Find(partition);
  if (o == nullptr) return nullptr;
  const TableState* const table = o->Find(topic);
  return table == nullptr ? nullptr : table->table.get();
}

bool Owner::ready(Partition partition) const {
  const Owned* const o = state_->Find(partition);
  return o != nullptr && state_->failure.empty() && o->phase == Phase::kReady && !o->is_behind &&
         o->problem.empty();
}

std::vector<Partition> Owner::partitions() const {
  std::vector<Partition> out;
  for (const auto& [partition, o] : state_->owned) out.push_back(partition);
  return out;
}

bool Owner::all_ready() const {
  return state_->failure.empty() &&
         std::all_of(state_->owned.begin(), state_->owned.end(),
                     [this](const auto& entry) { return ready(entry.first); });
}

std::vector<std::string> Owner::not_ready_because() const {
  const State& s = *state_;
  std::vector<std::string> out;
  if (!s.failure.empty()) out.push_back(s.failure);
  for (const auto& [partition, o] : s.owned) {
    if (ready(partition)) continue;
    std::string why = o->problem;
    if (why.empty()) {
      switch (o->phase) {
        case Phase::kFounding:
          why = "looking whether the topics have been set up";
          break;
        case Phase::kFencing:
          why = "fencing its tables";
          break;
        case Phase::kReading:
        case Phase::kRereading:
        case Phase::kReady:
          why = "reading";
          for (const TableState& table : o->tables) {
            if (!table.is_reached) why += " " + std::string(Name(table.topic));
          }
          break;
        case Phase::kWaiting:
          why = "waiting until its last owner can send no more";
          break;
        case Phase::kRevoking:
        case Phase::kReleasing:
          why = "being handed over";
          break;
        case Phase::kSuspended:
          why = "another owner has fenced it";
          break;
      }
    }
    out.push_back("partition " + std::to_string(partition) + ": " + why);
  }
  return out;
}

bool Owner::may_send(Now now, Partition partition) const {
  if (!ready(partition)) return false;
  if (!state_->options.is_leased) return true;
  const Owned* const o = state_->Find(partition);
  return state_->lease_sent_at && *state_->lease_sent_at >= o->assigned_at &&
         now.steady < *state_->lease_sent_at + state_->options.lease;
}

absl::Status Owner::Persist(Topic topic, Partition partition) {
  Owned* const o = state_->Find(partition);
  TableState* const table = o == nullptr ? nullptr : o->Find(topic);
  if (table == nullptr) {
    return absl::FailedPreconditionError("partition " + std::to_string(partition) +
                                         " is not owned");
  }
  const absl::Status status = table->table->Persist();
  state_->CheckStore(*table);
  return status;
}

void Owner::Commit(Topic topic, Partition partition, Offset next) {
  State& s = *state_;
  Owned* const o = s.Find(partition);
  if (o == nullptr || !s.failure.empty() || !o->serves()) return;
  CommitState& commit = o->commits[topic];
  if (next <= commit.wanted) return;
  commit.wanted = next;
  if (commit.id == 0 && !commit.retry_at) s.SendCommit(*o, topic, commit);
}

void Owner::Pause(Topic topic, Partition partition) {
  if (state_->Find(partition) != nullptr) state_->log.PauseReading(topic, partition);
}

void Owner::Resume(Topic topic, Partition partition) {
  if (state_->Find(partition) != nullptr) state_->log.ResumeReading(topic, partition);
}

void Owner::Release(Partition partition) {
  State& s = *state_;
  Owned* const o = s.Find(partition);
  if (o == nullptr || o->phase != Phase::kRevoking || !s.failure.empty()) return;
  o->phase = Phase::kReleasing;
  o->release_wanted = true;
  s.ReleaseIfDone(*o);
}

void Owner::ReleaseAll(Now now) {
  State& s = *state_;
  s.now = now;
  s.is_draining = true;
  if (!s.failure.empty()) return;
  for (const Partition partition : partitions()) {
    if (Owned* const o = s.Find(partition)) s.Revoke(*o);
  }
}

const std::string& Owner::failure() const { return state_->failure; }

Owner::Standing Owner::standing(Now now) const {
  Standing standing;
  for (const Partition partition : partitions()) {
    if (ready(partition)) ++standing.ready_partitions;
  }
  if (state_->options.is_leased && state_->lease_sent_at) {
    standing.lease_left =
        std::max(Duration::zero(), *state_->lease_sent_at + state_->options.lease - now.steady);
  }
  return standing;
}

std::int64_t Owner::lag(Topic topic, Partition partition) const {
  Owned* const o = state_->Find(partition);
  if (o == nullptr) return 0;
  if (const TableState* const table = o->Find(topic)) {
    return std::max<std::int64_t>(0, table->last_end - table->table->next_offset());
  }
  if (const StreamState* const stream = o->FindStream(topic)) {
    return std::max<std::int64_t>(0, stream->end - stream->next);
  }
  return 0;
}

}  // namespace tributary::eventlog

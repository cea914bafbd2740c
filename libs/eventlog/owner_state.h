#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "libs/eventlog/log_mark.h"
#include "libs/eventlog/owner.h"

// The inside of Owner: owner_takeover.cc (from the assignment to readiness), owner_following.cc
// (what is read and written while a partition is owned), owner_release.cc (giving up, lease).

namespace tributary::eventlog {

// How soon something that the log refused, or that is not set up yet, is asked for again.
inline constexpr Duration kRetryDelay = std::chrono::seconds(1);
inline constexpr Duration kHousekeepingInterval = std::chrono::seconds(5);

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
  LogMark mark;
  bool is_of_another_log = false;
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
  // Where the group stood, if what follows it is gone.
  std::optional<Offset> expired_from;
  // The record that the group's position names is being read, or it was found what that is of.
  bool is_proving = false;
  bool is_proven = false;
  // For the marks of our own commits.
  std::optional<LogMark::Seen> newest;
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
  // No other Owned has it.
  std::uint64_t serial = 0;
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
  // Not acknowledged yet: of the stage, and of ourselves (rule 2).
  std::int64_t open_writes = 0;
  std::int64_t open_tombstones = 0;
  std::int64_t open_releases = 0;
  bool release_wanted = false;
  // By topic: what was acknowledged last.
  struct Acknowledged {
    ProduceId id = 0;
    Offset offset = -1;
  };
  std::array<Acknowledged, kAllTopics.size()> acknowledged;
  Instant revoke_deadline{};
  Instant housekeeping_due{};
  std::optional<Instant> restart_at;
  // For people. Empty: nothing is wrong, it only takes its time.
  std::string problem;
  // For people: what the log did not tell or take when it was last asked, and why.
  std::map<std::string, std::string> refused;
  // When something is to be done at last. None: not computed since something has changed.
  std::optional<Instant> due;

  TableState* Find(Topic topic) {
    for (TableState& table : tables) {
      if (table.topic == topic) return &table;
    }
    return nullptr;
  }
  const TableState* Find(Topic topic) const { return const_cast<Owned*>(this)->Find(topic); }
  const StreamState* FindStream(Topic topic) const {
    return const_cast<Owned*>(this)->FindStream(topic);
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

enum class PendingKind : std::uint8_t {
  // Acknowledged.
  kNone,
  // To a stream of a partition that need not be ours.
  kForeign,
  kFence,
  kWrite,
  kTombstone,
  kRelease,
};

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
  // What was produced and not acknowledged, by its number from first_produce on: numbers are given
  // in order, and acknowledgements of a partition come in order.
  struct Pending {
    PendingKind kind = PendingKind::kNone;
    Topic topic{};
    Partition partition = 0;
    // Of its Owned; another ownership of that partition does not care.
    std::uint64_t serial = 0;
  };
  std::deque<Pending> pending;
  ProduceId first_pending = 1;
  std::uint64_t last_serial = 0;
  // Set while the group waits for FinishRevoking.
  std::optional<std::set<Partition>> revoking;
  bool is_draining = false;
  // The group has spoken, if only to give nothing.
  bool has_joined = false;

  std::uint64_t renewal_id = 0;
  std::optional<Instant> renewal_due;
  std::optional<Instant> lease_sent_at;
  // Of the last renewal. Empty: it succeeded.
  std::string lease_problem;

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

  // Whoever asks may change it.
  Owned* Find(Partition partition) {
    const auto found = owned.find(partition);
    if (found == owned.end()) return nullptr;
    found->second->due.reset();
    return found->second.get();
  }
  const Owned* Find(Partition partition) const {
    const auto found = owned.find(partition);
    return found == owned.end() ? nullptr : found->second.get();
  }
  // Of a partition that a callback may have ended meanwhile.
  bool Lives(const Owned& o) const {
    const Owned* const found = Find(o.partition);
    return found == &o && failure.empty();
  }

  // ---- owner_takeover.cc: beginning ----

  void Begin(Partition partition);
  bool PersistsWhenTold(Topic topic) const;
  void CheckStore(const TableState& table);
  // Rule 7: a copy that cannot be trusted is read again from the topic.
  void Discard(TableState& table);
  void Sample(Owned& o, TableState& table, SampleOf purpose);
  void SampleLater(TableState& table, SampleOf purpose, Duration delay);
  void SampleStream(Owned& o, StreamState& stream);
  void FetchCommitted(Owned& o, Topic topic);
  void StartReading(Owned& o, TableState& table, Reading reading, Offset from);
  void StopReading(Owned& o, TableState& table);
  void NotFounded(Owned& o, TableState& table);
  void OnFoundingSample(Owned& o, TableState& table, const EndSampled& fact);
  void ProbeFounding(Owned& o, TableState& table, const Record& record);
  // The newest founding counts, so everything up to the sampled end is looked at.
  void CheckFounded(Owned& o, TableState& table);

  // ---- owner_takeover.cc: fences ----

  // `o`: none for what need not be ours.
  ProduceId Produce(Owned* o, PendingKind kind, Topic topic, Partition partition, std::string key,
                    std::optional<std::string> value, Headers headers);
  void FenceNext(Owned& o);
  void OnFenceWritten(Owned& o, Offset offset);
  static bool IsUsurped(const TableState& table);
  // Rule 4: stop writing at once. The group may still take us for the owner, namely when the newer
  // fence is a dead owner's that landed late; then begin anew.
  void Suspend(Owned& o);

  // ---- owner_takeover.cc: reading to the ends ----

  void StartReadingToTheEnd(Owned& o, Phase phase);
  void CheckReached(Owned& o, TableState& table);
  static bool AllReached(const Owned& o);
  // Takes every step that has become possible.
  void Advance(Owned& o);
  void TryFence(Owned& o);
  // Of which log the group's position is. False: asked for.
  bool Prove(Owned& o, StreamState& stream, CommittedState& committed);
  void OnProof(Owned& o, StreamState& stream, const std::optional<LogMark::Seen>& found);
  void ProveTable(const Owned& o, const TableState& table, CommittedState& committed) const;
  // Rule 13: clean only if the newest older fence of every own table was released.
  bool IsUnclean(const Owned& o) const;
  void Ready(Owned& o);
  Duration SampleInterval() const;

  // ---- owner_release.cc: ending ----

  // Gives a partition up: nothing of it is read, written or told from now on.
  void Give(Owned& o);
  void FinishRevokingIfDone();
  void Revoke(Owned& o);
  void ReleaseIfDone(Owned& o);

  // ---- owner_release.cc: lease ----
  bool LeaseIsOver() const;

  void RequestLease();
  bool WantsLease() const;
  void RenewIfDue();
  void OnLease(const LeaseRenewed& fact);

  // ---- owner_following.cc: commits ----

  void SendCommit(Owned& o, Topic topic, CommitState& commit);
  static std::string MarkOf(const Owned& o, Topic topic);
  static void NoteAnswer(Owned& o, std::string_view question, Topic topic,
                         const std::string& error);
  void OnCommitDone(const CommitDone& fact);

  // ---- facts, each where its subject is ----

  void OnAssigned(const Assigned& fact);
  void OnRevoking(const Revoking& fact);
  void OnLost(const Lost& fact);
  void OnProduced(const Produced& fact);
  // Rule 5, always on: what was produced later stands later in its partition.
  bool StandsInOrder(Owned& o, const Pending& produced, const Produced& fact);
  void OnFetched(const Fetched& fact);
  void Fold(Owned& o, TableState& table, const Record& record);
  void Restart(Owned& o);
  void OnCaughtUp(const CaughtUp& fact);
  void OnOutOfRange(const OutOfRange& fact);
  void OnEndSampled(const EndSampled& fact);
  void OnCommittedOffset(const CommittedOffset& fact);

  // ---- owner_following.cc: time ----

  Instant DueOf(Owned& o) const;

  void Tick(Owned& o);
  void KeepHouse(Owned& o);
};

}  // namespace tributary::eventlog

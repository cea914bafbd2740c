#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/eventlog/local_store.h"
#include "libs/eventlog/log.h"
#include "libs/eventlog/table.h"
#include "libs/time/time.h"

// Owning partitions: fence, read to the sampled end, wait out a dead predecessor, write under the
// token, repair what is void, release. Protocol rules 1 to 13, once for all services.
//
// Single-threaded and without I/O: it is given facts and the time, and asks its LogPort.

namespace tributary::eventlog {

/// 64 random bits, injected.
using RandomSource = std::function<std::uint64_t()>;

struct OwnerOptions {
  /// `extractor`, `transformer`, `loader`, `control`.
  std::string service;
  std::string instance;
  /// Tables whose fenced writer this service is, in the order in which they are fenced: the reverse
  /// of the order of their acknowledgements (rule 3), so {kCursors, kChanges} for the extractor.
  std::vector<Topic> writes;
  /// Tables that it reads besides.
  std::vector<Topic> reads;
  /// Streams followed from the group's committed offset.
  std::vector<Topic> streams;
  /// Tables whose local copy the stage persists itself (rule 32).
  std::vector<Topic> persists_when_told;
  /// Indexer per table; may lack.
  std::vector<std::pair<Topic, Table::Indexer>> indexers;
  /// Sends to a foreign system: holds a lease and waits V + P after an unclean predecessor.
  bool is_leased = false;
  /// V and P of the protocol.
  Duration lease{};
  Duration pause_bound{};
  /// C and R of the protocol.
  Duration min_compaction_lag{};
  Duration delete_retention{};
  /// Rule 14: an exclusive lock of this host proves that no predecessor lives.
  bool predecessor_is_dead = false;
};

/// Records of a stream that nobody of the group had read when they expired.
struct ExpiredUnread {
  Topic topic{};
  /// The group's position, and where the log begins now.
  Offset from = 0;
  Offset begin = 0;
};

/// How a partition came to this owner.
struct Takeover {
  Partition partition = 0;
  std::int64_t generation = 0;
  /// Own tokens, in the order of OwnerOptions::writes.
  std::vector<std::pair<Topic, Token>> tokens;
  /// The predecessor did not release: its last requests may still be under way.
  bool unclean = false;
  /// When the first fence was asked for (t0).
  Instant began{};
  /// Keys in doubt may be sent again L after this: t0 + V + P, or t0 after a clean release.
  Instant doubt_counts_from{};
  /// The local copy of this table was lost or thrown away and has been read from the start.
  std::vector<Topic> rebuilt;
  /// Of each persists_when_told table: where its local copy had durably got to before this start.
  std::vector<std::pair<Topic, Offset>> persisted_before;
  /// Streams and tables: the group's committed offset in this log. None: never committed.
  std::vector<std::pair<Topic, std::optional<Offset>>> committed;
  /// Of these the group's position was of a log that this one has replaced: what that held is lost.
  std::vector<Topic> replaced;
  /// Rule 37. These streams are followed from where the log begins now. The group's position stays
  /// where it is, so that the next owner is told too, until the stage commits another; that it
  /// does when it is certain that what is missing will be read from the source again.
  std::vector<ExpiredUnread> expired;
};

/// What the stage is told. Called from inside Owner's methods; may call Owner's methods.
class OwnerListener {
 public:
  virtual ~OwnerListener() = default;
  /// Every table stands at an end sampled after the fence (and after t0 + V + P): derive and send
  /// from now on. Streams begin to flow after this.
  virtual void OnReady(const Takeover& takeover) = 0;
  /// The newest entry of this key is about to be replaced by one that was read back after OnReady;
  /// the table still shows it. OnEntry follows unless the partition goes.
  virtual void OnReplacing(Topic /*topic*/, Partition /*partition*/, std::string_view /*key*/) {}
  /// A table entry (own ones too) was read back after OnReady. `entry` is none for a tombstone.
  virtual void OnEntry(Topic topic, Partition partition, std::string_view key,
                       const std::optional<TableEntry>& entry) = 0;
  /// A record of a stream that is followed.
  virtual void OnStreamRecord(const Record& record) = 0;
  /// `Write` or `Append` number `id` is durable at `offset`.
  virtual void OnWritten(ProduceId id, Offset offset) = 0;
  /// The partition is no longer ours (revoked and released, lost, or a newer fence was seen):
  /// forget it. Nothing may be written or sent for it from now on.
  virtual void OnGone(Partition partition) = 0;
  /// The group wants it back: stop sending, bring what is open to entries or intents, then call
  /// Owner::Release(). The owner does it itself at the latest when `deadline` has passed.
  virtual void OnRevoking(Partition partition, Instant deadline) = 0;
};

class Owner {
 public:
  /// All references outlive the owner.
  Owner(OwnerOptions options, LogPort& log, LocalStores& stores, RandomSource random,
        OwnerListener& listener);
  ~Owner();

  void OnFact(Now now, const Fact& fact);
  void OnTick(Now now);
  /// When OnTick wants to be called next.
  Instant next_tick() const;

  /// Appends an entry to a table of `writes` under the own token. 0: refused, because the partition
  /// is not (or no longer) owned and fenced. Else OnWritten comes, in order per partition.
  ProduceId Write(Topic topic, Partition partition, std::string_view key,
                  std::optional<std::string> value, std::string_view traceparent = {});
  /// Appends to a stream; and the loader's tombstones of finished actions to `commands`, which
  /// carry no token (section 0) and nothing of `meta`. 0: refused.
  ProduceId Append(Topic topic, Partition partition, std::string_view key,
                   std::optional<std::string> value, const RecordMeta& meta);

  /// Null pointer: the partition is not being read. Reads everything that was folded, also before
  /// OnReady.
  const Table* table(Topic topic, Partition partition) const;
  /// Owned, fenced, ready and not yet being released.
  bool ready(Partition partition) const;
  std::vector<Partition> partitions() const;
  /// All assigned partitions are ready.
  bool all_ready() const;
  /// Why not, for /readyz and status; e.g. `partition 3: topic changes has not been set up`.
  std::vector<std::string> not_ready_because() const;
  /// Rule 11: the check right before the bytes leave. Own fence is still the newest seen, the lease
  /// holds. Always true for an unleased owner of a ready partition.
  bool may_send(Now now, Partition partition) const;

  /// Rule 32: what was folded from a persists_when_told table up to now is durable after this.
  absl::Status Persist(Topic topic, Partition partition);
  /// Commits for the group, with what tells the next owner of which log it is; coalesced: only the
  /// newest position of a partition is sent.
  void Commit(Topic topic, Partition partition, Offset next);
  /// Backpressure on what this owner reads.
  void Pause(Topic topic, Partition partition);
  void Resume(Topic topic, Partition partition);

  /// Ends an orderly hand-over: all own writes must have been acknowledged. Writes `!r/<token>`,
  /// then lets the partition go (OnGone).
  void Release(Partition partition);
  /// SIGTERM: revoke everything by ourselves, as if the group had asked.
  void ReleaseAll(Now now);

  /// Rule 6. Not empty: this owner and its LogPort are to be discarded and made anew.
  const std::string& failure() const;

  /// Records behind the sampled ends that have not been folded yet; for metrics.
  std::int64_t lag(Topic topic, Partition partition) const;

  struct Standing {
    std::int64_t ready_partitions = 0;
    /// Until the lease ends unless it is renewed. Zero: none is held.
    Duration lease_left{};
  };
  /// For metrics.
  Standing standing(Now now) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tributary::eventlog

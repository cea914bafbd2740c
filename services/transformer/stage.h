#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "libs/eventlog/owner.h"
#include "libs/mapping/mapping.h"
#include "libs/mapping/rules.h"
#include "libs/stage/stage.h"
#include "libs/tenants/directory.h"
#include "services/transformer/gather.h"
#include "services/transformer/message_memory.h"
#include "services/transformer/transformer.h"
#include "services/transformer/waiting.h"
#include "tributary/v1/changes.pb.h"
#include "tributary/v1/commands.pb.h"
#include "tributary/v1/control.pb.h"

// Private to the transformer.

namespace tributary::transformer {

/// A state command that stands, as far as the version gate must know it.
struct StandingState {
  v1::Version version;
  v1::DesiredState::Presence presence = v1::DesiredState::PRESENCE_UNSPECIFIED;
  std::string content_hash;
};

/// Of keys, so that they are found without a copy.
struct KeyHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view key) const { return std::hash<std::string_view>()(key); }
};

/// One that we wrote, until it is read back.
struct OwnState {
  StandingState state;
  eventlog::ProduceId id = 0;
  /// None: not acknowledged yet.
  std::optional<eventlog::Offset> offset;
};

/// A sync of a tenant, compiled, and what is still to be done for its newest revision.
struct SyncWork {
  v1::Sync sync;
  std::int64_t revision = 0;
  std::optional<mapping::Mapping> mapping;
  std::optional<mapping::Rules> rules;
  /// Why it cannot be compiled. Empty: it was.
  std::string problem;
  /// Of the newest valid `mapped` entry, if it is of this generation. 0: none.
  std::int64_t mapped = 0;
  /// The revision for which `remap` was filled. 0: none.
  std::int64_t remapping = 0;
  /// Customers still to be derived under the new revision (rule 36).
  std::deque<std::string> remap;
  /// Keys still to be written as withdrawn.
  std::deque<std::string> withdraw;
  /// Writes not acknowledged yet.
  std::int64_t unacknowledged = 0;
  bool is_removed = false;
  /// Of its mapping, and those of which `commands` has entries.
  std::set<std::string> objects;
  /// The `mapped` entry that is under way, by its revision. None: none is.
  std::optional<std::int64_t> mapped_under_way;
};

/// Of a partition: read, and not handled or not committed.
inline constexpr std::size_t kEventsWaitingMax = 1000;

struct EventWork {
  eventlog::Record record;
  bool is_handled = false;
  /// Since when its tenant is waited for.
  std::optional<Instant> waits_since;
  std::set<eventlog::ProduceId> unacknowledged;
};

struct PendingWrite {
  eventlog::Partition partition = 0;
  /// Of a state. Empty: it is none.
  std::string state_key;
  std::pair<std::string, std::string> sync;
  /// Offset in `events`. None: of no event.
  std::optional<eventlog::Offset> event;
  std::int64_t bytes = 0;
  /// Of a `mapped` entry.
  std::int64_t mapped = 0;
};

struct PartitionWork {
  eventlog::Partition partition = 0;
  std::int64_t generation = 0;
  bool is_revoking = false;
  WaitingCustomers waiting;
  /// When the first and the last one were put off.
  Instant put_off_first{};
  Instant put_off_last{};
  /// Named by a void entry of `changes`: nothing is derived until its repair (rule 2).
  std::set<Customer> held;
  /// By (tenant, sync).
  std::map<std::pair<std::string, std::string>, SyncWork> syncs;
  /// Own state commands that were not read back yet, by key (rule 7).
  std::unordered_map<std::string, OwnState, KeyHash, std::equal_to<>> own_states;
  std::set<std::string, std::less<>> own_actions;
  std::deque<EventWork> events;
  /// What asks for events that expired unread or were lost, not acknowledged yet. Until it is,
  /// nothing is written, and none is committed.
  std::set<eventlog::ProduceId> read_again;
  /// Where the stream began then, or 0 where nothing was committed yet. None: neither.
  std::optional<eventlog::Offset> events_begin;
  bool events_paused = false;
  bool changes_paused = false;
  std::int64_t unacknowledged = 0;
  std::int64_t unacknowledged_bytes = 0;
  /// Of `changes`: committed for the group.
  eventlog::Offset committed = 0;
};

/// Rows of the index over `changes`: by customer, by offset, and of what cannot be decoded.
std::vector<std::string> IndexChange(std::string_view key, const eventlog::TableEntry& entry);
std::string CustomerRow(const Customer& customer);
/// Begin of the rows of all customers of a connection.
std::string ConnectionRows(std::string_view tenant, std::string_view connection);
std::string OffsetRow(eventlog::Offset offset);
/// What an entry of `changes` says to whoever waits for news of customers.
struct ChangeNews {
  /// Whom it names, now or formerly.
  std::vector<Customer> customers;
  bool first_read = false;
};
/// Of a void one too. None: it cannot be decoded.
std::optional<ChangeNews> NewsOf(std::string_view key, const eventlog::TableEntry& entry);
std::strong_ordering Compare(const v1::Version& a, const v1::Version& b);

class TransformerStage : public Transformer, private eventlog::OwnerListener {
 public:
  TransformerStage(Options options, StagePorts ports);
  ~TransformerStage() override;

  void OnLog(Now now, const eventlog::Fact& fact) override;
  void OnHttp(Now now, http::Completion completion) override;
  void OnControl(Now now, const v1::ToService& message) override;
  void OnTick(Now now) override;
  Instant next_tick() const override;
  bool MaySend(Now now, http::RequestId id) override;
  void Drain(Now now) override;
  bool drained() const override;
  std::vector<std::string> not_ready_because() const override;
  std::string failure() const override;
  const Counters& counters() const override { return counters_; }
  Levels levels(Now now) const override;
  const std::deque<SetAside>& set_aside() const override { return set_aside_.newest(); }

 private:
  using SyncKey = std::pair<std::string, std::string>;

  void OnReady(const eventlog::Takeover& takeover) override;
  void OnEntry(eventlog::Topic topic, eventlog::Partition partition, std::string_view key,
               const std::optional<eventlog::TableEntry>& entry) override;
  void OnStreamRecord(const eventlog::Record& record) override;
  void OnWritten(eventlog::ProduceId id, eventlog::Offset offset) override;
  void OnGone(eventlog::Partition partition) override;
  void OnRevoking(eventlog::Partition partition, Instant deadline) override;

  // ---- stage.cc ----
  /// Notes on which partitions there may be something to do after it. What the listener's calls
  /// tell of is noted there.
  void Touch(const eventlog::Fact& fact);
  void TouchAll();
  /// On what was touched since.
  void Work();
  /// True: there is more to do, and nothing to wait for.
  bool WorkOn(PartitionWork& work);
  bool may_write(const PartitionWork& work) const;
  bool MayRemap(const PartitionWork& work) const;
  void OnChange(PartitionWork& work, std::string_view key, const eventlog::TableEntry& entry);
  void OnCommand(PartitionWork& work, std::string_view key,
                 const std::optional<eventlog::TableEntry>& entry);
  void ReleasePutOff(PartitionWork& work);
  Instant PutOffUntil(const PartitionWork& work) const;
  void FinishBatch(PartitionWork& work);
  void ReleaseHeld(PartitionWork& work);
  /// 0: not ours any more.
  eventlog::ProduceId Put(PartitionWork& work, const std::string& key, const v1::Command& command,
                          const SyncKey& sync,
                          std::optional<eventlog::Offset> event = std::nullopt);
  void KeepAside(eventlog::Topic topic, eventlog::Partition partition, eventlog::Offset offset,
                 std::string_view key, std::string_view bytes);
  const eventlog::Table& table(eventlog::Topic topic, eventlog::Partition partition) const;

  // ---- syncs.cc ----
  void Refresh(PartitionWork& work, const std::string& tenant);
  void Compile(PartitionWork& work, SyncWork& sync);
  void StartRemap(PartitionWork& work, const std::string& tenant, SyncWork& sync);
  void StartWithdrawal(PartitionWork& work, const std::string& tenant, SyncWork& sync);
  void FinishRemap(PartitionWork& work, const SyncKey& name, SyncWork& sync);
  void ForgetMapped(PartitionWork& work, const SyncKey& name, SyncWork& sync);
  std::int64_t MappedRevision(const PartitionWork& work, const SyncKey& name);
  /// Syncs of which `commands` has entries, and the objects of their records: of one tenant, or of
  /// all (empty).
  std::map<SyncKey, std::set<std::string>> SyncsInCommands(const PartitionWork& work,
                                                           std::string_view tenant) const;

  // ---- derive.cc ----
  void Derive(PartitionWork& work, const Customer& customer);
  void DeriveFor(PartitionWork& work, const SyncKey& name, SyncWork& sync, const Customer& customer,
                 const Gathered& gathered);
  /// Whether `commands` has an entry of it, a void one too, or will have one that we wrote.
  bool IsThere(const PartitionWork& work, std::string_view key) const;
  /// Of its state commands that are there.
  std::vector<std::string> KeysOf(const PartitionWork& work, const SyncKey& name,
                                  const SyncWork& sync, const std::string& customer) const;
  /// A command that stands, or a void one, asks for more of this customer than nothing.
  bool WasEverWanted(const PartitionWork& work, const SyncKey& name, const SyncWork& sync,
                     const std::string& customer) const;
  /// The version gate: writes unless what stands is as new. `command` has its version.
  void PutState(PartitionWork& work, const std::string& key, const v1::Command& command,
                const SyncKey& sync, const std::optional<StandingState>& standing);
  void Withdraw(PartitionWork& work, const SyncKey& name, const std::string& key);
  std::optional<StandingState> Standing(const PartitionWork& work, std::string_view key);
  void RepairCommand(PartitionWork& work, std::string_view key, const eventlog::TableEntry& entry);

  // ---- events.cc ----
  bool HandleEvents(PartitionWork& work);
  /// Nobody can say yet which rules it is for.
  bool AwaitsTenant(const PartitionWork& work, EventWork& event);
  void HandleEvent(PartitionWork& work, EventWork& event);
  void CommitEvents(PartitionWork& work);
  void OnEventsExpired(PartitionWork& work, const eventlog::ExpiredUnread& expired);
  void FindLostEvents(PartitionWork& work, const eventlog::Takeover& takeover);
  /// `why` tells two requests apart.
  void AskForEvents(PartitionWork& work, const std::string& why);

  // ---- decide.cc ----
  void AnswerDecide(std::int64_t id, const v1::DecideParkedRequest& request);
  /// What is wrong, or empty. None: the answer comes when the new attempt is acknowledged.
  std::optional<std::string> DoAgain(std::int64_t id, const v1::DecideParkedRequest& request);
  void SendDecided(std::int64_t id, const std::string& problem);
  void OnDecisionWritten(eventlog::ProduceId written);
  void ForgetDecisions(eventlog::Partition partition);

  // ---- status.cc ----
  void Report();
  void AnswerTrace(std::int64_t id, const v1::TraceRequest& request);

  Options options_;
  const std::shared_ptr<CompiledFiles> compiled_;
  StagePorts ports_;
  std::unique_ptr<eventlog::Owner> owner_;
  tenants::Directory directory_;
  std::map<eventlog::Partition, PartitionWork> partitions_;
  /// There may be something to do, and nothing to wait for.
  std::set<eventlog::Partition> touched_;
  std::unordered_map<eventlog::ProduceId, PendingWrite> pending_;
  Gatherer gatherer_;
  /// Of the commands of one derivation.
  MessageMemory<(std::size_t{16} << 10)> commands_;
  /// People who wait: partition and question, by the write of the new attempt.
  std::map<eventlog::ProduceId, std::pair<eventlog::Partition, std::int64_t>> decisions_;
  Now now_{};
  bool said_hello_ = false;
  Instant status_due_{};
  std::string last_ownership_;
  std::string last_status_;
  std::string failure_;
  Counters counters_;
  SetAsideRecords set_aside_;
};

}  // namespace tributary::transformer

#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/container/node_hash_map.h"

#include "libs/connector/interpret.h"
#include "libs/eventlog/owner.h"
#include "libs/tenants/directory.h"
#include "services/loader/entries.h"
#include "services/loader/lane.h"
#include "services/loader/loader.h"
#include "services/loader/sync_stats.h"
#include "tributary/v1/control.pb.h"

// The loader's inside, in parts: stage.cc (what is told), takeover.cc, judge.cc (what may be done
// with a key), accounts.cc (what waits), writing.cc (calls and intents), concluding.cc (receipts,
// entries), answers.cc, targets.cc (what targets are), credentials.cc, sending.cc (queues, batches,
// sends), sweep.cc (what is compared with targets, and when), comparison.cc, status.cc (what people
// see and decide).
//
// Hash maps are for look-ups alone; what is done for each of many goes in the order of their keys.

namespace tributary::loader {

class LoaderStage final : public Loader, private eventlog::OwnerListener {
 public:
  LoaderStage(Options options, StagePorts ports);
  ~LoaderStage() override;

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
  const std::deque<SetAside>& set_aside() const override { return set_aside_; }
  Levels levels(Now now) const override;

 private:
  struct PartitionState {
    /// Keys in doubt at the take-over count L from here.
    Instant doubt_from{};
    /// A record that we do not know, made before the take-over, can be seen from here on.
    Instant lookups_from{};
    /// What `records` held was lost: of a key without an entry nothing is known (rule 12).
    bool records_were_lost = false;
    /// Actions of events up to here may have been done before the loss.
    WallTime lost_events_until{};
    bool revoking = false;
    bool aborted = false;
    bool released = false;
    Instant abort_at{};
  };

  struct Flight {
    enum class Kind : std::uint8_t { kCall, kLookup, kBatch, kToken, kCompare };
    Kind kind = Kind::kCall;
    std::string key;
    std::uint64_t batch = 0;
    TargetKey target;
    eventlog::Partition partition = 0;
    std::int64_t proof = 0;
    std::shared_ptr<Quota> quota;
    budget::Budget::Ticket ticket;
  };

  /// Lanes that go in one request. Takes one slot.
  struct Batch {
    TargetKey target;
    eventlog::Partition partition = 0;
    std::shared_ptr<const connector::Connector> connector;
    std::string object;
    std::vector<std::string> keys;
    std::size_t unacknowledged = 0;
    /// Of its first key, the most urgent one.
    Priority priority = Priority::kLive;
    /// No more lanes join.
    bool closed = false;
    bool sent = false;
  };

  struct Verdict {
    enum class Kind : std::uint8_t {
      /// Nothing to do before something changes.
      kNothing,
      kWait,
      kSend,
      /// Done without a call.
      kResolve,
      kPark,
      /// L has passed and nothing newer is to be written.
      kEndDoubt,
    };
    Kind kind = Kind::kNothing;
    Instant until{};
    v1::Outcome outcome = v1::OUTCOME_UNSPECIFIED;
    v1::Reason reason = v1::REASON_UNSPECIFIED;
    std::string detail;
  };

  struct MatchLock {
    std::string key;
    Instant until = Instant::max();
  };

  // ---- stage.cc ----
  void OnReady(const eventlog::Takeover& takeover) override;
  void OnReplacing(eventlog::Topic topic, eventlog::Partition partition,
                   std::string_view key) override;
  void OnEntry(eventlog::Topic topic, eventlog::Partition partition, std::string_view key,
               const std::optional<eventlog::TableEntry>& entry) override;
  void OnStreamRecord(const eventlog::Record& record) override;
  void OnWritten(eventlog::ProduceId id, eventlog::Offset offset) override;
  void OnGone(eventlog::Partition partition) override;
  void OnRevoking(eventlog::Partition partition, Instant deadline) override;
  void OnTenantsEntry(eventlog::Partition partition, const std::string& key,
                      const std::optional<eventlog::TableEntry>& entry);
  void OnRecordEntry(eventlog::Partition partition, const std::string& key,
                     const std::optional<eventlog::TableEntry>& entry);
  /// `head` is that of `entry`, also of a void one.
  void OnCommandEntry(eventlog::Partition partition, const std::string& key,
                      const std::optional<eventlog::TableEntry>& entry,
                      std::optional<CommandHead> head);
  void AbortOpen(eventlog::Partition partition);
  /// In their order.
  std::vector<http::RequestId> FlightsOf(eventlog::Partition partition) const;
  void ReleaseIfDone(eventlog::Partition partition);
  /// Runs everything that became possible.
  void Work();
  /// Looks at it next.
  void Touch(Lane& lane);
  void Touch(const std::string& key);
  void Log(Logger::Level level, std::string_view message, Logger::Fields fields);
  /// Of the integration of a connection.
  IntegrationCounters& CountersOf(const TargetKey& key);
  void CountAnswer(const TargetKey& key, Operation operation, const http::Completion& completion,
                   http::AnswerClass answer);

  // ---- takeover.cc ----
  /// What a look at every entry of both tables has found.
  struct FoundKeys;
  void LoadTables(const eventlog::Takeover& takeover);
  RecordHead LookAtRecord(eventlog::Partition partition, std::string_view key,
                          const eventlog::TableEntryView& entry, FoundKeys& found);
  /// `record` is that of its key.
  void LookAtCommand(eventlog::Partition partition, std::string_view key,
                     const eventlog::TableEntryView& entry, const RecordHead& record,
                     FoundKeys& found);
  void LoadRecordLanes(eventlog::Partition partition, const FoundKeys& found);
  void LoadCommandLanes(const eventlog::Takeover& takeover, const FoundKeys& found);
  /// `end`: what an action is known to have had for an end in front of it. Empty: nothing is.
  void RepairVoid(eventlog::Partition partition, const std::string& key, Instant doubt_from,
                  const std::string& end = "");
  /// Rule 12: the key is unknown, not absent.
  void TakeForSent(Lane& lane);
  /// An action that comes after a loss of the ledger, of an event from before it.
  bool MayHaveBeenDone(const Lane& lane) const;

  // ---- set_aside.cc ----
  /// `bytes` none: a null where none may be.
  void KeepAside(eventlog::Topic topic, eventlog::Partition partition, eventlog::Offset offset,
                 const std::string& key, std::optional<std::string_view> bytes);
  /// Something that can be read stands there now.
  void ForgetAside(eventlog::Topic topic, const std::string& key);
  const SetAside* FindAside(const std::string& tenant, const std::string& sync) const;
  void AddAside(const v1::ListParkedRequest& request, std::int32_t items_max,
                v1::ListParkedResponse& response) const;

  // ---- lanes.cc ----
  Lane* FindLane(std::string_view key);
  /// Makes the lane from the table when there is none. Null pointer: this is no key of a record, or
  /// of a partition that is not ours.
  Lane* LaneOf(const std::string& key);
  Lane& MakeLane(const std::string& key, ids::CommandKey parts);
  /// Sorted by key.
  std::vector<Lane*> LanesOf(eventlog::Partition partition);
  /// The newest command as the table has it now. Null pointer: none that is valid.
  const v1::Command* DesiredOf(Lane& lane);
  /// Takes what `commands` says of its key. False: it cannot be read.
  bool SetDesired(Lane& lane, const std::optional<eventlog::TableEntryView>& entry);
  /// The same of what was read already. `command` none: there is none, or it cannot be read.
  static void SetDesired(Lane& lane, std::shared_ptr<const v1::Command> command,
                         std::string_view bytes);
  /// Only what was read back as valid.
  std::optional<v1::RecordEntry> ReadBack(const std::string& key) const;
  void ForgetIfIdle(Lane& lane);
  /// Its newest acknowledged entry, and the newest that was read back.
  void NoteEntry(Lane& lane, eventlog::Offset acknowledged, eventlog::Offset read_back);
  void SetTimer(Lane& lane, Instant at);
  /// To be called after a change of `claim` or `entry`.
  void UpdateHolds(Lane& lane);
  /// The target that its sync has now.
  void TakeTarget(Lane& lane);
  /// Key of another open record that holds this one of the target. Empty: none.
  std::string OpenHolderOf(const Lane& lane, const std::string& object,
                           const std::string& id) const;
  /// The same of all records.
  std::string HolderOf(const Lane& lane, const std::string& object, const std::string& id);

  // ---- judge.cc ----
  Verdict Judge(Lane& lane);
  /// What the lane is about to send is what is desired, read now (rule 17).
  bool MayGoOn(Lane& lane);
  Verdict JudgeState(const Lane& lane, const v1::Command& command);
  Verdict JudgeAction(const Lane& lane, const v1::Command& command);
  void Evaluate(Lane& lane);
  static Priority PriorityOf(const Lane& lane);

  // ---- accounts.cc ----
  /// Counts the key as what its lane says now. A key without a lane is counted as what the tables
  /// say.
  void Account(Lane& lane);
  RecordHead RecordHeadInTable(const std::string& tenant, std::string_view key) const;
  /// Also of a void one, and then says so.
  std::optional<CommandHead> CommandHeadInTable(const ids::CommandKey& parts, std::string_view key,
                                                bool* is_void) const;
  /// Rule 18: remembers that a larger version was seen than the one that stands there now.
  static void NoteNewest(SyncStats& stats, const std::string& key,
                         const std::optional<CommandHead>& before,
                         const std::optional<CommandHead>& now);
  /// The largest valid version that was seen. None: the one that stands in the table.
  static std::optional<PlainVersion> NewestSeen(const Lane& lane);
  TargetKey TargetOf(const ids::CommandKey& parts) const;
  Duration SettleOf(const TargetKey& key) const;
  Duration IndexLagOf(const TargetKey& key) const;
  void RememberEventTime(const std::string& tenant, WallTime time);

  // ---- writing.cc ----
  void Begin(const std::string& key, std::uint64_t batch);
  /// What is written from now on.
  void TakeCommand(Lane& lane, std::shared_ptr<const v1::Command> command, std::string bytes);
  void BeginState(Lane& lane, std::uint64_t batch);
  void BeginAction(Lane& lane);
  void NextLookup(Lane& lane);
  void PlanCalls(Lane& lane);
  /// Begins the look-up by which a call of the plan is confirmed. False: none needs it.
  bool Confirm(Lane& lane);
  /// It was certainly done, with the same content.
  static bool IsDone(const Lane& lane, const connector::Call& call, const std::string& hash);
  void NextCall(Lane& lane);
  void WriteIntent(Lane& lane, const connector::Call& call, http::Request request,
                   std::vector<std::string> tags);
  bool TakeMatchLocks(Lane& lane, const connector::Object& object);
  void ReleaseMatchLocks(Lane& lane, bool made_one);

  // ---- concluding.cc ----
  void FinishState(Lane& lane);
  void FinishAction(Lane& lane, v1::Outcome outcome, v1::Reason reason, const std::string& detail,
                    int http_status);
  void ResolveWithoutCall(Lane& lane, const Verdict& verdict);
  void Park(Lane& lane, v1::Reason reason, const std::string& detail, int http_status);
  void CloseIntent(Lane& lane);
  /// `next_entry` becomes the entry without what its open intent promised; that request certainly
  /// did not leave.
  static void BeginNextEntry(Lane& lane);
  /// Lives until the next one is made.
  const v1::Receipt& ReceiptOf(const Lane& lane, v1::Outcome outcome, v1::Reason reason,
                               const std::string& detail, int http_status);
  /// Receipt, then `next_entry`, then what comes next.
  void Conclude(Lane& lane, const v1::Receipt& receipt);
  /// The same without a receipt.
  void ConcludeUnreported(Lane& lane);
  void WriteNextEntry(Lane& lane);
  void Rest(Lane& lane);
  void AwaitUntil(Lane& lane, Instant until);
  void Tombstone(const std::string& key);
  /// Headers of a record about the command that the lane writes.
  eventlog::RecordMeta MetaOf(const Lane& lane, std::string id, std::string_view type);

  // ---- answers.cc ----
  void OnCallAnswer(Lane& lane, const connector::Interpreted& answer,
                    const http::Completion& completion);
  void OnLookupAnswer(Lane& lane, const http::Completion& completion);
  /// What a call of the plan would reach by other words than our id; empty: nothing yet.
  void OnConfirmation(Lane& lane, const std::string& id);
  /// Of the look-up that the lane has under way.
  connector::Found FoundBy(const Lane& lane, const http::Completion& completion) const;
  void OnBatchAnswer(const Flight& flight, const http::Completion& completion);
  void OnDone(Lane& lane, const connector::Interpreted& answer, int http_status);
  void OnRefused(Lane& lane, const connector::Interpreted& answer, int http_status);
  void OnUnknown(Lane& lane, const connector::Interpreted& answer,
                 const http::Completion& completion);
  void OnMissing(Lane& lane, const connector::Interpreted& answer, int http_status);
  /// Certainly not done, and not the record's fault: close the intent and try again.
  void PutBack(Lane& lane);
  bool Adopt(Lane& lane, const std::string& id, std::string* conflict,
             std::string* holder = nullptr);
  /// A write of `lane` has reached the record of `holder`, which is written again. Empty: of none.
  void OnReached(const Lane& lane, const std::string& holder);
  /// Its record is no more as it was written.
  void WriteAgain(Lane& lane);

  // ---- targets.cc ----
  Target* FindTarget(const TargetKey& key);
  void RefreshTenant(const std::string& tenant);
  void RefreshTarget(Target& target, const v1::Connection& connection);
  /// Something may have become possible for it.
  void MarkDirty(Target* target);
  void MarkDirty(const TargetKey& key) { MarkDirty(FindTarget(key)); }
  void WakeAt(Target& target, Instant at);
  /// What it may spend, and with whom together.
  void RefreshQuota(Target& target, const v1::Connection& connection);
  void LeaveQuota(Target& target);
  /// Those that share a quota send in turn while it is short.
  bool TakesTurn(Target& target);
  void LeaveTurns(Target& target);
  void OnMisconfigured(Target& target, const std::string& detail);
  void PauseAfterFailure(Target& target, std::optional<Duration> retry_after);
  void OnTargetAnswered(Target& target, const http::Completion& completion, bool good);
  /// Of the target as a whole. Too much use is none: the quota counts it.
  static bool IsFailure(http::AnswerClass answer, const http::Completion& completion) {
    return answer == http::AnswerClass::kUnknown ||
           (answer == http::AnswerClass::kThrottled &&
            completion.delivery == http::Delivery::kNotSent);
  }

  // ---- credentials.cc ----
  bool HasProof(Target& target);
  /// Its credentials have what its connector file asks for; otherwise it says so.
  bool CanAuthorise(Target& target);
  void AskCredential(Target& target, std::int64_t refused_revision);
  void OnCredential(const v1::Credential& credential);
  void OnTokenAnswer(Target& target, const http::Completion& completion);
  void OnUnauthorised(Target& target, std::int64_t proof);

  // ---- sending.cc ----
  void Pump(Target& target);
  void ScanMore(Target& target);
  std::size_t open_writes_max() const { return static_cast<std::size_t>(options_.open_writes_max); }
  std::size_t unread_entries_max() const {
    return static_cast<std::size_t>(options_.unread_entries_max);
  }
  /// So much is being written, or was and is not read back, that what needs no answer of a target
  /// waits.
  bool LogIsBusy() const {
    return writes_.size() >= open_writes_max() || unread_entries_ >= unread_entries_max();
  }
  /// After less is.
  void WakeWhoWaitsForLog();
  /// A key of it may be open and has no lane: the scan finds it.
  void FindLater(Target& target, std::string_view key);
  /// There may be something to do with the key of this command, which has no lane.
  bool MayBeOpen(const ids::CommandKey& parts, std::string_view key,
                 std::string_view command) const;
  /// Null pointer: it goes alone.
  const connector::Object* BatchObjectOf(const Target& target, const std::string& key);
  void FillBatch(Target& target, const connector::Object& object, const std::string& first);
  void SendWaiting(Target& target);
  void BeginReady(Target& target);
  /// When the next key of this priority should begin.
  Instant BeginAt(Target& target, Priority priority);
  void WaitForQuota(Target& target, Instant until);
  /// What the answer says of the quota.
  void Settle(const Flight& flight, const http::Completion& completion);
  void SendName(Target& target, const std::string& name);
  void SendLane(Target& target, Lane& lane);
  void SendBatch(Target& target, std::uint64_t id);
  void DissolveBatch(std::uint64_t id);
  void BatchIntentAcknowledged(std::uint64_t id);
  void Enqueue(Lane& lane, Priority priority);
  http::RequestId Send(Target& target, http::Request request, Flight flight, bool is_write);
  bool CanBatch(const Target& target, const connector::Object& object) const;

  // ---- sweep.cc ----
  bool sweeps() const { return options_.sweep_period > Duration::zero(); }
  std::size_t sweep_keys_max() const { return static_cast<std::size_t>(options_.sweep_keys_max); }
  /// Compares with the target what is due, while nothing else waits for it.
  void Sweep(Target& target);
  void ScanForSweep(Target& target);
  /// None: not to be compared, as it is now.
  std::optional<WallTime> ComparisonDueAt(const SweepState& sweep, std::string_view key,
                                          const ids::CommandKey& parts,
                                          const v1::RecordEntry& entry) const;
  /// Of an entry that was acknowledged, or found at the take-over.
  void NoteComparison(const TargetKey& target, const std::string& key,
                      std::optional<WallTime> due_at);
  void AnswerSweep(std::int64_t id, const v1::SweepRequest& request);

  // ---- comparison.cc ----
  /// A request of it was in doubt: `next_entry` says that it is to be compared soon.
  void CompareSoon(Lane& lane) const;
  Duration CompareAfter(const TargetKey& target, std::int32_t since_doubt) const;
  bool MayCompare(Lane& lane);
  /// False: it cannot be compared now.
  bool BeginComparison(Target& target, const std::string& key);
  /// The next request of the comparison, or its end.
  void CompareNext(Lane& lane);
  void OnComparisonAnswer(Lane& lane, const http::Completion& completion);
  /// Nothing was learnt.
  void CompareLater(Lane& lane, Duration delay);
  void ConcludeComparison(Lane& lane);
  void RepairFromSweep(Lane& lane, v1::Reason reason, const std::string& detail);
  void ConcludeMissing(Lane& lane);
  /// What the sweep found of it that a person should know. Empty: nothing.
  static std::string ShownDetailOf(const v1::RecordEntry& entry);
  static v1::ParkedItem ShownItemOf(const std::string& key, const v1::RecordEntry& entry);
  /// Empty: it is done so.
  std::string DecideShown(Lane& lane, bool replay);

  // ---- status.cc ----
  void ReportStatus();
  void ReportConnection(Target& target);
  /// What it waits for, long enough to be shown. None: nothing.
  std::optional<budget::Budget::Wait> QuotaWaitOf(const Target& target);
  void AnswerParked(std::int64_t id, const v1::ListParkedRequest& request);
  void AnswerDecide(std::int64_t id, const v1::DecideParkedRequest& request);
  std::string Decide(const v1::DecideParkedRequest& request);
  /// Empty: it is done so.
  std::string DecideLane(Lane& lane, bool replay);
  void AnswerTrace(std::int64_t id, const v1::TraceRequest& request);
  v1::TraceResponse::Record TraceOf(const std::string& key);

  eventlog::Partition PartitionOf(const std::string& tenant) const;
  const eventlog::Table* Table(eventlog::Topic topic, const std::string& tenant) const;
  SyncStats& StatsOf(const ids::CommandKey& parts) { return stats_[{parts.tenant, parts.sync}]; }

  // Constant after construction.
  const Options options_;
  StagePorts ports_;
  const std::shared_ptr<Connectors> connectors_;

  Now now_{};
  Counters counters_;
  tenants::Directory directory_;
  std::map<eventlog::Partition, PartitionState> partitions_;
  std::map<TargetKey, Target> targets_;
  /// By scope.
  std::map<std::string, std::shared_ptr<Quota>> quotas_;
  // Its lanes stay where they are.
  absl::node_hash_map<std::string, Lane> lanes_;
  absl::flat_hash_map<eventlog::ProduceId, Lane*> writes_;
  /// Lanes whose entry was acknowledged and not read back.
  std::size_t unread_entries_ = 0;
  absl::flat_hash_map<http::RequestId, Flight> flights_;
  http::RequestId next_request_ = 0;
  std::map<std::uint64_t, Batch> batches_;
  std::uint64_t next_batch_ = 0;
  /// Scan when the log is less busy.
  std::set<TargetKey> wait_for_log_;
  std::deque<Lane*> todo_;
  std::set<std::string> blocked_;
  std::vector<Target*> dirty_targets_;
  std::set<std::pair<Instant, std::string>> timers_;
  std::set<std::pair<Instant, TargetKey>> target_wakes_;
  /// Lanes by the record of the target that they hold.
  absl::flat_hash_map<std::string, absl::InlinedVector<Lane*, 1>> holders_;
  /// Actions that wait for an entry of this key.
  std::map<std::string, std::set<std::string>> waiters_;
  absl::flat_hash_map<std::string, MatchLock> match_locks_;
  std::set<std::pair<Instant, std::string>> match_lock_ends_;
  /// Newest event time of a tenant's actions.
  std::map<std::string, WallTime> newest_event_;
  std::map<std::pair<std::string, std::string>, SyncStats> stats_;
  std::deque<SetAside> set_aside_;
  /// Of the key whose entry is being replaced.
  struct Before {
    /// None: it counts for nothing.
    std::optional<ids::CommandKey> parts;
    bool has_lane = false;
    /// Of the newest command, also of a void one; and whether it is that.
    std::optional<CommandHead> command;
    bool command_is_void = false;
    /// Only if there is no lane.
    RecordHead record;
    Share share;
    /// Of an action without a lane that has had its end: the entry that says so.
    std::string end;
  };
  Before before_;
  // Made again and again, so that their memory stays.
  v1::RecordEntry scratch_entry_;
  v1::Receipt scratch_receipt_;
  Instant next_status_{};
  std::string last_status_;
  bool draining_ = false;

  // Last: it calls its listener.
  std::unique_ptr<eventlog::Owner> owner_;
};

}  // namespace tributary::loader

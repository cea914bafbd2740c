#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "libs/connector/interpret.h"
#include "libs/eventlog/owner.h"
#include "libs/tenants/directory.h"
#include "services/loader/lane.h"
#include "services/loader/loader.h"
#include "tributary/v1/control.pb.h"

// The loader's inside, in parts: stage.cc (what is told by the log), judge.cc (what may be done
// with a key), writing.cc (intents, calls, entries), answers.cc, targets.cc (credentials, budgets,
// queues), status.cc (what people see and decide).

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
  Levels levels(Now now) const override;

 private:
  struct PartitionState {
    /// Keys in doubt at the take-over count L from here.
    Instant doubt_from{};
    /// A record that we do not know, made before the take-over, can be seen from here on.
    Instant lookups_from{};
    bool revoking = false;
    bool aborted = false;
    bool released = false;
    Instant abort_at{};
  };

  struct Flight {
    enum class Kind : std::uint8_t { kCall, kLookup, kBatch, kToken };
    Kind kind = Kind::kCall;
    std::string key;
    std::uint64_t batch = 0;
    TargetKey target;
    eventlog::Partition partition = 0;
    std::int64_t proof = 0;
  };

  /// Lanes that go in one request. Takes one slot.
  struct Batch {
    TargetKey target;
    eventlog::Partition partition = 0;
    std::shared_ptr<const connector::Connector> connector;
    std::string object;
    std::vector<std::string> keys;
    std::size_t unacknowledged = 0;
    /// No more lanes join.
    bool closed = false;
    bool sent = false;
  };

  /// The newest command of a key, if it is valid.
  struct Desired {
    v1::Command command;
    std::string bytes;
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

  struct SyncStats {
    /// Keys at work, with the wall time of the change that they wait with.
    std::map<std::string, WallTime> pending;
    std::set<std::string> retrying;
    std::set<std::string> parked;
    /// Largest version seen of a pending key (rule 18).
    std::map<std::string, v1::Version> newest;
    std::int64_t applied = 0;
    std::int64_t noop = 0;
    std::int64_t superseded = 0;
    std::int64_t dropped = 0;
  };

  struct MatchLock {
    std::string key;
    Instant until = Instant::max();
  };

  // ---- stage.cc ----
  void OnReady(const eventlog::Takeover& takeover) override;
  void OnEntry(eventlog::Topic topic, eventlog::Partition partition, std::string_view key,
               const std::optional<eventlog::TableEntry>& entry) override;
  void OnStreamRecord(const eventlog::Record& record) override;
  void OnWritten(eventlog::ProduceId id, eventlog::Offset offset) override;
  void OnGone(eventlog::Partition partition) override;
  void OnRevoking(eventlog::Partition partition, Instant deadline) override;
  void LoadRecords(eventlog::Partition partition);
  void LoadCommands(eventlog::Partition partition);
  void OnRecordEntry(eventlog::Partition partition, const std::string& key,
                     const std::optional<eventlog::TableEntry>& entry);
  void OnCommandEntry(const std::string& key, const std::optional<eventlog::TableEntry>& entry);
  void RepairVoid(const std::string& key, Instant doubt_from);
  void AbortOpen(eventlog::Partition partition);
  void ReleaseIfDone(eventlog::Partition partition);
  /// Runs everything that became possible.
  void Work();
  void Touch(const std::string& key) { todo_.insert(key); }
  void Log(Logger::Level level, std::string_view message, Logger::Fields fields);
  /// Of the integration of a connection.
  IntegrationCounters& CountersOf(const TargetKey& key);
  void CountAnswer(const TargetKey& key, Operation operation, http::AnswerClass answer);
  void CountSetAside(eventlog::Topic topic);

  // ---- judge.cc ----
  std::optional<Desired> DesiredOf(const std::string& key);
  /// Ours in memory, else what was read back. None: no entry, or only a void one.
  std::optional<v1::RecordEntry> EntryOf(const std::string& key);
  /// Only what was read back as valid.
  std::optional<v1::RecordEntry> ReadBack(const std::string& key) const;
  Lane* FindLane(const std::string& key);
  /// Makes the lane from the table when there is none.
  Lane& LaneOf(const std::string& key);
  Verdict Judge(const std::string& key);
  Verdict JudgeState(const std::string& key, const ids::CommandKey& parts, const Desired& desired);
  Verdict JudgeAction(const std::string& key, const ids::CommandKey& parts, const Desired& desired);
  void Evaluate(const std::string& key);
  void ForgetIfIdle(const std::string& key);
  void SetTimer(Lane& lane, Instant at);
  void Account(const std::string& key);
  TargetKey TargetOf(const ids::CommandKey& parts) const;
  Duration SettleOf(const TargetKey& key) const;
  Duration IndexLagOf(const TargetKey& key) const;
  /// Key of another record that holds this one of the target. Empty: none.
  std::string HolderOf(const Lane& lane, const std::string& object, const std::string& id);
  void RememberEventTime(const std::string& tenant, WallTime time);

  // ---- writing.cc ----
  void Begin(const std::string& key, std::uint64_t batch);
  void BeginState(Lane& lane, std::uint64_t batch);
  void BeginAction(Lane& lane);
  void NextLookup(Lane& lane);
  void PlanCalls(Lane& lane);
  void NextCall(Lane& lane);
  void WriteIntent(Lane& lane, const connector::Call& call, http::Request request,
                   std::vector<std::string> tags);
  void FinishState(Lane& lane);
  void FinishAction(Lane& lane, v1::Outcome outcome, v1::Reason reason, const std::string& detail,
                    int http_status);
  void ResolveWithoutCall(Lane& lane, const Verdict& verdict);
  void Park(Lane& lane, v1::Reason reason, const std::string& detail, int http_status);
  void CloseIntent(Lane& lane);
  /// The entry without what its open intent promised; that request certainly did not leave.
  static v1::RecordEntry WithoutPromises(Lane& lane);
  v1::Receipt ReceiptOf(const Lane& lane, v1::Outcome outcome, v1::Reason reason,
                        const std::string& detail, int http_status) const;
  /// Receipt, if any, then `next_entry`, then what comes next.
  void Conclude(Lane& lane, std::optional<v1::Receipt> receipt);
  void WriteNextEntry(Lane& lane);
  void Rest(Lane& lane);
  void AwaitUntil(Lane& lane, Instant until);
  bool TakeMatchLocks(Lane& lane, const connector::Object& object);
  void ReleaseMatchLocks(Lane& lane, bool made_one);
  void Tombstone(const std::string& key);

  // ---- answers.cc ----
  void OnCallAnswer(Lane& lane, const connector::Interpreted& answer,
                    const http::Completion& completion);
  void OnLookupAnswer(Lane& lane, const http::Completion& completion);
  void OnBatchAnswer(const Flight& flight, const http::Completion& completion);
  void OnDone(Lane& lane, const connector::Interpreted& answer, int http_status);
  void OnRefused(Lane& lane, const connector::Interpreted& answer, int http_status);
  void OnUnknown(Lane& lane, const connector::Interpreted& answer,
                 const http::Completion& completion);
  void OnMissing(Lane& lane, const connector::Interpreted& answer, int http_status);
  /// Certainly not done, and not the record's fault: close the intent and try again.
  void PutBack(Lane& lane);
  bool Adopt(Lane& lane, const std::string& id, std::string* conflict);

  // ---- targets.cc ----
  Target* FindTarget(const TargetKey& key);
  void RefreshTenant(const std::string& tenant);
  void RefreshTarget(Target& target, const v1::Connection& connection);
  void Pump(Target& target);
  void ScanMore(Target& target);
  bool HasProof(Target& target);
  void AskCredential(Target& target, std::int64_t refused_revision);
  void OnCredential(const v1::Credential& credential);
  void OnTokenAnswer(Target& target, const http::Completion& completion);
  void OnUnauthorised(Target& target, std::int64_t proof);
  void OnMisconfigured(Target& target, const std::string& detail);
  void PauseAfterFailure(Target& target, std::optional<Duration> retry_after);
  void OnTargetAnswered(Target& target, const http::Completion& completion, bool good);
  void SendName(Target& target, const std::string& name);
  void SendLane(Target& target, Lane& lane);
  void SendBatch(Target& target, std::uint64_t id);
  void DissolveBatch(std::uint64_t id);
  void BatchIntentAcknowledged(std::uint64_t id);
  void Enqueue(const std::string& key, const TargetKey& target, Priority priority);
  http::RequestId Send(Target& target, http::Request request, Flight flight, bool is_write);
  bool CanBatch(const Target& target, const connector::Object& object) const;

  // ---- status.cc ----
  void ReportStatus();
  void ReportConnection(Target& target);
  void AnswerParked(std::int64_t id, const v1::ListParkedRequest& request);
  void AnswerDecide(std::int64_t id, const v1::DecideParkedRequest& request);
  std::string Decide(const v1::DecideParkedRequest& request);
  void AnswerTrace(std::int64_t id, const v1::TraceRequest& request);
  v1::TraceResponse::Record TraceOf(const std::string& key);

  eventlog::Partition PartitionOf(const std::string& tenant) const;
  const eventlog::Table* Table(eventlog::Topic topic, const std::string& tenant) const;
  SyncStats& StatsOf(const ids::CommandKey& parts) { return stats_[{parts.tenant, parts.sync}]; }

  // Constant after construction.
  const Options options_;
  StagePorts ports_;

  Now now_{};
  Counters counters_;
  tenants::Directory directory_;
  std::map<eventlog::Partition, PartitionState> partitions_;
  std::map<TargetKey, Target> targets_;
  std::map<std::string, Lane> lanes_;
  std::map<eventlog::ProduceId, std::string> writes_;
  std::map<http::RequestId, Flight> flights_;
  http::RequestId next_request_ = 0;
  std::map<std::uint64_t, Batch> batches_;
  std::uint64_t next_batch_ = 0;
  std::set<std::string> todo_;
  std::set<std::string> blocked_;
  std::set<TargetKey> dirty_targets_;
  std::set<std::pair<Instant, std::string>> timers_;
  /// Actions that wait for an entry of this key.
  std::map<std::string, std::set<std::string>> waiters_;
  std::map<std::string, MatchLock> match_locks_;
  /// Newest event time of a tenant's actions.
  std::map<std::string, WallTime> newest_event_;
  std::map<std::pair<std::string, std::string>, SyncStats> stats_;
  std::map<std::string, std::shared_ptr<const connector::Connector>> connectors_;
  Instant next_status_{};
  std::string last_status_;
  bool draining_ = false;

  // Last: it calls its listener.
  std::unique_ptr<eventlog::Owner> owner_;
};

}  // namespace tributary::loader

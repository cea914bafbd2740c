#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "libs/eventlog/log.h"
#include "libs/eventlog/testing/virtual_time.h"

// A cluster in memory, on virtual time: topics, groups whose coordinator is the test, members that
// die, are evicted and come back, compaction. What a real log may do late, it does late by seed.

namespace tributary::eventlog::testing {

struct Delay {
  Duration min{};
  Duration max{};
};

struct MemberDelays {
  /// From a call to its effect at the log, and from there to the fact.
  Delay request;
  Delay answer;
  /// From a kill to the effect of what was still under way.
  Delay late;
};

struct SimulatedLogOptions {
  std::int32_t partitions = 1;
  /// C and R of the protocol.
  Duration min_compaction_lag = std::chrono::hours(1);
  Duration delete_retention = std::chrono::hours(24);
  /// What members produce comes out with a field more, as a version of tomorrow would write it.
  bool adds_unknown_field = false;
  /// Of one fetch; how many they are is drawn.
  std::size_t fetch_records_max = 64;
};

class SimulatedLog;

/// One process in one group. Its facts wait until they are polled.
class SimulatedMember : public LogPort {
 public:
  ~SimulatedMember() override;

  /// What has happened since the last call, in order.
  std::vector<Fact> Poll();
  /// Called whenever there is something to poll.
  void OnFacts(std::function<void()> wake);

  const std::string& group() const;
  const std::string& instance() const;

  void Produce(ProduceId id, Topic topic, Partition partition, std::string key,
               std::optional<std::string> value, Headers headers) override;
  void StartReading(Topic topic, Partition partition, Offset from) override;
  void StopReading(Topic topic, Partition partition) override;
  void PauseReading(Topic topic, Partition partition) override;
  void ResumeReading(Topic topic, Partition partition) override;
  void SampleEnd(std::uint64_t id, Topic topic, Partition partition) override;
  void FetchCommitted(std::uint64_t id, Topic topic, Partition partition) override;
  void Commit(std::uint64_t id, Topic topic, Partition partition, Offset next,
              std::string mark) override;
  void RenewLease(std::uint64_t id) override;
  void FinishRevoking() override;

 private:
  friend class SimulatedLog;
  struct State;
  explicit SimulatedMember(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

class SimulatedLog {
 public:
  /// `time` outlives the log.
  SimulatedLog(SimulatedLogOptions options, VirtualTime& time, std::uint64_t seed);
  ~SimulatedLog();

  // ---- set-up ----

  /// `!g` and a released fence in every partition of every table.
  void Found(std::int64_t generation);
  void FoundTable(Topic topic, Partition partition, std::int64_t generation);

  // ---- members; the test is the coordinator ----

  std::unique_ptr<SimulatedMember> Join(std::string group, std::string instance,
                                        MemberDelays delays = {});
  /// The group takes this member for the owner from now on, and it is told.
  void Assign(SimulatedMember& member, const std::vector<Partition>& partitions);
  /// Tells that the group wants them back; `done` runs at FinishRevoking.
  void Revoke(SimulatedMember& member, const std::vector<Partition>& partitions,
              std::function<void()> done);
  /// The group has thrown it out: renewals and commits fail from now on. It is told `told_after`.
  void Evict(SimulatedMember& member, Duration told_after);
  /// The process is gone. Of what it had under way to each partition, the log may still take the
  /// first few, late.
  void Kill(SimulatedMember& member);
  /// Its next produce fails, and is in the log nevertheless if `lands`.
  void FailNextProduce(SimulatedMember& member, bool lands);
  /// Until then nothing more reaches the member of what it reads; all else goes on.
  void StallReading(SimulatedMember& member, Instant until);
  /// The same of one topic.
  void StallReading(SimulatedMember& member, Topic topic, Instant until);
  /// What reaches the member of this topic is so old at least. Compaction does not wait for it.
  void ReadLate(SimulatedMember& member, Topic topic, Duration by);
  /// The answer to its next renewal that the group grants comes so late. `at_log` runs when it is
  /// granted.
  void AnswerNextRenewalLate(SimulatedMember& member, Duration by, std::function<void()> at_log);
  /// What was ordered of it ends: it reads again, and no produce fails any more.
  void Recover(SimulatedMember& member);
  /// Nobody reaches the log until then: reads, commits and renewals wait, what is produced fails by
  /// its time-out.
  void BeAwayFor(Duration duration);
  /// What this group has committed is gone, as it is when it was away for long.
  void ForgetCommits(std::string_view group);
  /// What a member that is gone has committed lands only now.
  void LandCommit(std::string_view group, Topic topic, Partition partition, Offset next,
                  std::string mark);
  std::vector<Partition> Owned(const SimulatedMember& member) const;
  /// Nothing that anybody has produced is still on its way.
  bool quiet() const;

  // ---- the log ----

  /// At once, by nobody.
  Offset Append(Topic topic, Partition partition, std::string key, std::optional<std::string> value,
                Headers headers = {});
  /// Removes what a compacted topic may lose now: what is older than the compaction lag and has a
  /// successor that is too, and tombstones that were kept for the retention.
  void Compact(Topic topic, Partition partition);
  void CompactAll();
  /// Of a stream: everything before `offset` expires.
  void ExpireBefore(Topic topic, Partition partition, Offset offset);
  /// The partition is made anew, empty, and no group has committed anything in it.
  void Lose(Topic topic, Partition partition);
  /// What a person orders after a loss: a founding of this generation in every partition of every
  /// table, as the administration of the log writes it.
  void FoundAnew(std::int64_t generation);

  const std::vector<Record>& records(Topic topic, Partition partition) const;
  Offset end(Topic topic, Partition partition) const;
  std::optional<Offset> committed(std::string_view group, Topic topic, Partition partition) const;
  /// What was committed with it.
  std::string mark(std::string_view group, Topic topic, Partition partition) const;
  std::int32_t partitions() const;
  /// Sees every record in the moment in which it is durable. `by` is group/instance, or empty.
  void OnAppend(std::function<void(const Record&, const std::string& by)> observer);

 private:
  friend class SimulatedMember;
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace tributary::eventlog::testing

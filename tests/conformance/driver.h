#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "libs/eventlog/clock.h"
#include "libs/eventlog/log_member.h"

namespace tributary::conformance {

/// Polls a member and keeps all that it was told, by kind.
class Driver {
 public:
  using Place = std::pair<eventlog::Topic, eventlog::Partition>;

  explicit Driver(std::unique_ptr<eventlog::LogMember> member) : member_(std::move(member)) {}

  eventlog::LogMember& log() { return *member_; }
  /// Without Close: as if the process had been killed.
  void Drop() { member_.reset(); }

  /// False: `holds` was still false after `timeout`.
  bool Until(const std::function<bool()>& holds,
             std::chrono::seconds timeout = std::chrono::seconds(40)) {
    const Instant until = eventlog::BootTime() + timeout;
    while (!holds()) {
      if (eventlog::BootTime() >= until) return false;
      PollOnce(std::chrono::milliseconds(50));
    }
    return true;
  }

  void PollOnce(Duration wait) {
    for (eventlog::Fact& fact : member_->Poll(wait)) std::visit(Keeper{*this}, fact);
  }

  void PollFor(Duration time) {
    const Instant until = eventlog::BootTime() + time;
    while (eventlog::BootTime() < until) PollOnce(std::chrono::milliseconds(20));
  }

  bool UntilAssigned(std::size_t partitions) {
    return Until([&] { return assigned.size() == partitions; });
  }

  eventlog::ProduceId Produce(eventlog::Topic topic, eventlog::Partition partition, std::string key,
                              std::optional<std::string> value, eventlog::Headers headers = {}) {
    member_->Produce(++last_id_, topic, partition, std::move(key), std::move(value),
                     std::move(headers));
    return last_id_;
  }

  /// -1: not acknowledged.
  eventlog::Offset ProduceAndWait(eventlog::Topic topic, eventlog::Partition partition,
                                  std::string key, std::optional<std::string> value) {
    const eventlog::ProduceId id = Produce(topic, partition, std::move(key), std::move(value));
    if (!Until([&] { return produced.contains(id); })) return -1;
    return produced[id].error.empty() ? produced[id].offset : -1;
  }

  bool UntilAllProduced() {
    return Until([&] { return produced.size() == last_id_; });
  }

  eventlog::EndSampled Sample(eventlog::Topic topic, eventlog::Partition partition) {
    const std::uint64_t id = ++last_question_;
    member_->SampleEnd(id, topic, partition);
    if (!Until([&] { return samples.contains(id); })) return {.error = "no answer"};
    return samples[id];
  }

  eventlog::CommittedOffset Committed(eventlog::Topic topic, eventlog::Partition partition) {
    const std::uint64_t id = ++last_question_;
    member_->FetchCommitted(id, topic, partition);
    if (!Until([&] { return committed.contains(id); })) return {.error = "no answer"};
    return committed[id];
  }

  /// The error.
  std::string Commit(eventlog::Topic topic, eventlog::Partition partition, eventlog::Offset next,
                     std::string mark = "") {
    const std::uint64_t id = ++last_question_;
    member_->Commit(id, topic, partition, next, std::move(mark));
    if (!Until([&] { return commits.contains(id); })) return "no answer";
    return commits[id].error;
  }

  eventlog::LeaseRenewed RenewLease() {
    const std::uint64_t id = ++last_question_;
    member_->RenewLease(id);
    if (!Until([&] { return leases.contains(id); })) return {.error = "no answer"};
    return leases[id];
  }

  std::vector<eventlog::Record>& At(eventlog::Topic topic, eventlog::Partition partition) {
    return records[{topic, partition}];
  }

  /// The keys of what was read there, in order.
  std::vector<std::string> Keys(eventlog::Topic topic, eventlog::Partition partition) {
    std::vector<std::string> keys;
    for (const eventlog::Record& record : At(topic, partition)) keys.push_back(record.key);
    return keys;
  }

  std::set<eventlog::Partition> assigned;
  std::vector<std::vector<eventlog::Partition>> revocations;
  std::vector<std::vector<eventlog::Partition>> losses;
  std::map<eventlog::ProduceId, eventlog::Produced> produced;
  /// In the order in which they came.
  std::vector<eventlog::ProduceId> produced_order;
  std::map<Place, std::vector<eventlog::Record>> records;
  std::map<Place, eventlog::Offset> caught_up;
  std::vector<eventlog::OutOfRange> out_of_range;
  std::map<std::uint64_t, eventlog::EndSampled> samples;
  std::map<std::uint64_t, eventlog::CommittedOffset> committed;
  std::map<std::uint64_t, eventlog::CommitDone> commits;
  std::map<std::uint64_t, eventlog::LeaseRenewed> leases;
  std::vector<std::string> failures;
  bool finishes_revoking = true;
  /// Sees every fact before it is kept.
  std::function<void(const eventlog::Fact&)> also;

 private:
  struct Keeper {
    Driver& d;
    template <typename F>
    void operator()(F& fact) {
      if (d.also) d.also(eventlog::Fact(fact));
      Keep(fact);
    }
    void Keep(eventlog::Assigned& fact) {
      d.assigned.insert(fact.partitions.begin(), fact.partitions.end());
    }
    void Keep(eventlog::Revoking& fact) {
      d.revocations.push_back(fact.partitions);
      for (const eventlog::Partition p : fact.partitions) d.assigned.erase(p);
      if (d.finishes_revoking) d.member_->FinishRevoking();
    }
    void Keep(eventlog::Lost& fact) {
      d.losses.push_back(fact.partitions);
      for (const eventlog::Partition p : fact.partitions) d.assigned.erase(p);
    }
    void Keep(eventlog::Produced& fact) {
      d.produced_order.push_back(fact.id);
      d.produced[fact.id] = fact;
    }
    void Keep(eventlog::Fetched& fact) {
      for (eventlog::Record& record : fact.records) {
        d.records[{record.topic, record.partition}].push_back(std::move(record));
      }
    }
    void Keep(eventlog::CaughtUp& fact) { d.caught_up[{fact.topic, fact.partition}] = fact.next; }
    void Keep(eventlog::OutOfRange& fact) { d.out_of_range.push_back(fact); }
    void Keep(eventlog::EndSampled& fact) { d.samples[fact.id] = fact; }
    void Keep(eventlog::CommittedOffset& fact) { d.committed[fact.id] = fact; }
    void Keep(eventlog::CommitDone& fact) { d.commits[fact.id] = fact; }
    void Keep(eventlog::LeaseRenewed& fact) { d.leases[fact.id] = fact; }
    void Keep(eventlog::Failed& fact) { d.failures.push_back(fact.error); }
  };

  std::unique_ptr<eventlog::LogMember> member_;
  eventlog::ProduceId last_id_ = 0;
  std::uint64_t last_question_ = 0;
};

}  // namespace tributary::conformance

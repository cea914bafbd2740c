#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "libs/eventlog/testing/simulated_log.h"
#include "libs/http/message.h"
#include "tests/simulation/rule_breaks.h"
#include "tributary/v1/changes.pb.h"

// What lies between a stage and its ports when a rule is switched off.

namespace tributary::simulation {

/// What the topics say by now, for whoever falsifies what a stage reads.
struct PresentState {
  std::int64_t generation = 0;
  /// (tenant, sync) -> revision
  std::map<std::pair<std::string, std::string>, std::int64_t> revisions;
  /// Key in `changes` -> entity
  std::map<std::string, v1::Entity> entities;

  void OnAppend(const eventlog::Record& record);
};

struct Tampering {
  RuleBreak rule_break = RuleBreak::kNone;
  std::string service;
  /// V + P.
  Duration takeover{};
};

class TamperedLog : public eventlog::LogPort, public std::enable_shared_from_this<TamperedLog> {
 public:
  TamperedLog(Tampering tampering, eventlog::testing::VirtualTime& time, std::uint64_t seed,
              const PresentState& present, eventlog::testing::SimulatedLog& log,
              eventlog::testing::SimulatedMember& member);

  std::vector<eventlog::Fact> Poll();
  /// Of facts that no member has told.
  void OnFacts(std::function<void()> wake) { wake_ = std::move(wake); }
  /// The process is gone.
  void Die() { is_dead_ = true; }

  void Produce(eventlog::ProduceId id, eventlog::Topic topic, eventlog::Partition partition,
               std::string key, std::optional<std::string> value,
               eventlog::Headers headers) override;
  void StartReading(eventlog::Topic topic, eventlog::Partition partition,
                    eventlog::Offset from) override;
  void StopReading(eventlog::Topic topic, eventlog::Partition partition) override;
  void PauseReading(eventlog::Topic topic, eventlog::Partition partition) override;
  void ResumeReading(eventlog::Topic topic, eventlog::Partition partition) override;
  void SampleEnd(std::uint64_t id, eventlog::Topic topic, eventlog::Partition partition) override;
  void FetchCommitted(std::uint64_t id, eventlog::Topic topic,
                      eventlog::Partition partition) override;
  void Commit(std::uint64_t id, eventlog::Topic topic, eventlog::Partition partition,
              eventlog::Offset next, std::string mark) override;
  void RenewLease(std::uint64_t id) override;
  void FinishRevoking() override;

 private:
  using Where = std::pair<eventlog::Topic, eventlog::Partition>;
  struct Version {
    std::int64_t generation = 0;
    std::int64_t offset = 0;
    std::int64_t revision = 0;
    friend auto operator<=>(const Version&, const Version&) = default;
  };
  struct Takeover {
    Instant until{};
    std::map<eventlog::Topic, eventlog::Offset> ends;
  };

  bool breaks(RuleBreak what) const { return tampering_.rule_break == what; }
  bool is(std::string_view service) const { return tampering_.service == service; }
  void After(Duration delay, std::function<void()> task);
  void TellLater(eventlog::Fact fact, Duration delay);
  void Acknowledge(eventlog::ProduceId id, Where where);
  void ProduceAside(eventlog::Topic topic, eventlog::Partition partition, std::string key,
                    std::optional<std::string> value, eventlog::Headers headers);
  /// False: the stage is not told.
  bool Falsify(eventlog::Fact& fact);
  bool FalsifyRecord(eventlog::Record& record);
  bool HoldsBack(eventlog::Fact& fact);
  static Version VersionOf(const eventlog::Record& record);

  const Tampering tampering_;
  eventlog::testing::VirtualTime& time_;
  eventlog::testing::SeededRandom random_;
  const PresentState& present_;
  eventlog::testing::SimulatedLog& log_;
  eventlog::testing::SimulatedMember& member_;
  std::function<void()> wake_;
  bool is_dead_ = false;
  std::deque<eventlog::Fact> facts_;
  eventlog::ProduceId last_aside_;
  std::int64_t produces_ = 0;
  std::map<eventlog::ProduceId, eventlog::Partition> fences_;
  std::map<eventlog::Partition, eventlog::Offset> own_fence_;
  std::map<eventlog::Partition, Takeover> takeovers_;
  std::set<eventlog::Partition> revoking_;
  std::map<Where, std::deque<eventlog::Fact>> held_;
  std::map<Where, eventlog::Offset> newest_fence_;
  std::map<Where, eventlog::Offset> position_;
  std::map<std::pair<Where, std::string>, Version> newest_version_;
  std::map<std::pair<Where, std::string>, eventlog::Offset> newest_token_;
  std::map<Where, Instant> last_landing_;
};

class TamperedHttp : public http::ClientPort, public std::enable_shared_from_this<TamperedHttp> {
 public:
  TamperedHttp(Tampering tampering, eventlog::testing::VirtualTime& time, http::ClientPort& client);

  void Send(http::RequestId id, http::Request request) override;
  void Cancel(http::RequestId id) override;
  /// None: the stage is to be asked.
  std::optional<bool> MaySend(http::RequestId id) const;
  /// False: the stage is not told.
  bool Falsify(http::Completion& completion);
  void Die() { is_dead_ = true; }

 private:
  const Tampering tampering_;
  eventlog::testing::VirtualTime& time_;
  http::ClientPort& client_;
  bool is_dead_ = false;
  std::set<http::RequestId> look_ups_;
};

}  // namespace tributary::simulation

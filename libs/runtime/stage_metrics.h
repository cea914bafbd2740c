#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "libs/eventlog/log_member.h"
#include "libs/http/message.h"
#include "libs/observe/metrics.h"
#include "libs/runtime/levels.h"
#include "libs/time/time.h"
#include "libs/trace/recorder.h"

namespace tributary::v1 {
class FromService;
class ServiceStatus;
}  // namespace tributary::v1

namespace tributary::runtime {

/// What one stage is given and does, counted from outside so that the stage itself counts nothing.
/// One thread.
class StageMetrics {
 public:
  StageMetrics(observe::Metrics& metrics, const std::string& service, int tenants_labelled_max);

  void OnFact(const eventlog::Fact& fact);
  /// Shows what was counted since the last turn: a metric costs more than a record should.
  void OnTurn();
  void OnLags(const std::vector<eventlog::LogMember::Lag>& lags);
  void OnFetchBuffer(const eventlog::LogMember::FetchBuffer& buffer);
  void OnMessage(const v1::FromService& message);
  void OnProduce(eventlog::Topic topic);
  void OnSend();
  void OnCompletion(const http::Completion& completion, const std::string& method);
  /// What a stage held ends with it, also where nobody says so: a member that has failed reports no
  /// lost partitions, a client that is destroyed no completions.
  void OnEndOfLife();

  std::size_t assigned_partitions() const { return assigned_.size(); }

  observe::Counter restarts;
  QueueMetrics produce_queue;
  QueueMetrics http_queue;

 private:
  struct Flow {
    std::int64_t in = 0;
    std::int64_t out = 0;
    WallTime last_appended_at{};
  };
  Flow& FlowOf(eventlog::Topic topic) { return flows_[static_cast<std::size_t>(topic)]; }
  void OnSyncs(const v1::ServiceStatus& status);
  void OnWebhookEndpoints(const v1::ServiceStatus& status);

  observe::Metrics& metrics_;
  const std::string service_;
  /// None: this log fetches nothing ahead, and nothing divided by nothing is no level.
  std::optional<QueueMetrics> fetch_queue_;
  const int tenants_labelled_max_;
  std::array<Flow, eventlog::kAllTopics.size()> flows_;
  std::map<eventlog::Topic, observe::Counter> records_in_;
  std::map<eventlog::Topic, observe::Counter> records_out_;
  std::map<eventlog::Topic, observe::Gauge> lag_;
  std::map<eventlog::Topic, observe::Gauge> last_record_;
  std::map<std::pair<std::string, std::string>, observe::Counter> requests_;
  std::map<std::string, observe::Histogram> request_seconds_;
  observe::Gauge requests_in_flight_;
  int in_flight_ = 0;
  observe::Counter produce_errors_;
  std::map<std::string, observe::Counter> rebalances_;
  observe::Gauge assigned_partitions_;
  std::set<eventlog::Partition> assigned_;
  /// Shown by labels now: tenant and sync, tenant and connection.
  std::set<std::pair<std::string, std::string>> syncs_;
  std::set<std::pair<std::string, std::string>> connections_;
};

/// Counts on the way to the real ones.
class MeasuredHttp final : public http::ClientPort {
 public:
  MeasuredHttp(http::ClientPort& http, StageMetrics& metrics) : http_(http), metrics_(metrics) {}
  void Send(http::RequestId id, http::Request request) override;
  void Cancel(http::RequestId id) override;
  void OnCompletion(const http::Completion& completion);

 private:
  http::ClientPort& http_;
  StageMetrics& metrics_;
  std::unordered_map<http::RequestId, std::string> methods_;
};

class MeasuredLog final : public eventlog::LogPort {
 public:
  /// `spans` may be null: nothing is traced.
  MeasuredLog(eventlog::LogPort& log, StageMetrics& metrics, trace::SpanRecorder* spans)
      : log_(log), metrics_(metrics), spans_(spans) {}
  void Produce(eventlog::ProduceId id, eventlog::Topic topic, eventlog::Partition partition,
               std::string key, std::optional<std::string> value,
               eventlog::Headers headers) override;
  void StartReading(eventlog::Topic topic, eventlog::Partition partition,
                    eventlog::Offset from) override {
    log_.StartReading(topic, partition, from);
  }
  void StopReading(eventlog::Topic topic, eventlog::Partition partition) override {
    log_.StopReading(topic, partition);
  }
  void PauseReading(eventlog::Topic topic, eventlog::Partition partition) override {
    log_.PauseReading(topic, partition);
  }
  void ResumeReading(eventlog::Topic topic, eventlog::Partition partition) override {
    log_.ResumeReading(topic, partition);
  }
  void SampleEnd(std::uint64_t id, eventlog::Topic topic, eventlog::Partition partition) override {
    log_.SampleEnd(id, topic, partition);
  }
  void FetchCommitted(std::uint64_t id, eventlog::Topic topic,
                      eventlog::Partition partition) override {
    log_.FetchCommitted(id, topic, partition);
  }
  void Commit(std::uint64_t id, eventlog::Topic topic, eventlog::Partition partition,
              eventlog::Offset next, std::string mark) override {
    log_.Commit(id, topic, partition, next, std::move(mark));
  }
  void RenewLease(std::uint64_t id) override { log_.RenewLease(id); }
  void FinishRevoking() override { log_.FinishRevoking(); }

 private:
  eventlog::LogPort& log_;
  StageMetrics& metrics_;
  trace::SpanRecorder* const spans_;
};

}  // namespace tributary::runtime

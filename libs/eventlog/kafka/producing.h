#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "libs/eventlog/inbox.h"
#include "libs/eventlog/kafka/configuration.h"
#include "libs/eventlog/kafka/handles.h"
#include "libs/eventlog/kafka/kafka_log.h"
#include "libs/eventlog/log.h"

namespace tributary::eventlog::kafka {

/// What a member writes, on its way to librdkafka and back. For the member's own thread.
class Producing {
 public:
  /// All of these outlive it. `reports` is the producer's queue of events.
  Producing(const KafkaOptions& options, rd_kafka_t* producer, rd_kafka_queue_t* reports,
            TopicHandles& topics, Inbox& inbox);

  /// As LogMember::Produce. What is refused is told through the inbox, and stops it; so does
  /// `refusal`, which the member has already found unless it is empty.
  void Produce(ProduceId id, Topic topic, Partition partition, std::string key,
               std::optional<std::string> value, Headers headers, std::string refusal);
  /// Rule 6: nothing of this member may go through behind a record that has failed.
  void Stop(const std::string& why = "an earlier record has failed");
  /// Gives up what librdkafka has not sent, and what it waits for; TakeReports tells of each.
  void Purge();
  /// Appends a Produced for each record that librdkafka is done with. Does not wait.
  void TakeReports(std::vector<Fact>& facts);

  bool has_failed() const { return has_failed_; }
  /// Neither acknowledged nor failed; without headers.
  std::int64_t waiting_bytes() const { return waiting_bytes_; }
  std::int64_t waiting_count() const { return waiting_count_; }

 private:
  using Place = std::pair<Topic, Partition>;
  struct Held {
    ProduceId id = 0;
    std::string key;
    std::optional<std::string> value;
    Headers headers;
    Instant since{};
  };
  /// Of one partition: an idempotent producer has one request of it under way. While others wait
  /// longer than linger.ms behind it, the producing thread of librdkafka (2.0.2, and its newest)
  /// does not sleep, but looks at every partition again and again until the answer comes. So if
  /// that takes long they wait here, and go together when everything in front is acknowledged.
  struct Outlet {
    std::deque<Held> held;
    /// Handed to librdkafka and not acknowledged, and when the first of them was.
    std::int64_t under_way = 0;
    Instant opened_at{};
    /// One of them, by which it is found out how long that takes. 0: none.
    ProduceId probe = 0;
    Instant probe_since{};
    /// It took so long that what comes is held, although that takes up to kLinger longer.
    bool is_slow = false;
  };

  void HandOver(const Place& place, Outlet& outlet, Instant now);
  void OnAcknowledged(const rd_kafka_message_t& message);
  rd_kafka_topic_t* HandleOf(Topic topic);

  const KafkaOptions& options_;
  rd_kafka_t* const producer_;
  rd_kafka_queue_t* const reports_;
  TopicHandles& topics_;
  Inbox& inbox_;
  std::map<Place, Outlet> outlets_;
  std::int64_t waiting_bytes_ = 0;
  std::int64_t waiting_count_ = 0;
  bool has_failed_ = false;
};

}  // namespace tributary::eventlog::kafka

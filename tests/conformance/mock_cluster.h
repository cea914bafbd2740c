#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "libs/eventlog/log.h"

namespace tributary::conformance {

/// The requests of Kafka's protocol that a member makes.
enum class Api : std::int16_t {
  kProduce = 0,
  kFetch = 1,
  kListOffsets = 2,
  kMetadata = 3,
  kOffsetCommit = 8,
  kOffsetFetch = 9,
  kFindCoordinator = 10,
  kJoinGroup = 11,
  kHeartbeat = 12,
  kSyncGroup = 14,
  kInitProducerId = 22,
};

/// librdkafka's own broker in memory, with one that answers as it is told. It shows what a client
/// makes of an answer, and nothing of durability: it keeps 5 MiB a partition and knows no repeats.
class MockCluster {
 public:
  MockCluster(const std::string& topic_prefix, std::int32_t partitions) {
    rd_kafka_conf_t* const configuration = rd_kafka_conf_new();
    char error[512];
    // What it says about itself is for nobody.
    rd_kafka_conf_set_log_cb(configuration, nullptr);
    holder_ = rd_kafka_new(RD_KAFKA_PRODUCER, configuration, error, sizeof error);
    cluster_ = rd_kafka_mock_cluster_new(holder_, 1);
    for (const eventlog::Topic topic : eventlog::kAllTopics) {
      rd_kafka_mock_topic_create(cluster_, (topic_prefix + std::string(Name(topic))).c_str(),
                                 partitions, 1);
    }
  }
  ~MockCluster() {
    rd_kafka_mock_cluster_destroy(cluster_);
    rd_kafka_destroy(holder_);
  }
  MockCluster(const MockCluster&) = delete;
  MockCluster& operator=(const MockCluster&) = delete;

  std::string bootstrap_servers() const { return rd_kafka_mock_cluster_bootstraps(cluster_); }

  /// The next requests of that kind are answered by these, in order.
  void AnswerBy(Api api, const std::vector<rd_kafka_resp_err_t>& errors) {
    for (const rd_kafka_resp_err_t error : errors) {
      rd_kafka_mock_broker_push_request_error_rtts(cluster_, kBroker, static_cast<int16_t>(api), 1,
                                                   error, 0);
    }
  }
  /// The next request of that kind is taken, and its answer comes so much later.
  void AnswerLate(Api api, std::chrono::milliseconds delay) {
    rd_kafka_mock_broker_push_request_error_rtts(cluster_, kBroker, static_cast<int16_t>(api), 1,
                                                 RD_KAFKA_RESP_ERR_NO_ERROR,
                                                 static_cast<int>(delay.count()));
  }
  /// What is said of a topic from now on.
  void AnswerFor(const std::string& topic, rd_kafka_resp_err_t error) {
    rd_kafka_mock_topic_set_error(cluster_, topic.c_str(), error);
  }
  /// How many of them were not asked for yet.
  std::size_t left(Api api) const {
    std::size_t count = 0;
    rd_kafka_mock_broker_error_stack_cnt(cluster_, kBroker, static_cast<int16_t>(api), &count);
    return count;
  }

 private:
  static constexpr std::int32_t kBroker = 1;
  rd_kafka_t* holder_ = nullptr;
  rd_kafka_mock_cluster_t* cluster_ = nullptr;
};

}  // namespace tributary::conformance

#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <librdkafka/rdkafka.h>

#include "libs/eventlog/inbox.h"
#include "libs/eventlog/kafka/kafka_log.h"
#include "libs/eventlog/log.h"

namespace tributary::eventlog::kafka {

/// Asks the brokers what librdkafka offers only as calls that block, on a thread of its own, many
/// questions in one request. Answers are facts.
class Questions {
 public:
  struct Question {
    enum class Kind : std::uint8_t {
      kEnd,
      kCommitted,
      kOutOfRange,
      /// Not a question: NudgeFetching. No fact comes of it.
      kNudge,
    };
    Kind kind{};
    std::uint64_t id = 0;
    Topic topic{};
    Partition partition = 0;
    /// Of kOutOfRange.
    Offset asked = 0;
  };

  /// `reader` is asked for ends, `member` for what its group has committed, `producer` for topics.
  /// They, and the options and the inbox, outlive this object.
  Questions(const KafkaOptions& options, rd_kafka_t* reader, rd_kafka_t* member,
            rd_kafka_t* producer, Inbox& inbox);
  /// Waits for the question under way: its time-out at most.
  ~Questions();

  void Ask(const Question& question);
  void RequestStop();

  /// True from when all topics were seen, each with the number of partitions that is configured. A
  /// wrong number is a Failed fact; what is missing for long is said to `on_log` once a minute.
  bool topics_are_there();

 private:
  void Run();
  /// False: ask again later.
  bool LookForTopics();
  bool LookForTopics(rd_kafka_t* client);
  void AnswerEnds(const std::vector<Question>& questions);
  void AnswerCommitted(const std::vector<Question>& questions);
  bool WaitOrStop(std::chrono::milliseconds time);

  const KafkaOptions& options_;
  rd_kafka_t* const reader_;
  rd_kafka_t* const member_;
  rd_kafka_t* const producer_;
  Inbox& inbox_;
  /// Of the thread: why the last look at the topics was not the last one.
  std::string missing_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_:
  std::vector<Question> waiting_;
  bool is_stopping_ = false;
  bool topics_are_there_ = false;
  std::thread thread_;
};

}  // namespace tributary::eventlog::kafka

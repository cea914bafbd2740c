#include "libs/eventlog/kafka/kafka_admin.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "libs/eventlog/clock.h"
#include "libs/eventlog/kafka/configuration.h"
#include "libs/eventlog/kafka/handles.h"
#include "libs/eventlog/kafka/messages.h"

namespace tributary::eventlog::kafka {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kRequestTimeoutMs = 30'000;
constexpr seconds kAppendTime{60};
constexpr seconds kSilenceMax{60};

using NewTopic = std::unique_ptr<rd_kafka_NewTopic_t, Deleter<rd_kafka_NewTopic_destroy>>;
using DeleteTopic = std::unique_ptr<rd_kafka_DeleteTopic_t, Deleter<rd_kafka_DeleteTopic_destroy>>;
using AdminOptions =
    std::unique_ptr<rd_kafka_AdminOptions_t, Deleter<rd_kafka_AdminOptions_destroy>>;

Settings TopicConfiguration(Topic topic, const KafkaOptions& options) {
  const TopicSettings& topics = options.topics;
  Settings settings = {
      {"max.message.bytes", std::to_string(topics.record_bytes_max + (64 << 10))},
      // Records are dated by the log, not by who writes them.
      {"message.timestamp.type", "LogAppendTime"},
      // What was acknowledged must not be lost to a replica that had fallen behind.
      {"unclean.leader.election.enable", "false"},
      {"min.insync.replicas", topics.replication_factor >= 3 ? "2" : "1"}};
  if (IsTable(topic)) {
    settings["cleanup.policy"] = "compact";
    settings["min.compaction.lag.ms"] = Milliseconds(topics.min_compaction_lag);
    settings["delete.retention.ms"] = Milliseconds(topics.delete_retention);
    for (const auto& [name, value] : options.table_settings) settings[name] = value;
  } else {
    settings["cleanup.policy"] = "delete";
    settings["retention.ms"] = Milliseconds(RetentionOf(topic, topics));
    settings["retention.bytes"] = std::to_string(topics.stream_partition_bytes_max);
  }
  return settings;
}

class Admin final : public LogAdmin {
 public:
  explicit Admin(const KafkaOptions& options) : options_(options) {}

  absl::Status EnsureTopics() override {
    if (absl::Status status = Connect(); !status.ok()) return status;
    if (absl::Status status = CreateTopics(producer_.get()); !status.ok()) return status;
    // A new topic is known to every broker only after a while.
    const Instant until = BootTime() + milliseconds(kRequestTimeoutMs);
    absl::Status status;
    do {
      status = LookAtTopics(producer_.get());
      if (status.ok()) status = LookAtTopics(reader_.get());
      if (!absl::IsUnavailable(status)) return status;
      std::this_thread::sleep_for(milliseconds(50));
    } while (BootTime() < until);
    return status;
  }

  absl::Status CheckTopics() override {
    // A consumer knows of no topic until it is told: what nobody asks for is not made by the
    // broker.
    absl::StatusOr<Configuration> configuration =
        MakeConfiguration(options_, ReaderSettings(options_, options_.topic_prefix + "setup"));
    if (!configuration.ok()) return configuration.status();
    const absl::StatusOr<Client> client = MakeClient(RD_KAFKA_CONSUMER, *std::move(configuration));
    if (!client.ok()) return client.status();
    return LookAtTopics(client->get(), /*all_topics=*/1);
  }

  absl::Status RemoveTopics() override {
    // Who knows of a topic asks for it again, and a broker may make again what is asked for.
    if (producer_ != nullptr) Disconnect();
    absl::StatusOr<Configuration> configuration =
        MakeConfiguration(options_, ReaderSettings(options_, options_.topic_prefix + "setup"));
    if (!configuration.ok()) return configuration.status();
    const absl::StatusOr<Client> client = MakeClient(RD_KAFKA_CONSUMER, *std::move(configuration));
    if (!client.ok()) return client.status();
    if (absl::Status status = DeleteTopics(client->get()); !status.ok()) return status;
    const Instant until = BootTime() + milliseconds(kRequestTimeoutMs);
    absl::StatusOr<std::string> left;
    do {
      left = AnyOfTopics(client->get());
      if (left.ok() && left->empty()) return absl::OkStatus();
      std::this_thread::sleep_for(milliseconds(50));
    } while (BootTime() < until);
    if (!left.ok()) return left.status();
    return absl::UnavailableError("topic " + *left + " is still there");
  }

  absl::StatusOr<std::vector<PartitionSetUp>> Inspect(Topic table) override {
    std::vector<PartitionSetUp> partitions(static_cast<std::size_t>(options_.topics.partitions));
    const absl::Status status = ReadAll(table, [&](const Record& record) {
      partitions[static_cast<std::size_t>(record.partition)].Add(record);
      return true;
    });
    if (!status.ok()) return status;
    return partitions;
  }

  absl::Status Append(Topic topic, const std::vector<NewRecord>& records) override {
    if (absl::Status status = Connect(); !status.ok()) return status;
    const Queue queue(rd_kafka_queue_get_main(producer_.get()));
    rd_kafka_topic_t* const handle = topics_[static_cast<std::size_t>(topic)].get();
    std::string error;
    std::size_t waiting = 0;
    for (const NewRecord& record : records) {
      const rd_kafka_resp_err_t code = Send(producer_.get(), handle, record.partition, record.key,
                                            record.value, record.headers, nullptr);
      if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        error = rd_kafka_err2str(code);
        break;
      }
      ++waiting;
    }
    const Instant until = BootTime() + kAppendTime;
    while (waiting > 0 && BootTime() < until) {
      const Event event(rd_kafka_queue_poll(queue.get(), 100));
      if (event == nullptr || rd_kafka_event_type(event.get()) != RD_KAFKA_EVENT_DR) continue;
      while (const rd_kafka_message_t* message = rd_kafka_event_message_next(event.get())) {
        --waiting;
        if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) error = rd_kafka_err2str(message->err);
      }
    }
    if (error.empty() && waiting > 0) error = "no acknowledgement in time";
    if (error.empty()) return absl::OkStatus();
    Disconnect();
    return absl::UnavailableError("writing to " + TopicName(options_, topic) + ": " + error);
  }

  absl::Status ReadAll(Topic topic, const std::function<bool(const Record&)>& visit) override {
    if (absl::Status status = Connect(); !status.ok()) return status;
    rd_kafka_t* const reader = reader_.get();
    // Also when `visit` ends it early: what is still under way belongs to no later call.
    struct Guard {
      rd_kafka_t* reader;
      ~Guard() { rd_kafka_assign(reader, nullptr); }
    } guard{reader};
    const Partitions list(rd_kafka_topic_partition_list_new(options_.topics.partitions));
    const std::string name = TopicName(options_, topic);
    for (Partition p = 0; p < options_.topics.partitions; ++p) {
      rd_kafka_topic_partition_list_add(list.get(), name.c_str(), p)->offset =
          RD_KAFKA_OFFSET_BEGINNING;
    }
    if (const rd_kafka_resp_err_t code = rd_kafka_assign(reader, list.get());
        code != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return absl::UnavailableError("reading " + name + ": " + rd_kafka_err2str(code));
    }
    std::set<Partition> ended;
    Instant last_heard = BootTime();
    std::string last_error = "the broker is silent";
    const FetchBounds bounds = FetchBoundsOf(options_);
    std::int64_t taken_records = 0;
    std::int64_t taken_bytes = 0;
    while (ended.size() < static_cast<std::size_t>(options_.topics.partitions)) {
      const Message message(rd_kafka_consumer_poll(reader, 200));
      if (message == nullptr || message->rkt == nullptr) {
        if (message != nullptr) last_error = rd_kafka_err2str(message->err);
        if (BootTime() - last_heard > kSilenceMax) {
          return absl::UnavailableError("reading " + name + ": " + last_error);
        }
        continue;
      }
      if (name != rd_kafka_topic_name(message->rkt)) continue;
      if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        ended.insert(message->partition);
      } else if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        last_error = rd_kafka_message_errstr(message.get());
        if (BootTime() - last_heard > kSilenceMax) {
          return absl::UnavailableError("reading " + name + ": " + last_error);
        }
        continue;
      } else if (!ended.contains(message->partition) && !visit(ToRecord(*message, topic))) {
        return absl::OkStatus();
      }
      last_heard = BootTime();
      ++taken_records;
      taken_bytes += static_cast<std::int64_t>(message->len);
      if (taken_records >= bounds.records_max / 4 || taken_bytes >= bounds.value_bytes_max / 4) {
        taken_records = taken_bytes = 0;
        const Partitions place(rd_kafka_topic_partition_list_new(1));
        rd_kafka_topic_partition_list_add(place.get(), name.c_str(), message->partition);
        NudgeFetching(reader, place.get(), kRequestTimeoutMs);
      }
    }
    return absl::OkStatus();
  }

  const TopicSettings& settings() const override { return options_.topics; }

 private:
  /// One producer and one reader for all calls: a new one takes a second to its first record.
  absl::Status Connect() {
    if (producer_ != nullptr) return absl::OkStatus();
    absl::StatusOr<Configuration> configuration =
        MakeConfiguration(options_, ProducerSettings(options_));
    if (!configuration.ok()) return configuration.status();
    rd_kafka_conf_set_events(configuration->get(), RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
    absl::StatusOr<Client> producer = MakeClient(RD_KAFKA_PRODUCER, *std::move(configuration));
    if (!producer.ok()) return producer.status();
    configuration =
        MakeConfiguration(options_, ReaderSettings(options_, options_.topic_prefix + "setup"));
    if (!configuration.ok()) return configuration.status();
    absl::StatusOr<Client> reader = MakeClient(RD_KAFKA_CONSUMER, *std::move(configuration));
    if (!reader.ok()) return reader.status();
    rd_kafka_poll_set_consumer(reader->get());
    producer_ = *std::move(producer);
    reader_ = *std::move(reader);
    topics_ = MakeTopicHandles(producer_.get(), options_, kAllTopics);
    reader_topics_ = MakeTopicHandles(reader_.get(), options_, kAllTopics);
    return absl::OkStatus();
  }

  /// After a record has failed, its producer takes no other.
  void Disconnect() {
    rd_kafka_purge(producer_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    topics_ = {};
    reader_topics_ = {};
    producer_.reset();
    reader_.reset();
  }

  absl::Status CreateTopics(rd_kafka_t* client) const {
    std::vector<NewTopic> owned;
    std::vector<rd_kafka_NewTopic_t*> topics;
    std::array<char, 512> text{};
    for (const Topic topic : kAllTopics) {
      NewTopic made(
          rd_kafka_NewTopic_new(TopicName(options_, topic).c_str(), options_.topics.partitions,
                                options_.topics.replication_factor, text.data(), text.size()));
      if (made == nullptr) return absl::InvalidArgumentError(text.data());
      for (const auto& [name, value] : TopicConfiguration(topic, options_)) {
        rd_kafka_NewTopic_set_config(made.get(), name.c_str(), value.c_str());
      }
      topics.push_back(made.get());
      owned.push_back(std::move(made));
    }
    return OrderForTopics(
        client, RD_KAFKA_ADMIN_OP_CREATETOPICS, "creating",
        [&](const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* queue) {
          rd_kafka_CreateTopics(client, topics.data(), topics.size(), options, queue);
        },
        [](rd_kafka_event_t* event, std::size_t* count) {
          return rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event),
                                                     count);
        },
        {RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS});
  }

  absl::Status DeleteTopics(rd_kafka_t* client) const {
    std::vector<DeleteTopic> owned;
    std::vector<rd_kafka_DeleteTopic_t*> topics;
    for (const Topic topic : kAllTopics) {
      owned.emplace_back(rd_kafka_DeleteTopic_new(TopicName(options_, topic).c_str()));
      topics.push_back(owned.back().get());
    }
    return OrderForTopics(
        client, RD_KAFKA_ADMIN_OP_DELETETOPICS, "removing",
        [&](const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* queue) {
          rd_kafka_DeleteTopics(client, topics.data(), topics.size(), options, queue);
        },
        [](rd_kafka_event_t* event, std::size_t* count) {
          return rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event),
                                                     count);
        },
        // A removal that takes long goes on; the caller waits.
        {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT});
  }

  using SendOrder = std::function<void(const rd_kafka_AdminOptions_t*, rd_kafka_queue_t*)>;
  using ResultsOf =
      std::function<const rd_kafka_topic_result_t**(rd_kafka_event_t*, std::size_t* count)>;

  /// Gives an order about topics and waits for what became of each. `accepted`: as good as done.
  static absl::Status OrderForTopics(rd_kafka_t* client, rd_kafka_admin_op_t operation,
                                     const std::string& doing, const SendOrder& send,
                                     const ResultsOf& results_of,
                                     const std::set<rd_kafka_resp_err_t>& accepted) {
    std::array<char, 512> text{};
    const AdminOptions options(rd_kafka_AdminOptions_new(client, operation));
    rd_kafka_AdminOptions_set_request_timeout(options.get(), kRequestTimeoutMs, text.data(),
                                              text.size());
    rd_kafka_AdminOptions_set_operation_timeout(options.get(), kRequestTimeoutMs / 2, text.data(),
                                                text.size());
    const Queue queue(rd_kafka_queue_new(client));
    send(options.get(), queue.get());
    const Event event(rd_kafka_queue_poll(queue.get(), kRequestTimeoutMs + 5000));
    if (event == nullptr) return absl::UnavailableError(doing + " topics: no answer");
    if (rd_kafka_event_error(event.get()) != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return absl::UnavailableError(doing + " topics: " + rd_kafka_event_error_string(event.get()));
    }
    std::size_t count = 0;
    const rd_kafka_topic_result_t** const results = results_of(event.get(), &count);
    for (std::size_t i = 0; i < count; ++i) {
      const rd_kafka_resp_err_t code = rd_kafka_topic_result_error(results[i]);
      if (code == RD_KAFKA_RESP_ERR_NO_ERROR || accepted.contains(code)) continue;
      const char* const why = rd_kafka_topic_result_error_string(results[i]);
      const std::string error = doing + " topic " + rd_kafka_topic_result_name(results[i]) + ": " +
                                (why != nullptr ? why : rd_kafka_err2str(code));
      switch (code) {
        case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
        case RD_KAFKA_RESP_ERR_NOT_CONTROLLER:
          return absl::UnavailableError(error);
        case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
          return absl::PermissionDeniedError(error);
        default:
          return absl::FailedPreconditionError(error);
      }
    }
    return absl::OkStatus();
  }

  /// One of the topics that are there. Empty: none is. Asks for all that the broker has, since to
  /// ask for one of them by name may make it.
  absl::StatusOr<std::string> AnyOfTopics(rd_kafka_t* client) const {
    const rd_kafka_metadata_t* metadata = nullptr;
    const rd_kafka_resp_err_t code =
        rd_kafka_metadata(client, /*all_topics=*/1, nullptr, &metadata, kRequestTimeoutMs);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return absl::UnavailableError(std::string("asking for topics: ") + rd_kafka_err2str(code));
    }
    const std::unique_ptr<const rd_kafka_metadata_t, Deleter<rd_kafka_metadata_destroy>> owned(
        metadata);
    for (const Topic topic : kAllTopics) {
      const std::string name = TopicName(options_, topic);
      for (int i = 0; i < metadata->topic_cnt; ++i) {
        if (name == metadata->topics[i].topic) return name;
      }
    }
    return std::string();
  }

  /// kUnavailable: not all are there, or not all have leaders.
  absl::Status LookAtTopics(rd_kafka_t* client, int all_topics = 0) const {
    const rd_kafka_metadata_t* metadata = nullptr;
    const rd_kafka_resp_err_t code =
        rd_kafka_metadata(client, all_topics, nullptr, &metadata, kRequestTimeoutMs);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return absl::UnavailableError(std::string("asking for topics: ") + rd_kafka_err2str(code));
    }
    const std::unique_ptr<const rd_kafka_metadata_t, Deleter<rd_kafka_metadata_destroy>> owned(
        metadata);
    for (const Topic topic : kAllTopics) {
      const std::string name = TopicName(options_, topic);
      const rd_kafka_metadata_topic_t* const begin = metadata->topics;
      const rd_kafka_metadata_topic_t* const end = begin + metadata->topic_cnt;
      const rd_kafka_metadata_topic_t* const found =
          std::find_if(begin, end, [&](const rd_kafka_metadata_topic_t& seen) {
            return name == seen.topic && seen.err == RD_KAFKA_RESP_ERR_NO_ERROR;
          });
      if (found == end) return absl::UnavailableError("topic " + name + " is not there");
      if (found->partition_cnt != options_.topics.partitions) {
        return absl::FailedPreconditionError(
            "topic " + name + " has " + std::to_string(found->partition_cnt) +
            " partitions; log.partitions says " + std::to_string(options_.topics.partitions));
      }
      for (int p = 0; p < found->partition_cnt; ++p) {
        if (found->partitions[p].err != RD_KAFKA_RESP_ERR_NO_ERROR) {
          return absl::UnavailableError("topic " + name + " has partitions without leaders");
        }
      }
    }
    return absl::OkStatus();
  }

  const KafkaOptions options_;
  Client reader_;
  Client producer_;
  // Behind their clients: they go first.
  TopicHandles topics_;
  TopicHandles reader_topics_;
};

}  // namespace

std::unique_ptr<LogAdmin> MakeAdmin(const KafkaOptions& options) {
  return std::make_unique<Admin>(options);
}

}  // namespace tributary::eventlog::kafka

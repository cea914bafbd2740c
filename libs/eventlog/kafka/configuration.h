#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "libs/eventlog/kafka/handles.h"
#include "libs/eventlog/kafka/kafka_log.h"
#include "libs/eventlog/log.h"

namespace tributary::eventlog::kafka {

/// From the first record of a request until it is sent.
inline constexpr std::chrono::milliseconds kLinger{5};
/// Longer no record waits to be acknowledged.
inline constexpr std::chrono::milliseconds kMessageTimeout{30'000};

inline constexpr int kWarning = 4;  // Of syslog.

using Settings = std::map<std::string, std::string>;

/// As settings have it.
std::string Milliseconds(Duration duration);

/// Every problem of the user's settings: path of an option, and why.
std::vector<std::pair<std::string, std::string>> ProblemsOf(const KafkaOptions& options);
/// All of them in one message.
absl::Status CheckSettings(const KafkaOptions& options);

/// What is allowed and will probably not work with this librdkafka (rd_kafka_version()). Empty: all
/// is well.
std::string WarningOf(const KafkaOptions& options, int librdkafka_version);

Settings ProducerSettings(const KafkaOptions& options);
/// Of the handle that joins the group, serves its assignment and commits, and fetches nothing.
Settings MemberSettings(const KafkaOptions& options, const std::string& group,
                        const std::string& instance);
/// What fetch_buffer_bytes comes to. librdkafka counts values alone, neither keys nor headers nor
/// what it keeps of each record, and looks only before it fetches: so each is a part of the whole.
struct FetchBounds {
  /// It fetches nothing while so many records, or so many bytes of values, were not taken out.
  std::int64_t records_max = 0;
  std::int64_t value_bytes_max = 0;
  /// Of one answer, compressed; but a first batch always comes whole.
  std::int64_t answer_bytes_max = 0;
};
FetchBounds FetchBoundsOf(const KafkaOptions& options);
/// 2.0.2 lets the thread of a broker sleep for a second when fetched messages reach a bound,
/// however soon they are taken out. Any request through that broker wakes it: this is one to the
/// leaders of `partitions`. Blocks for `timeout_ms` at most.
void NudgeFetching(rd_kafka_t* reader, rd_kafka_topic_partition_list_t* partitions, int timeout_ms);
/// Of a handle that reads where it is told, in no group.
Settings ReaderSettings(const KafkaOptions& options, const std::string& group);

/// The user's settings under `settings`. `opaque` is handed to callbacks of logging; it must be
/// `&options.on_log`, which outlives the client.
absl::StatusOr<Configuration> MakeConfiguration(const KafkaOptions& options,
                                                const Settings& settings);

absl::StatusOr<Client> MakeClient(rd_kafka_type_t type, Configuration configuration);

using TopicHandles = std::array<TopicHandle, kAllTopics.size()>;
/// By number; null for others than `topics`. librdkafka learns of the topics that have handles
/// whenever metadata comes; the first use of any other takes a second.
TopicHandles MakeTopicHandles(rd_kafka_t* client, const KafkaOptions& options,
                              std::span<const Topic> topics);
TopicHandle MakeTopicHandle(rd_kafka_t* client, const KafkaOptions& options, Topic topic);

std::string TopicName(const KafkaOptions& options, Topic topic);

}  // namespace tributary::eventlog::kafka

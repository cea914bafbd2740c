#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "libs/eventlog/admin.h"
#include "libs/eventlog/log_member.h"
#include "libs/time/time.h"

namespace tributary::eventlog {

struct KafkaOptions {
  std::string bootstrap_servers;
  /// In front of every topic's name.
  std::string topic_prefix = "tributary.";
  TopicSettings topics;
  /// After a member was last heard of, so long until its partitions go to others.
  Duration session_timeout = std::chrono::seconds(45);
  /// Bytes of fetched and not yet given records of one member.
  std::int64_t fetch_buffer_bytes = std::int64_t{8} << 20;
  /// Of one member, waiting to be acknowledged: above it Poll gives no Fetched; above four times of
  /// it Produce fails.
  std::int64_t produce_buffer_bytes = std::int64_t{32} << 20;
  /// About what one Poll gives at most.
  std::int64_t poll_bytes_max = std::int64_t{1} << 18;
  /// Straight to librdkafka: `security.protocol`, `ssl.ca.location`, … Passwords are given as the
  /// name of a file that holds them: `sasl.password.file`, `ssl.key.password.file`.
  std::map<std::string, std::string> settings;
  /// More settings of every table, for those who make topics.
  std::map<std::string, std::string> table_settings;
  /// librdkafka's own words, with a syslog level. Called from any thread. Empty: dropped.
  std::function<void(int level, std::string text)> on_log;
};

/// What a member has to do with. librdkafka looks at every partition of every topic that a handle
/// knows whenever it is woken, so each knows what it needs. Others than these may be read and
/// written too, but the first record waits a second.
struct KafkaTopics {
  /// Those whose offsets the group commits, since the broker forgets those of others after a week;
  /// their partitions are assigned together, by number.
  std::vector<Topic> committed;
  std::vector<Topic> read{kAllTopics.begin(), kAllTopics.end()};
  std::vector<Topic> written{kAllTopics.begin(), kAllTopics.end()};
};

/// The log on Kafka. Thread-safe; a member belongs to one thread.
class KafkaLog {
 public:
  /// What `Open` would not take: path of an option, e.g. `log.kafka.acks`, and why.
  static std::vector<std::pair<std::string, std::string>> ProblemsOf(const KafkaOptions& options);

  /// Looks at the options only; a broker that is away is waited for.
  ///
  /// Errors: kInvalidArgument naming every setting that is unknown, malformed or not the user's to
  /// choose, with the reason.
  static absl::StatusOr<std::unique_ptr<KafkaLog>> Open(KafkaOptions options);

  /// Joins as soon as all topics are there. `instance` is the same after a restart and no other
  /// member's: who comes later with it makes the earlier one fail.
  absl::StatusOr<std::unique_ptr<LogMember>> Join(const std::string& group,
                                                  const std::string& instance,
                                                  const KafkaTopics& topics);

  std::unique_ptr<LogAdmin> MakeAdmin();

 private:
  explicit KafkaLog(KafkaOptions options);
  const KafkaOptions options_;
};

}  // namespace tributary::eventlog

#include "libs/eventlog/kafka/configuration.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <sys/stat.h>

namespace tributary::eventlog::kafka {
namespace {

using std::chrono::milliseconds;

// What a batch adds to its largest record.
constexpr std::int64_t kBatchOverheadBytes = 64 << 10;

struct Refused {
  std::string_view name;
  std::string_view reason;
};

// What the protocol rests on, and what has an option of its own.
constexpr Refused kRefused[] = {
    {"bootstrap.servers", "it is log.bootstrap_servers"},
    {"metadata.broker.list", "it is log.bootstrap_servers"},
    {"group.id", "the group is named after the service"},
    {"group.instance.id", "it is log.instance"},
    {"session.timeout.ms", "it is log.session_timeout"},
    {"max.poll.interval.ms", "it follows from log.session_timeout"},
    {"heartbeat.interval.ms", "it follows from log.session_timeout"},
    {"partition.assignment.strategy", "partitions of all topics must go to one member together"},
    {"enable.auto.commit", "a position is committed after what it stands for is durable"},
    {"auto.commit.interval.ms", "a position is committed after what it stands for is durable"},
    {"enable.auto.offset.store", "a position is committed after what it stands for is durable"},
    {"auto.offset.reset", "a silent reset is a silent loss"},
    {"enable.partition.eof", "tables are read to their ends by it"},
    {"isolation.level", "transactions are not used"},
    {"transactional.id", "transactions are not used"},
    {"transaction.timeout.ms", "transactions are not used"},
    {"enable.idempotence", "the order of a partition rests on it"},
    {"enable.gapless.guarantee", "a failed record ends its producer anyway"},
    {"acks", "what is acknowledged must be durable"},
    {"request.required.acks", "what is acknowledged must be durable"},
    {"max.in.flight", "the order of a partition rests on it"},
    {"max.in.flight.requests.per.connection", "the order of a partition rests on it"},
    {"message.timeout.ms", "a dead owner's records must not come later than that"},
    {"delivery.timeout.ms", "a dead owner's records must not come later than that"},
    {"message.max.bytes", "it follows from the largest record"},
    {"receive.message.max.bytes", "it follows from log.fetch_buffer_bytes"},
    {"fetch.max.bytes", "it follows from log.fetch_buffer_bytes"},
    {"fetch.message.max.bytes", "it follows from log.fetch_buffer_bytes"},
    {"max.partition.fetch.bytes", "it follows from log.fetch_buffer_bytes"},
    {"queued.min.messages", "it follows from log.fetch_buffer_bytes"},
    {"queued.max.messages.kbytes", "it follows from log.fetch_buffer_bytes"},
    {"queue.buffering.max.kbytes", "the log bounds what waits"},
    {"queue.buffering.max.messages", "the log bounds what waits"},
    {"check.crcs", "a damaged record must be noticed"},
    {"partitioner", "the partition of a tenant is computed here"},
    {"plugin.library.paths", "code is not loaded by a setting"},
    {"test.mock.num.brokers", "a broker that is not there loses everything"},
    {"log_level", "it is logging.level"},
    {"enable.ssl.certificate.verification", "whoever answers would be believed"},
    {"ssl.endpoint.identification.algorithm", "any broker of the authority would be believed"},
    {"sasl.password",
     "secrets are not written into a configuration; name a file by sasl.password.file"},
    {"ssl.key.password",
     "secrets are not written into a configuration; name a file by ssl.key.password.file"},
    {"ssl.keystore.password",
     "secrets are not written into a configuration; name a file by ssl.keystore.password.file"},
    {"ssl.key.pem",
     "secrets are not written into a configuration; name a file by ssl.key.location"},
};

constexpr std::array<std::string_view, 3> kSecretFiles = {
    "sasl.password.file", "ssl.key.password.file", "ssl.keystore.password.file"};

bool IsSecretFile(std::string_view name) {
  return std::find(kSecretFiles.begin(), kSecretFiles.end(), name) != kSecretFiles.end();
}

/// Empty: fine.
std::string Set(rd_kafka_conf_t* configuration, const std::string& name, const std::string& value) {
  std::array<char, 512> error{};
  if (rd_kafka_conf_set(configuration, name.c_str(), value.c_str(), error.data(), error.size()) ==
      RD_KAFKA_CONF_OK) {
    return "";
  }
  return error.data();
}

/// Empty: fine.
std::string SetByUser(rd_kafka_conf_t* configuration, const std::string& name,
                      const std::string& value) {
  for (const Refused& refused : kRefused) {
    if (name == refused.name) return "is not for the configuration: " + std::string(refused.reason);
  }
  if (!IsSecretFile(name)) return Set(configuration, name, value);
  struct stat status = {};
  if (stat(value.c_str(), &status) == 0 && (status.st_mode & S_IRWXO) != 0) {
    return value + " is open to everybody; run: chmod o-rwx " + value;
  }
  std::ifstream file(value);
  std::string secret;
  std::getline(file, secret);
  if (!file && secret.empty()) return "cannot read a line of " + value;
  const std::string target = name.substr(0, name.size() - std::string_view(".file").size());
  // Not librdkafka's own message: it might repeat the value.
  return Set(configuration, target, secret).empty() ? "" : "is refused by librdkafka";
}

void OnLog(const rd_kafka_t* client, int level, const char* facility, const char* text) {
  const auto* on_log =
      static_cast<const std::function<void(int, std::string)>*>(rd_kafka_opaque(client));
  if (on_log != nullptr && *on_log) (*on_log)(level, std::string(facility) + ": " + text);
}

Settings Common(const KafkaOptions& options) {
  return {{"bootstrap.servers", options.bootstrap_servers},
          {"client.id", "tributary"},
          {"socket.keepalive.enable", "true"},
          {"reconnect.backoff.ms", "100"},
          {"reconnect.backoff.max.ms", "5000"}};
}

Settings Consumer(const KafkaOptions& options, const std::string& group) {
  Settings settings = Common(options);
  settings["group.id"] = group;
  settings["enable.auto.commit"] = "false";
  settings["enable.auto.offset.store"] = "false";
  settings["auto.offset.reset"] = "error";
  settings["check.crcs"] = "true";
  return settings;
}

}  // namespace

std::string Milliseconds(Duration duration) {
  return std::to_string(std::chrono::duration_cast<milliseconds>(duration).count());
}

TopicHandle MakeTopicHandle(rd_kafka_t* client, const KafkaOptions& options, Topic topic) {
  return TopicHandle(rd_kafka_topic_new(client, TopicName(options, topic).c_str(), nullptr));
}

TopicHandles MakeTopicHandles(rd_kafka_t* client, const KafkaOptions& options,
                              std::span<const Topic> topics) {
  TopicHandles handles;
  for (const Topic topic : topics) {
    handles[static_cast<std::size_t>(topic)] = MakeTopicHandle(client, options, topic);
  }
  return handles;
}

std::string TopicName(const KafkaOptions& options, Topic topic) {
  return options.topic_prefix + std::string(Name(topic));
}

std::vector<std::pair<std::string, std::string>> ProblemsOf(const KafkaOptions& options) {
  std::vector<std::pair<std::string, std::string>> problems;
  if (options.bootstrap_servers.empty()) {
    problems.emplace_back("log.bootstrap_servers", "name at least one");
  }
  const Configuration scratch(rd_kafka_conf_new());
  for (const auto& [name, value] : options.settings) {
    std::string problem = SetByUser(scratch.get(), name, value);
    if (!problem.empty()) problems.emplace_back("log.kafka." + name, std::move(problem));
  }
  return problems;
}

absl::Status CheckSettings(const KafkaOptions& options) {
  std::string text;
  for (const auto& [path, problem] : ProblemsOf(options)) {
    if (!text.empty()) text += "; ";
    text += path + ": " + problem;
  }
  if (text.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(text);
}

std::string WarningOf(const KafkaOptions& options, int librdkafka_version) {
  // Before 2.6.1 it repeats its own nonce in its last message of SCRAM, which brokers refuse since
  // they compare it as they should (CVE-2024-56128: 3.7.2, 3.8.1, 3.9.0 and newer).
  constexpr int kScramMended = 0x020601ff;
  if (librdkafka_version >= kScramMended) return "";
  for (const char* const name : {"sasl.mechanism", "sasl.mechanisms"}) {
    const auto mechanism = options.settings.find(name);
    if (mechanism == options.settings.end() || mechanism->second.rfind("SCRAM-", 0) != 0) continue;
    return "log.kafka." + mechanism->first + ": brokers from 3.7.2 on refuse the " +
           mechanism->second + " of librdkafka " + std::string(rd_kafka_version_str()) +
           "; use certificates (security.protocol: ssl), or PLAIN with security.protocol: "
           "sasl_ssl, or librdkafka 2.6.1";
  }
  return "";
}

Settings ProducerSettings(const KafkaOptions& options) {
  Settings settings = Common(options);
  settings["enable.idempotence"] = "true";
  settings["acks"] = "all";
  settings["message.timeout.ms"] = Milliseconds(kMessageTimeout);
  settings["message.max.bytes"] =
      std::to_string(options.topics.record_bytes_max + kBatchOverheadBytes);
  settings["queue.buffering.max.kbytes"] =
      std::to_string(std::max<std::int64_t>(options.produce_buffer_bytes * 5 / 1024, 1024));
  settings["queue.buffering.max.messages"] = "2000000";
  // 2.0.2 knows no exponential backoff.
  settings["retry.backoff.ms"] = "250";
  settings["linger.ms"] = Milliseconds(kLinger);
  settings["compression.codec"] = "lz4";
  return settings;
}

Settings MemberSettings(const KafkaOptions& options, const std::string& group,
                        const std::string& instance) {
  Settings settings = Consumer(options, group);
  settings["group.instance.id"] = instance;
  // Eager and by number. cooperative-sticky of 2.0.2 has five bugs that were fixed later.
  settings["partition.assignment.strategy"] = "range";
  settings["session.timeout.ms"] = Milliseconds(options.session_timeout);
  settings["heartbeat.interval.ms"] = Milliseconds(
      std::clamp<Duration>(options.session_timeout / 10, milliseconds(300), milliseconds(3000)));
  // A stage that does not poll any more is expelled, and a rebalance waits no longer for anybody.
  settings["max.poll.interval.ms"] =
      Milliseconds(std::max<Duration>(options.session_timeout, std::chrono::seconds(60)));
  settings["topic.metadata.refresh.interval.ms"] = "30000";
  // Its partitions are paused as soon as they are assigned.
  settings["queued.min.messages"] = "1";
  settings["queued.max.messages.kbytes"] = "64";
  return settings;
}

FetchBounds FetchBoundsOf(const KafkaOptions& options) {
  // A record of ours takes one to two kilobytes, 320 bytes of it librdkafka's object, and its
  // batch, of up to a megabyte, stays whole until the last of it was taken. One answer, five to ten
  // times as large when it is unpacked, comes on top of that.
  const std::int64_t bytes = options.fetch_buffer_bytes;
  return {.records_max = std::max<std::int64_t>(bytes / 8192, 1),
          .value_bytes_max = std::max<std::int64_t>(bytes / 8, 1024),
          .answer_bytes_max = std::max<std::int64_t>(bytes / 128, 1024)};
}

void NudgeFetching(rd_kafka_t* reader, rd_kafka_topic_partition_list_t* partitions,
                   int timeout_ms) {
  constexpr std::int64_t kLatest = RD_KAFKA_OFFSET_END;
  for (int i = 0; i < partitions->cnt; ++i) partitions->elems[i].offset = kLatest;
  rd_kafka_offsets_for_times(reader, partitions, timeout_ms);
}

Settings ReaderSettings(const KafkaOptions& options, const std::string& group) {
  // The group's name is there since librdkafka assigns nothing without one; this handle never
  // joins.
  Settings settings = Consumer(options, group);
  const std::int64_t largest = options.topics.record_bytes_max + kBatchOverheadBytes;
  const FetchBounds bounds = FetchBoundsOf(options);
  const std::string answer = std::to_string(bounds.answer_bytes_max);
  settings["enable.partition.eof"] = "true";
  // At either bound 2.0.2 fetches nothing for a whole second, unless somebody wakes it
  // (NudgeFetching).
  settings["queued.min.messages"] = std::to_string(bounds.records_max);
  settings["queued.max.messages.kbytes"] = std::to_string(bounds.value_bytes_max / 1024);
  settings["fetch.max.bytes"] = answer;
  settings["fetch.message.max.bytes"] = answer;
  // Of what is produced, and this handle produces nothing; but fetch.max.bytes may not be below it.
  settings["message.max.bytes"] = "1000";
  settings["receive.message.max.bytes"] =
      std::to_string(std::max(largest, bounds.answer_bytes_max) + (std::int64_t{1} << 20));
  settings["fetch.wait.max.ms"] = "100";
  // After an empty fetch or an error of one partition; 500 would be the rhythm of the pipeline.
  settings["fetch.error.backoff.ms"] = "100";
  return settings;
}

absl::StatusOr<Configuration> MakeConfiguration(const KafkaOptions& options,
                                                const Settings& settings) {
  Configuration configuration(rd_kafka_conf_new());
  // A broker that vanishes without a reset is noticed by then; the user may choose otherwise.
  Set(configuration.get(), "socket.timeout.ms", "30000");
  for (const auto& [name, value] : options.settings) {
    if (const std::string error = SetByUser(configuration.get(), name, value); !error.empty()) {
      return absl::InvalidArgumentError("log.kafka." + name + ": " + error);
    }
  }
  for (const auto& [name, value] : settings) {
    if (const std::string error = Set(configuration.get(), name, value); !error.empty()) {
      return absl::InvalidArgumentError(error);
    }
  }
  rd_kafka_conf_set_log_cb(configuration.get(), OnLog);
  rd_kafka_conf_set_opaque(configuration.get(),
                           const_cast<std::function<void(int, std::string)>*>(&options.on_log));
  return configuration;
}

absl::StatusOr<Client> MakeClient(rd_kafka_type_t type, Configuration configuration) {
  std::array<char, 512> error{};
  rd_kafka_t* client = rd_kafka_new(type, configuration.get(), error.data(), error.size());
  if (client == nullptr) return absl::InvalidArgumentError(error.data());
  (void)configuration.release();  // The client has taken it.
  return Client(client);
}

}  // namespace tributary::eventlog::kafka

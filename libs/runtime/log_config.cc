#include "libs/runtime/log_config.h"

#include <array>

#include <unistd.h>

#include "libs/config/quantities.h"

namespace tributary::runtime {

eventlog::TopicSettings TopicSettingsFrom(const v1::LogConfig& config) {
  return {.partitions = config.partitions(),
          .replication_factor = config.replication_factor(),
          .min_compaction_lag = config::FromProto(config.min_compaction_lag()),
          .delete_retention = config::FromProto(config.delete_retention())};
}

eventlog::KafkaOptions KafkaOptionsFrom(const v1::LogConfig& config, Logger& logger) {
  eventlog::KafkaOptions options;
  options.bootstrap_servers = config.bootstrap_servers();
  options.topic_prefix = config.topic_prefix();
  options.topics = TopicSettingsFrom(config);
  options.session_timeout = config::FromProto(config.session_timeout());
  options.fetch_buffer_bytes = config.fetch_buffer_bytes();
  options.settings.insert(config.kafka().begin(), config.kafka().end());
  options.on_log = [&logger](int level, std::string text) {
    // Syslog: 3 is an error, 4 a warning. An error of librdkafka's is mostly a broker that is away,
    // which it mends by itself.
    logger.Log(level <= 4 ? Logger::Level::kWarning : Logger::Level::kDebug, "Kafka client.",
               {{"said", std::move(text)}});
  };
  return options;
}

std::string GroupOf(const v1::LogConfig& config, std::string_view service) {
  return config.topic_prefix() + std::string(service);
}

std::string InstanceOf(const v1::LogConfig& config) {
  if (!config.instance().empty()) return config.instance();
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "unnamed";
  return name.data();
}

eventlog::KafkaTopics TopicsOf(std::string_view service) {
  using eventlog::Topic;
  if (service == "extractor") {
    return {.committed = {Topic::kNotifications},
            .read = {Topic::kTenants, Topic::kChanges, Topic::kCursors, Topic::kNotifications},
            .written = {Topic::kCursors, Topic::kChanges, Topic::kEvents, Topic::kNotifications}};
  }
  if (service == "transformer") {
    return {.committed = {Topic::kChanges, Topic::kEvents},
            .read = {Topic::kTenants, Topic::kChanges, Topic::kEvents, Topic::kCommands},
            .written = {Topic::kCommands, Topic::kNotifications}};
  }
  if (service == "loader") {
    return {.committed = {Topic::kCommands},
            .read = {Topic::kTenants, Topic::kCommands, Topic::kRecords},
            .written = {Topic::kRecords, Topic::kCommands, Topic::kOutcomes}};
  }
  return {.committed = {Topic::kTenants}, .read = {Topic::kTenants}, .written = {Topic::kTenants}};
}

}  // namespace tributary::runtime

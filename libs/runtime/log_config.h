#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libs/eventlog/admin.h"
#include "libs/eventlog/kafka/kafka_log.h"
#include "libs/stage/stage.h"
#include "tributary/v1/config.pb.h"

// The log as a configuration describes it, the same for every process.

namespace tributary::runtime {

eventlog::TopicSettings TopicSettingsFrom(const v1::LogConfig& config);

/// `logger` gets librdkafka's own words and outlives the log.
eventlog::KafkaOptions KafkaOptionsFrom(const v1::LogConfig& config, Logger& logger);

/// `<prefix>loader`
std::string GroupOf(const v1::LogConfig& config, std::string_view service);

/// What is configured, else the host's name.
std::string InstanceOf(const v1::LogConfig& config);

/// What a service has to do with.
eventlog::KafkaTopics TopicsOf(std::string_view service);

}  // namespace tributary::runtime

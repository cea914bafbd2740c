#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "libs/eventlog/kafka/kafka_log.h"

namespace tributary::eventlog::kafka {

absl::StatusOr<std::unique_ptr<LogMember>> MakeMember(const KafkaOptions& options,
                                                      const std::string& group,
                                                      const std::string& instance,
                                                      const KafkaTopics& topics);

}  // namespace tributary::eventlog::kafka

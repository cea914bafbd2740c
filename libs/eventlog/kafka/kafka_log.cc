#include "libs/eventlog/kafka/kafka_log.h"

#include <utility>

#include "libs/eventlog/kafka/configuration.h"
#include "libs/eventlog/kafka/kafka_admin.h"
#include "libs/eventlog/kafka/kafka_member.h"

namespace tributary::eventlog {

KafkaLog::KafkaLog(KafkaOptions options) : options_(std::move(options)) {}

std::vector<std::pair<std::string, std::string>> KafkaLog::ProblemsOf(const KafkaOptions& options) {
  return kafka::ProblemsOf(options);
}

absl::StatusOr<std::unique_ptr<KafkaLog>> KafkaLog::Open(KafkaOptions options) {
  if (absl::Status status = kafka::CheckSettings(options); !status.ok()) return status;
  constexpr int kWarning = 4;  // Of syslog.
  if (std::string warning = kafka::WarningOf(options, rd_kafka_version());
      !warning.empty() && options.on_log) {
    options.on_log(kWarning, std::move(warning));
  }
  return std::unique_ptr<KafkaLog>(new KafkaLog(std::move(options)));
}

absl::StatusOr<std::unique_ptr<LogMember>> KafkaLog::Join(const std::string& group,
                                                          const std::string& instance,
                                                          const KafkaTopics& topics) {
  if (group.empty() || instance.empty() || topics.committed.empty()) {
    return absl::InvalidArgumentError("joining needs a group, an instance and a topic");
  }
  return kafka::MakeMember(options_, group, instance, topics);
}

std::unique_ptr<LogAdmin> KafkaLog::MakeAdmin() { return kafka::MakeAdmin(options_); }

}  // namespace tributary::eventlog

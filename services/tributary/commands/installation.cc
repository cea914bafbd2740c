#include "services/tributary/commands/installation.h"

#include <chrono>
#include <thread>
#include <utility>

#include "libs/runtime/log_config.h"
#include "libs/verify/verify.h"

namespace tributary::cli {

std::string ProblemsOf(const config::Loaded& loaded) {
  std::string text;
  for (const config::Problem& problem : loaded.problems) {
    text += (text.empty() ? "" : "\n") + config::Format(problem);
  }
  return text;
}

config::Loaded LoadInstallation(const std::string& file) {
  config::LoadOptions options;
  options.allow_tenants = true;
  options.check_files = false;
  options.environment = config::ProcessEnvironment();
  return config::Load(file, options);
}

absl::Status OpenAdminLog(const v1::LogConfig& config, AdminLog& log) {
  if (config.kind() == "kafka") {
    absl::StatusOr<std::unique_ptr<eventlog::KafkaLog>> opened =
        eventlog::KafkaLog::Open(runtime::KafkaOptionsFrom(config, log.logger));
    if (!opened.ok()) {
      return opened.status();
    }
    log.kafka = *std::move(opened);
    log.admin = log.kafka->MakeAdmin();
    return absl::OkStatus();
  }
  absl::StatusOr<std::unique_ptr<eventlog::EmbeddedLog>> opened =
      eventlog::EmbeddedLog::Open({.directory = config.data_directory() + "/log",
                                   .topics = runtime::TopicSettingsFrom(config)});
  if (!opened.ok()) {
    return opened.status();
  }
  log.embedded = *std::move(opened);
  log.admin = log.embedded->MakeAdmin();
  return absl::OkStatus();
}

absl::StatusOr<v1::VerifyResponse> VerifyLog(eventlog::LogAdmin& admin, Duration action_age) {
  return verify::Verify(
      {.partitions = admin.settings().partitions,
       .read_all = [&](eventlog::Topic topic,
                       const auto& visit) { return admin.ReadAll(topic, visit); }},
      {.action_age = action_age,
       .wait = [] { std::this_thread::sleep_for(std::chrono::seconds(3)); }});
}

}  // namespace tributary::cli

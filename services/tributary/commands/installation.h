#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "libs/config/config.h"
#include "libs/eventlog/embedded/embedded_log.h"
#include "libs/eventlog/kafka/kafka_log.h"
#include "libs/stage/stage.h"
#include "tributary/v1/config.pb.h"
#include "tributary/v1/control.pb.h"

// An installation as its configuration file says, for commands that work on it without control.

namespace tributary::cli {

/// A service's file, or one of `tributary dev`; secrets and mappings are not looked at.
config::Loaded LoadInstallation(const std::string& file);
/// One a line, each with its place.
std::string ProblemsOf(const config::Loaded& loaded);

class QuietLogger : public Logger {
 public:
  void Log(Level, std::string_view, const Fields&) override {}
};

/// The log of a configuration, for administration. Kept alive together.
struct AdminLog {
  QuietLogger logger;
  std::unique_ptr<eventlog::KafkaLog> kafka;
  std::unique_ptr<eventlog::EmbeddedLog> embedded;
  std::unique_ptr<eventlog::LogAdmin> admin;
};

/// An embedded log must not be held by another process.
absl::Status OpenAdminLog(const v1::LogConfig& config, AdminLog& log);

/// Reads the topics, twice if the first time finds something.
absl::StatusOr<v1::VerifyResponse> VerifyLog(eventlog::LogAdmin& admin, Duration action_age);

}  // namespace tributary::cli

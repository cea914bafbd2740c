#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

#include "libs/eventlog/admin.h"
#include "libs/eventlog/directory_lock.h"
#include "libs/eventlog/log_member.h"
#include "libs/runtime/stage_runner.h"
#include "libs/stage/stage.h"
#include "services/tributary/dev_flags.h"
#include "tributary/v1/config.pb.h"

// What `tributary dev` stands on: its configuration, its directory and its log.

namespace tributary::dev {

/// The configuration file, or the demo's own, under the flags. Problems were printed; none:
/// exit 78.
std::optional<v1::ConfigFile> MakeConfig(const Flags& flags);

/// The directory is made for this run alone, and so are topics without a prefix of the user's.
bool IsForThisRunOnly(const Flags& flags);

/// Topics as a demo finds them: those that an earlier demo left are removed and made again, since
/// what they say of its made-up site would be taken for this one's.
///
/// Errors: kFailedPrecondition when they hold anything but a demo's data.
absl::Status ClearDemoTopics(eventlog::LogAdmin& admin, const std::string& topic_prefix);

/// Holds the data directory for this process alone. A made-up site is new each time, so what an
/// earlier demo kept about its site is removed; a directory that no demo has made is left alone.
class DataDirectory {
 public:
  /// Errors: kFailedPrecondition when another process has it, or it holds data of no demo.
  static absl::StatusOr<DataDirectory> Take(const std::string& path, bool for_demo);

  DataDirectory(DataDirectory&&) = default;
  DataDirectory& operator=(DataDirectory&&) = default;

  const std::string& path() const { return path_; }

 private:
  DataDirectory(std::string path, eventlog::DirectoryLock lock)
      : path_(std::move(path)), lock_(std::move(lock)) {}

  std::string path_;
  eventlog::DirectoryLock lock_;
};

/// The embedded log or Kafka, by configuration.
class Log {
 public:
  virtual ~Log() = default;
  /// Of a service, with local stores of its own.
  virtual absl::StatusOr<runtime::StageParts> Join(const std::string& service) = 0;
  virtual std::unique_ptr<eventlog::LogAdmin> MakeAdmin() = 0;
  /// Protocol rule 14.
  virtual bool predecessor_is_dead() const = 0;
  /// Why nothing can be written any more by this process, though a new one may. Empty: it can.
  virtual std::string broken() const = 0;
};
/// Both outlive the log.
absl::StatusOr<std::unique_ptr<Log>> OpenLog(const v1::LogConfig& config,
                                             const DataDirectory& directory, Logger& logger);

}  // namespace tributary::dev

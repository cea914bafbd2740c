#include "services/tributary/dev_ground.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <mutex>

#include <unistd.h>

#include "libs/config/config.h"
#include "libs/eventlog/embedded/embedded_log.h"
#include "libs/eventlog/lmdb_stores.h"
#include "libs/ids/keys.h"
#include "libs/runtime/log_config.h"
#include "services/tributary/dev_demo.h"
#include "tributary/v1/tenants.pb.h"

namespace tributary::dev {
namespace {

namespace fs = std::filesystem;

/// Says that what lies beside it was made for a made-up site.
constexpr const char* kDemoMark = "demo";
constexpr const char* kDefaultData = "./tributary-data";

class EmbeddedDevLog final : public Log {
 public:
  EmbeddedDevLog(std::unique_ptr<eventlog::EmbeddedLog> log, const v1::LogConfig& config,
                 std::string stores)
      : log_(std::move(log)), config_(config), stores_(std::move(stores)) {}

  absl::StatusOr<runtime::StageParts> Join(const std::string& service) override {
    auto stores = eventlog::MakeLmdbStores(stores_ + "/" + service);
    if (!stores.ok()) return stores.status();
    auto member = log_->Join(runtime::GroupOf(config_, service), runtime::InstanceOf(config_));
    if (!member.ok()) {
      NoteWhetherBroken();
      return member.status();
    }
    return runtime::StageParts{.stores = *std::move(stores), .log = *std::move(member)};
  }
  std::unique_ptr<eventlog::LogAdmin> MakeAdmin() override { return log_->MakeAdmin(); }
  bool predecessor_is_dead() const override { return true; }
  std::string broken() const override {
    const std::lock_guard lock(mutex_);
    return broken_;
  }

 private:
  /// After any failure but a full disk the log trusts its file no more, for as long as it is open.
  void NoteWhetherBroken() {
    const absl::Status status = log_->Housekeep();
    if (status.code() != absl::StatusCode::kFailedPrecondition) return;
    const std::lock_guard lock(mutex_);
    broken_ = std::string(status.message());
  }

  const std::unique_ptr<eventlog::EmbeddedLog> log_;
  mutable std::mutex mutex_;
  std::string broken_;
  const v1::LogConfig config_;
  const std::string stores_;
};

class KafkaDevLog final : public Log {
 public:
  KafkaDevLog(std::unique_ptr<eventlog::KafkaLog> log, const v1::LogConfig& config,
              std::string stores)
      : log_(std::move(log)), config_(config), stores_(std::move(stores)) {}

  absl::StatusOr<runtime::StageParts> Join(const std::string& service) override {
    auto stores = eventlog::MakeLmdbStores(stores_ + "/" + service);
    if (!stores.ok()) return stores.status();
    auto member = log_->Join(runtime::GroupOf(config_, service), runtime::InstanceOf(config_),
                             runtime::TopicsOf(service));
    if (!member.ok()) return member.status();
    return runtime::StageParts{.stores = *std::move(stores), .log = *std::move(member)};
  }
  std::unique_ptr<eventlog::LogAdmin> MakeAdmin() override { return log_->MakeAdmin(); }
  /// Another machine may be a member of the group.
  bool predecessor_is_dead() const override { return false; }
  std::string broken() const override { return ""; }

 private:
  const std::unique_ptr<eventlog::KafkaLog> log_;
  const v1::LogConfig config_;
  const std::string stores_;
};

}  // namespace

std::optional<v1::ConfigFile> MakeConfig(const Flags& flags) {
  config::LoadOptions options;
  options.allow_tenants = true;
  options.environment = config::ProcessEnvironment();
  const auto set = [&options](const std::optional<std::string>& value, const char* path,
                              const char* name) {
    if (value) options.flags.push_back({.path = path, .value = *value, .name = name});
  };
  set(flags.log, "log.kind", "--log");
  set(flags.bootstrap_servers, "log.bootstrap_servers", "--bootstrap-servers");
  set(flags.topic_prefix, "log.topic_prefix", "--topic-prefix");
  set(flags.data, "log.data_directory", "--data");
  // Everything of a demo starts sooner with few partitions; they are chosen once for life.
  static constexpr const char* kDemo = "log: {partitions: 8}\n";
  config::Loaded loaded = flags.simulator ? config::LoadText(kDemo, "tributary dev", options)
                                          : config::Load(flags.config, options);
  for (const std::string& warning : loaded.warnings) std::cerr << "warning: " << warning << '\n';
  for (const config::Problem& problem : loaded.problems) {
    std::cerr << config::Format(problem) << '\n';
  }
  if (!loaded.problems.empty()) return std::nullopt;

  v1::LogConfig& log = *loaded.config.mutable_log();
  if (IsForThisRunOnly(flags)) {
    // Two of them may run beside each other.
    std::string made = (fs::temp_directory_path() / "tributary-once-XXXXXX").string();
    if (mkdtemp(made.data()) == nullptr) {
      std::cerr << "error: no temporary directory can be made at " << made
                << "\nfix: give a directory with --data\n";
      return std::nullopt;
    }
    log.set_data_directory(made);
  }
  if (log.data_directory().empty()) log.set_data_directory(kDefaultData);
  std::error_code ignored;
  // Also of a directory that does not exist yet: the topics' prefix is made of it.
  const fs::path absolute = fs::weakly_canonical(fs::absolute(log.data_directory()), ignored);
  if (!absolute.empty()) log.set_data_directory(absolute.string());
  if (!flags.topic_prefix && (flags.simulator || log.topic_prefix() == "tributary.")) {
    log.set_topic_prefix("dev-" + ids::Sha256Hex(log.data_directory()).substr(0, 12) + ".");
  }
  if (log.instance().empty()) log.set_instance("dev");
  v1::ControlConfig& control = *loaded.config.mutable_control();
  control.set_database(log.data_directory() + "/control.db");
  control.set_tls_directory(log.data_directory() + "/tls");
  if (control.master_key_file().empty()) {
    control.set_master_key_file(log.data_directory() + "/master.key");
  }
  return std::move(loaded.config);
}

bool IsForThisRunOnly(const Flags& flags) { return flags.simulator && flags.once && !flags.data; }

absl::Status ClearDemoTopics(eventlog::LogAdmin& admin, const std::string& topic_prefix) {
  const auto tenants = admin.Inspect(eventlog::Topic::kTenants);
  if (!tenants.ok()) return tenants.status();
  const bool is_new =
      std::none_of(tenants->begin(), tenants->end(),
                   [](const eventlog::PartitionSetUp& partition) { return partition.has_others; });
  if (is_new) return absl::OkStatus();
  int demos = 0;
  std::string foreign;
  const absl::Status read =
      admin.ReadAll(eventlog::Topic::kTenants, [&](const eventlog::Record& record) {
        v1::TenantSnapshot snapshot;
        if (record.key.starts_with('!') || !record.value) return true;
        const bool is_demo = snapshot.ParseFromString(*record.value) && IsDemoTenant(snapshot);
        if (!is_demo) foreign = record.key;
        demos += is_demo ? 1 : 0;
        return is_demo;
      });
  if (!read.ok()) return read;
  // Without a tenant nothing says whose they are, but for the name.
  if (!foreign.empty() || (demos == 0 && !topic_prefix.starts_with("dev-"))) {
    return absl::FailedPreconditionError("topics " + topic_prefix +
                                         "* hold data that no demo has made" +
                                         (foreign.empty() ? "" : " (tenant " + foreign + ")") +
                                         "\nfix: give another --topic-prefix or --data");
  }
  if (absl::Status removed = admin.RemoveTopics(); !removed.ok()) return removed;
  return admin.EnsureTopics();
}

absl::StatusOr<DataDirectory> DataDirectory::Take(const std::string& path, bool for_demo) {
  std::error_code error;
  const bool is_new = !fs::exists(path, error) || fs::is_empty(path, error);
  const bool is_demo = fs::exists(fs::path(path) / kDemoMark, error);
  if (for_demo && !is_new && !is_demo) {
    return absl::FailedPreconditionError(
        "directory " + path +
        " holds data that no demo has made\nfix: give another one with --data");
  }
  if (!for_demo && is_demo) {
    return absl::FailedPreconditionError(
        "directory " + path + " holds the data of a demo\nfix: give another one with --data");
  }
  auto lock = eventlog::DirectoryLock::Acquire(path);
  if (!lock.ok()) {
    return absl::Status(lock.status().code(),
                        std::string(lock.status().message()) +
                            "\nfix: give another directory with --data, or mend this one");
  }
  if (for_demo) {
    for (const auto& entry : fs::directory_iterator(path, error)) {
      if (entry.path().filename() != "lock") fs::remove_all(entry.path(), error);
    }
    std::ofstream(fs::path(path) / kDemoMark)
        << "Made by `tributary dev` for a made-up site, and removed by its next start.\n";
  }
  return DataDirectory(path, *std::move(lock));
}

absl::StatusOr<std::unique_ptr<Log>> OpenLog(const v1::LogConfig& config,
                                             const DataDirectory& directory, Logger& logger) {
  const std::string stores = directory.path() + "/stores";
  if (config.kind() == "kafka") {
    auto log = eventlog::KafkaLog::Open(runtime::KafkaOptionsFrom(config, logger));
    if (!log.ok()) return log.status();
    return std::make_unique<KafkaDevLog>(*std::move(log), config, stores);
  }
  auto log = eventlog::EmbeddedLog::Open(
      {.directory = directory.path() + "/log", .topics = runtime::TopicSettingsFrom(config)});
  if (!log.ok()) return log.status();
  return std::make_unique<EmbeddedDevLog>(*std::move(log), config, stores);
}

}  // namespace tributary::dev

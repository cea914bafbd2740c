#include "services/control/app.h"

#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "libs/config/config.h"
#include "libs/eventlog/clock.h"
#include "libs/eventlog/kafka/kafka_log.h"
#include "libs/observe/build_info.h"
#include "libs/observe/logger.h"
#include "libs/observe/metrics.h"
#include "libs/runtime/admin.h"
#include "libs/runtime/levels.h"
#include "libs/runtime/log_config.h"
#include "libs/runtime/random.h"
#include "libs/runtime/stage_runner.h"
#include "libs/tls/tls.h"
#include "libs/verify/verify.h"
#include "services/control/catalogue_files.h"
#include "services/control/control_core.h"
#include "services/control/control_server.h"
#include "services/control/database.h"
#include "services/control/metrics.h"
#include "services/control/publisher.h"
#include "services/control/vault.h"
#include "services/control/verifications.h"

namespace tributary::control {
namespace {

constexpr int kTemporary = 75;
constexpr int kConfiguration = 78;
// A turn of the loop that takes longer than this does not come back.
constexpr Duration kTurnMax = std::chrono::minutes(2);
constexpr Duration kFoundingDelay = std::chrono::seconds(2);
// Between two lives of the publisher: it waits for topics more often than it fails.
constexpr Duration kRestartDelayMax = std::chrono::seconds(2);

int Refuse(int code, const std::string& problem) {
  std::cerr << "control: " << problem << '\n';
  return code;
}

v1::BuildInfo BuildInfoProto() {
  const observe::BuildInfo info = observe::GetBuildInfo();
  v1::BuildInfo proto;
  proto.set_version(info.version);
  proto.set_commit(info.commit);
  proto.set_compiler(info.compiler);
  proto.mutable_libraries()->insert(info.libraries.begin(), info.libraries.end());
  return proto;
}

class NoControl : public ControlPort {
 public:
  void Send(const v1::FromService&) override {}
};

// Makes and founds the topics on a thread of its own: a broker that is away blocks each try for
// half a minute, and control must answer meanwhile.
class Founder {
 public:
  Founder(eventlog::KafkaLog& log, Logger& logger) : log_(log), logger_(logger) {
    thread_ = std::thread([this] { Run(); });
  }
  ~Founder() {
    Stop();
    thread_.join();
  }

  // Ok: the topics are there, and founded.
  absl::Status status() const {
    const std::lock_guard lock(mutex_);
    return status_;
  }
  // True: the thread has ended, or will at once.
  bool Stop() {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
    changed_.notify_all();
    return !is_trying_;
  }

 private:
  void Run() {
    std::unique_lock lock(mutex_);
    while (!is_stopping_) {
      is_trying_ = true;
      lock.unlock();
      absl::Status result = Try();
      lock.lock();
      is_trying_ = false;
      status_ = std::move(result);
      if (status_.ok()) {
        return;
      }
      logger_.Log(Logger::Level::kWarning, "Topics cannot be set up; trying again.",
                  {{"problem", std::string(status_.message())}});
      changed_.wait_for(lock, kFoundingDelay, [&] { return is_stopping_; });
    }
  }

  absl::Status Try() {
    const std::unique_ptr<eventlog::LogAdmin> admin = log_.MakeAdmin();
    if (absl::Status made = admin->EnsureTopics(); !made.ok()) {
      return made;
    }
    return eventlog::Found(*admin, {.now = eventlog::SystemTime(), .random = runtime::Random64})
        .status();
  }

  eventlog::KafkaLog& log_;
  Logger& logger_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  absl::Status status_ = absl::UnavailableError("topics are being set up");
  bool is_stopping_ = false;
  bool is_trying_ = false;
  std::thread thread_;
};

verify::Reader ReaderOf(eventlog::KafkaLog& log) {
  const std::shared_ptr<eventlog::LogAdmin> admin = log.MakeAdmin();
  return {.partitions = admin->settings().partitions,
          .read_all = [admin](eventlog::Topic topic, const auto& visit) {
            return admin->ReadAll(topic, visit);
          }};
}

}  // namespace

int Run(const v1::ConfigFile& config, runtime::StopSignals& signals) {
  if (config.log().kind() != "kafka") {
    return Refuse(kConfiguration,
                  "log.kind: services in processes of their own need `kafka`; for one machine run "
                  "`tributary dev --no-simulator --config FILE`");
  }
  if (config.control().tls_directory().empty()) {
    return Refuse(kConfiguration,
                  "control.tls_directory: must be set; `tributary tls init DIR` makes DIR/control");
  }
  const absl::StatusOr<tls::Identity> identity = tls::Load(config.control().tls_directory());
  if (!identity.ok()) {
    return Refuse(kConfiguration,
                  "control.tls_directory: " + std::string(identity.status().message()));
  }

  observe::Metrics metrics;
  observe::AddBuildInfo(metrics);
  observe::LogOptions log_options{.service = "control"};
  log_options.level = observe::ParseLevel(config.logging().level()).value_or(log_options.level);
  log_options.format = observe::ParseFormat(config.logging().format()).value_or(log_options.format);
  const std::unique_ptr<Logger> logger = observe::MakeLogger(log_options, metrics);

  std::string key_file = config.control().master_key_file();
  if (key_file.empty()) {
    key_file = std::filesystem::path(config.control().database()).parent_path() / "master.key";
  }
  const absl::StatusOr<std::unique_ptr<Vault>> vault = Vault::Open(key_file);
  if (!vault.ok()) {
    return Refuse(kConfiguration, std::string(vault.status().message()));
  }
  const absl::StatusOr<std::unique_ptr<Database>> database =
      Database::Open(config.control().database(), **vault);
  if (!database.ok()) {
    return Refuse(kTemporary, std::string(database.status().message()));
  }
  const std::unique_ptr<Catalogue> catalogue = MakeCatalogue();
  const absl::StatusOr<std::unique_ptr<ControlCore>> core =
      ControlCore::Make({.partitions = config.log().partitions(), .build = BuildInfoProto()},
                        **database, *catalogue, *logger);
  if (!core.ok()) {
    return Refuse(kTemporary, std::string(core.status().message()));
  }

  const absl::StatusOr<std::unique_ptr<eventlog::KafkaLog>> log =
      eventlog::KafkaLog::Open(runtime::KafkaOptionsFrom(config.log(), *logger));
  if (!log.ok()) {
    return Refuse(kConfiguration, std::string(log.status().message()));
  }
  const std::string instance = runtime::InstanceOf(config.log());
  Founder founder(**log, *logger);
  runtime::StageRunner runner(
      {.service = "control",
       .restart_delay_max = kRestartDelayMax,
       .measure = MeasureInto(metrics, **core)},
      [&]() -> absl::StatusOr<runtime::StageParts> {
        // Services wait for topics, and so does the publisher (section 0).
        if (absl::Status founded = founder.status(); !founded.ok()) {
          return founded;
        }
        absl::StatusOr<std::unique_ptr<eventlog::LogMember>> member = (*log)->Join(
            runtime::GroupOf(config.log(), "control"), instance, runtime::TopicsOf("control"));
        if (!member.ok()) {
          return member.status();
        }
        // The table is small, and read from its start each time.
        return runtime::StageParts{.stores = eventlog::MakeMemoryStores(),
                                   .log = *std::move(member)};
      },
      [&](const StagePorts& ports) {
        return MakePublisher(
            {.instance = instance,
             .partitions = config.log().partitions(),
             .min_compaction_lag = config::FromProto(config.log().min_compaction_lag()),
             .delete_retention = config::FromProto(config.log().delete_retention())},
            **core, ports);
      },
      *logger, metrics);
  NoControl no_control;
  runner.Start(no_control);
  const Post post = [&runner](std::function<void(Now)> task) { runner.Post(std::move(task)); };

  Verifications verifications([&] { return ReaderOf(**log); },
                              config::FromProto(config.loader().action_age()));
  absl::StatusOr<std::unique_ptr<ControlServer>> server = ControlServer::Start(
      {.listen = config.control().listen(),
       .identity = *identity,
       .message_bytes_max = config.control().message_bytes_max(),
       .on_queue = [queue = runtime::QueueMetrics(metrics, "control", "to_services")](
                       auto depth, auto capacity) { queue.Set(depth, capacity); },
       .on_tasks = [queue = runtime::QueueMetrics(metrics, "control", "tasks")](
                       auto depth, auto capacity) { queue.Set(depth, capacity); }},
      **core, post, [&](auto reply) { verifications.Start(std::move(reply)); });
  if (!server.ok()) {
    return Refuse(kTemporary, std::string(server.status().message()));
  }
  std::unique_ptr<http::Server> admin_server;
  if (!config.admin().listen().empty()) {
    absl::StatusOr<std::unique_ptr<http::Server>> started = runtime::StartAdmin(
        config.admin(), {.metrics = &metrics,
                         .not_ready_because = [&] { return runner.not_ready_because(); },
                         .not_alive_because =
                             [&] {
                               return runner.turn_age() > kTurnMax
                                          ? std::string("the loop does not turn")
                                          : std::string();
                             }});
    if (!started.ok()) {
      return Refuse(kTemporary, std::string(started.status().message()));
    }
    admin_server = *std::move(started);
  }
  logger->Log(Logger::Level::kInfo, "Control serves.",
              {{"listen", config.control().listen()}, {"instance", instance}});

  std::promise<void> stop;
  signals.Watch([&stop] { stop.set_value(); });
  stop.get_future().wait();
  logger->Log(Logger::Level::kInfo, "Control stops.", {});
  // Calls under way are answered while the loop still turns, and none of them reads on for long.
  verifications.Stop();
  server->reset();
  runner.Drain();
  runner.Join();
  if (!founder.Stop()) {
    // Inside a call that only a broker or its time-out ends. Founding goes on at the next start,
    // and everything else is done.
    std::_Exit(0);
  }
  return 0;
}

}  // namespace tributary::control

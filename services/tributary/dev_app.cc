#include "services/tributary/dev_app.h"

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <future>
#include <iostream>
#include <mutex>
#include <thread>
#include <vector>

#include <sys/ioctl.h>
#include <unistd.h>

#include "libs/config/quantities.h"
#include "libs/eventlog/clock.h"
#include "libs/http/server.h"
#include "libs/observe/build_info.h"
#include "libs/observe/logger.h"
#include "libs/observe/metrics.h"
#include "libs/runtime/admin.h"
#include "libs/runtime/log_config.h"
#include "libs/runtime/random.h"
#include "libs/runtime/service_shell.h"
#include "libs/runtime/stage_runner.h"
#include "libs/tls/tls.h"
#include "libs/verify/verify.h"
#include "services/control/apply_request.h"
#include "services/control/catalogue_files.h"
#include "services/control/control_core.h"
#include "services/control/control_server.h"
#include "services/control/local_attachment.h"
#include "services/control/metrics.h"
#include "services/control/publisher.h"
#include "services/extractor/extractor.h"
#include "services/extractor/metrics.h"
#include "services/loader/loader.h"
#include "services/loader/metrics.h"
#include "services/transformer/metrics.h"
#include "services/transformer/transformer.h"
#include "services/tributary/dev_demo.h"
#include "services/tributary/dev_ground.h"
#include "services/tributary/dev_progress.h"

namespace tributary::dev {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kTemporary = 75;
constexpr int kConfiguration = 78;

/// From Ctrl-C to the end of each half of the way down: services, then control.
constexpr Duration kDrainMax = milliseconds(400);
constexpr Duration kDemoEndpointsInterval = std::chrono::seconds(5);

int Fail(int code, const absl::Status& status) {
  std::cerr << "error: " << status.message() << '\n';
  return code;
}
int Fail(const absl::Status& status) {
  const bool of_configuration = status.code() == absl::StatusCode::kFailedPrecondition ||
                                status.code() == absl::StatusCode::kInvalidArgument;
  return Fail(of_configuration ? kConfiguration : kTemporary, status);
}

/// Set once, by a signal; waited for by the main thread.
class Stop {
 public:
  void Set() {
    const std::lock_guard lock(mutex_);
    is_set_ = true;
    changed_.notify_all();
  }
  /// True: it was set.
  bool WaitFor(Duration duration) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, duration, [this] { return is_set_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_set_ = false;
};

/// Control's own stage has nobody to talk to.
class NoControl final : public ControlPort {
 public:
  void Send(const v1::FromService&) override {}
};

/// Asks control's thread, and waits. None: it does not answer.
template <typename T>
std::optional<T> Ask(runtime::StageRunner& control, std::function<T(Now)> question) {
  auto answer = std::make_shared<std::promise<T>>();
  std::future<T> future = answer->get_future();
  control.Post(
      [answer, question = std::move(question)](Now now) { answer->set_value(question(now)); });
  if (future.wait_for(seconds(10)) != std::future_status::ready) return std::nullopt;
  return future.get();
}

/// Applies `order`, and waits until services can read on the log what control wants of them. What
/// is wrong with it otherwise, a line each.
std::vector<std::string> Apply(const v1::ApplyRequest& order, runtime::StageRunner& control,
                               control::ControlCore& core) {
  constexpr Duration kPublishMax = seconds(30);
  constexpr const char* kSilent = "control does not answer";
  const auto applied = Ask<absl::StatusOr<v1::ApplyResponse>>(
      control, [&](Now now) { return core.Apply(now, "dev", order); });
  if (!applied) return {kSilent};
  if (!applied->ok()) return {std::string(applied->status().message())};
  if ((*applied)->problems_size() > 0) {
    return {(*applied)->problems().begin(), (*applied)->problems().end()};
  }
  const Instant deadline = eventlog::BootTime() + kPublishMax;
  while (true) {
    const auto unpublished =
        Ask<std::vector<std::string>>(control, [&core](Now) { return core.unpublished(); });
    if (!unpublished) return {kSilent};
    if (unpublished->empty()) return {};
    if (eventlog::BootTime() >= deadline) {
      std::vector<std::string> problems = {"the log has not taken the configuration of " +
                                           unpublished->front() + " in 30 s"};
      for (const std::string& reason : control.not_ready_because()) problems.push_back(reason);
      return problems;
    }
    std::this_thread::sleep_for(milliseconds(5));
  }
}

absl::StatusOr<v1::VerifyResponse> Verify(Log& log, std::int32_t partitions, Duration wait) {
  const std::shared_ptr<eventlog::LogAdmin> admin = log.MakeAdmin();
  return verify::Verify({.partitions = partitions,
                         .read_all =
                             [admin](eventlog::Topic topic,
                                     const std::function<bool(const eventlog::Record&)>& visit) {
                               return admin->ReadAll(topic, visit);
                             }},
                        {.wait = [wait] { std::this_thread::sleep_for(wait); }});
}

/// Verifications that people ask for, each on a thread of its own. Waits for them at the end.
class Verifications {
 public:
  Verifications(Log& log, std::int32_t partitions) : log_(log), partitions_(partitions) {}
  void Begin(control::Reply<v1::VerifyResponse> reply) {
    const std::lock_guard lock(mutex_);
    threads_.emplace_back([this, reply = std::move(reply)] {
      reply(Verify(log_, partitions_, std::chrono::seconds(2)));
    });
  }

 private:
  Log& log_;
  const std::int32_t partitions_;
  std::mutex mutex_;
  std::vector<std::jthread> threads_;
};

/// A service inside this process.
struct Service {
  std::string name;
  std::unique_ptr<runtime::StageRunner> runner;
  std::unique_ptr<control::LocalAttachment> attachment;
};

/// One line that is written over on a terminal, else one every five seconds.
class ProgressDisplay {
 public:
  explicit ProgressDisplay(bool shows) : shows_(shows), terminal_(isatty(STDERR_FILENO) == 1) {}
  void Show(const std::string& line, Instant now) {
    if (!shows_ || now < next_) return;
    next_ = now + (terminal_ ? milliseconds(200) : milliseconds(5000));
    if (terminal_) {
      // A line that wraps cannot be written over.
      winsize size{};
      const bool is_known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
      std::cerr << "\r\x1b[K" << CutTo(line, is_known ? size.ws_col - 1 : 79) << std::flush;
      open_ = true;
    } else {
      std::cerr << line << '\n';
    }
  }
  void End() {
    if (open_) std::cerr << '\n';
    open_ = false;
  }

 private:
  const bool shows_;
  const bool terminal_;
  bool open_ = false;
  Instant next_{};
};

/// Id of one customer of the made-up site, for a command that a person can copy.
std::string SomeCustomer(simulator::SimulatorServer& simulator) {
  constexpr std::string_view kBefore = R"("kind":"customers","id":")";
  std::string id;
  simulator.WithWorld([&](simulator::World& world, WallTime) {
    world.ForEachTruth([&](std::string_view line) {
      const std::size_t at = id.empty() ? line.find(kBefore) : std::string_view::npos;
      if (at == std::string_view::npos) return;
      line.remove_prefix(at + kBefore.size());
      id = line.substr(0, line.find('"'));
    });
  });
  return id;
}

void PrintWhere(const Flags& flags, const v1::ConfigFile& config, const std::string& admin,
                simulator::SimulatorServer* simulator) {
  std::vector<std::pair<std::string, std::string>> places;
  if (simulator != nullptr) {
    places = {{"chargify", simulator->url(simulator::Target::kChargify)},
              {"highlevel", simulator->url(simulator::Target::kHighLevel)},
              {"rest", simulator->url(simulator::Target::kRest)}};
  }
  places.emplace_back("metrics", admin + "/metrics");
  places.emplace_back("ready", admin + "/readyz");
  places.emplace_back("data", config.log().data_directory());
  if (flags.json) {
    if (flags.once) return;
    std::string json = "{";
    for (const auto& [name, place] : places) {
      json += (json.size() > 1 ? ",\"" : "\"") + name + "\":\"" + place + "\"";
    }
    std::cout << json << "}" << std::endl;
    return;
  }
  if (simulator != nullptr) {
    std::cout << "+--------------------------------------------------------------------+\n"
                 "| A made-up Chargify site and two made-up CRMs. Not for production.  |\n"
                 "+--------------------------------------------------------------------+\n";
  }
  for (const auto& [name, place] : places) {
    std::cout << "  " << name << std::string(12 - name.size(), ' ') << place << '\n';
  }
  if (simulator != nullptr) {
    std::cout << "  changes     " << places[0].second << "/_sim/truth\n";
  }
  if (!flags.once) {
    const std::string data = " --data " + config.log().data_directory();
    std::cout << "Try next, in another terminal:\n  tributary status" << data << '\n'
              << "  tributary trace "
              << (simulator != nullptr ? "demo/customers/" + SomeCustomer(*simulator)
                                       : "TENANT/customers/ID")
              << data << "\nCtrl-C ends it.\n";
  }
  std::cout << std::flush;
}

}  // namespace

int Run(const Flags& flags, v1::ConfigFile config, runtime::StopSignals& signals) {
  const Instant began = eventlog::BootTime();
  Stop stop;
  signals.Watch([&stop] { stop.Set(); });
  if (flags.simulator) TuneForDemo(config);

  // The ground: a directory, lines, numbers.
  auto directory = DataDirectory::Take(config.log().data_directory(), flags.simulator);
  if (!directory.ok()) return Fail(directory.status());
  observe::Metrics metrics;
  observe::AddBuildInfo(metrics);
  const auto logger =
      observe::MakeLogger({.service = "dev",
                           .level = flags.verbose ? Logger::Level::kDebug : Logger::Level::kWarning,
                           .format = observe::ParseFormat(config.logging().format())
                                         .value_or(observe::LogOptions::Format::kAuto),
                           .descriptor = STDERR_FILENO},
                          metrics);

  // The world outside, if it is a made-up one.
  std::unique_ptr<simulator::SimulatorServer> simulator;
  if (flags.simulator) {
    auto started = StartDemo(flags);
    if (!started.ok()) return Fail(started.status());
    simulator = *std::move(started);
  }

  // The log between the services.
  auto log = OpenLog(config.log(), *directory, *logger);
  if (!log.ok()) return Fail(log.status());
  const auto admin = (*log)->MakeAdmin();
  if (const absl::Status made = admin->EnsureTopics(); !made.ok()) return Fail(made);
  if (flags.simulator) {
    // Of Kafka: the directory's own log is new.
    const absl::Status cleared = ClearDemoTopics(*admin, config.log().topic_prefix());
    if (!cleared.ok()) return Fail(cleared);
  }
  const auto generation =
      eventlog::Found(*admin, {.now = eventlog::SystemTime(), .random = runtime::Random64});
  if (!generation.ok()) return Fail(generation.status());

  // Control: tenants and secrets, and the table that tells them.
  auto vault = control::Vault::Open(config.control().master_key_file());
  if (!vault.ok()) return Fail(vault.status());
  auto database = control::Database::Open(config.control().database(), **vault);
  if (!database.ok()) return Fail(database.status());
  const auto catalogue = control::MakeCatalogue();
  auto core = control::ControlCore::Make({.partitions = config.log().partitions()}, **database,
                                         *catalogue, *logger);
  if (!core.ok()) return Fail(core.status());
  const std::string instance = runtime::InstanceOf(config.log());
  const auto spans = runtime::StartTracing(config, "dev", metrics, *logger);
  const auto runner_options = [&instance, &spans](const std::string& service) {
    runtime::StageRunnerOptions options;
    options.service = service;
    options.instance = instance;
    options.drain_max = kDrainMax;
    options.spans = spans.get();
    options.http.requests_per_host_max = 64;
    options.http.user_agent = "tributary/" + observe::GetBuildInfo().version;
    return options;
  };
  const auto join = [&log](const std::string& service) {
    return [&log, service] { return (*log)->Join(service); };
  };
  runtime::StageRunnerOptions control_options = runner_options("control");
  control_options.measure = control::MeasureInto(metrics, **core);
  runtime::StageRunner control(
      std::move(control_options), join("control"),
      [&](const StagePorts& ports) {
        const eventlog::TopicSettings topics = runtime::TopicSettingsFrom(config.log());
        return control::MakePublisher({.instance = instance,
                                       .partitions = topics.partitions,
                                       .min_compaction_lag = topics.min_compaction_lag,
                                       .delete_retention = topics.delete_retention},
                                      **core, ports);
      },
      *logger, metrics);
  NoControl no_control;
  control.Start(no_control);

  // What is to be kept in step, before anybody acts: on a log that was restored, or that stood
  // while its owner changed the file, are the wishes of before.
  v1::ApplyRequest order;
  std::vector<std::string> problems;
  if (simulator != nullptr) {
    order = DemoTenant(*simulator);
  } else {
    control::BuiltApplyRequest built = control::BuildApplyRequest(config);
    order = std::move(built.request);
    problems = std::move(built.problems);
  }
  if (problems.empty()) problems = Apply(order, control, **core);
  if (!problems.empty()) {
    for (const std::string& problem : problems) std::cerr << problem << '\n';
    control.Drain();
    control.Join();
    return kConfiguration;
  }
  const control::Post post = [&control](std::function<void(Now)> task) {
    control.Post(std::move(task));
  };

  // The services, in the order of the flow.
  std::vector<Service> services;
  const auto start = [&](const std::string& name, runtime::StageRunner::MakeStage make_stage,
                         decltype(runtime::StageRunnerOptions::measure) measure) {
    Service service;
    service.name = name;
    runtime::StageRunnerOptions options = runner_options(name);
    options.measure = std::move(measure);
    service.runner = std::make_unique<runtime::StageRunner>(
        std::move(options), join(name), std::move(make_stage), *logger, metrics);
    service.attachment = std::make_unique<control::LocalAttachment>(
        name, **core, post, [runner = service.runner.get()](const v1::ToService& message) {
          runner->Deliver(message);
        });
    service.runner->Start(*service.attachment);
    services.push_back(std::move(service));
  };
  const bool predecessor_is_dead = (*log)->predecessor_is_dead();
  start(
      "extractor",
      [&](const StagePorts& ports) {
        extractor::Options options = extractor::OptionsFrom(config);
        options.instance = instance;
        options.predecessor_is_dead = predecessor_is_dead;
        // Settling waits for every stream, and this one would come last by far.
        if (flags.simulator) {
          options.site_polls = 3;
          options.endpoints_interval = kDemoEndpointsInterval;
        }
        return extractor::MakeExtractor(options, ports);
      },
      extractor::MeasureInto(metrics));
  start(
      "transformer",
      [&](const StagePorts& ports) {
        transformer::Options options = transformer::OptionsFrom(config);
        options.instance = instance;
        options.predecessor_is_dead = predecessor_is_dead;
        return transformer::MakeTransformer(options, ports);
      },
      transformer::MeasureInto(metrics));
  start(
      "loader",
      [&](const StagePorts& ports) -> std::unique_ptr<Stage> {
        loader::Options options = loader::OptionsFrom(config);
        options.instance = instance;
        options.predecessor_is_dead = predecessor_is_dead;
        // Ctrl-C ends within a second.
        options.revoke_grace = kDrainMax / 2;
        return loader::MakeLoader(options, ports);
      },
      loader::MeasureInto(metrics));
  const auto shut_down = [&services, &control] {
    for (Service& service : services) service.runner->Drain();
    for (Service& service : services) service.runner->Join();
    control.Drain();
    control.Join();
  };

  // The ways in: health and metrics, and the command line.
  v1::AdminConfig admin_config = config.admin();
  if (admin_config.listen().empty()) admin_config.set_listen("127.0.0.1:0");
  auto admin_server = runtime::StartAdmin(
      admin_config, {.metrics = &metrics, .not_ready_because = [&services, &control] {
                       std::vector<std::string> all = control.not_ready_because();
                       for (const Service& service : services) {
                         for (std::string& reason : service.runner->not_ready_because()) {
                           all.push_back(std::move(reason));
                         }
                       }
                       return all;
                     }});
  if (!admin_server.ok()) {
    shut_down();
    return Fail(kConfiguration,
                absl::FailedPreconditionError(
                    "health and metrics: " + std::string(admin_server.status().message()) +
                    "\nfix: give another admin.listen, or TRIBUTARY_ADMIN_LISTEN=127.0.0.1:PORT"));
  }
  Verifications verifications(**log, config.log().partitions());
  std::unique_ptr<control::ControlServer> control_server;
  const auto open_control = [&]() -> absl::Status {
    const std::string& tls = config.control().tls_directory();
    if (absl::Status made = tls::EnsureDirectory(tls, {"control", "tributary"}); !made.ok()) {
      return made;
    }
    auto identity = tls::Load(tls + "/control");
    if (!identity.ok()) return identity.status();
    auto server = control::ControlServer::Start(
        {.listen = "127.0.0.1:0", .identity = *std::move(identity)}, **core, post,
        [&verifications](control::Reply<v1::VerifyResponse> reply) {
          verifications.Begin(std::move(reply));
        });
    if (!server.ok()) return server.status();
    control_server = *std::move(server);
    std::ofstream(directory->path() + "/control.json")
        << "{\"address\":\"127.0.0.1:" << control_server->port() << "\",\"tls_directory\":\"" << tls
        << "\"}\n";
    return absl::OkStatus();
  };
  if (const absl::Status opened = open_control(); !opened.ok()) {
    shut_down();
    return Fail(opened);
  }

  PrintWhere(flags, config, (*admin_server)->url(), simulator.get());

  // Watches until it has settled, or somebody has seen enough.
  int syncs = 0;
  for (const v1::TenantConfig& tenant : order.tenants()) syncs += tenant.syncs_size();
  Settling settling(simulator != nullptr
                        ? kDemoVisibilityLag
                        : tributary::config::FromProto(config.extractor().visibility_lag()),
                    syncs);
  ProgressDisplay display(!flags.json);
  Rate rate;
  Result result;
  std::optional<WallTime> quiet_since;
  if (simulator == nullptr) quiet_since = eventlog::SystemTime();
  const Instant deadline = began + flags.timeout.value_or(std::chrono::minutes(10));
  bool interrupted = false;
  std::string broken;
  while (!(interrupted = stop.WaitFor(milliseconds(100)))) {
    const Instant now = eventlog::BootTime();
    broken = (*log)->broken();
    if (!broken.empty()) {
      display.End();
      std::cerr
          << "error: " << broken
          << "\nfix: mend the disk, or make room on it, and start this again: it goes on from "
             "there\n";
      break;
    }
    if (simulator != nullptr && !quiet_since) quiet_since = QuietSince(*simulator);
    auto status = Ask<absl::StatusOr<v1::StatusResponse>>(
        control, [&core](Now given) { return (*core)->GetStatus(given, {}); });
    std::string waiting = "control does not answer";
    if (status && status->ok()) {
      Look look{.status = **std::move(status), .quiet_since = quiet_since};
      for (const Service& service : services) look.lag += service.runner->lag();
      result.totals = Sum(look.status);
      waiting = settling.Waiting(look, now);
    }
    // Why a service says nothing, or nothing moves.
    for (const Service& service : services) {
      const std::vector<std::string> reasons = service.runner->not_ready_because();
      if (!waiting.empty() && !reasons.empty()) {
        waiting = service.name + ": " + reasons.front();
        break;
      }
    }
    rate.Add(now, result.totals.applied);
    display.Show(ProgressLine(result.totals, rate.per_second(), flags.once ? waiting : ""), now);
    if (!flags.once) continue;
    if (waiting.empty()) {
      // The topics have the last word.
      const auto verified = Verify(**log, config.log().partitions(), milliseconds(500));
      if (verified.ok() && verified->ok()) {
        result.settled = true;
        break;
      }
      waiting = "the topics disagree: " + (!verified.ok() ? std::string(verified.status().message())
                                           : verified->problems().empty() ? "not at rest"
                                                                          : verified->problems(0));
      interrupted = stop.WaitFor(milliseconds(500));
      if (interrupted) break;
    }
    if (now >= deadline) {
      display.End();
      std::cerr << "error: not settled in time: " << waiting << '\n';
      break;
    }
  }
  display.End();
  if (simulator != nullptr && flags.once && !interrupted) {
    result.seed = flags.seed;
    result.customers = flags.customers;
    // Of what is still under way, no difference means anything.
    result.judged = Judge(*simulator, result.settled ? &std::cerr : nullptr);
  }
  result.seconds = static_cast<double>((eventlog::BootTime() - began).count()) * 1e-6;

  control_server.reset();
  // Nobody is to look for it there any more.
  std::error_code ignored;
  std::filesystem::remove(directory->path() + "/control.json", ignored);
  (*admin_server)->Stop();
  shut_down();
  if (simulator != nullptr) simulator->Stop();
  if (!flags.once && !broken.empty()) return kTemporary;
  if (!flags.once) {
    if (!flags.json) {
      std::cerr << "Ended." << (simulator == nullptr ? " Started again it goes on from here." : "")
                << '\n';
    }
    return 0;
  }
  if (interrupted) return 130;
  std::cout << ToJson(result) << std::endl;
  const int code = ExitCode(result);
  if (code == 0 && config.log().kind() == "kafka" && IsForThisRunOnly(flags) &&
      !flags.topic_prefix) {
    // Nobody could find them again.
    const absl::Status removed = admin->RemoveTopics();
    if (!removed.ok()) std::cerr << "warning: " << removed.message() << '\n';
  }
  return code;
}

}  // namespace tributary::dev

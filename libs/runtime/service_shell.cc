#include "libs/runtime/service_shell.h"

#include <charconv>
#include <iostream>

#include <unistd.h>

#include "libs/config/quantities.h"
#include "libs/observe/build_info.h"
#include "libs/observe/logger.h"
#include "libs/runtime/admin.h"
#include "libs/runtime/log_config.h"

namespace tributary::runtime {
namespace {

/// No turn of a stage takes so long unless it is stuck.
constexpr Duration kStuckAfter = std::chrono::minutes(5);

}  // namespace

std::unique_ptr<Logger> MakeServiceLogger(const v1::LoggingConfig& config,
                                          const std::string& service, observe::Metrics& metrics) {
  return observe::MakeLogger(
      {.service = service,
       .level = observe::ParseLevel(config.level()).value_or(Logger::Level::kInfo),
       .format = observe::ParseFormat(config.format()).value_or(observe::LogOptions::Format::kAuto),
       .descriptor = STDOUT_FILENO},
      metrics);
}

StageRunnerOptions RunnerOptionsFrom(const v1::ConfigFile& config, const std::string& service) {
  StageRunnerOptions options;
  options.service = service;
  options.instance = InstanceOf(config.log());
  options.http.user_agent = "tributary/" + observe::GetBuildInfo().version;
  // Stages keep their own, smaller limits; these only bound descriptors.
  options.http.requests_per_host_max = 128;
  options.http.requests_max = 512;
  return options;
}

std::unique_ptr<trace::Exporter> StartTracing(const v1::ConfigFile& config,
                                              const std::string& resource_name,
                                              observe::Metrics& metrics, Logger& logger) {
  const v1::TracingConfig& tracing = config.tracing();
  if (tracing.endpoint().empty()) return nullptr;
  trace::ExporterOptions options;
  options.endpoint = tracing.endpoint();
  options.ca_file = tracing.ca_file();
  const std::string& ratio = tracing.sample_ratio();
  std::from_chars(ratio.data(), ratio.data() + ratio.size(), options.sample_ratio);
  options.queue_spans_max = static_cast<std::size_t>(tracing.queue_spans_max());
  options.interval = config::FromProto(tracing.export_interval());
  options.resource = {.service = resource_name,
                      .instance = InstanceOf(config.log()),
                      .version = observe::GetBuildInfo().version};
  return std::make_unique<trace::Exporter>(std::move(options), metrics, logger);
}

int RefuseConfiguration(const std::string& service, const absl::Status& why) {
  std::cerr << service << ": error: " << why.message() << '\n';
  return 78;
}

int RunService(const v1::ConfigFile& config, StageRunner& runner, ControlPort& control,
               StopSignals& signals, observe::Metrics& metrics, Logger& logger) {
  std::unique_ptr<http::Server> admin;
  if (!config.admin().listen().empty()) {
    auto started = StartAdmin(
        config.admin(),
        {.metrics = &metrics,
         .not_ready_because = [&runner] { return runner.not_ready_because(); },
         .not_alive_because = [&runner]() -> std::string {
           const Duration age = runner.turn_age();
           if (age < kStuckAfter) return "";
           return "one turn of the stage takes " +
                  std::to_string(std::chrono::duration_cast<std::chrono::seconds>(age).count()) +
                  " s";
         }});
    if (!started.ok()) return RefuseConfiguration("admin", started.status());
    admin = *std::move(started);
    logger.Log(Logger::Level::kInfo, "Serving health and metrics.", {{"url", admin->url()}});
  }
  runner.Start(control);
  signals.Watch([&runner] { runner.Drain(); });
  runner.Join();
  const bool was_in_time = runner.still_open().empty();
  logger.Log(Logger::Level::kInfo, "Ended.", {{"drained", was_in_time ? "true" : "false"}});
  return was_in_time ? 0 : 1;
}

}  // namespace tributary::runtime

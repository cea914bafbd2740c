#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"

#include "libs/observe/metrics.h"
#include "libs/runtime/signals.h"
#include "libs/runtime/stage_runner.h"
#include "libs/stage/stage.h"
#include "libs/trace/exporter.h"
#include "tributary/v1/config.pb.h"

// What the processes of all services have in common around their stage.

namespace tributary::runtime {

std::unique_ptr<Logger> MakeServiceLogger(const v1::LoggingConfig& config,
                                          const std::string& service, observe::Metrics& metrics);

StageRunnerOptions RunnerOptionsFrom(const v1::ConfigFile& config, const std::string& service);

/// Null where the configuration names no collector. `resource_name`: `loader`, …
std::unique_ptr<trace::Exporter> StartTracing(const v1::ConfigFile& config,
                                              const std::string& resource_name,
                                              observe::Metrics& metrics, Logger& logger);

/// Says why the configuration cannot work. Returns 78.
int RefuseConfiguration(const std::string& service, const absl::Status& why);

/// Serves health and metrics where the configuration says so, runs the stage until the first
/// signal, then drains it. Returns the exit code: 0 when everything was released, 1 when the drain
/// missed its deadline (a log line says what was open), or 78 when it cannot listen.
int RunService(const v1::ConfigFile& config, StageRunner& runner, ControlPort& control,
               StopSignals& signals, observe::Metrics& metrics, Logger& logger);

}  // namespace tributary::runtime

#include "services/transformer/app.h"

#include <utility>

#include "libs/eventlog/kafka/kafka_log.h"
#include "libs/eventlog/lmdb_stores.h"
#include "libs/observe/build_info.h"
#include "libs/observe/logger.h"
#include "libs/observe/metrics.h"
#include "libs/runtime/admin.h"
#include "libs/runtime/levels.h"
#include "libs/runtime/log_config.h"
#include "libs/runtime/service_shell.h"
#include "libs/runtime/signals.h"
#include "libs/runtime/stage_runner.h"
#include "libs/tls/tls.h"
#include "services/control/attachment_client.h"
#include "services/transformer/metrics.h"
#include "services/transformer/transformer.h"

namespace tributary::transformer {

int Run(const v1::ConfigFile& config) {
  runtime::StopSignals signals;
  observe::Metrics metrics;
  observe::AddBuildInfo(metrics);
  const auto logger = runtime::MakeServiceLogger(config.logging(), "transformer", metrics);

  // The log that it follows and writes.
  auto log = eventlog::KafkaLog::Open(runtime::KafkaOptionsFrom(config.log(), *logger));
  if (!log.ok()) return runtime::RefuseConfiguration("transformer", log.status());
  const auto join = [&]() -> absl::StatusOr<runtime::StageParts> {
    auto stores = eventlog::MakeLmdbStores(config.log().data_directory() + "/transformer");
    if (!stores.ok()) return stores.status();
    auto member = (*log)->Join(runtime::GroupOf(config.log(), "transformer"),
                               runtime::InstanceOf(config.log()), runtime::TopicsOf("transformer"));
    if (!member.ok()) return member.status();
    return runtime::StageParts{.stores = *std::move(stores), .log = *std::move(member)};
  };

  // The stage, made anew whenever its log has failed.
  Options options = OptionsFrom(config);
  options.instance = runtime::InstanceOf(config.log());
  const auto spans = runtime::StartTracing(config, "transformer", metrics, *logger);
  runtime::StageRunnerOptions runner_options = runtime::RunnerOptionsFrom(config, "transformer");
  runner_options.spans = spans.get();
  runner_options.measure = MeasureInto(metrics);
  runtime::StageRunner runner(
      std::move(runner_options), join,
      [&options](StagePorts ports) -> std::unique_ptr<Stage> {
        return MakeTransformer(options, ports);
      },
      *logger, metrics);

  // Control: credentials, status, questions.
  auto identity = tls::Load(config.control().tls_directory());
  if (!identity.ok()) return runtime::RefuseConfiguration("transformer", identity.status());
  control::AttachmentClient control(
      {.address = config.control().address(),
       .identity = *std::move(identity),
       .message_bytes_max = config.control().message_bytes_max(),
       .on_queue = [queue = runtime::QueueMetrics(metrics, "transformer", "to_control")](
                       auto depth, auto capacity) { queue.Set(depth, capacity); },
       .on_status = [queue = runtime::QueueMetrics(metrics, "transformer", "status_bytes")](
                        auto depth, auto capacity) { queue.Set(depth, capacity); }},
      *logger, [&runner](const v1::ToService& message) { runner.Deliver(message); });

  return runtime::RunService(config, runner, control, signals, metrics, *logger);
}

}  // namespace tributary::transformer

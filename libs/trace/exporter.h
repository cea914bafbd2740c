#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "libs/observe/metrics.h"
#include "libs/stage/stage.h"
#include "libs/time/time.h"
#include "libs/trace/otlp.h"
#include "libs/trace/span.h"

namespace tributary::trace {

struct ExporterOptions {
  /// Of the collector, without `/v1/traces`. https, or http to this machine.
  std::string endpoint;
  /// PEM. Empty: the system's.
  std::string ca_file;
  double sample_ratio = 0;
  /// What comes while so many wait is dropped.
  std::size_t queue_spans_max = 4096;
  std::size_t batch_spans_max = 512;
  Duration interval = std::chrono::seconds(5);
  Duration request_timeout = std::chrono::seconds(10);
  /// What waits at the end is given so long.
  Duration last_words_max = std::chrono::seconds(2);
  Resource resource;
};

/// What tracing did, for people who wonder where their spans are.
class ExporterMetrics {
 public:
  ExporterMetrics(observe::Metrics& metrics, const std::string& stage);

  observe::Counter exported;
  observe::Counter dropped_full;
  observe::Counter dropped_refused;
  observe::Gauge queue_depth;
  observe::Gauge queue_capacity;
};

/// Sends spans to a collector by OTLP/HTTP, in JSON, from a thread of its own. A collector that is
/// away, slow or overloaded costs spans and nothing else: they wait in a bounded queue, and what
/// does not fit is dropped and counted. What the collector refuses is dropped.
class Exporter final : public SpanSink {
 public:
  /// Both outlive it.
  Exporter(ExporterOptions options, observe::Metrics& metrics, Logger& logger);
  ~Exporter() override;

  double sample_ratio() const override;
  void Add(Span span) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tributary::trace

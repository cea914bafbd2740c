#include "libs/trace/exporter.h"

#include <algorithm>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "libs/eventlog/clock.h"
#include "libs/http/client.h"

namespace tributary::trace {
namespace {

/// So long at most until an end that was asked for is noticed.
constexpr Duration kLookAtStop = std::chrono::milliseconds(100);
/// The client gives up by itself, and says so, a little after the time of a request.
constexpr Duration kGrace = std::chrono::seconds(5);

enum class Answer : std::uint8_t { kTaken, kRefused, kLater };

Answer Judge(const http::Completion& completion) {
  if (completion.delivery != http::Delivery::kComplete) return Answer::kLater;
  if (completion.status / 100 == 2) return Answer::kTaken;
  const bool is_overloaded = completion.status == 429 || completion.status / 100 == 5;
  return is_overloaded ? Answer::kLater : Answer::kRefused;
}

}  // namespace

ExporterMetrics::ExporterMetrics(observe::Metrics& metrics, const std::string& stage)
    : exported(metrics.AddCounter("tributary_trace_spans_exported_total",
                                  "Spans that the collector took.", {{"stage", stage}})),
      dropped_full(metrics.AddCounter("tributary_trace_spans_dropped_total",
                                      "Spans that nobody will see.",
                                      {{"stage", stage}, {"reason", "queue_full"}})),
      dropped_refused(metrics.AddCounter("tributary_trace_spans_dropped_total",
                                         "Spans that nobody will see.",
                                         {{"stage", stage}, {"reason", "refused"}})),
      queue_depth(metrics.AddGauge("tributary_queue_depth", "How much waits in a bounded queue.",
                                   {{"stage", stage}, {"queue", "trace_spans"}})),
      queue_capacity(metrics.AddGauge("tributary_queue_capacity",
                                      "How much may wait before what fills the queue is held back.",
                                      {{"stage", stage}, {"queue", "trace_spans"}})) {}

struct Exporter::State {
  State(ExporterOptions options_in, observe::Metrics& metrics_in, Logger& logger_in)
      : options(std::move(options_in)),
        metrics(metrics_in, options.resource.service),
        logger(logger_in),
        client({.requests_per_host_max = 1,
                .requests_max = 1,
                .user_agent = "tributary/" + options.resource.version,
                .ca_file = options.ca_file},
               [](http::RequestId) { return true; }) {
    metrics.queue_capacity.Set(static_cast<double>(options.queue_spans_max));
  }

  void Run();
  /// One batch, if anything waits. False: nothing does, or it has to wait longer.
  bool Export();
  void Wait(Duration most);
  bool stopping() {
    const std::lock_guard lock(mutex);
    return stop;
  }
  /// Until then, or until the last words have had their time.
  Duration Left(Instant until) {
    const Instant now = eventlog::BootTime();
    if (stopping()) {
      if (!last_words_until) last_words_until = now + options.last_words_max;
      until = std::min(until, *last_words_until);
    }
    return until - now;
  }

  const ExporterOptions options;
  ExporterMetrics metrics;
  Logger& logger;
  http::Client client;
  http::RequestId last_request = 0;
  bool is_failing = false;
  std::optional<Instant> last_words_until;

  std::mutex mutex;
  bool stop = false;
  std::deque<Span> queue;
  std::thread thread;
};

void Exporter::State::Wait(Duration most) {
  const Instant until = eventlog::BootTime() + most;
  for (Duration left = most; left > Duration::zero() && !stopping();
       left = until - eventlog::BootTime()) {
    client.Poll({}, left);
  }
}

bool Exporter::State::Export() {
  std::vector<Span> batch;
  {
    const std::lock_guard lock(mutex);
    const auto size = static_cast<std::ptrdiff_t>(std::min(queue.size(), options.batch_spans_max));
    batch.assign(queue.begin(), queue.begin() + size);
  }
  if (batch.empty()) return false;

  http::Request request;
  request.method = "POST";
  request.url = options.endpoint + "/v1/traces";
  request.headers = {{"content-type", "application/json"}};
  request.body = ToOtlp(options.resource, batch);
  request.timeout = options.request_timeout;
  request.body_bytes_max = 64u << 10;
  request.allow_insecure_loopback = true;
  request.is_write = true;
  client.Send(++last_request, std::move(request));
  const Instant until = eventlog::BootTime() + options.request_timeout + kGrace;
  http::Completion completion;
  while (completion.id != last_request) {
    const Duration left = Left(until);
    if (left <= Duration::zero()) return false;  // Not before the end of the process.
    for (http::Completion& each : client.Poll({}, std::min<Duration>(left, kLookAtStop))) {
      completion = std::move(each);
    }
  }

  const Answer answer = Judge(completion);
  const std::string problem =
      completion.error.empty() ? "status " + std::to_string(completion.status) : completion.error;
  if (answer != Answer::kTaken && !is_failing) {
    logger.Log(Logger::Level::kWarning, "Spans cannot be exported.",
               {{"endpoint", options.endpoint}, {"problem", problem}});
  } else if (answer == Answer::kTaken && is_failing) {
    logger.Log(Logger::Level::kInfo, "Spans are exported again.", {});
  }
  is_failing = answer != Answer::kTaken;
  if (answer == Answer::kLater) return false;
  const auto size = static_cast<double>(batch.size());
  (answer == Answer::kTaken ? metrics.exported : metrics.dropped_refused).Increment(size);
  const std::lock_guard lock(mutex);
  queue.erase(queue.begin(), queue.begin() + static_cast<std::ptrdiff_t>(batch.size()));
  metrics.queue_depth.Set(static_cast<double>(queue.size()));
  return true;
}

void Exporter::State::Run() {
  while (!stopping()) {
    Wait(options.interval);
    while (!stopping() && Export()) {
    }
  }
  while (Export()) {
  }
}

Exporter::Exporter(ExporterOptions options, observe::Metrics& metrics, Logger& logger)
    : state_(std::make_unique<State>(std::move(options), metrics, logger)) {
  state_->thread = std::thread([state = state_.get()] { state->Run(); });
}

Exporter::~Exporter() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stop = true;
  }
  state_->client.Wake();
  state_->thread.join();
}

double Exporter::sample_ratio() const { return state_->options.sample_ratio; }

void Exporter::Add(Span span) {
  const std::lock_guard lock(state_->mutex);
  if (state_->queue.size() >= state_->options.queue_spans_max) {
    state_->metrics.dropped_full.Increment();
    return;
  }
  state_->queue.push_back(std::move(span));
  state_->metrics.queue_depth.Set(static_cast<double>(state_->queue.size()));
}

}  // namespace tributary::trace

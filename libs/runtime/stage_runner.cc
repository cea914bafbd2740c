#include "libs/runtime/stage_runner.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "libs/eventlog/clock.h"
#include "libs/observe/build_info.h"
#include "libs/runtime/random.h"
#include "libs/runtime/stage_metrics.h"
#include "tributary/v1/control.pb.h"

namespace tributary::runtime {
namespace {

using Level = Logger::Level;

/// So long at most between two looks at everything.
constexpr Duration kTurnMax = std::chrono::seconds(1);
/// So often at most the reasons against readiness are copied out, and lags looked at.
constexpr Duration kReportInterval = std::chrono::milliseconds(200);
/// Facts that are given the same time, unless one of them brings records.
constexpr int kFactsPerLook = 64;
/// A turn that follows a busy one begins no sooner than this after it. What comes meanwhile is
/// handled together: waking for each fact by itself costs more than handling it.
constexpr Duration kBusyTurnMin = std::chrono::milliseconds(1);
/// A life that lasted so long has proved that it can; its failure begins a new series.
constexpr Duration kProvenLife = std::chrono::minutes(1);

std::string Joined(const std::vector<std::string>& reasons) {
  std::string text;
  for (const std::string& each : reasons) text += (text.empty() ? "" : "; ") + each;
  return text;
}

Now CurrentTime() { return {.steady = eventlog::BootTime(), .wall = eventlog::SystemTime()}; }

/// Says to control who is here and what it owns; all else comes from the stage, and is read on the
/// way for metrics.
class ControlAdapter final : public ControlPort {
 public:
  ControlAdapter(ControlPort& control, StageMetrics& metrics)
      : control_(control), metrics_(metrics) {}
  void Send(const v1::FromService& message) override {
    metrics_.OnMessage(message);
    control_.Send(message);
  }

  void SayHello(const StageRunnerOptions& options) {
    v1::FromService message;
    v1::Hello& hello = *message.mutable_hello();
    hello.set_service(options.service);
    hello.set_instance(options.instance);
    const observe::BuildInfo build = observe::GetBuildInfo();
    hello.mutable_build()->set_version(build.version);
    hello.mutable_build()->set_commit(build.commit);
    hello.mutable_build()->set_compiler(build.compiler);
    for (const auto& [name, version] : build.libraries) {
      (*hello.mutable_build()->mutable_libraries())[name] = version;
    }
    control_.Send(message);
    SayOwnership();
  }

  void OnFact(const eventlog::Fact& fact) {
    if (const auto* given = std::get_if<eventlog::Assigned>(&fact)) {
      owned_.insert(given->partitions.begin(), given->partitions.end());
    } else if (const auto* revoking = std::get_if<eventlog::Revoking>(&fact)) {
      for (const auto partition : revoking->partitions) owned_.erase(partition);
    } else if (const auto* lost = std::get_if<eventlog::Lost>(&fact)) {
      for (const auto partition : lost->partitions) owned_.erase(partition);
    } else {
      return;
    }
    SayOwnership();
  }

 private:
  void SayOwnership() {
    v1::FromService message;
    v1::Ownership& ownership = *message.mutable_ownership();
    for (const auto partition : owned_) ownership.add_partitions(partition);
    control_.Send(message);
  }

  std::set<eventlog::Partition> owned_;
  ControlPort& control_;
  StageMetrics& metrics_;
};

}  // namespace

struct StageRunner::State {
  enum class End : std::uint8_t { kDrained, kOverdue, kStopped, kFailed };

  State(StageRunnerOptions options_in, MakeParts make_parts_in, MakeStage make_stage_in,
        Logger& logger_in, observe::Metrics& metrics_in)
      : options(std::move(options_in)),
        make_parts(std::move(make_parts_in)),
        make_stage(std::move(make_stage_in)),
        logger(logger_in),
        metrics(metrics_in, options.service, options.tenants_labelled_max) {}

  void Run();
  End Live(StageParts parts, std::string& failure);
  void Report(const Stage& stage, const eventlog::LogMember& log, const http::Client& http,
              Now now);
  void NoteOpen(const http::Client& http, const eventlog::LogMember& log);
  void WaitBeforeRestart(int attempt);
  void RunTasks();
  void Wake();

  const StageRunnerOptions options;
  const MakeParts make_parts;
  const MakeStage make_stage;
  Logger& logger;
  StageMetrics metrics;

  std::atomic<bool> drain = false;
  std::atomic<bool> stop = false;
  std::atomic<bool> ended = false;
  std::atomic<bool> released = false;
  std::atomic<int> restarts = 0;
  std::atomic<std::int64_t> lag = 0;
  /// Zero: not inside a turn.
  std::atomic<Instant> turn_began = Instant{};

  mutable std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> not_ready = {"starting"};
  std::vector<std::string> still_open;
  /// The client of the present life, to be woken.
  http::Client* client = nullptr;
  std::vector<v1::ToService> messages;
  std::vector<std::function<void(Now)>> tasks;

  ControlPort* control = nullptr;
  Instant next_report{};
  std::thread thread;
};

StageRunner::StageRunner(StageRunnerOptions options, MakeParts make_parts, MakeStage make_stage,
                         Logger& logger, observe::Metrics& metrics)
    : state_(std::make_unique<State>(std::move(options), std::move(make_parts),
                                     std::move(make_stage), logger, metrics)) {}

StageRunner::~StageRunner() {
  Stop();
  Join();
}

void StageRunner::Start(ControlPort& control) {
  state_->control = &control;
  state_->thread = std::thread([state = state_.get()] { state->Run(); });
}

void StageRunner::Deliver(const v1::ToService& message) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->messages.push_back(message);
  }
  state_->Wake();
}

void StageRunner::Post(std::function<void(Now)> task) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->tasks.push_back(std::move(task));
  }
  state_->Wake();
}

void StageRunner::Drain() {
  state_->drain = true;
  state_->Wake();
}

void StageRunner::Stop() {
  state_->stop = true;
  state_->Wake();
}

bool StageRunner::Join() {
  if (state_->thread.joinable()) state_->thread.join();
  return state_->released;
}

bool StageRunner::ended() const { return state_->ended; }

std::vector<std::string> StageRunner::not_ready_because() const {
  const std::lock_guard lock(state_->mutex);
  return state_->not_ready;
}

Duration StageRunner::turn_age() const {
  const Instant began = state_->turn_began;
  return began == Instant{} ? Duration::zero() : eventlog::BootTime() - began;
}

std::int64_t StageRunner::lag() const { return state_->lag; }

std::vector<std::string> StageRunner::still_open() const {
  const std::lock_guard lock(state_->mutex);
  return state_->still_open;
}

int StageRunner::restarts() const { return state_->restarts; }

void StageRunner::State::Wake() {
  const std::lock_guard lock(mutex);
  if (client != nullptr) client->Wake();
  changed.notify_all();
}

void StageRunner::State::Run() {
  std::string waits_for;
  for (int attempt = 0; !stop && !drain;) {
    const Instant began = eventlog::BootTime();
    std::string failure;
    absl::StatusOr<StageParts> parts = make_parts();
    const bool begun = parts.ok();
    if (begun) {
      const End end = Live(*std::move(parts), failure);
      metrics.OnEndOfLife();
      if (end == End::kDrained) released = true;
      if (end != End::kFailed) break;
      ++restarts;
      metrics.restarts.Increment();
    } else {
      failure = std::string(parts.status().message());
    }
    if (eventlog::BootTime() - began >= kProvenLife) attempt = 0;
    {
      const std::lock_guard lock(mutex);
      not_ready = {failure};
    }
    if (begun) {
      waits_for.clear();
      logger.Log(Level::kError, "The stage is discarded with its ports and begins anew.",
                 {{"why", failure}, {"attempt", std::to_string(attempt)}});
    } else if (failure != waits_for) {
      // A broker that starts with us is no fault and takes many attempts: a reason is said once.
      waits_for = failure;
      logger.Log(Level::kWarning, "The stage cannot begin yet; it is tried again.",
                 {{"why", failure}});
    }
    WaitBeforeRestart(attempt++);
  }
  {
    const std::lock_guard lock(mutex);
    not_ready = {"stopped"};
  }
  ended = true;
}

void StageRunner::State::WaitBeforeRestart(int attempt) {
  const Duration bound =
      std::min<Duration>(options.restart_delay_max,
                         options.restart_delay_min * (std::int64_t{1} << std::min(attempt, 20)));
  const Duration delay(static_cast<std::int64_t>(
      Random64() % static_cast<std::uint64_t>(std::max<std::int64_t>(1, bound.count()))));
  const Instant until = eventlog::BootTime() + delay;
  for (Duration left = delay; left > Duration::zero() && !stop && !drain;
       left = until - eventlog::BootTime()) {
    RunTasks();
    std::unique_lock lock(mutex);
    messages.clear();
    changed.wait_for(lock, left, [this] { return stop || drain || !tasks.empty(); });
  }
}

void StageRunner::State::RunTasks() {
  std::vector<std::function<void(Now)>> due;
  {
    const std::lock_guard lock(mutex);
    due.swap(tasks);
  }
  for (const auto& task : due) task(CurrentTime());
}

StageRunner::State::End StageRunner::State::Live(StageParts parts, std::string& failure) {
  Stage* asked = nullptr;
  http::Client http(options.http,
                    [&asked](http::RequestId id) { return asked->MaySend(CurrentTime(), id); });
  {
    const std::lock_guard lock(mutex);
    client = &http;
  }
  const auto forget_client = [this] {
    const std::lock_guard lock(mutex);
    client = nullptr;
  };

  ControlAdapter control_port(*control, metrics);
  MeasuredHttp measured_http(http, metrics);
  std::optional<trace::SpanRecorder> spans;
  if (options.spans != nullptr) spans.emplace(*options.spans);
  MeasuredLog measured_log(*parts.log, metrics, spans ? &*spans : nullptr);
  const std::unique_ptr<Stage> stage = make_stage({.log = measured_log,
                                                   .stores = *parts.stores,
                                                   .http = measured_http,
                                                   .control = control_port,
                                                   .logger = logger,
                                                   .random = Random64});
  asked = stage.get();
  control_port.SayHello(options);
  const std::function<void(Now)> measure = options.measure ? options.measure(*stage) : [](Now) {};

  End end = End::kStopped;
  Instant drain_deadline{};
  bool was_busy = false;
  Instant busy_turn_began{};
  while (!stop) {
    const Now now = CurrentTime();
    if (drain && drain_deadline == Instant{}) {
      drain_deadline = now.steady + options.drain_max;
      stage->Drain(now);
      logger.Log(Level::kInfo, "Draining.", {});
    }
    if (drain_deadline != Instant{} && stage->drained()) {
      end = End::kDrained;
      break;
    }
    if (drain_deadline != Instant{} && now.steady >= drain_deadline) {
      end = End::kOverdue;
      NoteOpen(http, *parts.log);
      break;
    }
    if (now.steady >= next_report) {
      Report(*stage, *parts.log, http, now);
      measure(now);
    }

    if (was_busy) {
      const Duration left = kBusyTurnMin - (now.steady - busy_turn_began);
      if (left > Duration::zero()) std::this_thread::sleep_for(left);
    }
    busy_turn_began = eventlog::BootTime();
    const Duration until_tick = stage->next_tick() - now.steady;
    const Duration wait = std::clamp<Duration>(
        until_tick, Duration::zero(),
        drain_deadline == Instant{} ? kTurnMax : std::chrono::milliseconds(50));
    std::vector<http::Completion> completions = http.Poll({parts.log->wake_fd()}, wait);
    turn_began = eventlog::BootTime();
    Now fact_time = CurrentTime();
    if (spans) spans->OnTurn(fact_time.wall);
    int facts = 0;
    for (const eventlog::Fact& fact : parts.log->Poll(Duration::zero())) {
      metrics.OnFact(fact);
      control_port.OnFact(fact);
      // A look at the clocks costs as much as a short fact.
      if (++facts % kFactsPerLook == 0 || std::holds_alternative<eventlog::Fetched>(fact)) {
        fact_time = CurrentTime();
      }
      if (const auto* done = std::get_if<eventlog::Produced>(&fact); done != nullptr && spans) {
        spans->OnProduced(*done, fact_time.wall);
      }
      stage->OnLog(fact_time, fact);
    }
    for (http::Completion& completion : completions) {
      measured_http.OnCompletion(completion);
      const Now answered = CurrentTime();
      if (spans) spans->OnAnswer(answered.wall, completion.elapsed);
      stage->OnHttp(answered, std::move(completion));
    }
    std::vector<v1::ToService> said;
    {
      const std::lock_guard lock(mutex);
      said.swap(messages);
    }
    for (const v1::ToService& message : said) stage->OnControl(CurrentTime(), message);
    RunTasks();
    const Now after = CurrentTime();
    if (after.steady >= stage->next_tick()) stage->OnTick(after);
    metrics.OnTurn();
    turn_began = Instant{};
    was_busy = facts > 0 || !completions.empty();

    if (failure = stage->failure(); !failure.empty()) {
      end = End::kFailed;
      break;
    }
  }
  forget_client();
  metrics.OnTurn();
  measure(CurrentTime());
  if (end == End::kDrained) {
    // Leaving the group lets its partitions go at once rather than after the session.
    const absl::Status closed = parts.log->Close(
        std::max<Duration>(std::chrono::milliseconds(500), drain_deadline - eventlog::BootTime()));
    if (!closed.ok()) {
      logger.Log(Level::kWarning, "Leaving the group took too long.",
                 {{"why", std::string(closed.message())}});
    }
  }
  return end;
}

void StageRunner::State::NoteOpen(const http::Client& http, const eventlog::LogMember& log) {
  std::vector<std::string> open;
  if (const std::size_t partitions = metrics.assigned_partitions(); partitions > 0) {
    open.push_back(std::to_string(partitions) + " partitions not released");
  }
  if (http.open() > 0) open.push_back(std::to_string(http.open()) + " requests without an answer");
  if (const std::int64_t bytes = log.produce_buffer().bytes; bytes > 0) {
    open.push_back(std::to_string(bytes) + " bytes not acknowledged by the log");
  }
  if (open.empty()) open.emplace_back("the stage had not ended");
  logger.Log(Level::kError, "The drain missed its deadline; the successor waits for the rest.",
             {{"open", Joined(open)}});
  const std::lock_guard lock(mutex);
  still_open = std::move(open);
}

void StageRunner::State::Report(const Stage& stage, const eventlog::LogMember& log,
                                const http::Client& http, Now now) {
  next_report = now.steady + kReportInterval;
  std::vector<std::string> reasons = stage.not_ready_because();
  if (drain) reasons.insert(reasons.begin(), "draining");
  bool was_ready = false;
  {
    const std::lock_guard lock(mutex);
    was_ready = not_ready.empty();
    not_ready = reasons;
  }
  if (!was_ready && reasons.empty()) logger.Log(Level::kInfo, "Ready.", {});
  if (was_ready && !reasons.empty() && !drain) {
    logger.Log(Level::kWarning, "Not ready any more.", {{"because", Joined(reasons)}});
  }
  const std::vector<eventlog::LogMember::Lag> lags = log.lags();
  std::int64_t sum = 0;
  for (const auto& each : lags) sum += each.offsets;
  lag = sum;
  metrics.OnLags(lags);
  const eventlog::LogMember::ProduceBuffer buffer = log.produce_buffer();
  metrics.produce_queue.Set(buffer.bytes, buffer.bytes_max);
  metrics.OnFetchBuffer(log.fetch_buffer());
  metrics.http_queue.Set(static_cast<std::int64_t>(http.open()), options.http.requests_max);
}

}  // namespace tributary::runtime

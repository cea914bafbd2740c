#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "libs/eventlog/local_store.h"
#include "libs/eventlog/log_member.h"
#include "libs/http/client.h"
#include "libs/observe/metrics.h"
#include "libs/stage/stage.h"
#include "libs/time/time.h"

namespace tributary::trace {
class SpanSink;
}  // namespace tributary::trace

namespace tributary::v1 {
class ToService;
}  // namespace tributary::v1

// The thin shell of a service: one thread that gives a stage what happened, and carries out what it
// asks for.

namespace tributary::runtime {

struct StageRunnerOptions {
  /// `extractor`, `transformer`, `loader`; for messages and metrics, and to say hello to control.
  std::string service;
  /// Name of this member of the group.
  std::string instance;
  http::ClientOptions http;
  /// Between two lives of a stage whose log failed: a random part of a bound that doubles.
  Duration restart_delay_min = std::chrono::milliseconds(200);
  Duration restart_delay_max = std::chrono::seconds(30);
  /// From Drain() on. What is not released by then is left to the successor's wait.
  Duration drain_max = std::chrono::seconds(20);
  /// Asked for each life of the stage; what it returns shows the stage's own numbers. It is called
  /// a few times a second, on the runner's thread, and a last time before the stage is destroyed.
  std::function<std::function<void(Now)>(const Stage&)> measure;
  /// Up to so many tenants, gauges carry the label `tenant`; beyond it they are sums.
  int tenants_labelled_max = 200;
  /// Where spans of what the stage does go; outlives the runner. Null: nowhere.
  trace::SpanSink* spans = nullptr;
};

/// What one life of a stage stands on. Thrown away with it (protocol rule 6).
struct StageParts {
  std::unique_ptr<eventlog::LocalStores> stores;
  std::unique_ptr<eventlog::LogMember> log;
};

class StageRunner {
 public:
  /// Called on the runner's thread at the start of each life. An error is tried again later.
  using MakeParts = std::function<absl::StatusOr<StageParts>()>;
  using MakeStage = std::function<std::unique_ptr<Stage>(StagePorts)>;

  /// All references outlive the runner.
  StageRunner(StageRunnerOptions options, MakeParts make_parts, MakeStage make_stage,
              Logger& logger, observe::Metrics& metrics);
  /// Stops at once, as a crash would, unless the runner was drained and joined.
  ~StageRunner();

  /// Begins the thread. `control` is called on it alone, and outlives it (see Join).
  void Start(ControlPort& control);

  /// The rest may be called from any thread.

  /// What control says to the stage. Lost between two lives, as everything that control answers is
  /// asked for again.
  void Deliver(const v1::ToService& message);
  /// Runs a task on the thread, soon and in order; also between two lives. Dropped once the thread
  /// has ended.
  void Post(std::function<void(Now)> task);

  /// Asks the stage to finish what is open and to release. Returns at once.
  void Drain();
  /// Ends the thread without releasing anything.
  void Stop();
  /// Waits for the end of the thread, which Drain() or Stop() brings. True: everything was
  /// released.
  bool Join();
  bool ended() const;

  /// Why the service is not ready; empty: it is.
  std::vector<std::string> not_ready_because() const;
  /// Offsets between where reading stands and the ends, of everything that is read.
  std::int64_t lag() const;
  /// How long the thread has been inside one turn; for liveness, which depends on nothing else.
  Duration turn_age() const;
  /// Lives that ended in a failure.
  int restarts() const;
  /// After Join() has returned false: what a drain found still open at its deadline. Empty: it met
  /// no deadline.
  std::vector<std::string> still_open() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tributary::runtime

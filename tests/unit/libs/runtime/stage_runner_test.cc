#include "libs/runtime/stage_runner.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "libs/eventlog/clock.h"
#include "tributary/v1/control.pb.h"

namespace tributary::runtime {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// What the fakes did, and what they are to do; shared by all lives.
struct World {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> history;
  std::deque<eventlog::Fact> facts;
  std::string failure;
  std::vector<std::string> not_ready = {"partition 3: reading"};
  bool drains = true;
  int parts_errors = 0;
  int wake_fd = eventfd(0, EFD_NONBLOCK);
  std::atomic<int> lives = 0;

  ~World() { close(wake_fd); }
  void Note(std::string what) {
    const std::lock_guard lock(mutex);
    history.push_back(std::move(what));
    changed.notify_all();
  }
  ::testing::AssertionResult Wait(const std::string& what) {
    std::unique_lock lock(mutex);
    const bool found = changed.wait_for(lock, seconds(10), [&] {
      return std::find(history.begin(), history.end(), what) != history.end();
    });
    return found ? ::testing::AssertionSuccess()
                 : ::testing::AssertionFailure()
                       << "waited for " << what << ", got " << ::testing::PrintToString(history);
  }
  void Give(eventlog::Fact fact) {
    const std::lock_guard lock(mutex);
    facts.push_back(std::move(fact));
    eventfd_write(wake_fd, 1);
  }
};

class FakeMember final : public eventlog::LogMember {
 public:
  explicit FakeMember(World& world) : world_(world) {}
  ~FakeMember() override { world_.Note("member destroyed"); }
  void Produce(eventlog::ProduceId, eventlog::Topic, eventlog::Partition, std::string,
               std::optional<std::string>, eventlog::Headers) override {
    world_.Note("produce");
  }
  void StartReading(eventlog::Topic, eventlog::Partition, eventlog::Offset) override {}
  void StopReading(eventlog::Topic, eventlog::Partition) override {}
  void PauseReading(eventlog::Topic, eventlog::Partition) override {}
  void ResumeReading(eventlog::Topic, eventlog::Partition) override {}
  void SampleEnd(std::uint64_t, eventlog::Topic, eventlog::Partition) override {}
  void FetchCommitted(std::uint64_t, eventlog::Topic, eventlog::Partition) override {}
  void Commit(std::uint64_t, eventlog::Topic, eventlog::Partition, eventlog::Offset,
              std::string) override {}
  void RenewLease(std::uint64_t) override {}
  void FinishRevoking() override {}
  std::vector<eventlog::Fact> Poll(Duration) override {
    const std::lock_guard lock(world_.mutex);
    eventfd_t ignored = 0;
    eventfd_read(world_.wake_fd, &ignored);
    std::vector<eventlog::Fact> facts(world_.facts.begin(), world_.facts.end());
    world_.facts.clear();
    return facts;
  }
  int wake_fd() const override { return world_.wake_fd; }
  absl::Status Close(Duration) override {
    world_.Note("member closed");
    return absl::OkStatus();
  }
  std::vector<Lag> lags() const override {
    return {{.topic = eventlog::Topic::kCommands, .partition = 1, .offsets = 5},
            {.topic = eventlog::Topic::kCommands, .partition = 2, .offsets = 2}};
  }

 private:
  World& world_;
};

class FakeStage final : public Stage {
 public:
  FakeStage(World& world, StagePorts ports) : world_(world), ports_(ports) {
    world_.Note("life " + std::to_string(++world_.lives));
  }
  ~FakeStage() override { world_.Note("stage destroyed"); }
  void OnLog(Now now, const eventlog::Fact& fact) override {
    EXPECT_GT(now.steady, Instant{});
    if (const auto* assigned = std::get_if<eventlog::Assigned>(&fact)) {
      world_.Note("assigned " + std::to_string(assigned->partitions.size()));
      // An answer of the world that needs no server.
      ports_.http.Send(7, {.url = "http://127.0.0.1:1/", .timeout = seconds(1)});
    }
    if (std::holds_alternative<eventlog::Failed>(fact)) failure_ = "the log failed";
  }
  void OnHttp(Now, http::Completion completion) override {
    world_.Note("http " + std::to_string(completion.id));
    ports_.log.Produce(1, eventlog::Topic::kRecords, 0, "k", "v", {});
  }
  void OnControl(Now, const v1::ToService& message) override {
    world_.Note("control " + std::to_string(message.id()));
    v1::FromService answer;
    answer.set_answer_to(message.id());
    ports_.control.Send(answer);
  }
  void OnTick(Now now) override {
    EXPECT_GE(now.steady, next_tick_);
    next_tick_ = now.steady + milliseconds(20);
    world_.Note("tick");
  }
  Instant next_tick() const override { return next_tick_; }
  bool MaySend(Now, http::RequestId) override { return true; }
  void Drain(Now) override {
    draining_ = true;
    world_.Note("drain");
  }
  bool drained() const override { return draining_ && world_.drains; }
  std::vector<std::string> not_ready_because() const override {
    const std::lock_guard lock(world_.mutex);
    return world_.not_ready;
  }
  std::string failure() const override { return failure_; }

 private:
  World& world_;
  StagePorts ports_;
  std::string failure_;
  bool draining_ = false;
  Instant next_tick_{};
};

class RecordingLogger final : public Logger {
 public:
  void Log(Level level, std::string_view message, const Fields&) override {
    const std::lock_guard lock(mutex_);
    if (level != Level::kInfo) said_.emplace_back(message);
  }
  std::vector<std::string> said() {
    const std::lock_guard lock(mutex_);
    return said_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> said_;
};

class RecordingControl final : public ControlPort {
 public:
  explicit RecordingControl(World& world) : world_(world) {}
  void Send(const v1::FromService& message) override {
    world_.Note("answer " + std::to_string(message.answer_to()));
  }

 private:
  World& world_;
};

class StageRunnerTest : public ::testing::Test {
 protected:
  StageRunnerTest() {
    options_.service = "loader";
    options_.restart_delay_min = milliseconds(1);
    options_.drain_max = seconds(10);
  }
  void Start() {
    runner_ = std::make_unique<StageRunner>(
        options_,
        [this]() -> absl::StatusOr<StageParts> {
          if (world_.parts_errors > 0) {
            --world_.parts_errors;
            world_.Note("no parts");
            return absl::UnavailableError("no broker");
          }
          return StageParts{.stores = eventlog::MakeMemoryStores(),
                            .log = std::make_unique<FakeMember>(world_)};
        },
        [this](StagePorts ports) { return std::make_unique<FakeStage>(world_, ports); }, logger_,
        metrics_);
    runner_->Start(control_);
  }
  std::vector<std::string> history() {
    const std::lock_guard lock(world_.mutex);
    return world_.history;
  }

  World world_;
  RecordingLogger logger_;
  observe::Metrics metrics_;
  RecordingControl control_{world_};
  StageRunnerOptions options_;
  std::unique_ptr<StageRunner> runner_;
};

TEST_F(StageRunnerTest, GivesTheStageWhatHappens) {
  Start();

  world_.Give(eventlog::Assigned{.partitions = {1, 2}});
  v1::ToService message;
  message.set_id(9);
  runner_->Deliver(message);

  EXPECT_TRUE(world_.Wait("assigned 2"));
  EXPECT_TRUE(world_.Wait("http 7"));
  EXPECT_TRUE(world_.Wait("produce"));
  EXPECT_TRUE(world_.Wait("control 9"));
  EXPECT_TRUE(world_.Wait("answer 9"));
  EXPECT_TRUE(world_.Wait("tick"));
}

TEST_F(StageRunnerTest, CountsFromOutside) {
  Start();
  world_.Give(eventlog::Assigned{.partitions = {1, 2}});
  EXPECT_TRUE(world_.Wait("produce"));
  EXPECT_THAT(metrics_.Exposition(),
              ::testing::HasSubstr("tributary_assigned_partitions{stage=\"loader\"} 2\n"));
  runner_->Drain();
  EXPECT_TRUE(runner_->Join());

  const std::string text = metrics_.Exposition();
  EXPECT_THAT(text, ::testing::HasSubstr(
                        "tributary_records_out_total{stage=\"loader\",topic=\"records\"} 1\n"));
  EXPECT_THAT(text, ::testing::HasSubstr(
                        "tributary_consumer_lag{stage=\"loader\",topic=\"commands\"} 7\n"));
  EXPECT_THAT(text,
              ::testing::HasSubstr("tributary_http_client_requests_total{code_class=\"not_sent\","
                                   "method=\"GET\",stage=\"loader\"} 1\n"));
}

TEST_F(StageRunnerTest, ShowsNothingHeldOnceAStageHasFailed) {
  Start();
  // Its request has no answer when it fails in the same turn.
  {
    const std::lock_guard lock(world_.mutex);
    world_.facts = {eventlog::Assigned{.partitions = {1, 2}}, eventlog::Failed{.error = "fenced"}};
  }

  EXPECT_TRUE(world_.Wait("life 2"));

  const std::string text = metrics_.Exposition();
  EXPECT_THAT(text, ::testing::HasSubstr("tributary_assigned_partitions{stage=\"loader\"} 0\n"));
  EXPECT_THAT(
      text, ::testing::HasSubstr("tributary_http_client_requests_in_flight{stage=\"loader\"} 0\n"));
}

// Protocol rule 6.
TEST_F(StageRunnerTest, DiscardsAFailedStageWithItsPortsAndBeginsAnew) {
  Start();
  EXPECT_TRUE(world_.Wait("life 1"));

  world_.Give(eventlog::Failed{.error = "fenced"});

  EXPECT_TRUE(world_.Wait("life 2"));
  EXPECT_EQ(runner_->restarts(), 1);
  const std::vector<std::string> past = history();
  const auto at = [&past](const char* what) {
    return std::find(past.begin(), past.end(), what) - past.begin();
  };
  EXPECT_LT(at("stage destroyed"), at("member destroyed"));
  EXPECT_LT(at("member destroyed"), at("life 2"));
  EXPECT_EQ(std::count(past.begin(), past.end(), "member closed"), 0) << "a crash releases nothing";
}

TEST_F(StageRunnerTest, TriesAgainWhileTheLogCannotBeReachedAndSaysWhy) {
  world_.parts_errors = 5;
  options_.restart_delay_min = milliseconds(50);
  Start();
  // The reason is set right behind the failure, on the other thread.
  EXPECT_TRUE(world_.Wait("no parts"));
  std::vector<std::string> reasons;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (reasons != std::vector<std::string>{"no broker"} &&
         std::chrono::steady_clock::now() < deadline) {
    reasons = runner_->not_ready_because();
    std::this_thread::yield();
  }

  EXPECT_THAT(reasons, ::testing::ElementsAre("no broker"));
  EXPECT_TRUE(world_.Wait("life 1"));
  EXPECT_EQ(runner_->restarts(), 0) << "no stage has failed";
  EXPECT_THAT(logger_.said(),
              ::testing::ElementsAre("The stage cannot begin yet; it is tried again."))
      << "one reason is one line, however many attempts it takes";
}

TEST_F(StageRunnerTest, RunsPostedTasksInOrderAlsoBetweenTwoLives) {
  world_.parts_errors = 1'000'000;
  options_.restart_delay_min = seconds(20);
  Start();
  EXPECT_TRUE(world_.Wait("no parts"));

  runner_->Post([this](Now) { world_.Note("first"); });
  runner_->Post([this](Now) { world_.Note("second"); });

  EXPECT_TRUE(world_.Wait("second"));
  const std::vector<std::string> past = history();
  EXPECT_LT(std::find(past.begin(), past.end(), "first"),
            std::find(past.begin(), past.end(), "second"));
}

TEST_F(StageRunnerTest, DrainsThenLeavesTheGroup) {
  Start();
  EXPECT_TRUE(world_.Wait("life 1"));

  runner_->Drain();

  EXPECT_TRUE(runner_->Join());
  EXPECT_TRUE(runner_->ended());
  EXPECT_THAT(history(), ::testing::IsSupersetOf({"drain", "member closed", "stage destroyed"}));
}

TEST_F(StageRunnerTest, GivesUpDrainingAfterItsDeadline) {
  world_.drains = false;
  options_.drain_max = milliseconds(50);
  Start();
  EXPECT_TRUE(world_.Wait("life 1"));

  runner_->Drain();

  EXPECT_FALSE(runner_->Join());
}

TEST_F(StageRunnerTest, StopsAtOnceWithoutReleasing) {
  Start();
  EXPECT_TRUE(world_.Wait("life 1"));

  runner_->Stop();

  EXPECT_FALSE(runner_->Join());
  EXPECT_EQ(std::count(world_.history.begin(), world_.history.end(), "drain"), 0);
}

TEST_F(StageRunnerTest, MayBeDrainedBeforeItsLogWasEverReached) {
  world_.parts_errors = 1'000'000;
  options_.restart_delay_min = seconds(20);
  Start();
  EXPECT_TRUE(world_.Wait("no parts"));
  const auto before = std::chrono::steady_clock::now();

  runner_->Drain();
  runner_->Join();

  EXPECT_LT(std::chrono::steady_clock::now() - before, seconds(5));
}

TEST_F(StageRunnerTest, BecomesReadyWhenItsStageIs) {
  Start();
  EXPECT_TRUE(world_.Wait("tick"));
  EXPECT_FALSE(runner_->not_ready_because().empty());
  {
    const std::lock_guard lock(world_.mutex);
    world_.not_ready.clear();
  }

  bool ready = false;
  const auto until = std::chrono::steady_clock::now() + seconds(10);
  while (!ready && std::chrono::steady_clock::now() < until) {
    ready = runner_->not_ready_because().empty();
  }

  EXPECT_TRUE(ready);
  EXPECT_LT(runner_->turn_age(), seconds(10));
}

}  // namespace
}  // namespace tributary::runtime

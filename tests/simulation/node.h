#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/functional/function_ref.h"

#include "libs/eventlog/testing/simulated_log.h"
#include "libs/stage/stage.h"
#include "tests/simulation/network.h"
#include "tests/simulation/tampering.h"
#include "tests/simulation/trace.h"
#include "tributary/v1/control.pb.h"

namespace tributary::simulation {

/// What all processes stand on.
struct Machine {
  eventlog::testing::VirtualTime& time;
  eventlog::testing::SimulatedLog& log;
  Network& network;
  Trace& trace;
  eventlog::testing::SeededRandom& random;
  eventlog::testing::MemberDelays delays;
  /// Control's part of a conversation; empty: no answer.
  std::function<std::optional<v1::ToService>(const v1::FromService&)> control;
  /// What a process logs as an error.
  std::function<void(const std::string& name, std::string_view message)> on_error;
  /// What lies between stages and ports; kNone: nothing.
  RuleBreak rule_break = RuleBreak::kNone;
  /// For tampering: V + P, and what the topics say by now.
  Duration takeover{};
  PresentState present;
  /// How long a process is busy with something that was given to its stage, by what it does: the
  /// records of a fetch, or one answer, or a tick. Runs `work`. Unset: nothing takes time.
  std::function<Duration(std::size_t items, absl::FunctionRef<void()> work)> takes;
};

using StageFactory =
    std::function<std::unique_ptr<Stage>(const std::string& instance, StagePorts ports)>;

/// In which state a process finds its disk when it starts.
enum class Disk : std::uint8_t {
  kKept,
  kLost,
  /// As it was when it was backed up, or as another machine of the service had it then.
  kOld,
};

/// A process with one stage, which dies, stands still, and starts again; its disk may survive it.
class Node {
 public:
  class Events {
   public:
    virtual ~Events() = default;
    virtual void OnStarted(Node& node) = 0;
    virtual void OnDied(Node& node) = 0;
  };

  Node(Machine& machine, Events& events, std::string service, std::string instance,
       StageFactory factory);
  ~Node();

  void Start(Disk disk);
  void Kill(std::string_view why);
  void Suspend();
  void Resume();
  /// SIGTERM.
  void Drain();
  /// What a person has told control.
  void Tell(const v1::ToService& message);
  /// A copy of its disk.
  std::unique_ptr<eventlog::LocalStores> CopyDisk();
  /// What Disk::kOld is from now on.
  void SetBackup(std::unique_ptr<eventlog::LocalStores> copy) { backup_ = std::move(copy); }
  /// Its wall clock is set; the other one goes on.
  void SetClock(Duration by) { clock_offset_ += by; }
  /// Dies right after so many steps more in which something happened to it: a record came, a
  /// produce was acknowledged, a request was answered.
  void CrashAfter(std::int64_t steps, Disk disk = Disk::kKept) {
    crash_after_ = steps;
    disk_after_crash_ = disk;
  }

  bool alive() const { return life_ != nullptr; }
  bool suspended() const { return life_ != nullptr && suspended_; }
  const std::string& service() const { return service_; }
  const std::string& instance() const { return instance_; }
  /// Of this life; only while it is alive.
  const std::string& name() const;
  std::int64_t life() const { return lives_; }
  eventlog::testing::SimulatedMember& member();
  Stage* stage();

 private:
  struct Life;
  using Input = std::variant<http::Completion, v1::ToService>;

  Now now() const;
  void Wake(Duration delay);
  /// True: the process is busy from now on, or has died in it.
  bool Do(std::size_t items, bool is_busy, absl::FunctionRef<void()> work);
  void Step();
  /// False: the process died in it.
  bool AfterStep(bool is_busy);
  void Restart(std::string_view why, Disk disk);

  Machine& machine_;
  Events& events_;
  const std::string service_;
  const std::string instance_;
  const StageFactory factory_;
  std::unique_ptr<eventlog::LocalStores> disk_;
  std::unique_ptr<eventlog::LocalStores> backup_;
  Duration clock_offset_{};
  std::shared_ptr<Life> life_;
  std::int64_t lives_ = 0;
  std::optional<std::int64_t> crash_after_;
  Disk disk_after_crash_ = Disk::kKept;
  bool suspended_ = false;
};

}  // namespace tributary::simulation

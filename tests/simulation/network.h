#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/eventlog/testing/virtual_time.h"
#include "libs/http/message.h"
#include "services/simulator/world.h"
#include "tests/simulation/trace.h"

namespace tributary::simulation {

/// One transmission of one request, from the moment in which its first byte left.
struct Transmission {
  std::uint64_t number = 0;
  /// The process that sent it, e.g. `loader-1#3`.
  std::string sender;
  std::size_t tenant = 0;
  simulator::Target target{};
  http::Request request;
  Instant sent_at{};
  bool arrived = false;
  /// The sender was given a complete answer, or it is certain that nothing will be done any more.
  bool settled = false;
};

/// Who wants to know of transmissions: the always-on checks.
class TransmissionObserver {
 public:
  virtual ~TransmissionObserver() = default;
  virtual void OnSent(const Transmission& transmission) = 0;
  /// Cannot be applied any more from now on.
  virtual void OnSettled(const Transmission& transmission) = 0;
};

struct NetworkFaults {
  /// In a thousand.
  std::uint32_t connect_fails = 0;
  /// A connection takes long, up to the time-out of the request.
  std::uint32_t connect_slow = 0;
  std::uint32_t answer_lost = 0;
  std::uint32_t answer_late = 0;
  std::uint32_t request_late = 0;
  /// The process stands still between the check at the send and the bytes.
  std::uint32_t pauses = 0;
  /// Beyond P, to show what P is for.
  std::optional<Duration> pause_max;
};

/// The wires between processes and worlds.
class Network {
 public:
  Network(eventlog::testing::VirtualTime& time, eventlog::testing::SeededRandom random,
          Trace& trace, std::vector<std::unique_ptr<simulator::World>>& worlds, Duration limbo,
          Duration pause_bound);

  static std::string Url(std::size_t tenant, simulator::Target target);
  void SetFaults(NetworkFaults faults) { faults_ = faults; }
  void Observe(TransmissionObserver& observer) { observer_ = &observer; }
  /// A while that a write spends in a place where much can go wrong.
  struct Moment {
    std::string sender;
    /// Behind the check at the send, in front of the bytes; else in front of the check.
    bool is_checked = false;
    Duration length{};
  };
  void OnMoment(std::function<void(const Moment&)> listener) { on_moment_ = std::move(listener); }
  /// Requests whose fate is open.
  std::int64_t open() const { return open_; }
  std::int64_t unknown_outcomes() const { return unknown_outcomes_; }

  /// The wire end of one process.
  class Client : public http::ClientPort {
   public:
    struct Shell {
      std::function<bool(http::RequestId)> may_send;
      std::function<void(http::Completion)> complete;
    };
    Client(Network& network, std::string sender, Shell shell);
    ~Client() override;

    void Send(http::RequestId id, http::Request request) override;
    void Cancel(http::RequestId id) override;
    void Suspend() { state_->suspended = true; }
    void Resume();
    /// The process is gone; what has left goes on.
    void Die();

   private:
    friend class Network;
    struct Exchange {
      http::Request request;
      Instant asked_at{};
      bool has_left = false;
      bool is_checked = false;
    };
    struct State {
      Network& network;
      std::string sender;
      Shell shell;
      bool dead = false;
      bool suspended = false;
      std::map<http::RequestId, Exchange> open;
      /// Ready to leave while the process stood still.
      std::vector<http::RequestId> held;
    };
    std::shared_ptr<State> state_;
  };

 private:
  using State = Client::State;
  void TryLeave(const std::shared_ptr<State>& state, http::RequestId id);
  void Leave(const std::shared_ptr<State>& state, http::RequestId id);
  void Arrive(const std::shared_ptr<State>& state, http::RequestId id,
              const std::shared_ptr<Transmission>& transmission, Instant deadline);
  void Complete(const std::shared_ptr<State>& state, http::RequestId id,
                http::Completion completion);
  void Settle(const std::shared_ptr<Transmission>& transmission);

  eventlog::testing::VirtualTime& time_;
  eventlog::testing::SeededRandom random_;
  Trace& trace_;
  std::vector<std::unique_ptr<simulator::World>>& worlds_;
  const Duration limbo_;
  const Duration pause_bound_;
  NetworkFaults faults_;
  TransmissionObserver* observer_ = nullptr;
  std::function<void(const Moment&)> on_moment_;
  std::uint64_t last_number_ = 0;
  std::int64_t open_ = 0;
  std::int64_t unknown_outcomes_ = 0;
};

}  // namespace tributary::simulation

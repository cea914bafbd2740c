#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "services/simulator/world.h"

// The simulated world as processes see it: each fake on a port of its own, on the loopback.

namespace tributary::simulator {

struct ServerSettings {
  WorldOptions world;
  std::string host = "127.0.0.1";
  /// Of the Chargify fake; the others come next to it, in the order of Target. 0: any free ports.
  std::uint16_t port = 0;
};

/// A world behind HTTP, with a clock that moves by itself. Safe to call from any thread.
class SimulatorServer {
 public:
  /// `settings.world.start` is the time of the machine if it is zero. Errors: kUnavailable when an
  /// address is taken.
  static absl::StatusOr<std::unique_ptr<SimulatorServer>> Start(ServerSettings settings);

  ~SimulatorServer();
  SimulatorServer(const SimulatorServer&) = delete;
  SimulatorServer& operator=(const SimulatorServer&) = delete;

  std::uint16_t port(Target target) const;
  /// `http://127.0.0.1:PORT`
  std::string url(Target target) const;
  /// What `GET /_sim/ports` says.
  std::string PortsJson() const;

  /// Runs `use` with the world and its present time, while nothing else touches it.
  void WithWorld(const std::function<void(World& world, WallTime now)>& use);

  /// Closes all connections; the world stays for questions.
  void Stop();

 private:
  struct State;
  explicit SimulatorServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace tributary::simulator

#include <csignal>
#include <iostream>
#include <utility>

#include "libs/http/server.h"
#include "services/simulator/flags.h"

// A made-up Chargify and made-up CRMs, for demonstrations and tests.

int main(int argc, char** argv) {
  // Before any thread, so that all of them leave the signals to this one.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  tributary::simulator::ParsedFlags flags = tributary::simulator::ParseFlags(argc, argv);
  if (flags.exit_code) {
    return *flags.exit_code;
  }
  const auto address = tributary::http::ParseListen(flags.listen);
  if (!address) {
    std::cerr << "simulator: --listen: HOST:PORT is expected, not " << flags.listen << "\n";
    return 2;
  }
  flags.settings.host = address->first;
  flags.settings.port = address->second;
  auto server = tributary::simulator::SimulatorServer::Start(std::move(flags.settings));
  if (!server.ok()) {
    std::cerr << "simulator: " << server.status().message() << "\n";
    return 1;
  }
  std::cout << (*server)->PortsJson() << std::endl;
  int signal = 0;
  sigwait(&signals, &signal);
  (*server)->Stop();
  return 0;
}

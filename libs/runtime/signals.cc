#include "libs/runtime/signals.h"

#include <csignal>
#include <cstdlib>
#include <utility>

#include <pthread.h>
#include <unistd.h>

namespace tributary::runtime {
namespace {

sigset_t Watched() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  // Ignored already: somebody wants it to outlive its terminal.
  struct sigaction hangup {};
  sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) sigaddset(&set, SIGHUP);
  // From the destructor to the thread.
  sigaddset(&set, SIGUSR2);
  return set;
}

}  // namespace

StopSignals::StopSignals() {
  const sigset_t set = Watched();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

StopSignals::~StopSignals() {
  if (!thread_.joinable()) return;
  pthread_kill(thread_.native_handle(), SIGUSR2);
  thread_.join();
}

void StopSignals::Watch(std::function<void()> on_stop) {
  thread_ = std::thread([on_stop = std::move(on_stop)] {
    const sigset_t set = Watched();
    for (int received = 0;;) {
      int signal = 0;
      if (sigwait(&set, &signal) != 0) continue;
      if (signal == SIGUSR2) return;
      if (++received > 1) _exit(128 + signal);
      on_stop();
    }
  });
}

}  // namespace tributary::runtime

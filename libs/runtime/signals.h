#pragma once

#include <functional>
#include <thread>

namespace tributary::runtime {

/// SIGTERM, SIGINT and SIGHUP of this process, received by a thread that does nothing else. The
/// second one ends the process at once with 128 + its number. SIGPIPE is ignored.
///
/// To be made first in main(), before any other thread, since every thread inherits the blocked
/// signals. One for a process.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();

  /// Begins to receive; `on_stop` is called once, on that thread, by the first signal.
  void Watch(std::function<void()> on_stop);

 private:
  std::thread thread_;
};

}  // namespace tributary::runtime

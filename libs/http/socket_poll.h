#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "libs/time/time.h"

// Which of libcurl's sockets has something to do. Looking at every transfer, as curl_multi_perform
// does, costs more than a microsecond each whenever any of them moves.

namespace tributary::http {

/// Used by one thread, but for Wake().
class SocketPoll {
 public:
  enum Events : std::uint8_t { kNone = 0, kIn = 1, kOut = 2, kError = 4 };
  struct Ready {
    int socket = -1;
    int events = kNone;
  };

  SocketPoll();
  ~SocketPoll();
  SocketPoll(const SocketPoll&) = delete;
  SocketPoll& operator=(const SocketPoll&) = delete;

  /// `events` is kIn, kOut, both, or kNone: not waited for at present.
  void Watch(int socket, int events);
  /// Before a connection's socket is closed: its number may come again. What libcurl makes for
  /// itself, as the pair by which the thread that looks up a name wakes it, it closes without a
  /// word behind kNone.
  void Forget(int socket);

  /// Waits until a watched socket is ready, one of `wake_fds` is readable, or Wake() was called, or
  /// at most `max_wait`.
  std::vector<Ready> Wait(const std::vector<int>& wake_fds, Duration max_wait);
  /// From any thread.
  void Wake() const;

 private:
  struct Watched {
    int wanted = kNone;
    /// As the kernel has it. A connection that is kept is asked for kIn again and again: it stays
    /// there, and is taken out only if it becomes ready while nobody waits for it.
    int registered = kNone;
    /// A connection's, of whose end Forget() tells.
    bool is_connection = false;
  };
  void Register(int socket, Watched& watched, int events) const;

  int epoll_ = -1;
  int wake_ = -1;
  std::unordered_map<int, Watched> sockets_;
  std::vector<int> wake_fds_;
};

}  // namespace tributary::http

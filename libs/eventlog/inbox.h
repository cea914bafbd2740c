#pragma once

#include <atomic>
#include <cstdint>
#include <iterator>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <sys/eventfd.h>
#include <unistd.h>

#include "libs/eventlog/log.h"

namespace tributary::eventlog {

/// Facts on their way from the log's threads to the one that polls, with the eventfd that wakes it.
class Inbox {
 public:
  Inbox() : fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}
  ~Inbox() {
    if (fd_ >= 0) ::close(fd_);
  }
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;

  int fd() const { return fd_; }

  void Push(Fact fact) {
    {
      std::lock_guard lock(mutex_);
      facts_.push_back(std::move(fact));
    }
    Wake();
  }

  void PushAll(std::vector<Fact> facts) {
    {
      std::lock_guard lock(mutex_);
      facts_.insert(facts_.end(), std::make_move_iterator(facts.begin()),
                    std::make_move_iterator(facts.end()));
    }
    Wake();
  }

  /// What comes after this counts as new: the eventfd is reset first.
  std::vector<Fact> Take() {
    std::uint64_t count = 0;
    (void)!::read(fd_, &count, sizeof count);
    std::lock_guard lock(mutex_);
    return std::exchange(facts_, {});
  }

  void Wake() const {
    const std::uint64_t one = 1;
    (void)!::write(fd_, &one, sizeof one);
  }

 private:
  const int fd_;
  std::mutex mutex_;
  std::vector<Fact> facts_;
};

}  // namespace tributary::eventlog

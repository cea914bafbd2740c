#pragma once

#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace tributary::eventlog {

/// Keeps every other process, and every other holder in this one, out of a directory. The kernel
/// lets it go with the process, so a lock that can be taken proves that the last holder is dead
/// (protocol rule 14).
class DirectoryLock {
 public:
  /// Makes the directory if it is missing (mode 0700). Does not wait.
  ///
  /// Errors: kFailedPrecondition when it is held, naming the holder's pid; else what the system
  /// said.
  static absl::StatusOr<DirectoryLock> Acquire(const std::string& directory);

  DirectoryLock(DirectoryLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  DirectoryLock& operator=(DirectoryLock&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~DirectoryLock();

 private:
  explicit DirectoryLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace tributary::eventlog

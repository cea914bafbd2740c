#pragma once

#include <atomic>
#include <functional>
#include <thread>

#include "libs/verify/verify.h"
#include "services/control/control_core.h"

namespace tributary::control {

/// Reads all topics on a thread of its own, one verification at a time.
class Verifications {
 public:
  /// `make_reader` is called on the thread, once for each verification.
  Verifications(std::function<verify::Reader()> make_reader, Duration action_age);
  /// Waits for the one that runs.
  ~Verifications();

  /// Answers from the thread, or at once when one runs already. One thread.
  void Start(Reply<v1::VerifyResponse> reply);
  /// The one that runs answers kUnavailable as soon as its reader hears of the next record; no
  /// other begins. From any thread.
  void Stop();

 private:
  absl::StatusOr<v1::VerifyResponse> Verify() const;

  const std::function<verify::Reader()> make_reader_;
  const Duration action_age_;
  std::atomic<bool> is_running_ = false;
  std::atomic<bool> is_stopping_ = false;
  std::thread thread_;
};

}  // namespace tributary::control

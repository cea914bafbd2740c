#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"

#include "libs/eventlog/log.h"
#include "libs/time/time.h"

namespace tributary::eventlog {

/// A LogPort with a way to be driven: what the shell of a service holds, while the stage inside
/// sees the LogPort. One thread calls all of it.
class LogMember : public LogPort {
 public:
  /// Waits up to `max_wait` for facts and returns them; none means that the time passed. Must be
  /// called again and again, at least every few seconds: the group expels a member that does not,
  /// and nothing moves but here. Gives no Fetched while more than the produce buffer waits for its
  /// acknowledgement: backpressure. After a Failed fact nothing comes but errors.
  virtual std::vector<Fact> Poll(Duration max_wait) = 0;

  /// An eventfd, for the shell's own poll(): readable when Poll(0) has something to give. Poll
  /// resets it; nobody else reads it.
  virtual int wake_fd() const = 0;

  /// Leaves the group, after waiting until what was produced is durable. No fact comes afterwards.
  /// To be called once, after the owner has released its partitions.
  ///
  /// Errors: kDeadlineExceeded when that took longer than `deadline`; the member has gone all the
  /// same.
  virtual absl::Status Close(Duration deadline) = 0;

  struct Lag {
    Topic topic{};
    Partition partition = 0;
    /// Offsets between where reading stands and the newest end known; compacted ones count.
    std::int64_t offsets = 0;
  };
  /// Of everything that is being read.
  virtual std::vector<Lag> lags() const = 0;

  /// Bytes that were produced and wait for their acknowledgement, and how many make it stop giving
  /// records.
  struct ProduceBuffer {
    std::int64_t bytes = 0;
    std::int64_t bytes_max = 0;
  };
  virtual ProduceBuffer produce_buffer() const { return {}; }

  /// Records that were fetched and not given yet, and how many make it fetch no more. None: this
  /// log fetches nothing ahead.
  struct FetchBuffer {
    std::int64_t records = 0;
    std::int64_t records_max = 0;
  };
  virtual FetchBuffer fetch_buffer() const { return {}; }
};

}  // namespace tributary::eventlog

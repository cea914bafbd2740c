#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "libs/eventlog/admin.h"
#include "libs/eventlog/log_member.h"
#include "libs/time/time.h"

namespace tributary::eventlog {

/// The log of one machine and one process: no broker. Durable when it says Produced: one thread
/// writes whatever is waiting in one transaction, and one sync pays for all of it.
///
/// Each group has one member, which owns every partition from Join to Close; the directory's lock
/// proves that no other process holds any (protocol rule 14). Open, Join and MakeAdmin may be
/// called from any thread; a member belongs to one.
class EmbeddedLog {
 public:
  struct Options {
    std::string directory;
    /// `partitions` are fixed when the log is made. 0: as it was made; `settings()` of an admin
    /// tells how many they are.
    TopicSettings topics;
    /// Of one member, waiting to be durable: above it Poll gives no Fetched; above four times of it
    /// Produce fails.
    std::int64_t produce_buffer_bytes = std::int64_t{32} << 20;
    /// About what one Poll gives at most; one record may exceed it.
    std::int64_t poll_bytes_max = std::int64_t{1} << 20;
    /// About what one transaction holds at most.
    std::int64_t commit_bytes_max = std::int64_t{8} << 20;
    /// Between two looks at what compaction and retention may remove.
    Duration housekeeping_interval = std::chrono::seconds(10);
    /// Address space, not memory: doubled when the file has grown to it.
    std::size_t map_bytes = std::size_t{1} << 30;
    /// The log is full at this size: Failed.
    std::size_t map_bytes_max = std::size_t{1} << 40;
    /// What dates records, for compaction and retention. Empty: the system's.
    std::function<WallTime()> clock;
  };

  /// Errors: kFailedPrecondition when another process has the directory open (with its pid), or
  /// the log was made with other partitions; kNotFound when there is none to ask for them.
  static absl::StatusOr<std::unique_ptr<EmbeddedLog>> Open(Options options);

  /// Members should have been closed; what one of them still does fails.
  ~EmbeddedLog();
  EmbeddedLog(const EmbeddedLog&) = delete;
  EmbeddedLog& operator=(const EmbeddedLog&) = delete;

  /// Its first fact is Assigned with every partition.
  ///
  /// Errors: kFailedPrecondition while the group has a member (whom it names), and when the log has
  /// failed for good.
  absl::StatusOr<std::unique_ptr<LogMember>> Join(std::string_view group,
                                                  std::string_view instance);

  std::unique_ptr<LogAdmin> MakeAdmin();

  /// Compacts and drops now what may go now, instead of at the next interval.
  absl::Status Housekeep();

 private:
  class Core;
  class Member;
  class Admin;
  explicit EmbeddedLog(std::shared_ptr<Core> core);
  const std::shared_ptr<Core> core_;
};

}  // namespace tributary::eventlog

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "libs/eventlog/log.h"
#include "libs/time/time.h"

// Setting a log up: topics, and the founding of its tables (protocol section 0). Blocking; done by
// control, by `tributary topics create` and by `tributary dev`, never by a stage.

namespace tributary::eventlog {

/// How topics are made. One number of partitions for all of them, for life.
struct TopicSettings {
  std::int32_t partitions = 64;
  /// Kafka only.
  std::int32_t replication_factor = 1;
  /// C and R of the protocol, of all tables.
  Duration min_compaction_lag = std::chrono::hours(1);
  Duration delete_retention = std::chrono::hours(24);
  Duration events_retention = std::chrono::hours(24 * 30);
  Duration notifications_retention = std::chrono::hours(24 * 7);
  Duration outcomes_retention = std::chrono::hours(24 * 90);
  /// Of one partition of one stream. What is older than the newest that fit is dropped.
  std::int64_t stream_partition_bytes_max = std::int64_t{4} << 30;
  /// A larger record is refused.
  std::int64_t record_bytes_max = std::int64_t{4} << 20;
};

/// Of a stream. Tables are kept for ever.
Duration RetentionOf(Topic stream, const TopicSettings& settings);

struct NewRecord {
  Partition partition = 0;
  std::string key;
  std::optional<std::string> value;
  Headers headers;
};

/// What founding needs to know of one partition of a table.
struct PartitionSetUp {
  /// Value of the newest `!g`.
  std::optional<std::string> founding;
  /// There is a fence that set-up has written.
  bool has_founding_fence = false;
  /// There is anything else.
  bool has_others = false;

  /// Folds one record of that partition.
  void Add(const Record& record);
};

class LogAdmin {
 public:
  virtual ~LogAdmin() = default;

  /// Makes the topics that are missing.
  ///
  /// Errors: kFailedPrecondition when one exists with another number of partitions; kUnavailable
  /// when the log cannot be reached.
  virtual absl::Status EnsureTopics() = 0;
  /// Whether all topics are there, without making any. By default they are, since the log is open.
  ///
  /// Errors: those of EnsureTopics; kUnavailable also when one is missing.
  virtual absl::Status CheckTopics();
  /// Removes the topics with all that they hold, and returns when they are gone. Nobody may be a
  /// member of the log. Those that are not there are no error.
  ///
  /// Errors: kUnimplemented when topics are not removed by themselves; kFailedPrecondition when the
  /// broker does not allow it; kUnavailable when it is not known that all of them are gone.
  virtual absl::Status RemoveTopics();
  virtual absl::StatusOr<std::vector<PartitionSetUp>> Inspect(Topic table) = 0;
  /// Returns when all of them are durable.
  virtual absl::Status Append(Topic topic, const std::vector<NewRecord>& records) = 0;
  /// Every kept record of the topic up to the ends at the time of the call, each partition in
  /// order, until `visit` returns false.
  virtual absl::Status ReadAll(Topic topic, const std::function<bool(const Record&)>& visit) = 0;

  virtual const TopicSettings& settings() const = 0;
};

struct FoundOptions {
  /// For the generation: max(last + 1, Unix time).
  WallTime now{};
  /// 64 random bits.
  std::function<std::uint64_t()> random;
  /// A person's order to found again what is lost, under a larger generation.
  bool anew = false;
};

/// Writes `!g` and a released fence into every partition of every table that lacks them, `records`
/// in front of `commands`. Again after an interruption it goes on; again after that it changes
/// nothing. Returns the generation.
///
/// Errors: kFailedPrecondition when a partition has lost its founding while others hold data (also
/// a `records` whose `commands` is not empty), or when generations differ: a person has to look,
/// and to order `anew`.
absl::StatusOr<std::int64_t> Found(LogAdmin& admin, const FoundOptions& options);

}  // namespace tributary::eventlog

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include <lmdb.h>

#include "libs/eventlog/admin.h"
#include "libs/eventlog/log.h"
#include "libs/time/time.h"

namespace tributary::eventlog::embedded {

/// The embedded log on disk: records by (topic, partition, offset), the newest offset of each key
/// of a table, what is to be removed when, committed offsets; one LMDB file. What a call to Write
/// has put there is synced to disk when it returns.
///
/// One thread writes; any thread reads, and waits for nobody but a growing map.
class Storage {
 public:
  struct Options {
    /// Locked by the caller.
    std::string directory;
    /// `partitions` 0: as it was made.
    TopicSettings topics;
    std::size_t map_bytes = std::size_t{1} << 30;
    std::size_t map_bytes_max = std::size_t{1} << 40;
  };

  struct Operation {
    /// None: an append; else a commit for this group.
    std::optional<std::string> group;
    Topic topic{};
    Partition partition = 0;
    /// Of an append: the result. Of a commit: what is committed.
    Offset offset = 0;
    /// Of a commit.
    std::string mark;
    std::string key;
    std::optional<std::string> value;
    Headers headers;
  };

  struct Range {
    Offset begin = 0;
    Offset end = 0;
  };

  /// Errors: kFailedPrecondition when the log was made with another number of partitions or by a
  /// newer version; kNotFound when it was not made and they are not given.
  static absl::StatusOr<std::unique_ptr<Storage>> Open(Options options);
  static bool Exists(const std::string& directory);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  /// All of them in their order, or none.
  ///
  /// Errors: kResourceExhausted when disk or map is full (later calls may succeed); after any other
  /// this object must not be written to again.
  absl::Status Write(WallTime now, std::vector<Operation>& operations);

  /// Compacts tables and drops what is too old or too much of streams: up to `removals_max`
  /// records, and returns how many there were. Forgets the snapshots of processes that have ended.
  /// Errors as Write.
  absl::StatusOr<std::size_t> Housekeep(WallTime now, std::size_t removals_max);

  Range range(Topic topic, Partition partition) const;

  /// Reads records from `from` on until `bytes_max` are exceeded, at least one if there is one.
  /// `next` becomes the position behind them, beyond compacted ones too.
  ///
  /// Errors: kOutOfRange when `from` is no longer kept or lies behind the end; kDataLoss when a
  /// record is not what was written.
  absl::Status Read(Topic topic, Partition partition, Offset from, std::int64_t bytes_max,
                    std::vector<Record>& records, Offset& next) const;

  struct Position {
    Offset next = 0;
    std::string mark;
  };
  absl::StatusOr<std::optional<Position>> Committed(const std::string& group, Topic topic,
                                                    Partition partition) const;
  /// Looks at keys that begin with `!`, and whether there are others; not at all records.
  absl::StatusOr<PartitionSetUp> Inspect(Topic table, Partition partition) const;

  std::int32_t partitions() const { return options_.topics.partitions; }

 private:
  struct PartitionState {
    Offset begin = 0;
    Offset next = 0;
    std::int64_t bytes = 0;
  };
  struct Published {
    std::atomic<Offset> begin{0};
    std::atomic<Offset> end{0};
  };
  class Batch;

  explicit Storage(Options options);
  absl::Status OpenFile();
  absl::Status CheckFormat();
  std::size_t Index(Topic topic, Partition partition) const;
  template <typename Work>
  absl::Status InTransaction(const char* doing, const Work& work);

  Options options_;
  MDB_env* env_ = nullptr;
  MDB_dbi records_ = 0;
  MDB_dbi latest_ = 0;
  MDB_dbi removals_ = 0;
  MDB_dbi partitions_ = 0;
  MDB_dbi committed_ = 0;
  MDB_dbi about_ = 0;
  std::size_t map_bytes_ = 0;
  /// Of the writing thread.
  std::vector<PartitionState> states_;
  /// What readers may see: committed and synced.
  std::vector<Published> published_;
  /// Held shared by readers: LMDB's map may only grow while there is no transaction.
  mutable std::shared_mutex map_mutex_;
};

}  // namespace tributary::eventlog::embedded

#include "libs/eventlog/embedded/storage.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <map>
#include <mutex>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <openssl/sha.h>
#include <unistd.h>

#include "libs/eventlog/embedded/record_format.h"
#include "libs/eventlog/lmdb_handles.h"

namespace tributary::eventlog::embedded {
namespace {

using lmdb::ToStatus;
using lmdb::ToVal;
using lmdb::ToView;

constexpr std::string_view kStoreFormat = "1";
// LMDB takes keys of 511 bytes.
constexpr std::size_t kKeyBytesMax = 480;
constexpr std::size_t kKeyHeadBytes = 400;
constexpr std::size_t kPlaceBytes = 5;

std::string Place(Topic topic, Partition partition) {
  std::string key;
  key.push_back(static_cast<char>(topic));
  lmdb::AppendBigEndian(key, static_cast<std::uint32_t>(partition));
  return key;
}

std::string RecordKey(Topic topic, Partition partition, Offset offset) {
  std::string key = Place(topic, partition);
  lmdb::AppendBigEndian(key, offset);
  return key;
}

Offset OffsetOf(std::string_view record_key) {
  return lmdb::ReadBigEndian<Offset>(record_key, kPlaceBytes);
}

/// Where `latest` keeps the newest offset of a key. A long one is known by its hash: it is only
/// looked up, never listed.
std::string LatestKey(Topic topic, Partition partition, std::string_view key) {
  std::string out = Place(topic, partition);
  if (key.size() <= kKeyBytesMax) return out.append(key);
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest);
  out.append(key.substr(0, kKeyHeadBytes)).push_back('\0');
  // Longer than any short key is allowed to be, so that the two cannot meet.
  out.append(kKeyBytesMax - kKeyHeadBytes - sizeof digest, '\0');
  out.append(reinterpret_cast<const char*>(digest), sizeof digest);
  return out;
}

std::string RemovalKey(WallTime due, Topic topic, Partition partition, Offset offset) {
  std::string key;
  lmdb::AppendBigEndian(key, std::int64_t{due.time_since_epoch().count()});
  return key.append(RecordKey(topic, partition, offset));
}

int Put(MDB_txn* txn, MDB_dbi dbi, std::string_view key, std::string_view value) {
  MDB_val k = ToVal(key);
  MDB_val v = ToVal(value);
  return mdb_put(txn, dbi, &k, &v, 0);
}

int Get(MDB_txn* txn, MDB_dbi dbi, std::string_view key, std::string_view& value) {
  MDB_val k = ToVal(key);
  MDB_val v;
  const int code = mdb_get(txn, dbi, &k, &v);
  if (code == MDB_SUCCESS) value = ToView(v);
  return code;
}

int Delete(MDB_txn* txn, MDB_dbi dbi, std::string_view key) {
  MDB_val k = ToVal(key);
  const int code = mdb_del(txn, dbi, &k, nullptr);
  return code == MDB_NOTFOUND ? MDB_SUCCESS : code;
}

std::optional<std::int32_t> PartitionCount(std::string_view text) {
  std::int32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 1) return std::nullopt;
  return number;
}

/// The first entry at or behind `key`.
int Seek(MDB_cursor* cursor, std::string_view key, std::string_view& found,
         std::string_view& value) {
  MDB_val k = ToVal(key);
  MDB_val v;
  const int code = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
  if (code == MDB_SUCCESS) {
    found = ToView(k);
    value = ToView(v);
  }
  return code;
}

}  // namespace

/// What one transaction changes of the partitions' states; they take effect when it is committed.
class Storage::Batch {
 public:
  Batch(Storage& storage, MDB_txn* txn) : storage_(storage), txn_(txn) {}

  PartitionState& State(Topic topic, Partition partition) {
    const std::size_t index = storage_.Index(topic, partition);
    return staged_.try_emplace(index, storage_.states_[index]).first->second;
  }

  int Append(WallTime now, Operation& operation) {
    PartitionState& state = State(operation.topic, operation.partition);
    const Offset offset = state.next;
    const std::string bytes = EncodeRecord(now, operation.key, operation.value, operation.headers);
    int code = Put(txn_, storage_.records_, RecordKey(operation.topic, operation.partition, offset),
                   bytes);
    if (code == MDB_SUCCESS && IsTable(operation.topic)) code = Supersede(now, operation, offset);
    if (code != MDB_SUCCESS) return code;
    state.next = offset + 1;
    state.bytes += static_cast<std::int64_t>(bytes.size());
    operation.offset = offset;
    return MDB_SUCCESS;
  }

  int Commit(const Operation& operation) {
    // Version 0.1 wrote no mark, and reads none.
    std::string value;
    lmdb::AppendBigEndian(value, operation.offset);
    value.append(operation.mark);
    return Put(txn_, storage_.committed_,
               Place(operation.topic, operation.partition) + *operation.group, value);
  }

  /// One removal that is due. An entry goes when a younger one of its key has lain there for C; a
  /// tombstone when it has lain there for R.
  int Remove(Topic topic, Partition partition, Offset offset, bool& postponed) {
    const std::string record_key = RecordKey(topic, partition, offset);
    std::string_view bytes;
    int code = Get(txn_, storage_.records_, record_key, bytes);
    if (code == MDB_NOTFOUND) return MDB_SUCCESS;
    if (code != MDB_SUCCESS) return code;
    Record record;
    if (!DecodeRecord(bytes, record)) return MDB_CORRUPTED;
    PartitionState& state = State(topic, partition);
    // The last record of a partition stays, so that who reads to a sampled end finds something
    // there.
    if (offset + 1 == state.next) {
      postponed = true;
      return MDB_SUCCESS;
    }
    const std::string latest_key = LatestKey(topic, partition, record.key);
    std::string_view latest;
    code = Get(txn_, storage_.latest_, latest_key, latest);
    if (code != MDB_SUCCESS && code != MDB_NOTFOUND) return code;
    const bool is_newest = code == MDB_SUCCESS && lmdb::ReadBigEndian<Offset>(latest, 0) == offset;
    if (is_newest && record.value) return MDB_SUCCESS;
    state.bytes -= static_cast<std::int64_t>(bytes.size());
    code = is_newest ? Delete(txn_, storage_.latest_, latest_key) : MDB_SUCCESS;
    return code == MDB_SUCCESS ? Delete(txn_, storage_.records_, record_key) : code;
  }

  int SaveStates() {
    const auto per_topic = static_cast<std::size_t>(storage_.partitions());
    for (const auto& [index, state] : staged_) {
      std::string value;
      lmdb::AppendBigEndian(value, state.begin);
      lmdb::AppendBigEndian(value, state.next);
      lmdb::AppendBigEndian(value, state.bytes);
      const int code = Put(
          txn_, storage_.partitions_,
          Place(kAllTopics[index / per_topic], static_cast<Partition>(index % per_topic)), value);
      if (code != MDB_SUCCESS) return code;
    }
    return MDB_SUCCESS;
  }

  void Publish() {
    for (const auto& [index, state] : staged_) {
      storage_.states_[index] = state;
      storage_.published_[index].begin.store(state.begin, std::memory_order_release);
      storage_.published_[index].end.store(state.next, std::memory_order_release);
    }
  }

  bool is_empty() const { return staged_.empty(); }
  MDB_txn* txn() const { return txn_; }

 private:
  int Supersede(WallTime now, const Operation& operation, Offset offset) {
    const TopicSettings& topics = storage_.options_.topics;
    const std::string latest_key = LatestKey(operation.topic, operation.partition, operation.key);
    std::string_view previous;
    int code = Get(txn_, storage_.latest_, latest_key, previous);
    if (code == MDB_SUCCESS) {
      const auto older = lmdb::ReadBigEndian<Offset>(previous, 0);
      code = Put(
          txn_, storage_.removals_,
          RemovalKey(now + topics.min_compaction_lag, operation.topic, operation.partition, older),
          "");
    } else if (code == MDB_NOTFOUND) {
      code = MDB_SUCCESS;
    }
    if (code == MDB_SUCCESS && !operation.value) {
      // Never before what it deletes.
      const Duration kept = std::max(topics.delete_retention, topics.min_compaction_lag);
      code = Put(txn_, storage_.removals_,
                 RemovalKey(now + kept, operation.topic, operation.partition, offset), "");
    }
    if (code != MDB_SUCCESS) return code;
    std::string value;
    lmdb::AppendBigEndian(value, offset);
    return Put(txn_, storage_.latest_, latest_key, value);
  }

  Storage& storage_;
  MDB_txn* const txn_;
  std::map<std::size_t, PartitionState> staged_;
};

Storage::Storage(Options options) : options_(std::move(options)), map_bytes_(options_.map_bytes) {}

Storage::~Storage() {
  if (env_ != nullptr) mdb_env_close(env_);
}

absl::StatusOr<std::unique_ptr<Storage>> Storage::Open(Options options) {
  if (options.topics.partitions < 0) {
    return absl::InvalidArgumentError("partitions: must be at least 1");
  }
  std::unique_ptr<Storage> storage(new Storage(std::move(options)));
  if (absl::Status status = storage->OpenFile(); !status.ok()) return status;
  if (absl::Status status = storage->CheckFormat(); !status.ok()) return status;
  // The file's name must be as durable as what it holds.
  const int directory =
      ::open(storage->options_.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = directory >= 0 && ::fsync(directory) == 0;
  const int code = errno;
  if (directory >= 0) ::close(directory);
  if (!synced) return ToStatus(code, "syncing directory " + storage->options_.directory);
  return storage;
}

bool Storage::Exists(const std::string& directory) {
  std::error_code ignored;
  return std::filesystem::exists(std::filesystem::path(directory) / "data.mdb", ignored);
}

absl::Status Storage::OpenFile() {
  int code = mdb_env_create(&env_);
  if (code == MDB_SUCCESS) code = mdb_env_set_mapsize(env_, map_bytes_);
  if (code == MDB_SUCCESS) code = mdb_env_set_maxdbs(env_, 6);
  if (code == MDB_SUCCESS) code = mdb_env_open(env_, options_.directory.c_str(), MDB_NOTLS, 0600);
  if (code != MDB_SUCCESS) return ToStatus(code, "opening the log in " + options_.directory);
  MDB_envinfo info;
  if (mdb_env_info(env_, &info) == MDB_SUCCESS) map_bytes_ = info.me_mapsize;
  return InTransaction("opening the log", [this](Batch& batch) {
    const std::pair<const char*, MDB_dbi*> databases[] = {
        {"records", &records_},       {"latest", &latest_},       {"removals", &removals_},
        {"partitions", &partitions_}, {"committed", &committed_}, {"about", &about_}};
    for (const auto& [name, dbi] : databases) {
      const int opened = mdb_dbi_open(batch.txn(), name, MDB_CREATE, dbi);
      if (opened != MDB_SUCCESS) return opened;
    }
    return MDB_SUCCESS;
  });
}

absl::Status Storage::CheckFormat() {
  std::string format;
  std::string partitions;
  const bool is_given = options_.topics.partitions > 0;
  const std::string wanted = std::to_string(options_.topics.partitions);
  absl::Status status = InTransaction("opening the log", [&](Batch& batch) {
    std::string_view text;
    int code = Get(batch.txn(), about_, "format", text);
    if (code == MDB_NOTFOUND) {
      if (!is_given) return MDB_SUCCESS;
      code = Put(batch.txn(), about_, "format", kStoreFormat);
      if (code == MDB_SUCCESS) code = Put(batch.txn(), about_, "partitions", wanted);
      format = kStoreFormat;
      partitions = wanted;
      return code;
    }
    format = text;
    if (code == MDB_SUCCESS) code = Get(batch.txn(), about_, "partitions", text);
    partitions = text;
    return code;
  });
  if (!status.ok()) return status;
  if (format.empty() && !is_given) {
    return absl::NotFoundError("there is no log in " + options_.directory);
  }
  if (format != kStoreFormat) {
    return absl::FailedPreconditionError("the log in " + options_.directory + " has format " +
                                         format + ", and this program reads only " +
                                         std::string(kStoreFormat));
  }
  if (is_given && partitions != wanted) {
    return absl::FailedPreconditionError("the log in " + options_.directory + " was made with " +
                                         partitions + " partitions; log.partitions says " + wanted);
  }
  const std::optional<std::int32_t> made_with = PartitionCount(partitions);
  if (!made_with) {
    return absl::DataLossError("the log in " + options_.directory +
                               " does not say how many partitions it has");
  }
  options_.topics.partitions = *made_with;
  states_ = std::vector<PartitionState>(kAllTopics.size() * static_cast<std::size_t>(*made_with));
  published_ = std::vector<Published>(states_.size());
  lmdb::Transaction reading;
  int code = reading.Begin(env_, MDB_RDONLY);
  for (const Topic topic : kAllTopics) {
    for (Partition p = 0; code == MDB_SUCCESS && p < options_.topics.partitions; ++p) {
      std::string_view value;
      code = Get(reading.get(), partitions_, Place(topic, p), value);
      if (code == MDB_SUCCESS && value.size() == 24) {
        const std::size_t index = Index(topic, p);
        states_[index] = {lmdb::ReadBigEndian<Offset>(value, 0),
                          lmdb::ReadBigEndian<Offset>(value, 8),
                          lmdb::ReadBigEndian<std::int64_t>(value, 16)};
        published_[index].begin = states_[index].begin;
        published_[index].end = states_[index].next;
      } else if (code == MDB_SUCCESS) {
        code = MDB_CORRUPTED;
      } else if (code == MDB_NOTFOUND) {
        code = MDB_SUCCESS;
      }
    }
  }
  return ToStatus(code, "reading the log in " + options_.directory);
}

std::size_t Storage::Index(Topic topic, Partition partition) const {
  return static_cast<std::size_t>(topic) * static_cast<std::size_t>(options_.topics.partitions) +
         static_cast<std::size_t>(partition);
}

template <typename Work>
absl::Status Storage::InTransaction(const char* doing, const Work& work) {
  while (true) {
    int code = MDB_SUCCESS;
    {
      std::shared_lock map_lock(map_mutex_);
      lmdb::Transaction transaction;
      code = transaction.Begin(env_, 0);
      Batch batch(*this, transaction.get());
      if (code == MDB_SUCCESS) code = work(batch);
      if (code == MDB_SUCCESS) code = batch.SaveStates();
      if (code == MDB_SUCCESS) code = transaction.Commit();
      if (code == MDB_SUCCESS) {
        batch.Publish();
        return absl::OkStatus();
      }
    }
    if (code != MDB_MAP_FULL || map_bytes_ >= options_.map_bytes_max) {
      return ToStatus(code, std::string(doing) + " in " + options_.directory);
    }
    std::unique_lock map_lock(map_mutex_);
    map_bytes_ = std::min(map_bytes_ * 2, options_.map_bytes_max);
    code = mdb_env_set_mapsize(env_, map_bytes_);
    if (code != MDB_SUCCESS) return ToStatus(code, "growing the map of " + options_.directory);
  }
}

absl::Status Storage::Write(WallTime now, std::vector<Operation>& operations) {
  return InTransaction("writing the log", [&](Batch& batch) {
    for (Operation& operation : operations) {
      const int code = operation.group ? batch.Commit(operation) : batch.Append(now, operation);
      if (code != MDB_SUCCESS) return code;
    }
    return MDB_SUCCESS;
  });
}

absl::StatusOr<std::size_t> Storage::Housekeep(WallTime now, std::size_t removals_max) {
  // A copier that was killed holds its snapshot in the lock file, and no page that is freed after
  // it would be used again. What fails here fails in the transaction below too.
  int dead_readers = 0;
  (void)mdb_reader_check(env_, &dead_readers);
  std::size_t removed = 0;
  const TopicSettings& topics = options_.topics;
  absl::Status status = InTransaction("compacting the log", [&](Batch& batch) {
    removed = 0;
    lmdb::Cursor cursor;
    int code = cursor.Open(batch.txn(), removals_);
    std::string from(1, '\0');
    while (code == MDB_SUCCESS && removed < removals_max) {
      std::string_view key;
      std::string_view value;
      code = Seek(cursor.get(), from, key, value);
      if (code != MDB_SUCCESS) break;
      if (WallTime(Duration(lmdb::ReadBigEndian<std::int64_t>(key, 0))) > now) break;
      from = key;
      const std::string_view record = std::string_view(from).substr(8);
      const auto topic = static_cast<Topic>(record[0]);
      const auto partition = static_cast<Partition>(lmdb::ReadBigEndian<std::uint32_t>(record, 1));
      bool is_postponed = false;
      code = batch.Remove(topic, partition, OffsetOf(record), is_postponed);
      if (code == MDB_SUCCESS && is_postponed) {
        // Left in the queue: it is looked at again when the partition has grown.
        from.push_back('\0');
        continue;
      }
      if (code == MDB_SUCCESS) code = Delete(batch.txn(), removals_, from);
      ++removed;
    }
    if (code == MDB_NOTFOUND) code = MDB_SUCCESS;

    for (const Topic topic : kAllTopics) {
      if (IsTable(topic)) continue;
      const Duration retention = RetentionOf(topic, topics);
      for (Partition p = 0; code == MDB_SUCCESS && p < topics.partitions; ++p) {
        const PartitionState& before = states_[Index(topic, p)];
        if (before.begin == before.next) continue;
        lmdb::Cursor records;
        code = records.Open(batch.txn(), records_);
        Offset begin = before.begin;
        while (code == MDB_SUCCESS && removed < removals_max) {
          std::string_view key;
          std::string_view value;
          const std::string place = Place(topic, p);
          code = Seek(records.get(), RecordKey(topic, p, begin), key, value);
          if (code == MDB_NOTFOUND || (code == MDB_SUCCESS && !key.starts_with(place))) {
            code = begin == batch.State(topic, p).next ? MDB_NOTFOUND : MDB_CORRUPTED;
            break;
          }
          if (code != MDB_SUCCESS) break;
          const std::optional<WallTime> appended_at = AppendedAt(value);
          const std::int64_t bytes =
              begin == before.begin ? before.bytes : batch.State(topic, p).bytes;
          if (appended_at && now - *appended_at <= retention &&
              bytes <= topics.stream_partition_bytes_max) {
            break;
          }
          PartitionState& state = batch.State(topic, p);
          state.bytes -= static_cast<std::int64_t>(value.size());
          state.begin = begin = OffsetOf(key) + 1;
          code = mdb_cursor_del(records.get(), 0);
          ++removed;
        }
        if (code == MDB_NOTFOUND) code = MDB_SUCCESS;
      }
    }
    return code;
  });
  if (!status.ok()) return status;
  return removed;
}

Storage::Range Storage::range(Topic topic, Partition partition) const {
  const Published& published = published_[Index(topic, partition)];
  return {published.begin.load(std::memory_order_acquire),
          published.end.load(std::memory_order_acquire)};
}

absl::Status Storage::Read(Topic topic, Partition partition, Offset from, std::int64_t bytes_max,
                           std::vector<Record>& records, Offset& next) const {
  // Taken before the snapshot: everything in front of it that is still kept is in the snapshot.
  const Offset end = range(topic, partition).end;
  std::shared_lock map_lock(map_mutex_);
  lmdb::Transaction reading;
  int code = reading.Begin(env_, MDB_RDONLY);
  std::string_view state;
  const std::string place = Place(topic, partition);
  if (code == MDB_SUCCESS) code = Get(reading.get(), partitions_, place, state);
  // From the snapshot, not from `range`: a beginning that moves between the two would be a hole.
  const Offset begin = code == MDB_SUCCESS ? lmdb::ReadBigEndian<Offset>(state, 0) : 0;
  if (code == MDB_NOTFOUND) code = MDB_SUCCESS;
  if (code != MDB_SUCCESS) return ToStatus(code, "reading the log");
  if (from < begin || from > end) return absl::OutOfRangeError("not kept");
  next = from;
  lmdb::Cursor cursor;
  code = cursor.Open(reading.get(), records_);
  if (code != MDB_SUCCESS) return ToStatus(code, "reading the log");
  const std::string start = RecordKey(topic, partition, from);
  MDB_val key = ToVal(start);
  MDB_val value;
  std::int64_t bytes = 0;
  for (code = mdb_cursor_get(cursor.get(), &key, &value, MDB_SET_RANGE); code == MDB_SUCCESS;
       code = mdb_cursor_get(cursor.get(), &key, &value, MDB_NEXT)) {
    if (!ToView(key).starts_with(place)) break;
    Record record{.topic = topic, .partition = partition, .offset = OffsetOf(ToView(key))};
    if (!DecodeRecord(ToView(value), record)) {
      return absl::DataLossError("record " + std::to_string(record.offset) + " of partition " +
                                 std::to_string(partition) + " of " + std::string(Name(topic)) +
                                 " is damaged");
    }
    next = record.offset + 1;
    records.push_back(std::move(record));
    bytes += static_cast<std::int64_t>(value.mv_size);
    if (bytes >= bytes_max) return absl::OkStatus();
  }
  if (code != MDB_SUCCESS && code != MDB_NOTFOUND) return ToStatus(code, "reading the log");
  next = std::max(next, end);
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Storage::Position>> Storage::Committed(const std::string& group,
                                                                    Topic topic,
                                                                    Partition partition) const {
  std::shared_lock map_lock(map_mutex_);
  lmdb::Transaction reading;
  int code = reading.Begin(env_, MDB_RDONLY);
  std::string_view value;
  if (code == MDB_SUCCESS) {
    code = Get(reading.get(), committed_, Place(topic, partition) + group, value);
  }
  if (code == MDB_NOTFOUND) return std::optional<Position>();
  if (code != MDB_SUCCESS) return ToStatus(code, "reading a committed offset");
  return Position{lmdb::ReadBigEndian<Offset>(value, 0), std::string(value.substr(sizeof(Offset)))};
}

absl::StatusOr<PartitionSetUp> Storage::Inspect(Topic table, Partition partition) const {
  std::shared_lock map_lock(map_mutex_);
  lmdb::Transaction reading;
  PartitionSetUp found;
  const std::string place = Place(table, partition);
  int code = reading.Begin(env_, MDB_RDONLY);
  lmdb::Cursor cursor;
  if (code == MDB_SUCCESS) code = cursor.Open(reading.get(), latest_);
  std::string_view key;
  std::string_view offset;
  std::string from = place;
  while (code == MDB_SUCCESS) {
    code = Seek(cursor.get(), from, key, offset);
    if (code != MDB_SUCCESS || !key.starts_with(place)) break;
    if (!key.substr(kPlaceBytes).starts_with('!')) {
      found.has_others = true;
      // `!` is nearly the smallest byte there is: one look before it, one behind it.
      if (key.substr(kPlaceBytes) > "!") break;
      from = place + '!';
      continue;
    }
    Record record{.topic = table, .partition = partition};
    std::string_view bytes;
    code = Get(reading.get(), records_,
               RecordKey(table, partition, lmdb::ReadBigEndian<Offset>(offset, 0)), bytes);
    if (code == MDB_SUCCESS && !DecodeRecord(bytes, record)) code = MDB_CORRUPTED;
    if (code == MDB_NOTFOUND) code = MDB_CORRUPTED;
    found.Add(record);
    from = std::string(key) + '\0';
  }
  if (code != MDB_SUCCESS && code != MDB_NOTFOUND) {
    return ToStatus(code, "reading the set-up of partition " + std::to_string(partition) + " of " +
                              std::string(Name(table)));
  }
  return found;
}

}  // namespace tributary::eventlog::embedded

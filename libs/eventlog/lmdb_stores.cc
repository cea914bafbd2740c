#include "libs/eventlog/lmdb_stores.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include "libs/eventlog/directory_lock.h"
#include "libs/eventlog/lmdb_handles.h"

namespace tributary::eventlog {
namespace {

// LMDB takes keys of 511 bytes. Five go to topic and partition; a longer key is kept with all that
// begin like it in one *bucket*, sorted, so that scans still see byte order.
constexpr std::size_t kKeyHeadBytes = 490;
constexpr std::size_t kPartitionPrefixBytes = 5;
constexpr std::size_t kClearKeysPerTransaction = 10'000;
constexpr std::string_view kFormat = "tributary-local-1";

using lmdb::ToStatus;
using lmdb::ToVal;
using lmdb::ToView;

std::string PartitionPrefix(Topic topic, Partition partition) {
  std::string prefix;
  prefix.push_back(static_cast<char>(topic));
  lmdb::AppendBigEndian(prefix, static_cast<std::uint32_t>(partition));
  return prefix;
}

struct BucketEntry {
  std::string_view tail;
  std::string_view value;
};

/// None: it ends within an entry.
std::optional<std::vector<BucketEntry>> ParseBucket(std::string_view bytes) {
  std::vector<BucketEntry> entries;
  while (!bytes.empty()) {
    if (bytes.size() < 8) return std::nullopt;
    const std::size_t tail = lmdb::ReadBigEndian<std::uint32_t>(bytes, 0);
    const std::size_t value = lmdb::ReadBigEndian<std::uint32_t>(bytes, 4);
    if (bytes.size() - 8 < tail || bytes.size() - 8 - tail < value) return std::nullopt;
    entries.push_back({bytes.substr(8, tail), bytes.substr(8 + tail, value)});
    bytes.remove_prefix(8 + tail + value);
  }
  return entries;
}

std::string FormatBucket(const std::vector<BucketEntry>& entries) {
  std::string bytes;
  for (const BucketEntry& entry : entries) {
    lmdb::AppendBigEndian(bytes, static_cast<std::uint32_t>(entry.tail.size()));
    lmdb::AppendBigEndian(bytes, static_cast<std::uint32_t>(entry.value.size()));
    bytes.append(entry.tail);
    bytes.append(entry.value);
  }
  return bytes;
}

std::string ReadWholeFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// Replaces the file so that after a crash it holds the old or the new text.
absl::Status ReplaceFile(const std::string& directory, const std::string& name,
                         std::string_view text) {
  const std::string path = directory + "/" + name;
  const std::string temporary = path + ".new";
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  bool ok = fd >= 0;
  ok = ok && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ok = ok && ::fsync(fd) == 0;
  if (fd >= 0) ok = ::close(fd) == 0 && ok;
  ok = ok && ::rename(temporary.c_str(), path.c_str()) == 0;
  if (ok) {
    const int dir = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ok = dir >= 0 && ::fsync(dir) == 0;
    if (dir >= 0) ::close(dir);
  }
  if (!ok)
    return absl::UnavailableError("writing " + path + ": " +
                                  std::generic_category().message(errno));
  return absl::OkStatus();
}

class Environment {
 public:
  static absl::StatusOr<std::shared_ptr<Environment>> Open(const std::string& directory,
                                                           const LmdbStoresOptions& options) {
    absl::StatusOr<DirectoryLock> lock = DirectoryLock::Acquire(directory);
    if (!lock.ok()) return lock.status();
    // Not make_shared: the constructor is private.
    std::shared_ptr<Environment> environment(new Environment(directory, options, *std::move(lock)));
    absl::Status status = environment->DiscardUnlessWhole();
    if (status.ok()) status = environment->OpenFile();
    if (status.code() == absl::StatusCode::kDataLoss) {
      // A cache that cannot be read is no cache.
      environment->CloseFile();
      environment->Discard();
      status = environment->OpenFile();
    }
    if (!status.ok()) {
      environment->CloseFile();
      return status;
    }
    return environment;
  }

  ~Environment() {
    if (env_ == nullptr) return;
    ResetReader();
    const bool whole = !suspect_ && mdb_env_sync(env_, 1) == MDB_SUCCESS;
    CloseFile();
    // Nobody to tell: if the mark is not written, the copy is read again after a reboot.
    if (whole) (void)ReplaceFile(directory_, "state", std::string(kFormat) + " clean\n");
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  MDB_dbi entries() const { return entries_; }
  MDB_dbi metas() const { return metas_; }

  /// The one reader, kept between calls: beginning one costs more than a Get.
  MDB_txn* Reader() {
    if (reader_ == nullptr) {
      Check(mdb_txn_begin(env_, nullptr, MDB_RDONLY, &reader_), "beginning to read");
    } else if (reader_is_reset_) {
      Check(mdb_txn_renew(reader_), "beginning to read");
    }
    reader_is_reset_ = false;
    return reader_;
  }

  /// Runs `work` in a write transaction and commits; again with a larger map when it is full.
  absl::Status Write(std::string_view doing, const std::function<int(MDB_txn*)>& work) {
    if (scans_ > 0) {
      return absl::FailedPreconditionError(std::string(doing) + " during a scan");
    }
    // Without LMDB's own locks no reader may be open beside a writer.
    if (reader_ != nullptr && !reader_is_reset_) {
      mdb_txn_reset(reader_);
      reader_is_reset_ = true;
    }
    while (true) {
      lmdb::Transaction transaction;
      int code = transaction.Begin(env_, 0);
      if (code == MDB_SUCCESS) code = work(transaction.get());
      if (code == MDB_SUCCESS) code = transaction.Commit();
      if (code == MDB_SUCCESS) return absl::OkStatus();
      transaction.Abort();
      if (code != MDB_MAP_FULL || map_bytes_ >= options_.map_bytes_max) {
        if (code == MDB_CORRUPTED || code == MDB_PAGE_NOTFOUND || code == MDB_PANIC) MarkSuspect();
        return ToStatus(code, std::string(doing) + " in " + directory_);
      }
      ResetReader();
      map_bytes_ = std::min(map_bytes_ * 2, options_.map_bytes_max);
      code = mdb_env_set_mapsize(env_, map_bytes_);
      if (code != MDB_SUCCESS) return ToStatus(code, "growing the map of " + directory_);
    }
  }

  /// Reading has no way to fail but a broken disk or file. Stops the process, and sees to it that
  /// the next one does not believe this copy.
  void Check(int code, std::string_view doing) {
    if (code == MDB_SUCCESS) return;
    MarkSuspect();
    std::fprintf(stderr, "local store %s: %.*s: %s\n", directory_.c_str(),
                 static_cast<int>(doing.size()), doing.data(), mdb_strerror(code));
    std::abort();
  }

  void BeginScan() { ++scans_; }
  void EndScan() { --scans_; }

 private:
  Environment(std::string directory, const LmdbStoresOptions& options, DirectoryLock lock)
      : directory_(std::move(directory)),
        options_(options),
        lock_(std::move(lock)),
        map_bytes_(options.map_bytes) {}

  void ResetReader() {
    if (reader_ != nullptr) mdb_txn_abort(std::exchange(reader_, nullptr));
  }

  void MarkSuspect() {
    if (!suspect_) (void)ReplaceFile(directory_, "state", std::string(kFormat) + " suspect\n");
    suspect_ = true;
  }

  void Discard() {
    ::unlink((directory_ + "/data.mdb").c_str());
    ::unlink((directory_ + "/lock.mdb").c_str());
  }

  // MDB_NOSYNC keeps the order of writes within the page cache, which outlives the process but not
  // the kernel. So the copy is whole if it was closed cleanly, or if this kernel is still the one
  // under which it was opened.
  absl::Status DiscardUnlessWhole() {
    const std::string boot = ReadWholeFile("/proc/sys/kernel/random/boot_id");
    const std::string open = std::string(kFormat) + " open " + boot;
    const std::string state = ReadWholeFile(directory_ + "/state");
    const bool is_whole =
        state == std::string(kFormat) + " clean\n" || (!boot.empty() && state == open);
    if (!is_whole) Discard();
    return ReplaceFile(directory_, "state", open);
  }

  absl::Status OpenFile() {
    int code = mdb_env_create(&env_);
    if (code == MDB_SUCCESS) code = mdb_env_set_mapsize(env_, map_bytes_);
    if (code == MDB_SUCCESS) code = mdb_env_set_maxdbs(env_, 2);
    if (code == MDB_SUCCESS) {
      // The directory's lock and the one thread make LMDB's own locks needless.
      code = mdb_env_open(env_, directory_.c_str(), MDB_NOSYNC | MDB_NOLOCK | MDB_NOTLS, 0600);
    }
    if (code != MDB_SUCCESS) return ToStatus(code, "opening the local store in " + directory_);
    MDB_envinfo info;
    if (mdb_env_info(env_, &info) == MDB_SUCCESS) map_bytes_ = info.me_mapsize;
    return Write("opening the local store", [this](MDB_txn* txn) {
      int result = mdb_dbi_open(txn, "entries", MDB_CREATE, &entries_);
      if (result == MDB_SUCCESS) result = mdb_dbi_open(txn, "metas", MDB_CREATE, &metas_);
      return result;
    });
  }

  void CloseFile() {
    if (env_ == nullptr) return;
    ResetReader();
    mdb_env_close(std::exchange(env_, nullptr));
  }

  const std::string directory_;
  const LmdbStoresOptions options_;
  DirectoryLock lock_;
  MDB_env* env_ = nullptr;
  MDB_dbi entries_ = 0;
  MDB_dbi metas_ = 0;
  MDB_txn* reader_ = nullptr;
  bool reader_is_reset_ = false;
  std::size_t map_bytes_;
  int scans_ = 0;
  bool suspect_ = false;
};

// A meta value begins with what the store is: in use, or on the way to being empty.
constexpr char kInUse = 'm';
constexpr char kBeingCleared = 'c';

class LmdbStore final : public LocalStore {
 public:
  LmdbStore(std::shared_ptr<Environment> environment, Topic topic, Partition partition)
      : environment_(std::move(environment)), prefix_(PartitionPrefix(topic, partition)) {}

  /// Finishes a Clear that a crash has interrupted.
  absl::Status Recover() {
    MDB_val key = ToVal(prefix_);
    MDB_val value;
    const int code = mdb_get(environment_->Reader(), environment_->metas(), &key, &value);
    if (code == MDB_NOTFOUND) return absl::OkStatus();
    environment_->Check(code, "reading meta data");
    return ToView(value).starts_with(kBeingCleared) ? Clear() : absl::OkStatus();
  }

  absl::Status Apply(const std::vector<Write>& writes, std::string_view meta) override {
    std::string stored;
    return environment_->Write("writing a local copy", [&](MDB_txn* txn) {
      // One cursor for all: what comes in order is put where the last one was, without a search.
      lmdb::Cursor cursor;
      int code = cursor.Open(txn, environment_->entries());
      for (const Write& write : writes) {
        if (code != MDB_SUCCESS) return code;
        if (write.key.size() > kKeyHeadBytes) {
          code = PutLong(txn, write);
          continue;
        }
        stored.assign(prefix_).append(write.key);
        code = write.value ? PutAt(cursor, stored, *write.value) : Delete(txn, stored);
      }
      if (code != MDB_SUCCESS) return code;
      return PutMeta(txn, std::string(1, kInUse).append(meta));
    });
  }

  std::string meta() const override {
    MDB_val key = ToVal(prefix_);
    MDB_val value;
    const int code = mdb_get(environment_->Reader(), environment_->metas(), &key, &value);
    if (code == MDB_NOTFOUND) return "";
    environment_->Check(code, "reading meta data");
    return std::string(ToView(value).substr(1));
  }

  std::optional<std::string_view> Find(std::string_view key) const override {
    const bool is_long = key.size() > kKeyHeadBytes;
    sought_.assign(prefix_).append(key.substr(0, kKeyHeadBytes));
    if (is_long) sought_.push_back('\0');
    MDB_val stored_key = ToVal(sought_);
    MDB_val value;
    const int code = mdb_get(environment_->Reader(), environment_->entries(), &stored_key, &value);
    if (code == MDB_NOTFOUND) return std::nullopt;
    environment_->Check(code, "reading an entry");
    if (!is_long) return ToView(value);
    for (const BucketEntry& entry : Bucket(value)) {
      if (entry.tail == key.substr(kKeyHeadBytes)) return entry.value;
    }
    return std::nullopt;
  }

  void Scan(std::string_view prefix, std::string_view from,
            const std::function<bool(std::string_view key, std::string_view value)>& visit)
      const override {
    const std::string_view start = std::max(prefix, from);
    const std::string stored =
        start.size() > kKeyHeadBytes ? BucketKey(start) : prefix_ + std::string(start);
    struct Guard {
      explicit Guard(Environment& guarded) : environment(guarded) { environment.BeginScan(); }
      ~Guard() { environment.EndScan(); }
      Environment& environment;
    } guard(*environment_);
    lmdb::Cursor cursor;
    environment_->Check(cursor.Open(environment_->Reader(), environment_->entries()), "scanning");
    MDB_val key = ToVal(stored);
    MDB_val value;
    int code = mdb_cursor_get(cursor.get(), &key, &value, MDB_SET_RANGE);
    for (; code == MDB_SUCCESS; code = mdb_cursor_get(cursor.get(), &key, &value, MDB_NEXT)) {
      std::string_view view = ToView(key);
      if (!view.starts_with(prefix_)) return;
      view.remove_prefix(kPartitionPrefixBytes);
      if (view.size() <= kKeyHeadBytes) {
        if (!view.starts_with(prefix) || !visit(view, ToView(value))) return;
        continue;
      }
      const std::string head(view.substr(0, kKeyHeadBytes));
      for (const BucketEntry& entry : Bucket(value)) {
        const std::string full = head + std::string(entry.tail);
        if (full < start) continue;
        if (!full.starts_with(prefix) || !visit(full, entry.value)) return;
      }
    }
    if (code != MDB_NOTFOUND) environment_->Check(code, "scanning");
  }

  // In several transactions, since one that deletes millions of keys would be held in memory. The
  // mark comes first: what is half empty is never read.
  absl::Status Clear() override {
    absl::Status status = environment_->Write("clearing a local copy", [&](MDB_txn* txn) {
      return PutMeta(txn, std::string(1, kBeingCleared));
    });
    bool is_empty = false;
    while (status.ok() && !is_empty) {
      status = environment_->Write("clearing a local copy", [&](MDB_txn* txn) {
        lmdb::Cursor cursor;
        int code = cursor.Open(txn, environment_->entries());
        for (std::size_t deleted = 0; code == MDB_SUCCESS && deleted < kClearKeysPerTransaction;
             ++deleted) {
          MDB_val key = ToVal(prefix_);
          MDB_val value;
          code = mdb_cursor_get(cursor.get(), &key, &value, MDB_SET_RANGE);
          if (code == MDB_NOTFOUND || (code == MDB_SUCCESS && !ToView(key).starts_with(prefix_))) {
            is_empty = true;
            return MDB_SUCCESS;
          }
          if (code == MDB_SUCCESS) code = mdb_cursor_del(cursor.get(), 0);
        }
        return code;
      });
    }
    if (!status.ok()) return status;
    return environment_->Write("clearing a local copy", [&](MDB_txn* txn) {
      MDB_val key = ToVal(prefix_);
      const int code = mdb_del(txn, environment_->metas(), &key, nullptr);
      return code == MDB_NOTFOUND ? MDB_SUCCESS : code;
    });
  }

 private:
  std::string BucketKey(std::string_view key) const {
    return prefix_ + std::string(key.substr(0, kKeyHeadBytes)) + '\0';
  }

  std::vector<BucketEntry> Bucket(const MDB_val& value) const {
    std::optional<std::vector<BucketEntry>> bucket = ParseBucket(ToView(value));
    environment_->Check(bucket ? MDB_SUCCESS : MDB_CORRUPTED, "reading a long key");
    return *std::move(bucket);
  }

  int PutMeta(MDB_txn* txn, const std::string& meta) const {
    MDB_val key = ToVal(prefix_);
    MDB_val value = ToVal(meta);
    return mdb_put(txn, environment_->metas(), &key, &value, 0);
  }

  int Put(MDB_txn* txn, const std::string& stored_key, std::string_view bytes) const {
    MDB_val key = ToVal(stored_key);
    MDB_val value = ToVal(bytes);
    return mdb_put(txn, environment_->entries(), &key, &value, 0);
  }

  int Delete(MDB_txn* txn, const std::string& stored_key) const {
    MDB_val key = ToVal(stored_key);
    const int code = mdb_del(txn, environment_->entries(), &key, nullptr);
    return code == MDB_NOTFOUND ? MDB_SUCCESS : code;
  }

  static int PutAt(lmdb::Cursor& cursor, const std::string& stored_key, std::string_view bytes) {
    MDB_val key = ToVal(stored_key);
    MDB_val value = ToVal(bytes);
    return mdb_cursor_put(cursor.get(), &key, &value, 0);
  }

  int PutLong(MDB_txn* txn, const Write& write) const {
    const std::string stored = BucketKey(write.key);
    const std::string_view tail = write.key.substr(kKeyHeadBytes);
    MDB_val key = ToVal(stored);
    MDB_val value;
    const int code = mdb_get(txn, environment_->entries(), &key, &value);
    if (code != MDB_SUCCESS && code != MDB_NOTFOUND) return code;
    std::vector<BucketEntry> entries;
    if (code == MDB_SUCCESS) entries = Bucket(value);
    const auto at = std::lower_bound(
        entries.begin(), entries.end(), tail,
        [](const BucketEntry& entry, std::string_view wanted) { return entry.tail < wanted; });
    const bool is_there = at != entries.end() && at->tail == tail;
    if (write.value) {
      if (is_there) {
        at->value = *write.value;
      } else {
        entries.insert(at, BucketEntry{tail, *write.value});
      }
    } else if (is_there) {
      entries.erase(at);
    }
    return entries.empty() ? Delete(txn, stored) : Put(txn, stored, FormatBucket(entries));
  }

  const std::shared_ptr<Environment> environment_;
  const std::string prefix_;
  // The stored key of what Find() looks for: its memory stays.
  mutable std::string sought_;
};

class LmdbStores final : public LocalStores {
 public:
  explicit LmdbStores(std::shared_ptr<Environment> environment)
      : environment_(std::move(environment)) {}

  absl::StatusOr<std::unique_ptr<LocalStore>> Open(Topic topic, Partition partition) override {
    auto store = std::make_unique<LmdbStore>(environment_, topic, partition);
    if (absl::Status status = store->Recover(); !status.ok()) return status;
    return store;
  }

 private:
  const std::shared_ptr<Environment> environment_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<LocalStores>> MakeLmdbStores(const std::string& directory,
                                                            const LmdbStoresOptions& options) {
  absl::StatusOr<std::shared_ptr<Environment>> environment = Environment::Open(directory, options);
  if (!environment.ok()) return environment.status();
  return std::make_unique<LmdbStores>(*std::move(environment));
}

}  // namespace tributary::eventlog

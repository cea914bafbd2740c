#include "libs/eventlog/embedded/copy.h"

#include <chrono>
#include <filesystem>
#include <memory>

#include <fcntl.h>
#include <lmdb.h>
#include <unistd.h>

#include "libs/eventlog/embedded/embedded_log.h"
#include "libs/eventlog/restored.h"

namespace tributary::eventlog {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDataFile = "/data.mdb";
// Beside what is being made. A copy that was interrupted keeps this name.
constexpr const char* kUnfinished = ".new";
// Address space; the log may grow while it is copied.
constexpr std::size_t kMapBytes = std::size_t{1} << 40;

struct Closed {
  void operator()(MDB_env* env) const { mdb_env_close(env); }
};

// Nothing of a copy may be compacted or expire only because somebody looks at it.
EmbeddedLog::Options LookingAt(const std::string& directory) {
  return {.directory = directory,
          .topics = {.partitions = 0},
          .housekeeping_interval = std::chrono::hours(24 * 365)};
}

absl::Status Sync(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool is_synced = fd >= 0 && fsync(fd) == 0;
  if (fd >= 0) close(fd);
  return is_synced ? absl::OkStatus() : absl::InternalError(path + " cannot be synced");
}

absl::Status CheckIsFree(const std::string& to) {
  std::error_code error;
  if (fs::exists(to + kDataFile, error)) {
    return absl::FailedPreconditionError(to + " holds a log already");
  }
  if (fs::exists(to + kUnfinished, error)) {
    return absl::FailedPreconditionError(to + kUnfinished +
                                         " is left of a copy that was interrupted: remove it");
  }
  return absl::OkStatus();
}

absl::Status Copy(const std::string& from, const std::string& to) {
  std::error_code error;
  if (!fs::exists(from + kDataFile, error)) {
    return absl::NotFoundError("there is no log in " + from);
  }
  fs::create_directories(to, error);
  fs::permissions(to, fs::perms::owner_all, error);
  MDB_env* opened = nullptr;
  int code = mdb_env_create(&opened);
  const std::unique_ptr<MDB_env, Closed> env(opened);
  if (code == MDB_SUCCESS) code = mdb_env_set_mapsize(env.get(), kMapBytes);
  if (code == MDB_SUCCESS) {
    code = mdb_env_open(env.get(), from.c_str(), MDB_RDONLY | MDB_NOTLS, 0600);
  }
  if (code == MDB_SUCCESS) code = mdb_env_copy(env.get(), to.c_str());
  if (code != MDB_SUCCESS) {
    return absl::InternalError("copying the log of " + from + " to " + to + ": " +
                               mdb_strerror(code));
  }
  if (absl::Status status = Sync(to + kDataFile); !status.ok()) return status;
  return Sync(to);
}

absl::Status Finish(const std::string& to) {
  std::error_code error;
  fs::rename(to + kUnfinished, to, error);
  if (error) return absl::InternalError(to + " cannot be made: " + error.message());
  const fs::path parent = fs::path(to).parent_path();
  return Sync(parent.empty() ? "." : parent.string());
}

}  // namespace

absl::Status CopyEmbeddedLog(const std::string& from, const std::string& to) {
  if (absl::Status free = CheckIsFree(to); !free.ok()) return free;
  if (absl::Status copied = Copy(from, to + kUnfinished); !copied.ok()) return copied;
  return Finish(to);
}

absl::Status RestoreEmbeddedLog(const std::string& from, const std::string& to, WallTime now,
                                const std::function<std::uint64_t()>& random) {
  if (absl::Status free = CheckIsFree(to); !free.ok()) return free;
  if (absl::Status copied = Copy(from, to + kUnfinished); !copied.ok()) return copied;
  {
    absl::StatusOr<std::unique_ptr<EmbeddedLog>> log =
        EmbeddedLog::Open(LookingAt(to + kUnfinished));
    if (!log.ok()) return log.status();
    const absl::StatusOr<std::int64_t> founded =
        FoundRestored(*(*log)->MakeAdmin(), {.now = now, .random = random});
    if (!founded.ok()) return founded.status();
  }
  return Finish(to);
}

absl::StatusOr<LogContents> CheckEmbeddedLog(const std::string& directory) {
  absl::StatusOr<std::unique_ptr<EmbeddedLog>> log = EmbeddedLog::Open(LookingAt(directory));
  if (!log.ok()) return log.status();
  const std::unique_ptr<LogAdmin> admin = (*log)->MakeAdmin();
  LogContents contents{.partitions = admin->settings().partitions};
  for (const Topic topic : kAllTopics) {
    const absl::Status read = admin->ReadAll(topic, [&](const Record&) {
      ++contents.records;
      return true;
    });
    if (!read.ok()) return read;
  }
  return contents;
}

}  // namespace tributary::eventlog

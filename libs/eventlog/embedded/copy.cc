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

}  // namespace

absl::Status CopyEmbeddedLog(const std::string& from, const std::string& to) {
  std::error_code error;
  if (!fs::exists(from + kDataFile, error)) {
    return absl::NotFoundError("there is no log in " + from);
  }
  if (fs::exists(to + kDataFile, error)) {
    return absl::FailedPreconditionError(to + " holds a log already");
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

absl::Status RestoreEmbeddedLog(const std::string& from, const std::string& to, WallTime now,
                                const std::function<std::uint64_t()>& random) {
  if (absl::Status copied = CopyEmbeddedLog(from, to); !copied.ok()) return copied;
  absl::StatusOr<std::unique_ptr<EmbeddedLog>> log = EmbeddedLog::Open(LookingAt(to));
  if (!log.ok()) return log.status();
  return FoundRestored(*(*log)->MakeAdmin(), {.now = now, .random = random}).status();
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

// What stands under the local copies and the embedded log: LMDB or SQLite?
//
//   ./dev bench store_choice [--json] [KEYS] [--store lmdb|sqlite] [--dir DIR]
//
// KEYS (default 300000) keys of 36 bytes, values of 400 bytes, transactions of 1000, no sync.
// Prints CPU microseconds (user and system) per operation and the resident memory at the end, by
// store and operation (with --json one object per line). Each store runs in a process of its own,
// so that memory is its own too.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <lmdb.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr std::size_t kKeyBytes = 36;
constexpr std::size_t kValueBytes = 400;
constexpr std::size_t kTransactionSize = 1000;

bool is_json = false;

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "store_choice_bench: %s\n", what.c_str());
  std::exit(1);
}

class Store {
 public:
  virtual ~Store() = default;
  virtual void Begin() = 0;
  virtual void Put(std::string_view key, std::string_view value) = 0;
  virtual void Commit() = 0;
  virtual void BeginReading() = 0;
  virtual std::size_t Get(std::string_view key) = 0;
  virtual std::size_t ScanAll() = 0;
  virtual void EndReading() = 0;
};

class Lmdb final : public Store {
 public:
  explicit Lmdb(const std::string& directory) {
    Check(mdb_env_create(&env_));
    Check(mdb_env_set_mapsize(env_, std::size_t{4} << 30));
    Check(mdb_env_open(env_, directory.c_str(), MDB_NOSYNC | MDB_NOLOCK | MDB_NOTLS, 0600));
    Begin();
    Check(mdb_dbi_open(txn_, nullptr, 0, &dbi_));
    Commit();
  }
  ~Lmdb() override { mdb_env_close(env_); }
  Lmdb(const Lmdb&) = delete;
  Lmdb& operator=(const Lmdb&) = delete;

  void Begin() override { Check(mdb_txn_begin(env_, nullptr, 0, &txn_)); }
  void Put(std::string_view key, std::string_view value) override {
    MDB_val k = Val(key);
    MDB_val v = Val(value);
    Check(mdb_put(txn_, dbi_, &k, &v, 0));
  }
  void Commit() override { Check(mdb_txn_commit(txn_)); }
  void BeginReading() override { Check(mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn_)); }
  std::size_t Get(std::string_view key) override {
    MDB_val k = Val(key);
    MDB_val v;
    Check(mdb_get(txn_, dbi_, &k, &v));
    return v.mv_size;
  }
  std::size_t ScanAll() override {
    MDB_cursor* cursor = nullptr;
    Check(mdb_cursor_open(txn_, dbi_, &cursor));
    MDB_val k;
    MDB_val v;
    std::size_t bytes = 0;
    while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == MDB_SUCCESS) bytes += v.mv_size;
    mdb_cursor_close(cursor);
    return bytes;
  }
  void EndReading() override { mdb_txn_abort(txn_); }

 private:
  static MDB_val Val(std::string_view bytes) {
    return {bytes.size(), const_cast<char*>(bytes.data())};
  }
  static void Check(int code) {
    if (code != MDB_SUCCESS) Die(mdb_strerror(code));
  }
  MDB_env* env_ = nullptr;
  MDB_txn* txn_ = nullptr;
  MDB_dbi dbi_ = 0;
};

class Sqlite final : public Store {
 public:
  explicit Sqlite(const std::string& directory) {
    Check(sqlite3_open((directory + "/db").c_str(), &db_));
    for (const char* sql : {"PRAGMA journal_mode=WAL", "PRAGMA synchronous=OFF",
                            "CREATE TABLE t(k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID"}) {
      Check(sqlite3_exec(db_, sql, nullptr, nullptr, nullptr));
    }
    put_ = Prepare("INSERT INTO t VALUES(?,?) ON CONFLICT(k) DO UPDATE SET v=excluded.v");
    get_ = Prepare("SELECT v FROM t WHERE k=?");
    scan_ = Prepare("SELECT k, v FROM t ORDER BY k");
  }
  ~Sqlite() override {
    for (sqlite3_stmt* statement : {put_, get_, scan_}) sqlite3_finalize(statement);
    sqlite3_close(db_);
  }
  Sqlite(const Sqlite&) = delete;
  Sqlite& operator=(const Sqlite&) = delete;

  void Begin() override { Check(sqlite3_exec(db_, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr)); }
  void Put(std::string_view key, std::string_view value) override {
    Bind(put_, 1, key);
    Bind(put_, 2, value);
    if (sqlite3_step(put_) != SQLITE_DONE) Die(sqlite3_errmsg(db_));
    sqlite3_reset(put_);
  }
  void Commit() override { Check(sqlite3_exec(db_, "COMMIT", nullptr, nullptr, nullptr)); }
  void BeginReading() override { Check(sqlite3_exec(db_, "BEGIN", nullptr, nullptr, nullptr)); }
  std::size_t Get(std::string_view key) override {
    Bind(get_, 1, key);
    if (sqlite3_step(get_) != SQLITE_ROW) Die("a key is missing");
    const auto bytes = static_cast<std::size_t>(sqlite3_column_bytes(get_, 0));
    sqlite3_reset(get_);
    return bytes;
  }
  std::size_t ScanAll() override {
    std::size_t bytes = 0;
    while (sqlite3_step(scan_) == SQLITE_ROW) {
      bytes += static_cast<std::size_t>(sqlite3_column_bytes(scan_, 1));
    }
    sqlite3_reset(scan_);
    return bytes;
  }
  void EndReading() override { Commit(); }

 private:
  sqlite3_stmt* Prepare(const char* sql) {
    sqlite3_stmt* statement = nullptr;
    Check(sqlite3_prepare_v2(db_, sql, -1, &statement, nullptr));
    return statement;
  }
  void Bind(sqlite3_stmt* statement, int at, std::string_view bytes) {
    Check(sqlite3_bind_blob(statement, at, bytes.data(), static_cast<int>(bytes.size()),
                            SQLITE_STATIC));
  }
  void Check(int code) {
    if (code != SQLITE_OK) Die(sqlite3_errmsg(db_));
  }
  sqlite3* db_ = nullptr;
  sqlite3_stmt* put_ = nullptr;
  sqlite3_stmt* get_ = nullptr;
  sqlite3_stmt* scan_ = nullptr;
};

double CpuMicroseconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto of = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

long StatusKilobytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind(field + ":", 0) == 0) return std::atol(line.c_str() + field.size() + 1);
  }
  return 0;
}

std::string KeyOf(std::size_t number) {
  // Like tenant/connection/kind/id.
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "tenant-%04zu/chargify/customers/%07zu", number % 7919,
                number);
  std::string key = text.data();
  key.resize(kKeyBytes, 'x');
  return key;
}

void Measure(const char* store, const char* operation, std::size_t count,
             const std::function<void()>& work) {
  const double before = CpuMicroseconds();
  work();
  const double each = (CpuMicroseconds() - before) / static_cast<double>(count);
  std::printf(is_json ? "{\"store\":\"%s\",\"operation\":\"%s\",\"cpu_us\":%.3f}\n"
                      : "%-7s %-22s %8.2f us\n",
              store, operation, each);
}

void Run(const char* name, const std::function<std::unique_ptr<Store>(const std::string&)>& open,
         const std::string& directory, std::size_t keys) {
  std::vector<std::string> sorted(keys);
  for (std::size_t i = 0; i < keys; ++i) sorted[i] = KeyOf(i);
  std::vector<std::string> shuffled = sorted;
  std::sort(sorted.begin(), sorted.end());
  std::mt19937 random(1);
  std::shuffle(shuffled.begin(), shuffled.end(), random);
  const std::string value(kValueBytes, 'v');
  const std::string other(kValueBytes, 'w');
  const long before = StatusKilobytes("RssAnon");

  const auto put_all = [&](Store& store, const std::vector<std::string>& order,
                           const std::string& content) {
    for (std::size_t i = 0; i < keys; i += kTransactionSize) {
      store.Begin();
      for (std::size_t j = i; j < std::min(keys, i + kTransactionSize); ++j) {
        store.Put(order[j], content);
      }
      store.Commit();
    }
  };
  std::filesystem::create_directories(directory + "/sorted");
  std::filesystem::create_directories(directory + "/random");
  {
    const auto store = open(directory + "/sorted");
    Measure(name, "insert, sorted", keys, [&] { put_all(*store, sorted, value); });
  }
  const auto store = open(directory + "/random");
  Measure(name, "insert, random", keys, [&] { put_all(*store, shuffled, value); });
  std::shuffle(shuffled.begin(), shuffled.end(), random);
  Measure(name, "update, random", keys, [&] { put_all(*store, shuffled, other); });
  Measure(name, "update, sorted", keys, [&] { put_all(*store, sorted, value); });
  store->BeginReading();
  std::size_t bytes = 0;
  Measure(name, "get, random", keys, [&] {
    for (const std::string& key : shuffled) bytes += store->Get(key);
  });
  Measure(name, "scan", keys, [&] { bytes += store->ScanAll(); });
  store->EndReading();
  if (bytes != 2 * keys * kValueBytes) Die("not everything was read");
  std::uintmax_t disk = 0;
  for (const auto& file : std::filesystem::directory_iterator(directory + "/random")) {
    disk += file.file_size();
  }
  std::printf(is_json
                  ? "{\"store\":\"%s\",\"anonymous_mib\":%ld,\"file_mib\":%ld,\"disk_mib\":%ju}\n"
                  : "%-7s memory: anonymous %ld MiB, of files (page cache, given back on demand) "
                    "%ld MiB; on disk %ju MiB\n",
              name, (StatusKilobytes("RssAnon") - before) / 1024, StatusKilobytes("RssFile") / 1024,
              disk >> 20);
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t keys = 300'000;
  std::string only;
  std::string base = std::filesystem::temp_directory_path().string();
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--json" || argument == "--benchmark_format=json") {
      is_json = true;
    } else if (argument == "--store" && i + 1 < argc) {
      only = argv[++i];
    } else if (argument == "--dir" && i + 1 < argc) {
      base = argv[++i];
    } else if (const long number = std::atol(argument.c_str()); number > 0) {
      keys = static_cast<std::size_t>(number);
    } else {
      std::fprintf(stderr,
                   "usage: store_choice_bench [--json] [KEYS] [--store lmdb|sqlite] [--dir DIR]\n");
      return 2;
    }
  }
  if (!is_json)
    std::printf(
        "%zu keys of %zu B, values of %zu B, transactions of %zu, no sync; CPU per operation\n",
        keys, kKeyBytes, kValueBytes, kTransactionSize);
  std::fflush(stdout);
  for (const std::string name : {"lmdb", "sqlite"}) {
    if (!only.empty() && only != name) continue;
    std::string directory = base + "/store-choice-XXXXXX";
    if (::mkdtemp(directory.data()) == nullptr) Die("cannot make a directory in " + base);
    const pid_t child = ::fork();
    if (child == 0) {
      Run(
          name.c_str(),
          [&](const std::string& path) -> std::unique_ptr<Store> {
            if (name == "lmdb") return std::make_unique<Lmdb>(path);
            return std::make_unique<Sqlite>(path);
          },
          directory, keys);
      std::fflush(stdout);
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    std::filesystem::remove_all(directory);
    if (status != 0) return 1;
  }
}

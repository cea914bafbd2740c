#include "services/control/database.h"

#include <array>
#include <cstdint>
#include <filesystem>

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include "libs/ids/keys.h"

namespace tributary::control {
namespace {

// Appended to, never edited: entry n brings the schema from version n to n + 1.
constexpr std::array kMigrations = {R"(
CREATE TABLE settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE tenants (name TEXT PRIMARY KEY, is_removed INTEGER NOT NULL) STRICT;
CREATE TABLE connections (
  tenant TEXT NOT NULL REFERENCES tenants(name),
  name TEXT NOT NULL,
  definition BLOB NOT NULL,  -- tributary.v1.Connection
  has_default_connector_file INTEGER NOT NULL,
  PRIMARY KEY (tenant, name)) STRICT;
CREATE TABLE syncs (
  tenant TEXT NOT NULL REFERENCES tenants(name),
  name TEXT NOT NULL,
  definition BLOB NOT NULL,  -- tributary.v1.Sync
  has_default_mapping INTEGER NOT NULL,
  has_default_rules INTEGER NOT NULL,
  PRIMARY KEY (tenant, name)) STRICT;
CREATE TABLE credentials (
  tenant TEXT NOT NULL,
  connection TEXT NOT NULL,
  field TEXT NOT NULL,
  sealed BLOB NOT NULL,
  PRIMARY KEY (tenant, connection, field)) STRICT;
CREATE TABLE blobs (sha256 TEXT PRIMARY KEY, blob BLOB NOT NULL) STRICT;  -- tributary.v1.Blob
CREATE TABLE audit (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  at_microseconds INTEGER NOT NULL,
  actor TEXT NOT NULL,
  what TEXT NOT NULL,
  chain TEXT NOT NULL  -- SHA-256 over the chain of the entry before and this one's columns
  ) STRICT;
)"};

constexpr std::string_view kKeyCheckPlace = "tributary/v1/master-key-check";
constexpr std::string_view kKeyCheckText = "tributary";

std::string PlaceOf(const ConnectionName& connection, std::string_view field) {
  return "credential/v1/" + ids::JoinKey({connection.first, connection.second, field});
}

std::string ChainOf(std::string_view before, std::int64_t at, std::string_view actor,
                    std::string_view what) {
  return ids::Sha256Hex(ids::JoinKey({before, std::to_string(at), actor, what}));
}

// A prepared statement, reset by its destructor. Errors stay in it until Finish.
class Statement {
 public:
  Statement(sqlite3* db, std::string_view sql) : db_(db) {
    sqlite3_prepare_v2(db, sql.data(), static_cast<int>(sql.size()), &statement_, nullptr);
  }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  ~Statement() { sqlite3_finalize(statement_); }

  Statement& Text(std::string_view text) {
    sqlite3_bind_text(statement_, ++bound_, text.data(), static_cast<int>(text.size()),
                      SQLITE_TRANSIENT);
    return *this;
  }
  Statement& Blob(std::string_view bytes) {
    // A null pointer would bind NULL.
    sqlite3_bind_blob(statement_, ++bound_, bytes.empty() ? "" : bytes.data(),
                      static_cast<int>(bytes.size()), SQLITE_TRANSIENT);
    return *this;
  }
  Statement& Number(std::int64_t number) {
    sqlite3_bind_int64(statement_, ++bound_, number);
    return *this;
  }
  // True: there is a row.
  bool Next() {
    if (statement_ == nullptr) {
      return false;
    }
    const int result = sqlite3_step(statement_);
    is_good_ = result == SQLITE_ROW || result == SQLITE_DONE;
    return result == SQLITE_ROW;
  }
  std::string Column(int column) const {
    const void* bytes = sqlite3_column_blob(statement_, column);
    const int size = sqlite3_column_bytes(statement_, column);
    return bytes == nullptr
               ? std::string()
               : std::string(static_cast<const char*>(bytes), static_cast<std::size_t>(size));
  }
  std::int64_t ColumnNumber(int column) const { return sqlite3_column_int64(statement_, column); }

  absl::Status status() const {
    return statement_ != nullptr && is_good_
               ? absl::OkStatus()
               : absl::InternalError(std::string("control's database: ") + sqlite3_errmsg(db_));
  }
  absl::Status Run() {
    while (Next()) {
    }
    return status();
  }

 private:
  sqlite3* db_;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
  bool is_good_ = true;
};

absl::Status Execute(sqlite3* db, const char* sql) {
  if (sqlite3_exec(db, sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
    return absl::InternalError(std::string("control's database: ") + sqlite3_errmsg(db));
  }
  return absl::OkStatus();
}

absl::Status Migrate(sqlite3* db) {
  if (absl::Status status =
          Execute(db, "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY) STRICT");
      !status.ok()) {
    return status;
  }
  std::int64_t version = 0;
  {
    Statement select(db, "SELECT coalesce(max(version), 0) FROM migrations");
    if (select.Next()) {
      version = select.ColumnNumber(0);
    }
    if (!select.status().ok()) {
      return select.status();
    }
  }
  if (version > static_cast<std::int64_t>(kMigrations.size())) {
    return absl::FailedPreconditionError("control's database is of a newer Tributary (schema " +
                                         std::to_string(version) + ")");
  }
  for (auto next = static_cast<std::size_t>(version); next < kMigrations.size(); ++next) {
    absl::Status status = Execute(db, kMigrations[next]);
    if (status.ok()) {
      status = Statement(db, "INSERT INTO migrations VALUES (?)")
                   .Number(static_cast<std::int64_t>(next) + 1)
                   .Run();
    }
    if (!status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

// The key that seals is the one that the database was made with.
absl::Status CheckKey(sqlite3* db, const Vault& vault) {
  Statement select(db, "SELECT value FROM settings WHERE name = 'master_key_check'");
  if (select.Next()) {
    if (!vault.Unseal(kKeyCheckPlace, select.Column(0)).ok()) {
      return absl::FailedPreconditionError(
          "the master key is not the one that control's database was made with; bring the old "
          "master_key_file back");
    }
    return absl::OkStatus();
  }
  if (!select.status().ok()) {
    return select.status();
  }
  return Statement(db, "INSERT INTO settings VALUES ('master_key_check', ?)")
      .Blob(vault.Seal(kKeyCheckPlace, kKeyCheckText))
      .Run();
}

}  // namespace

struct Database::State {
  sqlite3* db = nullptr;
  const Vault* vault = nullptr;

  ~State() { sqlite3_close(db); }

  absl::Status WriteTenant(const std::string& name, const StoredTenant& tenant) {
    if (absl::Status status =
            Statement(db,
                      "INSERT INTO tenants VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET "
                      "is_removed = excluded.is_removed")
                .Text(name)
                .Number(tenant.is_removed ? 1 : 0)
                .Run();
        !status.ok()) {
      return status;
    }
    for (const char* sql :
         {"DELETE FROM connections WHERE tenant = ?", "DELETE FROM syncs WHERE tenant = ?"}) {
      if (absl::Status status = Statement(db, sql).Text(name).Run(); !status.ok()) {
        return status;
      }
    }
    for (const auto& [connection_name, stored] : tenant.connections) {
      if (absl::Status status = Statement(db, "INSERT INTO connections VALUES (?, ?, ?, ?)")
                                    .Text(name)
                                    .Text(connection_name)
                                    .Blob(stored.connection.SerializeAsString())
                                    .Number(stored.has_default_connector_file ? 1 : 0)
                                    .Run();
          !status.ok()) {
        return status;
      }
    }
    for (const auto& [sync_name, stored] : tenant.syncs) {
      if (absl::Status status = Statement(db, "INSERT INTO syncs VALUES (?, ?, ?, ?, ?)")
                                    .Text(name)
                                    .Text(sync_name)
                                    .Blob(stored.sync.SerializeAsString())
                                    .Number(stored.has_default_mapping ? 1 : 0)
                                    .Number(stored.has_default_rules ? 1 : 0)
                                    .Run();
          !status.ok()) {
        return status;
      }
    }
    return absl::OkStatus();
  }

  absl::Status ForgetCredential(const ConnectionName& connection) {
    return Statement(db, "DELETE FROM credentials WHERE tenant = ? AND connection = ?")
        .Text(connection.first)
        .Text(connection.second)
        .Run();
  }

  absl::Status WriteAudit(std::int64_t at, const std::string& actor, const std::string& what) {
    std::string before;
    {
      Statement select(db, "SELECT chain FROM audit ORDER BY number DESC LIMIT 1");
      if (select.Next()) {
        before = select.Column(0);
      }
      if (!select.status().ok()) {
        return select.status();
      }
    }
    return Statement(db,
                     "INSERT INTO audit (at_microseconds, actor, what, chain) "
                     "VALUES (?, ?, ?, ?)")
        .Number(at)
        .Text(actor)
        .Text(what)
        .Text(ChainOf(before, at, actor, what))
        .Run();
  }

  absl::Status WriteCredential(const ConnectionName& connection, const CredentialFields& fields) {
    if (absl::Status status = ForgetCredential(connection); !status.ok()) {
      return status;
    }
    for (const auto& [field, secret] : fields) {
      if (absl::Status status = Statement(db, "INSERT INTO credentials VALUES (?, ?, ?, ?)")
                                    .Text(connection.first)
                                    .Text(connection.second)
                                    .Text(field)
                                    .Blob(vault->Seal(PlaceOf(connection, field), secret))
                                    .Run();
          !status.ok()) {
        return status;
      }
    }
    return absl::OkStatus();
  }

  // Stops at the first error: a full disk ends the transaction by itself, and whatever ran after it
  // would be committed alone.
  absl::Status WriteAll(WallTime now, const Changes& changes) {
    for (const auto& [sha256, blob] : changes.blobs) {
      if (absl::Status status =
              Statement(db, "INSERT INTO blobs VALUES (?, ?) ON CONFLICT DO NOTHING")
                  .Text(sha256)
                  .Blob(blob.SerializeAsString())
                  .Run();
          !status.ok()) {
        return status;
      }
    }
    for (const auto& [name, tenant] : changes.tenants) {
      if (absl::Status status = WriteTenant(name, tenant); !status.ok()) {
        return status;
      }
    }
    for (const ConnectionName& connection : changes.forgotten_credentials) {
      if (absl::Status status = ForgetCredential(connection); !status.ok()) {
        return status;
      }
    }
    for (const auto& [connection, fields] : changes.credentials) {
      if (absl::Status status = WriteCredential(connection, fields); !status.ok()) {
        return status;
      }
    }
    for (const std::string& what : changes.audit) {
      if (absl::Status status = WriteAudit(now.time_since_epoch().count(), changes.actor, what);
          !status.ok()) {
        return status;
      }
    }
    return absl::OkStatus();
  }
};

Database::Database(std::unique_ptr<State> state) : state_(std::move(state)) {}
Database::~Database() = default;

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& file,
                                                         const Vault& vault) {
  std::error_code error;
  const std::filesystem::path directory = std::filesystem::path(file).parent_path();
  if (!directory.empty()) {
    std::filesystem::create_directories(directory, error);
  }
  // SQLite would make it open to all that the umask allows.
  const int fd = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    return absl::FailedPreconditionError("control's database " + file + " cannot be opened");
  }
  close(fd);
  auto state = std::make_unique<State>();
  state->vault = &vault;
  if (sqlite3_open_v2(file.c_str(), &state->db,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                      nullptr) != SQLITE_OK) {
    return absl::FailedPreconditionError("control's database " + file + " cannot be opened");
  }
  sqlite3_busy_timeout(state->db, 500);
  sqlite3_db_config(state->db, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(state->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_db_config(state->db, SQLITE_DBCONFIG_DQS_DML, 0, nullptr);
  sqlite3_db_config(state->db, SQLITE_DBCONFIG_DQS_DDL, 0, nullptr);
  // Locking mode first: the lock that BEGIN EXCLUSIVE takes is then kept until the end.
  absl::Status status = Execute(state->db,
                                "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = TRUNCATE; "
                                "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; "
                                "PRAGMA secure_delete = ON; BEGIN EXCLUSIVE");
  if (!status.ok()) {
    if ((sqlite3_errcode(state->db) & 0xff) == SQLITE_BUSY) {
      return absl::FailedPreconditionError("control's database " + file +
                                           " is held by another process: one control runs for "
                                           "each installation");
    }
    return status;
  }
  status = Migrate(state->db);
  if (status.ok()) {
    status = CheckKey(state->db, vault);
  }
  if (status.ok()) {
    status = Execute(state->db, "COMMIT");
  }
  if (!status.ok()) {
    return status;
  }
  return std::unique_ptr<Database>(new Database(std::move(state)));
}

absl::StatusOr<Tenants> Database::LoadTenants() const {
  Tenants tenants;
  Statement select_tenants(state_->db, "SELECT name, is_removed FROM tenants");
  while (select_tenants.Next()) {
    tenants[select_tenants.Column(0)].is_removed = select_tenants.ColumnNumber(1) != 0;
  }
  Statement select_connections(
      state_->db, "SELECT tenant, name, definition, has_default_connector_file FROM connections");
  while (select_connections.Next()) {
    StoredConnection& stored =
        tenants[select_connections.Column(0)].connections[select_connections.Column(1)];
    if (!stored.connection.ParseFromString(select_connections.Column(2))) {
      return absl::DataLossError("control's database: a connection cannot be read");
    }
    stored.has_default_connector_file = select_connections.ColumnNumber(3) != 0;
  }
  Statement select_syncs(
      state_->db,
      "SELECT tenant, name, definition, has_default_mapping, has_default_rules FROM syncs");
  while (select_syncs.Next()) {
    StoredSync& stored = tenants[select_syncs.Column(0)].syncs[select_syncs.Column(1)];
    if (!stored.sync.ParseFromString(select_syncs.Column(2))) {
      return absl::DataLossError("control's database: a sync cannot be read");
    }
    stored.has_default_mapping = select_syncs.ColumnNumber(3) != 0;
    stored.has_default_rules = select_syncs.ColumnNumber(4) != 0;
  }
  absl::Status status = select_tenants.status();
  status.Update(select_connections.status());
  status.Update(select_syncs.status());
  if (!status.ok()) {
    return status;
  }
  return tenants;
}

absl::StatusOr<std::map<std::string, v1::Blob>> Database::LoadBlobs() const {
  std::map<std::string, v1::Blob> blobs;
  Statement select(state_->db, "SELECT sha256, blob FROM blobs");
  while (select.Next()) {
    if (!blobs[select.Column(0)].ParseFromString(select.Column(1))) {
      return absl::DataLossError("control's database: a file cannot be read");
    }
  }
  if (!select.status().ok()) {
    return select.status();
  }
  return blobs;
}

absl::StatusOr<std::optional<CredentialFields>> Database::LoadCredential(
    const ConnectionName& connection) const {
  std::optional<CredentialFields> fields;
  Statement select(state_->db,
                   "SELECT field, sealed FROM credentials WHERE tenant = ? AND connection = ?");
  select.Text(connection.first).Text(connection.second);
  while (select.Next()) {
    const std::string field = select.Column(0);
    absl::StatusOr<std::string> secret =
        state_->vault->Unseal(PlaceOf(connection, field), select.Column(1));
    if (!secret.ok()) {
      return secret.status();
    }
    if (!fields) {
      fields.emplace();
    }
    (*fields)[field] = *std::move(secret);
  }
  if (!select.status().ok()) {
    return select.status();
  }
  return fields;
}

absl::Status Database::Write(WallTime now, const Changes& changes) {
  absl::Status status = Execute(state_->db, "BEGIN IMMEDIATE");
  if (!status.ok()) {
    return status;
  }
  status = state_->WriteAll(now, changes);
  if (status.ok()) {
    status = Execute(state_->db, "COMMIT");
  }
  if (!status.ok()) {
    sqlite3_exec(state_->db, "ROLLBACK", nullptr, nullptr, nullptr);
  }
  return status;
}

absl::StatusOr<std::string> Database::Copy(std::size_t bytes_max) const {
  sqlite3* copy = nullptr;
  if (sqlite3_open_v2(":memory:", &copy,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                      nullptr) != SQLITE_OK) {
    sqlite3_close(copy);
    return absl::ResourceExhaustedError("no memory for a copy of control's database");
  }
  absl::StatusOr<std::string> bytes = absl::InternalError("copying control's database failed");
  sqlite3_backup* const backup = sqlite3_backup_init(copy, "main", state_->db, "main");
  if (backup != nullptr) {
    const int stepped = sqlite3_backup_step(backup, -1);
    sqlite3_backup_finish(backup);
    sqlite3_int64 size = 0;
    unsigned char* const serialized =
        stepped == SQLITE_DONE ? sqlite3_serialize(copy, "main", &size, 0) : nullptr;
    if (serialized != nullptr && static_cast<std::size_t>(size) > bytes_max) {
      bytes = absl::ResourceExhaustedError("control's database has " + std::to_string(size) +
                                           " bytes, and at most " + std::to_string(bytes_max) +
                                           " are sent; stop control and copy its file");
    } else if (serialized != nullptr) {
      bytes =
          std::string(reinterpret_cast<const char*>(serialized), static_cast<std::size_t>(size));
    }
    sqlite3_free(serialized);
  }
  sqlite3_close(copy);
  return bytes;
}

absl::StatusOr<std::vector<Database::AuditEntry>> Database::LoadAudit(int entries_max) const {
  std::vector<AuditEntry> entries;
  Statement select(state_->db,
                   "SELECT number, actor, what FROM audit ORDER BY number DESC LIMIT ?");
  select.Number(entries_max);
  while (select.Next()) {
    entries.push_back({select.ColumnNumber(0), select.Column(1), select.Column(2)});
  }
  if (!select.status().ok()) {
    return select.status();
  }
  return entries;
}

absl::Status Database::CheckAudit() const {
  Statement select(state_->db,
                   "SELECT number, at_microseconds, actor, what, chain FROM audit ORDER BY number");
  std::string before;
  std::int64_t number = 0;
  while (select.Next()) {
    ++number;
    const std::string chain =
        ChainOf(before, select.ColumnNumber(1), select.Column(2), select.Column(3));
    if (select.ColumnNumber(0) != number || select.Column(4) != chain) {
      return absl::DataLossError("audit entry " + std::to_string(number) +
                                 " was changed or removed");
    }
    before = chain;
  }
  return select.status();
}

}  // namespace tributary::control

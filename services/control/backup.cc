#include "services/control/backup.h"

#include <filesystem>
#include <memory>

#include <sqlite3.h>

#include "services/control/database.h"

namespace tributary::control {
namespace {

namespace fs = std::filesystem;

struct Closed {
  void operator()(sqlite3* db) const { sqlite3_close(db); }
};
using Connection = std::unique_ptr<sqlite3, Closed>;

// The first column of the first row. Empty: there is none, or an error.
std::string FirstColumn(sqlite3* db, const char* sql) {
  sqlite3_stmt* statement = nullptr;
  std::string text;
  if (sqlite3_prepare_v2(db, sql, -1, &statement, nullptr) == SQLITE_OK &&
      sqlite3_step(statement) == SQLITE_ROW) {
    const unsigned char* column = sqlite3_column_text(statement, 0);
    text = column == nullptr ? "" : reinterpret_cast<const char*>(column);
  }
  sqlite3_finalize(statement);
  return text;
}

std::int64_t Count(sqlite3* db, const char* sql) {
  const std::string text = FirstColumn(db, sql);
  return text.empty() ? -1 : std::stoll(text);
}

// A database writes to its file when it is opened, so that a copy of the copy is looked at.
absl::Status CheckSecrets(const std::string& file, const Vault& vault, BackupContents& contents) {
  const std::string scratch = file + ".looked-at";
  std::error_code error;
  fs::copy_file(file, scratch, fs::copy_options::overwrite_existing, error);
  if (error) {
    return absl::InternalError(scratch + " cannot be written: " + error.message());
  }
  struct Removed {
    std::string path;
    ~Removed() {
      std::error_code ignored;
      fs::remove(path, ignored);
      fs::remove(path + "-journal", ignored);
    }
  } const removed{scratch};
  const absl::StatusOr<std::unique_ptr<Database>> database = Database::Open(scratch, vault);
  if (!database.ok()) {
    return database.status();
  }
  const absl::StatusOr<Tenants> tenants = (*database)->LoadTenants();
  if (!tenants.ok()) {
    return tenants.status();
  }
  for (const auto& [name, tenant] : *tenants) {
    for (const auto& [connection, stored] : tenant.connections) {
      const auto fields = (*database)->LoadCredential({name, connection});
      if (!fields.ok()) {
        return fields.status();
      }
      contents.unsealed += *fields ? static_cast<std::int64_t>((*fields)->size()) : 0;
    }
  }
  return (*database)->CheckAudit();
}

}  // namespace

absl::StatusOr<BackupContents> CheckBackup(const std::string& file, const Vault* vault) {
  if (!fs::exists(file)) {
    return absl::NotFoundError(file + " is not there");
  }
  BackupContents contents;
  {
    sqlite3* opened = nullptr;
    const int code =
        sqlite3_open_v2(file.c_str(), &opened, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, nullptr);
    const Connection db(opened);
    const std::string found =
        code == SQLITE_OK ? FirstColumn(db.get(), "PRAGMA integrity_check") : "";
    if (found != "ok") {
      return absl::DataLossError(file + " is damaged" + (found.empty() ? "" : ": " + found));
    }
    contents.tenants = Count(db.get(), "SELECT count(*) FROM tenants WHERE NOT is_removed");
    contents.credentials = Count(db.get(), "SELECT count(*) FROM credentials");
    contents.audit_entries = Count(db.get(), "SELECT count(*) FROM audit");
  }
  if (contents.tenants < 0 || contents.credentials < 0 || contents.audit_entries < 0) {
    return absl::DataLossError(file + " is no database of control");
  }
  if (vault != nullptr) {
    if (absl::Status status = CheckSecrets(file, *vault, contents); !status.ok()) {
      return status;
    }
  }
  return contents;
}

}  // namespace tributary::control

#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "libs/time/time.h"
#include "services/control/model.h"
#include "services/control/vault.h"

namespace tributary::control {

/// Control's own store: SQLite, one connection, rollback journal, synced. Holds an exclusive lock
/// on its file as long as it lives: one control for each installation. One thread.
class Database {
 public:
  /// What one order of a person changes: all of it, or nothing.
  struct Changes {
    /// Replaced whole.
    std::map<std::string, StoredTenant> tenants;
    /// Set, all fields of a connection together.
    std::map<ConnectionName, CredentialFields> credentials;
    std::set<ConnectionName> forgotten_credentials;
    /// By SHA-256 in hex. Kept for ever: they are small, and what was in force stays known.
    std::map<std::string, v1::Blob> blobs;
    /// For the audit trail: who, what (no secrets), one line for each change.
    std::string actor;
    std::vector<std::string> audit;
  };

  /// Errors: kFailedPrecondition when another process holds it, when it is of a newer Tributary, or
  /// when the vault's key is not the one that it was made with.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& file,
                                                        const Vault& vault);
  ~Database();

  absl::StatusOr<Tenants> LoadTenants() const;
  absl::StatusOr<std::map<std::string, v1::Blob>> LoadBlobs() const;
  /// None: there is none.
  absl::StatusOr<std::optional<CredentialFields>> LoadCredential(
      const ConnectionName& connection) const;
  absl::Status Write(WallTime now, const Changes& changes);

  /// All of it as it is now, as a file of SQLite's holds it; credentials in it are sealed.
  ///
  /// Errors: kResourceExhausted when it is larger than `bytes_max`.
  absl::StatusOr<std::string> Copy(std::size_t bytes_max) const;

  struct AuditEntry {
    std::int64_t number = 0;
    std::string actor;
    std::string what;
  };
  /// Newest first.
  absl::StatusOr<std::vector<AuditEntry>> LoadAudit(int entries_max) const;
  /// Errors: kDataLoss, naming the first entry that was changed or removed.
  absl::Status CheckAudit() const;

 private:
  struct State;
  explicit Database(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace tributary::control

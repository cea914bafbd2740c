#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

#include "services/control/vault.h"

namespace tributary::control {

/// What a copy of control's database holds.
struct BackupContents {
  std::int64_t tenants = 0;
  std::int64_t credentials = 0;
  std::int64_t audit_entries = 0;
  /// With a vault: how many of the credentials were unsealed, which are all.
  std::int64_t unsealed = 0;
};

/// Looks whether a copy (Database::Copy) is one to start from: SQLite finds it whole and, with the
/// vault of its master key, every credential opens and the audit trail is unbroken. The copy is not
/// written to.
///
/// Errors: kDataLoss when it is damaged; kFailedPrecondition when the key is another; kNotFound.
absl::StatusOr<BackupContents> CheckBackup(const std::string& file, const Vault* vault);

}  // namespace tributary::control

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "tributary/v1/tenants.pb.h"

// What control keeps of its tenants. A sync's revision is not among it: it is an offset, and the
// topic knows it (publisher.h).

namespace tributary::control {

struct StoredConnection {
  v1::Connection connection;
  /// The connector file is the integration's own, pinned when it was first used: an upgrade of
  /// Tributary changes nothing by itself.
  bool has_default_connector_file = false;
};

struct StoredSync {
  v1::Sync sync;
  bool has_default_mapping = false;
  bool has_default_rules = false;
};

struct StoredTenant {
  bool is_removed = false;
  std::map<std::string, StoredConnection> connections;
  std::map<std::string, StoredSync> syncs;
};

using Tenants = std::map<std::string, StoredTenant>;

/// Tenant and connection.
using ConnectionName = std::pair<std::string, std::string>;
/// Secret values by the names that the integration asks for.
using CredentialFields = std::map<std::string, std::string>;

}  // namespace tributary::control

#pragma once

#include <cstdint>
#include <map>

#include "libs/time/time.h"
#include "services/control/model.h"
#include "services/control/peer.h"
#include "tributary/v1/control.pb.h"

// What services say of their partitions, and what control knows of connections and syncs, as one
// status of the installation. No I/O.

namespace tributary::control {

struct StatusSources {
  WallTime now{};
  const Tenants& tenants;
  const Peers& peers;
  /// Newest report of each connection that has a problem.
  const std::map<ConnectionName, v1::ConnectionReport>& reports;
  std::int32_t partitions = 0;
  /// Everything that control wants is on the topic.
  bool is_published = false;
};

/// Empty tenant: all. Each connection that has a problem is in it once.
v1::StatusResponse JoinStatus(const StatusSources& sources, const std::string& tenant);

}  // namespace tributary::control

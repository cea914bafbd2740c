#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "libs/stage/stage.h"
#include "tributary/v1/tenants.pb.h"

namespace tributary::simulation {

/// What a person has ordered; the publisher makes `tenants` equal to it.
struct Orders {
  struct Tenant {
    v1::TenantSnapshot snapshot;
    /// By their hashes, of which the snapshot names some.
    std::map<std::string, v1::Blob> blobs;
    /// Syncs that were removed for a while: what happened meanwhile fired no rule.
    std::set<std::string> interrupted;
  };
  std::map<std::string, Tenant> tenants;
  /// Grows with each change.
  std::int64_t edition = 0;
};

/// Control's place on the log: one fenced writer of `tenants`. `orders` outlives it.
std::unique_ptr<Stage> MakeTenantsPublisher(std::string instance, std::int32_t partitions,
                                            Duration min_compaction_lag, Duration delete_retention,
                                            const Orders& orders, StagePorts ports);

/// Bytes that are the same for equal messages, in every process.
std::string Serialize(const google::protobuf::Message& message);

}  // namespace tributary::simulation

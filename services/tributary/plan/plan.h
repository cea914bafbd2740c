#pragma once

#include <cstdint>
#include <string>
#include <vector>

// What an installation needs, computed from what was measured. Pure.

namespace tributary::cli {

/// What something costs, and the command that measures it again; docs/performance.md has the
/// circumstances.
struct MeasuredCost {
  const char* name;
  double value;
  const char* unit;
  const char* command;
};

/// The only place of these numbers.
const std::vector<MeasuredCost>& MeasuredCosts();

/// What a kind of target allows one tenant, and what it takes to write a record there.
struct TargetQuota {
  std::string name;
  /// 0: no such limit is known.
  double calls_per_day = 0;
  double calls_per_second = 0;
  /// Until a record that is new there is written, look-ups included; and for each change of it.
  double calls_per_new_record = 1;
  double calls_per_change = 1;
  double records_per_call = 1;
};
/// `highlevel`, `rest`, `rest-batch`. Null pointer: none of that name.
const TargetQuota* FindTargetQuota(const std::string& name);
std::string TargetQuotaNames();

struct Demand {
  std::int64_t tenants = 1;
  /// Of each tenant, with their subscriptions, components, invoices and events.
  std::int64_t customers = 1'000;
  /// Of each tenant.
  std::int64_t changes_per_day = 1'000;
  /// The busiest hour, against the mean of a day.
  double peak = 4;
  std::int64_t replication_factor = 3;
  TargetQuota target;
};

struct ServiceNeed {
  std::string service;
  std::int64_t replicas = 0;
  /// Of all replicas together, in the busiest hour.
  double cores = 0;
  /// Of each replica.
  std::int64_t memory_megabytes = 0;
  std::int64_t disk_megabytes = 0;
};

struct Plan {
  std::int64_t partitions = 0;
  std::vector<ServiceNeed> services;
  double cores = 0;
  std::int64_t memory_megabytes = 0;
  /// On the brokers, all replicas of all topics.
  std::int64_t topic_megabytes = 0;
  double source_calls_per_second = 0;
  /// Of one tenant at its CRM.
  double target_calls_per_day = 0;
  /// Of what the target allows; 0: nothing is known of it.
  double quota_share = 0;
  /// From an empty CRM, as the quota and the cores allow.
  double first_load_hours = 0;
  /// What cannot be had so, for people.
  std::vector<std::string> warnings;
};

Plan MakePlan(const Demand& demand);

/// Of the page docs/guides/capacity.md: plans of some sizes, and what they are computed from.
std::string CapacityTable();
std::string CostsTable();

}  // namespace tributary::cli

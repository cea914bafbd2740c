#include "services/tributary/plan/plan.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <string_view>

namespace tributary::cli {
namespace {

// Of a core, so that a burst, a rebalance and a restart find room.
constexpr double kUtilisation = 0.6;
// A stage is one thread; with the client's own a process uses little more than a core.
constexpr double kCoresPerReplica = 1.0;
// One may be restarted.
constexpr std::int64_t kReplicasMin = 2;
constexpr std::int64_t kPartitionsPerReplica = 4;
constexpr std::int64_t kPartitionsMin = 8;
// So that an owner's loss concerns few of them at a time.
constexpr std::int64_t kPartitionsOfManyTenants = 64;
constexpr std::int64_t kPartitionsMax = 1'024;
// Of memory and disk, above what was measured.
constexpr double kReserve = 1.5;
// A compacted topic holds up to as much again of what is superseded.
constexpr double kUncompacted = 2;
constexpr double kSecondsPerDay = 86'400;
// Every record is compared once a week.
constexpr double kSweepDays = 7;
constexpr double kOutcomesDays = 90;
constexpr double kEventsDays = 30;
constexpr double kMegabyte = 1 << 20;
constexpr const char* kCrowded = "fewer changes, larger batches or a larger quota are needed";

constexpr const char* kWholeJob = "./dev bench whole_job --customers 100000 --bare";
constexpr const char* kWholeJobBatch = "./dev bench whole_job --customers 100000 --bare --batch";
constexpr const char* kMillion = "./dev bench whole_job --customers 1000000 --bare --batch";
constexpr const char* kBytes = "./dev bench topic_bytes --customers 3000";
constexpr const char* kIdle = "./dev bench idle_tenants --tenants 100 --seconds 35";

double Cost(std::string_view name) {
  for (const MeasuredCost& cost : MeasuredCosts()) {
    if (cost.name == name) {
      return cost.value;
    }
  }
  throw std::logic_error("no cost of that name: " + std::string(name));
}

std::int64_t Up(double value) { return static_cast<std::int64_t>(std::ceil(value)); }

std::int64_t PowerOfTwo(std::int64_t at_least) {
  std::int64_t power = 1;
  while (power < at_least) {
    power *= 2;
  }
  return power;
}

// Of one service: CPU-seconds per change, and per second and tenant that only waits; memory and
// local copies.
struct ServiceCosts {
  std::string name;
  double change_seconds = 0;
  double tenant_seconds = 0;
  double base_megabytes = 0;
  double megabytes_per_customer = 0;
  double megabytes_per_tenant = 0;
  double copy_bytes_per_customer = 0;
};

ServiceCosts CostsOf(const std::string& service, bool batches) {
  const std::string mode = service == "loader" && batches ? " (batches)" : "";
  ServiceCosts costs{.name = service,
                     .change_seconds = Cost(service + " CPU" + mode) / 1'000,
                     .tenant_seconds = Cost(service + " idle CPU") / 1'000,
                     .base_megabytes = Cost(service + " memory"),
                     .megabytes_per_tenant = Cost(service + " memory a thousand tenants") / 1'000};
  if (service != "control") {
    costs.megabytes_per_customer = Cost(service + " memory a million") / 1e6;
    costs.copy_bytes_per_customer = Cost(service + " copies");
  }
  return costs;
}

ServiceNeed NeedOf(const ServiceCosts& costs, double changes_per_second, double tenants,
                   double customers) {
  ServiceNeed need{.service = costs.name};
  need.cores =
      (changes_per_second * costs.change_seconds + tenants * costs.tenant_seconds) / kUtilisation;
  need.replicas =
      costs.name == "control" ? 1 : std::max(kReplicasMin, Up(need.cores / kCoresPerReplica));
  // One that is away leaves its part to the others.
  const double sharing = static_cast<double>(std::max<std::int64_t>(1, need.replicas - 1));
  need.memory_megabytes = Up((costs.base_megabytes + (costs.megabytes_per_customer * customers +
                                                      costs.megabytes_per_tenant * tenants) /
                                                         sharing) *
                             kReserve);
  need.disk_megabytes =
      Up(costs.copy_bytes_per_customer * customers / sharing * kReserve / kMegabyte);
  return need;
}

std::string Number(double value, int digits = 0) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  std::string number = text;
  for (std::size_t at = number.find('.') == std::string::npos ? number.size() : number.find('.');
       at > 3; at -= 3) {
    number.insert(at - 3, 1, ',');
  }
  return number;
}

}  // namespace

const std::vector<MeasuredCost>& MeasuredCosts() {
  static const std::vector<MeasuredCost> costs = {
      {"control CPU", 0.003, "CPU-s per 1,000 changes", kWholeJob},
      {"extractor CPU", 0.023, "CPU-s per 1,000 changes", kWholeJob},
      {"transformer CPU", 0.045, "CPU-s per 1,000 changes", kWholeJob},
      {"loader CPU", 0.156, "CPU-s per 1,000 changes", kWholeJob},
      {"loader CPU (batches)", 0.062, "CPU-s per 1,000 changes", kWholeJobBatch},
      {"control idle CPU", 0.000, "CPU-ms a second and tenant", kIdle},
      {"extractor idle CPU", 0.028, "CPU-ms a second and tenant", kIdle},
      {"transformer idle CPU", 0.003, "CPU-ms a second and tenant", kIdle},
      {"loader idle CPU", 0.000, "CPU-ms a second and tenant", kIdle},
      {"source calls", 0.156, "calls a second and tenant", kIdle},
      {"control memory", 9, "MB", kIdle},
      {"extractor memory", 16, "MB", kWholeJobBatch},
      {"transformer memory", 37, "MB", kWholeJobBatch},
      {"loader memory", 44, "MB", kWholeJobBatch},
      {"extractor memory a million", 25, "MB per million customers", kMillion},
      {"transformer memory a million", 82, "MB per million customers", kMillion},
      {"loader memory a million", 98, "MB per million customers", kMillion},
      {"control memory a thousand tenants", 21, "MB per 1,000 tenants", kIdle},
      {"extractor memory a thousand tenants", 27, "MB per 1,000 tenants", kIdle},
      {"transformer memory a thousand tenants", 12, "MB per 1,000 tenants", kIdle},
      {"loader memory a thousand tenants", 30, "MB per 1,000 tenants", kIdle},
      {"extractor copies", 12'582, "bytes a customer", kBytes},
      {"transformer copies", 15'036, "bytes a customer", kBytes},
      {"loader copies", 1'505, "bytes a customer", kBytes},
      {"tables", 2'000, "bytes a customer on topics", kBytes},
      {"outcomes", 157, "bytes a change on topics", kBytes},
      {"events", 517, "bytes a customer with about eight events on topics", kBytes},
  };
  return costs;
}

const TargetQuota* FindTargetQuota(const std::string& name) {
  static const std::vector<TargetQuota> quotas = {
      // As its connector file and its pages say: a day, a burst of 100 in 10 s. A new contact is
      // looked up by three keys.
      {.name = "highlevel",
       .calls_per_day = 200'000,
       .calls_per_second = 9,
       .calls_per_new_record = 4,
       .calls_per_change = 1},
      {.name = "rest", .calls_per_second = 50},
      {.name = "rest-batch", .calls_per_second = 50, .records_per_call = 100}};
  const auto found = std::find_if(quotas.begin(), quotas.end(),
                                  [&](const TargetQuota& quota) { return quota.name == name; });
  return found == quotas.end() ? nullptr : &*found;
}

std::string TargetQuotaNames() { return "highlevel, rest, rest-batch"; }

Plan MakePlan(const Demand& demand) {
  Plan plan;
  const auto tenants = static_cast<double>(demand.tenants);
  const double customers = tenants * static_cast<double>(demand.customers);
  const double changes = tenants * static_cast<double>(demand.changes_per_day);
  const double changes_at_peak = changes / kSecondsPerDay * demand.peak;
  const bool batches = demand.target.records_per_call > 1;
  double job_seconds_per_record = 0;
  std::int64_t replicas = 1;
  for (const char* service : {"control", "extractor", "transformer", "loader"}) {
    const ServiceCosts costs = CostsOf(service, batches);
    job_seconds_per_record += costs.change_seconds;
    plan.services.push_back(NeedOf(costs, changes_at_peak, tenants, customers));
    const ServiceNeed& need = plan.services.back();
    plan.cores += need.cores;
    plan.memory_megabytes += need.memory_megabytes * need.replicas;
    replicas = std::max(replicas, need.replicas);
  }
  const std::int64_t partitions =
      PowerOfTwo(std::max({kPartitionsMin, kPartitionsPerReplica * replicas,
                           std::min(demand.tenants, kPartitionsOfManyTenants)}));
  plan.partitions = std::min(partitions, kPartitionsMax);
  if (partitions > kPartitionsMax) {
    plan.warnings.emplace_back(
        "more replicas are needed than partitions can be: divide the "
        "tenants between installations");
  }
  const double topic_bytes =
      customers * Cost("tables") * kUncompacted +
      changes * (Cost("outcomes") * kOutcomesDays + Cost("events") / 8 * kEventsDays);
  plan.topic_megabytes =
      Up(topic_bytes * static_cast<double>(demand.replication_factor) / kMegabyte);
  plan.source_calls_per_second = tenants * Cost("source calls");

  const TargetQuota& target = demand.target;
  plan.target_calls_per_day = static_cast<double>(demand.changes_per_day) *
                                  target.calls_per_change / target.records_per_call +
                              static_cast<double>(demand.customers) / kSweepDays;
  double per_day = target.calls_per_second * kSecondsPerDay;
  if (target.calls_per_day > 0) {
    per_day = per_day > 0 ? std::min(per_day, target.calls_per_day) : target.calls_per_day;
  }
  double load_days =
      customers * job_seconds_per_record / std::max(plan.cores, 1.0) / kSecondsPerDay;
  if (per_day > 0) {
    plan.quota_share = plan.target_calls_per_day / per_day;
    const double calls = static_cast<double>(demand.customers) * target.calls_per_new_record /
                         target.records_per_call;
    // The first day may be short of a whole one: then the rate of seconds counts.
    const double at_rate =
        target.calls_per_second > 0 ? calls / target.calls_per_second / kSecondsPerDay : 0;
    load_days = std::max({load_days, at_rate, calls > per_day ? calls / per_day : 0.0});
    if (plan.quota_share > 1) {
      plan.warnings.push_back("a tenant needs " + Number(plan.target_calls_per_day) +
                              " calls a day and is allowed " + Number(per_day) + ": " + kCrowded);
    } else if (plan.quota_share > 0.5) {
      plan.warnings.push_back("a tenant's day takes " + Number(100 * plan.quota_share) +
                              " % of its quota: a burst will wait for the next day");
    }
  }
  plan.first_load_hours = load_days * 24;
  return plan;
}

std::string CapacityTable() {
  struct Size {
    std::int64_t tenants;
    std::int64_t customers;
    std::int64_t changes;
    const char* target;
  };
  constexpr Size kSizes[] = {
      {1, 1'000, 500, "highlevel"},          {10, 5'000, 2'000, "highlevel"},
      {100, 10'000, 5'000, "highlevel"},     {100, 10'000, 5'000, "rest-batch"},
      {1'000, 10'000, 5'000, "highlevel"},   {10'000, 2'000, 1'000, "highlevel"},
      {1, 1'000'000, 200'000, "rest-batch"}, {1, 100'000, 300'000, "highlevel"}};
  std::string text =
      "| tenants | customers each | changes a day each | target | partitions | replicas | cores | "
      "MB of memory | "
      "MB of topics | source calls a second | calls a day and tenant | of its quota | first load, "
      "hours |\n"
      "|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
  for (const Size& size : kSizes) {
    const Plan plan = MakePlan({.tenants = size.tenants,
                                .customers = size.customers,
                                .changes_per_day = size.changes,
                                .target = *FindTargetQuota(size.target)});
    std::string replicas;
    for (const ServiceNeed& need : plan.services) {
      replicas += (replicas.empty() ? "" : ", ") + std::to_string(need.replicas);
    }
    text += "| " + Number(static_cast<double>(size.tenants)) + " | " +
            Number(static_cast<double>(size.customers)) + " | " +
            Number(static_cast<double>(size.changes)) + " | " + size.target + " | " +
            std::to_string(plan.partitions) + " | " + replicas + " | " + Number(plan.cores, 2) +
            " | " + Number(static_cast<double>(plan.memory_megabytes)) + " | " +
            Number(static_cast<double>(plan.topic_megabytes)) + " | " +
            Number(plan.source_calls_per_second, 1) + " | " + Number(plan.target_calls_per_day) +
            " | " + Number(100 * plan.quota_share, 1) + " % | " + Number(plan.first_load_hours, 1) +
            " |\n";
  }
  return text;
}

std::string CostsTable() {
  std::string text = "| what | measured | of | again by |\n|---|---|---|---|\n";
  for (const MeasuredCost& cost : MeasuredCosts()) {
    text += std::string("| ") + cost.name + " | " +
            Number(cost.value, cost.value < 1 ? 3 : (cost.value < 10 ? 1 : 0)) + " | " + cost.unit +
            " | `" + cost.command + "` |\n";
  }
  return text;
}

}  // namespace tributary::cli

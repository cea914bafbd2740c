#include "services/tributary/plan/plan.h"

#include <cmath>
#include <memory>
#include <ostream>

#include "libs/json/value.h"
#include "services/tributary/commands/ask.h"
#include "services/tributary/commands/commands.h"
#include "services/tributary/output.h"

namespace tributary::cli {
namespace {

struct PlanArguments {
  Demand demand;
  std::string target = "highlevel";
  std::string table;
};

json::Number Decimal(double value) {
  const auto thousandths = static_cast<std::int64_t>(std::llround(value * 1'000));
  std::string fraction = std::to_string(thousandths % 1'000);
  fraction.insert(0, 3 - fraction.size(), '0');
  return {std::to_string(thousandths / 1'000) + "." + fraction};
}

std::string PlanJson(const Plan& plan) {
  json::Array services;
  for (const ServiceNeed& need : plan.services) {
    services.emplace_back(json::Object{{"service", need.service},
                                       {"replicas", need.replicas},
                                       {"cores", Decimal(need.cores)},
                                       {"memory_megabytes", need.memory_megabytes},
                                       {"disk_megabytes", need.disk_megabytes}});
  }
  json::Array warnings(plan.warnings.begin(), plan.warnings.end());
  return json::Write(
             json::Object{{"partitions", plan.partitions},
                          {"services", std::move(services)},
                          {"cores", Decimal(plan.cores)},
                          {"memory_megabytes", plan.memory_megabytes},
                          {"topic_megabytes", plan.topic_megabytes},
                          {"source_calls_per_second", Decimal(plan.source_calls_per_second)},
                          {"target_calls_per_day", Decimal(plan.target_calls_per_day)},
                          {"quota_share", Decimal(plan.quota_share)},
                          {"first_load_hours", Decimal(plan.first_load_hours)},
                          {"warnings", std::move(warnings)}}) +
         "\n";
}

std::string PlanText(const Plan& plan) {
  std::vector<std::vector<std::string>> rows;
  for (const ServiceNeed& need : plan.services) {
    rows.push_back({need.service, std::to_string(need.replicas), Decimal(need.cores).text,
                    std::to_string(need.memory_megabytes), std::to_string(need.disk_megabytes)});
  }
  return Table({"service", "replicas", "cores in all", "MB of memory each", "MB of disk each"},
               rows, "") +
         "\npartitions, for life: " + std::to_string(plan.partitions) +
         "\nMB on the brokers, all replicas: " + std::to_string(plan.topic_megabytes) +
         "\ncalls a second at Chargify, all tenants: " +
         Decimal(plan.source_calls_per_second).text +
         "\ncalls a day at its CRM, a tenant: " + Decimal(plan.target_calls_per_day).text +
         " (of its quota: " + Decimal(100 * plan.quota_share).text + " %)" +
         "\nhours until an empty CRM is filled: " + Decimal(plan.first_load_hours).text + "\n";
}

int MakeAndPrint(const Streams& streams, PlanArguments& arguments) {
  if (arguments.table == "sizes" || arguments.table == "costs") {
    streams.out << (arguments.table == "sizes" ? CapacityTable() : CostsTable());
    return kGood;
  }
  const TargetQuota* const target = FindTargetQuota(arguments.target);
  if (target == nullptr) {
    streams.err << "error: --target: `" << arguments.target << "` is none of " << TargetQuotaNames()
                << '\n';
    return kUsage;
  }
  arguments.demand.target = *target;
  const Plan plan = MakePlan(arguments.demand);
  Print(streams, PlanJson(plan), PlanText(plan));
  for (const std::string& warning : plan.warnings) {
    streams.err << "warning: " << warning << '\n';
  }
  return plan.quota_share > 1 ? kBad : kGood;
}

}  // namespace

void AddPlan(CommandTree& tree) {
  constexpr std::int64_t kMany = 1'000'000'000;
  const auto arguments = std::make_shared<PlanArguments>();
  Demand& demand = arguments->demand;
  CLI::App& plan = tree.Add(
      "plan", "What an installation needs: partitions, replicas, cores, memory, disk, calls",
      "plan --tenants 100 --customers 10000 --changes 5000 --target highlevel");
  plan.add_option("--tenants", demand.tenants, "How many")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1'000'000}))
      ->capture_default_str();
  plan.add_option("--customers", demand.customers, "Of each tenant")
      ->check(CLI::Range(std::int64_t{1}, kMany))
      ->capture_default_str();
  plan.add_option("--changes", demand.changes_per_day, "A day, of each tenant")
      ->check(CLI::Range(std::int64_t{0}, kMany))
      ->capture_default_str();
  plan.add_option("--peak", demand.peak, "The busiest hour against the mean")
      ->check(CLI::Range(1.0, 1000.0))
      ->capture_default_str();
  plan.add_option("--replication-factor", demand.replication_factor, "Of the topics")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{9}))
      ->capture_default_str();
  plan.add_option("--target", arguments->target, "Whose quota: " + TargetQuotaNames())
      ->capture_default_str();
  plan.add_option("--table", arguments->table, "Of docs/guides/capacity.md, as Markdown")
      ->check(CLI::IsMember({"sizes", "costs"}));
  tree.Does(plan,
            [arguments](const Streams& streams) { return MakeAndPrint(streams, *arguments); });
}

}  // namespace tributary::cli

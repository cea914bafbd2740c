#include "services/tributary/plan/plan.h"

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Demand Of(std::int64_t tenants, std::int64_t customers, std::int64_t changes,
          const std::string& target = "highlevel") {
  return {.tenants = tenants,
          .customers = customers,
          .changes_per_day = changes,
          .target = *FindTargetQuota(target)};
}

TEST(PlanTest, TheSmallestStillOutlivesARestart) {
  const Plan plan = MakePlan(Of(1, 100, 10));

  EXPECT_EQ(plan.partitions, 8);
  ASSERT_EQ(plan.services.size(), 4U);
  EXPECT_EQ(plan.services[0].service, "control");
  EXPECT_EQ(plan.services[0].replicas, 1) << "one control for each installation";
  for (std::size_t i = 1; i < plan.services.size(); ++i) {
    EXPECT_EQ(plan.services[i].replicas, 2) << plan.services[i].service;
  }
  EXPECT_LT(plan.cores, 1);
  EXPECT_THAT(plan.warnings, IsEmpty());
}

TEST(PlanTest, MoreOfAnythingNeverNeedsLess) {
  const Plan small = MakePlan(Of(10, 1'000, 1'000));
  for (const Demand& more :
       {Of(20, 1'000, 1'000), Of(10, 200'000, 1'000), Of(10, 1'000, 200'000)}) {
    const Plan plan = MakePlan(more);
    EXPECT_GE(plan.partitions, small.partitions);
    EXPECT_GE(plan.cores, small.cores);
    EXPECT_GE(plan.memory_megabytes, small.memory_megabytes);
    EXPECT_GT(plan.topic_megabytes, small.topic_megabytes);
    EXPECT_GE(plan.target_calls_per_day, small.target_calls_per_day);
  }
}

TEST(PlanTest, CoresFollowChangesAndTheBusiestHour) {
  Demand demand = Of(1'000, 10'000, 100'000, "rest");
  const double cores = MakePlan(demand).cores;
  demand.peak *= 2;
  // What idle tenants cost does not double.
  EXPECT_GT(MakePlan(demand).cores, cores * 1.5);
  EXPECT_LT(MakePlan(Of(1'000, 10'000, 100'000, "rest-batch")).cores, cores);
}

TEST(PlanTest, WhatAQuotaDoesNotAllowIsSaid) {
  const Plan plan = MakePlan(Of(1, 1'000, 300'000));
  EXPECT_GT(plan.quota_share, 1);
  EXPECT_THAT(plan.warnings, ElementsAre(HasSubstr("is allowed 200,000")));
  EXPECT_THAT(MakePlan(Of(1, 1'000, 150'000)).warnings, ElementsAre(HasSubstr("75 %")));
}

TEST(PlanTest, TheFirstLoadTakesAsLongAsTheQuotaSays) {
  // 100,000 customers of 4 calls are two days of 200,000.
  EXPECT_DOUBLE_EQ(MakePlan(Of(1, 100'000, 0)).first_load_hours, 48);
  // 9,000 of 4 calls at 9 a second.
  EXPECT_NEAR(MakePlan(Of(1, 9'000, 0)).first_load_hours, 4'000 / 3'600.0, 1e-6);
}

TEST(PlanTest, BeyondThePartitionsThereAreWarnings) {
  const Plan plan = MakePlan(Of(1'000'000, 1'000, 100'000, "rest"));
  EXPECT_EQ(plan.partitions, 1'024);
  EXPECT_THAT(plan.warnings, ElementsAre(HasSubstr("divide the tenants")));
}

TEST(PlanTest, EveryCostNamesABenchThatExists) {
  std::set<std::string> names;
  for (const MeasuredCost& cost : MeasuredCosts()) {
    EXPECT_TRUE(names.insert(cost.name).second) << cost.name << " stands twice";
    EXPECT_GE(cost.value, 0) << cost.name;
    std::istringstream words(cost.command);
    std::string dev;
    std::string bench;
    std::string name;
    words >> dev >> bench >> name;
    EXPECT_EQ(dev + " " + bench, "./dev bench");
    EXPECT_TRUE(std::ifstream(std::string(TRIBUTARY_SOURCE_DIR) + "/tests/bench/" + name + ".py"))
        << cost.command;
  }
}

// The page's tables are the command's; TRIBUTARY_REWRITE_CAPACITY=1 writes them.
TEST(PlanTest, ThePageSaysWhatTheCommandSays) {
  const std::string path = std::string(TRIBUTARY_SOURCE_DIR) + "/docs/guides/capacity.md";
  std::ifstream in(path);
  std::ostringstream read;
  read << in.rdbuf();
  std::string page = read.str();
  const auto replace = [&page](const std::string& name, const std::string& table) {
    const std::string begin = "<!-- tributary plan --table " + name + " -->\n";
    const std::string end = "<!-- end -->";
    const std::size_t from = page.find(begin);
    ASSERT_NE(from, std::string::npos) << name;
    const std::size_t to = page.find(end, from);
    ASSERT_NE(to, std::string::npos) << name;
    page.replace(from + begin.size(), to - from - begin.size(), table);
  };
  replace("sizes", CapacityTable());
  replace("costs", CostsTable());
  if (std::getenv("TRIBUTARY_REWRITE_CAPACITY") != nullptr) {
    std::ofstream(path) << page;
  }
  EXPECT_EQ(page, read.str()) << "run it again with TRIBUTARY_REWRITE_CAPACITY=1";
}

}  // namespace
}  // namespace tributary::cli

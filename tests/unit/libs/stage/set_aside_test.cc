#include "libs/stage/set_aside.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary {
namespace {

struct Lines : Logger {
  void Log(Level, std::string_view, const Fields&) override { ++count; }
  int count = 0;
};

TEST(SetAsideTest, KeepsTheNewestAndLogsAll) {
  Lines lines;
  SetAsideRecords records;
  constexpr int kMany = 1'000;
  for (int i = 0; i < kMany; ++i) {
    records.Add(eventlog::Topic::kChanges, 3, i, "k", std::string(1'000, 'x'), lines);
  }

  ASSERT_EQ(records.newest().size(), SetAsideRecords::kRecordsMax);
  EXPECT_EQ(records.newest().back().offset, kMany - 1);
  EXPECT_LE(records.newest().back().prefix_hex.size(), 128U) << "not the record itself";
  EXPECT_EQ(lines.count, kMany);
}

}  // namespace
}  // namespace tributary

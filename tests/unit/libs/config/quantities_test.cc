#include "libs/config/quantities.h"

#include <google/protobuf/duration.pb.h>
#include <gtest/gtest.h>

namespace tributary::config {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

TEST(QuantitiesTest, ReadsDurationsInEveryUnitAndAsSums) {
  EXPECT_EQ(ParseDuration("100ms"), Duration(milliseconds(100)));
  EXPECT_EQ(ParseDuration("90s"), Duration(seconds(90)));
  EXPECT_EQ(ParseDuration("5m"), Duration(minutes(5)));
  EXPECT_EQ(ParseDuration("2h"), Duration(hours(2)));
  EXPECT_EQ(ParseDuration("30d"), Duration(hours(720)));
  EXPECT_EQ(ParseDuration("1h30m"), Duration(minutes(90)));
  EXPECT_EQ(ParseDuration("0"), Duration::zero());
  EXPECT_EQ(ParseDuration("0s"), Duration::zero());
}

TEST(QuantitiesTest, RefusesWhatIsNoDuration) {
  for (const char* text : {"", "5", "s", "-5s", "5 s", "1.5s", "5S", "30m1h", "1s1s", "5sec",
                           "99999999999999999999s", "999999999999d"}) {
    EXPECT_EQ(ParseDuration(text), std::nullopt) << text;
  }
}

TEST(QuantitiesTest, ReadsSizes) {
  EXPECT_EQ(ParseSize("4096"), 4096);
  EXPECT_EQ(ParseSize("512B"), 512);
  EXPECT_EQ(ParseSize("8KiB"), 8192);
  EXPECT_EQ(ParseSize("64MiB"), 64 << 20);
  EXPECT_EQ(ParseSize("1GiB"), 1 << 30);
}

TEST(QuantitiesTest, RefusesWhatIsNoSize) {
  for (const char* text : {"", "MiB", "-1", "1.5MiB", "64mb", "64 MiB", "99999999999999GiB"}) {
    EXPECT_EQ(ParseSize(text), std::nullopt) << text;
  }
}

TEST(QuantitiesTest, WritesWhatItReads) {
  for (const char* text : {"100ms", "1m30s", "2h", "30d", "0s", "1d2h3m4s5ms"}) {
    const std::optional<Duration> duration = ParseDuration(text);
    ASSERT_TRUE(duration.has_value()) << text;
    EXPECT_EQ(FormatDuration(*duration), text);
    EXPECT_EQ(FromProto(ToProto(*duration)), *duration);
  }
}

}  // namespace
}  // namespace tributary::config

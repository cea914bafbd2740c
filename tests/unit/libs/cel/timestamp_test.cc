#include "libs/cel/timestamp.h"

#include <string>
#include <string_view>

#include "gtest/gtest.h"

namespace tributary::cel {
namespace {

TEST(TimestampTest, ReadsTheFormsOfSourcesAndKeepsTheirPrecision) {
  const struct {
    std::string_view written;
    std::string_view in_utc;
  } kCases[] = {
      {"2021-03-29T07:47:00-04:00", "2021-03-29T11:47:00Z"},
      {"2016-11-08 16:22:26 -0500", "2016-11-08T21:22:26Z"},
      {"2021-03-29", "2021-03-29T00:00:00Z"},
      {"2021-03-29T07:47:00.120Z", "2021-03-29T07:47:00.120Z"},
      {"2021-12-31T23:59:60Z", "2022-01-01T00:00:00Z"},
      {"2024-02-29T00:00:00+14:00", "2024-02-28T10:00:00Z"},
      {"0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"},
      {"1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.5Z"},
  };
  for (const auto& [written, in_utc] : kCases) {
    const std::optional<Timestamp> parsed = ParseTimestamp(written);
    ASSERT_TRUE(parsed.has_value()) << written;
    EXPECT_EQ(ToText(*parsed), in_utc);
  }
}

TEST(TimestampTest, RefusesWhatIsNoTime) {
  for (const std::string_view text :
       {"", "2021", "2021-02-29", "2021-13-01", "2021-03-29T07:47", "2021-03-29T07:47:00",
        "2021-03-29T25:00:00Z", "2021-03-29T07:47:00.Z", "2021-03-29T07:47:00Z ",
        "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "yesterday",
        "2021-03-29T07:47:00+1"}) {
    EXPECT_FALSE(ParseTimestamp(text).has_value()) << text;
  }
}

TEST(TimestampTest, FormatsAndShifts) {
  const Timestamp moment = *ParseTimestamp("2026-11-21T23:30:05Z");
  EXPECT_EQ(Format(moment, "%a %e %b %Y, %H:%M:%S %j %y-%m-%d %B %A %%", 0),
            "Sat 21 Nov 2026, 23:30:05 325 26-11-21 November Saturday %");
  EXPECT_EQ(Format(moment, "%d %H:%M %z", 19800), "22 05:00 +0530");
  EXPECT_EQ(Format(moment, "%z", -1800), "-0030");
  EXPECT_EQ(Format(moment, "%Q", 0), std::nullopt);
  EXPECT_EQ(Format(moment, "%", 0), std::nullopt);
  EXPECT_EQ(ToText(*Shift(moment, -5'500'000'000)), "2026-11-21T23:29:59.5Z");
  EXPECT_EQ(Shift(*ParseTimestamp("9999-12-31T23:59:59Z"), 1'000'000'000), std::nullopt);
  EXPECT_EQ(NanosBetween(*ParseTimestamp("0001-01-01"), moment), std::nullopt);
}

TEST(TimestampTest, ReadsDurations) {
  EXPECT_EQ(ParseDuration("1h30m"), 5'400'000'000'000);
  EXPECT_EQ(ParseDuration("-1.5s"), -1'500'000'000);
  EXPECT_EQ(ParseDuration("2d"), 172'800'000'000'000);
  EXPECT_EQ(ParseDuration("10ms"), 10'000'000);
  for (const std::string_view text :
       {"", "-", "1", "1x", "s", "1.s", "300000000000h", "106751.9999d"}) {
    EXPECT_EQ(ParseDuration(text), std::nullopt) << text;
  }
  EXPECT_EQ(DurationText(-1'500'000'000), "-1.5s");
  EXPECT_EQ(DurationText(90'000'000'000), "90s");
}

}  // namespace
}  // namespace tributary::cel

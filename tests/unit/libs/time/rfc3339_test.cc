#include "libs/time/rfc3339.h"

#include <string>

#include "gtest/gtest.h"

namespace tributary {
namespace {

std::string Utc(std::string_view text) {
  const auto parsed = ParseZonedTime(text);
  return parsed ? FormatRfc3339(parsed->utc) : "none";
}

TEST(Rfc3339Test, TurnsEveryOffsetIntoUtc) {
  EXPECT_EQ(Utc("2021-03-29T07:47:00-04:00"), "2021-03-29T11:47:00Z");
  EXPECT_EQ(Utc("2021-12-31T20:30:00-04:00"), "2022-01-01T00:30:00Z");
  EXPECT_EQ(Utc("2016-11-08 16:22:26 -0500"), "2016-11-08T21:22:26Z");
  EXPECT_EQ(Utc("2020-02-29T23:59:60+05:45"), "2020-02-29T18:15:00Z");
  EXPECT_EQ(Utc("1969-12-31T23:59:59.5Z"), "1969-12-31T23:59:59.5Z");
}

TEST(Rfc3339Test, KeepsThePrecisionOfTheSource) {
  EXPECT_EQ(Utc("2021-03-29T07:47:00.250Z"), "2021-03-29T07:47:00.25Z");
  EXPECT_EQ(Utc("2021-03-29T07:47:00.123456789Z"), "2021-03-29T07:47:00.123456Z");
}

TEST(Rfc3339Test, RefusesWhatHasNoZoneOrIsNoTime) {
  for (const char* text :
       {"2021-03-29T07:47:00", "2021-02-30T07:47:00Z", "2021-03-29", "2021-03-29T24:00:00Z",
        "2021-03-29T07:47:00Zjunk", "2021-03-29T07:47:00.Z", "", "2021-03-29T07:47:00-99:00"}) {
    EXPECT_EQ(Utc(text), "none") << text;
  }
}

TEST(Rfc3339Test, ADateAloneIsItsMidnightInUtc) {
  EXPECT_EQ(FormatRfc3339(ParseDateOrTime("2027-01-31").value()), "2027-01-31T00:00:00Z");
  EXPECT_EQ(FormatRfc3339(ParseDateOrTime("2027-01-31T12:00:00+02:00").value()),
            "2027-01-31T10:00:00Z");
  for (const char* text : {"2027-02-29", "2027-1-31", "2027-01-31T12:00:00", "31.01.2027", "soon",
                           "2027-01-31 ", "", "2027-01-3x"}) {
    EXPECT_FALSE(ParseDateOrTime(text)) << text;
  }
}

TEST(Rfc3339Test, ReadsHttpDates) {
  const auto date = ParseHttpDate("Sun, 06 Nov 1994 08:49:37 GMT");
  ASSERT_TRUE(date);
  EXPECT_EQ(FormatRfc3339(*date), "1994-11-06T08:49:37Z");
  EXPECT_FALSE(ParseHttpDate("Sun, 06 Now 1994 08:49:37 GMT"));
  EXPECT_FALSE(ParseHttpDate("Sun Nov  6 08:49:37 1994"));
  EXPECT_FALSE(ParseHttpDate(""));
}

TEST(Rfc3339Test, WritesATimeAtTheOffsetOfASite) {
  const auto time = ParseZonedTime("2021-03-29T11:47:00.9Z");
  ASSERT_TRUE(time);
  EXPECT_EQ(FormatAtOffset(time->utc, -240), "2021-03-29 07:47:00-04:00");
  EXPECT_EQ(FormatAtOffset(time->utc, 345), "2021-03-29 17:32:00+05:45");
}

}  // namespace
}  // namespace tributary

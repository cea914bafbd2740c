#include "libs/cel/decimal.h"

#include <string>
#include <string_view>

#include "gtest/gtest.h"

namespace tributary::cel {
namespace {

Decimal Of(std::string_view text) {
  const std::optional<Decimal> decimal = Decimal::Parse(text);
  EXPECT_TRUE(decimal.has_value()) << text;
  return decimal.value_or(Decimal());
}

std::string TextOf(const std::optional<Decimal>& decimal) {
  return decimal ? decimal->ToText() : "none";
}

TEST(DecimalTest, HasOneTextForOneValue) {
  const struct {
    std::string_view written;
    std::string_view canonical;
  } kCases[] = {
      {"0", "0"},
      {"-0.00", "0"},
      {"10.50", "10.5"},
      {"1e3", "1000"},
      {"1.50E+1", "15"},
      {"-1.25e-3", "-0.00125"},
      {"0.10", "0.1"},
      {"00012", "12"},
      {"100", "100"},
      {"1200e-2", "12"},
      {"0e99999999999999999999", "0"},
      {"123456789012345678901234567890.000000001", "123456789012345678901234567890.000000001"},
  };
  for (const auto& [written, canonical] : kCases) EXPECT_EQ(Of(written).ToText(), canonical);
}

TEST(DecimalTest, RefusesWhatIsNoNumberOrTooLong) {
  for (const std::string_view text : {"", "-", ".5", "1.", "1e", "1e+", "+1", "1 ", "0x1", "NaN",
                                      "1e701", "1e-701", "1e99999999999999999999", "1,5"}) {
    EXPECT_FALSE(Decimal::Parse(text).has_value()) << text;
  }
  EXPECT_TRUE(Decimal::Parse("1e308").has_value());
}

TEST(DecimalTest, AddsAndMultipliesExactly) {
  EXPECT_EQ(TextOf(Decimal::Add(Of("0.1"), Of("0.2"))), "0.3");
  EXPECT_EQ(TextOf(Decimal::Add(Of("-0.1"), Of("0.1"))), "0");
  EXPECT_EQ(TextOf(Decimal::Add(Of("999999999999999999"), Of("0.000000000000000001"))),
            "999999999999999999.000000000000000001");
  EXPECT_EQ(TextOf(Decimal::Add(Of("99999999999999999999999999999999999999"), Of("1"))),
            "100000000000000000000000000000000000000");
  EXPECT_EQ(TextOf(Decimal::Subtract(Of("1"), Of("1e-30"))), "0.999999999999999999999999999999");
  EXPECT_EQ(TextOf(Decimal::Multiply(Of("-1.5"), Of("0.02"))), "-0.03");
  EXPECT_EQ(TextOf(Decimal::Multiply(Of("12345678901234567890"), Of("98765432109876543210"))),
            "1219326311370217952237463801111263526900");
  EXPECT_EQ(TextOf(Decimal::Multiply(Of("1e308"), Of("1e308"))), "1" + std::string(616, '0'));
  EXPECT_EQ(TextOf(Decimal::Multiply(Of("1e400"), Of("1e400"))), "none");
}

TEST(DecimalTest, DividesExactlyOrNotAtAll) {
  EXPECT_EQ(TextOf(Decimal::DivideExactly(Of("10"), Of("4"))), "2.5");
  EXPECT_EQ(TextOf(Decimal::DivideExactly(Of("-1"), Of("0.8"))), "-1.25");
  EXPECT_EQ(TextOf(Decimal::DivideExactly(Of("1"), Of("3"))), "none");
  EXPECT_EQ(TextOf(Decimal::DivideExactly(Of("1"), Of("0"))), "none");
  EXPECT_EQ(TextOf(Decimal::Divide(Of("1"), Of("3"), 4)), "0.3333");
  EXPECT_EQ(TextOf(Decimal::Divide(Of("2"), Of("3"), 2)), "0.67");
  EXPECT_EQ(TextOf(Decimal::Divide(Of("-1"), Of("8"), 2)), "-0.13");
  EXPECT_EQ(TextOf(Decimal::Divide(Of("1"), Of("3"), 0)), "0");
  EXPECT_EQ(TextOf(Decimal::Divide(Of("1.005"), Of("0.01"), 1)), "100.5");
}

TEST(DecimalTest, RoundsHalvesAwayFromZero) {
  EXPECT_EQ(Of("2.345").Rounded(2).ToText(), "2.35");
  EXPECT_EQ(Of("-2.345").Rounded(2).ToText(), "-2.35");
  EXPECT_EQ(Of("2.344999").Rounded(2).ToText(), "2.34");
  EXPECT_EQ(Of("9.99").Rounded(1).ToText(), "10");
  EXPECT_EQ(Of("0.5").Rounded(0).ToText(), "1");
  EXPECT_EQ(Of("0.05").Rounded(0).ToText(), "0");
  EXPECT_EQ(Of("0.5").Rounded(-1).ToText(), "0");
  EXPECT_EQ(Of("155").Rounded(-1).ToText(), "160");
  EXPECT_EQ(Of("55").Rounded(-2).ToText(), "100");
  EXPECT_EQ(Of("1.5").Rounded(5).ToText(), "1.5");
  EXPECT_EQ(Of("-1.99").Truncated().ToText(), "-1");
}

TEST(DecimalTest, ComparesByValue) {
  const std::string_view kAscending[] = {"-100", "-1.5", "-1.05", "-0.001", "0",  "0.05",
                                         "0.5",  "0.51", "1",     "9.99",   "10", "1e30"};
  for (std::size_t i = 0; i < std::size(kAscending); ++i) {
    for (std::size_t j = 0; j < std::size(kAscending); ++j) {
      EXPECT_EQ(Of(kAscending[i]) <=> Of(kAscending[j]), i <=> j)
          << kAscending[i] << " " << kAscending[j];
      EXPECT_EQ(Of(kAscending[i]) == Of(kAscending[j]), i == j);
    }
  }
}

TEST(DecimalTest, BecomesAnIntegerOnlyWhereItIsOne) {
  EXPECT_EQ(Of("-9223372036854775808").ToInt64(), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(Of("9223372036854775808").ToInt64(), std::nullopt);
  EXPECT_EQ(Of("1.5").ToInt64(), std::nullopt);
  EXPECT_EQ(Of("1.0").ToInt64(), 1);
  EXPECT_EQ(Decimal(std::numeric_limits<std::int64_t>::min()).ToText(), "-9223372036854775808");
}

}  // namespace
}  // namespace tributary::cel

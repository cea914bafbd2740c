#include "libs/yaml/load.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::yaml {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

/// `LINE:COLUMN: MESSAGE`, or `fine`.
std::string Outcome(std::string_view text, const Limits& limits = {}) {
  YAML::Node root;
  const std::optional<Problem> problem = Load(text, limits, root);
  if (!problem) return "fine";
  return std::to_string(problem->line) + ":" + std::to_string(problem->column) + ": " +
         problem->message;
}

TEST(YamlTest, LoadsOneDocument) {
  YAML::Node root;
  EXPECT_FALSE(Load("a: [1, {b: é}]\n", {}, root).has_value());
  EXPECT_EQ(root["a"][1]["b"].Scalar(), "é");
  YAML::Node nothing;
  EXPECT_FALSE(Load("# only this\n", {}, nothing).has_value());
  EXPECT_TRUE(nothing.IsNull());
}

TEST(YamlTest, SaysWhereItIsNone) {
  EXPECT_THAT(Outcome("a: 1\nb: [\n"), HasSubstr("not YAML: "));
  EXPECT_THAT(Outcome("a: 1\n---\nb: 2\n"), HasSubstr("one document is expected"));
  EXPECT_THAT(Outcome("a: *nobody\n"), StartsWith("1:"));
  EXPECT_THAT(Outcome("a: 1\nb: \"x\xff\"\n"), StartsWith("2:6: not UTF-8"));
  EXPECT_THAT(Outcome("12345", {.bytes_max = 4}), HasSubstr("longer than 4 bytes"));
}

TEST(YamlTest, RefusesControlCharacters) {
  using namespace std::string_view_literals;
  EXPECT_THAT(Outcome("a: 1\nb: x\0N\n"sv), StartsWith("2:5: a control character, byte 0,"));
  EXPECT_THAT(Outcome("a: \x7f\n"), StartsWith("1:4: a control character, byte 127,"));
  EXPECT_EQ(Outcome("a:\t1\r\nb: \"\\0\\x07\"\r\n"), "fine");
}

// What yaml-cpp makes of them is Latin-1.
TEST(YamlTest, RefusesEscapesThatAreNoUtf8) {
  EXPECT_THAT(Outcome("a: [1, \"x\\N\"]\n"), StartsWith("1:8: not UTF-8, by an escape"));
  EXPECT_THAT(Outcome("\"\\_\": 1\n"), StartsWith("1:1: not UTF-8, by an escape"));
  EXPECT_EQ(Outcome("a: \"\\u0085\\u00A0\\L\\xe9\"\n"), "fine");
}

TEST(YamlTest, EndsBehindAStrayBracket) {
  for (const char* text : {"a: b\n]\n", "- x\n}\n", "a: [b]]\n"}) {
    EXPECT_NE(Outcome(text), "fine") << text;
  }
}

TEST(YamlTest, RefusesWhatItsAliasesBlowUp) {
  std::string text = "a: &a0 [1, 1]\n";
  for (int i = 1; i < 40; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    text += "b" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before + ", " + before +
            "]\n";
  }
  EXPECT_THAT(Outcome(text), HasSubstr("more than 200000 values"));
  EXPECT_EQ(Outcome("a: &x {k: 1}\nb: *x\n"), "fine");
}

TEST(YamlTest, RefusesWhatContainsItself) {
  EXPECT_THAT(Outcome("a: &x {b: *x}\n"), HasSubstr("nested more than 64 deep"));
  EXPECT_THAT(Outcome("&x [*x, *x]\n"), HasSubstr("nested more than 64 deep"));
  EXPECT_THAT(Outcome(std::string(100, '[') + std::string(100, ']')), HasSubstr("nested more"));
}

TEST(YamlTest, SurvivesMuchNesting) {
  for (const char* opening : {"[", "{a: ", "- ", "? ", "[{"}) {
    std::string text;
    for (int i = 0; i < 20'000; ++i) text += opening;
    EXPECT_NE(Outcome(text), "fine") << opening;
  }
}

TEST(YamlTest, KnowsUtf8) {
  for (const char* good :
       {"", "a", "\xc2\xa2", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(IsUtf8(good)) << good;
  }
  for (const char* bad : {"\xc0\x80", "\xc2", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
                          "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "a\x80"}) {
    EXPECT_FALSE(IsUtf8(bad)) << bad;
  }
}

}  // namespace
}  // namespace tributary::yaml

#include "libs/json/value.h"

#include <string>
#include <string_view>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::json {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kSample =
    R"( {"id": 9007199254740993, "name": "Zo\u00eb \ud83d\ude00", "amounts": [10.50, -0.0, 1E+3],
        "nested": {"a": [1, "2", null], "t": true, "f": false}} )";

TEST(JsonTest, KeepsEveryNumberAsItWasWritten) {
  for (const std::string_view text :
       {"0", "-0", "10.50", "1e3", "1E+03", "9007199254740993", "123456789012345678901234567890",
        "0.1000000000000000055511151231257827", "-1.25e-300"}) {
    const absl::StatusOr<Value> value = Parse(text);
    ASSERT_TRUE(value.ok()) << text << ": " << value.status();
    EXPECT_EQ(value->number()->text, text);
    EXPECT_EQ(Write(*value), text);
  }
}

TEST(JsonTest, WritesCompactlyAndParsesItsOwnText) {
  const absl::StatusOr<Value> value = Parse(kSample);
  ASSERT_TRUE(value.ok()) << value.status();

  const std::string written = Write(*value);

  EXPECT_EQ(written,
            "{\"id\":9007199254740993,\"name\":\"Zo\xC3\xAB \xF0\x9F\x98\x80\","
            "\"amounts\":[10.50,-0.0,1E+3],"
            "\"nested\":{\"a\":[1,\"2\",null],\"t\":true,\"f\":false}}");
  EXPECT_EQ(*Parse(written), *value);
}

TEST(JsonTest, RefusesADocumentCutAtAnyByte) {
  const std::size_t end = kSample.find_last_of('}');
  for (std::size_t size = 0; size <= end; ++size) {
    EXPECT_FALSE(Parse(kSample.substr(0, size)).ok()) << size;
    EXPECT_FALSE(SplitArray(kSample.substr(0, size), "amounts").ok()) << size;
    EXPECT_FALSE(MemberBytes(kSample.substr(0, size), "id").ok()) << size;
  }
}

TEST(JsonTest, RefusesWhatIsNoJson) {
  using std::string_view_literals::operator""sv;
  for (const std::string_view text :
       {""sv,         " "sv,   "{} {}"sv, "[1,]"sv,      "{\"a\":1,}"sv,
        "{a:1}"sv,    "01"sv,  "1."sv,    "+1"sv,        "nul"sv,
        "NaN"sv,      "'a'"sv, "[1] x"sv, "/* c */ 1"sv, "\"\x01\""sv,
        "\"a\0b\""sv, "1\0"sv, "1\0 2"sv, "<html>"sv,    "\xEF\xBB\xBF{}x"sv}) {
    EXPECT_FALSE(Parse(text).ok()) << text;
  }
}

TEST(JsonTest, RefusesMalformedUtf8AndLoneSurrogates) {
  for (const std::string_view text :
       {"\"\xFF\"", "\"\xC3\"", "\"\xC0\xAF\"", "\"\xED\xA0\x80\"", "\"\xF8\x88\x80\x80\x80\"",
        R"("\ud800")", R"("\udc00")", R"("\ud800\ud800")", R"("\ud83dx")", R"({"\udfff":1})"}) {
    EXPECT_FALSE(Parse(text).ok()) << text;
    EXPECT_FALSE(SplitArray("[" + std::string(text) + "]").ok()) << text;
  }
  // U+D7FF and U+E000 are next to the surrogates and none.
  EXPECT_TRUE(Parse(R"("\ud7ff\ue000")").ok());
}

TEST(JsonTest, RefusesNestingBeyondTheLimitAndNamesTheByte) {
  const std::string at_limit = std::string(64, '[') + std::string(64, ']');
  const std::string beyond = std::string(65, '[') + std::string(65, ']');
  const std::string far_beyond(2'000'000, '[');

  EXPECT_TRUE(Parse(at_limit).ok());
  EXPECT_THAT(std::string(Parse(beyond).status().message()), HasSubstr("nested too deeply"));
  EXPECT_THAT(std::string(Parse(beyond).status().message()), HasSubstr("byte 6"));
  EXPECT_FALSE(Parse(far_beyond).ok());
  EXPECT_FALSE(SplitArray(far_beyond).ok());
}

TEST(JsonTest, RefusesTextBeyondTheLimit) {
  EXPECT_TRUE(Parse("[1,2]", {.bytes_max = 5}).ok());
  EXPECT_FALSE(Parse("[1,2] ", {.bytes_max = 5}).ok());
}

// A number is text, so its size is nobody's business; RapidJSON refused the document.
TEST(JsonTest, TakesNumbersThatNoDoubleHolds) {
  for (const std::string_view text : {"1e308", "1e309", "-1E+4000", "1e99999999999999999999"}) {
    const absl::StatusOr<Value> value = Parse("{\"n\":" + std::string(text) + "}");
    ASSERT_TRUE(value.ok()) << text << ": " << value.status();
    EXPECT_EQ(value->Find("n")->number()->text, text);
  }
}

TEST(JsonTest, RefusesNumbersThatAreNotWrittenAsJsonWantsThem) {
  for (const std::string_view text :
       {"-", "--1", "-01", "00", ".5", "-.5", "1.e1", "1e", "1e+", "1E-", "0x1", "1_0", "1,"}) {
    EXPECT_FALSE(Parse(text).ok()) << text;
  }
}

TEST(JsonTest, OfANameThatComesTwiceTheFirstCounts) {
  EXPECT_EQ(Write(*Parse(R"({"a":1,"b":2,"a":3})")), R"({"a":1,"b":2})");
  EXPECT_EQ(*MemberBytes(R"({"a":1,"\u0061":3})", "a"), "1");
  EXPECT_EQ(*MemberBytes(R"({"\u0061":3,"a":1})", "a"), "3");

  std::string many = "{";
  for (int i = 0; i < 100; ++i) many += "\"k" + std::to_string(i) + "\":" + std::to_string(i) + ",";
  many += "\"k3\":true,\"k70\":true}";
  const absl::StatusOr<Value> value = Parse(many);
  ASSERT_TRUE(value.ok());
  EXPECT_EQ(value->object()->size(), 100u);
  EXPECT_EQ(value->Find("k70")->number()->text, "70");
}

TEST(JsonTest, SplitsAnArrayIntoTheExactBytesOfItsElements) {
  const std::string page = "[ {\"a\": \"]},\\\"\"} ,\n 1.50,\"x,y\" , [ ] ,null,{ \"b\":[1, {}]}]";

  const absl::StatusOr<std::vector<std::string_view>> rows = SplitArray(page);

  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_THAT(*rows, ElementsAre("{\"a\": \"]},\\\"\"}", "1.50", "\"x,y\"", "[ ]", "null",
                                 "{ \"b\":[1, {}]}"));
  EXPECT_TRUE(SplitArray(" [ ] ")->empty());
}

TEST(JsonTest, SplitsTheArrayUnderAMember) {
  const std::string page = R"({"meta": {"invoices": [9]}, "invoices": [ {"n": 1e2}, 2 ], "x": 1})";

  EXPECT_THAT(*SplitArray(page, "invoices"), ElementsAre(R"({"n": 1e2})", "2"));
  EXPECT_EQ(*MemberBytes(page, "meta"), R"({"invoices": [9]})");
  EXPECT_EQ(*MemberBytes(page, "x"), "1");
}

TEST(JsonTest, SaysWhatIsMissingRatherThanReturningNothing) {
  EXPECT_TRUE(absl::IsNotFound(SplitArray("{}", "invoices").status()));
  EXPECT_TRUE(absl::IsNotFound(MemberBytes(R"({"a":{"b":1}})", "b").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(SplitArray("{}").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(SplitArray(R"({"a":1})", "a").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(MemberBytes("[]", "a").status()));
}

TEST(JsonTest, FindsMembersAndPaths) {
  const Value value = *Parse(kSample);

  EXPECT_EQ(*value.FindPath("nested.a.1")->string(), "2");
  EXPECT_TRUE(value.FindPath("nested.a.2")->is_null());
  EXPECT_EQ(value.FindPath("nested.a.3"), nullptr);
  EXPECT_EQ(value.FindPath("nested.a.x"), nullptr);
  EXPECT_EQ(value.FindPath("nested.b.c"), nullptr);
  EXPECT_EQ(value.Find("t"), nullptr);
}

TEST(JsonTest, SetReplacesInPlaceAndMakesAnObjectOfNull) {
  Value value;
  value.Set("a", 1).Set("ignored", 2);
  value.Set("b", "x");
  value.Set("a", Value(Array{Value(true)}));

  EXPECT_EQ(Write(value), R"({"a":[true],"b":"x"})");
}

TEST(JsonTest, ReadsIntegersAndIdsOnlyWhereTheyAreExact) {
  EXPECT_EQ(Parse("9223372036854775807")->ToInt64(), 9223372036854775807);
  EXPECT_EQ(Value("42").ToInt64(), 42);
  EXPECT_EQ(Parse("9223372036854775808")->ToInt64(), std::nullopt);
  EXPECT_EQ(Parse("1.0")->ToInt64(), std::nullopt);
  EXPECT_EQ(Value("").ToInt64(), std::nullopt);
  EXPECT_EQ(Value("12x").ToInt64(), std::nullopt);
  EXPECT_EQ(Parse("12345678901234567890123")->ToIdText(), "12345678901234567890123");
  EXPECT_EQ(Value("inv_1").ToIdText(), "inv_1");
  EXPECT_EQ(Value().ToIdText(), std::nullopt);
  EXPECT_EQ(Value(true).ToIdText(), std::nullopt);
}

TEST(JsonTest, EscapesWhatMustBeEscaped) {
  EXPECT_EQ(Write(Value(std::string("\"\\\n\t\x01\x7F/", 7))), "\"\\\"\\\\\\n\\t\\u0001\x7F/\"");
  EXPECT_EQ(Write(Value(std::string("a\0b", 3))), "\"a\\u0000b\"");
}

}  // namespace
}  // namespace tributary::json

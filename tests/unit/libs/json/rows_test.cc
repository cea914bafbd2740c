#include "libs/json/rows.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::json {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const RowShape kShape = {
    .member = "rows", .wrapper = "item", .paths = {"id", "owner.id", "owner", "name"}};

/// `bytes | id | owner.id | owner | name`; `-` stands for absent, `{}` for a container.
std::string Line(std::string_view bytes, bool is_object, std::span<const Pick> picks) {
  std::string line(bytes);
  if (!is_object) return line + " | no object";
  for (const Pick& pick : picks) {
    line += " | ";
    if (pick.kind == Pick::Kind::kAbsent) line += "-";
    if (pick.kind == Pick::Kind::kNull) line += "null";
    if (pick.kind == Pick::Kind::kBool) line += "bool";
    if (pick.kind == Pick::Kind::kContainer) line += "{}";
    if (pick.kind == Pick::Kind::kString) line += "'" + std::string(pick.text) + "'";
    if (pick.kind == Pick::Kind::kNumber) line += std::string(pick.text);
  }
  return line;
}

struct Lines {
  std::vector<std::string> lines;
  absl::Status status;
};

Lines Read(std::string_view text, const RowShape& shape = kShape) {
  Lines found;
  found.status = ReadRows(text, shape, [&](auto bytes, bool is_object, auto picks) {
    found.lines.push_back(Line(bytes, is_object, picks));
  });
  return found;
}

TEST(RowsTest, FindsRowsUnderTheirMemberInAWrapperAndBare) {
  const auto expected =
      ElementsAre(R"({"id":1,"name":"a"} | 1 | - | - | 'a')", "{} | - | - | - | -");
  for (
      const char* text : {
          R"([{"id":1,"name":"a"},{}])",
          R"( [ {"item":{"id":1,"name":"a"}} , {"item":{}} ] )",
          R"([{"id":7,"x":[{"id":8}],"item":{"id":1,"name":"a"},"id":9,"name":"b"},{"item":{}}])",
          R"({"rows":[{"item":{"id":1,"name":"a"}},{}],"id":3})",
          R"({"a":{"rows":[{"id":5}]},"b":[{"id":6}],"rows":[{"id":1,"name":"a"},{}],"rows":[{}]})",
      }) {
    const Lines found = Read(text);
    EXPECT_TRUE(found.status.ok()) << text << found.status;
    EXPECT_THAT(found.lines, expected) << text;
  }
}

TEST(RowsTest, PicksTheFirstOfANameAndNothingBelowOthers) {
  EXPECT_THAT(
      Read(R"([{"x":{"id":1},"id":2,"id":3,"owner":{"z":[{"id":4}],"id":"5","id":6}}])").lines,
      ElementsAre(HasSubstr(" | 2 | '5' | {} | -")));
  EXPECT_THAT(Read(R"([{"owner":7,"owner":{"id":8},"id":null,"name":true}])").lines,
              ElementsAre(HasSubstr(" | null | - | 7 | bool")));
  EXPECT_THAT(Read(R"([{"owner":[{"id":1}],"id":{"id":2},"name":[]}])").lines,
              ElementsAre(HasSubstr(" | {} | - | {} | {}")));
  EXPECT_THAT(Read(R"([{"owner":{},"owner":{"id":1}}])").lines,
              ElementsAre(HasSubstr(" | - | - | {} | -")));
}

TEST(RowsTest, DecodesNamesAndTextsWithEscapes) {
  EXPECT_THAT(Read(R"([{"\u0069d":10.50,"name":"\u00e9\n","owner":{"id":"a\"b"}}])").lines,
              ElementsAre(HasSubstr(" | 10.50 | 'a\"b' | {} | '\xc3\xa9\n'")));
}

TEST(RowsTest, TellsElementsThatAreNoObjects) {
  EXPECT_THAT(Read(R"([1,"a",null,[{"id":1}],{"id":2}])").lines,
              ElementsAre("1 | no object", R"("a" | no object)", "null | no object",
                          R"([{"id":1}] | no object)", HasSubstr(" | 2 | ")));
  // As they stand there, escapes and all.
  EXPECT_THAT(Read(R"([ "\u0061" ,true,[2] , -1.0 ,{}, false ])").lines,
              ElementsAre(R"("\u0061" | no object)", "true | no object", "[2] | no object",
                          "-1.0 | no object", HasSubstr("{} | "), "false | no object"));
  EXPECT_THAT(Read(R"([{"item":5,"id":2},{"item":[1],"id":3}])").lines,
              ElementsAre(R"({"item":5,"id":2} | 2 | - | - | -)", HasSubstr(" | 3 | ")));
}

TEST(RowsTest, RefusesWhatIsNoPage) {
  for (const char* text : {"", "{}", "5", "[", "[{}", "[{}]x", "[{},]", R"({"rows":{"id":1}})",
                           R"({"rows":5})", R"([{"id":01}])", R"([{"name":"\ud800"}])"}) {
    EXPECT_FALSE(Read(text).status.ok()) << text;
  }
  RowShape bare = kShape;
  bare.member = "";
  EXPECT_FALSE(Read(R"({"":[{"id":1}]})", bare).status.ok());
  EXPECT_THAT(Read("[]").lines, IsEmpty());
  EXPECT_TRUE(Read("[]").status.ok());
}

TEST(RowsTest, ReadsADocumentThatIsOneRow) {
  std::vector<std::string> lines;
  const auto visit = [&](auto bytes, bool is_object, auto picks) {
    lines.push_back(Line(bytes, is_object, picks));
  };
  for (const char* text : {R"( {"item":{"id":1}} )", R"({"id":1})", "[1]", "5"}) {
    EXPECT_TRUE(ReadRow(text, kShape, visit).ok()) << text;
  }
  EXPECT_THAT(lines, ElementsAre(R"({"id":1} | 1 | - | - | -)", R"({"id":1} | 1 | - | - | -)",
                                 "[1] | no object", "5 | no object"));
  EXPECT_FALSE(ReadRow(R"({"id":1)", kShape, visit).ok());
}

TEST(RowsTest, TakesIdsAndIntegersAsValuesDo) {
  const Pick number{.kind = Pick::Kind::kNumber, .text = "12"};
  const Pick text{.kind = Pick::Kind::kString, .text = "x7"};
  EXPECT_EQ(number.ToInt64(), 12);
  EXPECT_EQ(number.ToIdText(), "12");
  EXPECT_EQ(text.ToInt64(), std::nullopt);
  EXPECT_EQ(text.ToIdText(), "x7");
  EXPECT_EQ(Pick{.kind = Pick::Kind::kNull}.ToIdText(), std::nullopt);
}

}  // namespace
}  // namespace tributary::json

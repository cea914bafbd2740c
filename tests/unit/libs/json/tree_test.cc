#include "libs/json/tree.h"

#include <string>
#include <string_view>

#include "gtest/gtest.h"

namespace tributary::json {
namespace {

// As json::Write of the same document would write it.
std::string Text(const Node& node) {
  switch (node.kind()) {
    case Node::Kind::kNull:
      return "null";
    case Node::Kind::kFalse:
      return "false";
    case Node::Kind::kTrue:
      return "true";
    case Node::Kind::kNumber:
      return std::string(node.text());
    case Node::Kind::kString: {
      std::string text;
      AppendQuoted(text, node.text());
      return text;
    }
    case Node::Kind::kArray: {
      std::string text;
      for (const Node& item : node.items()) text += (text.empty() ? "" : ",") + Text(item);
      return "[" + text + "]";
    }
    case Node::Kind::kObject: {
      std::string text;
      for (const Member& member : node.members()) {
        if (!text.empty()) text += ',';
        AppendQuoted(text, member.name);
        text += ":" + Text(member.value);
      }
      return "{" + text + "}";
    }
  }
  return "";
}

constexpr std::string_view kDocuments[] = {
    "null",
    " true ",
    "-0.50",
    "1e400",
    R"("a\u00eb\n\"")",
    "[]",
    "{}",
    "[[],[1,[2,{}]],{\"a\":[]}]",
    R"({"id":9007199254740993,"a":{"b":{"c":[1,"2",null,false]}},"\u0061":1,"z":"x"})",
    R"({"a":1,"b":2,"a":3,"":4,"":5,"b":{"a":[{"a":1,"a":2}]}})",
};

TEST(JsonTreeTest, SaysTheSameAsAValueOfTheSameDocument) {
  Tree tree;
  for (const std::string_view document : kDocuments) {
    const absl::StatusOr<Node> node = tree.Parse(document);
    ASSERT_TRUE(node.ok()) << document << ": " << node.status();
    EXPECT_EQ(Text(*node), Write(*Parse(document))) << document;
  }
}

TEST(JsonTreeTest, RefusesWhatAValueRefuses) {
  Tree tree;
  for (const std::string_view document : kDocuments) {
    for (std::size_t size = 0; size < document.size(); ++size) {
      const std::string_view cut = document.substr(0, size);
      EXPECT_EQ(tree.Parse(cut).status(), Parse(cut).status()) << cut;
    }
  }
  EXPECT_FALSE(tree.Parse(std::string(100, '[')).ok());
  EXPECT_FALSE(tree.Parse("[1,2] ", {.bytes_max = 5}).ok());
}

TEST(JsonTreeTest, NodesOfSeveralDocumentsLiveUntilClear) {
  Tree tree;
  const std::string large = "[\"" + std::string(100'000, 'x') + "\\n\",1]";
  for (int round = 0; round < 3; ++round) {
    const Node first = *tree.Parse(kDocuments[8]);
    const Node second = *tree.Parse(large);
    const Node third = *tree.Parse(kDocuments[7]);
    const Node items[] = {first, third};
    const Node joined = Node::OfArray(tree.Keep(items));

    EXPECT_EQ(Text(joined),
              "[" + Write(*Parse(kDocuments[8])) + "," + Write(*Parse(kDocuments[7])) + "]");
    EXPECT_EQ(Text(second), Write(*Parse(large)));
    tree.Clear();
  }
}

TEST(JsonTreeTest, FindsTheFirstOfANameAmongMany) {
  std::string many = "{";
  for (int i = 0; i < 3000; ++i) {
    many += "\"name" + std::to_string(i) + "\":" + std::to_string(i) + ",";
  }
  many += "\"name7\":true,\"name2999\":true}";
  Tree tree;
  const Node node = *tree.Parse(many);

  EXPECT_EQ(node.members().size(), 3000u);
  EXPECT_EQ(node.Find("name7")->text(), "7");
  EXPECT_EQ(node.Find("name2999")->text(), "2999");
  EXPECT_EQ(node.Find("name3000"), nullptr);
  EXPECT_EQ(node.Find("name7")->Find("x"), nullptr);
}

TEST(JsonTreeTest, FollowsPathsThroughObjects) {
  Tree tree;
  const Node node = *tree.Parse(kDocuments[8]);

  EXPECT_EQ(node.FindPath("a.b.c")->items().size(), 4u);
  EXPECT_EQ(node.FindPath("a.x.c"), nullptr);
  EXPECT_EQ(node.FindPath("id.x"), nullptr);
}

}  // namespace
}  // namespace tributary::json

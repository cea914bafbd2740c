#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libs/json/rows.h"
#include "libs/json/tree.h"
#include "libs/json/value.h"
#include "tests/fuzz/invariant.h"

// The readers of JSON: values, trees, rows and cut-outs stand on one another's ground, so they
// agree about every document; and what is written again is the same document.

namespace tributary::json {
namespace {

using fuzz::Require;

void AppendText(std::string& out, const Node& node) {
  switch (node.kind()) {
    case Node::Kind::kNull:
      out += "null";
      return;
    case Node::Kind::kFalse:
      out += "false";
      return;
    case Node::Kind::kTrue:
      out += "true";
      return;
    case Node::Kind::kNumber:
      out += node.text();
      return;
    case Node::Kind::kString:
      AppendQuoted(out, node.text());
      return;
    case Node::Kind::kArray: {
      out += '[';
      const char* between = "";
      for (const Node& item : node.items()) {
        out += between;
        between = ",";
        AppendText(out, item);
      }
      out += ']';
      return;
    }
    case Node::Kind::kObject: {
      out += '{';
      const char* between = "";
      for (const Member& member : node.members()) {
        out += between;
        between = ",";
        AppendQuoted(out, member.name);
        out += ':';
        AppendText(out, member.value);
      }
      out += '}';
      return;
    }
  }
}

void CheckPick(const Pick& pick, const Value* expected) {
  Require((pick.kind == Pick::Kind::kAbsent) == (expected == nullptr), "picked if it is there");
  if (expected == nullptr) return;
  Require((pick.kind == Pick::Kind::kNull) == expected->is_null(), "null is picked as null");
  Require((pick.kind == Pick::Kind::kBool) == (expected->boolean() != nullptr), "and a boolean");
  Require((pick.kind == Pick::Kind::kNumber) == (expected->number() != nullptr), "and a number");
  Require((pick.kind == Pick::Kind::kString) == (expected->string() != nullptr), "and a string");
  const std::optional<std::string> id = expected->ToIdText();
  Require(pick.ToIdText().has_value() == id.has_value(), "an id is picked if there is one");
  if (id) Require(*pick.ToIdText() == *id, "the id that is picked is the row's");
  Require(pick.ToInt64() == expected->ToInt64(), "the integer that is picked is the row's");
}

void CheckRows(std::string_view text, const absl::StatusOr<Value>& whole) {
  const RowShape shape{.member = "rows", .wrapper = "row", .paths = {"id", "a.b", "a.c", "a"}};
  std::size_t rows = 0;
  const absl::Status read = ReadRows(
      text, shape, [&](std::string_view bytes, bool is_object, std::span<const Pick> picks) {
        ++rows;
        Require(
            bytes.data() >= text.data() && bytes.data() + bytes.size() <= text.data() + text.size(),
            "a row is a part of its page");
        const absl::StatusOr<Value> row = Parse(bytes);
        Require(row.ok(), "a row that is visited is a document");
        Require((row->object() != nullptr) == is_object, "a row is called an object if it is one");
        if (!is_object) return;
        for (std::size_t i = 0; i < shape.paths.size(); ++i) {
          CheckPick(picks[i], row->FindPath(shape.paths[i]));
        }
      });
  if (!whole.ok()) {
    Require(!read.ok(), "what is no document is not read to its end");
    return;
  }
  const Value* member = whole->object() != nullptr ? whole->Find(shape.member) : nullptr;
  const Array* elements = member != nullptr ? member->array() : whole->array();
  if (read.ok() && elements != nullptr) {
    Require(elements->size() == rows, "every element is visited");
  }
}

void CheckCuts(std::string_view text, const absl::StatusOr<Value>& whole) {
  const absl::StatusOr<std::vector<std::string_view>> elements = SplitArray(text);
  Require(elements.ok() == (whole.ok() && whole->array() != nullptr),
          "an array and nothing else is split");
  if (elements.ok()) {
    Require(elements->size() == whole->array()->size(), "as many cuts as elements");
    for (std::size_t i = 0; i < elements->size(); ++i) {
      Require(*Parse((*elements)[i]) == (*whole->array())[i], "a cut is its element");
    }
  }
  const absl::StatusOr<std::string_view> member = MemberBytes(text, "id");
  const Value* expected = whole.ok() ? whole->Find("id") : nullptr;
  Require(member.ok() == (expected != nullptr), "a member is cut out if there is one");
  if (member.ok()) Require(*Parse(*member) == *expected, "the cut is the member");
}

void Check(std::string_view text) {
  const absl::StatusOr<Value> value = Parse(text);
  Tree tree;
  const absl::StatusOr<Node> node = tree.Parse(text);
  Require(value.status() == node.status(), "value and tree say the same of a document");
  CheckRows(text, value);
  CheckCuts(text, value);
  if (!value.ok()) return;

  const std::string written = Write(*value);
  const absl::StatusOr<Value> again = Parse(written);
  Require(again.ok() && *again == *value, "what is written is the same document");
  Require(Write(*again) == written, "and is written the same");
  std::string of_node;
  AppendText(of_node, *node);
  Require(of_node == written, "the tree holds what the value holds");
}

}  // namespace
}  // namespace tributary::json

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tributary::json::Check(tributary::fuzz::TextOf(data, size));
  return 0;
}

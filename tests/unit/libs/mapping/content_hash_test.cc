#include "libs/mapping/content_hash.h"

#include <string>

#include "gtest/gtest.h"

namespace tributary::mapping {
namespace {

v1::Field* Add(v1::DesiredState& state, const std::string& path) {
  v1::Field* field = state.add_fields();
  field->set_path(path);
  return field;
}

v1::DesiredState Sample() {
  v1::DesiredState state;
  Add(state, "a")->mutable_value()->set_decimal("10.5");
  Add(state, "b")->mutable_value()->set_text("10.5");
  return state;
}

TEST(ContentHashTest, HasTheSchemeAndSixteenBytes) {
  const std::string hash = ContentHash(Sample());
  EXPECT_EQ(hash.size(), 17u);
  EXPECT_EQ(hash[0], 1);
}

TEST(ContentHashTest, DependsOnContentAndNotOnOrderVersionOrPresence) {
  v1::DesiredState other;
  Add(other, "b")->mutable_value()->set_text("10.5");
  Add(other, "a")->mutable_value()->set_decimal("10.5");
  other.set_presence(v1::DesiredState::PRESENCE_GONE);
  other.set_backfill(true);
  EXPECT_EQ(ContentHash(other), ContentHash(Sample()));
}

TEST(ContentHashTest, TellsTypesAndBoundariesApart) {
  v1::DesiredState text = Sample();
  text.mutable_fields(0)->mutable_value()->set_text("10.5");
  v1::DesiredState moved;
  Add(moved, "ab")->mutable_value()->set_decimal("10.5");
  Add(moved, "b")->mutable_value()->set_text("10.5");
  v1::DesiredState nested = Sample();
  nested.mutable_fields(0)->mutable_value()->mutable_list()->add_items()->set_decimal("10.5");
  EXPECT_NE(ContentHash(text), ContentHash(Sample()));
  EXPECT_NE(ContentHash(moved), ContentHash(Sample()));
  EXPECT_NE(ContentHash(nested), ContentHash(Sample()));
}

TEST(ContentHashTest, ANullThatClearsDiffersFromAbsentAndOneThatLeavesDoesNot) {
  v1::DesiredState leaves = Sample();
  v1::Field* field = Add(leaves, "c");
  field->mutable_value()->set_null(v1::FieldValue::NULL_VALUE);
  field->set_on_null(v1::Field::ON_NULL_LEAVE);
  v1::DesiredState clears = leaves;
  clears.mutable_fields(2)->set_on_null(v1::Field::ON_NULL_CLEAR);
  EXPECT_EQ(ContentHash(leaves), ContentHash(Sample()));
  EXPECT_NE(ContentHash(clears), ContentHash(Sample()));
}

TEST(ContentHashTest, TagsBelongToTheContent) {
  v1::DesiredState tagged = Sample();
  tagged.set_tag_prefix("p:");
  const std::string without = ContentHash(tagged);
  tagged.add_tags("p:a");
  EXPECT_NE(ContentHash(tagged), without);
  EXPECT_NE(without, ContentHash(Sample()));
}

// Written down so that a change of the scheme cannot go unnoticed: it would write every record of
// every target again.
TEST(ContentHashTest, IsTheSameForEver) {
  std::string hex;
  for (const char c : ContentHash(Sample())) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[static_cast<unsigned char>(c) >> 4];
    hex += kDigits[static_cast<unsigned char>(c) & 0xF];
  }
  EXPECT_EQ(hex, "0134de347fb2dd1cb28d61abe6f803294e");
}

}  // namespace
}  // namespace tributary::mapping

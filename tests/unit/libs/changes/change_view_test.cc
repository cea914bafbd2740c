#include "libs/changes/change_view.h"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary::changes {
namespace {

using testing::ElementsAre;
using testing::Optional;

std::vector<std::string_view> ListOf(const Names& names) { return {names.begin(), names.end()}; }

v1::ChangeEvent Whole() {
  v1::ChangeEvent change;
  change.set_first_read(true);
  v1::Entity& entity = *change.mutable_entity();
  entity.set_connection("billing");
  entity.set_kind("subscriptions");
  entity.set_id("7");
  entity.add_customers("1");
  entity.add_customers("");
  entity.add_former_customers("3");
  entity.mutable_updated_at()->set_seconds(-5);
  entity.mutable_updated_at()->set_nanos(999'999'999);
  entity.mutable_read_at();
  entity.mutable_read()->mutable_reader()->set_generation(2);
  entity.mutable_read()->mutable_reader()->set_offset(std::int64_t{1} << 40);
  entity.mutable_read()->set_number(300);
  entity.set_gone(true);
  entity.set_document_hash("\xff\x00 hash");
  entity.set_document("{}");
  return change;
}

void ExpectWhole(const std::optional<ChangeView>& view) {
  ASSERT_TRUE(view);
  EXPECT_TRUE(view->has_entity && view->first_read && view->gone);
  EXPECT_EQ(view->connection, "billing");
  EXPECT_EQ(view->kind, "subscriptions");
  EXPECT_EQ(view->id, "7");
  EXPECT_THAT(ListOf(view->customers), ElementsAre("1", ""));
  EXPECT_THAT(ListOf(view->former_customers), ElementsAre("3"));
  EXPECT_EQ(view->updated_at, (TimeView{-5, 999'999'999}));
  EXPECT_EQ(view->read_at, TimeView());
  EXPECT_EQ(view->read, (ReadView{2, std::int64_t{1} << 40, 300}));
  EXPECT_EQ(view->document_hash, Whole().entity().document_hash());
  EXPECT_EQ(view->document, "{}");
}

TEST(ChangeViewTest, ShowsWhatStandsInTheBytes) {
  const std::string bytes = Whole().SerializeAsString();

  std::string own;
  const std::optional<ChangeView> view = ViewOf(bytes, own);

  ExpectWhole(view);
  EXPECT_EQ(own, "") << "nothing was written anew";
  EXPECT_GE(view->document.data(), bytes.data());
}

TEST(ChangeViewTest, ShowsTheSameOfOtherEncodings) {
  // Fields in another order, one that nobody knows, and an entity in two pieces.
  v1::ChangeEvent head;
  head.mutable_entity()->set_connection("else");
  v1::ChangeEvent tail;
  tail.set_first_read(true);
  const std::string unknown("\xA2\x06\x01x", 4);
  const std::string bytes =
      tail.SerializeAsString() + unknown + head.SerializeAsString() + Whole().SerializeAsString();

  std::string own;
  ExpectWhole(ViewOf(bytes, own));
}

TEST(ChangeViewTest, ShowsNamesThatAreNotAscii) {
  v1::ChangeEvent change;
  change.mutable_entity()->add_customers("K\xC3\xB6ln");

  std::string own;
  const std::optional<ChangeView> view = ViewOf(change.SerializeAsString(), own);

  ASSERT_TRUE(view);
  EXPECT_THAT(ListOf(view->customers), ElementsAre("K\xC3\xB6ln"));
}

TEST(ChangeViewTest, RefusesWhatParsingRefuses) {
  const std::string bytes = Whole().SerializeAsString();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const std::string part = bytes.substr(0, size);
    v1::ChangeEvent change;
    std::string own;
    EXPECT_EQ(ViewOf(part, own).has_value(), change.ParseFromString(part)) << size;
  }
  v1::ChangeEvent no_text;
  no_text.mutable_entity()->set_document("\xC3(");
  std::string wrong = no_text.SerializeAsString();
  std::string own;
  EXPECT_TRUE(ViewOf(wrong, own)) << "a document is bytes";
  wrong[2] = static_cast<char>(v1::Entity::kIdFieldNumber << 3 | 2);
  EXPECT_FALSE(ViewOf(wrong, own)) << "an id is text";
}

TEST(ChangeViewTest, AnEmptyEntryHasNoEntity) {
  std::string own;
  const std::optional<ChangeView> view = ViewOf("", own);

  ASSERT_TRUE(view);
  EXPECT_FALSE(view->has_entity);
  EXPECT_TRUE(view->customers.empty());
}

}  // namespace
}  // namespace tributary::changes

#include "services/extractor/mirror.h"

#include <memory>
#include <string>

#include "gtest/gtest.h"

#include "libs/eventlog/local_store.h"

namespace tributary::extractor {
namespace {

constexpr char kKey[] = "acme/billing/components/1";

v1::Entity Read(std::int64_t number, std::int64_t updated_at, const std::string& document) {
  v1::Entity entity;
  entity.mutable_updated_at()->set_seconds(updated_at);
  entity.mutable_read()->mutable_reader()->set_generation(1);
  entity.mutable_read()->set_number(number);
  entity.set_document(document);
  entity.set_document_hash(document);
  return entity;
}

class MirrorTest : public ::testing::Test {
 protected:
  // What was read is produced, if it is news.
  bool Take(const v1::Entity& read) {
    v1::Entity folded = read;
    if (!mirror_.Fold(kKey, folded, is_contested_)) return false;
    mirror_.OnProduced(kKey, std::make_shared<const v1::Entity>(folded), newest_under_way_);
    return true;
  }

  std::unique_ptr<eventlog::LocalStores> stores_ = eventlog::MakeMemoryStores();
  eventlog::Table table_{{.topic = eventlog::Topic::kChanges},
                         *stores_->Open(eventlog::Topic::kChanges, 0)};
  Mirror mirror_{table_};
  bool is_contested_ = false;
  std::int64_t newest_under_way_ = 0;
};

// Seed 2094 of the simulation: a list was asked for before an entity by its id, and answered after
// it with what changed in the same second. Nothing read the row again.
TEST_F(MirrorTest, Rule38_OfTwoReadsThatWereUnderWayTogetherAThirdDecides) {
  ASSERT_TRUE(Take(Read(2, 100, "105")));
  EXPECT_FALSE(Take(Read(1, 100, "193")));
  EXPECT_TRUE(is_contested_);

  EXPECT_TRUE(Take(Read(3, 100, "193")));
  EXPECT_FALSE(is_contested_);
}

TEST_F(MirrorTest, Rule38_AnOlderReadThatSaysTheSameOrIsOfAnEarlierMomentIsNotAskedAgain) {
  ASSERT_TRUE(Take(Read(2, 100, "105")));
  EXPECT_FALSE(Take(Read(1, 100, "105")));
  EXPECT_FALSE(is_contested_);
  EXPECT_FALSE(Take(Read(1, 99, "104")));
  EXPECT_FALSE(is_contested_);
}

// Seed 7078493 of the simulation: what was asked for last was answered first at the source, and
// last here, with what had been replaced in the same second.
TEST_F(MirrorTest, Rule38_AThirdReadDecidesAlsoWhenTheOneThatBeganLaterIsAnsweredLast) {
  newest_under_way_ = 2;
  ASSERT_TRUE(Take(Read(1, 100, "193")));
  EXPECT_FALSE(Take(Read(2, 100, "105")));
  EXPECT_TRUE(is_contested_);
  EXPECT_FALSE(Take(Read(2, 100, "193")));
  EXPECT_FALSE(is_contested_);

  EXPECT_TRUE(Take(Read(3, 100, "105")));
  EXPECT_FALSE(is_contested_);
}

TEST_F(MirrorTest, Rule38_WhatBeganAndEndedLaterIsNewer) {
  newest_under_way_ = 2;
  ASSERT_TRUE(Take(Read(1, 100, "105")));
  mirror_.ForgetReadsBelow(3);
  EXPECT_TRUE(Take(Read(2, 100, "193")));
  EXPECT_FALSE(is_contested_);
}

TEST_F(MirrorTest, Rule38_WhatAConfirmationContradictsIsReadAgainToo) {
  ASSERT_TRUE(Take(Read(1, 100, "105")));
  ASSERT_FALSE(Take(Read(3, 100, "105")));
  EXPECT_FALSE(Take(Read(2, 100, "193")));
  EXPECT_TRUE(is_contested_);
}

}  // namespace
}  // namespace tributary::extractor

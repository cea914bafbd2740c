#include "libs/eventlog/table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tributary/v1/log.pb.h"

namespace tributary::eventlog {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr std::int64_t kGeneration = 5;

class TableTest : public ::testing::Test {
 protected:
  TableTest() { Open(); }

  void Open() {
    table_.reset();
    Table::Options options;
    options.topic = topic_;
    options.partition = 3;
    options.persists_when_told = persists_when_told_;
    options.unpersisted_entries_max = 10;
    options.indexer = [](std::string_view, const TableEntry& entry) {
      std::vector<std::string> rows;
      if (!entry.is_void) rows.push_back("by-value/" + entry.value);
      return rows;
    };
    table_ = std::make_unique<Table>(options, *stores_->Open(topic_, 3));
  }

  std::optional<TableEntry> Apply(std::string key, std::optional<std::string> value,
                                  std::optional<Token> token) {
    Record record{topic_, 3, next_++, std::move(key), std::move(value), {}, WallTime{}};
    if (token) record.headers.emplace_back(std::string(kTokenHeader), FormatToken(*token));
    return table_->Apply(record);
  }
  void Found() {
    v1::Founding founding;
    founding.set_generation(kGeneration);
    Apply("!g", founding.SerializeAsString(), std::nullopt);
    Fence("setup", true);
  }
  void FoundAfterLoss(std::int64_t generation) {
    v1::Founding founding;
    founding.set_generation(generation);
    founding.set_after_loss(true);
    Apply("!g", founding.SerializeAsString(), std::nullopt);
  }
  Token Fence(const std::string& who, bool founding = false) {
    v1::Fence fence;
    fence.set_generation(kGeneration);
    fence.set_founding(founding);
    const Token token{kGeneration, next_};
    Apply("!f/" + who, fence.SerializeAsString(), std::nullopt);
    return token;
  }
  void Release(Token token) {
    v1::Release release;
    Apply("!r/" + FormatToken(token), release.SerializeAsString(), token);
  }
  std::vector<std::string> Keys(std::string_view prefix = {}, std::string_view from = {}) {
    std::vector<std::string> keys;
    table_->Scan(prefix, from, [&](std::string_view key, const TableEntry&) {
      keys.emplace_back(key);
      return true;
    });
    return keys;
  }
  std::vector<std::pair<std::string, std::string>> Index(std::string_view prefix) {
    std::vector<std::pair<std::string, std::string>> rows;
    table_->ScanIndex(prefix, [&](std::string_view row, std::string_view key) {
      rows.emplace_back(row, key);
      return true;
    });
    return rows;
  }

  std::unique_ptr<LocalStores> stores_ = MakeMemoryStores();
  Topic topic_ = Topic::kRecords;
  bool persists_when_told_ = true;
  Offset next_ = 0;
  std::unique_ptr<Table> table_;
};

TEST(TokenTest, ComesBackFromItsText) {
  EXPECT_EQ(ParseToken(FormatToken({17, 42})), (Token{17, 42}));
  EXPECT_EQ(ParseToken("17"), std::nullopt);
  EXPECT_EQ(ParseToken("17."), std::nullopt);
  EXPECT_EQ(ParseToken("17.x"), std::nullopt);
}

TEST(TokenTest, AGenerationOutranksEveryOffset) { EXPECT_LT((Token{1, 99}), (Token{2, 0})); }

TEST_F(TableTest, Rule1_AnEntryUnderTheNewestFenceIsState) {
  Found();
  const Token own = Fence("a");

  const std::optional<TableEntry> entry = Apply("k", "v", own);

  ASSERT_TRUE(entry.has_value());
  EXPECT_FALSE(entry->is_void);
  EXPECT_EQ(entry->value, "v");
  EXPECT_EQ(entry->token, own);
  EXPECT_THAT(table_->void_keys(), IsEmpty());
}

TEST_F(TableTest, Rule1_EntryBehindANewerFenceIsVoid) {
  Found();
  const Token dead = Fence("a");
  Apply("k", "acknowledged", dead);
  Fence("b");

  const std::optional<TableEntry> entry = Apply("k", "late", dead);

  ASSERT_TRUE(entry.has_value());
  EXPECT_TRUE(entry->is_void);
  EXPECT_THAT(table_->void_keys(), ElementsAre("k"));
}

TEST_F(TableTest, Rule1_EntryOfTheOldOwnerInFrontOfTheFenceStaysState) {
  Found();
  const Token old_owner = Fence("a");
  Apply("k", "v", old_owner);
  Fence("b");

  EXPECT_FALSE(table_->Get("k")->is_void);
}

TEST_F(TableTest, Rule1_EntryOfAnOlderGenerationIsVoid) {
  Found();

  EXPECT_TRUE(Apply("k", "v", Token{kGeneration - 1, 1000})->is_void);
}

TEST_F(TableTest, Rule1_EntryWithoutATokenIsVoid) {
  Found();

  EXPECT_TRUE(Apply("k", "v", std::nullopt)->is_void);
}

TEST_F(TableTest, Rule2_AKeyWithOnlyAVoidTombstoneIsUnknownAndNotAbsent) {
  Found();
  const Token dead = Fence("a");
  Apply("k", "v", dead);
  Fence("b");

  Apply("k", std::nullopt, dead);

  ASSERT_TRUE(table_->Get("k").has_value());
  EXPECT_TRUE(table_->Get("k")->is_void);
}

TEST_F(TableTest, Rule2_TheNewestFenceIsNeverAmongTheOldOnes) {
  Found();
  const Token a = Fence("a");
  Release(a);
  const Token b = Fence("b");

  EXPECT_EQ(table_->newest_fence(), b);
  EXPECT_THAT(table_->old_control_keys(),
              UnorderedElementsAre("!f/setup", "!f/a", "!r/" + FormatToken(a)));
}

TEST_F(TableTest, Rule2_ATombstonedFenceGoesAndTheNewestIsStillKnown) {
  Found();
  const Token a = Fence("a");
  const Token b = Fence("b");

  Apply("!f/a", std::nullopt, b);
  Apply("!f/setup", std::nullopt, b);

  EXPECT_THAT(table_->old_control_keys(), IsEmpty());
  EXPECT_TRUE(Apply("k", "late", a)->is_void);
}

TEST_F(TableTest, Rule4_AVoidKeyIsRepairedByAnEntryUnderTheNewestFence) {
  Found();
  const Token dead = Fence("a");
  const Token own = Fence("b");
  Apply("k", "late", dead);

  Apply("k", "again", own);

  EXPECT_THAT(table_->void_keys(), IsEmpty());
  EXPECT_EQ(table_->Get("k")->value, "again");
}

TEST_F(TableTest, Rule7_OnlyPersistMovesWhatARestartFinds) {
  Found();
  const Token own = Fence("a");
  Apply("kept", "1", own);
  ASSERT_TRUE(table_->Persist().ok());
  Apply("lost", "2", own);
  EXPECT_EQ(table_->next_offset(), 5);
  EXPECT_EQ(table_->persisted_next_offset(), 4);

  Open();

  EXPECT_THAT(Keys(), ElementsAre("kept"));
  EXPECT_EQ(table_->next_offset(), 4);
  EXPECT_EQ(table_->generation(), kGeneration);
  EXPECT_EQ(table_->newest_fence(), own);
}

TEST_F(TableTest, Rule7_FencesReleasesAndVoidKeysSurviveARestart) {
  Found();
  const Token a = Fence("a");
  Release(a);
  const Token b = Fence("b");
  Apply("k", "late", a);
  ASSERT_TRUE(table_->Persist().ok());

  Open();

  EXPECT_THAT(table_->void_keys(), ElementsAre("k"));
  EXPECT_TRUE(table_->released(a));
  EXPECT_FALSE(table_->released(b));
  EXPECT_EQ(table_->newest_fence_before(b), a);
  EXPECT_TRUE(Apply("l", "late", a)->is_void);
}

TEST_F(TableTest, Rule7_ARebuildThatWasInterruptedIsSeen) {
  EXPECT_TRUE(table_->rebuilding());
  ASSERT_TRUE(table_->Persist().ok());
  Open();
  EXPECT_TRUE(table_->rebuilding());

  table_->SetRebuilding(false);
  ASSERT_TRUE(table_->Persist().ok());
  Open();
  EXPECT_FALSE(table_->rebuilding());
}

TEST_F(TableTest, Rule12_TheNewestFoundingSaysWhetherTheTableWasLostAlsoAfterARestart) {
  Found();
  EXPECT_FALSE(table_->founded_after_loss());
  FoundAfterLoss(kGeneration + 1);
  EXPECT_TRUE(table_->founded_after_loss());
  ASSERT_TRUE(table_->Persist().ok());
  Open();
  EXPECT_TRUE(table_->founded_after_loss());
  EXPECT_TRUE(table_->rebuilding());
  EXPECT_EQ(table_->generation(), kGeneration + 1);
}

TEST_F(TableTest, IsEmptySinceALossUntilTheNewGenerationHasAnEntry) {
  Found();
  EXPECT_FALSE(table_->IsEmptySinceLoss());
  FoundAfterLoss(kGeneration + 1);
  EXPECT_TRUE(table_->IsEmptySinceLoss());
  // What a dead owner had under way says nothing.
  Apply("a", "late", Token{kGeneration, 1});
  EXPECT_TRUE(table_->IsEmptySinceLoss());
  Apply("b", "new", Token{kGeneration + 1, next_});
  EXPECT_FALSE(table_->IsEmptySinceLoss());
  ASSERT_TRUE(table_->Persist().ok());
  Open();
  EXPECT_FALSE(table_->IsEmptySinceLoss());
}

// What a dead owner had under way lands in the new log in front of its founding.
TEST_F(TableTest, Rule35_AnEntryInFrontOfTheFoundingAfterALossIsOfTheLostLog) {
  TableEntry entry;
  entry.token = {kGeneration, 1};
  v1::Founding founding;
  founding.set_generation(kGeneration);
  Apply("!g", founding.SerializeAsString(), std::nullopt);
  EXPECT_FALSE(table_->IsOfLostLog(entry));
  // Founded again because another topic was lost: this one keeps what it says.
  founding.set_generation(kGeneration + 1);
  Apply("!g", founding.SerializeAsString(), std::nullopt);
  EXPECT_FALSE(table_->IsOfLostLog(entry));
  founding.set_after_loss(true);
  Apply("!g", founding.SerializeAsString(), std::nullopt);
  EXPECT_TRUE(table_->IsOfLostLog(entry));
  entry.token = {kGeneration + 1, 1};
  EXPECT_FALSE(table_->IsOfLostLog(entry));
}

TEST_F(TableTest, Rule13_AFoundingFenceAndAReleasedOneAreClean) {
  Found();
  const Token founding = *table_->newest_fence();
  const Token a = Fence("a");
  const Token b = Fence("b");

  EXPECT_TRUE(table_->released(founding));
  EXPECT_FALSE(table_->released(a));
  Release(a);
  EXPECT_TRUE(table_->released(a));
  EXPECT_EQ(table_->newest_fence_before(b), a);
  EXPECT_EQ(table_->newest_fence_before(a), founding);
  EXPECT_EQ(table_->newest_fence_before(founding), std::nullopt);
}

TEST_F(TableTest, Section0_TheLoadersTombstoneOfAnActionIsNeverVoid) {
  topic_ = Topic::kCommands;
  Open();
  Found();
  const Token own = Fence("transformer");
  Apply("t/s/a/00", "act", own);
  Fence("next");

  EXPECT_EQ(Apply("t/s/a/00", std::nullopt, std::nullopt), std::nullopt);
  EXPECT_EQ(table_->Get("t/s/a/00"), std::nullopt);
  EXPECT_THAT(table_->void_keys(), IsEmpty());
}

TEST_F(TableTest, Section0_ANullWithoutATokenOnAnotherKeyIsSetAsideInSight) {
  topic_ = Topic::kCommands;
  Open();
  Found();
  const Token own = Fence("transformer");
  Apply("t/s/s/contact/customers/1", "state", own);

  EXPECT_TRUE(Apply("t/s/s/contact/customers/1", std::nullopt, std::nullopt)->is_void);
  EXPECT_THAT(table_->void_keys(), ElementsAre("t/s/s/contact/customers/1"));
}

TEST_F(TableTest, ARepeatedRecordChangesNothing) {
  Found();
  const Token own = Fence("a");
  Apply("k", "v", own);
  next_ = 2;

  EXPECT_EQ(Apply("k", "w", own), std::nullopt);
  EXPECT_EQ(table_->Get("k")->value, "v");
}

TEST_F(TableTest, ScansWhatIsDurableAndWhatIsNotAsOneInOrder) {
  Found();
  const Token own = Fence("a");
  Apply("a/1", "x", own);
  Apply("a/3", "x", own);
  Apply("b/1", "x", own);
  ASSERT_TRUE(table_->Persist().ok());
  Apply("a/2", "x", own);
  Apply("a/3", std::nullopt, own);
  Apply("a/4", "x", own);

  EXPECT_THAT(Keys("a/"), ElementsAre("a/1", "a/2", "a/4"));
  EXPECT_THAT(Keys("a/", "a/2"), ElementsAre("a/2", "a/4"));
  EXPECT_THAT(Keys(), ElementsAre("a/1", "a/2", "a/4", "b/1"));
}

TEST_F(TableTest, AScanStopsWhenTold) {
  Found();
  const Token own = Fence("a");
  for (const char* const key : {"a", "b", "c"}) Apply(key, "x", own);
  std::vector<std::string> seen;

  table_->Scan({}, {}, [&](std::string_view key, const TableEntry&) {
    seen.emplace_back(key);
    return seen.size() < 2;
  });

  EXPECT_THAT(seen, ElementsAre("a", "b"));
}

TEST_F(TableTest, KeysOfTheLogAreNotEntriesButBlobsAre) {
  Found();
  const Token own = Fence("a");
  Apply("!b/00ff", "blob", own);

  EXPECT_THAT(Keys(), ElementsAre("!b/00ff"));
}

TEST_F(TableTest, TheIndexFollowsEveryChangeOfAnEntry) {
  Found();
  const Token own = Fence("a");
  Apply("k", "red", own);
  Apply("l", "red", own);
  ASSERT_TRUE(table_->Persist().ok());
  EXPECT_THAT(Index("by-value/red"),
              ElementsAre(Pair("by-value/red", "k"), Pair("by-value/red", "l")));

  Apply("k", "blue", own);
  Apply("l", std::nullopt, own);

  EXPECT_THAT(Index("by-value/"), ElementsAre(Pair("by-value/blue", "k")));
  ASSERT_TRUE(table_->Persist().ok());
  Open();
  EXPECT_THAT(Index("by-value/"), ElementsAre(Pair("by-value/blue", "k")));
}

TEST_F(TableTest, PersistsByItselfUnlessItIsTold) {
  persists_when_told_ = false;
  Open();
  Found();
  const Token own = Fence("a");
  for (int i = 0; i < 10; ++i) Apply("k" + std::to_string(i), "v", own);

  EXPECT_GE(table_->persisted_next_offset(), 10);
}

TEST_F(TableTest, NothingIsLeftAfterClear) {
  Found();
  const Token dead = Fence("a");
  Fence("b");
  Apply("k", "late", dead);
  ASSERT_TRUE(table_->Persist().ok());

  ASSERT_TRUE(table_->Clear().ok());

  EXPECT_THAT(Keys(), IsEmpty());
  EXPECT_EQ(table_->next_offset(), 0);
  EXPECT_EQ(table_->generation(), std::nullopt);
  EXPECT_EQ(table_->newest_fence(), std::nullopt);
  EXPECT_THAT(table_->void_keys(), IsEmpty());
}

}  // namespace
}  // namespace tributary::eventlog

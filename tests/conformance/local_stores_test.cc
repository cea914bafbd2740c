#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <sys/wait.h>
#include <unistd.h>

#include "libs/eventlog/lmdb_stores.h"
#include "libs/eventlog/local_store.h"
#include "tests/conformance/temporary_directory.h"

// What a local copy must do, whoever keeps it.

namespace tributary::eventlog {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

using Entries = std::vector<std::pair<std::string, std::string>>;

Entries ScanAll(const LocalStore& store, std::string_view prefix = "", std::string_view from = "") {
  Entries entries;
  store.Scan(prefix, from, [&](std::string_view key, std::string_view value) {
    entries.emplace_back(key, value);
    return true;
  });
  return entries;
}

struct InMemory {
  static std::unique_ptr<LocalStores> Make(const std::string&) { return MakeMemoryStores(); }
};

struct OnLmdb {
  static std::unique_ptr<LocalStores> Make(const std::string& directory) {
    // Small, so that every suite also sees the map grow.
    auto stores = MakeLmdbStores(directory, {.map_bytes = std::size_t{1} << 20});
    EXPECT_TRUE(stores.ok()) << stores.status();
    return stores.ok() ? *std::move(stores) : nullptr;
  }
};

template <typename Backend>
class LocalStoresTest : public testing::Test {
 protected:
  std::unique_ptr<LocalStore> Open(Topic topic, Partition partition) {
    auto store = stores_->Open(topic, partition);
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }

  conformance::TemporaryDirectory directory_;
  std::unique_ptr<LocalStores> stores_ = Backend::Make(directory_.path());
};
using Backends = testing::Types<InMemory, OnLmdb>;
TYPED_TEST_SUITE(LocalStoresTest, Backends);

TYPED_TEST(LocalStoresTest, IsEmptyAtFirst) {
  const auto store = this->Open(Topic::kChanges, 0);
  EXPECT_EQ(store->meta(), "");
  EXPECT_EQ(store->Find("k"), std::nullopt);
  EXPECT_THAT(ScanAll(*store), IsEmpty());
}

TYPED_TEST(LocalStoresTest, AppliesWritesDeletesAndMetaTogether) {
  const auto store = this->Open(Topic::kChanges, 0);
  ASSERT_TRUE(store->Apply({{"a", "1"}, {"b", "2"}, {"c", ""}}, "m1").ok());
  ASSERT_TRUE(
      store->Apply({{"b", std::nullopt}, {"nothing", std::nullopt}, {"a", "3"}}, "m2").ok());
  EXPECT_EQ(store->meta(), "m2");
  EXPECT_EQ(store->Find("a"), "3");
  EXPECT_EQ(store->Find("b"), std::nullopt);
  EXPECT_EQ(store->Find("c"), "");
}

TYPED_TEST(LocalStoresTest, TakesTheLastOfTwoWritesOfOneKey) {
  const auto store = this->Open(Topic::kChanges, 0);
  ASSERT_TRUE(store->Apply({{"a", "1"}, {"a", std::nullopt}, {"a", "2"}}, "m").ok());
  EXPECT_THAT(ScanAll(*store), ElementsAre(Pair("a", "2")));
}

TYPED_TEST(LocalStoresTest, ScansAPrefixInByteOrderFromAKeyOn) {
  const auto store = this->Open(Topic::kChanges, 0);
  const std::string high = "t/\xff";
  ASSERT_TRUE(store
                  ->Apply({{high, "5"},
                           {"t/b", "2"},
                           {"t/a", "1"},
                           {"u", "9"},
                           {"s", "0"},
                           {"t/c", "3"},
                           {std::string("t/\0", 3), "zero"}},
                          "m")
                  .ok());
  EXPECT_THAT(ScanAll(*store, "t/"),
              ElementsAre(Pair(std::string("t/\0", 3), "zero"), Pair("t/a", "1"), Pair("t/b", "2"),
                          Pair("t/c", "3"), Pair(high, "5")));
  EXPECT_THAT(ScanAll(*store, "t/", "t/b"),
              ElementsAre(Pair("t/b", "2"), Pair("t/c", "3"), Pair(high, "5")));
  EXPECT_THAT(ScanAll(*store, "t/", "a"), SizeIs(5));
  EXPECT_THAT(ScanAll(*store, "t/", "u"), IsEmpty());
}

TYPED_TEST(LocalStoresTest, StopsAScanWhenTold) {
  const auto store = this->Open(Topic::kChanges, 0);
  ASSERT_TRUE(store->Apply({{"a", "1"}, {"b", "2"}, {"c", "3"}}, "m").ok());
  int visited = 0;
  store->Scan("", "", [&](std::string_view, std::string_view) { return ++visited < 2; });
  EXPECT_EQ(visited, 2);
}

TYPED_TEST(LocalStoresTest, KeepsPartitionsAndTopicsApart) {
  const auto changes0 = this->Open(Topic::kChanges, 0);
  const auto changes1 = this->Open(Topic::kChanges, 1);
  const auto records0 = this->Open(Topic::kRecords, 0);
  ASSERT_TRUE(changes0->Apply({{"k", "c0"}}, "m0").ok());
  ASSERT_TRUE(changes1->Apply({{"k", "c1"}}, "m1").ok());
  ASSERT_TRUE(records0->Apply({{"k", "r0"}}, "m2").ok());
  ASSERT_TRUE(changes0->Clear().ok());
  EXPECT_EQ(changes0->meta(), "");
  EXPECT_THAT(ScanAll(*changes0), IsEmpty());
  EXPECT_EQ(changes1->meta(), "m1");
  EXPECT_THAT(ScanAll(*changes1), ElementsAre(Pair("k", "c1")));
  EXPECT_THAT(ScanAll(*records0), ElementsAre(Pair("k", "r0")));
}

TYPED_TEST(LocalStoresTest, KeepsKeysOfAnyLengthInByteOrder) {
  const auto store = this->Open(Topic::kCommands, 3);
  const std::string head(490, 'h');
  const Entries wanted = {{head.substr(1), "shorter"},   {head, "just short"},
                          {head + '\0', "first long"},   {head + "a", "long"},
                          {head + "ab", "longer"},       {head + std::string(5000, 'z'), "huge"},
                          {head.substr(1) + "i", "next"}};
  std::vector<LocalStore::Write> writes;
  for (auto entry = wanted.rbegin(); entry != wanted.rend(); ++entry) {
    writes.push_back({entry->first, entry->second});
  }
  ASSERT_TRUE(store->Apply(writes, "m").ok());
  Entries sorted = wanted;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(ScanAll(*store), sorted);
  for (const auto& [key, value] : wanted) EXPECT_EQ(store->Find(key), value);
  EXPECT_THAT(ScanAll(*store, head + "a"),
              ElementsAre(Pair(head + "a", "long"), Pair(head + "ab", "longer")));
  EXPECT_THAT(ScanAll(*store, head, head + "ab"), SizeIs(2));

  ASSERT_TRUE(store->Apply({{head + "a", std::nullopt}, {head + "ab", "changed"}}, "m").ok());
  EXPECT_EQ(store->Find(head + "a"), std::nullopt);
  EXPECT_EQ(store->Find(head + "ab"), "changed");
  EXPECT_EQ(store->Find(head), "just short");
  ASSERT_TRUE(store->Clear().ok());
  EXPECT_THAT(ScanAll(*store), IsEmpty());
}

TYPED_TEST(LocalStoresTest, HoldsAMegabyteAValueAndManyOfThem) {
  const auto store = this->Open(Topic::kChanges, 0);
  for (int i = 0; i < 20; ++i) {
    const std::string value(std::size_t{1} << 20, static_cast<char>('a' + i));
    ASSERT_TRUE(store->Apply({{"k" + std::to_string(i), value}}, std::to_string(i)).ok());
  }
  EXPECT_EQ(store->meta(), "19");
  EXPECT_EQ(store->Find("k7"), std::string(std::size_t{1} << 20, 'h'));
}

TYPED_TEST(LocalStoresTest, ReadsOtherKeysDuringAScan) {
  const auto store = this->Open(Topic::kChanges, 0);
  ASSERT_TRUE(store->Apply({{"a", "1"}, {"b", "2"}}, "m").ok());
  std::vector<std::optional<std::string_view>> other;
  store->Scan("", "", [&](std::string_view key, std::string_view) {
    other.push_back(store->Find(key == "a" ? "b" : "a"));
    return true;
  });
  EXPECT_THAT(other, ElementsAre("2", "1"));
}

TYPED_TEST(LocalStoresTest, OpensAgainWithWhatWasApplied) {
  ASSERT_TRUE(this->Open(Topic::kChanges, 0)->Apply({{"a", "1"}}, "m").ok());
  const auto store = this->Open(Topic::kChanges, 0);
  EXPECT_EQ(store->meta(), "m");
  EXPECT_EQ(store->Find("a"), "1");
}

class LmdbStoresTest : public testing::Test {
 protected:
  std::optional<std::string> MetaAfterOpening() {
    auto stores = MakeLmdbStores(directory_.path());
    EXPECT_TRUE(stores.ok()) << stores.status();
    if (!stores.ok()) return std::nullopt;
    return (*(*stores)->Open(Topic::kChanges, 0))->meta();
  }

  /// Runs `work` in a process that ends at once behind it, as if killed.
  void InKilledProcess(const std::function<void()>& work) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      work();
      ::_exit(7);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7);
  }

  void ApplyAndDie() {
    InKilledProcess([this] {
      auto stores = MakeLmdbStores(directory_.path());
      if (!stores.ok()) ::_exit(1);
      auto store = (*stores)->Open(Topic::kChanges, 0);
      const std::vector<LocalStore::Write> writes = {{"a", "1"}};
      if (!store.ok() || !(*store)->Apply(writes, "m").ok()) ::_exit(1);
      ::_exit(7);
    });
  }

  conformance::TemporaryDirectory directory_;
};

TEST_F(LmdbStoresTest, LosesNothingWhenTheProcessIsKilled) {
  ApplyAndDie();
  EXPECT_EQ(MetaAfterOpening(), "m");
}

TEST_F(LmdbStoresTest, DoesNotBelieveACopyThatWasOpenWhenTheMachineWentDown) {
  ApplyAndDie();
  std::ofstream(directory_.path() + "/state")
      << "tributary-local-1 open 00000000-0000-0000-0000-000000000000\n";
  EXPECT_EQ(MetaAfterOpening(), "");
}

TEST_F(LmdbStoresTest, BelievesACopyThatWasClosedBeforeTheMachineWentDown) {
  {
    auto stores = MakeLmdbStores(directory_.path());
    ASSERT_TRUE(stores.ok());
    ASSERT_TRUE((*(*stores)->Open(Topic::kChanges, 0))->Apply({{"a", "1"}}, "m").ok());
  }
  EXPECT_EQ(MetaAfterOpening(), "m");
}

TEST_F(LmdbStoresTest, ThrowsAwayAFileThatIsNoCopy) {
  { ASSERT_TRUE(MakeLmdbStores(directory_.path()).ok()); }
  std::ofstream(directory_.path() + "/data.mdb", std::ios::binary | std::ios::trunc)
      << std::string(8192, 'x');
  EXPECT_EQ(MetaAfterOpening(), "");
}

TEST_F(LmdbStoresTest, NamesTheProcessThatHoldsTheDirectory) {
  auto first = MakeLmdbStores(directory_.path());
  ASSERT_TRUE(first.ok());
  const auto second = MakeLmdbStores(directory_.path());
  ASSERT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(std::to_string(::getpid())));
}

TEST_F(LmdbStoresTest, RefusesToWriteDuringAScan) {
  auto stores = MakeLmdbStores(directory_.path());
  ASSERT_TRUE(stores.ok());
  const auto store = *(*stores)->Open(Topic::kChanges, 0);
  ASSERT_TRUE(store->Apply({{"a", "1"}}, "m").ok());
  absl::Status status;
  store->Scan("", "", [&](std::string_view, std::string_view) {
    status = store->Apply({{"b", "2"}}, "m");
    return true;
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(store->Apply({{"b", "2"}}, "m").ok());
}

TEST_F(LmdbStoresTest, SaysWhenTheMapIsFullAndKeepsWhatItHas) {
  auto stores = MakeLmdbStores(directory_.path(), {.map_bytes = std::size_t{1} << 20,
                                                   .map_bytes_max = std::size_t{4} << 20});
  ASSERT_TRUE(stores.ok());
  const auto store = *(*stores)->Open(Topic::kChanges, 0);
  absl::Status status;
  int applied = 0;
  for (; status.ok() && applied < 100; ++applied) {
    status = store->Apply({{std::to_string(applied), std::string(200'000, 'x')}},
                          std::to_string(applied));
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_GT(applied, 10);
  EXPECT_EQ(store->meta(), std::to_string(applied - 2));
}

TEST_F(LmdbStoresTest, ClearsMoreKeysThanFitOneTransaction) {
  auto stores = MakeLmdbStores(directory_.path());
  ASSERT_TRUE(stores.ok());
  const auto store = *(*stores)->Open(Topic::kChanges, 0);
  std::vector<std::string> keys;
  for (int i = 0; i < 25'000; ++i) keys.push_back("k" + std::to_string(i));
  std::vector<LocalStore::Write> writes;
  for (const std::string& key : keys) writes.push_back({key, "v"});
  ASSERT_TRUE(store->Apply(writes, "m").ok());
  ASSERT_TRUE(store->Clear().ok());
  EXPECT_EQ(store->meta(), "");
  EXPECT_THAT(ScanAll(*store), IsEmpty());
}

}  // namespace
}  // namespace tributary::eventlog

#include "libs/tenants/directory.h"

#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::tenants {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

eventlog::TableEntry EntryAt(eventlog::Offset offset, std::string value) {
  eventlog::TableEntry entry;
  entry.offset = offset;
  entry.value = std::move(value);
  return entry;
}

v1::TenantSnapshot Acme() {
  v1::TenantSnapshot snapshot;
  snapshot.set_tenant("acme");
  v1::Connection* billing = snapshot.add_connections();
  billing->set_name("billing");
  billing->set_integration("chargify");
  v1::Sync* main = snapshot.add_syncs();
  main->set_name("main");
  main->set_source("billing");
  return snapshot;
}

TEST(DirectoryTest, FindsTheConnectionsAndSyncsOfTheNewestSnapshot) {
  Directory directory;
  EXPECT_EQ(directory.OnEntry(3, "acme", EntryAt(10, Acme().SerializeAsString())), "acme");

  v1::TenantSnapshot newer = Acme();
  newer.mutable_connections(0)->set_url("https://acme.example");
  EXPECT_EQ(directory.OnEntry(3, "acme", EntryAt(12, newer.SerializeAsString())), "acme");

  ASSERT_NE(directory.Find("acme"), nullptr);
  EXPECT_EQ(directory.Find("acme")->partition, 3);
  EXPECT_EQ(directory.Find("acme")->offset, 12);
  ASSERT_NE(directory.FindConnection("acme", "billing"), nullptr);
  EXPECT_EQ(directory.FindConnection("acme", "billing")->url(), "https://acme.example");
  EXPECT_EQ(directory.FindConnection("acme", "other"), nullptr);
  EXPECT_NE(directory.FindSync("acme", "main"), nullptr);
  EXPECT_EQ(directory.FindSync("nobody", "main"), nullptr);
}

TEST(DirectoryTest, TakesTheSnapshotsOwnOffsetForARevisionOfZero) {
  Directory directory;
  v1::TenantSnapshot snapshot = Acme();
  v1::Sync* second = snapshot.add_syncs();
  second->set_name("second");
  second->set_revision(7);

  directory.OnEntry(0, "acme", EntryAt(40, snapshot.SerializeAsString()));

  EXPECT_EQ(directory.Revision("acme", "main"), std::optional<eventlog::Offset>(40));
  EXPECT_EQ(directory.Revision("acme", "second"), std::optional<eventlog::Offset>(7));
  EXPECT_EQ(directory.Revision("acme", "third"), std::nullopt);
}

TEST(DirectoryTest, FindsBlobsOnlyInTheirPartition) {
  Directory directory;
  v1::Blob blob;
  blob.set_kind(v1::Blob::KIND_MAPPING);
  blob.set_content("fields: {}");
  EXPECT_EQ(directory.OnEntry(1, "!b/abcd", EntryAt(2, blob.SerializeAsString())), "");

  ASSERT_NE(directory.FindBlob(1, "abcd"), nullptr);
  EXPECT_EQ(directory.FindBlob(1, "abcd")->content(), "fields: {}");
  EXPECT_EQ(directory.FindBlob(2, "abcd"), nullptr);
  directory.OnEntry(1, "!b/abcd", std::nullopt);
  EXPECT_EQ(directory.FindBlob(1, "abcd"), nullptr);
}

TEST(DirectoryTest, KeepsTheLastGoodSnapshotAndReportsWhatItCannotDecode) {
  Directory directory;
  directory.OnEntry(5, "acme", EntryAt(1, Acme().SerializeAsString()));

  EXPECT_EQ(directory.OnEntry(5, "acme", EntryAt(2, "\xff\xff")), "");

  EXPECT_NE(directory.Find("acme"), nullptr);
  EXPECT_THAT(directory.problems(), ElementsAre(HasSubstr("tenants/5@2: ")));
}

TEST(DirectoryTest, OfManyEntriesThatItCannotDecodeItKeepsAHundredAndTellsOfAll) {
  int told = 0;
  Directory directory(
      [&](eventlog::Partition, std::string_view, const eventlog::TableEntry&) { ++told; });
  directory.OnEntry(5, "acme", EntryAt(1, Acme().SerializeAsString()));

  for (int i = 2; i < 152; ++i) directory.OnEntry(5, "acme", EntryAt(i, "\xff\xff"));

  EXPECT_EQ(directory.problems().size(), 100U);
  EXPECT_EQ(told, 150) << "tributary_set_aside_total counts these";
  EXPECT_NE(directory.Find("acme"), nullptr);
}

TEST(DirectoryTest, TellsOfEachEntryThatItCannotDecode) {
  std::vector<std::string> told;
  Directory directory(
      [&](eventlog::Partition partition, std::string_view key, const eventlog::TableEntry& entry) {
        told.push_back(std::to_string(partition) + "@" + std::to_string(entry.offset) + " " +
                       std::string(key) + " " + std::to_string(entry.value.size()));
      });

  directory.OnEntry(5, "acme", EntryAt(1, Acme().SerializeAsString()));
  directory.OnEntry(5, "acme", EntryAt(2, "\xff\xff"));
  directory.OnEntry(5, "!b/ff", EntryAt(3, "\xff"));

  EXPECT_THAT(told, ElementsAre("5@2 acme 2", "5@3 !b/ff 1"));
}

// Rule 1: what is void is never state, for nobody.
TEST(DirectoryTest, Rule1IgnoresAVoidSnapshot) {
  Directory directory;
  directory.OnEntry(0, "acme", EntryAt(1, Acme().SerializeAsString()));
  v1::TenantSnapshot stale = Acme();
  stale.clear_connections();
  eventlog::TableEntry entry = EntryAt(9, stale.SerializeAsString());
  entry.is_void = true;

  EXPECT_EQ(directory.OnEntry(0, "acme", entry), "");

  EXPECT_NE(directory.FindConnection("acme", "billing"), nullptr);
}

TEST(DirectoryTest, ForgetsAPartitionAndATombstonedTenant) {
  Directory directory;
  directory.OnEntry(0, "acme", EntryAt(1, Acme().SerializeAsString()));
  v1::TenantSnapshot zebra = Acme();
  zebra.set_tenant("zebra");
  directory.OnEntry(1, "zebra", EntryAt(1, zebra.SerializeAsString()));
  std::vector<std::string> seen;
  directory.ForEach([&](const TenantState& tenant) { seen.push_back(tenant.snapshot.tenant()); });
  EXPECT_THAT(seen, ElementsAre("acme", "zebra"));

  directory.Forget(1);
  EXPECT_EQ(directory.Find("zebra"), nullptr);
  EXPECT_EQ(directory.OnEntry(0, "acme", std::nullopt), "acme");
  EXPECT_EQ(directory.Find("acme"), nullptr);
}

TEST(DirectoryTest, LoadsAWholePartitionFromItsTable) {
  auto stores = eventlog::MakeMemoryStores();
  auto store = stores->Open(eventlog::Topic::kTenants, 0);
  ASSERT_TRUE(store.ok());
  eventlog::Table table({.topic = eventlog::Topic::kTenants}, std::move(*store));
  v1::Blob blob;
  blob.set_content("rules: []");
  eventlog::Record first;
  first.topic = eventlog::Topic::kTenants;
  first.key = "!b/ff";
  first.value = blob.SerializeAsString();
  table.Apply(first);
  eventlog::Record second;
  second.topic = eventlog::Topic::kTenants;
  second.offset = 1;
  second.key = "acme";
  second.value = Acme().SerializeAsString();
  table.Apply(second);

  Directory directory;
  directory.Load(0, table);

  EXPECT_NE(directory.Find("acme"), nullptr);
  EXPECT_NE(directory.FindBlob(0, "ff"), nullptr);
  EXPECT_THAT(directory.problems(), IsEmpty());
}

}  // namespace
}  // namespace tributary::tenants

#include "libs/eventlog/migration.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/eventlog/table.h"
#include "libs/ids/keys.h"
#include "tributary/v1/changes.pb.h"
#include "tributary/v1/log.pb.h"

// Two logs in memory, of which any call of Append can be the last one of a process.

namespace tributary::eventlog {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FakeAdmin final : public LogAdmin {
 public:
  explicit FakeAdmin(std::int32_t partitions) { settings_.partitions = partitions; }

  absl::Status EnsureTopics() override { return absl::OkStatus(); }
  absl::StatusOr<std::vector<PartitionSetUp>> Inspect(Topic table) override {
    std::vector<PartitionSetUp> partitions(static_cast<std::size_t>(settings_.partitions));
    for (const Record& record : records_[table]) {
      partitions[static_cast<std::size_t>(record.partition)].Add(record);
    }
    return partitions;
  }
  /// Half of them, and then the process is gone, when it is its turn.
  absl::Status Append(Topic topic, const std::vector<NewRecord>& records) override {
    const bool is_last = appends_left == 0;
    std::size_t left = is_last ? records.size() / 2 : records.size();
    for (const NewRecord& each : records) {
      if (left-- == 0) break;
      Record record;
      record.topic = topic;
      record.partition = each.partition;
      record.offset = ends_[{topic, each.partition}]++;
      record.key = each.key;
      record.value = each.value;
      record.headers = each.headers;
      records_[topic].push_back(std::move(record));
    }
    if (is_last) return absl::AbortedError("killed");
    --appends_left;
    return absl::OkStatus();
  }
  absl::Status ReadAll(Topic topic, const std::function<bool(const Record&)>& visit) override {
    for (const Record& record : records_[topic]) {
      if (!visit(record)) break;
    }
    return absl::OkStatus();
  }
  const TopicSettings& settings() const override { return settings_; }

  /// The newest value of every key, whatever wrote it, but for those of the log itself.
  std::map<std::string, std::string> Values(Topic topic) {
    std::map<std::string, std::string> values;
    for (const Record& record : records_[topic]) {
      if (!record.key.starts_with('!')) values[record.key] = record.value.value_or("");
    }
    return values;
  }
  std::vector<Record>& records(Topic topic) { return records_[topic]; }

  /// A killed process writes nothing more.
  int appends_left = 1'000'000;

 private:
  TopicSettings settings_;
  std::map<Topic, std::vector<Record>> records_;
  std::map<std::pair<Topic, Partition>, Offset> ends_;
};

class MigrationTest : public ::testing::Test {
 protected:
  MigrationTest() {
    EXPECT_TRUE(
        Found(source_, {.now = WallTime(std::chrono::seconds(1000)), .random = Random()}).ok());
    for (int i = 0; i < 40; ++i) {
      const std::string tenant = "tenant" + std::to_string(i);
      Put(Topic::kCursors, tenant + "/billing/customers", "cursor");
      Put(Topic::kChanges, tenant + "/billing/customers/1", "older");
      Put(Topic::kChanges, tenant + "/billing/customers/1", "change " + tenant);
      Put(Topic::kRecords, tenant + "/clients/s/client/customers/1", "record " + tenant);
      Put(Topic::kCommands, tenant + "/clients/s/client/customers/1", "command " + tenant);
      Put(Topic::kCommands, tenant + "/clients/mapped", "mapped");
      Put(Topic::kOutcomes, tenant + "/clients/s/client/customers/1", "receipt " + tenant);
    }
  }

  static std::function<std::uint64_t()> Random() {
    return [] { return std::uint64_t{4}; };
  }

  /// As the released founding owner of its partition.
  void Put(Topic topic, const std::string& key, const std::string& value) {
    const Partition partition =
        ids::PartitionOf(ids::SplitKey(key)->front(), source_.settings().partitions);
    Headers headers;
    headers.emplace_back(kTokenHeader, FormatToken({1000, 1}));  // `!g` is 0, the fence 1.
    ASSERT_TRUE(source_.Append(topic, {{partition, key, value, headers}}).ok());
  }

  absl::StatusOr<MigrationReport> Run(FakeAdmin& target) {
    const auto source_copies = MakeMemoryStores();
    const auto target_copies = MakeMemoryStores();
    return Migrate(source_, target,
                   {.now = WallTime(std::chrono::seconds(2000)),
                    .random = Random(),
                    .source_copies = *source_copies,
                    .target_copies = *target_copies,
                    .say = [](const std::string&) {}});
  }

  FakeAdmin source_{3};
};

TEST_F(MigrationTest, CarriesWhatEveryKeyStandsAtToThePartitionOfItsTenant) {
  FakeAdmin target(8);
  const absl::StatusOr<MigrationReport> report = Run(target);

  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->generation, 2000);
  EXPECT_EQ(report->table_entries, 5 * 40);
  EXPECT_EQ(report->stream_records, 40);
  for (const Topic topic : {Topic::kCursors, Topic::kChanges, Topic::kRecords, Topic::kCommands}) {
    EXPECT_EQ(target.Values(topic), source_.Values(topic)) << Name(topic);
    for (const Record& record : target.records(topic)) {
      if (record.key.starts_with('!')) continue;
      EXPECT_EQ(record.partition, ids::PartitionOf(ids::SplitKey(record.key)->front(), 8));
    }
  }
  EXPECT_EQ(target.Values(Topic::kOutcomes), source_.Values(Topic::kOutcomes));
  EXPECT_TRUE(target.Values(Topic::kTenants).empty());
}

TEST_F(MigrationTest, WhereEventsEndedIsNotSaidOfTheNewTopics) {
  v1::Cursor cursor;
  cursor.set_since_id("17");
  cursor.set_events_end(40);
  Put(Topic::kCursors, "tenant7/billing/events", cursor.SerializeAsString());
  FakeAdmin target(8);
  const absl::StatusOr<MigrationReport> report = Run(target);

  ASSERT_TRUE(report.ok()) << report.status();
  v1::Cursor moved;
  ASSERT_TRUE(moved.ParseFromString(target.Values(Topic::kCursors)["tenant7/billing/events"]));
  EXPECT_EQ(moved.since_id(), "17");
  EXPECT_EQ(moved.events_end(), 0);
}

TEST_F(MigrationTest, InterruptedAnywhereTheSameCallGoesOn) {
  FakeAdmin whole(5);
  ASSERT_TRUE(Run(whole).ok());
  ASSERT_TRUE(Reopen(source_).ok());

  // The call that dies at its n-th Append, at either side, and the one after it.
  int interrupted = 0;
  for (int n = 0; n < 40; ++n) {
    FakeAdmin target(5);
    target.appends_left = n;
    const bool was_interrupted = !Run(target).ok();
    interrupted += was_interrupted ? 1 : 0;
    target.appends_left = 1'000'000;
    const absl::StatusOr<MigrationReport> report = Run(target);
    ASSERT_TRUE(report.ok()) << n << ": " << report.status();
    for (const Topic topic :
         {Topic::kCursors, Topic::kChanges, Topic::kRecords, Topic::kCommands}) {
      EXPECT_EQ(target.Values(topic), whole.Values(topic)) << n << " " << Name(topic);
    }
    ASSERT_TRUE(Reopen(source_).ok());
  }
  EXPECT_EQ(interrupted, 10);  // Its calls of Append to these topics.

  source_.appends_left = 0;  // Half of the old topics are closed.
  FakeAdmin target(5);
  ASSERT_FALSE(Run(target).ok());
  source_.appends_left = 1'000'000;
  ASSERT_TRUE(Run(target).ok());
  EXPECT_EQ(target.Values(Topic::kRecords), whole.Values(Topic::kRecords));
}

TEST_F(MigrationTest, ClosedTopicsAreOfTwoFoundingsUntilTheyAreGivenBack) {
  FakeAdmin target(5);
  ASSERT_TRUE(Run(target).ok());
  const auto generation = [&](Topic topic) {
    v1::Founding founding;
    EXPECT_TRUE(founding.ParseFromString(*source_.Inspect(topic)->front().founding));
    return founding.generation();
  };
  EXPECT_EQ(generation(Topic::kTenants), 2000);
  EXPECT_EQ(generation(Topic::kRecords), 1000);
  ASSERT_TRUE(Reopen(source_).ok());
  EXPECT_EQ(generation(Topic::kTenants), 1000);
  EXPECT_THAT(Reopen(source_).message(), HasSubstr("not closed"));
}

TEST_F(MigrationTest, RefusesWhileSomebodyOwnsAPartitionOrHasNotEndedWell) {
  v1::Fence fence;
  fence.set_generation(1000);
  ASSERT_TRUE(
      source_.Append(Topic::kRecords, {{1, "!f/loader/a/1", fence.SerializeAsString(), {}}}).ok());
  FakeAdmin target(5);
  EXPECT_THAT(Run(target).status().message(), HasSubstr("partition 1 of records has an owner"));

  v1::Release release;
  release.set_generation(1000);
  const Offset offset = source_.records(Topic::kRecords).back().offset;
  release.set_token(offset);
  ASSERT_TRUE(
      source_
          .Append(Topic::kRecords,
                  {{1, "!r/" + FormatToken({1000, offset}), release.SerializeAsString(), {}}})
          .ok());
  EXPECT_TRUE(Run(target).ok());
}

TEST_F(MigrationTest, RefusesTopicsThatAreInUseOrOfAnotherAttempt) {
  FakeAdmin target(5);
  ASSERT_TRUE(Run(target).ok());
  v1::Fence fence;
  fence.set_generation(2000);
  ASSERT_TRUE(
      target.Append(Topic::kChanges, {{0, "!f/extractor/a/1", fence.SerializeAsString(), {}}})
          .ok());
  EXPECT_THAT(Run(target).status().message(), HasSubstr("they are in use"));

  FakeAdmin others(5);
  ASSERT_TRUE(
      Found(others, {.now = WallTime(std::chrono::seconds(1500)), .random = Random()}).ok());
  EXPECT_THAT(Run(others).status().message(), HasSubstr("of another attempt"));
}

TEST_F(MigrationTest, WhatWasLostStaysLost) {
  v1::Founding founding;
  founding.set_generation(1000);
  founding.set_after_loss(true);
  ASSERT_TRUE(source_.Append(Topic::kRecords, {{2, "!g", founding.SerializeAsString(), {}}}).ok());
  FakeAdmin target(5);
  ASSERT_TRUE(Run(target).ok());
  const auto partitions = target.Inspect(Topic::kRecords);
  ASSERT_TRUE(partitions.ok());
  for (const PartitionSetUp& partition : *partitions) {
    v1::Founding copied;
    ASSERT_TRUE(copied.ParseFromString(*partition.founding));
    EXPECT_TRUE(copied.after_loss());
  }
}

}  // namespace
}  // namespace tributary::eventlog

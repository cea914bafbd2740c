#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/eventlog/clock.h"
#include "libs/eventlog/lmdb_stores.h"
#include "libs/eventlog/owner.h"
#include "tests/conformance/driver.h"
#include "tests/conformance/log_under_test.h"
#include "tests/conformance/temporary_directory.h"

// Ownership and tables (owner.h, table.h) on a real log with local copies on disk: what the
// simulation shows of them on a simulated log, once more where it counts.

namespace tributary::conformance {
namespace {

using eventlog::Offset;
using eventlog::Partition;
using eventlog::ProduceId;
using eventlog::Record;
using eventlog::TableEntry;
using eventlog::Topic;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::uint64_t Random64() {
  static std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}

/// The smallest service: owns the partitions of `records`, nothing else.
class Service final : public eventlog::OwnerListener {
 public:
  Service(LogUnderTest& log, const std::string& directory, const std::string& instance = "one",
          Duration lease = {}) {
    auto stores = eventlog::MakeLmdbStores(directory);
    EXPECT_TRUE(stores.ok()) << stores.status();
    stores_ = *std::move(stores);
    auto member = log.Join("loader", instance);
    EXPECT_TRUE(member.ok()) << member.status();
    member_ = *std::move(member);
    eventlog::OwnerOptions options;
    options.service = "loader";
    options.instance = instance;
    options.writes = {Topic::kRecords};
    options.streams = {Topic::kEvents};
    options.is_leased = lease > Duration::zero();
    options.lease = lease;
    options.pause_bound = lease / 2;
    options.min_compaction_lag = std::chrono::hours(1);
    options.delete_retention = std::chrono::hours(24);
    owner_ = std::make_unique<eventlog::Owner>(options, *member_, *stores_, Random64, *this);
  }

  /// One turn of a shell's loop.
  void Step(Duration wait = milliseconds(20)) {
    for (const eventlog::Fact& fact : member_->Poll(wait)) owner_->OnFact(Time(), fact);
    owner_->OnTick(Time());
  }

  bool Until(const std::function<bool()>& holds, seconds timeout = seconds(40)) {
    const Instant until = eventlog::BootTime() + timeout;
    while (!holds()) {
      if (eventlog::BootTime() >= until || !owner_->failure().empty()) return false;
      Step();
    }
    return true;
  }

  bool UntilReady(std::size_t partitions = kPartitions) {
    const bool ready =
        Until([&] { return owner_->partitions().size() == partitions && owner_->all_ready(); });
    if (!ready) {
      ADD_FAILURE() << owner_->failure() << " "
                    << testing::PrintToString(owner_->not_ready_because());
    }
    return ready;
  }

  void Write(Partition partition, const std::string& key, std::optional<std::string> value) {
    const ProduceId id = owner_->Write(Topic::kRecords, partition, key, std::move(value));
    EXPECT_NE(id, 0U) << key;
    ++written_;
  }
  bool UntilWritten() {
    return Until([&] { return acknowledged_ == written_; });
  }

  bool Leave() {
    owner_->ReleaseAll(Time());
    return Until([&] { return owner_->partitions().empty(); }) && member_->Close(seconds(10)).ok();
  }

  std::map<std::string, std::string> Table(Partition partition) const {
    std::map<std::string, std::string> entries;
    const eventlog::Table* table = owner_->table(Topic::kRecords, partition);
    if (table == nullptr) return entries;
    table->Scan("", "", [&](std::string_view key, const TableEntry& entry) {
      if (key == kFillerKey) return true;
      EXPECT_FALSE(entry.is_void) << key;
      entries[std::string(key)] = entry.value;
      return true;
    });
    return entries;
  }

  eventlog::Owner& owner() { return *owner_; }
  std::map<Partition, eventlog::Takeover> takeovers;
  std::vector<Partition> gone;
  /// Keys, of all partitions.
  std::vector<std::string> stream;

 private:
  void OnReady(const eventlog::Takeover& takeover) override {
    takeovers[takeover.partition] = takeover;
  }
  void OnEntry(Topic, Partition, std::string_view, const std::optional<TableEntry>&) override {}
  void OnStreamRecord(const Record& record) override { stream.push_back(record.key); }
  void OnWritten(ProduceId, Offset) override { ++acknowledged_; }
  void OnGone(Partition partition) override { gone.push_back(partition); }
  void OnRevoking(Partition partition, Instant) override { owner_->Release(partition); }

  static Now Time() { return {eventlog::BootTime(), eventlog::SystemTime()}; }

  std::unique_ptr<eventlog::LocalStores> stores_;
  std::unique_ptr<eventlog::LogMember> member_;
  std::unique_ptr<eventlog::Owner> owner_;
  int written_ = 0;
  int acknowledged_ = 0;
};

class OwnerOnLog : public testing::Test {
 protected:
  void SetUp() override {
    log_ = MakeLogUnderTest();
    ASSERT_NE(log_, nullptr);
    const auto generation =
        eventlog::Found(*log_->MakeAdmin(), {.now = eventlog::SystemTime(), .random = Random64});
    ASSERT_TRUE(generation.ok()) << generation.status();
  }

  /// Three versions of 100 keys, and every fourth key deleted in the end.
  static void Fill(Service& service, std::map<std::string, std::string>& wanted) {
    for (int round = 0; round < 3; ++round) {
      for (int i = 0; i < 100; ++i) {
        const std::string key = "t/s/s/contact/customers/" + std::to_string(i);
        wanted[key] = std::to_string(round);
        service.Write(1, key, wanted[key]);
      }
    }
    for (int i = 0; i < 100; i += 4) {
      const std::string key = "t/s/s/contact/customers/" + std::to_string(i);
      wanted.erase(key);
      service.Write(1, key, std::nullopt);
    }
  }

  std::unique_ptr<LogUnderTest> log_;
  TemporaryDirectory first_copy_;
  TemporaryDirectory second_copy_;
};

TEST_F(OwnerOnLog, AFreshLogIsTakenOverAtOnceAndCleanly) {
  Service service(*log_, first_copy_.path());
  ASSERT_TRUE(service.UntilReady());
  ASSERT_THAT(service.takeovers, SizeIs(kPartitions));
  for (const auto& [partition, takeover] : service.takeovers) EXPECT_FALSE(takeover.unclean);
}

// Rule 37: a position says of which stream it is; that of another one counts for nothing.
TEST_F(OwnerOnLog, GoesOnInAStreamOnlyWhereItsPositionIsOfThatStream) {
  const auto has_replaced = [](Service& service, Partition partition) {
    const std::vector<Topic>& replaced = service.takeovers[partition].replaced;
    return std::find(replaced.begin(), replaced.end(), Topic::kEvents) != replaced.end();
  };
  {
    Service service(*log_, first_copy_.path());
    ASSERT_TRUE(service.UntilReady());
    for (const char* const key : {"1", "2", "3", "4"}) {
      for (const Partition partition : {0, 1}) {
        service.owner().Append(Topic::kEvents, partition, key, "v", {});
      }
    }
    ASSERT_TRUE(service.Until([&] { return service.stream.size() == 8; }));
    service.owner().Commit(Topic::kEvents, 0, 3);
    service.owner().Commit(Topic::kEvents, 1, 3);
    const Instant until = eventlog::BootTime() + seconds(3);
    ASSERT_TRUE(service.Until([&] { return eventlog::BootTime() >= until; }));
    EXPECT_TRUE(service.Leave());
  }
  log_->Reopen();
  {
    Service service(*log_, first_copy_.path());
    ASSERT_TRUE(service.UntilReady());
    EXPECT_FALSE(has_replaced(service, 0));
    EXPECT_FALSE(has_replaced(service, 1));
    ASSERT_TRUE(service.Until([&] { return service.stream.size() == 2; }));
    EXPECT_EQ(service.stream, (std::vector<std::string>{"4", "4"}));
    EXPECT_TRUE(service.Leave());
  }
  {
    // As if it had landed in a stream that was made anew.
    auto joined = log_->Join("loader", "dead");
    ASSERT_TRUE(joined.ok()) << joined.status();
    Driver member(*std::move(joined));
    ASSERT_TRUE(member.UntilAssigned(kPartitions));
    ASSERT_EQ(member.Commit(Topic::kEvents, 0, 3, "seen=3@1767225600123456"), "");
    EXPECT_TRUE(member.log().Close(seconds(10)).ok());
  }
  log_->Reopen();
  Service service(*log_, first_copy_.path());
  ASSERT_TRUE(service.UntilReady());
  EXPECT_TRUE(has_replaced(service, 0));
  EXPECT_FALSE(has_replaced(service, 1));
  ASSERT_TRUE(service.Until([&] { return service.stream.size() == 5; }));
}

TEST_F(OwnerOnLog, ReadsItsTableBackWithDeletionsAndAgainFromItsLocalCopy) {
  std::map<std::string, std::string> wanted;
  {
    Service service(*log_, first_copy_.path());
    ASSERT_TRUE(service.UntilReady());
    Fill(service, wanted);
    ASSERT_TRUE(service.UntilWritten());
    ASSERT_TRUE(service.Until([&] { return service.Table(1) == wanted; }));
    EXPECT_TRUE(service.Leave());
  }
  log_->Reopen();
  Service service(*log_, first_copy_.path());
  ASSERT_TRUE(service.UntilReady());
  EXPECT_EQ(service.Table(1), wanted);
  EXPECT_FALSE(service.takeovers[1].unclean) << "it was released";
  EXPECT_THAT(service.takeovers[1].rebuilt, IsEmpty());
}

TEST_F(OwnerOnLog, Rule23_RebuildsALostCopyFromACompactedTopic) {
  std::map<std::string, std::string> wanted;
  {
    Service service(*log_, first_copy_.path());
    ASSERT_TRUE(service.UntilReady());
    Fill(service, wanted);
    ASSERT_TRUE(service.UntilWritten());
    EXPECT_TRUE(service.Leave());
  }
  log_->Compact(Topic::kRecords, 1);
  Service service(*log_, second_copy_.path());
  ASSERT_TRUE(service.UntilReady());
  EXPECT_EQ(service.Table(1), wanted);
}

TEST_F(OwnerOnLog, FinishesARebuildThatWasKilledHalfWayAndGapsWereMadeIn) {
  std::map<std::string, std::string> wanted;
  {
    Service service(*log_, first_copy_.path());
    ASSERT_TRUE(service.UntilReady());
    for (int i = 0; i < 3000; ++i) {
      const std::string key = "t/s/s/contact/customers/" + std::to_string(i % 1000);
      wanted[key] = std::to_string(i) + std::string(2000, 'v');
      service.Write(1, key, wanted[key]);
    }
    ASSERT_TRUE(service.UntilWritten());
    EXPECT_TRUE(service.Leave());
  }
  {
    Service killed(*log_, second_copy_.path());
    ASSERT_TRUE(killed.Until([&] {
      const eventlog::Table* table = killed.owner().table(Topic::kRecords, 1);
      return table != nullptr && table->next_offset() > 200;
    }));
  }
  log_->Compact(Topic::kRecords, 1);
  Service service(*log_, second_copy_.path());
  ASSERT_TRUE(service.UntilReady());
  const std::map<std::string, std::string> found = service.Table(1);
  EXPECT_EQ(found.size(), wanted.size());
  EXPECT_TRUE(found == wanted);
}

TEST_F(OwnerOnLog, Rule12WaitsForTheLeaseOfAPredecessorThatDidNotRelease) {
  constexpr Duration kLease = milliseconds(1000);
  {
    Service killed(*log_, first_copy_.path(), "one", kLease);
    ASSERT_TRUE(killed.UntilReady());
    killed.Write(0, "t/s/s/contact/customers/1", "v");
    ASSERT_TRUE(killed.UntilWritten());
  }
  const Instant began = eventlog::BootTime();
  Service service(*log_, first_copy_.path(), "one", kLease);
  ASSERT_TRUE(service.UntilReady());
  EXPECT_TRUE(service.takeovers[0].unclean);
  EXPECT_GE(eventlog::BootTime() - began, kLease + kLease / 2);
  ASSERT_TRUE(service.Until([&] {
    return service.owner().may_send({eventlog::BootTime(), eventlog::SystemTime()}, 0);
  }));
  EXPECT_EQ(service.Table(0)["t/s/s/contact/customers/1"], "v");
}

}  // namespace
}  // namespace tributary::conformance

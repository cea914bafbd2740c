#include "libs/eventlog/embedded/embedded_log.h"

#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <lmdb.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libs/eventlog/clock.h"
#include "tests/conformance/driver.h"
#include "tests/conformance/log_under_test.h"
#include "tests/conformance/temporary_directory.h"

namespace tributary::conformance {
namespace {

using eventlog::EmbeddedLog;
using eventlog::Offset;
using eventlog::Partition;
using eventlog::Record;
using eventlog::Topic;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

EmbeddedLog::Options OptionsFor(const std::string& directory) {
  EmbeddedLog::Options options;
  options.directory = directory;
  options.topics.partitions = kPartitions;
  options.topics.record_bytes_max = kRecordBytesMax;
  // Small, so that the map grows in every test that writes something.
  options.map_bytes = std::size_t{1} << 20;
  return options;
}

/// The system's clock, some time ahead of it.
class ShiftedClock {
 public:
  void Advance(Duration by) { ahead_us_ += by.count(); }
  WallTime now() const { return eventlog::SystemTime() + Duration(ahead_us_.load()); }

 private:
  std::atomic<std::int64_t> ahead_us_{0};
};

class EmbeddedUnderTest final : public LogUnderTest {
 public:
  EmbeddedUnderTest() { Open(); }

  absl::StatusOr<std::unique_ptr<eventlog::LogMember>> Join(const std::string& group,
                                                            const std::string& instance) override {
    return log_->Join(group, instance);
  }
  std::unique_ptr<eventlog::LogAdmin> MakeAdmin() override { return log_->MakeAdmin(); }
  void Reopen() override {
    log_.reset();
    Open();
  }
  void Compact(Topic, Partition) override {
    // Beyond C of all that was written, and within R.
    clock_.Advance(hours(2));
    EXPECT_TRUE(log_->Housekeep().ok());
  }
  void LetTimePass() override { clock_.Advance(hours(24 * 31)); }
  void DropBefore(Topic, Partition, Offset) override { EXPECT_TRUE(log_->Housekeep().ok()); }

 private:
  void Open() {
    EmbeddedLog::Options options = OptionsFor(directory_.path());
    options.clock = [this] { return clock_.now(); };
    auto log = EmbeddedLog::Open(std::move(options));
    EXPECT_TRUE(log.ok()) << log.status();
    if (log.ok()) log_ = *std::move(log);
  }

  TemporaryDirectory directory_;
  ShiftedClock clock_;
  std::unique_ptr<EmbeddedLog> log_;
};

class EmbeddedLogTest : public testing::Test {
 protected:
  std::unique_ptr<EmbeddedLog> Open(EmbeddedLog::Options options) {
    options.clock = [this] { return clock_.now(); };
    auto log = EmbeddedLog::Open(std::move(options));
    EXPECT_TRUE(log.ok()) << log.status();
    return log.ok() ? *std::move(log) : nullptr;
  }
  std::unique_ptr<EmbeddedLog> Open() { return Open(OptionsFor(directory_.path())); }

  static std::unique_ptr<Driver> Join(EmbeddedLog& log, const std::string& group) {
    auto member = log.Join(group, "one");
    EXPECT_TRUE(member.ok()) << member.status();
    return std::make_unique<Driver>(*std::move(member));
  }

  static std::vector<std::string> ReadKeys(EmbeddedLog& log, Topic topic, Partition partition) {
    std::vector<std::string> keys;
    EXPECT_TRUE(log.MakeAdmin()
                    ->ReadAll(topic,
                              [&](const Record& record) {
                                if (record.partition == partition) keys.push_back(record.key);
                                return true;
                              })
                    .ok());
    return keys;
  }

  TemporaryDirectory directory_;
  ShiftedClock clock_;
};

TEST_F(EmbeddedLogTest, HasWhatItAcknowledgedAfterItsProcessWasKilled) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto log = EmbeddedLog::Open(OptionsFor(directory_.path()));
    if (!log.ok()) ::_exit(1);
    auto member = (*log)->Join("g", "one");
    if (!member.ok()) ::_exit(2);
    Driver driver(*std::move(member));
    for (int i = 0; i < 100; ++i) driver.Produce(Topic::kChanges, 1, std::to_string(i), "v");
    if (!driver.UntilAllProduced() || !driver.failures.empty()) ::_exit(3);
    if (!driver.Commit(Topic::kEvents, 0, 42).empty()) ::_exit(4);
    ::_exit(7);  // No destructor runs.
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  ASSERT_EQ(WEXITSTATUS(status), 7);
  const auto log = Open();
  EXPECT_THAT(ReadKeys(*log, Topic::kChanges, 1), SizeIs(100));
  EXPECT_EQ(Join(*log, "g")->Committed(Topic::kEvents, 0).next, 42);
  const auto member = Join(*log, "h");
  EXPECT_EQ(member->ProduceAndWait(Topic::kChanges, 1, "next", "v"), 100);
}

TEST_F(EmbeddedLogTest, BelongsToOneProcessAndNamesIt) {
  const auto log = Open();
  const auto second = EmbeddedLog::Open(OptionsFor(directory_.path()));
  ASSERT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(std::to_string(::getpid())));
}

TEST_F(EmbeddedLogTest, HasOneMemberForEachGroup) {
  const auto log = Open();
  auto first = Join(*log, "g");
  EXPECT_EQ(log->Join("g", "two").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(log->Join("h", "two").ok());
  EXPECT_TRUE(first->log().Close(seconds(1)).ok());
  EXPECT_TRUE(log->Join("g", "two").ok());
}

TEST_F(EmbeddedLogTest, KeepsItsNumberOfPartitions) {
  Open();
  EmbeddedLog::Options options = OptionsFor(directory_.path());
  options.topics.partitions = kPartitions + 1;
  const auto other = EmbeddedLog::Open(std::move(options));
  EXPECT_EQ(other.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(other.status().message()), HasSubstr("log.partitions"));
}

TEST_F(EmbeddedLogTest, RefusesPartitionsThatAreNotThere) {
  const auto log = Open();
  const auto member = Join(*log, "g");
  member->Produce(Topic::kEvents, kPartitions, "k", "v");
  ASSERT_TRUE(member->UntilAllProduced());
  EXPECT_THAT(member->produced[1].error, HasSubstr("is not there"));
}

TEST_F(EmbeddedLogTest, CompactsOnlyWhatAnEntryOlderThanTheLagHasSuperseded) {
  const auto log = Open();
  const auto member = Join(*log, "g");
  member->ProduceAndWait(Topic::kChanges, 0, "a", "1");
  clock_.Advance(hours(3));
  member->ProduceAndWait(Topic::kChanges, 0, "a", "2");
  member->ProduceAndWait(Topic::kChanges, 0, "b", "1");
  // The first "a" is old, but what supersedes it is young: a reader in the middle needs it (rule
  // 9).
  ASSERT_TRUE(log->Housekeep().ok());
  EXPECT_THAT(ReadKeys(*log, Topic::kChanges, 0), ElementsAre("a", "a", "b"));
  clock_.Advance(hours(1));
  ASSERT_TRUE(log->Housekeep().ok());
  EXPECT_THAT(ReadKeys(*log, Topic::kChanges, 0), ElementsAre("a", "b"));
}

TEST_F(EmbeddedLogTest, KeepsTombstonesForDeleteRetentionAndThenTheKeyIsGone) {
  const auto log = Open();
  const auto member = Join(*log, "g");
  member->ProduceAndWait(Topic::kChanges, 0, "a", "1");
  member->ProduceAndWait(Topic::kChanges, 0, "a", std::nullopt);
  member->ProduceAndWait(Topic::kChanges, 0, "b", "1");
  clock_.Advance(hours(23));
  ASSERT_TRUE(log->Housekeep().ok());
  EXPECT_THAT(ReadKeys(*log, Topic::kChanges, 0), ElementsAre("a", "b"));
  clock_.Advance(hours(2));
  ASSERT_TRUE(log->Housekeep().ok());
  EXPECT_THAT(ReadKeys(*log, Topic::kChanges, 0), ElementsAre("b"));
  member->ProduceAndWait(Topic::kChanges, 0, "a", "2");
  clock_.Advance(hours(50));
  ASSERT_TRUE(log->Housekeep().ok());
  EXPECT_THAT(ReadKeys(*log, Topic::kChanges, 0), ElementsAre("b", "a"));
}

TEST_F(EmbeddedLogTest, NeverRemovesTheLastRecordOfAPartition) {
  const auto log = Open();
  const auto member = Join(*log, "g");
  member->ProduceAndWait(Topic::kCommands, 0, "a", "1");
  member->ProduceAndWait(Topic::kCommands, 0, "a", std::nullopt);
  clock_.Advance(hours(100));
  ASSERT_TRUE(log->Housekeep().ok());
  ASSERT_TRUE(log->Housekeep().ok());
  EXPECT_THAT(ReadKeys(*log, Topic::kCommands, 0), ElementsAre("a"));
  member->ProduceAndWait(Topic::kCommands, 0, "b", "1");
  ASSERT_TRUE(log->Housekeep().ok());
  EXPECT_THAT(ReadKeys(*log, Topic::kCommands, 0), ElementsAre("b"));
}

TEST_F(EmbeddedLogTest, CompactsTheSameAfterItWasOpenedAgain) {
  {
    const auto log = Open();
    const auto member = Join(*log, "g");
    for (int i = 0; i < 6000; ++i) {
      member->Produce(Topic::kChanges, 0, std::to_string(i % 10), std::to_string(i));
    }
    ASSERT_TRUE(member->UntilAllProduced());
  }
  clock_.Advance(hours(2));
  const auto log = Open();
  ASSERT_TRUE(log->Housekeep().ok());
  EXPECT_THAT(ReadKeys(*log, Topic::kChanges, 0), SizeIs(10));
}

/// Takes a snapshot of the log from another process, and kills that with it.
void DieReading(const std::string& directory) {
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    MDB_env* env = nullptr;
    MDB_txn* reading = nullptr;
    if (mdb_env_create(&env) != MDB_SUCCESS ||
        mdb_env_open(env, directory.c_str(), MDB_RDONLY | MDB_NOTLS, 0600) != MDB_SUCCESS ||
        mdb_txn_begin(env, nullptr, MDB_RDONLY, &reading) != MDB_SUCCESS ||
        ::write(pipe_ends[1], "r", 1) != 1) {
      ::_exit(1);
    }
    while (true) ::pause();
  }
  ::close(pipe_ends[1]);
  char byte = 0;
  EXPECT_EQ(::read(pipe_ends[0], &byte, 1), 1) << "it could not read";
  ::close(pipe_ends[0]);
  EXPECT_EQ(::kill(child, SIGKILL), 0);
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
}

TEST_F(EmbeddedLogTest, UsesPagesAgainAfterAReaderWasKilled) {
  const auto log = Open();
  const auto member = Join(*log, "g");
  const auto rewrite = [&](int times) {
    for (int i = 0; i < times; ++i) {
      member->ProduceAndWait(Topic::kChanges, 0, "a", std::string(10'000, 'v'));
      clock_.Advance(hours(3));
      ASSERT_TRUE(log->Housekeep().ok());
    }
  };
  const auto size = [this] { return std::filesystem::file_size(directory_.path() + "/data.mdb"); };
  rewrite(10);
  ASSERT_NO_FATAL_FAILURE(DieReading(directory_.path()));
  rewrite(10);
  const auto before = size();
  rewrite(50);
  EXPECT_LT(size(), before + 10 * 10'000);
}

TEST_F(EmbeddedLogTest, DropsStreamsByTheirOwnAgeAndNeverTables) {
  const auto log = Open();
  const auto member = Join(*log, "g");
  for (const Topic topic : eventlog::kAllTopics) member->ProduceAndWait(topic, 0, "old", "v");
  clock_.Advance(hours(24 * 8));
  ASSERT_TRUE(log->Housekeep().ok());
  EXPECT_THAT(ReadKeys(*log, Topic::kNotifications, 0), IsEmpty());
  EXPECT_THAT(ReadKeys(*log, Topic::kEvents, 0), SizeIs(1));
  clock_.Advance(hours(24 * 23));
  ASSERT_TRUE(log->Housekeep().ok());
  EXPECT_THAT(ReadKeys(*log, Topic::kEvents, 0), IsEmpty());
  EXPECT_THAT(ReadKeys(*log, Topic::kOutcomes, 0), SizeIs(1));
  clock_.Advance(hours(24 * 900));
  ASSERT_TRUE(log->Housekeep().ok());
  EXPECT_THAT(ReadKeys(*log, Topic::kOutcomes, 0), IsEmpty());
  for (const Topic topic : eventlog::kAllTopics) {
    EXPECT_THAT(ReadKeys(*log, topic, 0), SizeIs(eventlog::IsTable(topic) ? 1 : 0));
    EXPECT_EQ(member->Sample(topic, 0).end, 1);
  }
}

TEST_F(EmbeddedLogTest, DropsTheOldestOfAStreamThatIsTooLarge) {
  EmbeddedLog::Options options = OptionsFor(directory_.path());
  options.topics.stream_partition_bytes_max = 100'000;
  const auto log = Open(std::move(options));
  const auto member = Join(*log, "g");
  for (int i = 0; i < 100; ++i) {
    member->Produce(Topic::kEvents, 0, std::to_string(i), std::string(10'000, 'v'));
    member->Produce(Topic::kChanges, 0, std::to_string(i), std::string(10'000, 'v'));
  }
  ASSERT_TRUE(member->UntilAllProduced());
  ASSERT_TRUE(log->Housekeep().ok());
  const std::vector<std::string> left = ReadKeys(*log, Topic::kEvents, 0);
  ASSERT_THAT(left, SizeIs(9));
  EXPECT_EQ(left.front(), "91");
  EXPECT_THAT(ReadKeys(*log, Topic::kChanges, 0), SizeIs(100));
}

TEST_F(EmbeddedLogTest, TellsEveryMemberThatItIsFullAndKeepsWhatItAcknowledged) {
  EmbeddedLog::Options options = OptionsFor(directory_.path());
  options.map_bytes_max = std::size_t{4} << 20;
  const auto log = Open(std::move(options));
  const auto writer = Join(*log, "w");
  const auto other = Join(*log, "o");
  Offset last = -1;
  for (int i = 0; i < 100; ++i) {
    const Offset offset =
        writer->ProduceAndWait(Topic::kEvents, 0, std::to_string(i), std::string(100'000, 'v'));
    if (offset < 0) break;
    last = offset;
  }
  EXPECT_GT(last, 5);
  EXPECT_LT(last, 99);
  ASSERT_TRUE(writer->Until([&] { return !writer->failures.empty(); }));
  ASSERT_TRUE(other->Until([&] { return !other->failures.empty(); }));
  EXPECT_THAT(writer->failures[0], HasSubstr("MAP_FULL"));
  const auto after = other->Produce(Topic::kEvents, 1, "small", "v");
  ASSERT_TRUE(other->UntilAllProduced());
  EXPECT_THAT(other->produced[after].error, Not(IsEmpty()));
  EXPECT_THAT(ReadKeys(*log, Topic::kEvents, 0), SizeIs(static_cast<std::size_t>(last) + 1));
  // What joins anew finds a log that works as far as there is room.
  writer->Drop();
  const auto again = Join(*log, "w");
  EXPECT_EQ(again->ProduceAndWait(Topic::kEvents, 1, "small", "v"), 0);
}

TEST_F(EmbeddedLogTest, SaysThatARecordIsDamagedInsteadOfGivingIt) {
  const std::string marker = "a text that is nowhere else in the file";
  {
    const auto log = Open();
    const auto member = Join(*log, "g");
    member->ProduceAndWait(Topic::kEvents, 0, "k", marker);
  }
  const std::string path = directory_.path() + "/data.mdb";
  std::string bytes;
  {
    std::ifstream file(path, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
  }
  int damaged = 0;
  for (std::size_t at = bytes.find(marker); at != std::string::npos;
       at = bytes.find(marker, at + 1)) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(at));
    file.put('A');
    ++damaged;
  }
  ASSERT_GT(damaged, 0);
  const auto log = Open();
  const auto member = Join(*log, "g");
  member->log().StartReading(Topic::kEvents, 0, 0);
  ASSERT_TRUE(member->Until([&] { return !member->failures.empty(); }));
  EXPECT_THAT(member->failures[0], HasSubstr("record 0 of partition 0 of events is damaged"));
  EXPECT_THAT(member->At(Topic::kEvents, 0), IsEmpty());
}

TEST_F(EmbeddedLogTest, RefusesMoreThanFourBuffersOfWhatWaitsToBeWritten) {
  EmbeddedLog::Options options = OptionsFor(directory_.path());
  options.produce_buffer_bytes = std::int64_t{1} << 20;
  const auto log = Open(std::move(options));
  const auto member = Join(*log, "g");
  for (int i = 0; i < 100; ++i) {
    member->Produce(Topic::kEvents, 0, std::to_string(i), std::string(100'000, 'v'));
  }
  ASSERT_TRUE(member->UntilAllProduced());
  // More than four buffers at once cannot have been taken.
  int failed = 0;
  for (const auto& [id, produced] : member->produced) failed += produced.error.empty() ? 0 : 1;
  EXPECT_GT(failed, 0);
  EXPECT_THAT(member->produced[100].error, Not(IsEmpty()));
}

TEST_F(EmbeddedLogTest, ServesMembersOfManyThreadsAtOnce) {
  const auto log = Open();
  constexpr int kThreads = 4;
  constexpr std::size_t kCount = 500;
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      auto joined = log->Join("g" + std::to_string(t), "one");
      if (!joined.ok()) return;
      Driver driver(*std::move(joined));
      for (Partition p = 0; p < kPartitions; ++p) driver.log().StartReading(Topic::kEvents, p, 0);
      for (std::size_t i = 0; i < kCount; ++i) {
        driver.Produce(Topic::kEvents, static_cast<Partition>(i % kPartitions),
                       std::to_string(t) + "/" + std::to_string(i), std::string(2000, 'v'));
        if (i % 50 == 0) driver.PollOnce(Duration::zero());
      }
      const bool all = driver.Until([&] {
        std::size_t read = 0;
        for (Partition p = 0; p < kPartitions; ++p) read += driver.At(Topic::kEvents, p).size();
        return read == kThreads * kCount;
      });
      if (all && driver.failures.empty() && driver.log().Close(seconds(10)).ok()) ++good;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, kThreads);
}

TEST_F(EmbeddedLogTest, FailsWhatAMemberDoesAfterTheLogWasClosed) {
  auto log = Open();
  const auto member = Join(*log, "g");
  log.reset();
  member->Produce(Topic::kEvents, 0, "k", "v");
  ASSERT_TRUE(member->UntilAllProduced());
  EXPECT_THAT(member->produced[1].error, Not(IsEmpty()));
}

TEST_F(EmbeddedLogTest, IsOpenedWithThePartitionsThatItWasMadeWith) {
  EmbeddedLog::Options options = OptionsFor(directory_.path());
  options.topics.partitions = 5;
  Open(options).reset();
  options.topics.partitions = 0;

  const auto log = Open(options);

  ASSERT_NE(log, nullptr);
  EXPECT_EQ(log->MakeAdmin()->settings().partitions, 5);
  EXPECT_THAT(log->MakeAdmin()->Inspect(Topic::kChanges).value(), SizeIs(5));
}

TEST_F(EmbeddedLogTest, WhoAsksForThePartitionsOfNoLogMakesNone) {
  EmbeddedLog::Options options = OptionsFor(directory_.path() + "/none");
  options.topics.partitions = 0;

  EXPECT_EQ(EmbeddedLog::Open(options).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(options.directory));
}

TEST_F(EmbeddedLogTest, ItsTopicsAreNotRemovedByThemselves) {
  EXPECT_EQ(Open()->MakeAdmin()->RemoveTopics().code(), absl::StatusCode::kUnimplemented);
}

}  // namespace

std::unique_ptr<LogUnderTest> MakeLogUnderTest() { return std::make_unique<EmbeddedUnderTest>(); }

}  // namespace tributary::conformance

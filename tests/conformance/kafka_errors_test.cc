#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/eventlog/clock.h"
#include "libs/eventlog/kafka/kafka_log.h"
#include "tests/conformance/driver.h"
#include "tests/conformance/mock_cluster.h"

// What a member makes of each error code that a broker may answer with, request by request.

namespace tributary::conformance {
namespace {

using eventlog::KafkaLog;
using eventlog::KafkaOptions;
using eventlog::Offset;
using eventlog::ProduceId;
using eventlog::Record;
using eventlog::Topic;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::Contains;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;

constexpr std::int32_t kPartitions = 2;
constexpr std::int64_t kProduceBufferBytes = 64 << 10;
const std::string kPrefix = "errors.";

std::vector<std::string> Numbered(int first, int end) {
  std::vector<std::string> names;
  for (int i = first; i < end; ++i) names.push_back("k" + std::to_string(i));
  return names;
}

bool ByNumber(const std::string& a, const std::string& b) {
  return std::stoi(a.substr(1)) < std::stoi(b.substr(1));
}

/// A cluster, and one member after the other.
class Rig {
 public:
  /// As a service does after a start, and again after its stage has failed; by another name, so
  /// that nobody waits for the end of the session before.
  void Open() {
    member_.reset();
    if (log_ == nullptr) {
      KafkaOptions options;
      options.produce_buffer_bytes = kProduceBufferBytes;
      options.bootstrap_servers = cluster_.bootstrap_servers();
      options.topic_prefix = kPrefix;
      options.topics.partitions = kPartitions;
      options.session_timeout = seconds(6);
      options.on_log = [this](int, std::string text) {
        const std::lock_guard lock(mutex_);
        said_.push_back(std::move(text));
      };
      auto log = KafkaLog::Open(options);
      ASSERT_TRUE(log.ok()) << log.status();
      log_ = *std::move(log);
    }
    auto member =
        log_->Join(kPrefix + std::to_string(++groups_), "one", {.committed = {Topic::kChanges}});
    ASSERT_TRUE(member.ok()) << member.status();
    member_ = std::make_unique<Driver>(*std::move(member));
  }
  void Join() {
    Open();
    ASSERT_TRUE(member_->UntilAssigned(kPartitions));
  }

  std::vector<std::string> said() {
    const std::lock_guard lock(mutex_);
    return said_;
  }

  bool has_failed() const { return !member_->failures.empty(); }

  /// All that the partition holds, by a member that no error meets.
  std::vector<Record> ReadAll(Topic topic) {
    const eventlog::EndSampled end = member_->Sample(topic, 0);
    EXPECT_EQ(end.error, "");
    member_->records.clear();
    member_->log().StartReading(topic, 0, 0);
    EXPECT_TRUE(member_->Until(
        [&] { return member_->At(topic, 0).size() >= static_cast<std::size_t>(end.end); }));
    member_->log().StopReading(topic, 0);
    return member_->At(topic, 0);
  }

  MockCluster& cluster() { return cluster_; }
  Driver& member() { return *member_; }

 private:
  std::mutex mutex_;
  std::vector<std::string> said_;
  MockCluster cluster_{kPrefix, kPartitions};
  std::unique_ptr<KafkaLog> log_;
  int groups_ = 0;
  std::unique_ptr<Driver> member_;
};

struct Code {
  rd_kafka_resp_err_t code;
  /// The member gets over it by itself; else it ends, and the next one goes on.
  bool passes;
};

/// Each on a cluster of its own, all at once: most of the time each waits.
void ForEach(const std::vector<Code>& codes, const std::function<void(Rig&, const Code&)>& check) {
  std::vector<std::thread> threads;
  for (const Code& code : codes) {
    threads.emplace_back([&check, &code] {
      SCOPED_TRACE(rd_kafka_err2name(code.code));
      Rig rig;
      check(rig, code);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// ---- Produce

const std::vector<Code> kProduceCodes = {
    {RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, true},
    {RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, true},
    {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, true},
    {RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, true},
    {RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION, false},
    {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, true},
    {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, true},
    {RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, true},
    {RD_KAFKA_RESP_ERR__TRANSPORT, true},
    {RD_KAFKA_RESP_ERR_UNKNOWN, false},
    {RD_KAFKA_RESP_ERR_INVALID_MSG, false},
    {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, false},
    {RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, false},
    {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, false},
    {RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, false},
    {RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, false},
    {RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, false},
    {RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID, true},
    {RD_KAFKA_RESP_ERR_POLICY_VIOLATION, false},
    {RD_KAFKA_RESP_ERR_INVALID_RECORD, false},
};

TEST(KafkaErrorsTest, Rule6_EachRecordIsInTheLogOnceInItsOrderOrItsMemberEnds) {
  ForEach(kProduceCodes, [](Rig& rig, const Code& code) {
    rig.Open();
    rig.cluster().AnswerBy(Api::kProduce, {code.code});
    constexpr int kCount = 30;
    for (int i = 0; i < kCount; ++i) {
      rig.member().Produce(Topic::kChanges, 0, "k" + std::to_string(i), "v");
      if (i % 10 == 9) rig.member().PollFor(milliseconds(20));
    }
    ASSERT_TRUE(rig.member().UntilAllProduced());
    std::vector<std::string> acknowledged;
    for (ProduceId id = 1; id <= kCount; ++id) {
      const eventlog::Produced& told = rig.member().produced[id];
      if (!told.error.empty()) continue;
      EXPECT_EQ(told.offset, static_cast<Offset>(acknowledged.size()));
      acknowledged.push_back("k" + std::to_string(id - 1));
    }
    const bool failed = acknowledged.size() < kCount;
    EXPECT_EQ(failed, !code.passes);
    if (failed) {
      EXPECT_EQ(rig.member().ProduceAndWait(Topic::kChanges, 0, "later", "v"), -1);
      rig.Open();
    }
    EXPECT_EQ(rig.cluster().left(Api::kProduce), 0U);
    std::vector<std::string> keys;
    for (const Record& record : rig.ReadAll(Topic::kChanges)) keys.push_back(record.key);
    // What was under way behind the one that failed may be there as well: nobody relies on it.
    EXPECT_TRUE(std::is_sorted(keys.begin(), keys.end(), ByNumber));
    EXPECT_EQ(std::set(keys.begin(), keys.end()).size(), keys.size());
    EXPECT_THAT(keys, IsSupersetOf(acknowledged));
    EXPECT_EQ(rig.member().ProduceAndWait(Topic::kChanges, 0, "later", "v"),
              static_cast<Offset>(keys.size()));
  });
}

// ---- OffsetCommit: positions, and the lease

const std::vector<Code> kCommitCodes = {
    {RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, true},
    {RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, true},
    {RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, true},
    {RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, false},
    {RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, true},
    {RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, true},
    {RD_KAFKA_RESP_ERR_NOT_COORDINATOR, true},
    {RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, true},
    {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, true},
    {RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE, true},
    {RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE, true},
    {RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, true},
    {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, true},
    {RD_KAFKA_RESP_ERR_UNKNOWN, true},
    {RD_KAFKA_RESP_ERR__TRANSPORT, true},
};

TEST(KafkaErrorsTest, Rule11_ACommitIsDoneOnlyIfTheBrokerHasTakenItAndTheNextOnesAreAgain) {
  ForEach(kCommitCodes, [](Rig& rig, const Code& code) {
    rig.Join();
    rig.cluster().AnswerBy(Api::kOffsetCommit, {code.code});
    const std::string error = rig.member().Commit(Topic::kChanges, 0, 7);
    EXPECT_NE(error, "no answer");
    rig.cluster().AnswerBy(Api::kOffsetCommit, {code.code});
    const Instant before = eventlog::BootTime();
    const eventlog::LeaseRenewed lease = rig.member().RenewLease();
    EXPECT_NE(lease.error, "no answer");
    // It counts from its send: an answer that was long in coming makes it no longer.
    EXPECT_LE(lease.sent_at, before + milliseconds(100));

    rig.member().Until([&] { return rig.has_failed(); }, seconds(1));
    EXPECT_EQ(rig.has_failed(), !code.passes);
    if (rig.has_failed()) {
      EXPECT_THAT(error, Not(IsEmpty()));
      return;
    }
    if (error.empty()) {
      EXPECT_EQ(rig.member().Committed(Topic::kChanges, 0).next, 7);
    } else {
      EXPECT_EQ(rig.member().Committed(Topic::kChanges, 0).next, std::nullopt);
    }
    // Perhaps a rebalance later.
    ASSERT_TRUE(rig.member().Until([&] {
      return rig.member().assigned.size() == kPartitions && rig.member().RenewLease().error.empty();
    }));
    EXPECT_EQ(rig.member().Commit(Topic::kChanges, 0, 9), "");
    EXPECT_EQ(rig.member().Committed(Topic::kChanges, 0).next, 9);
  });
}

// ---- Fetch

const std::vector<Code> kFetchCodes = {
    {RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, true},
    {RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, true},
    {RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE, true},
    {RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE, true},
    {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, true},
    {RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE, true},
    {RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE, true},
    {RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH, true},
    {RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH, true},
    {RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, true},
    {RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, true},
    {RD_KAFKA_RESP_ERR_INVALID_MSG, true},
    {RD_KAFKA_RESP_ERR_UNKNOWN, true},
    {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, true},
    {RD_KAFKA_RESP_ERR__TRANSPORT, true},
};

TEST(KafkaErrorsTest, EveryRecordIsReadOnceInItsOrderWhateverCameBetween) {
  ForEach(kFetchCodes, [](Rig& rig, const Code& code) {
    rig.Open();
    for (const std::string& key : Numbered(0, 10))
      rig.member().Produce(Topic::kChanges, 0, key, "v");
    ASSERT_TRUE(rig.member().UntilAllProduced());
    rig.cluster().AnswerBy(Api::kFetch, {code.code, code.code});
    rig.member().log().StartReading(Topic::kChanges, 0, 0);
    ASSERT_TRUE(rig.member().Until([&] {
      for (const eventlog::OutOfRange& told : std::exchange(rig.member().out_of_range, {})) {
        // What it says is true, so that nobody takes a part of the log for lost.
        EXPECT_EQ(told.begin, 0);
        EXPECT_EQ(told.end, 10);
        EXPECT_EQ(told.asked, 0);
        rig.member().log().StartReading(Topic::kChanges, 0, told.asked);
      }
      return rig.has_failed() || rig.member().At(Topic::kChanges, 0).size() >= 10;
    }));
    EXPECT_EQ(rig.has_failed(), !code.passes);
    if (rig.has_failed()) {
      rig.Open();
      rig.ReadAll(Topic::kChanges);
    }
    // It reads on, too.
    for (const std::string& key : Numbered(10, 20))
      rig.member().Produce(Topic::kChanges, 0, key, "v");
    if (!code.passes) rig.member().log().StartReading(Topic::kChanges, 0, 10);
    EXPECT_TRUE(
        rig.member().Until([&] { return rig.member().At(Topic::kChanges, 0).size() >= 20; }));
    EXPECT_THAT(rig.member().Keys(Topic::kChanges, 0), ElementsAreArray(Numbered(0, 20)));
  });
}

// ---- questions: an answer is right, or an error

const std::vector<Code> kQuestionCodes = {
    {RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, true},
    {RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, true},
    {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, true},
    {RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, true},
    {RD_KAFKA_RESP_ERR_NOT_COORDINATOR, true},
    {RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT, true},
    {RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, true},
    {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, true},
    {RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, true},
    {RD_KAFKA_RESP_ERR_UNKNOWN, true},
    {RD_KAFKA_RESP_ERR__TRANSPORT, true},
};

TEST(KafkaErrorsTest, EndsAndPositionsAreRightOrAnErrorNeverNothing) {
  ForEach(kQuestionCodes, [](Rig& rig, const Code& code) {
    rig.Join();
    for (const std::string& key : Numbered(0, 5))
      rig.member().Produce(Topic::kChanges, 0, key, "v");
    ASSERT_TRUE(rig.member().UntilAllProduced());
    ASSERT_EQ(rig.member().Commit(Topic::kChanges, 0, 3), "");
    rig.cluster().AnswerBy(Api::kListOffsets, {code.code});
    rig.cluster().AnswerBy(Api::kOffsetFetch, {code.code});

    const eventlog::EndSampled end = rig.member().Sample(Topic::kChanges, 0);
    EXPECT_NE(end.error, "no answer");
    if (end.error.empty()) {
      EXPECT_EQ(end.end, 5);
    }
    const eventlog::CommittedOffset position = rig.member().Committed(Topic::kChanges, 0);
    EXPECT_NE(position.error, "no answer");
    if (position.error.empty()) {
      EXPECT_EQ(position.next, 3);
    }

    EXPECT_THAT(rig.member().failures, IsEmpty());
    EXPECT_TRUE(
        rig.member().Until([&] { return rig.member().Sample(Topic::kChanges, 0).end == 5; }));
    EXPECT_TRUE(
        rig.member().Until([&] { return rig.member().Committed(Topic::kChanges, 0).next == 3; }));
  });
}

// ---- the group

const std::vector<Code> kGroupCodes = {
    {RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, true},
    {RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, true},
    {RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, true},
    {RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, true},
    {RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, true},
    {RD_KAFKA_RESP_ERR_NOT_COORDINATOR, true},
    {RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, true},
    {RD_KAFKA_RESP_ERR_UNKNOWN, true},
    {RD_KAFKA_RESP_ERR__TRANSPORT, true},
};

TEST(KafkaErrorsTest, ItsPartitionsComeAndAreTakenAsTheGroupSays) {
  ForEach(kGroupCodes, [](Rig& rig, const Code& code) {
    for (const Api api : {Api::kFindCoordinator, Api::kJoinGroup, Api::kSyncGroup}) {
      rig.cluster().AnswerBy(api, {code.code});
    }
    rig.Join();
    EXPECT_EQ(rig.member().RenewLease().error, "");

    rig.cluster().AnswerBy(Api::kHeartbeat, {code.code});
    ASSERT_TRUE(rig.member().Until(
        [&] { return rig.has_failed() || rig.cluster().left(Api::kHeartbeat) == 0; }));
    ASSERT_TRUE(rig.member().Until(
        [&] {
          return rig.has_failed() || (rig.member().assigned.size() == kPartitions &&
                                      rig.member().RenewLease().error.empty());
        },
        seconds(60)));
    EXPECT_EQ(rig.has_failed(), !code.passes);
  });
}

TEST(KafkaErrorsTest, WhatMayNotBeReadOrJoinedIsSaidAndGoesOnOnceItMay) {
  Rig rig;
  const std::vector<rd_kafka_resp_err_t> topic(5, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
  rig.cluster().AnswerBy(Api::kJoinGroup, {RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED});
  rig.Join();
  EXPECT_THAT(rig.said(), Contains(HasSubstr("Group authorization failed")));

  ASSERT_EQ(rig.member().ProduceAndWait(Topic::kChanges, 0, "k", "v"), 0);
  rig.cluster().AnswerBy(Api::kFetch, topic);
  rig.member().log().StartReading(Topic::kChanges, 0, 0);
  EXPECT_TRUE(rig.member().Until([&] { return !rig.member().At(Topic::kChanges, 0).empty(); }));
  EXPECT_THAT(rig.said(),
              Contains(HasSubstr("reading changes: Broker: Topic authorization failed")));
  EXPECT_THAT(rig.member().failures, IsEmpty());
}

TEST(KafkaErrorsTest, TopicsThatAreMissingAreNamedUntilTheyAreThere) {
  Rig rig;
  const std::string topic = kPrefix + "changes";
  rig.cluster().AnswerFor(topic, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
  rig.Open();
  EXPECT_TRUE(rig.member().Until([&] {
    const std::vector<std::string> said = rig.said();
    return std::any_of(said.begin(), said.end(), [&](const std::string& text) {
      return text.find(topic + "; run `tributary topics create`") != std::string::npos;
    });
  }));

  rig.cluster().AnswerFor(topic, RD_KAFKA_RESP_ERR_NO_ERROR);
  EXPECT_TRUE(rig.member().UntilAssigned(kPartitions));
  EXPECT_THAT(rig.member().failures, IsEmpty());
}

// ---- a broker that takes nothing

TEST(KafkaErrorsTest, WhatTheBrokerDoesNotTakeHoldsReadingBackAndLosesNothing) {
  Rig rig;
  rig.Open();
  for (const std::string& key : Numbered(0, 10)) {
    rig.member().Produce(Topic::kEvents, 0, key, "v");
  }
  ASSERT_TRUE(rig.member().UntilAllProduced());
  rig.cluster().AnswerLate(Api::kProduce, seconds(3));
  for (const std::string& key : Numbered(0, 3)) {
    rig.member().Produce(Topic::kChanges, 0, key, std::string(30 << 10, 'v'));
  }
  rig.member().log().StartReading(Topic::kEvents, 0, 0);
  rig.member().PollFor(seconds(1));
  const eventlog::LogMember::ProduceBuffer buffer = rig.member().log().produce_buffer();
  EXPECT_EQ(buffer.bytes_max, kProduceBufferBytes);
  EXPECT_GT(buffer.bytes, buffer.bytes_max);
  EXPECT_THAT(rig.member().At(Topic::kEvents, 0), IsEmpty());

  ASSERT_TRUE(rig.member().UntilAllProduced());
  EXPECT_EQ(rig.member().log().produce_buffer().bytes, 0);
  EXPECT_TRUE(rig.member().Until([&] { return rig.member().At(Topic::kEvents, 0).size() == 10; }));
  std::vector<std::string> keys;
  for (const Record& record : rig.ReadAll(Topic::kChanges)) keys.push_back(record.key);
  EXPECT_THAT(keys, ElementsAreArray(Numbered(0, 3)));
}

TEST(KafkaErrorsTest, WhatWaitsBehindARequestCostsNothing) {
  Rig rig;
  rig.Open();
  const auto produce = [&](int first, int end) {
    for (const std::string& key : Numbered(first, end)) {
      rig.member().Produce(Topic::kChanges, 0, key, "v");
    }
  };
  produce(0, 10);
  ASSERT_TRUE(rig.member().UntilAllProduced());
  rig.cluster().AnswerLate(Api::kProduce, seconds(2));
  produce(10, 20);
  rig.member().PollFor(milliseconds(100));  // Longer than linger.ms.
  produce(20, 30);

  const std::clock_t began = std::clock();
  ASSERT_TRUE(rig.member().UntilAllProduced());
  // librdkafka's own thread would look for it all the time.
  EXPECT_LT(std::clock() - began, CLOCKS_PER_SEC / 4);
  std::vector<std::string> keys;
  for (const Record& record : rig.ReadAll(Topic::kChanges)) keys.push_back(record.key);
  EXPECT_THAT(keys, ElementsAreArray(Numbered(0, 30)));
}

TEST(KafkaErrorsTest, RefusesMoreThanFourBuffersOfWhatTheBrokerDoesNotTake) {
  Rig rig;
  rig.Open();
  rig.cluster().AnswerLate(Api::kProduce, seconds(3));
  constexpr int kCount = 12;  // Of half a buffer: four buffers are eight of them.
  for (const std::string& key : Numbered(0, kCount)) {
    rig.member().Produce(Topic::kChanges, 0, key, std::string(kProduceBufferBytes / 2 - 10, 'v'));
  }
  EXPECT_LE(rig.member().log().produce_buffer().bytes, 4 * kProduceBufferBytes);
  ASSERT_TRUE(rig.member().UntilAllProduced());
  EXPECT_THAT(rig.member().produced[9].error, HasSubstr("produce_buffer_bytes"));
  // Rule 6: nothing behind it; and what is in the log is a beginning of what was to be there.
  for (ProduceId id = 9; id <= kCount; ++id) {
    EXPECT_THAT(rig.member().produced[id].error, Not(IsEmpty())) << id;
  }
  rig.Open();
  std::vector<std::string> keys;
  for (const Record& record : rig.ReadAll(Topic::kChanges)) keys.push_back(record.key);
  EXPECT_THAT(keys, ElementsAreArray(Numbered(0, static_cast<int>(keys.size()))));
  EXPECT_LE(keys.size(), 8U);
}

// ---- anything, at any time

TEST(KafkaErrorsTest, RandomSequencesLoseDoubleAndReorderNothing) {
  Rig rig;
  const char* const wanted = std::getenv("TRIBUTARY_ERROR_SEQUENCES");
  const int sequences = wanted == nullptr ? 15 : std::atoi(wanted);
  constexpr rd_kafka_resp_err_t kCodes[] = {RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                                            RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
                                            RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
                                            RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
                                            RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
                                            RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
                                            RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
                                            RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
                                            RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                                            RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
                                            RD_KAFKA_RESP_ERR_UNKNOWN,
                                            RD_KAFKA_RESP_ERR__TRANSPORT};
  constexpr Api kApis[] = {Api::kProduce,   Api::kFetch,     Api::kListOffsets, Api::kOffsetCommit,
                           Api::kJoinGroup, Api::kSyncGroup, Api::kHeartbeat,   Api::kOffsetFetch};
  // What must be in the log, in order: each acknowledged one, and whatever a member that failed
  // may have got through.
  std::vector<std::string> acknowledged;
  Offset committed = 0;
  int written = 0;
  int members = 1;
  rig.Open();
  for (int sequence = 0; sequence < sequences; ++sequence) {
    SCOPED_TRACE("sequence " + std::to_string(sequence));
    std::mt19937 random(static_cast<unsigned>(sequence));
    const auto draw = [&](std::size_t n) {
      return std::uniform_int_distribution<std::size_t>(0, n - 1)(random);
    };
    for (std::size_t i = 0; i < 2 + draw(5); ++i) {
      const rd_kafka_resp_err_t code = kCodes[draw(std::size(kCodes))];
      rig.cluster().AnswerBy(kApis[draw(std::size(kApis))],
                             std::vector<rd_kafka_resp_err_t>(1 + draw(2), code));
    }
    std::vector<std::pair<ProduceId, std::string>> sent;
    for (std::size_t i = 0; i < 5 + draw(20); ++i) {
      const std::string key = "k" + std::to_string(written++);
      sent.emplace_back(rig.member().Produce(Topic::kChanges, 0, key, "v"), key);
      if (draw(4) == 0) rig.member().PollFor(milliseconds(3));
    }
    const auto all_told = [&] {
      return std::all_of(sent.begin(), sent.end(), [&](const auto& each) {
        return rig.member().produced.contains(each.first);
      });
    };
    ASSERT_TRUE(rig.member().Until(all_told));
    bool failed = rig.has_failed();
    for (const auto& [id, key] : sent) {
      if (!rig.member().produced[id].error.empty()) {
        failed = true;
      } else {
        acknowledged.push_back(key);
      }
    }
    if (!failed) {
      const auto next = static_cast<Offset>(written);
      if (rig.member().Commit(Topic::kChanges, 0, next).empty()) committed = next;
    }
    if (failed) {
      ++members;
      committed = 0;  // Of another group.
      rig.Open();
    }
    eventlog::CommittedOffset position;
    ASSERT_TRUE(rig.member().Until([&] {
      position = rig.member().Committed(Topic::kChanges, 0);
      return position.error.empty();
    }));
    ASSERT_EQ(position.next.value_or(0), committed);
  }
  // What errors are left meet who reads last, behind a last record that nothing stands behind.
  std::string last;
  do {
    if (!last.empty()) rig.Open();
    last = "k" + std::to_string(written++);
  } while (rig.member().ProduceAndWait(Topic::kChanges, 0, last, "v") < 0);
  rig.member().log().StartReading(Topic::kChanges, 0, 0);
  EXPECT_TRUE(rig.member().Until([&] {
    for (const eventlog::OutOfRange& told : std::exchange(rig.member().out_of_range, {})) {
      rig.member().log().StartReading(Topic::kChanges, 0, told.asked);
    }
    const std::vector<Record>& read = rig.member().At(Topic::kChanges, 0);
    return !read.empty() && read.back().key == last;
  }));
  const std::vector<std::string> keys = rig.member().Keys(Topic::kChanges, 0);
  EXPECT_TRUE(std::is_sorted(keys.begin(), keys.end(), ByNumber));
  EXPECT_EQ(std::set(keys.begin(), keys.end()).size(), keys.size());
  EXPECT_THAT(keys, IsSupersetOf(acknowledged));
  EXPECT_GT(members, 1) << "no sequence ended a member";
}

}  // namespace
}  // namespace tributary::conformance

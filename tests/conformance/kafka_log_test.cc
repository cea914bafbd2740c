#include "libs/eventlog/kafka/kafka_log.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <librdkafka/rdkafka.h>

#include "libs/eventlog/clock.h"
#include "libs/eventlog/kafka/configuration.h"
#include "tests/conformance/bad_link.h"
#include "tests/conformance/driver.h"
#include "tests/conformance/log_under_test.h"
#include "tests/conformance/temporary_directory.h"

// A real broker, named by TRIBUTARY_KAFKA. Without one every test here fails: a conformance that
// was not looked at is not one.

namespace tributary::conformance {
namespace {

using eventlog::KafkaLog;
using eventlog::KafkaOptions;
using eventlog::Offset;
using eventlog::Partition;
using eventlog::Record;
using eventlog::Topic;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

// What the broker takes at least by its default.
constexpr seconds kSessionTimeout{6};

std::string Broker() {
  const char* const broker = std::getenv("TRIBUTARY_KAFKA");
  return broker == nullptr ? "" : broker;
}

std::string UniquePrefix() {
  std::random_device random;
  return "conformance-" + std::to_string(random()) + "-" + std::to_string(random()) + ".";
}

KafkaOptions OptionsFor(const std::string& prefix) {
  KafkaOptions options;
  options.bootstrap_servers = Broker();
  options.topic_prefix = prefix;
  options.topics.partitions = kPartitions;
  options.topics.record_bytes_max = kRecordBytesMax;
  options.topics.min_compaction_lag = milliseconds(100);
  options.session_timeout = kSessionTimeout;
  // Compaction leaves the segment alone that is being written: let it be a short one.
  options.table_settings = {{"segment.ms", "100"}, {"min.cleanable.dirty.ratio", "0.001"}};
  return options;
}

class KafkaUnderTest final : public LogUnderTest {
 public:
  explicit KafkaUnderTest(std::unique_ptr<KafkaLog> log, std::string prefix)
      : prefix_(std::move(prefix)), log_(std::move(log)) {}
  ~KafkaUnderTest() override { DeleteTopics(); }

  absl::StatusOr<std::unique_ptr<eventlog::LogMember>> Join(const std::string& group,
                                                            const std::string& instance) override {
    return log_->Join(prefix_ + group, instance, {.committed = {Topic::kChanges, Topic::kEvents}});
  }
  std::unique_ptr<eventlog::LogAdmin> MakeAdmin() override { return log_->MakeAdmin(); }
  void Reopen() override {
    auto log = KafkaLog::Open(OptionsFor(prefix_));
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
  }

  void Compact(Topic table, Partition partition) override {
    const auto admin = log_->MakeAdmin();
    const Instant until = eventlog::BootTime() + seconds(60);
    std::vector<std::string> keys;
    while (eventlog::BootTime() < until) {
      std::this_thread::sleep_for(milliseconds(300));
      // A segment is closed by the first record behind its time.
      ASSERT_TRUE(admin->Append(table, {{partition, std::string(kFillerKey), "f", {}}}).ok());
      keys.clear();
      ASSERT_TRUE(admin
                      ->ReadAll(table,
                                [&](const Record& record) {
                                  if (record.partition == partition && record.key != kFillerKey) {
                                    keys.push_back(record.key);
                                  }
                                  return true;
                                })
                      .ok());
      if (std::set<std::string>(keys.begin(), keys.end()).size() == keys.size()) return;
    }
    FAIL() << "the broker has not compacted in a minute";
  }

  void LetTimePass() override {}

  void DropBefore(Topic stream, Partition partition, Offset offset) override {
    rd_kafka_t* const client = Client();
    rd_kafka_topic_partition_list_t* const list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, (prefix_ + std::string(Name(stream))).c_str(),
                                      partition)
        ->offset = offset;
    rd_kafka_DeleteRecords_t* request = rd_kafka_DeleteRecords_new(list);
    rd_kafka_queue_t* const queue = rd_kafka_queue_new(client);
    rd_kafka_DeleteRecords(client, &request, 1, nullptr, queue);
    rd_kafka_event_t* const event = rd_kafka_queue_poll(queue, 30'000);
    EXPECT_NE(event, nullptr);
    EXPECT_EQ(rd_kafka_event_error(event), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_DeleteRecords_destroy(request);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(client);
  }

 private:
  static rd_kafka_t* Client() {
    rd_kafka_conf_t* const configuration = rd_kafka_conf_new();
    char error[512];
    rd_kafka_conf_set(configuration, "bootstrap.servers", Broker().c_str(), error, sizeof error);
    return rd_kafka_new(RD_KAFKA_PRODUCER, configuration, error, sizeof error);
  }

  void DeleteTopics() {
    rd_kafka_t* const client = Client();
    std::vector<rd_kafka_DeleteTopic_t*> topics;
    for (const Topic topic : eventlog::kAllTopics) {
      topics.push_back(rd_kafka_DeleteTopic_new((prefix_ + std::string(Name(topic))).c_str()));
    }
    rd_kafka_queue_t* const queue = rd_kafka_queue_new(client);
    rd_kafka_DeleteTopics(client, topics.data(), topics.size(), nullptr, queue);
    if (rd_kafka_event_t* const event = rd_kafka_queue_poll(queue, 10'000)) {
      rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(queue);
    rd_kafka_DeleteTopic_destroy_array(topics.data(), topics.size());
    rd_kafka_destroy(client);
  }

  const std::string prefix_;
  std::unique_ptr<KafkaLog> log_;
};

std::unique_ptr<KafkaUnderTest> MakeKafka(const KafkaOptions& options) {
  if (Broker().empty()) {
    ADD_FAILURE()
        << "TRIBUTARY_KAFKA is not set. Start a broker by `./dev kafka up`, and set it to "
           "127.0.0.1:9092";
    return nullptr;
  }
  auto log = KafkaLog::Open(options);
  EXPECT_TRUE(log.ok()) << log.status();
  if (!log.ok()) return nullptr;
  const absl::Status status = (*log)->MakeAdmin()->EnsureTopics();
  EXPECT_TRUE(status.ok()) << status;
  if (!status.ok()) return nullptr;
  return std::make_unique<KafkaUnderTest>(*std::move(log), options.topic_prefix);
}

class KafkaLogTest : public testing::Test {
 protected:
  void SetUp() override {
    log_ = MakeKafka(options_);
    ASSERT_NE(log_, nullptr);
  }

  std::unique_ptr<Driver> Join(const std::string& instance) {
    auto member = log_->Join("g", instance);
    EXPECT_TRUE(member.ok()) << member.status();
    return std::make_unique<Driver>(*std::move(member));
  }

  /// Polls both until it holds: neither must keep the group waiting for the other.
  static bool Until(Driver& one, Driver& two, const std::function<bool()>& holds,
                    seconds timeout = seconds(60)) {
    const Instant until = eventlog::BootTime() + timeout;
    while (!holds()) {
      if (eventlog::BootTime() >= until) return false;
      one.PollOnce(milliseconds(10));
      two.PollOnce(milliseconds(10));
    }
    return true;
  }

  KafkaOptions options_ = OptionsFor(UniquePrefix());
  std::unique_ptr<KafkaUnderTest> log_;
};

TEST_F(KafkaLogTest, HandsPartitionsOverToASecondMemberAndAllOfThemBackWhenItHasGone) {
  const auto one = Join("one");
  ASSERT_TRUE(one->UntilAssigned(kPartitions));
  auto two = Join("two");
  ASSERT_TRUE(Until(*one, *two, [&] {
    return !one->assigned.empty() && !two->assigned.empty() &&
           one->assigned.size() + two->assigned.size() == kPartitions;
  }));
  for (const Partition p : two->assigned) EXPECT_FALSE(one->assigned.contains(p)) << p;
  EXPECT_THAT(one->revocations, SizeIs(1));
  EXPECT_THAT(one->losses, IsEmpty());
  EXPECT_EQ(one->RenewLease().error, "");
  EXPECT_EQ(two->RenewLease().error, "");

  EXPECT_TRUE(two->log().Close(seconds(10)).ok());
  two.reset();
  // A static member does not say goodbye: its session has to end.
  EXPECT_TRUE(one->UntilAssigned(kPartitions));
}

TEST_F(KafkaLogTest, GivesTheSecondMemberNothingBeforeTheFirstHasFinishedRevoking) {
  const auto one = Join("one");
  ASSERT_TRUE(one->UntilAssigned(kPartitions));
  one->finishes_revoking = false;
  const auto two = Join("two");
  ASSERT_TRUE(Until(*one, *two, [&] { return !one->revocations.empty(); }));
  const Instant until = eventlog::BootTime() + seconds(2);
  while (eventlog::BootTime() < until) {
    one->PollOnce(milliseconds(10));
    two->PollOnce(milliseconds(10));
    ASSERT_THAT(two->assigned, IsEmpty());
  }
  // What was open is finished now: it still counts.
  EXPECT_GE(one->ProduceAndWait(Topic::kRecords, 0, "last", "v"), 0);
  EXPECT_EQ(one->Commit(Topic::kEvents, 0, 3), "");
  EXPECT_EQ(one->RenewLease().error, "");
  one->finishes_revoking = true;
  one->log().FinishRevoking();
  EXPECT_TRUE(Until(*one, *two, [&] { return !one->assigned.empty() && !two->assigned.empty(); }));
}

TEST_F(KafkaLogTest, GivesThePartitionsOfASilentMemberToTheOtherAndRefusesItsLease) {
  auto one = Join("one");
  ASSERT_TRUE(one->UntilAssigned(kPartitions));
  const auto two = Join("two");
  ASSERT_TRUE(Until(*one, *two, [&] { return !one->assigned.empty() && !two->assigned.empty(); }));
  one->Drop();
  EXPECT_TRUE(two->UntilAssigned(kPartitions));
}

TEST_F(KafkaLogTest, EndsTheEarlierOfTwoMembersOfOneInstance) {
  const auto one = Join("same");
  ASSERT_TRUE(one->UntilAssigned(kPartitions));
  const auto two = Join("same");
  ASSERT_TRUE(Until(*one, *two, [&] { return !one->failures.empty(); }));
  EXPECT_THAT(one->failures[0], HasSubstr("FENCED"));
  EXPECT_THAT(one->RenewLease().error, Not(IsEmpty()));
  EXPECT_TRUE(two->UntilAssigned(kPartitions));
  EXPECT_EQ(two->RenewLease().error, "");
}

TEST_F(KafkaLogTest, WaitsForTopicsThatAreNotThereYet) {
  KafkaOptions options = OptionsFor(UniquePrefix());
  auto log = KafkaLog::Open(options);
  ASSERT_TRUE(log.ok());
  auto member = (*log)->Join(options.topic_prefix + "g", "one", {.committed = {Topic::kChanges}});
  ASSERT_TRUE(member.ok());
  Driver driver(*std::move(member));
  driver.PollFor(seconds(1));
  EXPECT_THAT(driver.assigned, IsEmpty());
  EXPECT_THAT(driver.failures, IsEmpty());
  const auto made = MakeKafka(options);
  ASSERT_NE(made, nullptr);
  EXPECT_TRUE(driver.UntilAssigned(kPartitions));
}

TEST_F(KafkaLogTest, FailsWhenTopicsHaveAnotherNumberOfPartitions) {
  KafkaOptions options = options_;
  options.topics.partitions = kPartitions + 1;
  auto log = KafkaLog::Open(options);
  ASSERT_TRUE(log.ok());
  EXPECT_EQ((*log)->MakeAdmin()->EnsureTopics().code(), absl::StatusCode::kFailedPrecondition);
  auto member = (*log)->Join(options.topic_prefix + "h", "one", {.committed = {Topic::kChanges}});
  ASSERT_TRUE(member.ok());
  Driver driver(*std::move(member));
  ASSERT_TRUE(driver.Until([&] { return !driver.failures.empty(); }));
  EXPECT_THAT(driver.failures[0], HasSubstr("log.partitions"));
}

TEST_F(KafkaLogTest, MakesTopicsAgainWithoutHarm) {
  EXPECT_TRUE(log_->MakeAdmin()->EnsureTopics().ok());
}

TEST_F(KafkaLogTest, RemovesItsTopicsAndMakesThemNew) {
  const auto neighbour = MakeKafka(OptionsFor(options_.topic_prefix + "neighbour."));
  ASSERT_NE(neighbour, nullptr);
  const auto admin = log_->MakeAdmin();
  ASSERT_TRUE(admin->Append(Topic::kChanges, {{1, "k", "old", {}}}).ok());
  ASSERT_TRUE(neighbour->MakeAdmin()->Append(Topic::kChanges, {{1, "k", "kept", {}}}).ok());

  ASSERT_TRUE(admin->RemoveTopics().ok());
  EXPECT_TRUE(admin->RemoveTopics().ok()) << "those that are not there are no error";
  EXPECT_TRUE(absl::IsUnavailable(admin->CheckTopics()));
  EXPECT_TRUE(absl::IsUnavailable(admin->CheckTopics())) << "looking makes none";
  ASSERT_TRUE(admin->EnsureTopics().ok());
  EXPECT_TRUE(admin->CheckTopics().ok());

  const auto count = [](eventlog::LogAdmin& of) {
    int records = 0;
    EXPECT_TRUE(of.ReadAll(Topic::kChanges, [&](const Record&) { return ++records > 0; }).ok());
    return records;
  };
  EXPECT_EQ(count(*admin), 0);
  EXPECT_EQ(count(*neighbour->MakeAdmin()), 1);
}

TEST_F(KafkaLogTest, CommitsOfTopicsThatTheGroupDoesNotFollowAreKeptToo) {
  const auto one = Join("one");
  ASSERT_TRUE(one->UntilAssigned(kPartitions));
  EXPECT_EQ(one->Commit(Topic::kCommands, 2, 17), "");
  EXPECT_EQ(one->Committed(Topic::kCommands, 2).next, 17);
}

// librdkafka 2.0.2 fetches nothing for a second after its buffer was full, which it is whenever the
// reader was busy for a moment: twenty-five buffers would be as many seconds.
TEST_F(KafkaLogTest, ReadsOnAtOnceWhenItsFetchBufferWasFull) {
  KafkaOptions options = OptionsFor(UniquePrefix());
  options.fetch_buffer_bytes = std::int64_t{1} << 20;
  log_ = MakeKafka(options);
  ASSERT_NE(log_, nullptr);
  const auto member = Join("one");
  ASSERT_TRUE(member->UntilAssigned(kPartitions));
  constexpr int kCount = 200;
  std::mt19937_64 random(7);
  for (int i = 0; i < kCount; ++i) {
    // Nothing that compresses: fetches are bounded by compressed bytes, the buffer is not.
    std::string value(std::size_t{256} << 10, '\0');
    for (std::size_t at = 0; at + 8 <= value.size(); at += 8) {
      const std::uint64_t bits = random();
      std::memcpy(value.data() + at, &bits, sizeof bits);
    }
    member->Produce(Topic::kChanges, 0, std::to_string(i), std::move(value));
    if (i % 16 == 15) {
      ASSERT_TRUE(member->UntilAllProduced());
    }
  }
  const Instant before = eventlog::BootTime();
  member->log().StartReading(Topic::kChanges, 0, 0);
  while (member->At(Topic::kChanges, 0).size() < kCount &&
         eventlog::BootTime() - before < seconds(40)) {
    std::this_thread::sleep_for(milliseconds(100));
    member->PollFor(milliseconds(50));
  }
  EXPECT_THAT(member->At(Topic::kChanges, 0), SizeIs(kCount));
  EXPECT_LT(eventlog::BootTime() - before, seconds(8));
}

// Small records fill it by their number: librdkafka's own object of each counts as well.
TEST_F(KafkaLogTest, FetchesNoMoreThanItsBufferTakesAndGivesAllOfIt) {
  KafkaOptions options = OptionsFor(UniquePrefix());
  options.fetch_buffer_bytes = std::int64_t{1} << 20;
  log_ = MakeKafka(options);
  ASSERT_NE(log_, nullptr);
  const auto member = Join("one");
  ASSERT_TRUE(member->UntilAssigned(kPartitions));
  constexpr int kCount = 20'000;
  for (int i = 0; i < kCount; ++i) {
    member->Produce(Topic::kChanges, 0, std::to_string(i), "v");
    // Batches of a hundred, so that one answer is not everything.
    if (i % 100 == 99) {
      ASSERT_TRUE(member->UntilAllProduced());
    }
  }
  // Nobody takes anything: a stage that is busy.
  member->log().StartReading(Topic::kChanges, 0, 0);
  const std::int64_t records_max = member->log().fetch_buffer().records_max;
  const Instant until = eventlog::BootTime() + seconds(20);
  while (member->log().fetch_buffer().records < records_max && eventlog::BootTime() < until) {
    std::this_thread::sleep_for(milliseconds(50));
  }
  std::this_thread::sleep_for(milliseconds(1500));  // It may look again after a second.
  EXPECT_GE(member->log().fetch_buffer().records, records_max);
  EXPECT_LT(member->log().fetch_buffer().records, kCount / 2);
  EXPECT_TRUE(member->Until([&] { return member->At(Topic::kChanges, 0).size() >= kCount; }));
  EXPECT_THAT(member->At(Topic::kChanges, 0), SizeIs(kCount));
  member->PollFor(milliseconds(200));
  EXPECT_LE(member->log().fetch_buffer().records, 1);
}

/// A member whose every byte to and from the broker passes a link that can be made bad.
class KafkaLinkTest : public KafkaLogTest {
 protected:
  void Open() {
    member_.reset();
    KafkaOptions options = options_;
    options.bootstrap_servers = link_.address();
    // So that the test need not wait for half a minute.
    options.settings["socket.timeout.ms"] = "2000";
    auto log = KafkaLog::Open(options);
    ASSERT_TRUE(log.ok()) << log.status();
    linked_ = *std::move(log);
    auto member = linked_->Join(options.topic_prefix + std::to_string(++groups_), "one",
                                {.committed = {Topic::kChanges}});
    ASSERT_TRUE(member.ok()) << member.status();
    member_ = std::make_unique<Driver>(*std::move(member));
    ASSERT_TRUE(member_->UntilAssigned(kPartitions));
  }

  /// By somebody whom the link does not concern.
  std::vector<std::string> KeysInTheLog() {
    std::vector<std::string> keys;
    EXPECT_TRUE(log_->MakeAdmin()
                    ->ReadAll(Topic::kChanges,
                              [&](const Record& record) {
                                keys.push_back(record.key);
                                return true;
                              })
                    .ok());
    return keys;
  }

  void LosesNothingWhile(const std::function<void(bool)>& cut, milliseconds time) {
    Open();
    ASSERT_EQ(member_->ProduceAndWait(Topic::kChanges, 0, "before", "v"), 0);
    cut(true);
    const eventlog::ProduceId id = member_->Produce(Topic::kChanges, 0, "cut", "v");
    member_->log().RenewLease(77);
    member_->PollFor(time);
    EXPECT_FALSE(member_->produced.contains(id)) << "the link is not cut";
    // Nobody says that the lease is held on, so it ends by itself (rule 11).
    EXPECT_TRUE(!member_->leases.contains(77) || !member_->leases[77].error.empty());
    cut(false);
    ASSERT_TRUE(member_->Until([&] { return member_->produced.contains(id); }));
    EXPECT_EQ(member_->produced[id].error, "");
    EXPECT_EQ(member_->ProduceAndWait(Topic::kChanges, 0, "after", "v"), 2);
    EXPECT_THAT(KeysInTheLog(), ElementsAre("before", "cut", "after"));
    EXPECT_TRUE(member_->Until([&] {
      return member_->assigned.size() == kPartitions && member_->RenewLease().error.empty();
    }));
    EXPECT_THAT(member_->failures, IsEmpty());
  }

  BadLink link_{Broker()};
  std::unique_ptr<KafkaLog> linked_;
  int groups_ = 0;
  std::unique_ptr<Driver> member_;
};

// Row K9: one direction alone is cut, shorter and longer than what a request waits for its answer.
TEST_F(KafkaLinkTest, AnswersThatDoNotComeLoseAndDoubleNothing) {
  LosesNothingWhile([&](bool cut) { link_.HoldAnswers(cut); }, milliseconds(1000));
}
TEST_F(KafkaLinkTest, AnswersThatComeTooLateLoseAndDoubleNothing) {
  LosesNothingWhile([&](bool cut) { link_.HoldAnswers(cut); }, milliseconds(9000));
}
TEST_F(KafkaLinkTest, RequestsThatDoNotArriveLoseAndDoubleNothing) {
  LosesNothingWhile([&](bool cut) { link_.HoldRequests(cut); }, milliseconds(1000));
}
TEST_F(KafkaLinkTest, RequestsThatArriveTooLateLoseAndDoubleNothing) {
  LosesNothingWhile([&](bool cut) { link_.HoldRequests(cut); }, milliseconds(9000));
}

// Row K11.
TEST_F(KafkaLinkTest, ABatchThatWasDamagedOnItsWayIsNeverGivenAndReadAgain) {
  const std::string text = "0123456789-damaged-9876543210";
  Open();
  for (int i = 0; i < 10; ++i) {
    const std::string value = i == 5 ? text : "v";
    ASSERT_EQ(member_->ProduceAndWait(Topic::kChanges, 0, "k" + std::to_string(i), value), i);
  }
  for (int times = 1; times <= 3; ++times) {
    link_.Damage(text, 1);
    member_->log().StartReading(Topic::kChanges, 0, 0);
    ASSERT_TRUE(member_->Until([&] { return !member_->failures.empty(); })) << times;
    EXPECT_THAT(member_->failures[0], HasSubstr("changes is damaged at 5"));
    EXPECT_EQ(link_.damages_left(), 0);
    // librdkafka passes over the batch: nothing behind it may be taken for what comes next.
    member_->PollFor(milliseconds(500));
    EXPECT_LE(member_->At(Topic::kChanges, 0).size(), 5U);
    Open();
  }
  member_->log().StartReading(Topic::kChanges, 0, 0);
  ASSERT_TRUE(member_->Until([&] { return member_->At(Topic::kChanges, 0).size() >= 10; }));
  EXPECT_EQ(member_->At(Topic::kChanges, 0)[5].value, text);
}

TEST_F(KafkaLogTest, ClosesInTimeWhenTheBrokerIsNotThere) {
  KafkaOptions options = options_;
  options.bootstrap_servers = "127.0.0.1:1";
  auto log = KafkaLog::Open(options);
  ASSERT_TRUE(log.ok());
  auto member = (*log)->Join("g", "one", {.committed = {Topic::kChanges}});
  ASSERT_TRUE(member.ok());
  (*member)->Produce(1, Topic::kEvents, 0, "k", "v", {});
  const Instant before = eventlog::BootTime();
  EXPECT_EQ((*member)->Close(seconds(2)).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_LT(eventlog::BootTime() - before, seconds(4));
}

TEST(KafkaOptionsTest, NamesEverySettingThatIsNotForTheUserWithTheReason) {
  KafkaOptions options;
  options.bootstrap_servers = "127.0.0.1:9092";
  options.settings = {{"acks", "1"},
                      {"no.such.thing", "x"},
                      {"auto.offset.reset", "latest"},
                      {"socket.timeout.ms", "5000"},
                      {"ssl.endpoint.identification.algorithm", "none"},
                      {"enable.ssl.certificate.verification", "false"},
                      {"sasl.password", "hunter2"}};
  const auto log = KafkaLog::Open(options);
  ASSERT_EQ(log.status().code(), absl::StatusCode::kInvalidArgument);
  const std::string text(log.status().message());
  EXPECT_THAT(text, HasSubstr("log.kafka.acks: is not for the configuration"));
  EXPECT_THAT(text, HasSubstr("a silent reset is a silent loss"));
  EXPECT_THAT(text, HasSubstr("no.such.thing"));
  EXPECT_THAT(text, HasSubstr("sasl.password.file"));
  EXPECT_THAT(text, HasSubstr("whoever answers would be believed"));
  EXPECT_THAT(text, HasSubstr("any broker of the authority would be believed"));
  EXPECT_THAT(text, Not(HasSubstr("hunter2")));
  EXPECT_THAT(text, Not(HasSubstr("socket.timeout.ms")));
}

TEST(KafkaOptionsTest, TakesPasswordsFromFiles) {
  TemporaryDirectory directory;
  const std::string path = directory.path() + "/password";
  std::ofstream(path) << "hunter2\n";
  std::filesystem::permissions(path, std::filesystem::perms(0640));
  KafkaOptions options;
  options.bootstrap_servers = "127.0.0.1:9092";
  options.settings = {{"sasl.password.file", path}};
  EXPECT_TRUE(KafkaLog::Open(options).ok());
  options.settings = {{"sasl.password.file", path + "-missing"}};
  EXPECT_EQ(KafkaLog::Open(options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(KafkaOptionsTest, RefusesAPasswordThatIsOpenToEverybody) {
  TemporaryDirectory directory;
  const std::string path = directory.path() + "/password";
  std::ofstream(path) << "hunter2\n";
  std::filesystem::permissions(path, std::filesystem::perms(0644));
  KafkaOptions options;
  options.bootstrap_servers = "127.0.0.1:9092";
  options.settings = {{"sasl.password.file", path}};
  const auto log = KafkaLog::Open(options);
  ASSERT_EQ(log.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(log.status().message()),
              HasSubstr("log.kafka.sasl.password.file: " + path +
                        " is open to everybody; run: " + "chmod o-rwx " + path));
}

TEST(KafkaOptionsTest, SaysThatOldScramIsRefused) {
  KafkaOptions options;
  options.settings = {{"sasl.mechanism", "SCRAM-SHA-512"}};
  EXPECT_THAT(eventlog::kafka::WarningOf(options, 0x020002ff),
              HasSubstr("log.kafka.sasl.mechanism: "));
  EXPECT_EQ(eventlog::kafka::WarningOf(options, 0x020601ff), "");
  options.settings = {{"sasl.mechanism", "PLAIN"}};
  EXPECT_EQ(eventlog::kafka::WarningOf(options, 0x020002ff), "");
}

}  // namespace

std::unique_ptr<LogUnderTest> MakeLogUnderTest() { return MakeKafka(OptionsFor(UniquePrefix())); }

}  // namespace tributary::conformance

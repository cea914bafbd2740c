#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/eventlog/owner.h"
#include "libs/eventlog/testing/simulated_log.h"

// Owners on a simulated log, for the tests of owner.h.

namespace tributary::eventlog {

inline constexpr Duration kLease = std::chrono::seconds(10);
inline constexpr Duration kPause = std::chrono::seconds(5);

// A process with one owner in it, driven by virtual time. Its disk outlives it if the test says so.
class Node : public OwnerListener {
 public:
  Node(testing::VirtualTime& time, testing::SimulatedLog& log, OwnerOptions options,
       LocalStores& stores, testing::MemberDelays delays)
      : time_(time),
        log_(log),
        member_(log.Join(options.service, options.instance, delays)),
        owner_(
            options, *member_, stores, [] { return ++random_; }, *this) {
    member_->OnFacts([this] { Wake(); });
  }
  ~Node() override { *alive_ = false; }

  void Kill() {
    *alive_ = false;
    log_.Kill(*member_);
  }
  // Stops without notice, as under SIGSTOP.
  void Suspend() { suspended_ = true; }
  void Resume() {
    suspended_ = false;
    Wake();
  }

  testing::SimulatedMember& member() { return *member_; }
  Owner& owner() { return owner_; }
  bool ready() const { return owner_.ready(0); }
  bool may_send() const { return owner_.may_send(time_.now(), 0); }

  ProduceId Write(Topic topic, std::string_view key, std::optional<std::string> value) {
    return owner_.Write(topic, 0, key, std::move(value));
  }

  void OnReady(const Takeover& takeover) override {
    takeovers.push_back(takeover);
    ready_at = time_.now().steady;
  }
  void OnEntry(Topic topic, Partition, std::string_view key,
               const std::optional<TableEntry>& entry) override {
    std::string text(Name(topic));
    text += " " + std::string(key);
    text += !entry ? " gone" : entry->is_void ? " void" : "=" + entry->value;
    entries.push_back(text);
  }
  void OnStreamRecord(const Record& record) override { stream.push_back(record.key); }
  void OnWritten(ProduceId id, Offset) override { written.push_back(id); }
  void OnGone(Partition) override { ++gone; }
  void OnRevoking(Partition partition, Instant) override {
    ++revoking;
    if (releases_at_once) owner_.Release(partition);
  }

  std::vector<Takeover> takeovers;
  Instant ready_at{};
  std::vector<std::string> entries;
  std::vector<std::string> stream;
  std::vector<ProduceId> written;
  int gone = 0;
  int revoking = 0;
  bool releases_at_once = true;

 private:
  void Wake() {
    time_.After(Duration::zero(), [this, alive = alive_] {
      if (*alive) Step();
    });
  }
  void Step() {
    if (suspended_) return;
    for (const Fact& fact : member_->Poll()) owner_.OnFact(time_.now(), fact);
    owner_.OnTick(time_.now());
    const Instant next = owner_.next_tick();
    if (next != Instant::max() && next != scheduled_) {
      scheduled_ = next;
      time_.At(next, [this, next, alive = alive_] {
        if (!*alive) return;
        if (scheduled_ == next) scheduled_ = Instant::max();
        Step();
      });
    }
  }

  testing::VirtualTime& time_;
  testing::SimulatedLog& log_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  bool suspended_ = false;
  Instant scheduled_ = Instant::max();
  static inline std::uint64_t random_ = 0;
  std::unique_ptr<testing::SimulatedMember> member_;
  Owner owner_;
};

class OwnerTest : public ::testing::Test {
 protected:
  static OwnerOptions Loader(std::string instance) {
    OwnerOptions options;
    options.service = "loader";
    options.instance = std::move(instance);
    options.writes = {Topic::kRecords};
    options.reads = {Topic::kTenants, Topic::kCommands};
    options.is_leased = true;
    options.lease = kLease;
    options.pause_bound = kPause;
    options.min_compaction_lag = std::chrono::hours(1);
    options.delete_retention = std::chrono::hours(24);
    return options;
  }
  static OwnerOptions Extractor(std::string instance) {
    OwnerOptions options = Loader(std::move(instance));
    options.service = "extractor";
    options.writes = {Topic::kCursors, Topic::kChanges};
    options.reads = {Topic::kTenants};
    return options;
  }
  static OwnerOptions Transformer(std::string instance) {
    OwnerOptions options = Loader(std::move(instance));
    options.service = "transformer";
    options.writes = {Topic::kCommands};
    options.reads = {Topic::kTenants, Topic::kChanges};
    options.streams = {Topic::kEvents};
    options.persists_when_told = {Topic::kChanges};
    options.is_leased = false;
    return options;
  }

  std::unique_ptr<Node> Start(OwnerOptions options, LocalStores* stores = nullptr) {
    if (stores == nullptr) {
      disks_.push_back(MakeMemoryStores());
      stores = disks_.back().get();
    }
    testing::MemberDelays delays;
    delays.request = {std::chrono::milliseconds(1), std::chrono::milliseconds(5)};
    delays.answer = {std::chrono::milliseconds(1), std::chrono::milliseconds(5)};
    delays.late = {std::chrono::milliseconds(1), std::chrono::milliseconds(50)};
    return std::make_unique<Node>(time_, log_, std::move(options), *stores, delays);
  }
  std::unique_ptr<Node> StartReady(OwnerOptions options, LocalStores* stores = nullptr) {
    auto node = Start(std::move(options), stores);
    log_.Assign(node->member(), {0});
    time_.RunFor(std::chrono::seconds(1));
    EXPECT_TRUE(node->ready()) << ::testing::PrintToString(node->owner().not_ready_because());
    return node;
  }
  /// So slow that a loss falls between any two steps of a take-over.
  static testing::MemberDelays SlowAnswers() {
    testing::MemberDelays delays;
    delays.request = {std::chrono::milliseconds(10), std::chrono::milliseconds(10)};
    delays.answer = delays.request;
    return delays;
  }
  std::vector<std::string> Keys(Topic topic, std::string_view prefix = "") {
    std::vector<std::string> keys;
    for (const Record& record : log_.records(topic, 0)) {
      if (record.key.starts_with(prefix)) keys.push_back(record.key);
    }
    return keys;
  }
  Offset OffsetOf(Topic topic, std::string_view prefix) {
    for (const Record& record : log_.records(topic, 0)) {
      if (record.key.starts_with(prefix)) return record.offset;
    }
    return -1;
  }

  testing::VirtualTime time_;
  testing::SimulatedLog log_{{}, time_, 7};
  std::vector<std::unique_ptr<LocalStores>> disks_;
};

}  // namespace tributary::eventlog

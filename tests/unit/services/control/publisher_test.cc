#include "services/control/publisher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/eventlog/clock.h"
#include "libs/eventlog/embedded/embedded_log.h"
#include "libs/eventlog/table.h"
#include "libs/ids/keys.h"
#include "tests/unit/services/control/fixture.h"

namespace tributary::control {
namespace {

using ::testing::ElementsAre;

class NoHttp : public http::ClientPort {
 public:
  void Send(http::RequestId, http::Request) override { std::abort(); }
  void Cancel(http::RequestId) override {}
};

class NoControl : public ControlPort {
 public:
  void Send(const v1::FromService&) override { std::abort(); }
};

// A publisher on the embedded log.
class PublisherTest : public ControlTest {
 protected:
  PublisherTest() {
    OpenLog("log");
    Begin();
  }
  ~PublisherTest() override { End(); }

  void OpenLog(const std::string& name) {
    log_ = eventlog::EmbeddedLog::Open(
               {.directory = directory / name, .topics = {.partitions = kPartitions}})
               .value();
    admin_ = log_->MakeAdmin();
    ASSERT_TRUE(admin_->EnsureTopics().ok());
    ASSERT_TRUE(eventlog::Found(*admin_, {.now = eventlog::SystemTime(), .random = random_}).ok());
  }

  void Begin() {
    member_ = log_->Join("tributary.control", "test").value();
    stores_ = eventlog::MakeMemoryStores();
    publisher_ = MakePublisher({.instance = "test", .partitions = kPartitions}, *core,
                               {*member_, *stores_, http_, control_, logger, random_});
  }

  void End() {
    publisher_.reset();
    if (member_ != nullptr) {
      EXPECT_TRUE(member_->Close(std::chrono::seconds(5)).ok());
    }
    member_.reset();
  }

  // Until nothing is left to do.
  void Settle() {
    const Instant deadline = eventlog::BootTime() + std::chrono::seconds(20);
    int quiet_turns = 0;
    while (quiet_turns < 3) {
      ASSERT_LT(eventlog::BootTime(), deadline) << "the publisher does not come to rest";
      const std::vector<eventlog::Fact> facts = member_->Poll(std::chrono::milliseconds(20));
      for (const eventlog::Fact& fact : facts) {
        publisher_->OnLog(Time(), fact);
      }
      publisher_->OnTick(Time());
      ASSERT_EQ(publisher_->failure(), "");
      quiet_turns = facts.empty() && publisher_->not_ready_because().empty() ? quiet_turns + 1 : 0;
    }
  }

  static Now Time() { return {eventlog::BootTime(), eventlog::SystemTime()}; }

  // Puts a record on the topic past the publisher. Without a token it is void.
  void Plant(const std::string& key, const std::string& value, const std::string& token = "") {
    eventlog::Headers headers;
    if (!token.empty()) {
      headers.emplace_back(eventlog::kTokenHeader, token);
    }
    member_->Produce(1'000'000 + ++planted_, eventlog::Topic::kTenants, AcmePartition(), key, value,
                     headers);
  }
  std::int32_t AcmePartition() const { return ids::PartitionOf("acme", kPartitions); }

  // By key: the newest value on the topic; none for a tombstone.
  std::map<std::string, std::optional<std::string>> Newest() {
    std::map<std::string, std::optional<std::string>> newest;
    EXPECT_TRUE(admin_
                    ->ReadAll(eventlog::Topic::kTenants,
                              [&](const eventlog::Record& record) {
                                newest[record.key] = record.value;
                                return true;
                              })
                    .ok());
    return newest;
  }

  // Everything on the topic that is no fence, in order: `blob`, `acme` or `-blob`, and snapshots.
  std::vector<std::string> Written() {
    std::vector<std::string> written;
    snapshots_.clear();
    EXPECT_TRUE(admin_
                    ->ReadAll(eventlog::Topic::kTenants,
                              [&](const eventlog::Record& record) {
                                if (record.key.starts_with("!b/")) {
                                  written.emplace_back(record.value ? "blob" : "-blob");
                                } else if (!record.key.starts_with("!")) {
                                  written.push_back(record.key);
                                  v1::TenantSnapshot& snapshot = snapshots_.emplace_back();
                                  EXPECT_TRUE(snapshot.ParseFromString(record.value.value()));
                                  offsets_[snapshots_.size() - 1] = record.offset;
                                }
                                return true;
                              })
                    .ok());
    return written;
  }

  std::uint64_t planted_ = 0;
  std::uint64_t last_random_ = 0;
  std::function<std::uint64_t()> random_ = [this] { return ++last_random_; };
  NoHttp http_;
  NoControl control_;
  std::unique_ptr<eventlog::EmbeddedLog> log_;
  std::unique_ptr<eventlog::LogAdmin> admin_;
  std::unique_ptr<eventlog::LogMember> member_;
  std::unique_ptr<eventlog::LocalStores> stores_;
  std::unique_ptr<Stage> publisher_;
  std::vector<v1::TenantSnapshot> snapshots_;
  std::map<std::size_t, eventlog::Offset> offsets_;
};

TEST_F(PublisherTest, BlobsComeBeforeTheSnapshotThatNamesThem) {
  Settle();
  Apply(AcmeRequest());
  Settle();

  EXPECT_THAT(Written(), ElementsAre("blob", "blob", "blob", "acme"));
  EXPECT_EQ(snapshots_[0].syncs(0).revision(), 0);
  EXPECT_EQ(snapshots_[0].connections(1).state(), v1::CONNECTION_STATE_LINKED);
}

TEST_F(PublisherTest, WhatIsOrderedBeforeTheLogIsReadyIsPublishedAtTheStart) {
  Apply(AcmeRequest());
  Settle();

  EXPECT_THAT(Written(), ElementsAre("blob", "blob", "blob", "acme"));
}

TEST_F(PublisherTest, AStartRepublishesNothingThatIsTheSame) {
  Settle();
  Apply(AcmeRequest());
  Settle();
  End();
  Open();
  Begin();
  Settle();

  EXPECT_THAT(Written(), ElementsAre("blob", "blob", "blob", "acme"));
}

TEST_F(PublisherTest, AStartRepublishesWhatDiffers) {
  Settle();
  Apply(AcmeRequest());
  Settle();
  // Ordered while the publisher is gone.
  End();
  v1::SetSyncPausedRequest pause;
  pause.set_tenant("acme");
  pause.set_sync("main");
  pause.set_paused(true);
  ASSERT_TRUE(core->SetSyncPaused(now, "tester", pause).ok());
  Open();
  Begin();
  Settle();

  EXPECT_THAT(Written(), ElementsAre("blob", "blob", "blob", "acme", "acme"));
  EXPECT_EQ(snapshots_[1].syncs(0).state(), v1::SYNC_STATE_PAUSED);
}

TEST_F(PublisherTest, ATopicThatWasMadeAnewGetsEverythingAgain) {
  Settle();
  Apply(AcmeRequest());
  Settle();
  End();
  log_.reset();
  OpenLog("another");
  Begin();
  Settle();

  EXPECT_THAT(Written(), ElementsAre("blob", "blob", "blob", "acme"));
  EXPECT_EQ(snapshots_[0].syncs(0).revision(), 0);
}

// Seed 914 of the simulation: it was taken for the newest snapshot, and nothing was written.
TEST_F(PublisherTest, WhatLandedInFrontOfAFoundingAfterALossIsWrittenAgain) {
  Settle();
  Apply(AcmeRequest());
  Settle();
  const std::string late = Newest()["acme"].value();
  End();
  log_.reset();
  log_ = eventlog::EmbeddedLog::Open(
             {.directory = directory / "another", .topics = {.partitions = kPartitions}})
             .value();
  admin_ = log_->MakeAdmin();
  ASSERT_TRUE(admin_->EnsureTopics().ok());
  ASSERT_TRUE(admin_
                  ->Append(eventlog::Topic::kTenants,
                           {{AcmePartition(),
                             "acme",
                             late,
                             {{std::string(eventlog::kTokenHeader),
                               eventlog::FormatToken({.generation = 5, .offset = 3})}}}})
                  .ok());
  ASSERT_TRUE(
      eventlog::Found(*admin_, {.now = eventlog::SystemTime(), .random = random_, .anew = true})
          .ok());
  Begin();
  Settle();

  EXPECT_THAT(Written(), ElementsAre("acme", "blob", "blob", "blob", "acme"));
}

// Rule 35: a change of anything else must not map every customer again.
TEST_F(PublisherTest, TheRevisionIsTheOffsetOfTheSnapshotThatLastChangedTheMapping) {
  Settle();
  Apply(AcmeRequest());
  Settle();
  v1::ApplyRequest request = AcmeRequest();
  request.mutable_tenants(0)->mutable_connections(1)->set_url("https://crm.example");
  Apply(request);
  Settle();
  request.mutable_tenants(0)->mutable_syncs(0)->set_mapping("m.yaml");
  (*request.mutable_files())["m.yaml"] = "mapping 2";
  Apply(request);
  Settle();
  request.mutable_tenants(0)->mutable_syncs(0)->set_paused(true);
  Apply(request);
  Settle();

  EXPECT_THAT(Written(),
              ElementsAre("blob", "blob", "blob", "acme", "acme", "blob", "acme", "-blob", "acme"));
  EXPECT_EQ(snapshots_[0].syncs(0).revision(), 0);
  EXPECT_EQ(snapshots_[1].syncs(0).revision(), offsets_[0]);
  EXPECT_EQ(snapshots_[2].syncs(0).revision(), 0);
  EXPECT_EQ(snapshots_[3].syncs(0).revision(), offsets_[2]);
}

// Rule 10: withdrawn is a value with a version, and so is what comes after it.
TEST_F(PublisherTest, RemovalAndRevivalOfASyncRaiseItsRevision) {
  Settle();
  Apply(AcmeRequest());
  Settle();
  v1::ApplyRequest removal = AcmeRequest();
  removal.mutable_tenants(0)->clear_syncs();
  removal.set_prune(true);
  Apply(removal);
  Settle();
  Apply(AcmeRequest());
  Settle();

  Written();
  ASSERT_EQ(snapshots_.size(), 3U);
  EXPECT_EQ(snapshots_[1].syncs(0).state(), v1::SYNC_STATE_REMOVED);
  EXPECT_EQ(snapshots_[1].syncs(0).revision(), 0);
  EXPECT_EQ(snapshots_[2].syncs(0).state(), v1::SYNC_STATE_ACTIVE);
  EXPECT_EQ(snapshots_[2].syncs(0).revision(), 0);
}

TEST_F(PublisherTest, ChangesInQuickSuccessionFollowOneAnother) {
  Settle();
  v1::ApplyRequest request = AcmeRequest();
  Apply(request);
  for (int i = 0; i < 5; ++i) {
    request.mutable_tenants(0)->mutable_connections(0)->set_concurrency(i + 1);
    Apply(request);
  }
  Settle();

  Written();
  ASSERT_FALSE(snapshots_.empty());
  EXPECT_EQ(snapshots_.back().connections(0).concurrency(), 5);
  for (std::size_t i = 1; i < snapshots_.size(); ++i) {
    EXPECT_EQ(snapshots_[i].syncs(0).revision(), offsets_[0]);
  }
}

TEST_F(PublisherTest, ATenantThatTheDatabaseDoesNotKnowIsLeftAlone) {
  Settle();
  Apply(AcmeRequest());
  Settle();
  End();
  // A lost database must not switch tenants off.
  core.reset();
  database.reset();
  std::filesystem::remove(directory / "control.db");
  Open();
  Begin();
  Settle();

  EXPECT_THAT(Written(), ElementsAre("blob", "blob", "blob", "acme"));
  EXPECT_THAT(logger.messages, ::testing::Contains(::testing::HasSubstr("left as it is")));
}

TEST_F(PublisherTest, Rule4_WhatADeadControlWroteBehindItsFenceIsWrittenAgain) {
  Settle();
  Apply(AcmeRequest());
  Settle();
  const auto before = Newest();
  const std::string blob = before.begin()->first;
  ASSERT_TRUE(blob.starts_with("!b/"));
  v1::TenantSnapshot zombies;
  zombies.set_tenant("acme");
  zombies.set_removed(true);

  for (const bool is_running : {true, false}) {
    if (!is_running) {
      End();
      member_ = log_->Join("tributary.test", "test").value();
    }
    Plant("acme", zombies.SerializeAsString());
    Plant(blob, "\x0a\x01x");
    if (!is_running) {
      for (int i = 0; i < 5; ++i) {
        member_->Poll(std::chrono::milliseconds(20));
      }
      End();
      Begin();
    }
    Settle();
    EXPECT_EQ(Newest().at(blob), before.at(blob)) << "running: " << is_running;
    v1::TenantSnapshot newest;
    ASSERT_TRUE(newest.ParseFromString(Newest().at("acme").value()));
    EXPECT_FALSE(newest.removed()) << "running: " << is_running;
    EXPECT_EQ(newest.syncs_size(), 1);
  }
}

TEST_F(PublisherTest, WhatCannotBeReadIsSetAsideInSightAndReplaced) {
  Settle();
  Apply(AcmeRequest());
  Settle();
  const auto before = Newest();
  const std::string token = "9999999999.0";

  Plant("acme", "\xff\xfe", token);
  Plant("nobody", "\xff\xfe", token);
  Plant("somebody", "\xff\xfe");
  Settle();

  const auto after = Newest();
  v1::TenantSnapshot newest;
  ASSERT_TRUE(newest.ParseFromString(after.at("acme").value()));
  EXPECT_EQ(newest.syncs_size(), 1);
  EXPECT_EQ(after.at("nobody"), std::nullopt);
  EXPECT_EQ(after.at("somebody"), std::nullopt);
  EXPECT_EQ(std::count(logger.messages.begin(), logger.messages.end(),
                       "A record cannot be decoded and is set aside."),
            3);
}

}  // namespace
}  // namespace tributary::control

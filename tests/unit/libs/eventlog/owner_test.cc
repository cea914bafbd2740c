#include "libs/eventlog/owner.h"

#include "tests/unit/libs/eventlog/owner_rig.h"
#include "tributary/v1/log.pb.h"

namespace tributary::eventlog {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

TEST_F(OwnerTest, Section0_AFirstInstallationWaitsForNothing) {
  log_.Found(5);

  const auto node = StartReady(Loader("a"));

  ASSERT_EQ(node->takeovers.size(), 1u);
  const Takeover& takeover = node->takeovers[0];
  EXPECT_FALSE(takeover.unclean);
  EXPECT_EQ(takeover.generation, 5);
  EXPECT_EQ(takeover.doubt_counts_from, takeover.began);
  EXPECT_TRUE(node->may_send());
}

TEST_F(OwnerTest, Section0_AServiceWaitsForTopicsThatHaveNotBeenSetUp) {
  const auto node = Start(Loader("a"));
  log_.Assign(node->member(), {0});
  time_.RunFor(seconds(3));

  EXPECT_FALSE(node->ready());
  EXPECT_THAT(node->owner().not_ready_because(), Contains(HasSubstr("partition 0: topic")));
  EXPECT_THAT(Keys(Topic::kRecords), IsEmpty());

  log_.Found(5);
  time_.RunFor(seconds(5));
  EXPECT_TRUE(node->ready());
}

TEST_F(OwnerTest, IsNotReadyBeforeTheGroupHasSpokenAndReadyWhenItGivesNothing) {
  log_.Found(5);
  const auto node = Start(Loader("a"));
  time_.RunFor(seconds(1));
  EXPECT_THAT(node->owner().not_ready_because(), ElementsAre("joining the group"));

  node->owner().OnFact(time_.now(), Assigned{});

  EXPECT_THAT(node->owner().not_ready_because(), IsEmpty());
}

TEST_F(OwnerTest, SaysWhatTheLogRefusesUntilItAnswers) {
  log_.Found(5);
  const auto node = Start(Transformer("a"));
  log_.Assign(node->member(), {0});
  while (node->owner().partitions().empty()) ASSERT_TRUE(time_.RunOne());
  // One of these is what it has asked for; the others are nobody's.
  for (std::uint64_t id = 1; id <= 10; ++id) {
    node->owner().OnFact(time_.now(), EndSampled{.id = id, .topic = Topic::kEvents, .error = "no"});
    node->owner().OnFact(time_.now(),
                         CommittedOffset{.id = id, .topic = Topic::kEvents, .error = "never"});
  }
  EXPECT_THAT(node->owner().not_ready_because(),
              Contains(::testing::AllOf(HasSubstr("the end of events: no"),
                                        HasSubstr("the position in events: never"))));

  // Their answers come while it is not ready yet: what they said is no reason any more.
  time_.RunFor(::std::chrono::milliseconds(1'100));
  for (const std::string& reason : node->owner().not_ready_because()) {
    EXPECT_THAT(reason, Not(HasSubstr("never")));
  }
  time_.RunFor(seconds(5));
  EXPECT_TRUE(node->ready());
}

TEST_F(OwnerTest, Section0_DifferentGenerationsAreNotReady) {
  for (const Topic topic : {Topic::kTenants, Topic::kRecords}) log_.FoundTable(topic, 0, 5);
  log_.FoundTable(Topic::kCommands, 0, 4);

  const auto node = Start(Loader("a"));
  log_.Assign(node->member(), {0});
  time_.RunFor(seconds(30));

  EXPECT_FALSE(node->ready());
  EXPECT_THAT(node->owner().not_ready_because(), Contains(HasSubstr("generation")));
  EXPECT_THAT(Keys(Topic::kRecords, "!f/loader"), IsEmpty());
}

TEST_F(OwnerTest, Rule1_WritesAFenceFirstAndPutsItsOffsetIntoEveryEntry) {
  log_.Found(5);
  const auto node = Start(Loader("a"));
  log_.Assign(node->member(), {0});
  EXPECT_EQ(node->Write(Topic::kRecords, "k", "too early"), 0u);
  time_.RunFor(seconds(1));
  const Offset fence = OffsetOf(Topic::kRecords, "!f/loader/a/");
  ASSERT_GE(fence, 0);

  const ProduceId id = node->Write(Topic::kRecords, "k", "v");
  time_.RunFor(seconds(1));

  EXPECT_THAT(node->written, ElementsAre(id));
  const Record& last = log_.records(Topic::kRecords, 0).back();
  EXPECT_EQ(FindHeader(last.headers, kTokenHeader), FormatToken({5, fence}));
  EXPECT_THAT(node->entries, ElementsAre("records k=v"));
}

TEST_F(OwnerTest, Rule1_WritesOnlyTablesThatAreItsOwn) {
  log_.Found(5);
  const auto node = StartReady(Loader("a"));

  EXPECT_EQ(node->Write(Topic::kCommands, "k", "v"), 0u);
  EXPECT_EQ(node->owner().Append(Topic::kCommands, 0, "t/s/s/c/customers/1", std::nullopt, {}), 0u);
  EXPECT_EQ(node->owner().Append(Topic::kCommands, 0, "t/s/a/00", "v", {}), 0u);
  EXPECT_NE(node->owner().Append(Topic::kCommands, 0, "t/s/a/00", std::nullopt, {}), 0u);
  EXPECT_NE(node->owner().Append(Topic::kOutcomes, 0, "t", "receipt", {}), 0u);
}

TEST_F(OwnerTest, Rule3_CursorsAreFencedBeforeChanges) {
  log_.Found(5);
  std::vector<std::string> fences;
  log_.OnAppend([&](const Record& record, const std::string&) {
    if (record.key.starts_with("!f/extractor")) fences.emplace_back(Name(record.topic));
  });

  const auto node = StartReady(Extractor("a"));

  EXPECT_THAT(fences, ElementsAre("cursors", "changes"));
}

TEST_F(OwnerTest, Rule2_OldFencesGoOnlyWhenNothingVoidIsLeft) {
  log_.Found(5);
  const auto first = StartReady(Loader("a"));
  const Token dead = first->takeovers[0].tokens[0].second;
  first->Kill();
  const auto second = Start(Loader("b"));
  log_.Assign(second->member(), {0});
  time_.RunFor(seconds(1));
  log_.Append(Topic::kRecords, 0, "k", "late", {{std::string(kTokenHeader), FormatToken(dead)}});
  time_.RunFor(minutes(1));
  ASSERT_TRUE(second->ready());
  EXPECT_THAT(second->owner().table(Topic::kRecords, 0)->void_keys(), ElementsAre("k"));
  EXPECT_THAT(second->owner().table(Topic::kRecords, 0)->old_control_keys(), Not(IsEmpty()));

  second->Write(Topic::kRecords, "k", "again");
  time_.RunFor(minutes(1));

  EXPECT_THAT(second->owner().table(Topic::kRecords, 0)->old_control_keys(), IsEmpty());
  EXPECT_EQ(second->owner().table(Topic::kRecords, 0)->newest_fence(),
            second->takeovers[0].tokens[0].second);
  EXPECT_THAT(second->written, ::testing::SizeIs(1));  // nothing is told of its own tombstones
}

TEST_F(OwnerTest, Rule4_AVoidEntryIsToldSoThatItIsRepaired) {
  log_.Found(5);
  const auto node = StartReady(Loader("a"));

  log_.Append(Topic::kRecords, 0, "k", "late", {{std::string(kTokenHeader), "5.0"}});
  time_.RunFor(seconds(1));

  EXPECT_THAT(node->entries, ElementsAre("records k void"));
}

TEST_F(OwnerTest, Rule4_ANewerFenceOfSomebodyElseEndsEverythingAtOnce) {
  log_.Found(5);
  const auto old_owner = StartReady(Loader("a"));
  log_.Evict(old_owner->member(), minutes(1));  // it is told late
  const auto new_owner = Start(Loader("b"));
  log_.Assign(new_owner->member(), {0});
  time_.RunFor(seconds(2));

  EXPECT_EQ(old_owner->gone, 1);
  EXPECT_FALSE(old_owner->ready());
  EXPECT_FALSE(old_owner->may_send());
  EXPECT_EQ(old_owner->Write(Topic::kRecords, "k", "v"), 0u);
  time_.RunFor(minutes(2));
  EXPECT_EQ(old_owner->takeovers.size(), 1u);
  EXPECT_TRUE(new_owner->ready());
}

TEST_F(OwnerTest, Rule4_AfterADeadOwnersLateFenceTheOwnerBeginsAnew) {
  log_.Found(5);
  const auto node = StartReady(Loader("a"));

  v1::Fence fence;
  fence.set_generation(5);
  log_.Append(Topic::kRecords, 0, "!f/loader/dead/1", fence.SerializeAsString());
  time_.RunFor(seconds(2));
  EXPECT_EQ(node->gone, 1);
  EXPECT_FALSE(node->may_send());

  time_.RunFor(minutes(1));
  ASSERT_EQ(node->takeovers.size(), 2u);
  EXPECT_TRUE(node->takeovers[1].unclean);
  EXPECT_TRUE(node->may_send());
}

TEST_F(OwnerTest, Rule4_AFenceThatIsReadWhileThePartitionIsGivenUpDoesNotKeepIt) {
  log_.Found(5);
  const auto first = StartReady(Loader("a"));
  first->releases_at_once = false;
  bool handed_over = false;
  log_.Revoke(first->member(), {0}, [&] { handed_over = true; });
  time_.RunFor(milliseconds(100));

  v1::Fence fence;
  fence.set_generation(5);
  log_.Append(Topic::kRecords, 0, "!f/loader/dead/1", fence.SerializeAsString());
  time_.RunFor(minutes(1));

  EXPECT_TRUE(handed_over);
  EXPECT_THAT(first->owner().partitions(), IsEmpty());
  EXPECT_EQ(first->takeovers.size(), 1u);
}

TEST_F(OwnerTest, Rule6_AFailedProduceIsAFailureOfTheStage) {
  log_.Found(5);
  const auto node = StartReady(Loader("a"));
  log_.FailNextProduce(node->member(), /*lands=*/true);

  node->Write(Topic::kRecords, "k", "v");
  time_.RunFor(seconds(1));

  EXPECT_THAT(node->owner().failure(), HasSubstr("timed out"));
  EXPECT_THAT(node->written, IsEmpty());
  EXPECT_FALSE(node->may_send());
  EXPECT_EQ(node->Write(Topic::kRecords, "k", "v"), 0u);
}

// Compaction keeps the last of a key, so the last call must be the last in the log, however late
// and in whatever order acknowledgements come.
TEST_F(OwnerTest, Rule5_TheEntriesOfAKeyStandInTheLogInTheOrderInWhichTheyWereWritten) {
  log_.Found(5);
  const auto node = StartReady(Loader("a"));
  for (int version = 1; version <= 200; ++version) {
    ASSERT_NE(
        node->Write(Topic::kRecords, version % 2 == 0 ? "even" : "odd", std::to_string(version)),
        0u);
    if (version % 7 == 0) time_.RunFor(milliseconds(3));
  }
  time_.RunFor(seconds(1));

  std::map<std::string, int> newest;
  int entries = 0;
  for (const Record& record : log_.records(Topic::kRecords, 0)) {
    if (record.key.starts_with('!')) continue;
    ++entries;
    EXPECT_GT(std::stoi(*record.value), newest[record.key]);
    newest[record.key] = std::stoi(*record.value);
  }
  EXPECT_EQ(entries, 200);
  EXPECT_THAT(node->written, SizeIs(200));
  EXPECT_EQ(node->owner().table(Topic::kRecords, 0)->Get("even")->value, "200");
}

// Fold first, then produce: whoever has not read its table to the end might write behind a newer
// entry that it has not seen.
TEST_F(OwnerTest, Rule5_NobodyWritesBeforeItsTableWasFoldedToTheSampledEnd) {
  log_.Found(5);
  {
    const auto node = StartReady(Loader("a"));
    for (int i = 0; i < 50; ++i) node->Write(Topic::kRecords, "k", "v" + std::to_string(i));
    time_.RunFor(seconds(1));
    node->owner().ReleaseAll(time_.now());
    time_.RunFor(seconds(1));
  }

  const auto node = Start(Loader("b"));
  log_.Assign(node->member(), {0});
  ProduceId first = 0;
  for (int i = 0; i < 2000 && first == 0; ++i) {
    const Table* const table = node->owner().table(Topic::kRecords, 0);
    const bool has_folded = table != nullptr && table->Get("k") && table->Get("k")->value == "v49";
    first = node->Write(Topic::kRecords, "k", "v50");
    EXPECT_TRUE(first == 0 || has_folded);
    time_.RunFor(milliseconds(1));
  }
  EXPECT_NE(first, 0u);
}

TEST_F(OwnerTest, Rule7_GoesOnFromItsLocalCopy) {
  log_.Found(5);
  const auto disk = MakeMemoryStores();
  {
    const auto node = StartReady(Loader("a"), disk.get());
    EXPECT_THAT(node->takeovers[0].rebuilt, Not(IsEmpty()));
    node->Write(Topic::kRecords, "k", "v");
    time_.RunFor(seconds(1));
    node->owner().ReleaseAll(time_.now());
    time_.RunFor(seconds(1));
    EXPECT_THAT(node->owner().partitions(), IsEmpty());
  }

  const auto node = StartReady(Loader("a"), disk.get());

  EXPECT_THAT(node->takeovers[0].rebuilt, IsEmpty());
  EXPECT_EQ(node->owner().table(Topic::kRecords, 0)->Get("k")->value, "v");
}

TEST_F(OwnerTest, Rule7_ACopyOlderThanHalfTheTombstonesLifetimeIsThrownAway) {
  log_.Found(5);
  const auto disk = MakeMemoryStores();
  {
    const auto node = StartReady(Loader("a"), disk.get());
    node->owner().ReleaseAll(time_.now());
    time_.RunFor(seconds(1));
  }
  time_.RunFor(hours(13));

  const auto node = StartReady(Loader("a"), disk.get());

  EXPECT_THAT(node->takeovers[0].rebuilt,
              ElementsAre(Topic::kRecords, Topic::kTenants, Topic::kCommands));
}

// Copies are caches and have no order between them: the one is read again, the other goes on.
TEST_F(OwnerTest, Rule23_LosingTheCopyOfCommandsLosesNothing) {
  log_.Found(5);
  const auto transformer = StartReady(Transformer("t"));
  transformer->Write(Topic::kCommands, "acme/s/1", "v1");
  transformer->Write(Topic::kCommands, "acme/s/2", "v1");
  time_.RunFor(seconds(1));
  const auto disk = MakeMemoryStores();
  {
    const auto node = StartReady(Loader("a"), disk.get());
    node->Write(Topic::kRecords, "acme/s/1", "resolved v1");
    time_.RunFor(seconds(1));
    node->owner().ReleaseAll(time_.now());
    time_.RunFor(seconds(1));
    EXPECT_THAT(node->owner().partitions(), IsEmpty());
  }
  transformer->Write(Topic::kCommands, "acme/s/2", "v2");
  time_.RunFor(seconds(1));
  ASSERT_TRUE((*disk->Open(Topic::kCommands, 0))->Clear().ok());

  const auto node = StartReady(Loader("a"), disk.get());

  EXPECT_THAT(node->takeovers[0].rebuilt, ElementsAre(Topic::kCommands));
  EXPECT_FALSE(node->takeovers[0].unclean);
  EXPECT_EQ(node->owner().table(Topic::kCommands, 0)->Get("acme/s/1")->value, "v1");
  EXPECT_EQ(node->owner().table(Topic::kCommands, 0)->Get("acme/s/2")->value, "v2");
  EXPECT_EQ(node->owner().table(Topic::kRecords, 0)->Get("acme/s/1")->value, "resolved v1");
}

TEST_F(OwnerTest, Rule7_ACopyInUseStaysYoung) {
  log_.Found(5);
  const auto disk = MakeMemoryStores();
  {
    const auto node = StartReady(Loader("a"), disk.get());
    time_.RunFor(hours(30));  // nothing is written meanwhile
    node->Kill();
  }

  const auto node = Start(Loader("a"), disk.get());
  log_.Assign(node->member(), {0});
  time_.RunFor(minutes(1));

  ASSERT_EQ(node->takeovers.size(), 1u);
  EXPECT_THAT(node->takeovers[0].rebuilt, IsEmpty());
}

TEST_F(OwnerTest, Rule7_ACopyAheadOfTheTopicIsThrownAway) {
  log_.Found(5);
  const auto disk = MakeMemoryStores();
  {
    const auto node = StartReady(Loader("a"), disk.get());
    for (int i = 0; i < 10; ++i) node->Write(Topic::kRecords, "k", "v");
    time_.RunFor(seconds(1));
    node->owner().ReleaseAll(time_.now());
    time_.RunFor(seconds(1));
  }
  log_.Lose(Topic::kRecords, 0);
  log_.FoundTable(Topic::kRecords, 0, 5);

  const auto node = Start(Loader("a"), disk.get());
  log_.Assign(node->member(), {0});
  time_.RunFor(seconds(20));

  ASSERT_EQ(node->takeovers.size(), 1u);
  EXPECT_THAT(node->takeovers[0].rebuilt, ElementsAre(Topic::kRecords));
  EXPECT_EQ(node->owner().table(Topic::kRecords, 0)->Get("k"), std::nullopt);
}

TEST_F(OwnerTest, Rule7_ACopyOfAnotherGenerationIsThrownAway) {
  log_.Found(5);
  const auto disk = MakeMemoryStores();
  {
    const auto node = StartReady(Loader("a"), disk.get());
    node->Write(Topic::kRecords, "k", "v");
    time_.RunFor(seconds(1));
    node->owner().ReleaseAll(time_.now());
    time_.RunFor(seconds(1));
  }
  for (const Topic topic : {Topic::kTenants, Topic::kCommands, Topic::kRecords}) {
    log_.Lose(topic, 0);
    log_.FoundTable(topic, 0, 6);
    // Longer than the copy, so that only the generation tells.
    for (int i = 0; i < 50; ++i) {
      log_.Append(topic, 0, "x", "v", {{std::string(kTokenHeader), "6.1"}});
    }
  }

  const auto node = StartReady(Loader("a"), disk.get());

  EXPECT_EQ(node->takeovers[0].generation, 6);
  EXPECT_EQ(node->takeovers[0].rebuilt.size(), 3u);
  EXPECT_EQ(node->owner().table(Topic::kRecords, 0)->Get("k"), std::nullopt);
  EXPECT_FALSE(node->owner().table(Topic::kRecords, 0)->Get("x")->is_void);
}

TEST_F(OwnerTest, Rule7_ALogFoundedAnewInPlaceKeepsItsOldEntriesInFrontOfTheNewFence) {
  log_.Found(5);
  const auto disk = MakeMemoryStores();
  const auto node = StartReady(Loader("a"), disk.get());
  node->Write(Topic::kRecords, "k", "v");
  time_.RunFor(seconds(1));

  log_.Found(6);
  time_.RunFor(minutes(1));

  ASSERT_GE(node->takeovers.size(), 2u)
      << ::testing::PrintToString(node->owner().not_ready_because());
  EXPECT_EQ(node->takeovers.back().generation, 6);
  EXPECT_TRUE(node->ready());
  EXPECT_EQ(node->owner().table(Topic::kRecords, 0)->Get("k")->value, "v");
}

TEST_F(OwnerTest, Rule8_IsReadyOnlyAtEndsSampledBehindTheFence) {
  log_.Found(5);
  for (int i = 0; i < 500; ++i) {
    log_.Append(Topic::kCommands, 0, "k" + std::to_string(i), "v",
                {{std::string(kTokenHeader), "5.1"}});
  }
  const auto node = Start(Loader("a"));
  log_.Assign(node->member(), {0});
  while (node->takeovers.empty() && time_.RunOne()) {
  }

  EXPECT_EQ(node->owner().table(Topic::kCommands, 0)->next_offset(), 502);
  EXPECT_GE(node->owner().table(Topic::kRecords, 0)->next_offset(),
            node->takeovers[0].tokens[0].second.offset + 1);
  EXPECT_THAT(node->entries, IsEmpty());
}

TEST_F(OwnerTest, Rule8_AnEndWhoseLastRecordsWereCompactedAwayIsReached) {
  log_.Found(5);
  log_.Append(Topic::kTenants, 0, "t", std::nullopt, {{std::string(kTokenHeader), "5.1"}});
  time_.RunFor(hours(2));
  log_.CompactAll();
  time_.RunFor(hours(25));
  log_.CompactAll();
  ASSERT_EQ(log_.records(Topic::kTenants, 0).size(), 2u);
  ASSERT_EQ(log_.end(Topic::kTenants, 0), 3);

  StartReady(Loader("a"));
}

TEST_F(OwnerTest, Rule9_ReadingThatTookTooLongIsSampledAgain) {
  testing::SimulatedLog log({}, time_, 7);
  log.Found(5);
  OwnerOptions options = Loader("a");
  options.min_compaction_lag = seconds(4);
  const auto disk = MakeMemoryStores();
  testing::MemberDelays slow;
  slow.request = {seconds(3), seconds(3)};  // more than C/2 from a sample to its answer
  slow.answer = {milliseconds(1), milliseconds(1)};
  Node node(time_, log, options, *disk, slow);
  log.Assign(node.member(), {0});
  time_.RunFor(minutes(2));

  EXPECT_FALSE(node.ready());
  EXPECT_THAT(node.takeovers, IsEmpty());
}

TEST_F(OwnerTest, Rule9_ARunningReaderThatIsFarBehindDerivesNothingUntilTheNextSampledEnd) {
  log_.Found(5);
  const auto node = StartReady(Loader("a"));
  node->owner().Pause(Topic::kCommands, 0);
  log_.Append(Topic::kCommands, 0, "k", "v", {{std::string(kTokenHeader), "5.1"}});
  time_.RunFor(minutes(31));
  node->owner().Resume(Topic::kCommands, 0);
  while (node->entries.empty() && time_.RunOne()) {
  }
  EXPECT_FALSE(node->ready());
  EXPECT_FALSE(node->may_send());

  time_.RunFor(seconds(1));
  EXPECT_TRUE(node->ready());
}

TEST_F(OwnerTest, Rule11_TheLeaseCountsFromTheSendOfTheLastSuccessfulRenewal) {
  log_.Found(5);
  const auto node = StartReady(Loader("a"));
  time_.RunFor(minutes(5));
  EXPECT_TRUE(node->may_send());

  const Instant evicted = time_.now().steady;
  log_.Evict(node->member(), hours(1));

  while (node->may_send()) ASSERT_TRUE(time_.RunOne());
  EXPECT_LE(time_.now().steady, evicted + kLease + kLease / 4);
  time_.RunFor(minutes(5));
  EXPECT_FALSE(node->may_send());
  EXPECT_THAT(node->owner().not_ready_because(), Contains(HasSubstr("lease cannot be renewed")));
}

TEST_F(OwnerTest, Rule11_ASuspendedOwnerFindsItsLeaseOverWhenItWakes) {
  log_.Found(5);
  const auto node = StartReady(Loader("a"));
  node->Suspend();
  time_.RunFor(seconds(30));

  EXPECT_FALSE(node->may_send());  // asked before anything else runs
}

TEST_F(OwnerTest, Rule12_AnUncleanSuccessorWaitsUntilTheOldOwnerCanSendNoMore) {
  log_.Found(5);
  const auto first = StartReady(Loader("a"));
  const Token dead = first->takeovers[0].tokens[0].second;
  first->Kill();

  const auto second = Start(Loader("b"));
  log_.Assign(second->member(), {0});
  time_.RunFor(seconds(10));
  EXPECT_FALSE(second->may_send());
  EXPECT_THAT(second->owner().not_ready_because(),
              Contains(HasSubstr("until its last owner can send no more")));
  // An intent of the dead owner that lands behind the fence and before t0 + V + P is known.
  log_.Append(Topic::kRecords, 0, "k", "intent", {{std::string(kTokenHeader), FormatToken(dead)}});
  time_.RunFor(seconds(10));

  ASSERT_EQ(second->takeovers.size(), 1u);
  const Takeover& takeover = second->takeovers[0];
  EXPECT_TRUE(takeover.unclean);
  EXPECT_GE(second->ready_at, takeover.began + kLease + kPause);
  EXPECT_EQ(takeover.doubt_counts_from, takeover.began + kLease + kPause);
  EXPECT_TRUE(second->owner().table(Topic::kRecords, 0)->Get("k")->is_void);
}

TEST_F(OwnerTest, Rule13_ACleanReleaseCostsTheSuccessorNothing) {
  log_.Found(5);
  const auto first = StartReady(Loader("a"));
  bool released = false;
  log_.Revoke(first->member(), {0}, [&] { released = true; });
  time_.RunFor(seconds(1));
  EXPECT_EQ(first->revoking, 1);
  EXPECT_EQ(first->gone, 1);
  EXPECT_TRUE(released);

  const auto second = StartReady(Loader("b"));

  EXPECT_FALSE(second->takeovers[0].unclean);
  EXPECT_TRUE(second->may_send());
}

TEST_F(OwnerTest, Rule13_TheReleaseIsWrittenAfterEveryOwnEntryIsAcknowledged) {
  log_.Found(5);
  const auto node = StartReady(Loader("a"));
  node->releases_at_once = false;
  log_.Revoke(node->member(), {0}, nullptr);
  time_.RunFor(milliseconds(100));
  EXPECT_FALSE(node->may_send());

  for (const char* const key : {"1", "2", "3"}) {
    EXPECT_NE(node->Write(Topic::kRecords, key, "v"), 0u);
  }
  node->owner().Release(0);
  EXPECT_EQ(node->Write(Topic::kRecords, "4", "v"), 0u);
  time_.RunFor(seconds(1));

  EXPECT_EQ(node->written.size(), 3u);
  EXPECT_TRUE(log_.records(Topic::kRecords, 0).back().key.starts_with("!r/"));
}

TEST_F(OwnerTest, Rule13_AStageThatDoesNotReleaseInTimeIsAnUncleanPredecessor) {
  log_.Found(5);
  const auto first = StartReady(Loader("a"));
  first->releases_at_once = false;
  bool handed_over = false;
  log_.Revoke(first->member(), {0}, [&] { handed_over = true; });
  time_.RunFor(seconds(6));
  EXPECT_TRUE(handed_over);
  EXPECT_EQ(first->gone, 1);

  const auto second = Start(Loader("b"));
  log_.Assign(second->member(), {0});
  time_.RunFor(minutes(1));

  EXPECT_TRUE(second->takeovers[0].unclean);
}

TEST_F(OwnerTest, Rule13_AnOwnerThatWasNeverReadyReleasesNothing) {
  log_.Found(5);
  const auto first = StartReady(Loader("a"));
  first->Kill();
  const auto second = Start(Loader("b"));
  log_.Assign(second->member(), {0});
  time_.RunFor(seconds(5));
  bool handed_over = false;
  log_.Revoke(second->member(), {0}, [&] { handed_over = true; });
  time_.RunFor(seconds(1));
  ASSERT_TRUE(handed_over);

  // The first one's lease may still be valid for all that the third one can know.
  const auto third = Start(Loader("c"));
  log_.Assign(third->member(), {0});
  time_.RunFor(seconds(5));
  EXPECT_FALSE(third->may_send());
  time_.RunFor(seconds(15));
  EXPECT_TRUE(third->takeovers[0].unclean);
}

TEST_F(OwnerTest, Rule14_APredecessorProvenDeadIsNotWaitedForButKeepsItsDoubts) {
  log_.Found(5);
  const auto first = StartReady(Loader("a"));
  first->Kill();

  OwnerOptions options = Loader("a");
  options.predecessor_is_dead = true;
  const auto second = StartReady(options);

  EXPECT_TRUE(second->takeovers[0].unclean);
  EXPECT_EQ(second->takeovers[0].doubt_counts_from, second->takeovers[0].began);
}

TEST_F(OwnerTest, Rule32_WhatWasNotPersistedIsFoldedAgain) {
  log_.Found(5);
  const auto disk = MakeMemoryStores();
  {
    const auto node = StartReady(Transformer("a"), disk.get());
    log_.Append(Topic::kChanges, 0, "k1", "v", {{std::string(kTokenHeader), "5.1"}});
    time_.RunFor(seconds(1));
    ASSERT_TRUE(node->owner().Persist(Topic::kChanges, 0).ok());
    node->owner().Commit(Topic::kChanges, 0, 3);
    log_.Append(Topic::kChanges, 0, "k2", "v", {{std::string(kTokenHeader), "5.1"}});
    time_.RunFor(seconds(1));
    node->Kill();
  }

  const auto node = StartReady(Transformer("a"), disk.get());

  const Takeover& takeover = node->takeovers[0];
  EXPECT_THAT(takeover.persisted_before, ElementsAre(::testing::Pair(Topic::kChanges, 3)));
  EXPECT_THAT(takeover.committed,
              Contains(::testing::Pair(Topic::kChanges, std::optional<Offset>(3))));
  EXPECT_TRUE(node->owner().table(Topic::kChanges, 0)->Get("k2").has_value());
}

TEST_F(OwnerTest, ATableThatIsMadeAnewUnderARunningOwnerIsTakenOverAnew) {
  log_.Found(5);
  const auto node = StartReady(Loader("a"));
  node->Write(Topic::kRecords, "k", "v");
  time_.RunFor(seconds(1));

  log_.Lose(Topic::kRecords, 0);
  log_.FoundTable(Topic::kRecords, 0, 5);
  time_.RunFor(minutes(1));

  EXPECT_EQ(node->gone, 1);
  ASSERT_EQ(node->takeovers.size(), 2u);
  EXPECT_THAT(node->takeovers[1].rebuilt, Contains(Topic::kRecords));
}

TEST_F(OwnerTest, WhatTheGroupWantsBackIsNotBegunAgainWhenTheLogIsFoundedAnew) {
  log_.Found(5);
  const auto first = StartReady(Loader("a"));
  first->releases_at_once = false;
  bool handed_over = false;
  log_.Revoke(first->member(), {0}, [&] { handed_over = true; });
  time_.RunFor(milliseconds(100));

  log_.FoundAnew(6);
  time_.RunFor(seconds(1));

  EXPECT_TRUE(handed_over);
  EXPECT_THAT(first->owner().partitions(), IsEmpty());
  const auto second = Start(Loader("b"));
  log_.Assign(second->member(), {0});
  time_.RunFor(minutes(1));
  EXPECT_TRUE(second->ready());
  EXPECT_EQ(second->takeovers.size(), 1u);
}

// Its end was sampled, its first record was not read yet.
TEST_F(OwnerTest, ATableThatIsMadeAnewWhileItsFoundingIsLookedForIsTakenOver) {
  for (int lost_after = 0; lost_after < 60; lost_after += 4) {
    testing::VirtualTime time;
    testing::SimulatedLog log({}, time, 1);
    log.Found(5);
    for (int i = 0; i < 20; ++i) log.Append(Topic::kTenants, 0, "k", "v");
    const std::unique_ptr<LocalStores> disk = MakeMemoryStores();
    Node node(time, log, Loader("a"), *disk, SlowAnswers());
    log.Assign(node.member(), {0});
    time.RunFor(milliseconds(lost_after));

    log.Lose(Topic::kTenants, 0);
    time.RunFor(seconds(5));
    log.FoundAnew(6);
    time.RunFor(minutes(1));

    EXPECT_TRUE(node.owner().all_ready())
        << "lost after " << lost_after
        << " ms: " << ::testing::PrintToString(node.owner().not_ready_because());
  }
}

// Seed 7077729 of the simulation: that the topic is another one is heard between its fence and the
// acknowledgement of that.
TEST_F(OwnerTest, ATableThatIsMadeAnewBeneathAFenceIsTakenOver) {
  log_.Found(5);
  const std::unique_ptr<LocalStores> disk = MakeMemoryStores();
  Node node(time_, log_, Loader("a"), *disk, SlowAnswers());
  log_.Assign(node.member(), {0});
  const auto is_fenced = [&] { return !Keys(Topic::kRecords, "!f/loader").empty(); };
  while (!is_fenced()) time_.RunFor(milliseconds(1));

  node.owner().OnFact(time_.now(), OutOfRange{.topic = Topic::kRecords, .partition = 0});
  time_.RunFor(minutes(1));

  EXPECT_TRUE(node.owner().all_ready())
      << ::testing::PrintToString(node.owner().not_ready_because());
}

TEST_F(OwnerTest, ALostPartitionIsForgottenAtOnce) {
  log_.Found(5);
  const auto node = StartReady(Loader("a"));

  log_.Evict(node->member(), milliseconds(1));
  time_.RunFor(seconds(1));

  EXPECT_EQ(node->gone, 1);
  EXPECT_THAT(node->owner().partitions(), IsEmpty());
  EXPECT_EQ(node->owner().table(Topic::kRecords, 0), nullptr);
}

}  // namespace
}  // namespace tributary::eventlog

#include "gtest/gtest.h"

#include "tests/unit/services/transformer/rig.h"

// Topics are made anew (protocol rule 35).

namespace tributary::transformer {
namespace {

using eventlog::Topic;

constexpr char kMapping[] = R"(
object: client
fields: {name: customer.name}
)";

// Control writes `tenants` again only after a while.
TEST(TransformerTest, Rule35_WhatALostTenantsDoesNotSayIsNotWithdrawn) {
  Rig rig;
  // So many that the revision after the loss is a smaller offset.
  for (int i = 0; i < 5; ++i) rig.PutSync(kMapping);
  rig.PutCustomer("1", R"({"id":1,"name":"Ada"})");
  rig.Start();
  rig.Run();
  const v1::Version before = rig.Command(KeyOf("1")).version();
  rig.Kill();
  rig.log.Lose(Topic::kTenants, 0);
  rig.log.FoundAnew(before.generation() + 1);

  rig.Start();
  rig.Run();

  EXPECT_EQ(rig.Command(KeyOf("1")).state().presence(), v1::DesiredState::PRESENCE_PRESENT);
  EXPECT_EQ(rig.Command(KeyOf("1")).version().generation(), before.generation());

  const std::int64_t revision = rig.PutSync(kMapping);
  rig.Run();

  ASSERT_LT(revision, before.revision());
  EXPECT_EQ(rig.Command(KeyOf("1")).state().presence(), v1::DesiredState::PRESENCE_PRESENT);
  EXPECT_EQ(rig.Command(KeyOf("1")).version().generation(), before.generation() + 1);
  EXPECT_EQ(rig.Command(KeyOf("1")).version().revision(), revision);
}

// Seed 2553 of the simulation: the last commit of the old topic lands behind its loss.
TEST(TransformerTest, Rule33_ACommitOfALostChangesCountsForNothing) {
  for (int wait_ms = 1; wait_ms < 120; wait_ms += 3) {
    Rig rig;
    rig.PutSync(kMapping);
    for (int i = 0; i < 20; ++i) rig.PutCustomer("1", R"({"id":1,"name":"Ada"})");
    rig.Start();
    rig.Run();
    rig.PutCustomer("1", R"({"id":1,"name":"Bob"})");
    rig.Run(std::chrono::milliseconds(wait_ms));
    rig.log.Lose(Topic::kChanges, 0);
    rig.Run(std::chrono::milliseconds(50));
    rig.Kill();
    rig.log.FoundAnew(kGeneration + 1);
    rig.PutCustomer("1", R"({"id":1,"name":"Eve"})");
    rig.Start();
    rig.Run();

    ASSERT_EQ(FieldOf(rig.Command(KeyOf("1")), "name"), "Eve") << wait_ms << " ms";
  }
}

// A sync was removed when `changes` was made anew: its records are withdrawn in the new generation,
// whose offsets begin again, and what the sync writes when it is back comes behind that.
TEST(TransformerTest, Rule35_WhatWasWithdrawnInANewGenerationComesBack) {
  Rig rig;
  rig.PutSync(kMapping);
  for (int i = 0; i < 20; ++i) rig.PutCustomer("1", R"({"id":1,"name":"Ada"})");
  rig.Start();
  rig.Run();
  const v1::Version before = rig.Command(KeyOf("1")).version();
  rig.Kill();
  rig.log.Lose(Topic::kChanges, 0);
  rig.log.FoundAnew(before.generation() + 1);
  rig.PutSync(kMapping, "", v1::SYNC_STATE_REMOVED);
  rig.Start();
  rig.Run();
  const v1::Command withdrawn = rig.Command(KeyOf("1"));
  ASSERT_EQ(withdrawn.state().presence(), v1::DesiredState::PRESENCE_WITHDRAWN);
  EXPECT_EQ(withdrawn.version().generation(), before.generation() + 1);

  rig.PutSync(kMapping);
  const std::int64_t read_again = rig.PutCustomer("1", R"({"id":1,"name":"Eve"})");
  rig.Run();

  ASSERT_LT(read_again, before.offset());
  EXPECT_EQ(rig.Command(KeyOf("1")).state().presence(), v1::DesiredState::PRESENCE_PRESENT);
  EXPECT_EQ(FieldOf(rig.Command(KeyOf("1")), "name"), "Eve");
}

}  // namespace
}  // namespace tributary::transformer

#include "gtest/gtest.h"

#include "tests/unit/services/transformer/rig.h"

// `tenants` is made anew (protocol rule 35), and control writes it again only after a while.

namespace tributary::transformer {
namespace {

using eventlog::Topic;

constexpr char kMapping[] = R"(
object: client
fields: {name: customer.name}
)";

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

}  // namespace
}  // namespace tributary::transformer

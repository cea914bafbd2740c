#include "services/transformer/waiting.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::transformer {
namespace {

using testing::ElementsAre;

std::vector<std::string> TakeAll(WaitingCustomers& waiting) {
  std::vector<std::string> taken;
  while (const std::optional<Customer> customer = waiting.Take()) {
    taken.push_back(customer->tenant + "/" + customer->connection + "/" + customer->id);
  }
  return taken;
}

TEST(WaitingCustomersTest, EveryIdComesBackAsItWasAndOnce) {
  const std::vector<std::string> ids = {"7",
                                        "07",
                                        "0",
                                        "-7",
                                        "+7",
                                        "10",
                                        "x",
                                        "",
                                        "7x",
                                        " 7",
                                        "7 ",
                                        "4294967295",
                                        "4294967296",
                                        "999999999999999999",
                                        "1000000000000000000",
                                        "9223372036854775808"};
  WaitingCustomers waiting;
  for (int times = 0; times < 2; ++times) {
    for (const std::string& id : ids) waiting.Add({"acme", "billing", id});
  }
  EXPECT_EQ(waiting.due(), ids.size());
  EXPECT_EQ(waiting.CountOf("acme", "billing"), ids.size());

  std::vector<std::string> expected;
  for (const std::string& id : ids) expected.push_back("acme/billing/" + id);
  EXPECT_THAT(TakeAll(waiting), testing::UnorderedElementsAreArray(expected));
  EXPECT_EQ(waiting.size(), 0u);
}

TEST(WaitingCustomersTest, NumbersComeByTheirValueAndTenantsInTurn) {
  WaitingCustomers waiting;
  for (const char* id : {"10", "9", "x"}) waiting.Add({"a", "billing", id});
  waiting.Add({"b", "billing", "1"});

  EXPECT_THAT(TakeAll(waiting),
              ElementsAre("a/billing/9", "b/billing/1", "a/billing/10", "a/billing/x"));
}

TEST(WaitingCustomersTest, WhoIsPutOffIsDueWhenAskedForOrReleased) {
  WaitingCustomers waiting;
  for (const char* id : {"1", "2", "x", "y"}) waiting.PutOff({"a", "billing", id});
  EXPECT_EQ(waiting.put_off(), 4u);
  waiting.Add({"a", "billing", "2"});
  waiting.Add({"a", "billing", "y"});
  waiting.PutOff({"a", "billing", "2"});
  EXPECT_EQ(waiting.put_off(), 2u);
  EXPECT_EQ(waiting.due(), 2u);
  EXPECT_THAT(TakeAll(waiting), ElementsAre("a/billing/2", "a/billing/y"));

  waiting.ReleasePutOff();
  EXPECT_EQ(waiting.put_off(), 0u);
  EXPECT_EQ(waiting.due(), 2u);
  EXPECT_THAT(TakeAll(waiting), ElementsAre("a/billing/1", "a/billing/x"));
}

}  // namespace
}  // namespace tributary::transformer

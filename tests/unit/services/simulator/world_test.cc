#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/services/simulator/client.h"

namespace tributary::simulator {
namespace {

using ::testing::HasSubstr;

std::string BytesOf(std::uint64_t seed) {
  WorldOptions options;
  options.seed = seed;
  options.customers = 25;
  options.start = kStart;
  options.mutation_rate = 3;
  options.mutations_total = 120;
  options.switches.mutations_per_page = 2;
  Client client(options);
  std::string bytes;
  for (int i = 0; i < 40; ++i) {
    for (const char* path : {"/customers.json?per_page=7", "/subscriptions.json?sort=updated_at",
                             "/events.json", "/invoices.json", "/subscriptions_components.json"}) {
      const Answer answer = client.Chargify(path);
      bytes += std::to_string(answer.status) + std::to_string(answer.delay.count()) + answer.body;
    }
    bytes += client.Rest("PUT", "/clients/" + std::to_string(i % 5), R"({"name":"x"})").body;
    client.now += std::chrono::seconds(1);
  }
  return bytes + client.world.Truth() + client.world.Requests() + client.world.Records();
}

TEST(World, IsTheSameForTheSameSeed) {
  const std::string first = BytesOf(3);
  EXPECT_TRUE(first == BytesOf(3));
  EXPECT_FALSE(first == BytesOf(4));
}

TEST(World, StopsMutatingWhenToldTo) {
  WorldOptions options = Quiet(10);
  options.mutation_rate = 10;
  options.mutations_total = 1'000;
  Client client(options);
  client.world.Advance(kStart + std::chrono::seconds(5));
  const std::int64_t before = client.world.mutations();
  EXPECT_GT(before, 20);
  client.world.StopMutating();
  client.world.Advance(kStart + std::chrono::seconds(50));
  EXPECT_EQ(client.world.mutations(), before);
  EXPECT_TRUE(client.world.finished_mutating());
}

class FaultTest : public ::testing::Test {
 protected:
  FaultTest() : client_(Quiet(3)) { client_.Rest("GET", "/clients/0"); }

  void Order(const std::string& fault) {
    ASSERT_TRUE(client_.world.SetFaults("[" + fault + "]").ok());
  }
  Answer Put() { return client_.Rest("PUT", "/clients/7", R"({"name":"A"})"); }
  bool IsStored() { return client_.Rest("GET", "/clients/7").status == 200; }

  Client client_;
};

TEST_F(FaultTest, StrikesAsOftenAsOrderedAndOnlyWhatMatches) {
  Order(R"({"target":"rest","match":"PUT /clients","kind":"throttle","count":2,"retry_after":3})");
  EXPECT_FALSE(IsStored());
  EXPECT_EQ(Put().status, 429);
  const Answer second = Put();
  EXPECT_EQ(*http::FindHeader(second.headers, "Retry-After"), "3");
  EXPECT_FALSE(IsStored());
  EXPECT_EQ(Put().status, 201);
  EXPECT_EQ(client_.world.Judge(client_.now).provoked_429, 0);
}

TEST_F(FaultTest, ResetBeforeStoresNothingAndResetAfterDoes) {
  Order(R"({"match":"PUT","kind":"reset_before"})");
  EXPECT_EQ(Put().form, Answer::Form::kResetBeforeApply);
  EXPECT_FALSE(IsStored());
  Order(R"({"match":"PUT","kind":"reset_after"})");
  EXPECT_EQ(Put().form, Answer::Form::kResetAfterApply);
  EXPECT_TRUE(IsStored());
}

TEST_F(FaultTest, AppliesLate) {
  Order(R"({"match":"PUT","kind":"apply_late","delay_ms":1500})");
  EXPECT_EQ(Put().form, Answer::Form::kResetAfterApply);
  client_.now = kStart + std::chrono::seconds(1);
  EXPECT_FALSE(IsStored());
  client_.now = kStart + std::chrono::seconds(2);
  EXPECT_TRUE(IsStored());
  EXPECT_THAT(client_.world.Requests(), HasSubstr("\"form\":\"late\",\"applied\":true"));
}

TEST_F(FaultTest, FailsAfterItWasDone) {
  Order(R"({"match":"PUT","kind":"unavailable_after_apply"})");
  EXPECT_EQ(Put().status, 503);
  EXPECT_TRUE(IsStored());
}

TEST_F(FaultTest, AnswersWhatIsNoJson) {
  Order(R"({"match":"PUT","kind":"malformed"})");
  const Answer answer = Put();
  EXPECT_EQ(answer.status, 200);
  EXPECT_FALSE(json::Parse(answer.body).ok());
  Order(R"({"match":"PUT","kind":"truncate"})");
  EXPECT_EQ(Put().form, Answer::Form::kTruncate);
  Order(R"({"match":"PUT","kind":"hang"})");
  EXPECT_EQ(Put().form, Answer::Form::kHang);
}

TEST_F(FaultTest, BlocksAnAccountOnEveryCall) {
  Order(R"({"target":"chargify","kind":"account_block"})");
  const Answer answer = client_.Chargify("/customers.json");
  EXPECT_EQ(answer.status, 422);
  EXPECT_THAT(answer.body, HasSubstr("errors"));
}

TEST_F(FaultTest, SaysWhatIsWrongWithAnOrderAndKeepsTheOldOnes) {
  Order(R"({"match":"PUT","kind":"error"})");
  for (const char* wrong :
       {"{}", R"([{"kind":"tickle"}])", R"([{"kind":"error","target":"moon"}])",
        R"([{"kind":"error","probability":2}])", R"([{"kind":"error","cnt":1}])"}) {
    EXPECT_FALSE(client_.world.SetFaults(wrong).ok()) << wrong;
  }
  EXPECT_EQ(Put().status, 500);
}

}  // namespace
}  // namespace tributary::simulator

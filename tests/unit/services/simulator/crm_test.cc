#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/services/simulator/client.h"

namespace tributary::simulator {
namespace {

using ::testing::HasSubstr;

class HighLevelTest : public ::testing::Test {
 protected:
  explicit HighLevelTest(WorldOptions options = Quiet(1)) : client_(std::move(options)) {}

  std::string Body(const std::string& members) {
    return "{\"locationId\":\"" + client_.world.access().highlevel_location + "\"," + members + "}";
  }
  std::string Upsert(const std::string& members) {
    const Answer answer = client_.HighLevel("POST", "/contacts/upsert", Body(members));
    EXPECT_EQ(answer.status, 200) << answer.body;
    return TextAt(BodyOf(answer), "contact.id");
  }
  std::size_t Found(const std::string& customer) {
    const Answer answer = client_.HighLevel(
        "POST", "/contacts/search",
        Body("\"pageLimit\":20,\"filters\":[{\"field\":\"customFields.chargify_customer_id\","
             "\"operator\":\"eq\",\"value\":\"" +
             customer + "\"}]"));
    EXPECT_EQ(answer.status, 200) << answer.body;
    return BodyOf(answer).Find("contacts")->array()->size();
  }

  Client client_;
};

TEST_F(HighLevelTest, RefusesWithoutVersionTokenOrLocation) {
  const std::string token = "Bearer " + client_.world.access().highlevel_token;
  Answer answer = client_.Ask(Target::kHighLevel, "GET", "/contacts/x", {{"Authorization", token}});
  EXPECT_EQ(answer.status, 401);
  EXPECT_THAT(answer.body, HasSubstr("version header was not found."));
  answer = client_.Ask(Target::kHighLevel, "GET", "/contacts/x",
                       {{"Authorization", token}, {"Version", "2020-01-01"}});
  EXPECT_THAT(answer.body, HasSubstr("version header is invalid"));
  answer = client_.Ask(Target::kHighLevel, "GET", "/contacts/x", {{"Version", "2021-07-28"}});
  EXPECT_EQ(answer.status, 401);
  answer =
      client_.HighLevel("POST", "/contacts/upsert", R"({"locationId":"other","email":"a@b.c"})");
  EXPECT_EQ(answer.status, 403);
  EXPECT_EQ(client_.HighLevel("GET", "/nothing").status, 404);
}

TEST_F(HighLevelTest, RefusesMembersThatItDoesNotKnow) {
  const Answer answer =
      client_.HighLevel("POST", "/contacts/upsert", Body(R"("email":"a@b.c","shoeSize":4)"));
  EXPECT_EQ(answer.status, 422);
  const json::Value body = BodyOf(answer);
  ASSERT_NE(body.Find("message")->array(), nullptr);
  EXPECT_EQ(*(*body.Find("message")->array())[0].string(), "property shoeSize should not exist");
  EXPECT_EQ(client_
                .HighLevel("POST", "/contacts/upsert",
                           Body(R"("email":"a@b.c","customFields":{"chargify_plans":"x"})"))
                .status,
            422);
  EXPECT_EQ(client_.HighLevel("POST", "/contacts/upsert", Body(R"("postalCode":null)")).status,
            422);
}

TEST_F(HighLevelTest, UpdateKnowsNeitherCompanyNorLocation) {
  const std::string id = Upsert(R"("email":"a@b.c")");
  EXPECT_EQ(client_.HighLevel("PUT", "/contacts/" + id, R"({"companyName":"X"})").status, 422);
  EXPECT_EQ(client_.HighLevel("PUT", "/contacts/" + id, Body(R"("firstName":"X")")).status, 422);
  const Answer answer = client_.HighLevel("PUT", "/contacts/" + id, R"({"firstName":"X"})");
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.body, HasSubstr("\"succeded\":true"));
}

TEST_F(HighLevelTest, UpsertMatchesByEmailThenByPhone) {
  const std::string first = Upsert(R"("email":"a@b.c","phone":"+1 555 1000")");
  EXPECT_EQ(Upsert(R"("email":"A@B.c","firstName":"Ada")"), first);
  EXPECT_EQ(Upsert(R"("email":"other@b.c","phone":"+15551000")"), first);
  const std::string second = Upsert(R"("email":"second@b.c")");
  EXPECT_NE(second, first);
  // Matched by e-mail; the number of another one is left out in silence.
  EXPECT_EQ(Upsert(R"("email":"second@b.c","phone":"+1 555 1000")"), second);
  EXPECT_EQ(TextAt(BodyOf(client_.HighLevel("GET", "/contacts/" + second)), "contact.phone"), "");
}

TEST_F(HighLevelTest, NamesTheOtherContactOfADuplicate) {
  const std::string first = Upsert(R"("email":"a@b.c")");
  const std::string second = Upsert(R"("email":"b@b.c")");
  Answer answer = client_.HighLevel("PUT", "/contacts/" + second, R"({"email":"a@b.c"})");
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(TextAt(BodyOf(answer), "meta.contactId"), first);
  EXPECT_EQ(TextAt(BodyOf(answer), "meta.matchingField"), "email");
  answer = client_.HighLevel("POST", "/contacts/", Body(R"("email":"b@b.c")"));
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(TextAt(BodyOf(answer), "meta.contactId"), second);
}

TEST_F(HighLevelTest, LowersTagsAndReplacesThemWhenSentInAContact) {
  const std::string id = Upsert(R"("email":"a@b.c","tags":["VIP"])");
  Answer answer =
      client_.HighLevel("POST", "/contacts/" + id + "/tags", R"({"tags":["Chargify:Active"]})");
  EXPECT_EQ(answer.status, 201);
  EXPECT_THAT(answer.body, HasSubstr(R"(["vip","chargify:active"])"));
  answer =
      client_.HighLevel("DELETE", "/contacts/" + id + "/tags", R"({"tags":["chargify:ACTIVE"]})");
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.body, HasSubstr(R"(["vip"])"));
  Upsert(R"("email":"a@b.c","tags":["new"])");
  EXPECT_THAT(client_.HighLevel("GET", "/contacts/" + id).body, HasSubstr(R"("tags":["new"])"));
}

TEST_F(HighLevelTest, SearchLagsBehindWrites) {
  Upsert(R"("email":"a@b.c","customFields":[{"key":"chargify_customer_id","field_value":"77"}])");
  EXPECT_EQ(Found("77"), 0u);
  client_.now += std::chrono::seconds(1);
  EXPECT_EQ(Found("77"), 1u);
  EXPECT_EQ(Found("78"), 0u);
  const Answer answer =
      client_.HighLevel("GET", "/contacts/search/duplicate?email=a%40b.c&locationId=" +
                                   client_.world.access().highlevel_location);
  EXPECT_EQ(TextAt(BodyOf(answer), "contact.email"), "a@b.c");
}

TEST_F(HighLevelTest, KeepsNotesAndDeletesContacts) {
  const std::string id = Upsert(R"("email":"a@b.c")");
  EXPECT_EQ(client_.HighLevel("POST", "/contacts/" + id + "/notes", R"({"body":"hello"})").status,
            201);
  EXPECT_EQ(client_.HighLevel("POST", "/contacts/" + id + "/notes", R"({"text":"hello"})").status,
            422);
  EXPECT_THAT(client_.HighLevel("GET", "/contacts/" + id + "/notes").body, HasSubstr("hello"));
  EXPECT_EQ(client_.HighLevel("DELETE", "/contacts/" + id).status, 200);
  EXPECT_EQ(client_.HighLevel("GET", "/contacts/" + id).status, 404);
}

class NarrowHighLevelTest : public HighLevelTest {
 protected:
  static WorldOptions Narrow() {
    WorldOptions options = Quiet(1);
    options.highlevel_requests_max = 3;
    return options;
  }
  NarrowHighLevelTest() : HighLevelTest(Narrow()) {}
};

TEST_F(NarrowHighLevelTest, SaysWhatIsLeftAndWhenToComeBack) {
  for (int left = 2; left >= 0; --left) {
    const Answer answer = client_.HighLevel("GET", "/contacts/x");
    EXPECT_EQ(*http::FindHeader(answer.headers, "X-RateLimit-Remaining"), std::to_string(left));
  }
  const Answer answer = client_.HighLevel("GET", "/contacts/x");
  EXPECT_EQ(answer.status, 429);
  EXPECT_EQ(*http::FindHeader(answer.headers, "Retry-After"), "10");
  EXPECT_EQ(client_.world.Judge(client_.now).provoked_429, 1);
  client_.now += std::chrono::seconds(10);
  EXPECT_EQ(client_.HighLevel("GET", "/contacts/x").status, 404);
}

TEST(RestCrm, GivesTokensThatEnd) {
  WorldOptions options = Quiet(1);
  options.rest_token_lifetime = std::chrono::seconds(30);
  Client client(options);
  const Answer refused =
      client.Ask(Target::kRest, "POST", "/auth", {{"Authorization", "Basic " + Base64("wrong:")}});
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(client.Rest("PUT", "/clients/1", "{}").status, 201);
  client.now += std::chrono::seconds(31);
  const Answer late = client.Rest("PUT", "/clients/1", "{}");
  EXPECT_EQ(late.status, 401);
  EXPECT_EQ(late.body, R"({"error":"token expired"})");
}

TEST(RestCrm, ReplacesWhatIsGivenAndKeepsTheRest) {
  Client client(Quiet(1));
  EXPECT_EQ(
      client.Rest("PUT", "/clients/7", R"({"name":"A","email":"a@b.c","account":{"x":1}})").status,
      201);
  EXPECT_EQ(client.Rest("PUT", "/clients/7", R"({"name":null,"account":{"y":2.50}})").status, 200);
  const json::Value body = BodyOf(client.Rest("GET", "/clients/7"));
  EXPECT_TRUE(body.FindPath("client.name")->is_null());
  EXPECT_EQ(TextAt(body, "client.email"), "a@b.c");
  EXPECT_EQ(body.FindPath("client.account.x"), nullptr);
  EXPECT_EQ(TextAt(body, "client.account.y"), "2.50");
  EXPECT_EQ(client.Rest("GET", "/clients/8").status, 404);
}

TEST(RestCrm, RefusesWhatItDoesNotKnow) {
  Client client(Quiet(1));
  const Answer answer = client.Rest("PUT", "/clients/7", R"({"name":"A","nick":"B"})");
  EXPECT_EQ(answer.status, 422);
  EXPECT_EQ(answer.body, R"({"errors":[{"field":"nick","message":"is not known"}]})");
  EXPECT_EQ(client.Rest("PUT", "/clients/7", R"({"name":5})").status, 422);
  EXPECT_EQ(client.Rest("PUT", "/clients/7", "not JSON").status, 400);
  EXPECT_EQ(client.Rest("GET", "/clients/7").status, 404);
}

TEST(RestCrm, AnswersABatchItemByItem) {
  Client client(Quiet(1));
  const Answer answer =
      client.Rest("POST", "/clients/batch",
                  R"({"clients":[{"client_id":"1","name":"A"},{"client_id":"2","nick":"B"}]})");
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.body, HasSubstr(R"({"client_id":"1","status":201,"error":null})"));
  EXPECT_THAT(answer.body, HasSubstr(R"("client_id":"2","status":422)"));
}

TEST(RestCrm, LeavesOutResultsOfABatchWhenToldTo) {
  WorldOptions options = Quiet(1);
  options.switches.rest_batch_leaves_out = true;
  Client client(options);
  std::string body = "{\"clients\":[";
  for (int i = 0; i < 100; ++i) {
    body += std::string(i == 0 ? "" : ",") + R"({"client_id":")" + std::to_string(i) + "\"}";
  }
  const json::Value answer = BodyOf(client.Rest("POST", "/clients/batch", body + "]}"));
  const std::size_t results = answer.Find("results")->array()->size();
  EXPECT_LT(results, 100u);
  EXPECT_GT(results, 70u);
  // All were stored all the same.
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(client.Rest("GET", "/clients/" + std::to_string(i)).status, 200);
  }
}

TEST(RestCrm, FindsNotesByTheirExternalId) {
  Client client(Quiet(1));
  EXPECT_EQ(client.Rest("POST", "/clients/7/notes", R"({"text":"x","external_id":"e1"})").status,
            404);
  client.Rest("PUT", "/clients/7", "{}");
  EXPECT_EQ(client.Rest("POST", "/clients/7/notes", R"({"text":"x","external_id":"e1"})").status,
            201);
  EXPECT_THAT(client.Rest("GET", "/clients/7/notes?external_id=e1").body, HasSubstr("\"e1\""));
  EXPECT_EQ(client.Rest("GET", "/clients/7/notes?external_id=e2").body, R"({"notes":[]})");
}

TEST(RestCrm, RefusesAnOlderVersionWhenConditional) {
  WorldOptions options = Quiet(1);
  options.switches.rest_conditional = true;
  Client client(options);
  const Answer auth =
      client.Ask(Target::kRest, "POST", "/auth",
                 {{"Authorization", "Basic " + Base64(client.world.access().rest_key + ":")}});
  const std::string token = TextAt(BodyOf(auth), "token");
  const auto put = [&](const std::string& version) {
    return client
        .Ask(Target::kRest, "PUT", "/clients/1",
             {{"Authorization", "Bearer " + token},
              {"Content-Type", "application/json"},
              {"Record-Version", version}},
             "{}")
        .status;
  };
  EXPECT_EQ(put("1.9.0"), 201);
  EXPECT_EQ(put("1.10.0"), 200);
  EXPECT_EQ(put("1.9.7"), 409);
  EXPECT_EQ(put("2.1.0"), 200);
}

}  // namespace
}  // namespace tributary::simulator

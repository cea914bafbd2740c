#include "libs/connector/interpret.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/libs/connector/builtin.h"

namespace tributary::connector {
namespace {

using http::AnswerClass;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class InterpretTest : public testing::Test {
 protected:
  Interpreted Upsert(const http::Completion& completion) const {
    return Interpret(highlevel_, contact_.create[0], completion, WallTime());
  }
  Interpreted Update(const http::Completion& completion) const {
    return Interpret(highlevel_, contact_.update[0], completion, WallTime());
  }

  const Connector highlevel_ = Builtin("highlevel.yaml");
  const Object& contact_ = *highlevel_.FindObject("contact");
  const Connector rest_ = Builtin("rest.yaml");
  const Object& client_ = *rest_.FindObject("client");
};

TEST_F(InterpretTest, ACompleteAnswerWithTheIdIsDone) {
  const Interpreted seen =
      Upsert(Answer(200, R"({"new":true,"contact":{"id":"c1","tags":["a","chargify:x"]}})"));
  EXPECT_EQ(seen.answer, AnswerClass::kDone);
  EXPECT_EQ(seen.id, "c1");
  ASSERT_TRUE(seen.tags.has_value());
  EXPECT_THAT(*seen.tags, ElementsAre("a", "chargify:x"));
}

TEST_F(InterpretTest, BrokenJsonWith200IsUnknownAndWorthKeeping) {
  for (const char* body :
       {R"({"contact":{"id":"c1"},,})", R"({"contact":{"id":"c1"})", "", "<html>"}) {
    const Interpreted seen = Upsert(Answer(200, body));
    EXPECT_EQ(seen.answer, AnswerClass::kUnknown) << body;
    EXPECT_TRUE(seen.unreadable) << body;
  }
}

TEST_F(InterpretTest, A200WithoutThePromisedIdIsUnknown) {
  EXPECT_EQ(Upsert(Answer(200, R"({"contact":{}})")).answer, AnswerClass::kUnknown);
  EXPECT_EQ(Upsert(Answer(200, R"({"contact":{"id":null}})")).answer, AnswerClass::kUnknown);
}

TEST_F(InterpretTest, A202And5xxAnd408AndABrokenAnswerAreUnknown) {
  EXPECT_EQ(Upsert(Answer(202, R"({"contact":{"id":"c1"}})")).answer, AnswerClass::kUnknown);
  EXPECT_EQ(Upsert(Answer(500, "{}")).answer, AnswerClass::kUnknown);
  EXPECT_EQ(Upsert(Answer(408, "{}")).answer, AnswerClass::kUnknown);
  http::Completion broken;
  broken.delivery = http::Delivery::kBroken;
  EXPECT_EQ(Upsert(broken).answer, AnswerClass::kUnknown);
}

TEST_F(InterpretTest, A503WithRetryAfterIsUnknownAndSaysWhenToComeBack) {
  const Interpreted seen = Upsert(Answer(503, "{}", {{"retry-after", "7"}}));
  EXPECT_EQ(seen.answer, AnswerClass::kUnknown);
  EXPECT_EQ(seen.retry_after, std::chrono::seconds(7));
}

TEST_F(InterpretTest, A429AndAFailedConnectAreNotSent) {
  EXPECT_EQ(Update(Answer(429, R"({"message":"slow"})")).answer, AnswerClass::kThrottled);
  http::Completion unsent;
  unsent.error = "connection refused";
  EXPECT_EQ(Upsert(unsent).answer, AnswerClass::kThrottled);
}

TEST_F(InterpretTest, ADuplicateIsAnAnswerThatNamesTheOther) {
  const Interpreted seen = Upsert(Answer(
      400, R"({"statusCode":400,"message":"This location does not allow duplicated contacts.",)"
           R"("meta":{"contactId":"c9","matchingField":"email"}})"));
  EXPECT_EQ(seen.answer, AnswerClass::kRefused);
  EXPECT_EQ(seen.adopt_id, "c9");
}

TEST_F(InterpretTest, A422WithAListOfMessagesIsRefusedAndReadable) {
  const Interpreted seen = Update(
      Answer(422, R"({"statusCode":422,"message":["property x should not exist"],"error":"U"})"));
  EXPECT_EQ(seen.answer, AnswerClass::kRefused);
  EXPECT_THAT(seen.detail, HasSubstr("property x should not exist"));
}

TEST_F(InterpretTest, A404OnTheIdIsMissingAndOnTheRouteMisconfigured) {
  EXPECT_TRUE(Update(Answer(404, R"({"message":"Contact not found"})")).missing);
  const Interpreted route = Update(Answer(404, R"({"message":"Cannot PUT /contacts/c1"})"));
  EXPECT_TRUE(route.misconfigured);
  EXPECT_FALSE(route.missing);
}

TEST_F(InterpretTest, A401IsUnauthorisedUnlessItIsAboutTheVersionOrTheScope) {
  EXPECT_EQ(Update(Answer(401, R"({"message":"Invalid JWT"})")).answer, AnswerClass::kUnauthorised);
  EXPECT_TRUE(Update(Answer(401, R"({"message":"version header is invalid"})")).misconfigured);
  EXPECT_TRUE(Update(Answer(401, R"({"message":"The token is not authorized for this scope."})"))
                  .misconfigured);
}

TEST_F(InterpretTest, ABatchItemWithoutItsOwnResultIsUnknown) {
  const auto seen = InterpretBatch(
      rest_, client_,
      Answer(200, R"({"results":[{"client_id":"3","status":422,"error":"bad email"},)"
                  R"({"client_id":"1","status":201},{"client_id":"4","status":200},)"
                  R"({"client_id":"4","status":200},{"client_id":"5"}]})"),
      {"1", "2", "3", "4", "5"}, WallTime());
  ASSERT_EQ(seen.size(), 5U);
  EXPECT_EQ(seen[0].answer, AnswerClass::kDone);
  EXPECT_EQ(seen[0].id, "1");
  EXPECT_EQ(seen[1].answer, AnswerClass::kUnknown);
  EXPECT_EQ(seen[2].answer, AnswerClass::kRefused);
  EXPECT_THAT(seen[2].detail, HasSubstr("bad email"));
  EXPECT_EQ(seen[3].answer, AnswerClass::kUnknown);
  EXPECT_EQ(seen[4].answer, AnswerClass::kUnknown);
}

TEST_F(InterpretTest, ATruncatedBatchAnswerIsUnknownForAll) {
  const auto seen =
      InterpretBatch(rest_, client_, Answer(200, R"({"results":[{"client_id":"1","status":200})"),
                     {"1"}, WallTime());
  EXPECT_EQ(seen[0].answer, AnswerClass::kUnknown);
}

TEST_F(InterpretTest, ALookUpTakesNoStranger) {
  const Call& marker = contact_.lookups[0];
  const auto strangers = InterpretLookup(
      highlevel_, marker,
      Answer(200, R"({"contacts":[{"id":"c2","customFields":[{"id":"k","value":"171"}]}]})"), "17",
      "", WallTime());
  EXPECT_EQ(strangers.answer.answer, AnswerClass::kDone);
  EXPECT_THAT(strangers.ids, IsEmpty());
  const auto ours = InterpretLookup(
      highlevel_, marker,
      Answer(200, R"({"contacts":[{"id":"c2","customFields":[{"id":"k","value":"17"}]}]})"), "17",
      "", WallTime());
  EXPECT_THAT(ours.ids, ElementsAre("c2"));
}

TEST_F(InterpretTest, ALookUpThatCannotBeReadFindsNothingCertain) {
  const Call& email = contact_.lookups[1];
  EXPECT_EQ(InterpretLookup(highlevel_, email, Answer(200, "{}"), "", "", WallTime()).answer.answer,
            AnswerClass::kUnknown);
  const auto none =
      InterpretLookup(highlevel_, email, Answer(200, R"({"contact":null})"), "", "", WallTime());
  EXPECT_EQ(none.answer.answer, AnswerClass::kDone);
  EXPECT_THAT(none.ids, IsEmpty());
}

TEST_F(InterpretTest, ATokenAnswerNeedsAToken) {
  const TokenAnswer good =
      InterpretToken(rest_, Answer(200, R"({"token":"t","expires_in":900})"), WallTime());
  EXPECT_EQ(good.token, "t");
  EXPECT_EQ(good.expires_in, std::chrono::seconds(900));
  EXPECT_EQ(InterpretToken(rest_, Answer(200, R"({"token":""})"), WallTime()).answer.answer,
            AnswerClass::kUnknown);
  EXPECT_EQ(
      InterpretToken(rest_, Answer(401, R"({"error":"invalid key"})"), WallTime()).answer.answer,
      AnswerClass::kUnauthorised);
}

TEST_F(InterpretTest, ThrottledIsA429OrWhatTheFileSaysIsOne) {
  EXPECT_TRUE(SaysThrottled(highlevel_, nullptr, Answer(429, "")));
  EXPECT_FALSE(SaysThrottled(highlevel_, nullptr, Answer(403, "REQUEST_LIMIT_EXCEEDED")));
  Connector other = highlevel_;
  other.answers.insert(
      other.answers.begin(),
      {.status = 403, .text = "REQUEST_LIMIT_EXCEEDED", .means = AnswerRule::Means::kThrottled});
  EXPECT_TRUE(SaysThrottled(other, nullptr, Answer(403, "REQUEST_LIMIT_EXCEEDED")));
  EXPECT_FALSE(SaysThrottled(other, nullptr, Answer(403, "")));
}

}  // namespace
}  // namespace tributary::connector

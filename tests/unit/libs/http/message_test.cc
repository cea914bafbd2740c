#include "libs/http/message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary::http {
namespace {

using std::chrono::seconds;

// Sun, 06 Nov 1994 08:49:37 GMT
constexpr WallTime kNow{seconds(784'111'777)};

Completion Complete(int status) {
  return {.id = 1, .delivery = Delivery::kComplete, .status = status};
}

TEST(FindHeaderTest, ComparesNamesWithoutCaseAndTakesTheFirst) {
  const Headers headers = {{"content-TYPE", "a"}, {"Content-Type", "b"}};

  ASSERT_NE(FindHeader(headers, "Content-Type"), nullptr);
  EXPECT_EQ(*FindHeader(headers, "Content-Type"), "a");
  EXPECT_EQ(FindHeader(headers, "Content"), nullptr);
}

struct Row {
  int status;
  bool body_parses;
  AnswerClass answer;
};

class CompleteAnswerTest : public testing::TestWithParam<Row> {};

// Protocol rule 24.
TEST_P(CompleteAnswerTest, HasTheClassOfRule24) {
  const Row row = GetParam();

  for (const bool creates_or_acts : {false, true}) {
    EXPECT_EQ(Classify(Complete(row.status), row.body_parses, creates_or_acts, kNow).answer,
              row.answer)
        << row.status << " creates_or_acts=" << creates_or_acts;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Rule24, CompleteAnswerTest,
    testing::Values(Row{200, true, AnswerClass::kDone}, Row{201, true, AnswerClass::kDone},
                    Row{204, true, AnswerClass::kDone}, Row{200, false, AnswerClass::kUnknown},
                    Row{202, true, AnswerClass::kUnknown}, Row{206, true, AnswerClass::kUnknown},
                    Row{301, true, AnswerClass::kUnknown}, Row{303, true, AnswerClass::kUnknown},
                    Row{400, true, AnswerClass::kRefused}, Row{403, false, AnswerClass::kRefused},
                    Row{404, true, AnswerClass::kRefused}, Row{409, true, AnswerClass::kRefused},
                    Row{422, false, AnswerClass::kRefused},
                    Row{401, true, AnswerClass::kUnauthorised},
                    Row{408, true, AnswerClass::kUnknown}, Row{429, true, AnswerClass::kThrottled},
                    Row{500, true, AnswerClass::kUnknown}, Row{502, true, AnswerClass::kUnknown},
                    Row{503, true, AnswerClass::kUnknown}, Row{504, true, AnswerClass::kUnknown},
                    Row{100, true, AnswerClass::kUnknown}, Row{600, true, AnswerClass::kUnknown}));

TEST(ClassifyTest, A503WithRetryAfterIsUnknownAndSaysWhenToComeBack) {
  Completion completion = Complete(503);
  completion.headers = {{"retry-after", " 17 "}};

  const Classified classified = Classify(completion, true, false, kNow);

  EXPECT_EQ(classified.answer, AnswerClass::kUnknown);
  EXPECT_EQ(classified.retry_after, seconds(17));
}

TEST(ClassifyTest, WhatWasNotSentIsThrottledForActionsToo) {
  Completion completion{.delivery = Delivery::kNotSent, .error = "connection refused"};

  const Classified classified = Classify(completion, false, true, kNow);

  EXPECT_EQ(classified.answer, AnswerClass::kThrottled);
  EXPECT_EQ(classified.evidence, "not sent: connection refused");
  completion.refused_at_send = true;
  EXPECT_EQ(Classify(completion, false, true, kNow).evidence, "not sent: refused at the send");
}

TEST(ClassifyTest, ABrokenAnswerIsUnknownWhateverItsStatusPromised) {
  for (const int status : {0, 200, 204, 400, 401, 404, 422, 500}) {
    const Completion completion{.delivery = Delivery::kBroken, .status = status};
    EXPECT_EQ(Classify(completion, true, false, kNow).answer, AnswerClass::kUnknown) << status;
  }
}

TEST(ClassifyTest, ABroken429IsUnknownForCreatesAndActionsOnly) {
  const Completion completion{.delivery = Delivery::kBroken, .status = 429};

  EXPECT_EQ(Classify(completion, false, false, kNow).answer, AnswerClass::kThrottled);
  EXPECT_EQ(Classify(completion, false, true, kNow).answer, AnswerClass::kUnknown);
}

TEST(ClassifyTest, RetryAfterMayBeADate) {
  Completion completion = Complete(429);
  completion.headers = {{"Retry-After", "Sun, 06 Nov 1994 08:50:07 GMT"}};
  EXPECT_EQ(Classify(completion, true, false, kNow).retry_after, seconds(30));

  completion.headers = {{"Retry-After", "Sun, 06 Nov 1994 08:00:00 GMT"}};
  EXPECT_EQ(Classify(completion, true, false, kNow).retry_after, seconds(0)) << "in the past";
}

TEST(ClassifyTest, ARetryAfterThatIsNoneIsIgnoredAndAHugeOneIsBounded) {
  for (const char* text : {"soon", "", "-3", "1.5", "Sun, 31 Feb 1994 08:49:37 GMT",
                           "Sun, 06 Nov 1994 25:49:37 GMT", "99999999999999999999"}) {
    Completion completion = Complete(429);
    completion.headers = {{"Retry-After", text}};
    EXPECT_EQ(Classify(completion, true, false, kNow).retry_after, std::nullopt) << text;
  }
  Completion completion = Complete(429);
  completion.headers = {{"Retry-After", "9999999999999"}};
  EXPECT_EQ(Classify(completion, true, false, kNow).retry_after, seconds(30 * 86'400));
}

TEST(NameTest, UsesTheDesignsWords) {
  EXPECT_EQ(Name(AnswerClass::kDone), "done");
  EXPECT_EQ(Name(AnswerClass::kUnauthorised), "unauthorised");
  EXPECT_EQ(Name(AnswerClass::kUnknown), "unknown");
}

}  // namespace
}  // namespace tributary::http

#include "libs/mapping/rules.h"

#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/unit/libs/mapping/compiling.h"

namespace tributary::mapping {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

EventView StateChange(std::string_view from, std::string_view to) {
  EventView view;
  view.event = Document(R"({"id": 5, "key": "subscription_state_change",
      "event_specific_data": {"previous_subscription_state": ")" +
                        std::string(from) + R"(", "new_subscription_state": ")" + std::string(to) +
                        R"("}})");
  view.customer = Document(R"({"id": 42})");
  view.subscription = Document(R"({"id": 1, "product": {"name": "Pro"}})");
  view.now = "2026-11-21T08:00:00Z";
  return view;
}

TEST(RulesTest, DefaultRulesKnowBeginningTrialEndAndCancellation) {
  for (const char* name : {"rest.rules.yaml", "highlevel.rules.yaml"}) {
    const Rules rules = Compiled<Rules>(FileText(name));

    const std::vector<Step> ended =
        rules.Fire("subscription_state_change", StateChange("trialing", "active"));
    const std::vector<Step> both =
        rules.Fire("subscription_state_change", StateChange("trialing", "canceled"));
    const std::vector<Step> neither =
        rules.Fire("subscription_state_change", StateChange("active", "past_due"));
    const std::vector<Step> began = rules.Fire("signup_success", StateChange("", ""));

    ASSERT_THAT(ended, SizeIs(1));
    EXPECT_EQ(ended[0].error, "");
    EXPECT_EQ(ended[0].rule, "trial-ended");
    EXPECT_EQ(ended[0].arguments[0].value().text(), "Trial ended: Pro, now active (2026-11-21)");
    ASSERT_THAT(both, SizeIs(2));
    EXPECT_EQ(both[1].rule, "subscription-cancelled");
    EXPECT_THAT(neither, IsEmpty());
    ASSERT_THAT(began, SizeIs(1));
    EXPECT_EQ(began[0].arguments[0].value().text(), "Subscription began: Pro (2026-11-21)");
    EXPECT_FALSE(rules.ListensTo("trial_end_notice"));
  }
  EXPECT_EQ(Compiled<Rules>(FileText("rest.rules.yaml")).Fire("signup_success", {})[0].operation,
            "client.note.create");
}

TEST(RulesTest, AnEventKeyThatNobodyEverSawFires) {
  const Rules rules = Compiled<Rules>(R"(
rules:
  - id: brand-new
    when: {event: [something_of_2031, other]}
    do:
      - {operation: a.b, with: {x: event.payload.deep}}
      - {operation: c.d, at_least_once: true}
)");
  EventView view;
  view.event = Document(R"({"payload": {"deep": [1.50]}})");

  const std::vector<Step> steps = rules.Fire("something_of_2031", view);

  ASSERT_THAT(steps, SizeIs(2));
  EXPECT_EQ(steps[0].arguments[0].value().list().items(0).decimal(), "1.5");
  EXPECT_EQ(steps[0].step, 0);
  EXPECT_FALSE(steps[0].at_least_once);
  EXPECT_EQ(steps[1].step, 1);
  EXPECT_TRUE(steps[1].at_least_once);
}

TEST(RulesTest, AFailureIsAStepThatShowsIt) {
  const Rules rules = Compiled<Rules>(R"(rules:
  - id: a
    when: {event: e, condition: customer.nope}
    do: [{operation: x}, {operation: y}]
  - id: b
    when: {event: e}
    do: [{operation: x, with: {t: customer.nope.size()}}, {operation: y}]
  - id: c
    when: {event: e}
    do: [{operation: x, with: {t: now.getFullYear()}}]
)");

  const std::vector<Step> steps = rules.Fire("e", {});

  ASSERT_THAT(steps, SizeIs(4));
  EXPECT_THAT(steps[0].error, HasSubstr("`a.condition`: f.yaml:3:33: wants bool, this is absent"));
  EXPECT_THAT(steps[1].error, HasSubstr("`b.t`: f.yaml:7:49: `size` takes"));
  EXPECT_EQ(steps[2].error, "");
  EXPECT_THAT(steps[3].error, HasSubstr("the event has no time"));
}

TEST(RulesTest, ReportsEveryProblemAtOnce) {
  const std::string refusal = Refusal<Rules>(R"(rules:
  - when: {event: e, conditon: "true"}
    do: []
  - id: "no good"
    when: {condition: customer.email}
    do: [{operation: x, with: {t: custmer.id}, at_least_once: perhaps}, {with: {}}]
  - id: a
  - id: a
    when: {event: []}
    do: [{operation: x}]
)");
  std::size_t before = 0;
  for (const std::string_view problem :
       {"f.yaml:2:5: error: `id` is missing", "f.yaml:2:22: error: unknown key `conditon`",
        "f.yaml:3:9: error: `do` is a list of 1 to 32", "f.yaml:4:9: error: an `id` has letters",
        "f.yaml:5:11: error: `event` is missing",
        "f.yaml:5:23: error: `condition` wants bool, this is string",
        "f.yaml:6:35: error: unknown name `custmer`; did you mean `customer`?",
        "f.yaml:6:63: error: `at_least_once` is", "f.yaml:6:73: error: `operation` is missing",
        "f.yaml:7:5: error: `when` is missing", "f.yaml:7:5: error: `do` is missing",
        "f.yaml:8:9: error: `a` stands twice", "f.yaml:9:19: error: `event` is a key"}) {
    EXPECT_THAT(refusal, HasSubstr(std::string(problem)));
    const std::size_t at = refusal.find(problem);
    EXPECT_GE(at, before) << problem << " is not told in the order of the file";
    before = at;
  }
}

TEST(RulesTest, AsksTheTargetWhetherItKnowsAnOperation) {
  TargetCheck check;
  check.operation = [](std::string_view operation, const std::vector<std::string>& arguments) {
    return operation == "contact.note.create" && arguments == std::vector<std::string>{"bdy"}
               ? "`bdy` is no argument; did you mean `body`?"
               : std::string();
  };
  EXPECT_THAT(Refusal<Rules>("rules:\n  - id: a\n    when: {event: e}\n    do:\n"
                             "      - {operation: contact.note.create, with: {bdy: '1'}}",
                             check),
              HasSubstr("f.yaml:5:21: error: `bdy` is no argument"));
}

TEST(RulesTest, NoRulesAreRulesToo) {
  EXPECT_FALSE(Compiled<Rules>("rules:\n").ListensTo("signup_success"));
  EXPECT_FALSE(Compiled<Rules>("rules: []\n").ListensTo("signup_success"));
}

}  // namespace
}  // namespace tributary::mapping

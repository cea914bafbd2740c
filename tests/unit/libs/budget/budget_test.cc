#include "libs/budget/budget.h"

#include <gtest/gtest.h>

// Single rules. How they work together against a server's own count:
// tests/simulation/quota_test.cc.

namespace tributary::budget {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

// Ten seconds past midnight in UTC.
Now At(Duration since) {
  return {Instant(hours(1)) + since, WallTime(seconds(1'760'054'410)) + since};
}

WindowOptions Told() {
  return {.name = "burst",
          .limit_header = "X-Max",
          .remaining_header = "X-Left",
          .reset_header = "X-Reset",
          .interval_milliseconds_header = "X-Interval"};
}

http::Headers Headers(int limit, int left) {
  return {{"x-max", std::to_string(limit)}, {"x-left", std::to_string(left)}};
}

/// So many leave until `end` if each is answered at once.
int SendUntil(Budget& budget, Duration begin, Duration end, const http::Headers& headers = {},
              bool is_live = true) {
  int sent = 0;
  for (Duration at = begin; at < end;) {
    const Now now = At(at);
    const Instant next = budget.NextSendAt(now, is_live);
    if (next > now.steady || !budget.MayOpen(now)) {
      at += std::max<Duration>(milliseconds(1), std::min<Duration>(next - now.steady, minutes(1)));
      continue;
    }
    budget.Answered(now, budget.Sent(now), headers);
    ++sent;
  }
  return sent;
}

TEST(BudgetTest, NoWindowSeesMoreThanTheGivenRateAndOneSecondMore) {
  Budget budget({.concurrency_max = 100, .requests_per_second = 9, .rate_is_given = true});
  const int sent = SendUntil(budget, seconds(0), seconds(10));
  EXPECT_GE(sent, 90);
  EXPECT_LE(sent, 99);
}

TEST(BudgetTest, AShareIsAPartOfEveryLimit) {
  Budget budget({.requests_per_second = 10, .rate_is_given = true, .share = 0.5});
  EXPECT_NEAR(SendUntil(budget, seconds(0), seconds(10)), 50, 5);
  Budget window({.share = 0.25, .windows = {{.length = seconds(10), .requests = 100}}});
  EXPECT_NEAR(SendUntil(window, seconds(0), seconds(10)), 25, 1);
}

TEST(BudgetTest, AFilesRateCountsOnlyWhileHeadersSayNothingAndAPersonsAlways) {
  for (const bool is_given : {false, true}) {
    Budget budget({.requests_per_second = 2, .rate_is_given = is_given, .windows = {Told()}});
    const int sent = SendUntil(budget, seconds(0), seconds(10), Headers(1000, 900));
    EXPECT_EQ(sent > 100, !is_given) << sent;
  }
}

TEST(BudgetTest, WhileHeadersAreExpectedTheFirstRequestGoesAlone) {
  Budget budget({.windows = {Told()}});
  const Budget::Ticket first = budget.Sent(At(seconds(0)));
  EXPECT_FALSE(budget.MayOpen(At(seconds(0))));
  budget.Answered(At(milliseconds(50)), first, Headers(100, 99));
  budget.Sent(At(seconds(1)));
  EXPECT_TRUE(budget.MayOpen(At(seconds(1))));
}

TEST(BudgetTest, WhatOthersUseIsNotTaken) {
  Budget budget({.concurrency_max = 1, .windows = {Told()}});
  budget.Answered(At(seconds(0)), budget.Sent(At(seconds(0))), Headers(100, 59));
  // 40 of others, one of ours, and a hundredth stays free for those who come.
  EXPECT_EQ(budget.standing(At(seconds(0))).requests_per_second, 5.9);
  EXPECT_EQ(budget.standing(At(seconds(0))).reason, Reason::kHeader);
}

TEST(BudgetTest, WithoutTheLimitWhatIsLeftSaysIt) {
  Budget budget({.windows = {{.remaining_header = "X-Left"}}});
  budget.Answered(At(seconds(0)), budget.Sent(At(seconds(0))), {{"X-Left", "4"}});
  EXPECT_EQ(budget.standing(At(seconds(0))).requests_per_second, 0.5);
}

TEST(BudgetTest, AHeaderWithTwoWindowsIsReadAsTwo) {
  WindowOptions minute{.length = minutes(1), .limit_header = "L", .remaining_header = "A"};
  WindowOptions day{.length = hours(24), .limit_header = "L", .remaining_header = "A"};
  day.header_part = 1;
  Budget budget({.windows = {minute, day}});
  budget.Answered(At(seconds(0)), budget.Sent(At(seconds(0))), {{"L", "60 | 40"}, {"A", "59|0"}});
  // Of the day nothing is left, so the day counts.
  EXPECT_GT(budget.NextSendAt(At(seconds(1)), true), At(hours(1)).steady);
  // Blank, as on answers to who is not known.
  Budget blank({.windows = {minute, day}});
  blank.Answered(At(seconds(0)), blank.Sent(At(seconds(0))), {{"L", ""}, {"A", "|"}});
  EXPECT_LE(blank.NextSendAt(At(seconds(1)), true), At(seconds(1)).steady);
}

TEST(BudgetTest, AResetIsSecondsFromNowOrATimeSince1970) {
  for (const char* reset : {"5", "1760054415", "1760054415000"}) {
    WindowOptions options = Told();
    options.kind = WindowOptions::Kind::kFixed;
    Budget budget({.windows = {options}});
    http::Headers headers = Headers(10, 0);
    headers.emplace_back("X-Reset", reset);
    budget.Answered(At(seconds(0)), budget.Sent(At(seconds(0))), headers);
    EXPECT_EQ(budget.NextSendAt(At(seconds(1)), true), At(seconds(5)).steady) << reset;
  }
}

TEST(BudgetTest, AResetAtATimeIsByTheServersClock) {
  WindowOptions options = Told();
  options.kind = WindowOptions::Kind::kFixed;
  Budget budget({.windows = {options}});
  http::Headers headers = Headers(10, 0);
  // A minute behind ours, and five seconds before the reset.
  headers.emplace_back("X-Reset", "1760054355");
  headers.emplace_back("Date", "Thu, 09 Oct 2025 23:59:10 GMT");
  budget.Answered(At(seconds(0)), budget.Sent(At(seconds(0))), headers);
  EXPECT_EQ(budget.NextSendAt(At(seconds(1)), true), At(seconds(5)).steady);
}

TEST(BudgetTest, ALimitOfNothingIsAskedOnceAWindow) {
  Budget budget({.windows = {Told()}});
  const int sent = SendUntil(budget, seconds(0), seconds(60), Headers(0, 0));
  EXPECT_GE(sent, 4);
  EXPECT_LE(sent, 7);
}

TEST(BudgetTest, WhateverHeadersSayThereIsAnAnswer) {
  for (const char* limit : {"", "-1", "9223372036854775807", "1e9", "100;w=10", "\xff", "1"}) {
    for (const char* left : {"", "0", "9223372036854775807", "-5", "1"}) {
      for (const auto kind : {WindowOptions::Kind::kSliding, WindowOptions::Kind::kFixed}) {
        WindowOptions options = Told();
        options.kind = kind;
        Budget budget({.windows = {options}});
        for (int i = 0; i < 50; ++i) {
          const Now now = At(seconds(i));
          const http::Headers headers = {{"X-Max", i % 2 == 0 ? limit : "7"},
                                         {"X-Left", i % 3 == 0 ? left : "3"},
                                         {"X-Reset", limit},
                                         {"X-Interval", left},
                                         {"Date", "never"}};
          const Budget::Ticket ticket = budget.Sent(now);
          if (i % 5 == 0) {
            budget.Refused(now, ticket, headers, std::nullopt);
          } else {
            budget.Answered(now, ticket, headers);
          }
          EXPECT_LE(budget.NextSendAt(now, i % 2 == 0) - now.steady, hours(49));
          EXPECT_GE(budget.standing(now).used_share, 0);
        }
      }
    }
  }
}

TEST(BudgetTest, ADayEndsAtItsHour) {
  WindowOptions day{.kind = WindowOptions::Kind::kFixed,
                    .length = hours(24),
                    .requests = 50,
                    .resets_at = hours(6)};
  Budget budget({.concurrency_max = 1, .windows = {day}});
  EXPECT_EQ(SendUntil(budget, seconds(0), hours(5)), 50);
  EXPECT_EQ(budget.NextSendAt(At(hours(5)), true), At(hours(6) - seconds(10)).steady);
}

// Half of it was used by five o'clock, perhaps by whom we replace: that is not what the other
// nineteen hours take.
TEST(BudgetTest, WhatWasUsedOfADayBeforeWeCameIsNoPace) {
  WindowOptions day{.name = "day",
                    .kind = WindowOptions::Kind::kFixed,
                    .length = hours(24),
                    .limit_header = "Limit",
                    .remaining_header = "Remaining",
                    .resets_at = hours(0)};
  Budget budget({.concurrency_max = 1, .windows = {day}});
  int left = 1000;
  int sent = 0;
  for (Duration at = hours(5); at < hours(24); at += seconds(20)) {
    if (!budget.MayOpen(At(at)) || budget.NextSendAt(At(at), true) > At(at).steady) continue;
    const Budget::Ticket ticket = budget.Sent(At(at));
    ++sent;
    --left;
    budget.Answered(At(at), ticket, {{"Limit", "2000"}, {"Remaining", std::to_string(left)}});
    if (at < hours(6)) {
      EXPECT_EQ(sent, (at - hours(5)) / seconds(20) + 1);
    }
  }
  EXPECT_GE(sent, 970);
  EXPECT_GE(left, 0);
}

TEST(BudgetTest, ABackfillLeavesTheReserveToLiveChanges) {
  Budget budget({.windows = {{.length = hours(1), .requests = 100, .reserve_for_live = 0.2}}});
  EXPECT_EQ(SendUntil(budget, seconds(0), minutes(59), {}, false), 80);
  EXPECT_EQ(SendUntil(budget, minutes(59), minutes(60) - seconds(30), {}, true), 20);
}

TEST(BudgetTest, WhatDidNotLeaveDoesNotCount) {
  Budget budget({.windows = {{.requests = 1}}});
  const Budget::Ticket ticket = budget.Sent(At(seconds(0)));
  EXPECT_GT(budget.NextSendAt(At(seconds(1)), true), At(seconds(1)).steady);
  budget.NotSent(ticket);
  EXPECT_LE(budget.NextSendAt(At(seconds(20)), true), At(seconds(20)).steady);
  EXPECT_EQ(budget.open(), 0);
}

TEST(BudgetTest, NothingLeavesBeforeWhatTheServerAskedFor) {
  Budget budget({});
  budget.Refused(At(seconds(0)), budget.Sent(At(seconds(0))), {}, seconds(90));
  EXPECT_EQ(budget.NextSendAt(At(seconds(1)), true), At(seconds(90)).steady);
  EXPECT_FALSE(budget.MayOpen(At(seconds(89))));
}

TEST(BudgetTest, RefusalsOfWhatWasUnderWayTogetherAreOne) {
  Budget budget({.concurrency_max = 4, .windows = {{.requests = 100}}});
  SendUntil(budget, seconds(0), seconds(20));
  std::vector<Budget::Ticket> tickets;
  for (int i = 0; i < 4; ++i) tickets.push_back(budget.Sent(At(seconds(20))));
  for (const Budget::Ticket& ticket : tickets) {
    budget.Refused(At(seconds(20) + milliseconds(50)), ticket, {}, std::nullopt);
  }
  EXPECT_EQ(budget.refused(), 4);
  const Budget::Standing standing = budget.standing(At(seconds(21)));
  EXPECT_EQ(standing.reason, Reason::kLearnt);
  // Four times a fall would be next to nothing.
  EXPECT_GT(standing.requests_per_second, 8.0);
}

TEST(BudgetTest, RefusalsInARowAreFurtherAndFurtherApart) {
  Budget budget({.windows = {Told()}});
  Duration at{};
  Duration last{};
  for (int i = 0; i < 8; ++i) {
    budget.Refused(At(at), budget.Sent(At(at)), Headers(100, 0), std::nullopt);
    const Duration pause = budget.NextSendAt(At(at), true) - At(at).steady;
    EXPECT_GE(pause, last);
    last = pause;
    at += pause;
  }
  EXPECT_GE(last, minutes(1));
}

TEST(BudgetTest, SlowAnswersTakeRequestsOffAndTimeGivesThemBack) {
  Budget budget({.concurrency_max = 3, .slow_answer = seconds(5), .recover_after = minutes(1)});
  for (int i = 0; i < 5; ++i) {
    const Budget::Ticket ticket = budget.Sent(At(seconds(10 * i)));
    budget.Answered(At(seconds(10 * i + 6)), ticket, {});
  }
  EXPECT_EQ(budget.allowed(At(seconds(50))), 1);
  for (const Duration at : {minutes(3), minutes(5)}) {
    budget.Answered(At(at), budget.Sent(At(at)), {});
  }
  EXPECT_EQ(budget.allowed(At(minutes(6))), 3);
}

TEST(BudgetTest, ARefusalOfConcurrencyLeavesOneAtATime) {
  Budget budget({.concurrency_max = 4, .refusals_are_of_concurrency = true});
  budget.Refused(At(seconds(0)), budget.Sent(At(seconds(0))), {}, std::nullopt);
  EXPECT_EQ(budget.allowed(At(seconds(1))), 1);
  EXPECT_LE(budget.NextSendAt(At(seconds(1)), true), At(seconds(1)).steady);
}

TEST(BudgetTest, ADeadOwnersTimeIsOneAtATime) {
  Budget budget({.concurrency_max = 4});
  budget.SingleUntil(At(seconds(10)).steady);
  EXPECT_EQ(budget.allowed(At(seconds(9))), 1);
  EXPECT_EQ(budget.allowed(At(seconds(10))), 4);
}

TEST(BudgetTest, NewOptionsForgetOnlyWhatTheyChange) {
  Options options{.concurrency_max = 4, .windows = {Told()}};
  Budget budget(options);
  budget.Answered(At(seconds(0)), budget.Sent(At(seconds(0))), Headers(50, 49));
  options.concurrency_max = 2;
  budget.SetOptions(options);
  EXPECT_EQ(budget.standing(At(seconds(0))).reason, Reason::kHeader);
  EXPECT_EQ(budget.allowed(At(seconds(0))), 2);
  options.windows[0].limit_header = "Other";
  budget.SetOptions(options);
  EXPECT_EQ(budget.standing(At(seconds(0))).requests_per_second, 0);
}

}  // namespace
}  // namespace tributary::budget

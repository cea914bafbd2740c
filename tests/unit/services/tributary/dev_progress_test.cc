#include "services/tributary/dev_progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary::dev {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// D of these tests.
constexpr Duration kLag = seconds(2);

class SettlingTest : public ::testing::Test {
 protected:
  SettlingTest() {
    look_.quiet_since = WallTime(seconds(1'000));
    v1::StreamStatus& stream = *look_.status.add_streams();
    stream.set_tenant("demo");
    stream.set_connection("billing");
    stream.set_stream("customers");
    stream.set_first_read_done(true);
    stream.set_settled(true);
    stream_ = &stream;
    sync_ = look_.status.add_syncs();
  }
  void ScanEnds(std::int64_t second) {
    stream_->mutable_last_scan_ended_at()->set_seconds(second);
    Waiting();
  }
  std::string Waiting() { return settling_.Waiting(look_, now_); }
  /// After the time for which everything must hold.
  std::string WaitingLater() {
    Waiting();
    now_ += seconds(3);
    return Waiting();
  }

  Settling settling_{kLag, /*syncs=*/1};
  Look look_;
  v1::StreamStatus* stream_;
  v1::SyncStatus* sync_;
  Instant now_{seconds(50)};
};

TEST_F(SettlingTest, IsSettledWhenTwoScansCameAfterTheLastChangeWasVisible) {
  ScanEnds(1'003);
  EXPECT_EQ(Waiting(), "reading billing/customers once more");
  ScanEnds(1'004);

  EXPECT_EQ(Waiting(), "making sure that nothing follows");
  EXPECT_EQ(WaitingLater(), "");
}

TEST_F(SettlingTest, CountsNoScanThatCouldHaveMissedTheLastChange) {
  ScanEnds(1'000);
  ScanEnds(1'001);
  ScanEnds(1'002);
  ScanEnds(1'003);

  EXPECT_EQ(WaitingLater(), "reading billing/customers once more");
}

TEST_F(SettlingTest, CountsAScanOnceHoweverOftenItIsReported) {
  ScanEnds(1'003);
  ScanEnds(1'003);

  EXPECT_EQ(WaitingLater(), "reading billing/customers once more");
}

TEST_F(SettlingTest, SaysWhatItWaitsFor) {
  ScanEnds(1'003);
  ScanEnds(1'004);
  look_.lag = 7;
  EXPECT_EQ(WaitingLater(), "7 records wait between the services");
  look_.lag = 0;
  sync_->set_pending(3);
  EXPECT_EQ(WaitingLater(), "3 records wait to be written");
  sync_->set_pending(0);
  sync_->set_retrying(2);
  EXPECT_EQ(WaitingLater(), "2 records are to be retried");
  sync_->set_retrying(0);
  sync_->set_open_intents(1);
  EXPECT_EQ(WaitingLater(), "1 requests are open");
  sync_->set_open_intents(0);
  look_.status.add_missing_services("loader");
  EXPECT_EQ(WaitingLater(), "no word from the loader");
  look_.status.clear_missing_services();
  stream_->set_settled(false);
  EXPECT_EQ(WaitingLater(), "reading billing/customers once more");
  look_.quiet_since.reset();
  EXPECT_EQ(WaitingLater(), "the source still changes");
}

TEST_F(SettlingTest, BeginsAnewWhenSomethingComesInBetween) {
  ScanEnds(1'003);
  ScanEnds(1'004);
  Waiting();
  now_ += seconds(2);
  sync_->set_pending(1);
  Waiting();
  sync_->set_pending(0);
  now_ += seconds(2);

  EXPECT_EQ(Waiting(), "making sure that nothing follows");
}

TEST_F(SettlingTest, SkipsStreamsThatTheSiteDoesNotOffer) {
  v1::StreamStatus& invoices = *look_.status.add_streams();
  invoices.set_stream("invoices");
  invoices.set_unavailable("404");
  ScanEnds(1'003);
  ScanEnds(1'004);

  EXPECT_EQ(WaitingLater(), "");
}

TEST_F(SettlingTest, IsNotSettledBeforeAnythingIsRead) {
  look_.status.clear_streams();

  EXPECT_EQ(WaitingLater(), "no stream is being read yet");
}

TEST(RateTest, LooksAtTheLastTenSeconds) {
  Rate rate;
  EXPECT_EQ(rate.per_second(), 0);
  for (int i = 0; i <= 100; ++i) rate.Add(Instant(seconds(i)), i < 50 ? 0 : (i - 50) * 20);

  EXPECT_NEAR(rate.per_second(), 20, 0.1);
}

TEST(ProgressLineTest, SaysHowFarAndHowLong) {
  const Totals totals{.applied = 412, .parked = 2, .pending = 300, .retrying = 70};

  EXPECT_EQ(ProgressLine(totals, 85, ""),
            "412 applied · 370 waiting · 85/s · about 4 s left · 2 parked");
  EXPECT_EQ(ProgressLine({.applied = 1}, 0, "the source still changes"),
            "1 applied · 0 waiting · 0/s · 0 parked · the source still changes");
}

TEST(ProgressLineTest, IsCutToTheTerminalByCharacters) {
  EXPECT_EQ(CutTo("1 · 2 · 3", 9), "1 · 2 · 3");
  EXPECT_EQ(CutTo("1 · 2 · 3", 8), "1 · 2 ·…");
  EXPECT_EQ(CutTo("···", 2), "·…");
  EXPECT_EQ(CutTo("", 5), "");
}

TEST(ResultTest, IsTheLineThatScriptsRead) {
  const Result result{
      .settled = true,
      .seed = 18'446'744'073'709'551'615U,
      .customers = 50,
      .totals = {.applied = 1, .noop = 2, .superseded = 3, .dropped = 4, .parked = 5},
      .judged =
          Judged{.duplicate_records = 6, .regressions = 7, .mismatches = 8, .provoked_429 = 9},
      .seconds = 1.25};

  EXPECT_EQ(ToJson(result),
            R"({"settled":true,"seed":18446744073709551615,"customers":50,"applied":1,"noop":2,)"
            R"("superseded":3,"parked":5,"dropped":4,"duplicate_records":6,"regressions":7,)"
            R"("mismatches":8,"provoked_429":9,"seconds":1.2})");
}

TEST(ResultTest, HasNoJudgementWithoutTheSimulator) {
  EXPECT_EQ(ToJson(Result{}),
            R"({"settled":false,"seed":null,"customers":null,"applied":0,"noop":0,"superseded":0,)"
            R"("parked":0,"dropped":0,"duplicate_records":null,"regressions":null,)"
            R"("mismatches":null,"provoked_429":null,"seconds":0.0})");
}

TEST(ResultTest, EndsWithZeroOnlyWhenSettledAndRight) {
  Result result{.settled = true, .totals = {.parked = 3}, .judged = Judged{}};
  EXPECT_EQ(ExitCode(result), 0) << "what is parked waits for a person, in sight";
  for (auto member : {&Judged::duplicate_records, &Judged::regressions, &Judged::mismatches,
                      &Judged::provoked_429}) {
    Result wrong = result;
    (*wrong.judged).*member = 1;
    EXPECT_EQ(ExitCode(wrong), 1);
  }
  Result dropped = result;
  dropped.totals.dropped = 1;
  EXPECT_EQ(ExitCode(dropped), 1);
  result.settled = false;
  EXPECT_EQ(ExitCode(result), 75);
}

}  // namespace
}  // namespace tributary::dev

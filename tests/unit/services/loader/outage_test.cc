#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/ids/keys.h"
#include "tests/unit/services/loader/rig.h"

// A CRM that is away for long, in every way in which one can be.

namespace tributary::loader {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

class LoaderOutageTest : public testing::Test {
 protected:
  LoaderOutageTest() {
    // Fewer steps in ten days.
    rig_.options.lease = minutes(10);
    rig_.options.status_interval = minutes(10);
    rig_.options.retry_delay_max = minutes(10);
  }

  Rig rig_;
};

TEST_F(LoaderOutageTest, ACrmThatIsAwayForTenDaysParksNothingAndEndsInTheNewestState) {
  rig_.Start();
  rig_.Run(minutes(15));
  int version = 0;
  for (int customer = 1; customer <= 20; ++customer) rig_.Client(customer, "Ada", ++version);
  rig_.Run(minutes(1));
  ASSERT_EQ(rig_.ClientName(20), "Ada");
  const std::size_t before = rig_.sent.size();
  for (int day = 0; day < 10; ++day) {
    const char* const kinds[] = {"hang", "reset_before", "error", "unavailable", "html"};
    rig_.Faults(std::string(R"([{"target":"rest","kind":")") + kinds[day % 5] + R"("}])");
    for (int customer = 1; customer <= 20; customer += 1 + day % 3) {
      rig_.Client(customer, "Ada on day " + std::to_string(day), ++version);
    }
    rig_.Run(hours(24));
  }
  // Once in minutes, one at a time.
  EXPECT_LT(rig_.sent.size() - before, 15'000U);
  rig_.Faults("[]");
  rig_.Run(hours(1));

  EXPECT_EQ(rig_.counters().parked, 0);
  EXPECT_EQ(rig_.ClientName(1), "Ada on day 9");
  for (int customer = 1; customer <= 20; ++customer) {
    const std::string key =
        ids::StateKey("acme", "crm", "client", "customers", std::to_string(customer));
    EXPECT_EQ(rig_.Entry(key).outcome(), v1::OUTCOME_APPLIED) << customer;
    EXPECT_EQ(rig_.Entry(key).status(), v1::RecordEntry::STATUS_WAITING) << customer;
  }
}

TEST_F(LoaderOutageTest, ALoneRecordWaitsTooWhileItsCrmIsAway) {
  rig_.Start();
  rig_.Run(minutes(15));
  rig_.Faults(R"([{"target":"rest","match":"PUT","kind":"hang"}])");
  rig_.Client(1, "Ada", 1);
  rig_.Run(hours(48));
  EXPECT_EQ(rig_.counters().parked, 0);
  rig_.Faults("[]");
  rig_.Run(hours(1));
  EXPECT_EQ(rig_.ClientName(1), "Ada");
}

TEST_F(LoaderOutageTest, ARecordThatAloneFailsIsParkedAlthoughTheOthersFlow) {
  rig_.Start();
  rig_.Run(minutes(15));
  rig_.Faults(R"([{"target":"rest","match":"PUT /clients/7","kind":"error"}])");
  const std::string key = rig_.Client(7, "Ada", 1);
  for (int version = 2; version <= 100; ++version) {
    rig_.Client(1, "Beth " + std::to_string(version), version);
    rig_.Run(minutes(10));
  }
  EXPECT_EQ(rig_.Entry(key).status(), v1::RecordEntry::STATUS_PARKED);
  EXPECT_EQ(rig_.ClientName(1), "Beth 100");
}

// The look-up before it, by its marker, is answered each time.
TEST_F(LoaderOutageTest, ARecordWhoseLookUpAloneFailsIsParkedAlthoughTheOthersFlow) {
  rig_.Start();
  rig_.Run(minutes(15));
  const auto fail = [](int status, const std::string& body) {
    return [status, body](const http::Request& request) {
      Rig::Wire wire;
      if (request.url.find("bad") == std::string::npos) return wire;
      wire.answer.emplace();
      wire.answer->status = status;
      wire.answer->body = body;
      return wire;
    };
  };
  rig_.wire = fail(500, "");
  const std::string key = rig_.Contact(7, "bad@x.test", "Ada", 1);
  int version = 1;
  const auto let_the_others_flow = [&] {
    for (int i = 0; i < 20; ++i) {
      ++version;
      rig_.Contact(1, "a@x.test", "Beth " + std::to_string(version), version);
      rig_.Run(minutes(1));
    }
  };
  let_the_others_flow();
  EXPECT_EQ(rig_.Entry(key).status(), v1::RecordEntry::STATUS_PARKED);
  EXPECT_EQ(rig_.Entry(key).reason(), v1::REASON_UNKNOWN);
  EXPECT_THAT(rig_.Entry(key).detail(), testing::HasSubstr("it cannot be looked up: "));
  EXPECT_FALSE(rig_.Entry(key).in_doubt());

  rig_.wire = fail(200, "<html>");
  EXPECT_EQ(rig_.Decide(key, true), "");
  let_the_others_flow();
  EXPECT_EQ(rig_.Entry(key).status(), v1::RecordEntry::STATUS_PARKED);
  EXPECT_EQ(rig_.Entry(key).reason(), v1::REASON_UNREADABLE);
  EXPECT_EQ(rig_.Entry(key).kept_answer(), "<html>");

  rig_.wire = nullptr;
  EXPECT_EQ(rig_.Decide(key, true), "");
  rig_.Run(minutes(15));
  EXPECT_EQ(rig_.Entry(key).outcome(), v1::OUTCOME_APPLIED);
  EXPECT_EQ(rig_.Entry(key).status(), v1::RecordEntry::STATUS_WAITING);
}

TEST_F(LoaderOutageTest, ACrmThatIsAwayParksNothingThatIsToBeLookedUp) {
  rig_.Start();
  rig_.Run(minutes(15));
  for (const char* kind : {"hang", "unavailable"}) {
    rig_.Faults(std::string(R"([{"target":"highlevel","kind":")") + kind + R"("}])");
    rig_.Contact(1, "a@x.test", "Ada", 1);
    rig_.Contact(2, "b@x.test", "Beth", 1);
    rig_.Run(hours(3));
  }
  EXPECT_EQ(rig_.counters().parked, 0);
  rig_.Faults("[]");
  rig_.Run(hours(1));
  EXPECT_EQ(rig_.counters().applied, 2);
}

}  // namespace
}  // namespace tributary::loader

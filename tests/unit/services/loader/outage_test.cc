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

}  // namespace
}  // namespace tributary::loader

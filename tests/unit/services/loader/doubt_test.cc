#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/services/loader/rig.h"

// What was promised and not sent, and what was sent and not answered.

namespace tributary::loader {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::SizeIs;

class LoaderDoubtTest : public testing::Test {
 protected:
  // Nothing else puts it right.
  LoaderDoubtTest() { rig_.options.sweep_period = {}; }

  Rig rig_;
};

// An intent for tags is acknowledged, and a newer version comes before its request has left; that
// one's look-up fails, so that it begins twice.
TEST_F(LoaderDoubtTest, TagsThatWerePromisedAndNotSentAreSentByTheVersionBehindIt) {
  const std::vector<std::string> before = {"chargify:active"};
  const std::vector<std::string> after = {"chargify:active", "chargify:past_due"};
  const std::string key = rig_.Contact(1, "a@x.test", "Ada", 1, before, "One");
  rig_.Start();
  rig_.Run(seconds(5));
  ASSERT_EQ(rig_.Entry(key).resolved().offset(), 1);
  rig_.withholds = [&](const eventlog::Fact& fact) {
    return std::holds_alternative<eventlog::Produced>(fact) &&
           rig_.Entry(key).intent().step() == "tags.add";
  };
  rig_.Contact(1, "a@x.test", "Ada", 2, after, "One");
  rig_.Run(seconds(1));
  ASSERT_EQ(rig_.Entry(key).intent().step(), "tags.add");
  int failures = 0;
  rig_.wire = [&](const http::Request& request) {
    Rig::Wire wire;
    if (request.url.find("/search/duplicate") != std::string::npos && failures < 2) {
      ++failures;
      simulator::Answer answer;
      answer.status = 500;
      wire.answer = answer;
    }
    return wire;
  };
  rig_.Contact(1, "a@x.test", "Ada", 3, after, "Two");
  rig_.Run(seconds(1));
  rig_.TellWithheld();
  rig_.Run(seconds(60));

  EXPECT_EQ(failures, 2);
  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 3);
  const json::Value contacts = rig_.Contacts();
  ASSERT_THAT(*contacts.array(), SizeIs(1));
  EXPECT_THAT(*(*contacts.array())[0].Find("tags")->array(), SizeIs(2));
}

// A create is done late, within L, and a search sees it S later. Meanwhile the state is unwanted,
// which ends the doubt, and then wanted again.
TEST_F(LoaderDoubtTest, Rule26_ADoubtWithoutARecordEndsWhenARecordWouldBeSeen) {
  (*rig_.tenant.mutable_connections(0)->mutable_settings())["index_lag"] = "5s";
  rig_.PublishTenant();
  rig_.Faults(R"([{"target":"highlevel","match":"POST /contacts/upsert","kind":"apply_late",)"
              R"("delay_ms":1900,"count":1}])");
  std::optional<Instant> created;
  rig_.wire = [&](const http::Request& request) {
    Rig::Wire wire;
    const Instant now = rig_.time.now().steady;
    if (request.url.ends_with("/contacts/upsert") && !created) created = now;
    if (request.url.ends_with("/contacts/search") && created && now < *created + seconds(6)) {
      simulator::Answer answer;
      answer.status = 200;
      answer.body = R"({"contacts":[],"total":0})";
      wire.answer = answer;
    }
    return wire;
  };
  // Without an e-mail the target cannot match: a second create would make a second contact.
  const std::string key = rig_.Contact(1, "", "Ada", 1);
  rig_.Start();
  while (!created) rig_.Run(milliseconds(100));
  rig_.State(key, v1::DesiredState::PRESENCE_UNWANTED, 2);
  // The request's time-out, and L.
  rig_.Run(milliseconds(3600));
  rig_.Contact(1, "", "Ada L", 3);
  rig_.Run(seconds(30));

  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 3);
  EXPECT_FALSE(rig_.Entry(key).in_doubt());
  EXPECT_THAT(*rig_.Contacts().array(), SizeIs(1));
}

}  // namespace
}  // namespace tributary::loader

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/ids/keys.h"
#include "tests/unit/services/loader/rig.h"

// Section 0 and rule 1: what cannot be read is set aside in sight, and the rest flows.

namespace tributary::loader {
namespace {

using eventlog::Topic;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::SizeIs;

const std::string kGarbage = "\xff\xfe no message";
constexpr char kGarbageHex[] = "fffe206e6f206d657373616765";

class LoaderSetAsideTest : public testing::Test {
 protected:
  static std::string ClientKey(int customer) {
    return ids::StateKey("acme", "crm", "client", "customers", std::to_string(customer));
  }
  std::int64_t Aside(Topic topic) const {
    return rig_.counters().set_aside[static_cast<std::size_t>(topic)];
  }
  /// What `parked list` shows of a key; without a key of what has none.
  v1::ParkedItem Shown(const std::string& key) {
    v1::ToService message;
    message.mutable_list_parked()->set_tenant("acme");
    const v1::ListParkedResponse response = rig_.Ask(message).parked();
    for (const v1::ParkedItem& item : response.items()) {
      if (item.key() == key) return item;
    }
    return {};
  }
  void ExpectShown(const std::string& key, const std::string& topic, eventlog::Offset offset) {
    const v1::ParkedItem item = Shown(key);
    EXPECT_EQ(item.reason(), v1::REASON_UNREADABLE) << key;
    EXPECT_THAT(item.detail(), HasSubstr(topic + ", partition 0, offset " + std::to_string(offset)))
        << key;
    EXPECT_THAT(item.detail(), HasSubstr(kGarbageHex)) << key;
    EXPECT_FALSE(item.fix().empty());
  }

  Rig rig_;
};

TEST_F(LoaderSetAsideTest, ACommandReadAtTheStartAndOneThatComesLater) {
  const eventlog::Offset before = rig_.AppendRaw(Topic::kCommands, ClientKey(1), kGarbage);
  rig_.Client(2, "two", 1);
  rig_.Start();
  rig_.Run(seconds(1));
  const eventlog::Offset behind = rig_.AppendRaw(Topic::kCommands, ClientKey(3), kGarbage);
  rig_.Client(4, "four", 1);
  rig_.Run(seconds(2));

  EXPECT_EQ(Aside(Topic::kCommands), 2);
  EXPECT_EQ(rig_.counters().undecodable, 2);
  ExpectShown(ClientKey(1), "commands", before);
  ExpectShown(ClientKey(3), "commands", behind);
  EXPECT_THAT(rig_.StatusOf("crm").problem(), HasSubstr("cannot be read"));
  EXPECT_THAT(*rig_.Clients().array(), SizeIs(2));

  // What can be read takes its place.
  rig_.Client(1, "one", 2);
  rig_.Client(3, "three", 2);
  rig_.Run(seconds(2));
  EXPECT_THAT(*rig_.Clients().array(), SizeIs(4));
  EXPECT_TRUE(Shown(ClientKey(1)).key().empty());
  EXPECT_EQ(rig_.StatusOf("crm").problem(), "");
}

TEST_F(LoaderSetAsideTest, AKeyThatIsNoTextIsShownInAMessageThatCanBeRead) {
  rig_.AppendRaw(Topic::kCommands, "k\xFFy", kGarbage);
  rig_.Start();
  rig_.Run(seconds(1));
  EXPECT_EQ(Shown("k\uFFFDy").reason(), v1::REASON_UNREADABLE);
}

TEST_F(LoaderSetAsideTest, ACommandThatIsNoneOfItsKey) {
  rig_.Start();
  v1::Command no_version;
  no_version.mutable_state()->set_presence(v1::DesiredState::PRESENCE_PRESENT);
  rig_.Command(ClientKey(1), no_version);
  v1::Command state_for_an_action;
  *state_for_an_action.mutable_version() = VersionOf(1);
  state_for_an_action.mutable_state();
  rig_.Command(ids::ActionKey("acme", "crm", std::string(32, 'a')), state_for_an_action);
  rig_.Command("acme", no_version);
  rig_.Run(seconds(1));
  EXPECT_EQ(Aside(Topic::kCommands), 3);
  EXPECT_EQ(Shown("acme").reason(), v1::REASON_UNREADABLE);
}

TEST_F(LoaderSetAsideTest, Section0_ANullOnTheKeyOfAStateIsAnErrorNotAnEnd) {
  const std::string key = rig_.Client(1, "one", 1);
  rig_.Start();
  rig_.Run(seconds(1));
  const eventlog::Offset null = rig_.AppendRaw(Topic::kCommands, key, std::nullopt);
  rig_.Run(seconds(1));
  EXPECT_EQ(Aside(Topic::kCommands), 1);
  EXPECT_THAT(Shown(key).detail(), HasSubstr("offset " + std::to_string(null)));
  // The end of an action is none.
  rig_.Note("e1", key);
  rig_.Run(seconds(2));
  EXPECT_EQ(Aside(Topic::kCommands), 1);
}

TEST_F(LoaderSetAsideTest, ARecordThatCannotBeReadIsUnknownAndThereforeInDoubt) {
  const std::string key = rig_.Client(1, "one", 1);
  const std::string other = rig_.Client(2, "two", 1);
  rig_.Start();
  rig_.Run(seconds(1));
  const eventlog::Offset live = rig_.AppendRaw(Topic::kRecords, key, kGarbage);
  rig_.Run(seconds(1));
  EXPECT_EQ(Aside(Topic::kRecords), 1);
  // Our own was newer in all but its place: it is written again, or written anew after L.
  rig_.Run(seconds(5));
  EXPECT_EQ(rig_.Entry(key).resolved().offset(), 1);
  rig_.Kill();

  const eventlog::Offset at_start = rig_.AppendRaw(Topic::kRecords, other, kGarbage);
  const eventlog::Offset nobodys = rig_.AppendRaw(Topic::kRecords, "no key", kGarbage);
  EXPECT_NE(live, at_start);
  rig_.options.predecessor_is_dead = true;
  rig_.sent.clear();
  const Instant began = rig_.time.now().steady;
  rig_.Start();
  rig_.Run(seconds(1));
  EXPECT_EQ(Aside(Topic::kRecords), 2);
  ExpectShown("no key", "records", nobodys);
  rig_.Run(seconds(10));
  // Whether something is under way is not known: L, then the newest once.
  const auto puts = rig_.SentTo("PUT /clients/2");
  ASSERT_THAT(puts, SizeIs(1));
  EXPECT_GE(puts[0].at - began, seconds(2));
  EXPECT_EQ(rig_.Entry(other).resolved().offset(), 1);
}

// It made every start end in a crash.
TEST_F(LoaderSetAsideTest, ARecordOfAKeyThatNoRecordCanHave) {
  v1::RecordEntry entry;
  entry.set_in_doubt(true);
  entry.mutable_retry_at()->set_seconds(1);
  rig_.AppendRaw(Topic::kRecords, ids::MappedKey("acme", "crm"), entry.SerializeAsString());
  rig_.Start();
  rig_.Client(1, "one", 1);
  rig_.Run(seconds(2));

  EXPECT_EQ(Aside(Topic::kRecords), 1);
  EXPECT_THAT(*rig_.Clients().array(), SizeIs(1));
}

TEST_F(LoaderSetAsideTest, ATenantThatCannotBeReadKeepsItsLastGoodSnapshot) {
  rig_.Start();
  rig_.Run(seconds(1));
  const eventlog::Offset offset = rig_.AppendRaw(Topic::kTenants, "acme", kGarbage);
  rig_.Client(1, "one", 1);
  rig_.Run(seconds(2));
  EXPECT_EQ(Aside(Topic::kTenants), 1);
  ExpectShown("acme", "tenants", offset);
  EXPECT_THAT(*rig_.Clients().array(), SizeIs(1));
  rig_.PublishTenant();
  rig_.Run(seconds(2));
  EXPECT_TRUE(Shown("acme").key().empty());
}

}  // namespace
}  // namespace tributary::loader

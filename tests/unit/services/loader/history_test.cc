#include <map>

#include <gtest/gtest.h>

#include "libs/eventlog/testing/virtual_time.h"
#include "libs/ids/keys.h"
#include "tests/unit/services/loader/rig.h"

// Random histories: versions, kills, hand-overs and every kind of broken answer. At rest the CRMs
// show the newest versions, nothing is doubled, and nothing is left open.

namespace tributary::loader {
namespace {

using eventlog::testing::SeededRandom;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* kFaults = R"([
  {"target":"*","match":"POST /auth","kind":"error","probability":0.02},
  {"target":"*","match":" /","kind":"apply_late","delay_ms":1900,"probability":0.05},
  {"target":"*","match":" /","kind":"reset_after","probability":0.05},
  {"target":"*","match":" /","kind":"reset_before","probability":0.03},
  {"target":"*","match":" /","kind":"malformed","probability":0.03},
  {"target":"*","match":" /","kind":"accepted","probability":0.02},
  {"target":"*","match":" /","kind":"unavailable_after_apply","retry_after":1,"probability":0.03},
  {"target":"*","match":" /","kind":"hang_after_apply","probability":0.02},
  {"target":"*","match":" /","kind":"unauthorized","probability":0.02},
  {"target":"*","match":" /","kind":"throttle","retry_after":1,"probability":0.03}])";

std::string TextOf(const json::Value& record, std::string_view name) {
  const json::Value* value = record.Find(name);
  return value == nullptr ? "absent in " + json::Write(record) : json::Write(*value);
}

class LoaderHistoryTest : public testing::TestWithParam<int> {};

TEST_P(LoaderHistoryTest, AtRestTheTargetsShowTheNewestAndNothingIsDoubled) {
  SeededRandom random(static_cast<std::uint64_t>(GetParam()));
  Rig rig;
  rig.options.predecessor_is_dead = random.Percent(50);
  rig.options.attempts_max = 1000;
  if (random.Percent(50)) {
    (*rig.tenant.mutable_connections(1)->mutable_settings())["batch"] = "true";
    rig.PublishTenant();
  }
  rig.Faults(kFaults);
  rig.Start();
  std::map<std::string, std::string> client_names;
  std::map<std::string, std::string> contact_names;
  std::map<std::string, int> newest;
  std::vector<std::string> notes;
  int version = 0;
  for (int step = 0; step < 80; ++step) {
    const std::uint64_t dice = random.Below(100);
    const int customer = static_cast<int>(random.Below(6)) + 1;
    // Few contents, so that A, B, A happens.
    const std::string name = "n" + std::to_string(random.Below(3));
    ++version;
    if (dice < 35) {
      const std::string key = rig.Client(customer, name, version);
      client_names[std::to_string(customer)] = name;
      newest[key] = version;
    } else if (dice < 65) {
      // Some have no e-mail: nothing but our marker tells them apart.
      const std::string email = customer % 2 == 0 ? "" : "c" + std::to_string(customer) + "@x.test";
      const std::string key = rig.Contact(customer, email, name, version, {"chargify:" + name});
      contact_names[std::to_string(customer)] = name;
      newest[key] = version;
    } else if (dice < 80) {
      const bool is_rest = random.Percent(50);
      notes.push_back(rig.Note(
          "e" + std::to_string(step),
          is_rest ? ids::StateKey("acme", "crm", "client", "customers", std::to_string(customer))
                  : ids::StateKey("acme", "hl", "contact", "customers", std::to_string(customer))));
    } else if (dice < 88) {
      rig.Kill();
      rig.Run(milliseconds(static_cast<std::int64_t>(random.Below(500))));
      rig.Start();
    } else if (dice < 92) {
      rig.HandOver();
      rig.Start();
    }
    rig.Run(
        milliseconds(static_cast<std::int64_t>(random.Below(random.Percent(20) ? 20'000 : 300))));
  }
  // Whoever has a note has a record.
  for (int customer = 1; customer <= 6; ++customer) {
    ++version;
    newest[rig.Client(customer, "end", version)] = version;
    client_names[std::to_string(customer)] = "end";
    const std::string email = customer % 2 == 0 ? "" : "c" + std::to_string(customer) + "@x.test";
    newest[rig.Contact(customer, email, "end", version, {"chargify:end"})] = version;
    contact_names[std::to_string(customer)] = "end";
  }
  rig.Run(seconds(120));
  rig.Faults("[]");
  rig.Run(seconds(1200));

  for (const auto& [key, at] : newest) {
    const v1::RecordEntry entry = rig.Entry(key);
    EXPECT_EQ(entry.resolved().offset(), at) << key << "\n" << entry.ShortDebugString();
    EXPECT_FALSE(entry.has_intent()) << key;
    EXPECT_FALSE(entry.in_doubt()) << key;
  }
  const json::Value contacts = rig.Contacts();
  EXPECT_EQ(contacts.array()->size(), contact_names.size());
  std::string text = rig.world.Records();
  for (const json::Value& contact : *contacts.array()) {
    EXPECT_EQ(TextOf(contact, "firstName"), "\"end\"");
    EXPECT_EQ(TextOf(contact, "tags"), R"(["chargify:end"])");
  }
  const json::Value clients = rig.Clients();
  EXPECT_EQ(clients.array()->size(), client_names.size());
  for (const json::Value& client : *clients.array()) {
    EXPECT_EQ(TextOf(client, "name"), "\"end\"");
  }
  for (const std::string& key : notes) {
    const v1::RecordEntry entry = rig.Entry(key);
    EXPECT_TRUE(entry.final()) << key << "\n" << entry.ShortDebugString();
    EXPECT_EQ(entry.outcome(), v1::OUTCOME_APPLIED) << entry.ShortDebugString();
    EXPECT_FALSE(rig.HasCommand(key)) << key;
    const std::string marker = ids::ParseCommandKey(key)->action_id;
    std::size_t count = 0;
    for (std::size_t at = text.find(marker); at != std::string::npos;
         at = text.find(marker, at + 1)) {
      ++count;
    }
    EXPECT_EQ(count, 1U) << marker;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, LoaderHistoryTest, testing::Range(1, 61));

}  // namespace
}  // namespace tributary::loader

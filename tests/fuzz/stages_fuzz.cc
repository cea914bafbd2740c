#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "google/protobuf/stubs/logging.h"

#include "libs/eventlog/log.h"
#include "libs/ids/keys.h"
#include "tests/fuzz/invariant.h"
#include "tests/unit/services/loader/rig.h"
#include "tests/unit/services/transformer/rig.h"

// Whole stages that read foreign records from their topics, as they come and again at a start.
// Input: a byte for the stage and for whether it is killed in between; records: a byte each for
// topic, key and size, and the value. The stage goes on, and what comes behind is handled.

namespace tributary {
namespace {

using eventlog::Topic;
using fuzz::Require;
using std::chrono::seconds;

std::string KeyOf(std::size_t which, const std::string& sync) {
  switch (which) {
    case 0:
      return ids::StateKey("acme", sync, "client", "customers", "1");
    case 1:
      return ids::ActionKey("acme", sync, std::string(32, 'a'));
    case 2:
      return ids::MappedKey("acme", sync);
    case 3:
      return ids::ChangeKey("acme", "billing", "customers", "1");
    case 4:
      return ids::ChangeKey("acme", "billing", "subscriptions", "2");
    case 5:
      return "!f/x";
    case 6:
      return ids::StateKey("acme", "nobody", "client", "customers", "1");
    default:
      return "no key";
  }
}

void CheckLoader(fuzz::Choices& choices, bool is_killed) {
  constexpr Topic kTopics[] = {Topic::kCommands, Topic::kRecords};
  loader::Rig rig;
  rig.Client(2, "two", 1);
  rig.Start();
  rig.Run(seconds(1));
  for (int i = 0; i < 8 && !choices.rest().empty(); ++i) {
    const Topic topic = kTopics[choices.Below(2)];
    const std::string key = KeyOf(choices.Below(8), "crm");
    // A fence of somebody else would rightly end this owner.
    if (key.starts_with("!f/")) continue;
    rig.AppendRaw(topic, key, std::string(choices.Take(choices.Byte())));
  }
  rig.Run(seconds(2));
  if (is_killed) {
    rig.Kill();
    rig.Start();
  }
  const std::string behind = rig.Client(4, "four", 1);
  rig.Run(seconds(120));
  Require(rig.stage().failure().empty(), "the loader goes on");
  Require(rig.ready(), "and is ready");
  const v1::RecordEntry entry = rig.Entry(behind);
  Require(entry.has_resolved() || entry.status() != v1::RecordEntry::STATUS_UNSPECIFIED,
          "what comes behind is handled");
}

constexpr std::string_view kMapping =
    "object: client\nmatch: [email]\nfields: {email: customer.email}\n";

void CheckTransformer(fuzz::Choices& choices, bool is_killed) {
  constexpr Topic kTopics[] = {Topic::kChanges, Topic::kCommands, Topic::kEvents, Topic::kTenants};
  transformer::Rig rig;
  rig.PutSync(std::string(kMapping));
  rig.PutCustomer("2", R"({"id":2,"email":"two@x.test"})");
  rig.Start();
  rig.Run(seconds(2));
  for (int i = 0; i < 8 && !choices.rest().empty(); ++i) {
    const Topic topic = kTopics[choices.Below(4)];
    std::string key = KeyOf(choices.Below(8), "main");
    if (key.starts_with("!f/")) continue;
    std::string value(choices.Take(choices.Byte()));
    // Another tenant's; whoever may write this tenant's may change it.
    if (topic == Topic::kTenants) key = "other", value = "\x0a\x05other" + value;
    rig.PutRaw(topic, key, value);
  }
  rig.Run(seconds(5));
  if (is_killed) {
    rig.Kill();
    rig.Start();
  }
  rig.PutCustomer("7", R"({"id":7,"email":"seven@x.test"})");
  rig.Run(seconds(60));
  Require(rig.stage().failure().empty(), "the transformer goes on");
  Require(rig.Command(transformer::KeyOf("7")).has_state(), "what comes behind is handled");
}

void Check(std::string_view input) {
  static google::protobuf::LogHandler* const log = google::protobuf::SetLogHandler(nullptr);
  static_cast<void>(log);
  fuzz::Choices choices(input);
  const std::size_t kind = choices.Below(4);
  if (kind < 2) {
    CheckLoader(choices, kind == 1);
  } else {
    CheckTransformer(choices, kind == 3);
  }
}

}  // namespace
}  // namespace tributary

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tributary::Check(tributary::fuzz::TextOf(data, size));
  return 0;
}

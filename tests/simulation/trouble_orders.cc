#include <array>
#include <string>
#include <utility>

#include "libs/ids/keys.h"
#include "libs/json/value.h"
#include "tests/simulation/trouble.h"

// What people order, and what customers do to each other.

namespace tributary::simulation {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

/// A line of a shipped mapping, and what stands there for a while.
struct OtherField {
  std::string_view shipped;
  std::string_view other;
};
constexpr std::array<OtherField, 4> kOtherFields = {
    {{"companyName: customer.organization\n",
      "companyName: '\"Other \" + default(customer.organization, \"\")'\n"},
     {"  city: customer.city\n", "  # No city.\n"},
     {"organization: customer.organization\n",
      "organization: '\"Other \" + default(customer.organization, \"\")'\n"},
     {"  phone: customer.phone\n", "  # No phone.\n"}}};

}  // namespace

void Trouble::ChangeMappings(const std::function<std::string(std::string_view)>& change) {
  bool is_changed = false;
  for (auto& [name, tenant] : s_.orders.tenants) {
    for (v1::Sync& sync : *tenant.snapshot.mutable_syncs()) {
      v1::Blob blob = tenant.blobs.at(sync.mapping());
      std::string content = change(blob.content());
      if (content == blob.content()) continue;
      is_changed = true;
      blob.set_content(std::move(content));
      const std::string hash = ids::Sha256Hex(blob.content());
      tenant.blobs[hash] = std::move(blob);
      sync.set_mapping(hash);
    }
  }
  if (is_changed) ++s_.orders.edition;
}

void Trouble::SetOtherFields(bool are_other) {
  ChangeMappings([are_other](std::string_view content) {
    std::string changed(content);
    for (const OtherField& field : kOtherFields) {
      const std::string_view from = are_other ? field.shipped : field.other;
      const std::size_t at = changed.find(from);
      if (at != changed.npos)
        changed.replace(at, from.size(), are_other ? field.other : field.shipped);
    }
    return changed;
  });
}

// Rule 36: a person saves a mapping with other fields, some more and some less, and takes it back:
// contents A, B, A of everybody (rule 20).
void Trouble::PlanOtherFields() {
  if (!Percent(is(Theme::kRemap) ? 60 : 15)) return;
  const Duration length = Between(milliseconds(100), seconds(20));
  s_.time.At(Sometime(), [this, length] {
    s_.trace.Line("control", "the mappings get other fields");
    SetOtherFields(true);
    s_.time.After(length, [this] {
      s_.trace.Line("control", "the mappings get their fields back");
      SetOtherFields(false);
    });
  });
}

// Rule 25: for a while two customers have one e-mail, by which a target takes them for one.
void Trouble::PlanSharedEmail() {
  if (!Percent(15)) return;
  const std::size_t tenant = s_.random.Below(s_.worlds.size());
  const Duration length = Between(seconds(1), seconds(20));
  const std::uint64_t which = s_.random.Next();
  s_.time.At(std::min(Sometime(), end_ - length), [this, tenant, length, which] {
    simulator::World& world = *s_.worlds[tenant];
    const std::map<std::string, std::string> customers = world.NewestDocuments("customers");
    if (customers.size() < 2) return;
    const auto pick = [&](std::uint64_t number) {
      return std::next(customers.begin(), static_cast<std::ptrdiff_t>(number % customers.size()));
    };
    const auto first = pick(which);
    const auto second = pick(which + 1);
    // Empty, when it is gone.
    const auto document = json::Parse(first->second);
    const json::Value* const email = document.ok() ? document->Find("email") : nullptr;
    if (email == nullptr || email->string() == nullptr) return;
    const auto set = [this, &world, id = second->first](const std::string& text) {
      // Gone meanwhile: nothing.
      static_cast<void>(
          world.Set(s_.time.now().wall, "customers", id, R"({"email":")" + text + R"("})"));
    };
    s_.checks.SharesEmail("tenant" + std::to_string(tenant), second->first, first->first);
    set(*email->string());
    s_.time.After(length, [set, id = second->first] { set("own." + id + "@example.com"); });
  });
}

// Rule 36: a person saves a mapping again, in other words; every customer is mapped anew.
void Trouble::PlanNewRevision() {
  const bool is_theme = is(Theme::kRemap);
  if (!is_theme && !Percent(40)) return;
  for (std::uint64_t i = is_theme ? 3 : 1; i > 0; --i) {
    const bool is_killed = Percent(is_theme ? 80 : 30);
    const Duration killed_after = Between(milliseconds(100), seconds(3));
    s_.time.At(Sometime(), [this, is_killed, killed_after] {
      s_.trace.Line("control", "the mappings get a new revision");
      ChangeMappings([](std::string_view content) {
        return std::string(content) + "\n# The same in other words.\n";
      });
      if (!is_killed) return;
      // Half-way through it.
      s_.time.After(killed_after, [this] {
        if (is_over_) return;
        for (const std::unique_ptr<Node>& node : s_.nodes) {
          if (node->service() == "transformer") KillAndRestart(*node, "kill -9 in a remap", 60);
        }
      });
    });
  }
}

// A sync is removed, and comes back: its records are withdrawn, whatever is open or in doubt.
void Trouble::PlanInterruption() {
  if (!Percent(30)) return;
  const std::size_t tenant = s_.random.Below(s_.worlds.size());
  const std::string sync = Percent(50) ? "rest" : "highlevel";
  const Duration length = Between(milliseconds(100), seconds(20));
  const auto set = [this, tenant, sync](v1::SyncState state) {
    s_.trace.Line("control", v1::SyncState_Name(state) + " " + sync);
    Orders::Tenant& orders = std::next(s_.orders.tenants.begin(), tenant)->second;
    orders.interrupted.insert(sync);
    for (v1::Sync& ordered : *orders.snapshot.mutable_syncs()) {
      if (ordered.name() == sync) ordered.set_state(state);
    }
    ++s_.orders.edition;
  };
  s_.time.At(Sometime(), [this, set, length] {
    set(v1::SYNC_STATE_REMOVED);
    s_.time.After(length, [set] { set(v1::SYNC_STATE_ACTIVE); });
  });
}

// A person has what is parked tried again, now and then; some rather give it up.
void Trouble::PlanPerson() {
  const Duration every = Between(seconds(10), minutes(1));
  const bool drops = rare_.Percent(20);
  for (Instant at = begin_ + every; at < end_; at += every) {
    s_.time.At(at, [this, replays = !drops || rare_.Percent(50)] { DecideParked(replays); });
  }
}

void Trouble::DecideParked(bool replays) {
  for (const std::string& key : s_.checks.ParkedKeys(/*are_actions_too=*/!replays)) {
    s_.trace.Line("control", "a person " + std::string(replays ? "replays " : "drops ") + key);
    if (!replays) {
      ++counts_.drops;
      s_.checks.PersonDrops(key);
    }
    v1::ToService message;
    message.mutable_decide_parked()->set_key(key);
    message.mutable_decide_parked()->set_replay(replays);
    for (const std::unique_ptr<Node>& node : s_.nodes) {
      if (node->service() == "loader") node->Tell(message);
    }
  }
}

}  // namespace tributary::simulation

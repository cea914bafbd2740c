#include "tests/simulation/checks.h"

#include <algorithm>
#include <tuple>

#include "libs/ids/keys.h"
#include "libs/json/value.h"
#include "tributary/v1/changes.pb.h"
#include "tributary/v1/records.pb.h"

namespace tributary::simulation {
namespace {

using eventlog::Partition;
using eventlog::Record;
using eventlog::Table;
using eventlog::TableEntry;
using eventlog::Topic;

auto Ordered(const v1::Version& version) {
  return std::make_tuple(version.generation(), version.offset(), version.revision());
}

std::string Text(const v1::Version& version) {
  return std::to_string(version.generation()) + "." + std::to_string(version.offset()) + "." +
         std::to_string(version.revision());
}

// What makes two commands the same content; times and queues are none of it.
std::string ContentOf(const v1::Command& command) {
  v1::Command content = command;
  content.clear_changed_at();
  if (content.has_state()) content.mutable_state()->clear_backfill();
  return Serialize(content);
}

struct ValidCommand {
  std::string key;
  ids::CommandKey parts;
  v1::Command command;
};

// By key.
std::vector<ValidCommand> ValidCommands(const Table& commands) {
  std::vector<ValidCommand> out;
  commands.ScanViews({}, {}, [&](std::string_view key, const eventlog::TableEntryView& entry) {
    const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
    if (!parts || entry.is_void) return true;
    ValidCommand valid{std::string(key), *parts, {}};
    if (valid.command.ParseFromArray(entry.value.data(), static_cast<int>(entry.value.size()))) {
      out.push_back(std::move(valid));
    }
    return true;
  });
  return out;
}

constexpr std::size_t kViolationsMax = 20;
// Of the shipped rules; it has no condition.
constexpr std::string_view kSignupEvent = "signup_success";
constexpr std::string_view kSignupRule = "subscription-began";
// Of simulation.cc.
constexpr std::string_view kTrialRule = "began-in-trial";

}  // namespace

Checks::Checks(Trace& trace, std::vector<std::string> names, std::int32_t partitions)
    : trace_(trace),
      names_(std::move(names)),
      partitions_(partitions),
      stores_(eventlog::MakeMemoryStores()) {}

void Checks::Violate(std::string what) {
  trace_.Line("check", "VIOLATION " + what);
  if (violations_.size() < kViolationsMax) violations_.push_back(std::move(what));
}

Table& Checks::TableOf(Topic topic, Partition partition) {
  std::unique_ptr<Table>& table = tables_[{topic, partition}];
  if (!table) {
    Table::Options options;
    options.topic = topic;
    options.partition = partition;
    table = std::make_unique<Table>(options, *stores_->Open(topic, partition));
  }
  return *table;
}

void Checks::OnAppend(const Record& record, const std::string& by) {
  std::optional<TableEntry> entry;
  if (eventlog::IsTable(record.topic)) {
    entry = TableOf(record.topic, record.partition).Apply(record);
    if (entry && entry->is_void) ++counts_.void_entries;
  }
  if (trace_.keeps_lines()) {
    std::string line = std::string(eventlog::Name(record.topic)) + "/" +
                       std::to_string(record.partition) + "@" + std::to_string(record.offset) +
                       " " + record.key;
    line += record.value ? " " + std::to_string(record.value->size()) + " bytes " +
                               Hex(Fingerprint(*record.value))
                         : std::string(" tombstone");
    if (entry && entry->is_void) line += " VOID";
    trace_.Line("log", line + " by " + by);
  }
  if (record.topic == Topic::kEvents) OnEvent(record);
  if (!entry) return;
  if (record.topic == Topic::kCommands) OnCommand(record, by, *entry);
  if (record.topic == Topic::kRecords) OnRecordEntry(record, by, *entry);
}

void Checks::OnLost(Topic topic) {
  for (auto& [where, table] : tables_) {
    if (where.first == topic) static_cast<void>(table->Clear());
  }
  lost_.insert(topic);
  // What a source tells again of an event carries the entities as they are now.
  if (topic == Topic::kEvents) trials_.clear();
  if (topic != Topic::kRecords) return;
  lost_ledger_ = true;
  for (auto& [name, key] : keys_) key.is_covered = true;
}

void Checks::OnCommand(const Record& record, const std::string& by, const TableEntry& entry) {
  if (entry.is_void) return;
  v1::Command command;
  if (!command.ParseFromString(entry.value)) {
    Violate("undecodable command " + record.key + " by " + by);
    return;
  }
  if (command.has_action()) {
    action_keys_[command.action().action_id()] = record.key;
    const auto parts = ids::ParseCommandKey(record.key);
    if (parts && command.action().rule() == kSignupRule) {
      began_.emplace(parts->tenant, parts->sync, command.action().event_id());
    }
    if (parts && command.action().rule() == kTrialRule) {
      began_in_trial_.emplace(parts->tenant, parts->sync, command.action().event_id());
    }
    const auto [first, is_new] = first_action_.try_emplace(record.key, ContentOf(command));
    const bool has_one_form =
        parts && events_[{parts->tenant, command.action().event_id()}].size() <= 1;
    if (!is_new && has_one_form && first->second != ContentOf(command)) {
      Violate("Rule 37: action " + record.key + " by " + by + " has other content than before");
    }
    return;
  }
  if (!command.has_state() && command.mapping_error().empty()) return;
  // What an owner of the lost log had under way, and lands around a founding, knows nothing of what
  // was lost: the next owner, whose fence is behind it, derives everything anew.
  const Table& table = TableOf(record.topic, record.partition);
  if (!table.generation() || table.IsOfLostLog(entry)) return;
  const auto [newest, is_first] = newest_valid_command_.try_emplace(record.key);
  if (!is_first) {
    const v1::Command& last = newest->second;
    if (Ordered(command.version()) < Ordered(last.version())) {
      Violate("version of " + record.key + " falls from " + Text(last.version()) + " to " +
              Text(command.version()) + " by " + by);
    } else if (Ordered(command.version()) == Ordered(last.version()) &&
               ContentOf(command) != ContentOf(last)) {
      Violate("equal version with other content: " + record.key + " " + Text(last.version()) +
              " by " + by + ": " + last.ShortDebugString() + " | " + command.ShortDebugString());
    }
  }
  newest->second = std::move(command);
}

void Checks::OnEvent(const Record& record) {
  v1::SourceEvent event;
  const auto source = eventlog::FindHeader(record.headers, "ce_source");
  if (!source || !record.value || !event.ParseFromString(*record.value)) return;
  // /chargify/<tenant>/<connection>
  const std::size_t begin = source->find('/', 1) + 1;
  const std::string tenant(source->substr(begin, source->rfind('/') - begin));
  std::uint64_t form = Fingerprint(event.document());
  for (const v1::Entity& entity : event.entities()) form = Fingerprint(entity.document(), form);
  events_[{tenant, event.id()}].insert(form);
  if (!event.live() || event.key() != kSignupEvent) return;
  const auto signup = std::make_tuple(tenant, event.connection(), event.id());
  const bool is_new = signups_.insert(signup).second;
  bool is_trial = false;
  for (const v1::Entity& entity : event.entities()) {
    if (entity.kind() != "subscriptions") continue;
    const auto document = json::Parse(entity.document());
    const json::Value* const state = document.ok() ? document->Find("state") : nullptr;
    is_trial = state != nullptr && state->string() != nullptr && *state->string() == "trialing";
  }
  if (is_trial && is_new) trials_.insert(signup);
  if (!is_trial) trials_.erase(signup);
}

void Checks::OnRecordEntry(const Record& record, const std::string& by, const TableEntry& entry) {
  v1::RecordEntry written;
  if (!written.ParseFromString(entry.value)) {
    Violate("undecodable record " + record.key + " by " + by);
    return;
  }
  if (written.has_intent()) ++counts_.intents;
  if (written.in_doubt() && !written.content_hash().empty()) {
    Violate("Rule 20: an entry of " + record.key + " by " + by + " is in doubt and has a hash");
  }
  if (written.outcome() == v1::OUTCOME_DROPPED && !dropped_.contains(record.key)) {
    Violate("Rule 22: an entry of " + record.key + " by " + by +
            " says that it was dropped, which nobody asked for");
  }
  const std::optional<ids::CommandKey> parsed = ids::ParseCommandKey(record.key);
  if (parsed && !written.id().empty() && parsed->kind == ids::CommandKey::Kind::kState) {
    by_contact_[{parsed->tenant, written.id()}] = record.key;
  }
  if (entry.is_void && parsed && parsed->kind == ids::CommandKey::Kind::kAction) {
    void_actions_.insert(record.key);
  }
  Key& key = keys_[record.key];
  if (written.has_intent() || written.in_doubt()) {
    key.is_covered = true;
  } else if (!entry.is_void) {
    if (!key.in_limbo.empty()) {
      Violate("Rule 12: an entry of " + record.key + " by " + by +
              " clears every doubt while a request of it is in limbo");
    }
    key.is_covered = false;
  }
}

std::vector<std::string> Checks::KeysOf(const Transmission& transmission) {
  const http::Request& request = transmission.request;
  const std::string& tenant = names_[transmission.tenant];
  std::string path = request.url.substr(request.url.find('/', 8));
  path = path.substr(0, path.find('?'));
  const auto contact_key = [&](std::string_view customer) {
    return ids::StateKey(tenant, "highlevel", "contact", "customers", customer);
  };
  const auto client_key = [&](std::string_view customer) {
    return ids::StateKey(tenant, "rest", "client", "customers", customer);
  };
  const auto body = json::Parse(request.body);
  if (transmission.target == simulator::Target::kRest) {
    if (request.method == "PUT" && path.starts_with("/clients/")) {
      return {client_key(path.substr(9))};
    }
    if (request.method == "POST" && path == "/clients/batch" && body.ok()) {
      std::vector<std::string> keys;
      const json::Value* const clients = body->Find("clients");
      if (clients == nullptr || clients->array() == nullptr) return {};
      for (const json::Value& client : *clients->array()) {
        const json::Value* const id = client.Find("client_id");
        if (id != nullptr && id->ToIdText()) keys.push_back(client_key(*id->ToIdText()));
      }
      return keys;
    }
    return {};
  }
  if (transmission.target != simulator::Target::kHighLevel) return {};
  if (request.method == "POST" && path == "/contacts/upsert" && body.ok()) {
    const json::Value* const fields = body->Find("customFields");
    if (fields == nullptr || fields->array() == nullptr) return {};
    for (const json::Value& field : *fields->array()) {
      const json::Value* const name = field.Find("key");
      const json::Value* const value = field.Find("field_value");
      if (name != nullptr && name->string() != nullptr && value != nullptr &&
          *name->string() == "chargify_customer_id" && value->ToIdText()) {
        return {contact_key(*value->ToIdText())};
      }
    }
    return {};
  }
  if (request.method == "POST" && path.ends_with("/notes")) {
    // The marker of an action is in the body, in words of 32 hex digits.
    constexpr std::string_view kHex = "0123456789abcdef";
    for (std::size_t at = 0; at < request.body.size();) {
      const std::size_t begin = request.body.find_first_of(kHex, at);
      if (begin == std::string::npos) break;
      at = std::min(request.body.find_first_not_of(kHex, begin), request.body.size());
      const auto action = action_keys_.find(request.body.substr(begin, at - begin));
      if (action != action_keys_.end()) return {action->second};
    }
    return {};
  }
  if (path.starts_with("/contacts/") && request.method != "GET" && !path.ends_with("/notes")) {
    const std::string rest = path.substr(10);
    const auto found = by_contact_.find({tenant, rest.substr(0, rest.find('/'))});
    if (found != by_contact_.end()) return {found->second};
  }
  return {};
}

void Checks::OnSent(const Transmission& transmission) {
  if (transmission.target == simulator::Target::kChargify || !transmission.request.is_write) return;
  std::vector<std::string> keys = KeysOf(transmission);
  if (keys.empty()) {
    ++counts_.unattributed_sends;
    return;
  }
  ++counts_.checked_sends;
  for (const std::string& name : keys) {
    Key& key = keys_[name];
    if (!key.is_covered) {
      Violate("Rule 16: " + transmission.sender + " sends " + name +
              " without an acknowledged intent");
    }
    if (!key.in_limbo.empty()) {
      Violate("Rule 19: " + transmission.sender + " sends " + name +
              " while an earlier request of it may still be applied");
    }
    key.in_limbo.insert(transmission.number);
  }
  sent_[transmission.number] = std::move(keys);
}

void Checks::OnSettled(const Transmission& transmission) {
  const auto found = sent_.find(transmission.number);
  if (found == sent_.end()) return;
  for (const std::string& name : found->second) keys_[name].in_limbo.erase(transmission.number);
  sent_.erase(found);
}

std::vector<std::string> Checks::ParkedKeys(bool are_actions_too) {
  std::vector<std::string> keys;
  for (auto& [where, table] : tables_) {
    if (where.first != Topic::kRecords) continue;
    table->Scan({}, {}, [&](std::string_view key, const TableEntry& entry) {
      const auto parts = ids::ParseCommandKey(key);
      v1::RecordEntry record;
      const bool is_asked_for =
          parts && (are_actions_too || parts->kind == ids::CommandKey::Kind::kState);
      if (is_asked_for && !entry.is_void && record.ParseFromString(entry.value) &&
          record.status() == v1::RecordEntry::STATUS_PARKED) {
        keys.emplace_back(key);
      }
      return true;
    });
  }
  return keys;
}

std::int64_t Checks::ShownOf(const std::string& tenant) {
  std::int64_t shown = 0;
  TableOf(Topic::kRecords, ids::PartitionOf(tenant, partitions_))
      .Scan(ids::JoinKey({tenant}) + "/", {}, [&](std::string_view, const TableEntry& entry) {
        v1::RecordEntry record;
        if (!entry.is_void && record.ParseFromString(entry.value)) {
          shown += record.comparison().others_size();
        }
        return true;
      });
  return shown;
}

std::vector<std::string> Checks::ActionsNotAtRest(const Orders& orders) {
  std::vector<std::string> problems;
  const auto find_lost = [&](const auto& events, const auto& actions) {
    for (const auto& [tenant, connection, event] : events) {
      const auto ordered = orders.tenants.find(tenant);
      if (ordered == orders.tenants.end()) continue;
      for (const v1::Sync& sync : ordered->second.snapshot.syncs()) {
        if (ordered->second.interrupted.contains(sync.name())) continue;
        if (sync.source() != connection || actions.contains({tenant, sync.name(), event})) continue;
        problems.push_back("lost: no action for event " + event + " of " + tenant + " in sync " +
                           sync.name());
      }
    }
  };
  find_lost(signups_, began_);
  find_lost(trials_, began_in_trial_);
  // What a lost `records` knew of the actions that were done, nobody knows.
  if (lost_ledger_) return problems;
  for (auto& [where, table] : tables_) {
    if (where.first != Topic::kRecords) continue;
    for (const auto& [key, content] : first_action_) {
      const auto parts = ids::ParseCommandKey(key);
      if (!parts || ids::PartitionOf(parts->tenant, partitions_) != where.second) continue;
      const std::optional<TableEntry> entry = table->Get(key);
      v1::RecordEntry record;
      if (!entry || entry->is_void || !record.ParseFromString(entry->value) || !record.final()) {
        v1::Command command;
        const bool is_told_again = lost_.contains(Topic::kCommands) &&
                                   lost_.contains(Topic::kEvents) &&
                                   command.ParseFromString(content);
        if (is_told_again && command.action().rule() == kTrialRule) continue;
        // Its events were read again while the sync was removed, which no rule of it hears.
        const auto ordered = orders.tenants.find(parts->tenant);
        const bool was_removed =
            ordered != orders.tenants.end() && ordered->second.interrupted.contains(parts->sync);
        if (was_removed && lost_.contains(Topic::kCommands)) continue;
        problems.push_back("Rule 31: the ledger has no end of action " + key);
      }
    }
  }
  return problems;
}

std::vector<std::string> Checks::NotAtRest(const Orders& orders) {
  std::vector<std::string> problems = ActionsNotAtRest(orders);
  counts_.parked = 0;
  counts_.actions = 0;
  rest_as_dropped_.clear();
  std::set<Partition> partitions;
  for (const auto& [where, table] : tables_) {
    partitions.insert(where.second);
    for (const std::string& key : table->void_keys()) {
      problems.push_back(std::string(eventlog::Name(where.first)) + ": only void: " + key);
    }
  }
  for (const Partition partition : partitions) {
    // Newest valid change that names a customer, and the customers that live.
    std::map<std::pair<std::string, std::string>, eventlog::Offset> newest;
    std::set<std::pair<std::string, std::string>> live;
    TableOf(Topic::kChanges, partition)
        .Scan({}, {}, [&](std::string_view key, const TableEntry& entry) {
          v1::ChangeEvent change;
          const auto parts = ids::SplitKey(key);
          if (!parts || entry.is_void || !change.ParseFromString(entry.value)) return true;
          const v1::Entity& entity = change.entity();
          const auto name = [&](const std::string& customer) {
            eventlog::Offset& offset = newest[{(*parts)[0], customer}];
            offset = std::max(offset, entry.offset);
          };
          for (const std::string& customer : entity.customers()) name(customer);
          for (const std::string& customer : entity.former_customers()) name(customer);
          if (entity.kind() == "customers" && !entity.gone()) {
            live.insert({(*parts)[0], entity.id()});
          }
          return true;
        });
    std::map<std::pair<std::string, std::string>, std::int64_t> revisions;
    for (const auto& [name, tenant] : orders.tenants) {
      const auto snapshot = TableOf(Topic::kTenants, partition).Get(ids::JoinKey({name}));
      if (!snapshot) continue;
      for (const v1::Sync& sync : tenant.snapshot.syncs()) {
        revisions[{name, sync.name()}] = sync.revision() != 0 ? sync.revision() : snapshot->offset;
      }
    }
    Table& commands = TableOf(Topic::kCommands, partition);
    Table& records = TableOf(Topic::kRecords, partition);
    const std::int64_t generation = commands.generation().value_or(0);
    const std::vector<ValidCommand> valid = ValidCommands(commands);
    // (tenant, sync, customer)
    std::map<std::tuple<std::string, std::string, std::string>, std::vector<const ValidCommand*>>
        of;
    for (const ValidCommand& command : valid) {
      if (command.parts.kind != ids::CommandKey::Kind::kState) continue;
      of[{command.parts.tenant, command.parts.sync, command.parts.source_id}].push_back(&command);
    }
    for (const auto& customer : live) {
      const auto tenant = orders.tenants.find(customer.first);
      if (tenant == orders.tenants.end()) continue;
      for (const v1::Sync& sync : tenant->second.snapshot.syncs()) {
        const std::vector<const ValidCommand*>& derived =
            of[{customer.first, sync.name(), customer.second}];
        for (const ValidCommand* const command : derived) {
          const v1::Version& version = command->command.version();
          if (std::tuple(version.generation(), version.offset()) <
              std::tuple(generation, newest[customer])) {
            problems.push_back("stale command " + command->key + " " + Text(version) +
                               ", newest change " + std::to_string(newest[customer]));
          }
        }
        if (derived.empty()) {
          problems.push_back("lost: no command for customer " + customer.first + "/" +
                             customer.second + " in sync " + sync.name());
        }
      }
    }
    std::set<std::string> gone;
    for (const ValidCommand& command : valid) {
      const v1::DesiredState::Presence presence = command.command.state().presence();
      // Unwanted: nothing of it was ever read but that it is gone.
      if (presence == v1::DesiredState::PRESENCE_GONE ||
          (presence == v1::DesiredState::PRESENCE_UNWANTED &&
           !live.contains({command.parts.tenant, command.parts.source_id}))) {
        gone.insert(command.key);
      }
    }
    const auto rests_as_dropped = [&](const std::string& key) {
      const std::optional<TableEntry> found = records.Get(key);
      v1::RecordEntry record;
      return found && !found->is_void && record.ParseFromString(found->value) &&
             record.outcome() == v1::OUTCOME_DROPPED && dropped_.contains(key);
    };
    // A contact that is gone may keep an e-mail from another one (design section 8).
    const auto conflicts_with_gone = [&](const std::string& key, const ids::CommandKey& parts,
                                         const v1::RecordEntry& record) {
      if (record.reason() != v1::REASON_IDENTITY_CONFLICT) return false;
      return std::any_of(sharing_.begin(), sharing_.end(), [&](const auto& shared) {
        const auto& [customer, owner] = shared;
        if (customer.first != parts.tenant) return false;
        const std::string other =
            ids::StateKey(parts.tenant, parts.sync, parts.object, "customers", customer.second);
        return gone.contains(other) &&
               (other == key ||
                (owner == parts.source_id && record.detail().find(other) != std::string::npos));
      });
    };
    const auto has_record = [&](const std::string& key) {
      const std::optional<TableEntry> found = records.Get(key);
      v1::RecordEntry record;
      return found && !found->is_void && record.ParseFromString(found->value) &&
             !record.id().empty();
    };
    const auto is_without_record = [&](const std::string& key) {
      const auto parts = ids::ParseCommandKey(key);
      const std::optional<TableEntry> found = records.Get(key);
      v1::RecordEntry record;
      return parts && found && !found->is_void && record.ParseFromString(found->value) &&
             record.status() == v1::RecordEntry::STATUS_PARKED &&
             conflicts_with_gone(key, *parts, record);
    };
    for (const auto& [key, parts, command] : valid) {
      const std::optional<TableEntry> found = records.Get(key);
      v1::RecordEntry record;
      if (found) record.ParseFromString(found->value);
      if (parts.kind == ids::CommandKey::Kind::kAction) {
        // Rule 30: whether it was done before `records` was lost cannot always be looked up.
        // Neither can it where a dead owner's entry covers what is known.
        const bool is_unknown = lost_ledger_ || void_actions_.contains(key);
        const bool is_parked = record.final() && record.status() == v1::RecordEntry::STATUS_PARKED;
        // Of a record that a person has deleted nothing can be looked up.
        const bool is_shown =
            is_parked &&
            (((is_unknown || people_meddle_) && record.outcome() == v1::OUTCOME_UNKNOWN) ||
             (people_meddle_ && record.reason() == v1::REASON_MISSING) ||
             // Of a customer who went away before any CRM had seen them, whom a person gave up, or
             // whose record cannot be made for one who is gone. Where it is there, it is to be
             // done.
             (record.reason() == v1::REASON_RECORD && !has_record(command.action().record_key()) &&
              (gone.contains(command.action().record_key()) ||
               rests_as_dropped(command.action().record_key()) ||
               is_without_record(command.action().record_key()))));
        if (!is_shown) {
          problems.push_back("action without an end: " + key + " " +
                             v1::Reason_Name(record.reason()) + " " + record.detail());
        }
        continue;
      }
      if (parts.kind != ids::CommandKey::Kind::kState) continue;
      const auto revision = revisions.find({parts.tenant, parts.sync});
      if (revision != revisions.end() && command.version().revision() != revision->second) {
        problems.push_back("Rule 36: " + key + " " + Text(command.version()) +
                           " is not of revision " + std::to_string(revision->second));
      }
      const bool is_resolved =
          found && !found->is_void && Ordered(record.resolved()) == Ordered(command.version());
      if (is_resolved && record.outcome() == v1::OUTCOME_DROPPED) {
        rest_as_dropped_.insert({parts.tenant, parts.sync, parts.source_id});
      }
      const bool is_parked = found && !found->is_void &&
                             record.status() == v1::RecordEntry::STATUS_PARKED &&
                             Ordered(record.status_version()) == Ordered(command.version());
      if (is_parked) {
        ++counts_.parked;
        if (conflicts_with_gone(key, parts, record)) continue;
        problems.push_back("parked: " + key + ": " + v1::Reason_Name(record.reason()) + " " +
                           record.detail());
      } else if (!is_resolved) {
        problems.push_back("not resolved: " + key + " desired " + Text(command.version()) +
                           ", resolved " + Text(record.resolved()) + " " +
                           v1::RecordEntry::Status_Name(record.status()) + " " + record.detail());
      }
    }
    records.Scan({}, {}, [&](std::string_view key, const TableEntry& entry) {
      v1::RecordEntry record;
      if (entry.is_void || !record.ParseFromString(entry.value)) return true;
      const auto parsed = ids::ParseCommandKey(key);
      if (record.has_intent()) problems.push_back("open intent: " + std::string(key));
      if (parsed && parsed->kind == ids::CommandKey::Kind::kAction) {
        ++counts_.actions;
        if (!record.final()) problems.push_back("action not final: " + std::string(key));
      }
      return true;
    });
    for (const auto& [name, revision] : revisions) {
      const auto mapped = commands.Get(ids::MappedKey(name.first, name.second));
      v1::Command command;
      if (!mapped || mapped->is_void || !command.ParseFromString(mapped->value) ||
          command.mapped().revision() != revision || command.mapped().generation() != generation) {
        problems.push_back("not mapped by revision " + std::to_string(revision) + ": " +
                           name.first + "/" + name.second);
      }
    }
  }
  return problems;
}

}  // namespace tributary::simulation

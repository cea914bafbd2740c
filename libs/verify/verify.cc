#include "libs/verify/verify.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include <google/protobuf/timestamp.pb.h>

#include "libs/eventlog/local_store.h"
#include "libs/eventlog/table.h"
#include "libs/ids/keys.h"
#include "libs/utf8/utf8.h"
#include "tributary/v1/changes.pb.h"
#include "tributary/v1/commands.pb.h"
#include "tributary/v1/records.pb.h"
#include "tributary/v1/tenants.pb.h"

namespace tributary::verify {
namespace {

using eventlog::Offset;
using eventlog::Record;
using eventlog::Table;
using eventlog::TableEntry;
using eventlog::Topic;

using Place = std::tuple<std::int64_t, std::int64_t>;                  // generation, offset
using Version = std::tuple<std::int64_t, std::int64_t, std::int64_t>;  // and revision
using SyncName = std::pair<std::string, std::string>;                  // tenant, sync

Version VersionOf(const v1::Version& version) {
  return {version.generation(), version.offset(), version.revision()};
}

std::string Text(const v1::Version& version) {
  return std::to_string(version.generation()) + ":" + std::to_string(version.offset()) + ":" +
         std::to_string(version.revision());
}

struct ActiveSync {
  std::string source;
  std::string target;
  Offset revision = 0;
};

// What receipts and the history of `records` say of the outcomes of one action.
struct ActionOutcomes {
  // Sends that were reported to have been made.
  std::set<std::int64_t> applied;
  std::set<std::int64_t> sent;
  bool was_dropped = false;
};

// One reading of everything, and what it means.
class Pass {
 public:
  Pass(const Reader& reader, const Options& options)
      : reader_(reader), options_(options), stores_(eventlog::MakeMemoryStores()) {}

  absl::Status Run() {
    // In the direction of the flow backwards: what is read first is older than what it is compared
    // with, so that a change that comes meanwhile is not taken for lost.
    for (const auto& step : {&Pass::ReadTenants, &Pass::ReadChanges, &Pass::ReadCommands,
                             &Pass::ReadRecords, &Pass::ReadOutcomes}) {
      if (absl::Status status = (this->*step)(); !status.ok()) {
        return status;
      }
    }
    CheckMapped();
    CheckCustomers();
    CheckStates();
    CheckActions();
    response_.set_at_rest(is_at_rest_);
    response_.set_ok(is_at_rest_ && found_ == 0);
    if (found_ > options_.problems_max) {
      response_.add_problems("and " + std::to_string(found_ - options_.problems_max) + " more");
    }
    return absl::OkStatus();
  }

  const v1::VerifyResponse& response() const { return response_; }
  // Of every topic and partition that has anything.
  const std::map<std::pair<Topic, eventlog::Partition>, Offset>& ends() const { return ends_; }

 private:
  void Problem(std::string problem) {
    if (found_ < options_.problems_max) {
      // Keys in a log are whatever somebody wrote.
      response_.add_problems(utf8::Cleaned(problem));
    }
    ++found_;
  }
  void Lost(std::string problem) {
    response_.set_lost(response_.lost() + 1);
    Problem(std::move(problem));
  }
  void Stale(std::string problem) {
    response_.set_stale(response_.stale() + 1);
    Problem(std::move(problem));
  }
  void Double(std::string problem) {
    response_.set_double_outcomes(response_.double_outcomes() + 1);
    Problem(std::move(problem));
  }
  void NotAtRest(std::string problem) {
    is_at_rest_ = false;
    Problem(std::move(problem));
  }
  void Checked() { response_.set_checked(response_.checked() + 1); }

  absl::Status ReadAll(Topic topic, const std::function<void(const Record&)>& visit) {
    return reader_.read_all(topic, [&](const Record& record) {
      Offset& end = ends_[{topic, record.partition}];
      end = std::max(end, record.offset + 1);
      visit(record);
      return true;
    });
  }

  // Folds a table as every reader does. `thin` takes out of a value what is not compared, to save
  // memory; `visit_valid` sees each entry that was valid when it was written, in order.
  absl::Status ReadTable(
      Topic topic, const std::function<void(std::string& value)>& thin,
      const std::function<void(const Record&, const std::string& value)>& visit_valid = {}) {
    absl::Status opened;
    const absl::Status status = ReadAll(topic, [&](const Record& record) {
      std::unique_ptr<Table>& table = tables_[{topic, record.partition}];
      if (table == nullptr) {
        absl::StatusOr<std::unique_ptr<eventlog::LocalStore>> store =
            stores_->Open(topic, record.partition);
        if (!store.ok()) {
          opened = store.status();
          return;
        }
        table = std::make_unique<Table>(
            Table::Options{.topic = topic, .partition = record.partition}, *std::move(store));
      }
      Record folded = record;
      if (folded.value && !folded.key.starts_with('!')) {
        thin(*folded.value);
      }
      const std::optional<TableEntry> entry = table->Apply(folded);
      if (entry && !entry->is_void && visit_valid && !folded.key.starts_with('!')) {
        visit_valid(folded, entry->value);
      }
    });
    return status.ok() ? opened : status;
  }

  void ScanTable(Topic topic, const std::function<void(const Table&, std::string_view key,
                                                       const TableEntry& entry)>& visit) const {
    for (const auto& [place, table] : tables_) {
      if (place.first == topic) {
        table->Scan("", "", [&, &current = *table](std::string_view key, const TableEntry& entry) {
          visit(current, key, entry);
          return true;
        });
      }
    }
  }

  // The newest valid entry. None: no entry, or a void one, which is told.
  std::optional<TableEntry> Get(Topic topic, const std::string& tenant, const std::string& key) {
    const auto found = tables_.find({topic, ids::PartitionOf(tenant, reader_.partitions)});
    if (found == tables_.end()) {
      return std::nullopt;
    }
    std::optional<TableEntry> entry = found->second->Get(key);
    if (entry && entry->is_void) {
      return std::nullopt;
    }
    return entry;
  }

  std::int64_t GenerationOf(Topic topic, const std::string& tenant) const {
    const auto found = tables_.find({topic, ids::PartitionOf(tenant, reader_.partitions)});
    return found == tables_.end() ? 0 : found->second->generation().value_or(0);
  }

  template <typename Message>
  bool Parse(Topic topic, std::string_view key, const TableEntry& entry, Message& message) {
    if (message.ParseFromString(entry.value)) {
      return true;
    }
    Problem(std::string(eventlog::Name(topic)) + " " + std::string(key) + " at offset " +
            std::to_string(entry.offset) + ": cannot be read");
    return false;
  }

  bool TellVoid(Topic topic, std::string_view key, const TableEntry& entry) {
    if (entry.is_void) {
      NotAtRest(std::string(eventlog::Name(topic)) + " " + std::string(key) +
                ": only void entries are left, and nobody has repaired it");
    }
    return entry.is_void;
  }

  absl::Status ReadTenants() {
    const absl::Status status = ReadTable(Topic::kTenants, [](std::string&) {});
    ScanTable(Topic::kTenants, [&](const Table&, std::string_view key, const TableEntry& entry) {
      v1::TenantSnapshot snapshot;
      if (key.starts_with('!') || TellVoid(Topic::kTenants, key, entry) ||
          !Parse(Topic::kTenants, key, entry, snapshot) || snapshot.removed()) {
        return;
      }
      for (const v1::Sync& sync : snapshot.syncs()) {
        if (sync.state() == v1::SYNC_STATE_ACTIVE) {
          syncs_[{snapshot.tenant(), sync.name()}] = {
              sync.source(), sync.target(), sync.revision() == 0 ? entry.offset : sync.revision()};
        }
      }
    });
    return status;
  }

  absl::Status ReadChanges() {
    const absl::Status status = ReadTable(Topic::kChanges, [](std::string& value) {
      v1::ChangeEvent change;
      if (change.ParseFromString(value)) {
        change.mutable_entity()->clear_document();
        value = change.SerializeAsString();
      }
    });
    ScanTable(Topic::kChanges,
              [&](const Table& table, std::string_view key, const TableEntry& entry) {
                v1::ChangeEvent change;
                const std::optional<std::vector<std::string>> parts = ids::SplitKey(key);
                if (TellVoid(Topic::kChanges, key, entry) ||
                    !Parse(Topic::kChanges, key, entry, change) || !parts || parts->size() != 4) {
                  return;
                }
                const Place place = {table.generation().value_or(0), entry.offset};
                for (const auto* customers :
                     {&change.entity().customers(), &change.entity().former_customers()}) {
                  for (const std::string& customer : *customers) {
                    Place& newest = newest_changes_[{(*parts)[0], (*parts)[1], customer}];
                    newest = std::max(newest, place);
                  }
                }
              });
    return status;
  }

  absl::Status ReadCommands() {
    std::map<std::string, Version> versions;
    return ReadTable(
        Topic::kCommands,
        [](std::string& value) {
          v1::Command command;
          if (command.ParseFromString(value)) {
            if (command.has_state()) {
              command.mutable_state()->clear_fields();
            }
            value = command.SerializeAsString();
          }
        },
        [&, versions](const Record& record, const std::string& value) mutable {
          v1::Command command;
          if (!command.ParseFromString(value) || !command.has_state()) {
            return;
          }
          const Version version = VersionOf(command.version());
          Version& last = versions.emplace(record.key, version).first->second;
          if (version < last) {
            Stale("commands " + record.key + " at offset " + std::to_string(record.offset) +
                  ": its version " + Text(command.version()) + " is below an earlier one");
          }
          last = version;
        });
  }

  absl::Status ReadRecords() {
    return ReadTable(
        Topic::kRecords,
        [](std::string& value) {
          v1::RecordEntry entry;
          if (entry.ParseFromString(value)) {
            entry.clear_kept_answer();
            entry.clear_tags();
            value = entry.SerializeAsString();
          }
        },
        [&](const Record& record, const std::string& value) {
          v1::RecordEntry entry;
          const std::optional<ids::CommandKey> key = ids::ParseCommandKey(record.key);
          if (key && key->kind == ids::CommandKey::Kind::kAction && entry.ParseFromString(value) &&
              entry.final()) {
            Note(record.key, entry.outcome(), entry.sends());
          }
        });
  }

  absl::Status ReadOutcomes() {
    // Repeats of one id are one.
    std::set<std::string> seen;
    return ReadAll(Topic::kOutcomes, [&](const Record& record) {
      v1::Receipt receipt;
      if (record.value && receipt.ParseFromString(*record.value) && !receipt.action_id().empty() &&
          seen.insert(receipt.id()).second) {
        Note(receipt.key(), receipt.outcome(), receipt.send());
      }
    });
  }

  void Note(const std::string& action, v1::Outcome outcome, std::int64_t send) {
    ActionOutcomes& outcomes = outcomes_[action];
    if (outcome == v1::OUTCOME_APPLIED) {
      outcomes.applied.insert(send);
      outcomes.sent.insert(send);
    } else if (outcome == v1::OUTCOME_UNKNOWN) {
      // Of a send that was reported as done by an owner who died before its entry: the same send.
      outcomes.sent.insert(send);
    } else if (outcome == v1::OUTCOME_DROPPED) {
      outcomes.was_dropped = true;
    }
  }

  void CheckMapped() {
    for (const auto& [name, sync] : syncs_) {
      Checked();
      const std::string key = ids::MappedKey(name.first, name.second);
      const std::optional<TableEntry> entry = Get(Topic::kCommands, name.first, key);
      v1::Command command;
      if (!entry || !Parse(Topic::kCommands, key, *entry, command)) {
        Lost(key + ": nothing says that every customer has been mapped");
        continue;
      }
      // A transformer of version 0.1, at work beside newer services, names no generation. Not that
      // of `tenants`: topics that are being moved are closed by giving those the next one.
      const std::int64_t generation = command.mapped().generation();
      const std::int64_t in_force = GenerationOf(Topic::kCommands, name.first);
      if (command.mapped().revision() != sync.revision ||
          (generation != 0 && generation != in_force)) {
        Lost(key + ": every customer has been mapped under revision " +
             std::to_string(command.mapped().revision()) + " of generation " +
             std::to_string(generation) + ", and the one in force is " +
             std::to_string(sync.revision) + " of " + std::to_string(in_force));
      }
    }
  }

  // Every customer that a change names has been derived from that change or a newer one.
  void CheckCustomers() {
    std::map<std::tuple<std::string, std::string, std::string>, Place> derived;
    ScanTable(Topic::kCommands, [&](const Table&, std::string_view key, const TableEntry& entry) {
      v1::Command command;
      const std::optional<ids::CommandKey> parsed = ids::ParseCommandKey(key);
      if (!parsed || TellVoid(Topic::kCommands, key, entry) ||
          parsed->kind != ids::CommandKey::Kind::kState ||
          !Parse(Topic::kCommands, key, entry, command)) {
        return;
      }
      Place& newest = derived[{parsed->tenant, parsed->sync, command.customer()}];
      newest = std::max(newest, Place(command.version().generation(), command.version().offset()));
    });
    for (const auto& [name, sync] : syncs_) {
      for (auto change = newest_changes_.lower_bound({name.first, sync.source, ""});
           change != newest_changes_.end() && std::get<0>(change->first) == name.first &&
           std::get<1>(change->first) == sync.source;
           ++change) {
        Checked();
        const std::string& customer = std::get<2>(change->first);
        const auto found = derived.find({name.first, name.second, customer});
        const std::string what = "customer " + customer + " of " + name.first + "/" + sync.source +
                                 ": change at offset " +
                                 std::to_string(std::get<1>(change->second));
        if (found == derived.end()) {
          Lost(what + " has no command for sync " + name.second);
        } else if (found->second < change->second) {
          Lost(what + " is newer than its command for sync " + name.second + ", which is of " +
               std::to_string(std::get<1>(found->second)));
        }
      }
    }
  }

  void CheckStates() {
    // Rule 25: one key for each record of a target.
    std::map<std::tuple<std::string, std::string, std::string, std::string>, std::string> holders;
    ScanTable(Topic::kRecords, [&](const Table&, std::string_view key, const TableEntry& entry) {
      if (TellVoid(Topic::kRecords, key, entry)) {
        return;
      }
      v1::RecordEntry record;
      const std::optional<ids::CommandKey> parsed = ids::ParseCommandKey(key);
      if (!parsed || !Parse(Topic::kRecords, key, entry, record)) {
        return;
      }
      const auto sync = syncs_.find({parsed->tenant, parsed->sync});
      if (sync == syncs_.end()) {
        return;
      }
      if (record.has_intent()) {
        NotAtRest(std::string(key) + ": a request is open, begun as send " +
                  std::to_string(record.intent().send()));
      }
      if (parsed->kind == ids::CommandKey::Kind::kState && !record.id().empty() &&
          record.status() != v1::RecordEntry::STATUS_PARKED) {
        const auto [holder, is_new] = holders.emplace(
            std::tuple(parsed->tenant, sync->second.target, parsed->object, record.id()),
            std::string(key));
        if (!is_new) {
          Stale(std::string(key) + ": holds " + parsed->object + " " + record.id() +
                " of the target, which " + holder->second + " holds too");
        }
      }
    });
    ScanTable(Topic::kCommands, [&](const Table&, std::string_view key, const TableEntry& entry) {
      v1::Command command;
      const std::optional<ids::CommandKey> parsed = ids::ParseCommandKey(key);
      if (entry.is_void || !parsed || parsed->kind != ids::CommandKey::Kind::kState ||
          !syncs_.contains({parsed->tenant, parsed->sync}) ||
          !Parse(Topic::kCommands, key, entry, command)) {
        return;
      }
      Checked();
      CheckState(std::string(key), parsed->tenant, command);
    });
  }

  void CheckState(const std::string& key, const std::string& tenant, const v1::Command& command) {
    const std::optional<TableEntry> entry = Get(Topic::kRecords, tenant, key);
    v1::RecordEntry record;
    if (entry && !Parse(Topic::kRecords, key, *entry, record)) {
      return;
    }
    const v1::DesiredState::Presence presence = command.state().presence();
    const bool asks_nothing = presence == v1::DesiredState::PRESENCE_UNWANTED ||
                              presence == v1::DesiredState::PRESENCE_WITHDRAWN;
    if (!entry && asks_nothing) {
      return;
    }
    if (!entry) {
      Stale(key + ": desired is " + Text(command.version()) + ", and nothing was ever done");
      return;
    }
    const Version desired = VersionOf(command.version());
    if (record.has_resolved() && VersionOf(record.resolved()) == desired) {
      return;
    }
    if (record.has_intent()) {
      // Was told already.
      return;
    }
    if (record.status() == v1::RecordEntry::STATUS_PARKED) {
      // Freed by a newer version, unless the reason is a person, the identity or the connection.
      const bool stays = record.reason() == v1::REASON_IDENTITY_CONFLICT ||
                         record.reason() == v1::REASON_CONNECTION ||
                         record.reason() == v1::REASON_PERSON;
      if (stays || VersionOf(record.status_version()) == desired) {
        return;
      }
    }
    if (record.status() == v1::RecordEntry::STATUS_RETRYING) {
      NotAtRest(key + ": will be tried again (" + record.detail() + ")");
      return;
    }
    Stale(key + ": desired is " + Text(command.version()) + ", and resolved is " +
          (record.has_resolved() ? Text(record.resolved()) : "nothing"));
  }

  void CheckActions() {
    // A is measured against the newest event time of the tenant (rule 31).
    std::map<std::string, std::int64_t> newest;
    ScanTable(Topic::kCommands, [&](const Table&, std::string_view key, const TableEntry& entry) {
      v1::Command command;
      const std::optional<ids::CommandKey> parsed = ids::ParseCommandKey(key);
      if (parsed && !entry.is_void && command.ParseFromString(entry.value) &&
          command.has_action()) {
        std::int64_t& time = newest[parsed->tenant];
        time = std::max(time, command.action().event_time().seconds());
      }
    });
    ScanTable(Topic::kRecords, [&](const Table&, std::string_view key, const TableEntry& entry) {
      v1::RecordEntry record;
      const std::optional<ids::CommandKey> parsed = ids::ParseCommandKey(key);
      if (parsed && !entry.is_void && record.ParseFromString(entry.value)) {
        std::int64_t& time = newest[parsed->tenant];
        time = std::max(time, record.event_time().seconds());
      }
    });
    const auto is_too_old = [&](const std::string& tenant, std::int64_t event_seconds) {
      const std::int64_t age =
          std::chrono::duration_cast<std::chrono::seconds>(options_.action_age).count();
      return event_seconds + age < newest[tenant];
    };

    ScanTable(Topic::kCommands, [&](const Table&, std::string_view key, const TableEntry& entry) {
      v1::Command command;
      const std::optional<ids::CommandKey> parsed = ids::ParseCommandKey(key);
      if (!parsed || entry.is_void || parsed->kind != ids::CommandKey::Kind::kAction ||
          !syncs_.contains({parsed->tenant, parsed->sync}) ||
          !Parse(Topic::kCommands, key, entry, command) ||
          is_too_old(parsed->tenant, command.action().event_time().seconds())) {
        return;
      }
      Checked();
      CheckAction(std::string(key), parsed->tenant);
    });
    for (const auto& [key, outcomes] : outcomes_) {
      const std::optional<ids::CommandKey> parsed = ids::ParseCommandKey(key);
      if (!parsed || !syncs_.contains({parsed->tenant, parsed->sync})) {
        continue;
      }
      Checked();
      if (outcomes.sent.size() > 1) {
        Double(key + ": was done by more than one request");
      } else if (!outcomes.applied.empty() && outcomes.was_dropped) {
        Double(key + ": was done, and dropped");
      }
    }
  }

  void CheckAction(const std::string& key, const std::string& tenant) {
    const std::optional<TableEntry> entry = Get(Topic::kRecords, tenant, key);
    v1::RecordEntry record;
    if (entry && !Parse(Topic::kRecords, key, *entry, record)) {
      return;
    }
    if (!entry) {
      Lost(key + ": has no outcome, and nothing was ever done");
    } else if (record.final() || record.has_intent() ||
               record.status() == v1::RecordEntry::STATUS_PARKED) {
      // Final, told already, or in sight.
      return;
    } else if (record.status() == v1::RecordEntry::STATUS_RETRYING) {
      NotAtRest(key + ": will be tried again (" + record.detail() + ")");
    } else {
      Lost(key + ": has no outcome");
    }
  }

  const Reader& reader_;
  const Options& options_;
  const std::unique_ptr<eventlog::LocalStores> stores_;
  std::map<std::pair<Topic, eventlog::Partition>, std::unique_ptr<Table>> tables_;
  std::map<std::pair<Topic, eventlog::Partition>, Offset> ends_;
  std::map<SyncName, ActiveSync> syncs_;
  // By tenant, connection and customer.
  std::map<std::tuple<std::string, std::string, std::string>, Place> newest_changes_;
  std::map<std::string, ActionOutcomes> outcomes_;
  v1::VerifyResponse response_;
  bool is_at_rest_ = true;
  int found_ = 0;
};

}  // namespace

absl::StatusOr<v1::VerifyResponse> Verify(const Reader& reader, const Options& options) {
  Pass first(reader, options);
  if (absl::Status status = first.Run(); !status.ok()) {
    return status;
  }
  if (first.response().ok() || !options.wait) {
    return first.response();
  }
  options.wait();
  Pass second(reader, options);
  if (absl::Status status = second.Run(); !status.ok()) {
    return status;
  }
  v1::VerifyResponse response = second.response();
  if (!response.ok() && first.ends() != second.ends()) {
    response.set_at_rest(false);
  }
  return response;
}

}  // namespace tributary::verify

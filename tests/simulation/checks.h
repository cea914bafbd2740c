#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "libs/eventlog/table.h"
#include "libs/eventlog/testing/simulated_log.h"
#include "tests/simulation/network.h"
#include "tests/simulation/tenants_publisher.h"
#include "tests/simulation/trace.h"
#include "tributary/v1/commands.pb.h"

namespace tributary::simulation {

/// Sees every record in the moment in which it is durable and every request in the moment in which
/// it leaves, and knows what must never be seen (protocol section 8). What it knows of keys it
/// reads from requests and topics alone, not from the stages.
class Checks : public TransmissionObserver {
 public:
  /// `names` of tenants, by their index in the network.
  Checks(Trace& trace, std::vector<std::string> names, std::int32_t partitions);

  void OnAppend(const eventlog::Record& record, const std::string& by);
  /// The topic is made anew. What is not in a lost `records` may be under way (rule 12).
  void OnLost(eventlog::Topic topic);
  void OnSent(const Transmission& transmission) override;
  void OnSettled(const Transmission& transmission) override;

  /// What only a stage itself can tell.
  void Violate(std::string what);
  /// What was seen that must never be. Empty: nothing.
  const std::vector<std::string>& violations() const { return violations_; }
  /// What is not at rest, from the topics alone: each customer has its valid, newest command, each
  /// command its record, each action its outcome. Empty: at rest.
  std::vector<std::string> NotAtRest(const Orders& orders);

  bool has_lost_ledger() const { return lost_ledger_; }
  /// People delete records: an action on one of them has its end when it is parked for that.
  void PeopleMeddle() { people_meddle_ = true; }
  /// For a while this customer has the e-mail of another. If it goes away meanwhile, its last state
  /// stays parked as a conflict that names both (rule 25); or the other one's does, if the record
  /// of the one that is gone had the e-mail first.
  void SharesEmail(const std::string& tenant, const std::string& customer,
                   const std::string& owner) {
    sharing_[{tenant, customer}] = owner;
  }
  /// Ids beyond the first that the sweep has found, over all records and actions of a tenant.
  std::int64_t ShownOf(const std::string& tenant);
  /// Keys of records, and of actions if asked for, that wait for a person.
  std::vector<std::string> ParkedKeys(bool are_actions_too);
  /// A person gives up what is parked under this key.
  void PersonDrops(const std::string& key) { dropped_.insert(key); }
  /// The last look found that the record of this customer rests as dropped, and says so: its CRM
  /// need not show what it should.
  bool RestsAsDropped(const std::string& tenant, const std::string& sync,
                      const std::string& customer) const {
    return rest_as_dropped_.contains({tenant, sync, customer});
  }

  struct Counts {
    std::int64_t void_entries = 0;
    std::int64_t intents = 0;
    std::int64_t checked_sends = 0;
    std::int64_t unattributed_sends = 0;
    std::int64_t parked = 0;
    std::int64_t actions = 0;
  };
  const Counts& counts() const { return counts_; }

 private:
  struct Key {
    // Protocol section 8: an acknowledged intent or in_doubt, valid or void, that no later valid
    // entry has cleared.
    bool is_covered = false;
    std::set<std::uint64_t> in_limbo;
  };
  void OnCommand(const eventlog::Record& record, const std::string& by,
                 const eventlog::TableEntry& entry);
  void OnRecordEntry(const eventlog::Record& record, const std::string& by,
                     const eventlog::TableEntry& entry);
  void OnEvent(const eventlog::Record& record);
  std::vector<std::string> ActionsNotAtRest(const Orders& orders);
  std::vector<std::string> KeysOf(const Transmission& transmission);
  eventlog::Table& TableOf(eventlog::Topic topic, eventlog::Partition partition);

  Trace& trace_;
  const std::vector<std::string> names_;
  const std::int32_t partitions_;
  std::unique_ptr<eventlog::LocalStores> stores_;
  std::map<std::pair<eventlog::Topic, eventlog::Partition>, std::unique_ptr<eventlog::Table>>
      tables_;
  std::map<std::string, Key> keys_;
  // (tenant, customer)
  std::map<std::pair<std::string, std::string>, std::string> sharing_;
  std::set<std::string> dropped_;
  // (tenant, sync, customer)
  std::set<std::tuple<std::string, std::string, std::string>> rest_as_dropped_;
  // (tenant, id of a contact) -> key
  std::map<std::pair<std::string, std::string>, std::string> by_contact_;
  std::map<std::uint64_t, std::vector<std::string>> sent_;
  std::map<std::string, v1::Command> newest_valid_command_;
  // The first valid entry of each action (rule 28).
  std::map<std::string, std::string> first_action_;
  // By its id, which requests carry as their marker.
  std::map<std::string, std::string> action_keys_;
  // Live events that a shipped rule without a condition listens to: (tenant, connection, id).
  std::set<std::tuple<std::string, std::string, std::string>> signups_;
  // The same of our own rule, for subscriptions that were in trial in every form of the event.
  std::set<std::tuple<std::string, std::string, std::string>> trials_;
  // (tenant, sync, event id) of actions of those rules.
  std::set<std::tuple<std::string, std::string, std::string>> began_;
  std::set<std::tuple<std::string, std::string, std::string>> began_in_trial_;
  // How an event was written, by (tenant, id): read again it may carry newer entities, and the
  // action that was given first counts (rule 28).
  std::map<std::pair<std::string, std::string>, std::set<std::uint64_t>> events_;
  std::set<eventlog::Topic> lost_;
  bool lost_ledger_ = false;
  bool people_meddle_ = false;
  // Keys of actions that had a void entry: unknown, not absent (rule 2).
  std::set<std::string> void_actions_;
  std::vector<std::string> violations_;
  Counts counts_;
};

}  // namespace tributary::simulation

#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/eventlog/local_store.h"
#include "libs/eventlog/testing/simulated_log.h"
#include "libs/json/value.h"
#include "services/loader/loader.h"
#include "services/simulator/world.h"
#include "tributary/v1/commands.pb.h"
#include "tributary/v1/control.pb.h"
#include "tributary/v1/records.pb.h"
#include "tributary/v1/tenants.pb.h"

namespace tributary::loader {

/// One loader on a simulated log, against the simulated CRMs, on virtual time. The test is
/// transformer, control and the group's coordinator.
class Rig {
 public:
  struct Sent {
    Instant at;
    std::string method;
    std::string path;
    std::string body;
  };
  struct Wire {
    /// The request leaves this much later than the stage asked.
    Duration before{};
    /// Instead of the CRM.
    std::optional<simulator::Answer> answer;
    /// Nobody can connect to it.
    bool is_unreachable = false;
  };

  Rig();
  ~Rig();

  // ---- the loader's process ----
  void Start();
  /// kill -9: what is on the wire may still arrive.
  void Kill();
  /// Every local copy is gone. Nobody may be running.
  void LoseDisk();
  /// The group takes the partition back in good order.
  void HandOver();
  /// The same, and the process gets it back.
  void HandOverAndBack(const std::function<void()>& between);
  /// What `withholds` has withheld, and nothing from now on.
  void TellWithheld();
  /// For so long nothing of `records` reaches it.
  void ReadRecordsLater(Duration by);
  void Run(Duration duration) { time.RunFor(duration); }
  bool ready() const;
  Stage& stage();
  const Counters& counters() const;

  // ---- what others write ----
  void PublishTenant();
  /// Of this connection from now on: the built-in one with `from` replaced by `to`.
  void PublishConnectorFile(v1::Connection& connection, const std::string& from,
                            const std::string& to);
  /// Contact of HighLevel in sync `hl`.
  std::string Contact(int customer, const std::string& email, const std::string& name, int version,
                      const std::vector<std::string>& tags = {}, const std::string& company = "");
  /// Client of the REST CRM in sync `crm`.
  std::string Client(int customer, const std::string& name, int version);
  std::string Command(const std::string& key, const v1::Command& command);
  std::string State(const std::string& key, v1::DesiredState::Presence presence, int version);
  std::string Note(const std::string& id, const std::string& record_key, int age_days = 0,
                   const std::string& after = "");
  /// An entry of a dead owner in `records`.
  void AppendVoid(const std::string& key, const v1::RecordEntry& entry);
  /// Any bytes under a token that is valid now, or a null. Returns the offset.
  eventlog::Offset AppendRaw(eventlog::Topic table, const std::string& key,
                             std::optional<std::string> bytes);
  /// `records` is lost, and a person has ordered that everything be founded again.
  void LoseRecordsAndFoundAnew();
  v1::FromService Ask(v1::ToService message);
  std::string Decide(const std::string& key, bool replay);

  /// At HighLevel, with the merchant's own key.
  simulator::Answer ByAPerson(const std::string& method, const std::string& path,
                              const std::string& body = "");

  // ---- what can be seen ----
  /// The newest of the log; empty when there is none.
  v1::RecordEntry Entry(const std::string& key) const;
  std::vector<v1::RecordEntry> Entries(const std::string& key) const;
  std::vector<v1::Receipt> Receipts(const std::string& key) const;
  bool HasCommand(const std::string& key) const;
  json::Value Contacts() const;
  json::Value Clients() const;
  /// Of the client that this customer has now; "absent" if there is none.
  std::string ClientName(int customer);
  /// Requests that left, whose "METHOD path" contains `text`.
  std::vector<Sent> SentTo(std::string_view text) const;
  std::vector<Sent> Writes() const;
  /// As control was told last; empty when it was not.
  v1::SyncStatus StatusOf(const std::string& sync) const;
  void Faults(const std::string& json);

  eventlog::testing::VirtualTime time;
  eventlog::testing::SimulatedLog log;
  simulator::World world;
  Options options;
  v1::TenantSnapshot tenant;
  std::vector<Sent> sent;
  std::vector<v1::FromService> to_control;
  /// Called behind each fact that the stage was told.
  std::function<void()> after_fact;
  /// The stage is not told this yet.
  std::function<bool(const eventlog::Fact&)> withholds;
  /// Nor that time passes.
  bool ticks_are_withheld = false;
  std::function<Wire(const http::Request&)> wire;
  /// Control answers with the right credentials, or with these.
  std::map<std::string, std::string> credentials;
  std::int64_t credential_revision = 1;
  bool control_answers = true;
  /// Of the states that follow.
  bool is_backfill = false;
  /// The same, of clients.
  std::optional<WallTime> changed_at;

 private:
  struct Process;
  Now now() const;
  std::unique_ptr<eventlog::LocalStores> stores_;
  std::unique_ptr<Process> process_;
  std::uint64_t processes_ = 0;
};

v1::Version VersionOf(int offset);

}  // namespace tributary::loader

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/eventlog/local_store.h"
#include "libs/eventlog/table.h"
#include "libs/eventlog/testing/simulated_log.h"
#include "libs/eventlog/testing/virtual_time.h"
#include "services/transformer/transformer.h"
#include "tributary/v1/changes.pb.h"
#include "tributary/v1/commands.pb.h"
#include "tributary/v1/control.pb.h"
#include "tributary/v1/tenants.pb.h"

// One transformer on a simulated log, on virtual time. What other services would write, the test
// writes.

namespace tributary::transformer {

inline constexpr std::int64_t kGeneration = 7;

struct Change {
  std::string kind = "customers";
  std::string id;
  std::vector<std::string> customers;
  std::vector<std::string> former;
  std::string document = "{}";
  bool gone = false;
  bool first_read = false;
  std::int64_t updated_at = 0;
  std::string connection = "billing";
  std::string tenant = "acme";
};

class Rig {
 public:
  /// `acme` lives in the first of them.
  explicit Rig(int partitions = 1);
  ~Rig();

  // ---- other services ----

  /// The snapshot of tenant `acme` with one sync `main` from `billing` to `crm`. Offset of it.
  std::int64_t PutSync(const std::string& mapping, const std::string& rules = "",
                       v1::SyncState state = v1::SYNC_STATE_ACTIVE, std::int64_t revision = 0);
  /// The same with syncs as they are given.
  std::int64_t PutSnapshot(const v1::TenantSnapshot& snapshot);
  /// Hash of it.
  std::string PutBlob(v1::Blob::Kind kind, const std::string& content);
  std::int64_t Put(const Change& change);
  std::int64_t PutCustomer(const std::string& id, const std::string& document);
  std::int64_t PutEvent(const v1::SourceEvent& event, const std::string& tenant = "acme");
  /// With a token that is smaller than the transformer's: void behind its fence.
  std::int64_t PutVoid(eventlog::Topic topic, const std::string& key, const std::string& value);
  std::int64_t PutRaw(eventlog::Topic topic, const std::string& key, const std::string& value);

  // ---- the transformer ----

  void Start(bool keeps_disk = true);
  void Kill();
  void Run(Duration duration = std::chrono::seconds(20));
  /// Called behind each step of the stage; true kills it there.
  std::function<bool()> after_step;
  Transformer& stage() { return *stage_; }
  bool is_running() const { return stage_ != nullptr; }
  const std::vector<v1::FromService>& sent() const { return sent_; }
  std::vector<std::string> log_lines;
  Options options;

  // ---- the log ----

  /// The newest valid command of each key.
  std::map<std::string, v1::Command> Commands() const;
  v1::Command Command(const std::string& key) const;
  std::vector<std::string> Actions() const;
  /// Every command in the order of the log, void or not, without fences.
  std::vector<std::pair<std::string, v1::Command>> CommandHistory() const;
  std::optional<eventlog::Offset> Committed(eventlog::Topic topic) const;

  eventlog::testing::VirtualTime time;
  eventlog::testing::SimulatedLog log;
  eventlog::testing::MemberDelays delays;

 private:
  class Ports;

  std::unique_ptr<eventlog::LocalStores> disk_;
  std::unique_ptr<eventlog::testing::SimulatedMember> member_;
  std::unique_ptr<Ports> ports_;
  std::unique_ptr<Transformer> stage_;
  std::vector<v1::FromService> sent_;
  std::uint64_t random_ = 1;
};

/// Key of the state of a customer in object `client`.
std::string KeyOf(const std::string& customer, const std::string& object = "client",
                  const std::string& sync = "main");
/// Canonical text of a field; `absent` without it.
std::string FieldOf(const v1::Command& command, const std::string& path);

}  // namespace tributary::transformer

#include "services/control/joined_status.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/ids/keys.h"
#include "services/control/credential_end.h"
#include "services/control/questions.h"

namespace tributary::control {
namespace {

constexpr std::array<std::string_view, 3> kServices = {"extractor", "transformer", "loader"};
constexpr const char* kEndFix =
    "make a new one there, put it and its `expires:` under `credentials:` and run `tributary apply "
    "-f FILE`";
constexpr const char* kCredentialFix =
    "put the credential under `credentials:` and run `tributary apply -f FILE`";

// A state of several reports of one sync: the one that needs a person most.
int Urgency(const std::string& state) {
  constexpr std::array<std::string_view, 4> kStates = {"active", "backfilling", "paused",
                                                       "failing"};
  const auto found = std::find(kStates.begin(), kStates.end(), state);
  return found == kStates.end() ? -1 : static_cast<int>(found - kStates.begin());
}

double NumberOf(const std::string& decimal) {
  return decimal.empty() ? 0 : std::strtod(decimal.c_str(), nullptr);
}

void Merge(const v1::SyncStatus& from, v1::SyncStatus& into) {
  if (Urgency(from.state()) > Urgency(into.state())) {
    into.set_state(from.state());
  }
  if (NumberOf(from.freshness_seconds()) > NumberOf(into.freshness_seconds())) {
    into.set_freshness_seconds(from.freshness_seconds());
  }
  into.set_pending(into.pending() + from.pending());
  into.set_retrying(into.retrying() + from.retrying());
  into.set_parked(into.parked() + from.parked());
  into.set_applied(into.applied() + from.applied());
  into.set_noop(into.noop() + from.noop());
  into.set_superseded(into.superseded() + from.superseded());
  into.set_dropped(into.dropped() + from.dropped());
  into.set_in_doubt(into.in_doubt() + from.in_doubt());
  into.set_open_intents(into.open_intents() + from.open_intents());
  into.set_shown(into.shown() + from.shown());
  if (into.problem().empty()) {
    into.set_problem(from.problem());
    into.set_fix(from.fix());
  }
}

class Joined {
 public:
  Joined(const StatusSources& sources, const std::string& asked)
      : sources_(sources), asked_(asked), is_settled_(sources.is_published) {}

  v1::StatusResponse Make() {
    AddWhatServicesSay();
    for (const auto& [name, report] : sources_.reports) {
      if (!IsAsked(name.first) || !IsInUse(name)) {
        continue;
      }
      const auto [said, is_new] = connections_.emplace(name, report);
      if (!is_new && said->second.problem().empty()) {
        // What waits for a quota has no problem of its own to tell.
        said->second.set_problem(report.problem());
        said->second.set_fix(report.fix());
        said->second.set_credential_refused(report.credential_refused());
      }
    }
    for (const auto& [name, tenant] : sources_.tenants) {
      if (IsAsked(name) && !tenant.is_removed) {
        AddOwnerless(name);
        AddConnectionStates(name, tenant);
      }
    }
    for (const auto& [name, report] : connections_) {
      *response_.add_connections() = report;
    }
    for (const auto& [name, tenant] : sources_.tenants) {
      if (IsAsked(name) && !tenant.is_removed) {
        AddSyncs(name, tenant);
      }
    }
    AddMissingServices();
    response_.set_settled(is_settled_ && ownerless_.empty());
    return std::move(response_);
  }

 private:
  bool IsAsked(const std::string& tenant) const { return asked_.empty() || asked_ == tenant; }
  // What was said of one that is not is old, and nobody takes it back.
  bool IsInUse(const ConnectionName& name) const {
    const auto tenant = sources_.tenants.find(name.first);
    if (tenant == sources_.tenants.end() || tenant->second.is_removed) {
      return false;
    }
    const auto connection = tenant->second.connections.find(name.second);
    return connection != tenant->second.connections.end() &&
           connection->second.connection.state() != v1::CONNECTION_STATE_UNLINKED;
  }
  std::int32_t PartitionOf(const std::string& tenant) const {
    return ids::PartitionOf(tenant, sources_.partitions);
  }

  // Only what the owner of a tenant says of it counts: a former owner's last words are old.
  void AddWhatServicesSay() {
    for (const auto& [id, peer] : sources_.peers) {
      if (!peer.status) {
        continue;
      }
      const auto counts = [&, &owner = peer](const std::string& tenant) {
        return IsAsked(tenant) && owner.partitions.contains(PartitionOf(tenant));
      };
      is_settled_ = is_settled_ && peer.status->ready() && peer.status->left_out() == 0;
      for (const v1::SyncStatus& sync : peer.status->syncs()) {
        if (counts(sync.tenant())) {
          Merge(sync, reported_[{sync.tenant(), sync.sync()}]);
          if (peer.service == "loader") {
            reported_by_loader_.insert({sync.tenant(), sync.sync()});
          }
        }
      }
      for (const v1::StreamStatus& stream : peer.status->streams()) {
        if (counts(stream.tenant())) {
          *response_.add_streams() = stream;
          sources_reported_.insert({stream.tenant(), stream.connection()});
          is_settled_ = is_settled_ && (stream.settled() || !stream.unavailable().empty());
        }
      }
      for (const v1::ConnectionReport& report : peer.status->connections()) {
        const v1::WebhookEndpoints& endpoints = report.webhook_endpoints();
        const bool is_news = !report.problem().empty() || !report.waits_for().empty() ||
                             endpoints.paused() + endpoints.disabled() > 0;
        const ConnectionName name = {report.tenant(), report.connection()};
        if (counts(report.tenant()) && is_news && IsInUse(name)) {
          connections_.emplace(name, report);
        }
      }
    }
  }

  void AddOwnerless(const std::string& tenant) {
    const std::int32_t partition = PartitionOf(tenant);
    for (const std::string_view service : kServices) {
      const bool has_owner =
          std::any_of(sources_.peers.begin(), sources_.peers.end(), [&](const auto& entry) {
            return entry.second.service == service && entry.second.status.has_value() &&
                   entry.second.partitions.contains(partition);
          });
      if (!has_owner) {
        ownerless_[std::string(service)].insert(partition);
      }
    }
  }

  // One that ends is told of, and is no problem until it has ended.
  void AddCredentialEnd(const ConnectionName& name, const v1::Connection& connection) {
    const WallTime end(std::chrono::seconds(connection.credential_expires_at().seconds()));
    if (!connection.has_credential_expires_at() || end > sources_.now + kCredentialEndsSoon) {
      return;
    }
    v1::ConnectionReport& report = connections_[name];
    report.set_tenant(name.first);
    report.set_connection(name.second);
    *report.mutable_credential_expires_at() = connection.credential_expires_at();
    if (!report.problem().empty()) {
      return;
    }
    report.set_fix(kEndFix);
    if (end <= sources_.now) {
      report.set_problem("its credential has ended");
    }
  }

  // A service that was refused says in whose words; what control knows is what mends it.
  void AddConnectionStates(const std::string& tenant_name, const StoredTenant& tenant) {
    for (const auto& [connection_name, stored] : tenant.connections) {
      AddCredentialEnd({tenant_name, connection_name}, stored.connection);
      const v1::ConnectionState state = stored.connection.state();
      const bool is_pending = state == v1::CONNECTION_STATE_PENDING_AUTH;
      if (!is_pending && state != v1::CONNECTION_STATE_DEAUTHORIZED) {
        continue;
      }
      v1::ConnectionReport& report = connections_[{tenant_name, connection_name}];
      report.set_tenant(tenant_name);
      report.set_connection(connection_name);
      if (is_pending) {
        report.set_problem("has no credential yet");
        report.set_fix(kCredentialFix);
        report.set_credential_refused(false);
        continue;
      }
      if (report.problem().empty()) {
        report.set_problem("its credential was refused");
      }
      if (report.fix() != kEndFix) {
        report.set_fix(report.fix().empty()
                           ? kCredentialFix
                           : report.fix() + ", then run `tributary apply -f FILE`");
      }
      report.set_credential_refused(true);
    }
  }

  void AddSyncs(const std::string& tenant_name, const StoredTenant& tenant) {
    for (const auto& [sync_name, stored] : tenant.syncs) {
      if (stored.sync.state() == v1::SYNC_STATE_REMOVED) {
        continue;
      }
      const ConnectionName name = {tenant_name, sync_name};
      v1::SyncStatus& status = *response_.add_syncs();
      const auto found = reported_.find(name);
      if (found != reported_.end()) {
        status = found->second;
      }
      status.set_tenant(tenant_name);
      status.set_sync(sync_name);
      if (stored.sync.state() == v1::SYNC_STATE_PAUSED) {
        status.set_state("paused");
      } else if (status.state().empty()) {
        status.set_state("active");
      }
      AddConnectionProblem(stored.sync, status);
      AddParkedProblem(status);
      if (stored.sync.state() == v1::SYNC_STATE_ACTIVE) {
        // What nobody has spoken of yet cannot be called settled.
        const auto source = tenant.connections.find(stored.sync.source());
        const bool is_source_linked =
            source != tenant.connections.end() &&
            source->second.connection.state() == v1::CONNECTION_STATE_LINKED;
        is_settled_ =
            is_settled_ && reported_by_loader_.contains(name) &&
            (!is_source_linked || sources_reported_.contains({tenant_name, stored.sync.source()}));
      }
      is_settled_ = is_settled_ && status.pending() == 0 && status.retrying() == 0 &&
                    status.in_doubt() == 0 && status.open_intents() == 0;
    }
  }

  void AddConnectionProblem(const v1::Sync& sync, v1::SyncStatus& status) const {
    if (!status.problem().empty()) {
      return;
    }
    for (const std::string& end : {sync.source(), sync.target()}) {
      const auto report = connections_.find({status.tenant(), end});
      if (report != connections_.end() && !report->second.problem().empty()) {
        status.set_problem("connection " + end + ": " + report->second.problem());
        status.set_fix(report->second.fix());
        return;
      }
    }
  }

  // Of single records, when there is none of the whole.
  static void AddParkedProblem(v1::SyncStatus& status) {
    if (!status.problem().empty() || status.parked() + status.shown() == 0) {
      return;
    }
    std::string problem;
    if (status.parked() > 0) {
      problem = std::to_string(status.parked()) + " parked";
    }
    if (status.shown() > 0) {
      problem += (problem.empty() ? "" : ", ") + std::to_string(status.shown()) +
                 " that the target has twice, or otherwise than written";
    }
    status.set_problem(problem);
    status.set_fix("`tributary parked list " + status.tenant() + "` says why and what to do");
  }

  void AddMissingServices() {
    for (const auto& [service, partitions] : ownerless_) {
      std::vector<std::string> numbers;
      for (const std::int32_t partition : partitions) {
        numbers.push_back(std::to_string(partition));
      }
      response_.add_missing_services(
          service + (partitions.size() == 1 ? " (of partition " : " (of partitions ") +
          JoinWords(numbers) + ")");
    }
    for (const auto& [id, peer] : sources_.peers) {
      if (peer.status && peer.status->left_out() > 0) {
        response_.add_missing_services(
            peer.service + " (of " + std::to_string(peer.status->left_out()) +
            " entries: its status is larger than `control.message_bytes_max`)");
      }
    }
  }

  const StatusSources& sources_;
  const std::string& asked_;
  v1::StatusResponse response_;
  bool is_settled_;
  // By tenant and sync.
  std::map<ConnectionName, v1::SyncStatus> reported_;
  std::set<ConnectionName> reported_by_loader_;
  std::set<ConnectionName> sources_reported_;
  // Those that have a problem.
  std::map<ConnectionName, v1::ConnectionReport> connections_;
  // Partitions without an owner, by service.
  std::map<std::string, std::set<std::int32_t>> ownerless_;
};

}  // namespace

v1::StatusResponse JoinStatus(const StatusSources& sources, const std::string& tenant) {
  return Joined(sources, tenant).Make();
}

}  // namespace tributary::control

#include "services/control/control_core.h"

#include "libs/ids/keys.h"
#include "libs/nearest/nearest.h"
#include "services/control/apply_plan.h"
#include "services/control/control_core_state.h"
#include "services/control/joined_status.h"
#include "services/control/portable_tenant.h"

namespace tributary::control {
namespace {

// What is sealed for one tenant opens for no other.
std::string PlaceOfExport(const std::string& tenant) { return "export/v1/" + tenant; }

}  // namespace

std::int32_t ControlCore::State::PartitionOf(const std::string& tenant) const {
  return ids::PartitionOf(tenant, options.partitions);
}

void ControlCore::State::Changed(const std::string& tenant) const {
  if (on_changed) {
    on_changed(tenant);
  }
}

v1::Connection* ControlCore::State::FindConnection(const ConnectionName& name) {
  const auto tenant = tenants.find(name.first);
  if (tenant == tenants.end()) {
    return nullptr;
  }
  const auto connection = tenant->second.connections.find(name.second);
  return connection == tenant->second.connections.end() ? nullptr : &connection->second.connection;
}

absl::Status ControlCore::State::NoSuchTenant(const std::string& tenant) const {
  std::vector<std::string> names;
  for (const auto& [name, stored] : tenants) {
    names.push_back(name);
  }
  return absl::NotFoundError("there is no tenant `" + tenant + "`" + DidYouMean(tenant, names));
}

bool ControlCore::State::Owns(const Peer& peer, const std::string& tenant) const {
  return peer.partitions.contains(PartitionOf(tenant));
}

ControlCore::ControlCore(std::unique_ptr<State> state) : state_(std::move(state)) {}
ControlCore::~ControlCore() = default;

absl::StatusOr<std::unique_ptr<ControlCore>> ControlCore::Make(ControlOptions options,
                                                               Database& database,
                                                               const Catalogue& catalogue,
                                                               Logger& logger) {
  absl::StatusOr<Tenants> tenants = database.LoadTenants();
  if (!tenants.ok()) {
    return tenants.status();
  }
  absl::StatusOr<std::map<std::string, v1::Blob>> blobs = database.LoadBlobs();
  if (!blobs.ok()) {
    return blobs.status();
  }
  std::unique_ptr<State> state(new State{.options = std::move(options),
                                         .database = database,
                                         .catalogue = catalogue,
                                         .logger = logger,
                                         .tenants = *std::move(tenants),
                                         .blobs = *std::move(blobs)});
  return std::unique_ptr<ControlCore>(new ControlCore(std::move(state)));
}

absl::StatusOr<v1::ApplyResponse> ControlCore::Apply(Now now, const std::string& actor,
                                                     const v1::ApplyRequest& request) {
  const KeptState kept = {
      .tenants = state_->tenants,
      .blobs = state_->blobs,
      .credential = [this](const auto& name) { return state_->database.LoadCredential(name); },
      .may_have_been_read = [this](const auto& name) { return state_->MayHaveBeenRead(name); }};
  ApplyPlan plan = PlanApply(kept, state_->catalogue, request);
  v1::ApplyResponse response;
  if (!plan.problems.empty()) {
    response.mutable_problems()->Assign(plan.problems.begin(), plan.problems.end());
    return response;
  }
  response.mutable_changes()->Assign(plan.changes.begin(), plan.changes.end());
  if (request.dry_run() || plan.database.tenants.empty()) {
    return response;
  }
  plan.database.actor = actor;
  if (absl::Status written = state_->database.Write(now.wall, plan.database); !written.ok()) {
    return written;
  }
  state_->blobs.merge(plan.database.blobs);
  for (auto& [name, tenant] : plan.database.tenants) {
    state_->tenants[name] = std::move(tenant);
  }
  for (const auto& [name, tenant] : plan.database.tenants) {
    state_->Changed(name);
  }
  return response;
}

v1::ListTenantsResponse ControlCore::ListTenants(const v1::ListTenantsRequest& request) const {
  v1::ListTenantsResponse response;
  for (const auto& [name, tenant] : state_->tenants) {
    if (request.tenant().empty() || request.tenant() == name) {
      *response.add_tenants() = *WantedSnapshot(name);
    }
  }
  for (const auto& [name, report] : state_->reports) {
    if (request.tenant().empty() || request.tenant() == name.first) {
      *response.add_reports() = report;
    }
  }
  return response;
}

absl::StatusOr<v1::SetSyncPausedResponse> ControlCore::SetSyncPaused(
    Now now, const std::string& actor, const v1::SetSyncPausedRequest& request) {
  const auto tenant = state_->tenants.find(request.tenant());
  if (tenant == state_->tenants.end()) {
    return state_->NoSuchTenant(request.tenant());
  }
  const auto sync = tenant->second.syncs.find(request.sync());
  if (sync == tenant->second.syncs.end() || sync->second.sync.state() == v1::SYNC_STATE_REMOVED) {
    std::vector<std::string> names;
    for (const auto& [name, stored] : tenant->second.syncs) {
      names.push_back(name);
    }
    return absl::NotFoundError("tenant `" + request.tenant() + "` has no sync `" + request.sync() +
                               "`" + DidYouMean(request.sync(), names));
  }
  const v1::SyncState wanted = request.paused() ? v1::SYNC_STATE_PAUSED : v1::SYNC_STATE_ACTIVE;
  if (sync->second.sync.state() == wanted) {
    return v1::SetSyncPausedResponse();
  }
  StoredTenant next = tenant->second;
  next.syncs[request.sync()].sync.set_state(wanted);
  Database::Changes changes;
  changes.actor = actor;
  changes.audit = {"sync " + request.tenant() + "/" + request.sync() +
                   (request.paused() ? " paused" : " resumed")};
  changes.tenants[request.tenant()] = next;
  if (absl::Status written = state_->database.Write(now.wall, changes); !written.ok()) {
    return written;
  }
  tenant->second = std::move(next);
  state_->Changed(request.tenant());
  return v1::SetSyncPausedResponse();
}

absl::StatusOr<v1::CopyDatabaseResponse> ControlCore::CopyDatabase(Now now,
                                                                   const std::string& actor) {
  // What one answer may have, with room for what is around it.
  constexpr std::size_t kBytesMax = 60 << 20;
  Database::Changes changes;
  changes.actor = actor;
  changes.audit = {"database copied for a backup"};
  if (absl::Status written = state_->database.Write(now.wall, changes); !written.ok()) {
    return written;
  }
  absl::StatusOr<std::string> copy = state_->database.Copy(kBytesMax);
  if (!copy.ok()) {
    return copy.status();
  }
  v1::CopyDatabaseResponse response;
  response.set_database(*std::move(copy));
  return response;
}

absl::StatusOr<v1::ExportedTenant> ControlCore::ExportTenant(
    Now now, const std::string& actor, const v1::ExportTenantRequest& request) {
  const auto tenant = state_->tenants.find(request.tenant());
  if (tenant == state_->tenants.end() || tenant->second.is_removed) {
    return state_->NoSuchTenant(request.tenant());
  }
  v1::ExportedTenant exported;
  *exported.mutable_order() = OrderOf(request.tenant(), tenant->second, state_->blobs);
  const bool with_credentials = !request.passphrase().empty();
  if (with_credentials) {
    v1::ApplyRequest secrets;
    for (const v1::ConnectionConfig& connection : exported.order().tenants(0).connections()) {
      const auto fields = state_->database.LoadCredential({request.tenant(), connection.name()});
      if (!fields.ok()) {
        return fields.status();
      }
      if (fields->has_value()) {
        v1::SealedInput& input = *secrets.add_credentials();
        input.set_tenant(request.tenant());
        input.set_connection(connection.name());
        input.mutable_fields()->insert((*fields)->begin(), (*fields)->end());
        const v1::Connection& kept = tenant->second.connections.at(connection.name()).connection;
        if (kept.has_credential_expires_at()) {
          // Which of them ends first is not kept, and makes no difference.
          for (const auto& [field, secret] : **fields) {
            (*input.mutable_expires_at())[field] = kept.credential_expires_at();
          }
        }
      }
    }
    absl::StatusOr<std::string> sealed = SealUnder(
        request.passphrase(), PlaceOfExport(request.tenant()), secrets.SerializeAsString());
    if (!sealed.ok()) {
      return sealed.status();
    }
    exported.set_sealed_credentials(*std::move(sealed));
  }
  Database::Changes changes;
  changes.actor = actor;
  changes.audit = {"tenant " + request.tenant() + " exported" +
                   (with_credentials ? " with credentials under a passphrase" : "")};
  if (absl::Status written = state_->database.Write(now.wall, changes); !written.ok()) {
    return written;
  }
  return exported;
}

absl::StatusOr<v1::ApplyResponse> ControlCore::ImportTenant(
    Now now, const std::string& actor, const v1::ImportTenantRequest& request) {
  const auto refuse = [](const std::string& problem) {
    v1::ApplyResponse response;
    response.add_problems("error: " + problem);
    return response;
  };
  v1::ApplyRequest order = request.tenant().order();
  if (order.tenants_size() != 1 || order.credentials_size() != 0 || order.prune()) {
    return refuse("this is not one tenant that `tributary export` wrote");
  }
  const std::string& name = order.tenants(0).name();
  if (state_->tenants.contains(name)) {
    return refuse("tenant `" + name + "` is there already, or was; it is not written over");
  }
  const std::string& sealed = request.tenant().sealed_credentials();
  if (!sealed.empty()) {
    if (request.passphrase().empty()) {
      return refuse("its credentials are sealed: give --passphrase-file");
    }
    const absl::StatusOr<std::string> secrets =
        UnsealUnder(request.passphrase(), PlaceOfExport(name), sealed);
    v1::ApplyRequest opened;
    if (!secrets.ok() || !opened.ParseFromString(*secrets)) {
      return refuse(secrets.ok() ? "the credentials cannot be read"
                                 : std::string(secrets.status().message()));
    }
    order.mutable_credentials()->Swap(opened.mutable_credentials());
  }
  order.set_dry_run(request.dry_run());
  return Apply(now, actor, order);
}

absl::StatusOr<v1::StatusResponse> ControlCore::GetStatus(Now now,
                                                          const v1::StatusRequest& request) const {
  if (!request.tenant().empty() && !state_->tenants.contains(request.tenant())) {
    return state_->NoSuchTenant(request.tenant());
  }
  return JoinStatus({.now = now.wall,
                     .tenants = state_->tenants,
                     .peers = state_->peers,
                     .reports = state_->reports,
                     .partitions = state_->options.partitions,
                     .is_published = state_->unpublished.empty()},
                    request.tenant());
}

std::map<ConnectionName, WallTime> ControlCore::CredentialEnds() const {
  std::map<ConnectionName, WallTime> ends;
  for (const auto& [tenant_name, tenant] : state_->tenants) {
    for (const auto& [connection_name, stored] : tenant.connections) {
      if (stored.connection.has_credential_expires_at()) {
        ends[{tenant_name, connection_name}] =
            WallTime(std::chrono::seconds(stored.connection.credential_expires_at().seconds()));
      }
    }
  }
  return ends;
}

const v1::BuildInfo& ControlCore::build() const { return state_->options.build; }

std::optional<v1::TenantSnapshot> ControlCore::WantedSnapshot(const std::string& tenant) const {
  const auto entry = state_->tenants.find(tenant);
  if (entry == state_->tenants.end()) {
    return std::nullopt;
  }
  v1::TenantSnapshot snapshot;
  snapshot.set_tenant(tenant);
  snapshot.set_removed(entry->second.is_removed);
  for (const auto& [name, stored] : entry->second.connections) {
    *snapshot.add_connections() = stored.connection;
  }
  for (const auto& [name, stored] : entry->second.syncs) {
    *snapshot.add_syncs() = stored.sync;
  }
  return snapshot;
}

std::vector<std::string> ControlCore::tenant_names() const {
  std::vector<std::string> names;
  for (const auto& [name, tenant] : state_->tenants) {
    names.push_back(name);
  }
  return names;
}

const v1::Blob* ControlCore::FindBlob(const std::string& sha256) const {
  const auto found = state_->blobs.find(sha256);
  return found == state_->blobs.end() ? nullptr : &found->second;
}

void ControlCore::set_on_changed(std::function<void(const std::string& tenant)> on_changed) {
  state_->on_changed = std::move(on_changed);
}

void ControlCore::set_unpublished(std::vector<std::string> unpublished) {
  state_->unpublished = std::move(unpublished);
}

const std::vector<std::string>& ControlCore::unpublished() const { return state_->unpublished; }

void ControlCore::OnTick(Now now) { state_->questions.OnTick(now.steady); }

Instant ControlCore::next_tick() const { return state_->questions.next_tick(); }

}  // namespace tributary::control

#include "services/control/control_core.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <tuple>

#include "libs/config/nearest.h"
#include "libs/ids/keys.h"
#include "services/control/apply_plan.h"
#include "services/control/joined_status.h"
#include "services/control/portable_tenant.h"
#include "services/control/questions.h"

namespace tributary::control {
namespace {

// What is sealed for one tenant opens for no other.
std::string PlaceOfExport(const std::string& tenant) { return "export/v1/" + tenant; }

constexpr int kParkedItemsMax = 1000;

std::string TenantOfKey(const std::string& key) {
  const std::optional<std::vector<std::string>> parts = ids::SplitKey(key);
  return parts && !parts->empty() ? parts->front() : "";
}

// One record of a trace, of which the transformer knows what is wanted and the loader what became
// of it; either may answer first. The transformer gives a status only where nothing is known of
// what is wanted.
void AddTraced(const v1::TraceResponse::Record& from, v1::TraceResponse::Record& into) {
  if (into.key().empty()) {
    into = from;
    return;
  }
  const auto is_void = [](const v1::TraceResponse::Record& record) {
    return record.status() == "unknown" && !record.has_desired();
  };
  const bool is_loaders = !from.status().empty() && !is_void(from);
  const v1::TraceResponse::Record wanted = is_loaders ? into : from;
  if (is_loaders) {
    into = from;
  }
  if (!into.has_desired() && wanted.has_desired()) {
    *into.mutable_desired() = wanted.desired();
  }
  if (is_void(wanted)) {
    into.set_status(wanted.status());
    into.set_next(wanted.next());
  } else if (!into.has_resolved() && wanted.reason() == "unwanted") {
    // Of what the mapping does not want at the target, the loader keeps nothing.
    into.set_status("unwanted");
    into.set_next("nothing");
  }
}

}  // namespace

struct ControlCore::State {
  ControlOptions options;
  Database& database;
  const Catalogue& catalogue;
  Logger& logger;

  Tenants tenants;
  std::map<std::string, v1::Blob> blobs;
  Peers peers;
  Questions questions{peers};
  // The newest credential revision that a service said was refused.
  std::map<ConnectionName, std::int64_t> refused_revisions;
  // Newest report of each connection; those without a problem are left out.
  std::map<ConnectionName, v1::ConnectionReport> reports;
  std::function<void(const std::string&)> on_changed;
  std::vector<std::string> unpublished;

  std::int32_t PartitionOf(const std::string& tenant) const {
    return ids::PartitionOf(tenant, options.partitions);
  }

  void Changed(const std::string& tenant) const {
    if (on_changed) {
      on_changed(tenant);
    }
  }

  v1::Connection* FindConnection(const ConnectionName& name) {
    const auto tenant = tenants.find(name.first);
    if (tenant == tenants.end()) {
      return nullptr;
    }
    const auto connection = tenant->second.connections.find(name.second);
    return connection == tenant->second.connections.end() ? nullptr
                                                          : &connection->second.connection;
  }

  absl::Status NoSuchTenant(const std::string& tenant) const {
    std::vector<std::string> names;
    for (const auto& [name, stored] : tenants) {
      names.push_back(name);
    }
    const std::string nearest = config::Nearest(tenant, names);
    return absl::NotFoundError("there is no tenant `" + tenant + "`" +
                               (nearest.empty() ? "" : "; did you mean `" + nearest + "`?"));
  }

  bool Owns(const Peer& peer, const std::string& tenant) const {
    return peer.partitions.contains(PartitionOf(tenant));
  }

  void Decide(Instant deadline, std::string_view service, const std::string& tenant,
              const v1::DecideParkedRequest& request, Reply<v1::DecideParkedResponse> reply) {
    v1::ToService message;
    *message.mutable_decide_parked() = request;
    questions.Ask(deadline, {{service, PartitionOf(tenant), std::move(message)}},
                  [reply = std::move(reply)](const Questions::Finished& finished) {
                    if (finished.answers.empty()) {
                      reply(absl::AbortedError(finished.MissingText()));
                      return;
                    }
                    reply(finished.answers.front().decided());
                  });
  }

  // Rule 28: to do an action again is a new attempt, which the transformer writes under an id of
  // its own. Only what is parked may be done again, which the loader knows; and it must not be
  // freed afterwards, so it is dropped there.
  void DoAgain(Instant deadline, const std::string& tenant, const v1::DecideParkedRequest& request,
               Reply<v1::DecideParkedResponse> reply) {
    v1::ToService message;
    message.mutable_list_parked()->set_key(request.key());
    auto finish = [this, deadline, tenant, request,
                   reply = std::move(reply)](const Questions::Finished& finished) {
      if (finished.answers.empty()) {
        reply(absl::AbortedError(finished.MissingText()));
        return;
      }
      const v1::ParkedItem* parked = nullptr;
      for (const v1::ParkedItem& item : finished.answers.front().parked().items()) {
        if (item.key() == request.key()) {
          parked = &item;
        }
      }
      v1::DecideParkedResponse refused;
      if (parked == nullptr) {
        refused.set_problem("nothing is parked under this key");
        reply(refused);
      } else if (parked->reason() == v1::REASON_RECORD) {
        refused.set_problem(
            "it waits for its record, and is done by itself as soon as that exists");
        reply(refused);
      } else if (parked->reason() == v1::REASON_SECOND) {
        // It was done, and more than once: only looked at again.
        Decide(deadline + options.question_timeout, "loader", tenant, request, reply);
      } else {
        WriteNextAttempt(deadline + options.question_timeout, tenant, request, reply);
      }
    };
    questions.Ask(deadline, {{"loader", PartitionOf(tenant), std::move(message)}},
                  std::move(finish));
  }

  void WriteNextAttempt(Instant deadline, const std::string& tenant,
                        const v1::DecideParkedRequest& request,
                        const Reply<v1::DecideParkedResponse>& reply) {
    Decide(deadline, "transformer", tenant, request,
           [this, deadline, tenant, request,
            reply](const absl::StatusOr<v1::DecideParkedResponse>& written) {
             if (!written.ok() || !written->problem().empty()) {
               reply(written);
               return;
             }
             v1::DecideParkedRequest drop = request;
             drop.set_replay(false);
             Decide(deadline + options.question_timeout, "loader", tenant, drop,
                    [reply](absl::StatusOr<v1::DecideParkedResponse> dropped) {
                      const std::string why = dropped.ok()
                                                  ? dropped->problem()
                                                  : std::string(dropped.status().message());
                      if (!why.empty()) {
                        dropped = v1::DecideParkedResponse();
                        dropped->set_problem(
                            "it is tried again as a new attempt, but the old one is still listed "
                            "as parked (" +
                            why + "): drop it");
                      }
                      reply(std::move(dropped));
                    });
           });
  }

  // Which services may see the secrets of a connection of which they own the tenant: the extractor
  // those of sources, the loader those of targets.
  bool MayHaveCredential(const Peer& peer, const v1::Connection& connection) const {
    return connection.integration() == "chargify" ? peer.service == "extractor"
                                                  : peer.service == "loader";
  }

  void OnCredentialRequest(Now now, Peer& peer, const v1::CredentialRequest& request) {
    v1::ToService message;
    v1::Credential& credential = *message.mutable_credential();
    credential.set_tenant(request.tenant());
    credential.set_connection(request.connection());
    const ConnectionName name = {request.tenant(), request.connection()};
    const v1::Connection* const connection = FindConnection(name);
    if (!Owns(peer, request.tenant())) {
      credential.set_problem("this service does not own the tenant's partition");
    } else if (connection == nullptr || connection->state() == v1::CONNECTION_STATE_UNLINKED) {
      credential.set_problem("there is no such connection");
    } else if (!MayHaveCredential(peer, *connection)) {
      credential.set_problem("this service has no use for the credential of that connection");
    } else {
      credential.set_revision(connection->credential_revision());
      if (request.refused_revision() > 0) {
        std::int64_t& refused = refused_revisions[name];
        refused = std::max(refused, request.refused_revision());
      }
      const absl::StatusOr<std::optional<CredentialFields>> fields = database.LoadCredential(name);
      if (!fields.ok()) {
        credential.set_problem(std::string(fields.status().message()));
      } else if (!fields->has_value()) {
        if (connection->state() == v1::CONNECTION_STATE_PENDING_AUTH) {
          credential.set_problem("the connection has no credential yet");
        }
      } else {
        for (const auto& [field, secret] : **fields) {
          (*credential.mutable_fields())[field] = secret;
        }
      }
    }
    if (!credential.problem().empty()) {
      logger.Log(Logger::Level::kWarning, "Credential not given.",
                 {{"service", peer.service},
                  {"tenant", request.tenant()},
                  {"connection", request.connection()},
                  {"problem", credential.problem()}});
    }
    static_cast<void>(now);
    peer.send(message);
  }

  void OnConnectionReport(Now now, const Peer& peer, const v1::ConnectionReport& report) {
    const ConnectionName name = {report.tenant(), report.connection()};
    v1::Connection* const connection = FindConnection(name);
    if (connection == nullptr || !Owns(peer, report.tenant())) {
      return;
    }
    if (report.problem().empty()) {
      reports.erase(name);
    } else {
      reports[name] = report;
    }
    // Only if what was refused is what we have: the report may be older than a new credential.
    const auto refused = refused_revisions.find(name);
    if (report.credential_refused() && connection->state() == v1::CONNECTION_STATE_LINKED &&
        refused != refused_revisions.end() &&
        refused->second >= connection->credential_revision()) {
      StoredTenant next = tenants[name.first];
      next.connections[name.second].connection.set_state(v1::CONNECTION_STATE_DEAUTHORIZED);
      Database::Changes changes;
      changes.actor = peer.service;
      changes.audit = {"connection " + name.first + "/" + name.second + " deauthorized"};
      changes.tenants[name.first] = next;
      if (absl::Status written = database.Write(now.wall, changes); !written.ok()) {
        logger.Log(Logger::Level::kError, "Connection state not kept.",
                   {{"problem", std::string(written.message())}});
        return;
      }
      tenants[name.first] = std::move(next);
      Changed(name.first);
    }
  }
};

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
      .tenants = state_->tenants, .blobs = state_->blobs, .credential = [this](const auto& name) {
        return state_->database.LoadCredential(name);
      }};
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
    const std::string nearest = config::Nearest(request.sync(), names);
    return absl::NotFoundError("tenant `" + request.tenant() + "` has no sync `" + request.sync() +
                               "`" + (nearest.empty() ? "" : "; did you mean `" + nearest + "`?"));
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

absl::StatusOr<v1::StatusResponse> ControlCore::GetStatus(const v1::StatusRequest& request) const {
  if (!request.tenant().empty() && !state_->tenants.contains(request.tenant())) {
    return state_->NoSuchTenant(request.tenant());
  }
  return JoinStatus({.tenants = state_->tenants,
                     .peers = state_->peers,
                     .reports = state_->reports,
                     .partitions = state_->options.partitions,
                     .is_published = state_->unpublished.empty()},
                    request.tenant());
}

void ControlCore::ListParked(Now now, const v1::ListParkedRequest& request,
                             Reply<v1::ListParkedResponse> reply) {
  std::string tenant = request.tenant();
  if (!request.key().empty()) {
    tenant = TenantOfKey(request.key());
    if (tenant.empty()) {
      reply(absl::InvalidArgumentError("`" + request.key() +
                                       "` is no key; `tributary parked list` "
                                       "shows them"));
      return;
    }
  }
  if (!tenant.empty() && !state_->tenants.contains(tenant)) {
    reply(state_->NoSuchTenant(tenant));
    return;
  }
  v1::ListParkedRequest bounded = request;
  const std::int32_t items_max = request.items_max() > 0 && request.items_max() < kParkedItemsMax
                                     ? request.items_max()
                                     : kParkedItemsMax;
  bounded.set_items_max(items_max);
  v1::ToService message;
  *message.mutable_list_parked() = bounded;

  auto finish = [reply = std::move(reply), items_max](const Questions::Finished& finished) {
    v1::ListParkedResponse response;
    std::map<std::string, v1::ParkedItem> items;
    std::string problem = finished.MissingText();
    for (const v1::FromService& answer : finished.answers) {
      response.set_more(response.more() || answer.parked().more());
      if (problem.empty()) {
        problem = answer.parked().problem();
      }
      for (const v1::ParkedItem& item : answer.parked().items()) {
        items[item.key()] = item;
      }
    }
    for (auto& [key, item] : items) {
      if (response.items_size() == items_max) {
        response.set_more(true);
        break;
      }
      *response.add_items() = std::move(item);
    }
    response.set_problem(problem);
    reply(std::move(response));
  };
  const std::optional<std::int32_t> partition =
      tenant.empty() ? std::nullopt : std::optional(state_->PartitionOf(tenant));
  state_->questions.Ask(now.steady + state_->options.question_timeout,
                        {{"loader", partition, std::move(message)}}, std::move(finish));
}

void ControlCore::DecideParked(Now now, const std::string& actor,
                               const v1::DecideParkedRequest& request,
                               Reply<v1::DecideParkedResponse> reply) {
  const std::optional<ids::CommandKey> key = ids::ParseCommandKey(request.key());
  if (!key || key->kind == ids::CommandKey::Kind::kMapped) {
    reply(absl::InvalidArgumentError("`" + request.key() +
                                     "` is no key of a record or action; "
                                     "`tributary parked list` shows them"));
    return;
  }
  if (!state_->tenants.contains(key->tenant)) {
    reply(state_->NoSuchTenant(key->tenant));
    return;
  }
  Database::Changes changes;
  changes.actor = actor;
  changes.audit = {std::string(request.replay() ? "replay" : "drop") + " of " + request.key()};
  if (absl::Status written = state_->database.Write(now.wall, changes); !written.ok()) {
    reply(written);
    return;
  }
  const bool is_new_attempt = key->kind == ids::CommandKey::Kind::kAction && request.replay();
  const Instant deadline = now.steady + state_->options.question_timeout;
  if (is_new_attempt) {
    state_->DoAgain(deadline, key->tenant, request, std::move(reply));
  } else {
    state_->Decide(deadline, "loader", key->tenant, request, std::move(reply));
  }
}

void ControlCore::Trace(Now now, const v1::TraceRequest& request, Reply<v1::TraceResponse> reply) {
  if (!state_->tenants.contains(request.tenant())) {
    reply(state_->NoSuchTenant(request.tenant()));
    return;
  }
  v1::ToService message;
  *message.mutable_trace() = request;
  auto finish = [reply = std::move(reply), request](const Questions::Finished& finished) {
    if (finished.answers.empty()) {
      reply(absl::AbortedError(finished.MissingText()));
      return;
    }
    v1::TraceResponse response;
    std::set<std::string> nearest;
    std::set<std::tuple<std::int64_t, std::int64_t, std::int64_t>> versions;
    std::map<std::string, v1::TraceResponse::Record> records;
    std::string problem = finished.MissingText();
    for (const v1::FromService& answer : finished.answers) {
      const v1::TraceResponse& trace = answer.trace();
      // The transformer's names the connection, the loader's does not.
      if (trace.entity().size() > response.entity().size()) {
        response.set_entity(trace.entity());
      }
      response.set_found(response.found() || trace.found());
      nearest.insert(trace.nearest().begin(), trace.nearest().end());
      for (const v1::Version& version : trace.versions()) {
        versions.insert({version.generation(), version.offset(), version.revision()});
      }
      for (const v1::TraceResponse::Record& record : trace.records()) {
        AddTraced(record, records[record.key()]);
      }
      if (problem.empty()) {
        problem = trace.problem();
      }
    }
    for (const auto& [generation, offset, revision] : versions) {
      v1::Version& version = *response.add_versions();
      version.set_generation(generation);
      version.set_offset(offset);
      version.set_revision(revision);
    }
    for (auto& [key, record] : records) {
      *response.add_records() = std::move(record);
    }
    if (!response.found()) {
      response.mutable_nearest()->Assign(nearest.begin(), nearest.end());
    }
    if (response.entity().empty()) {
      response.set_entity(request.tenant() +
                          (request.connection().empty() ? "" : "/" + request.connection()) + "/" +
                          request.kind() + "/" + request.id());
    }
    response.set_problem(problem);
    reply(std::move(response));
  };
  // Versions are the transformer's to know, records the loader's.
  const std::int32_t partition = state_->PartitionOf(request.tenant());
  state_->questions.Ask(now.steady + state_->options.question_timeout,
                        {{"transformer", partition, message}, {"loader", partition, message}},
                        std::move(finish));
}

void ControlCore::Sweep(Now now, const std::string& actor, const v1::SweepRequest& request,
                        Reply<v1::SweepResponse> reply) {
  if (!request.tenant().empty()) {
    const auto tenant = state_->tenants.find(request.tenant());
    if (tenant == state_->tenants.end()) {
      reply(state_->NoSuchTenant(request.tenant()));
      return;
    }
    if (!request.connection().empty() &&
        !tenant->second.connections.contains(request.connection())) {
      reply(absl::NotFoundError("tenant `" + request.tenant() + "` has no connection `" +
                                request.connection() + "`"));
      return;
    }
  }
  if (request.start()) {
    Database::Changes changes;
    changes.actor = actor;
    changes.audit = {"sweep of " + (request.tenant().empty() ? "everything" : request.tenant()) +
                     (request.connection().empty() ? "" : "/" + request.connection())};
    if (absl::Status written = state_->database.Write(now.wall, changes); !written.ok()) {
      reply(written);
      return;
    }
  }
  v1::ToService message;
  *message.mutable_sweep() = request;
  auto finish = [reply = std::move(reply)](const Questions::Finished& finished) {
    if (finished.answers.empty()) {
      reply(absl::AbortedError(finished.MissingText()));
      return;
    }
    v1::SweepResponse response;
    std::map<std::pair<std::string, std::string>, v1::SweepStatus> connections;
    std::string problem = finished.MissingText();
    for (const v1::FromService& answer : finished.answers) {
      if (problem.empty()) problem = answer.swept().problem();
      for (const v1::SweepStatus& status : answer.swept().connections()) {
        connections[{status.tenant(), status.connection()}] = status;
      }
    }
    for (auto& [name, status] : connections) *response.add_connections() = std::move(status);
    response.set_problem(problem);
    reply(std::move(response));
  };
  const std::optional<std::int32_t> partition =
      request.tenant().empty() ? std::nullopt
                               : std::optional(state_->PartitionOf(request.tenant()));
  state_->questions.Ask(now.steady + state_->options.question_timeout,
                        {{"loader", partition, std::move(message)}}, std::move(finish));
}

const v1::BuildInfo& ControlCore::build() const { return state_->options.build; }

void ControlCore::Attach(PeerId peer, std::string name,
                         std::function<void(const v1::ToService&)> send) {
  Peer& attached = state_->peers[peer];
  attached.name = std::move(name);
  attached.send = std::move(send);
}

void ControlCore::OnMessage(Now now, PeerId peer, const v1::FromService& message) {
  const auto entry = state_->peers.find(peer);
  if (entry == state_->peers.end()) {
    return;
  }
  Peer& from = entry->second;
  if (message.kind_case() == v1::FromService::kHello) {
    if (message.hello().service() != from.name) {
      state_->logger.Log(Logger::Level::kError, "A service says hello as another.",
                         {{"certificate", from.name}, {"service", message.hello().service()}});
      return;
    }
    from.service = message.hello().service();
    from.instance = message.hello().instance();
    state_->logger.Log(Logger::Level::kInfo, "Service attached.",
                       {{"service", from.service}, {"instance", from.instance}});
    return;
  }
  if (from.service.empty()) {
    state_->logger.Log(Logger::Level::kWarning, "A message came before hello.",
                       {{"certificate", from.name}});
    return;
  }
  switch (message.kind_case()) {
    case v1::FromService::kOwnership:
      from.partitions = {message.ownership().partitions().begin(),
                         message.ownership().partitions().end()};
      break;
    case v1::FromService::kStatus:
      from.status = message.status();
      break;
    case v1::FromService::kCredentialRequest:
      state_->OnCredentialRequest(now, from, message.credential_request());
      break;
    case v1::FromService::kConnectionReport:
      state_->OnConnectionReport(now, from, message.connection_report());
      break;
    case v1::FromService::kParked:
    case v1::FromService::kDecided:
    case v1::FromService::kTrace:
    case v1::FromService::kSwept:
      state_->questions.OnAnswer(peer, message);
      break;
    case v1::FromService::kHello:
    case v1::FromService::KIND_NOT_SET:
      break;
  }
}

void ControlCore::Detach(Now now, PeerId peer) {
  static_cast<void>(now);
  const auto entry = state_->peers.find(peer);
  if (entry == state_->peers.end()) {
    return;
  }
  const std::string service = entry->second.service;
  state_->peers.erase(entry);
  if (!service.empty()) {
    state_->logger.Log(Logger::Level::kWarning, "Service detached.", {{"service", service}});
  }
  state_->questions.OnGone(peer, service);
}

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

void ControlCore::OnTick(Now now) { state_->questions.OnTick(now.steady); }

Instant ControlCore::next_tick() const { return state_->questions.next_tick(); }

}  // namespace tributary::control

#include "services/control/apply_plan.h"

#include <algorithm>
#include <chrono>
#include <set>

#include <google/protobuf/util/message_differencer.h>

#include "libs/config/config.h"
#include "libs/ids/keys.h"
#include "libs/nearest/nearest.h"
#include "services/control/credential_end.h"

namespace tributary::control {
namespace {

constexpr std::size_t kBlobBytesMax = 256 << 10;

using google::protobuf::util::MessageDifferencer;

std::string JoinWords(const std::vector<std::string>& words) {
  std::string joined;
  for (const std::string& word : words) {
    joined += (joined.empty() ? "" : ", ") + word;
  }
  return joined;
}

struct GivenCredential {
  CredentialFields fields;
  // Of the field that ends first. None: nobody says of any.
  std::optional<WallTime> end;
};

class Planner {
 public:
  Planner(const KeptState& kept, const Catalogue& catalogue, const v1::ApplyRequest& request)
      : kept_(kept), catalogue_(catalogue), request_(request) {}

  ApplyPlan Plan() {
    v1::ConfigFile file;
    *file.mutable_tenants() = request_.tenants();
    config::LoadOptions options;
    options.allow_tenants = true;
    options.integrations = catalogue_.integrations();
    for (const config::Problem& problem : config::Check("request", options, file)) {
      plan_.problems.push_back(config::Format(problem));
    }
    if (!plan_.problems.empty()) {
      return std::move(plan_);
    }
    ReadCredentials();
    std::set<std::string> named;
    for (const v1::TenantConfig& tenant : file.tenants()) {
      named.insert(tenant.name());
      PlanTenant(tenant);
    }
    for (const auto& [key, given] : credentials_) {
      Problem("credential of " + key.first + "/" + key.second +
              ": there is no such connection in this request");
    }
    for (const auto& [name, tenant] : kept_.tenants) {
      if (!named.contains(name) && !tenant.is_removed) {
        PlanRemovedTenant(name, tenant);
      }
    }
    for (const v1::AppliedChange& change : plan_.changes) {
      if (change.kind() != v1::AppliedChange::KIND_WOULD_REMOVE) {
        plan_.database.audit.push_back(v1::AppliedChange::Kind_Name(change.kind()) + " " +
                                       change.what() +
                                       (change.detail().empty() ? "" : ": " + change.detail()));
      }
    }
    return std::move(plan_);
  }

 private:
  void Problem(std::string problem) { plan_.problems.push_back(std::move(problem)); }

  void Change(v1::AppliedChange::Kind kind, std::string what, std::string detail = "") {
    v1::AppliedChange& change = plan_.changes.emplace_back();
    change.set_kind(kind);
    change.set_what(std::move(what));
    change.set_detail(std::move(detail));
  }

  void ReadCredentials() {
    for (const v1::SealedInput& input : request_.credentials()) {
      GivenCredential& given = credentials_[{input.tenant(), input.connection()}];
      for (const auto& [name, secret] : input.fields()) {
        given.fields[name] = secret;
        const auto said = input.expires_at().find(name);
        std::optional<WallTime> end;
        if (said == input.expires_at().end()) {
          end = EndOfToken(secret);
        } else if (said->second.seconds() >= 0 && said->second.seconds() <= kEndSecondsMax) {
          end = WallTime(std::chrono::seconds(said->second.seconds()));
        } else {
          Problem("credential of " + input.tenant() + "/" + input.connection() + ": `" + name +
                  "` must end between 1970 and 9999");
        }
        // Without one of them the others are of no use.
        if (end && (!given.end || *end < *given.end)) {
          given.end = end;
        }
      }
    }
  }

  // The content of a file that the request names. None: a problem was told.
  std::optional<NamedFile> GivenFile(const std::string& name, const std::string& wanted_by) {
    const auto found = request_.files().find(name);
    if (found == request_.files().end()) {
      Problem(name + ": error: was not sent, and " + wanted_by + " names it");
      return std::nullopt;
    }
    if (found->second.size() > kBlobBytesMax) {
      Problem(name + ": error: is larger than 256 KiB");
      return std::nullopt;
    }
    return NamedFile{name, found->second};
  }

  std::string KeepFile(v1::Blob::Kind kind, const NamedFile& file) {
    const std::string sha256 = ids::Sha256Hex(file.content);
    if (!kept_.blobs.contains(sha256)) {
      v1::Blob& blob = plan_.database.blobs[sha256];
      blob.set_kind(kind);
      blob.set_content(file.content);
      blob.set_name(file.name);
    }
    return sha256;
  }

  std::optional<NamedFile> KeptFile(const std::string& sha256) const {
    const auto kept = kept_.blobs.find(sha256);
    if (kept != kept_.blobs.end()) {
      return NamedFile{kept->second.name(), kept->second.content()};
    }
    const auto added = plan_.database.blobs.find(sha256);
    if (added != plan_.database.blobs.end()) {
      return NamedFile{added->second.name(), added->second.content()};
    }
    return std::nullopt;
  }

  // One of a sync's or connection's files: what is given, or what is pinned, or the integration's.
  // Returns its hash; empty: none, or a problem was told.
  std::string ChooseFile(v1::Blob::Kind kind, const std::string& given, const std::string& who,
                         const std::string& pinned, bool is_pinned_default, const NamedFile* own,
                         bool& is_default) {
    if (!given.empty()) {
      is_default = false;
      const std::optional<NamedFile> file = GivenFile(given, who);
      return file ? KeepFile(kind, *file) : "";
    }
    is_default = true;
    if (is_pinned_default && !pinned.empty()) {
      return pinned;
    }
    return own == nullptr ? "" : KeepFile(kind, *own);
  }

  void PlanTenant(const v1::TenantConfig& config) {
    const auto kept = kept_.tenants.find(config.name());
    const bool is_new = kept == kept_.tenants.end();
    const StoredTenant before = is_new ? StoredTenant() : kept->second;
    StoredTenant after = before;
    after.is_removed = false;
    const std::size_t changes_before = plan_.changes.size();
    if (is_new || before.is_removed) {
      Change(v1::AppliedChange::KIND_CREATED, "tenant " + config.name());
    }
    std::set<std::string> connections;
    std::set<std::string> syncs;
    for (const v1::ConnectionConfig& connection : config.connections()) {
      connections.insert(connection.name());
      PlanConnection(config.name(), connection, before, after);
    }
    for (const v1::SyncConfig& sync : config.syncs()) {
      syncs.insert(sync.name());
      PlanSync(config, sync, before, after);
    }
    const std::string prefix = config.name() + "/";
    for (const auto& [name, stored] : before.syncs) {
      if (!syncs.contains(name) && stored.sync.state() != v1::SYNC_STATE_REMOVED) {
        RemoveOrTell("sync " + prefix + name, [&, &sync_name = name] {
          after.syncs[sync_name].sync.set_state(v1::SYNC_STATE_REMOVED);
        });
      }
    }
    for (const auto& [name, stored] : before.connections) {
      if (!connections.contains(name) &&
          stored.connection.state() != v1::CONNECTION_STATE_UNLINKED) {
        RemoveOrTell("connection " + prefix + name, [&, &connection_name = name] {
          Unlink(config.name(), connection_name, after);
        });
      }
    }
    if (plan_.changes.size() > changes_before) {
      plan_.database.tenants[config.name()] = std::move(after);
    }
  }

  // Its credential goes at once; the connection itself stays in sight, so that its name and its
  // credential's revision are never taken for another's.
  void Unlink(const std::string& tenant, const std::string& connection, StoredTenant& after) {
    v1::Connection& unlinked = after.connections[connection].connection;
    unlinked.set_state(v1::CONNECTION_STATE_UNLINKED);
    unlinked.clear_credential_expires_at();
    plan_.database.forgotten_credentials.insert({tenant, connection});
  }

  template <typename Remove>
  void RemoveOrTell(const std::string& what, const Remove& remove) {
    if (request_.prune()) {
      Change(v1::AppliedChange::KIND_REMOVED, what);
      remove();
    } else {
      Change(v1::AppliedChange::KIND_WOULD_REMOVE, what, "not in the file; --prune removes it");
    }
  }

  void PlanRemovedTenant(const std::string& name, const StoredTenant& before) {
    RemoveOrTell("tenant " + name, [&] {
      StoredTenant after = before;
      after.is_removed = true;
      for (auto& [sync_name, stored] : after.syncs) {
        stored.sync.set_state(v1::SYNC_STATE_REMOVED);
      }
      for (auto& [connection_name, stored] : before.connections) {
        Unlink(name, connection_name, after);
      }
      plan_.database.tenants[name] = std::move(after);
    });
  }

  void PlanConnection(const std::string& tenant, const v1::ConnectionConfig& config,
                      const StoredTenant& before, StoredTenant& after) {
    const std::string what = "connection " + tenant + "/" + config.name();
    const auto kept = before.connections.find(config.name());
    const bool is_new = kept == before.connections.end();
    const StoredConnection old = is_new ? StoredConnection() : kept->second;
    if (!is_new && old.connection.integration() != config.integration()) {
      Problem(what + ": is of integration `" + old.connection.integration() +
              "` and cannot become `" + config.integration() + "`; give it another name");
      return;
    }
    if (!is_new && IsOtherSite(tenant, old.connection, config)) {
      Problem(what + ": is of site `" + old.connection.url() + "` and cannot become `" +
              config.url() +
              "`, of which only what changes would be read; give it, and the syncs from it, other "
              "names");
    }
    StoredConnection next = old;
    v1::Connection& connection = next.connection;
    connection.set_name(config.name());
    connection.set_integration(config.integration());
    connection.set_url(config.url());
    connection.set_allow_insecure_loopback(config.allow_insecure_loopback());
    *connection.mutable_settings() = config.settings();
    connection.set_concurrency(config.concurrency());
    connection.set_requests_per_second(config.requests_per_second());
    connection.set_quota_share(config.quota_share());
    connection.set_connector_file(ChooseFile(
        v1::Blob::KIND_CONNECTOR_FILE, config.connector_file(), what,
        old.connection.connector_file(), old.has_default_connector_file,
        catalogue_.DefaultConnectorFile(config.integration()), next.has_default_connector_file));

    const std::optional<NamedFile> connector_file = KeptFile(connection.connector_file());
    const NamedFile* const file = connector_file ? &*connector_file : nullptr;
    for (std::string& problem : catalogue_.CheckConnection(connection, file)) {
      Problem(std::move(problem));
    }
    const std::string credential_change = PlanCredential(tenant, config, file, old, connection);

    if (is_new || old.connection.state() == v1::CONNECTION_STATE_UNLINKED) {
      Change(v1::AppliedChange::KIND_CREATED, what);
    } else {
      std::vector<std::string> changed = Differences(old.connection, connection);
      if (!credential_change.empty()) {
        changed.push_back(credential_change);
      }
      if (changed.empty()) {
        return;
      }
      Change(v1::AppliedChange::KIND_CHANGED, what, JoinWords(changed));
    }
    after.connections[config.name()] = std::move(next);
  }

  // Positions and entities are kept under the name of their connection: those of one source say
  // nothing of another. A target may move.
  bool IsOtherSite(const std::string& tenant, const v1::Connection& old,
                   const v1::ConnectionConfig& config) const {
    if (old.integration() != "chargify" || old.url() == config.url()) {
      return false;
    }
    // Plain http goes to this machine only, where a simulator has another port at each start.
    const auto is_local = [](const std::string& url) { return url.starts_with("http:"); };
    if (is_local(old.url()) && is_local(config.url())) {
      return false;
    }
    return old.credential_revision() > 0 && kept_.may_have_been_read({tenant, config.name()});
  }

  static std::vector<std::string> Differences(const v1::Connection& a, const v1::Connection& b) {
    std::vector<std::string> changed;
    const auto note = [&](bool is_changed, const char* name) {
      if (is_changed) {
        changed.emplace_back(name);
      }
    };
    note(a.url() != b.url(), "url");
    note(a.allow_insecure_loopback() != b.allow_insecure_loopback(), "allow_insecure_loopback");
    note(a.connector_file() != b.connector_file(), "connector_file");
    note(a.settings_size() != b.settings_size() ||
             !std::all_of(a.settings().begin(), a.settings().end(),
                          [&](const auto& setting) {
                            const auto other = b.settings().find(setting.first);
                            return other != b.settings().end() && other->second == setting.second;
                          }),
         "settings");
    note(a.concurrency() != b.concurrency(), "concurrency");
    note(a.requests_per_second() != b.requests_per_second(), "requests_per_second");
    note(a.quota_share() != b.quota_share(), "quota_share");
    note(a.has_credential_expires_at() != b.has_credential_expires_at() ||
             a.credential_expires_at().seconds() != b.credential_expires_at().seconds(),
         "end of the credential");
    return changed;
  }

  // Sets state, credential revision and the credential's end. What there is to tell of the
  // credential, in words; empty: nothing.
  std::string PlanCredential(const std::string& tenant, const v1::ConnectionConfig& config,
                             const NamedFile* connector_file, const StoredConnection& old,
                             v1::Connection& connection) {
    const ConnectionName name = {tenant, config.name()};
    const std::vector<std::string> wanted =
        catalogue_.CredentialFieldNames(connection, connector_file);
    const std::string what = "credential of " + tenant + "/" + config.name();
    absl::StatusOr<std::optional<CredentialFields>> kept = kept_.credential(name);
    if (!kept.ok()) {
      Problem(what + ": " + std::string(kept.status().message()));
      return "";
    }
    std::string change;
    auto given = credentials_.extract(name);
    if (!given.empty()) {
      const CredentialFields& fields = given.mapped().fields;
      for (const auto& [field, secret] : fields) {
        if (std::find(wanted.begin(), wanted.end(), field) == wanted.end()) {
          Problem(what + ": `" + field + "` is not asked for by `" + config.integration() + "`" +
                  DidYouMean(field, wanted, "it asks for " + JoinWords(wanted)));
        }
      }
      for (const std::string& field : wanted) {
        if (!fields.contains(field)) {
          Problem(what + ": `" + field + "` is missing");
        }
      }
      if (!kept->has_value() || **kept != fields) {
        change = "credential";
      } else if (old.connection.state() == v1::CONNECTION_STATE_DEAUTHORIZED) {
        // Vendors have refused valid ones for a while.
        change = "the refused credential is tried again";
      }
      SetEnd(given.mapped().end, connection);
    }
    const bool was_unlinked = old.connection.state() == v1::CONNECTION_STATE_UNLINKED;
    if (!change.empty()) {
      connection.set_credential_revision(old.connection.credential_revision() + 1);
      connection.set_state(v1::CONNECTION_STATE_LINKED);
      plan_.database.credentials[name] = std::move(given.mapped().fields);
    } else if (wanted.empty() || kept->has_value()) {
      if (old.connection.state() == v1::CONNECTION_STATE_UNSPECIFIED || was_unlinked ||
          old.connection.state() == v1::CONNECTION_STATE_PENDING_AUTH) {
        connection.set_state(v1::CONNECTION_STATE_LINKED);
      }
    } else {
      connection.set_state(v1::CONNECTION_STATE_PENDING_AUTH);
    }
    return change;
  }

  static void SetEnd(const std::optional<WallTime>& end, v1::Connection& connection) {
    if (!end) {
      connection.clear_credential_expires_at();
      return;
    }
    connection.mutable_credential_expires_at()->set_seconds(
        std::chrono::floor<std::chrono::seconds>(end->time_since_epoch()).count());
  }

  void PlanSync(const v1::TenantConfig& tenant, const v1::SyncConfig& config,
                const StoredTenant& before, StoredTenant& after) {
    const std::string what = "sync " + tenant.name() + "/" + config.name();
    const auto kept = before.syncs.find(config.name());
    const bool is_new = kept == before.syncs.end();
    const StoredSync old = is_new ? StoredSync() : kept->second;
    // Its records hold ids of the old target.
    if (!is_new && (old.sync.source() != config.source() || old.sync.target() != config.target())) {
      Problem(what + ": joins " + old.sync.source() + " to " + old.sync.target() +
              " and cannot join others, also after it was removed; give the new sync another name");
      return;
    }
    const auto target = after.connections.find(config.target());
    if (target == after.connections.end() || !after.connections.contains(config.source())) {
      // A problem of that connection was told.
      return;
    }
    const std::string& integration = target->second.connection.integration();
    StoredSync next = old;
    v1::Sync& sync = next.sync;
    sync.set_name(config.name());
    sync.set_source(config.source());
    sync.set_target(config.target());
    sync.set_state(config.paused() ? v1::SYNC_STATE_PAUSED : v1::SYNC_STATE_ACTIVE);
    sync.set_on_missing(config.on_missing() == "leave" ? v1::Sync::ON_MISSING_LEAVE
                                                       : v1::Sync::ON_MISSING_RECREATE);
    sync.set_target_is_empty(config.target_is_empty());
    sync.set_mapping(ChooseFile(v1::Blob::KIND_MAPPING, config.mapping(), what, old.sync.mapping(),
                                old.has_default_mapping, catalogue_.DefaultMapping(integration),
                                next.has_default_mapping));
    sync.set_rules(ChooseFile(v1::Blob::KIND_RULES, config.rules(), what, old.sync.rules(),
                              old.has_default_rules, catalogue_.DefaultRules(integration),
                              next.has_default_rules));
    const std::optional<NamedFile> mapping = KeptFile(sync.mapping());
    const std::optional<NamedFile> rules = KeptFile(sync.rules());
    const std::optional<NamedFile> connector_file =
        KeptFile(target->second.connection.connector_file());
    if (mapping) {
      for (std::string& problem :
           catalogue_.CheckSync(*mapping, rules.value_or(NamedFile()),
                                connector_file ? &*connector_file : nullptr)) {
        Problem(std::move(problem));
      }
    } else if (config.mapping().empty()) {
      Problem(what + ": `" + integration + "` has no mapping of its own; write `mapping: FILE`");
    }
    if (is_new || old.sync.state() == v1::SYNC_STATE_REMOVED) {
      Change(v1::AppliedChange::KIND_CREATED, what);
    } else if (!MessageDifferencer::Equals(old.sync, sync)) {
      std::vector<std::string> changed;
      const auto note = [&](bool is_changed, const char* name) {
        if (is_changed) {
          changed.emplace_back(name);
        }
      };
      note(old.sync.mapping() != sync.mapping(), "mapping");
      note(old.sync.rules() != sync.rules(), "rules");
      note(old.sync.state() != sync.state(), config.paused() ? "paused" : "resumed");
      note(old.sync.on_missing() != sync.on_missing(), "on_missing");
      note(old.sync.target_is_empty() != sync.target_is_empty(), "target_is_empty");
      Change(v1::AppliedChange::KIND_CHANGED, what, JoinWords(changed));
    } else {
      return;
    }
    after.syncs[config.name()] = std::move(next);
  }

  const KeptState& kept_;
  const Catalogue& catalogue_;
  const v1::ApplyRequest& request_;
  std::map<ConnectionName, GivenCredential> credentials_;
  ApplyPlan plan_;
};

}  // namespace

ApplyPlan PlanApply(const KeptState& kept, const Catalogue& catalogue,
                    const v1::ApplyRequest& request) {
  return Planner(kept, catalogue, request).Plan();
}

}  // namespace tributary::control

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "services/control/control_core.h"
#include "services/control/questions.h"

// The inside of ControlCore, in parts: control_core.cc (what people order, what is published),
// control_questions.cc (what is asked of services), control_peers.cc (what services report and
// get).

namespace tributary::control {

struct ControlCore::State {
  ControlOptions options;
  Database& database;
  const Catalogue& catalogue;
  Logger& logger;

  Tenants tenants;
  std::map<std::string, v1::Blob> blobs;
  Peers peers;
  Questions questions{peers};
  /// The newest credential revision that a service said was refused.
  std::map<ConnectionName, std::int64_t> refused_revisions;
  /// Newest report of each connection; those without a problem are left out.
  std::map<ConnectionName, v1::ConnectionReport> reports;
  std::function<void(const std::string&)> on_changed;
  std::vector<std::string> unpublished;

  // ---- control_core.cc ----
  std::int32_t PartitionOf(const std::string& tenant) const;
  void Changed(const std::string& tenant) const;
  v1::Connection* FindConnection(const ConnectionName& name);
  absl::Status NoSuchTenant(const std::string& tenant) const;
  bool Owns(const Peer& peer, const std::string& tenant) const;

  // ---- control_questions.cc ----
  void Decide(Instant deadline, std::string_view service, const std::string& tenant,
              const v1::DecideParkedRequest& request, Reply<v1::DecideParkedResponse> reply);
  /// Rule 28: to do an action again is a new attempt, which the transformer writes under an id of
  /// its own. Only what is parked may be done again, which the loader knows; and it must not be
  /// freed afterwards, so it is dropped there.
  void DoAgain(Instant deadline, const std::string& tenant, const v1::DecideParkedRequest& request,
               Reply<v1::DecideParkedResponse> reply);
  void WriteNextAttempt(Instant deadline, const std::string& tenant,
                        const v1::DecideParkedRequest& request,
                        const Reply<v1::DecideParkedResponse>& reply);

  // ---- control_peers.cc ----
  /// Which services may see the secrets of a connection of which they own the tenant: the extractor
  /// those of sources, the loader those of targets.
  bool MayHaveCredential(const Peer& peer, const v1::Connection& connection) const;
  /// False: its extractor says that no stream of it has brought anything yet.
  bool MayHaveBeenRead(const ConnectionName& source) const;
  void OnCredentialRequest(Now now, Peer& peer, const v1::CredentialRequest& request);
  void OnConnectionReport(Now now, const Peer& peer, const v1::ConnectionReport& report);
};

}  // namespace tributary::control

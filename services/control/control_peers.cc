#include <algorithm>

#include "services/control/control_core_state.h"

// Services that are attached: what they report, and the credentials that they get.

namespace tributary::control {

bool ControlCore::State::MayHaveCredential(const Peer& peer,
                                           const v1::Connection& connection) const {
  return connection.integration() == "chargify" ? peer.service == "extractor"
                                                : peer.service == "loader";
}

bool ControlCore::State::MayHaveBeenRead(const ConnectionName& source) const {
  bool is_told = false;
  for (const auto& [id, peer] : peers) {
    if (peer.service != "extractor" || !peer.status || !Owns(peer, source.first)) {
      continue;
    }
    for (const v1::StreamStatus& stream : peer.status->streams()) {
      if (ConnectionName(stream.tenant(), stream.connection()) != source) {
        continue;
      }
      if (stream.first_read_done() || stream.read() > 0) {
        return true;
      }
      is_told = true;
    }
  }
  return !is_told;
}

void ControlCore::State::OnCredentialRequest(Now now, Peer& peer,
                                             const v1::CredentialRequest& request) {
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

void ControlCore::State::OnConnectionReport(Now now, const Peer& peer,
                                            const v1::ConnectionReport& report) {
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
      refused != refused_revisions.end() && refused->second >= connection->credential_revision()) {
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

}  // namespace tributary::control

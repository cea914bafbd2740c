#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "libs/stage/stage.h"
#include "services/control/catalogue.h"
#include "services/control/database.h"
#include "services/control/model.h"
#include "services/control/peer.h"
#include "tributary/v1/control.pb.h"
#include "tributary/v1/portability.pb.h"

// The control plane without gRPC, threads and clocks: what people order, what services report, and
// the ways between them. Publishing of `tributary.tenants` is publisher.h's.

namespace tributary::control {

/// Called once, maybe before the call that was given it returns.
template <typename Response>
using Reply = std::function<void(absl::StatusOr<Response>)>;

struct ControlOptions {
  std::int32_t partitions = 64;
  /// How long a question to a service may take before the answer goes without it.
  Duration question_timeout = std::chrono::seconds(3);
  v1::BuildInfo build;
};

/// One thread.
class ControlCore {
 public:
  /// References outlive the core. Errors of the database are told as such.
  static absl::StatusOr<std::unique_ptr<ControlCore>> Make(ControlOptions options,
                                                           Database& database,
                                                           const Catalogue& catalogue,
                                                           Logger& logger);
  ~ControlCore();

  // ---- people ----

  /// `actor` is for the audit trail.
  absl::StatusOr<v1::ApplyResponse> Apply(Now now, const std::string& actor,
                                          const v1::ApplyRequest& request);
  v1::ListTenantsResponse ListTenants(const v1::ListTenantsRequest& request) const;
  /// Errors: kNotFound with the nearest known name.
  absl::StatusOr<v1::SetSyncPausedResponse> SetSyncPaused(Now now, const std::string& actor,
                                                          const v1::SetSyncPausedRequest& request);
  absl::StatusOr<v1::StatusResponse> GetStatus(Now now, const v1::StatusRequest& request) const;
  /// Of those of which it is known.
  std::map<ConnectionName, WallTime> CredentialEnds() const;
  /// These ask services, and answer at the latest after `question_timeout`, with what is known and
  /// a `problem` that names who did not answer; kAborted when nobody did who had to.
  void ListParked(Now now, const v1::ListParkedRequest& request,
                  Reply<v1::ListParkedResponse> reply);
  void DecideParked(Now now, const std::string& actor, const v1::DecideParkedRequest& request,
                    Reply<v1::DecideParkedResponse> reply);
  void Trace(Now now, const v1::TraceRequest& request, Reply<v1::TraceResponse> reply);
  void Sweep(Now now, const std::string& actor, const v1::SweepRequest& request,
             Reply<v1::SweepResponse> reply);
  /// For a backup; noted in the audit trail.
  absl::StatusOr<v1::CopyDatabaseResponse> CopyDatabase(Now now, const std::string& actor);
  /// Errors: kNotFound with the nearest known name; those of SealUnder.
  absl::StatusOr<v1::ExportedTenant> ExportTenant(Now now, const std::string& actor,
                                                  const v1::ExportTenantRequest& request);
  /// As Apply, of one tenant that is not there yet.
  absl::StatusOr<v1::ApplyResponse> ImportTenant(Now now, const std::string& actor,
                                                 const v1::ImportTenantRequest& request);
  const v1::BuildInfo& build() const;

  // ---- services ----

  /// `send` may be called until Detach. `name` is what the peer has proven to be (the name in its
  /// certificate): `extractor`, `transformer`, `loader`; it cannot say hello as another.
  void Attach(PeerId peer, std::string name, std::function<void(const v1::ToService&)> send);
  void OnMessage(Now now, PeerId peer, const v1::FromService& message);
  void Detach(Now now, PeerId peer);

  // ---- publishing ----

  /// What `tributary.tenants` should say; revisions are left out (0). None: no such tenant.
  std::optional<v1::TenantSnapshot> WantedSnapshot(const std::string& tenant) const;
  std::vector<std::string> tenant_names() const;
  /// Null pointer: no such blob.
  const v1::Blob* FindBlob(const std::string& sha256) const;
  /// Called with the name of a tenant whose wanted snapshot may have changed. Empty: nobody.
  void set_on_changed(std::function<void(const std::string& tenant)> on_changed);
  /// What the publisher has not brought to the topic yet, in words; for status and settling.
  void set_unpublished(std::vector<std::string> unpublished);
  const std::vector<std::string>& unpublished() const;

  void OnTick(Now now);
  Instant next_tick() const;

 private:
  struct State;
  explicit ControlCore(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace tributary::control

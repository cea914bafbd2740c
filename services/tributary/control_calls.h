#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "tributary/v1/control.pb.h"
#include "tributary/v1/portability.pb.h"

namespace tributary::cli {

/// What the command line asks of control. Calls wait for their answer, at most some seconds.
///
/// Errors: control's own, and kUnavailable or kDeadlineExceeded when it cannot be reached.
class ControlCalls {
 public:
  virtual ~ControlCalls() = default;
  virtual absl::StatusOr<v1::ApplyResponse> Apply(const v1::ApplyRequest& request) = 0;
  virtual absl::StatusOr<v1::ListTenantsResponse> ListTenants(
      const v1::ListTenantsRequest& request) = 0;
  virtual absl::StatusOr<v1::SetSyncPausedResponse> SetSyncPaused(
      const v1::SetSyncPausedRequest& request) = 0;
  virtual absl::StatusOr<v1::StatusResponse> GetStatus(const v1::StatusRequest& request) = 0;
  virtual absl::StatusOr<v1::ListParkedResponse> ListParked(
      const v1::ListParkedRequest& request) = 0;
  virtual absl::StatusOr<v1::DecideParkedResponse> DecideParked(
      const v1::DecideParkedRequest& request) = 0;
  virtual absl::StatusOr<v1::TraceResponse> Trace(const v1::TraceRequest& request) = 0;
  virtual absl::StatusOr<v1::SweepResponse> Sweep(const v1::SweepRequest& request) = 0;
  virtual absl::StatusOr<v1::VerifyResponse> Verify() = 0;
  virtual absl::StatusOr<v1::BuildInfo> GetBuildInfo() = 0;
  virtual absl::StatusOr<v1::CopyDatabaseResponse> CopyDatabase() = 0;
  virtual absl::StatusOr<v1::ExportedTenant> ExportTenant(
      const v1::ExportTenantRequest& request) = 0;
  virtual absl::StatusOr<v1::ApplyResponse> ImportTenant(
      const v1::ImportTenantRequest& request) = 0;
};

/// Where control is, as given on the command line.
struct ControlPlace {
  /// `HOST:PORT` and the directory with ca.pem, cert.pem and key.pem of `tributary`.
  std::string address;
  std::string tls_directory;
  /// Of a running `tributary dev`, which writes its place into it; instead of both.
  std::string data_directory;
};

/// Errors: kNotFound when nothing says where control is; kFailedPrecondition for certificates that
/// do not work.
absl::StatusOr<std::unique_ptr<ControlCalls>> ConnectToControl(const ControlPlace& place);

}  // namespace tributary::cli

#include "services/tributary/control_calls.h"

#include <chrono>
#include <fstream>
#include <sstream>
#include <utility>

#include <grpcpp/grpcpp.h>

#include "libs/json/value.h"
#include "libs/tls/tls.h"
#include "tributary/v1/control.grpc.pb.h"
#include "tributary/v1/portability.grpc.pb.h"

namespace tributary::cli {
namespace {

constexpr std::chrono::seconds kCallMax(15);
// Reads every topic.
constexpr std::chrono::minutes kVerifyMax(30);
constexpr int kMessageBytesMax = 64 << 20;

class GrpcCalls : public ControlCalls {
 public:
  GrpcCalls(std::string address, const tls::Identity& identity) : address_(std::move(address)) {
    grpc::SslCredentialsOptions ssl;
    ssl.pem_root_certs = identity.ca_pem;
    ssl.pem_cert_chain = identity.cert_pem;
    ssl.pem_private_key = identity.key_pem;
    grpc::ChannelArguments arguments;
    // Whatever the address: who answers must be control.
    arguments.SetSslTargetNameOverride("control");
    arguments.SetMaxReceiveMessageSize(kMessageBytesMax);
    const auto channel = grpc::CreateCustomChannel(address_, grpc::SslCredentials(ssl), arguments);
    control_ = v1::Control::NewStub(channel);
    portability_ = v1::Portability::NewStub(channel);
  }

  absl::StatusOr<v1::ApplyResponse> Apply(const v1::ApplyRequest& request) override {
    return Call(&v1::Control::Stub::Apply, request, v1::ApplyResponse(), kCallMax);
  }
  absl::StatusOr<v1::ListTenantsResponse> ListTenants(
      const v1::ListTenantsRequest& request) override {
    return Call(&v1::Control::Stub::ListTenants, request, v1::ListTenantsResponse(), kCallMax);
  }
  absl::StatusOr<v1::SetSyncPausedResponse> SetSyncPaused(
      const v1::SetSyncPausedRequest& request) override {
    return Call(&v1::Control::Stub::SetSyncPaused, request, v1::SetSyncPausedResponse(), kCallMax);
  }
  absl::StatusOr<v1::StatusResponse> GetStatus(const v1::StatusRequest& request) override {
    return Call(&v1::Control::Stub::GetStatus, request, v1::StatusResponse(), kCallMax);
  }
  absl::StatusOr<v1::ListParkedResponse> ListParked(const v1::ListParkedRequest& request) override {
    return Call(&v1::Control::Stub::ListParked, request, v1::ListParkedResponse(), kCallMax);
  }
  absl::StatusOr<v1::DecideParkedResponse> DecideParked(
      const v1::DecideParkedRequest& request) override {
    return Call(&v1::Control::Stub::DecideParked, request, v1::DecideParkedResponse(), kCallMax);
  }
  absl::StatusOr<v1::TraceResponse> Trace(const v1::TraceRequest& request) override {
    return Call(&v1::Control::Stub::Trace, request, v1::TraceResponse(), kCallMax);
  }
  absl::StatusOr<v1::SweepResponse> Sweep(const v1::SweepRequest& request) override {
    return Call(&v1::Control::Stub::Sweep, request, v1::SweepResponse(), kCallMax);
  }
  absl::StatusOr<v1::VerifyResponse> Verify() override {
    return Call(&v1::Control::Stub::Verify, v1::VerifyRequest(), v1::VerifyResponse(), kVerifyMax);
  }
  absl::StatusOr<v1::BuildInfo> GetBuildInfo() override {
    return Call(&v1::Control::Stub::GetBuildInfo, v1::BuildInfoRequest(), v1::BuildInfo(),
                kCallMax);
  }
  absl::StatusOr<v1::ExportedTenant> ExportTenant(const v1::ExportTenantRequest& request) override {
    return Call(&v1::Portability::Stub::ExportTenant, request, v1::ExportedTenant(), kCallMax);
  }
  absl::StatusOr<v1::ApplyResponse> ImportTenant(const v1::ImportTenantRequest& request) override {
    return Call(&v1::Portability::Stub::ImportTenant, request, v1::ApplyResponse(), kCallMax);
  }
  absl::StatusOr<v1::CopyDatabaseResponse> CopyDatabase() override {
    return Call(&v1::Portability::Stub::CopyDatabase, v1::CopyDatabaseRequest(),
                v1::CopyDatabaseResponse(), kCallMax);
  }

 private:
  v1::Control::Stub& StubOf(const v1::Control::Stub*) { return *control_; }
  v1::Portability::Stub& StubOf(const v1::Portability::Stub*) { return *portability_; }

  template <typename Stub, typename Request, typename Response, typename Duration>
  absl::StatusOr<Response> Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                                const Request& request, Response response, Duration time_max) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + time_max);
    const grpc::Status status =
        (StubOf(static_cast<const Stub*>(nullptr)).*method)(&context, request, &response);
    if (status.ok()) {
      return response;
    }
    const auto code = static_cast<absl::StatusCode>(status.error_code());
    if (code == absl::StatusCode::kUnavailable || code == absl::StatusCode::kDeadlineExceeded) {
      // That nobody listens is said already; anything else is not.
      const std::string& detail = status.error_message();
      const bool is_told = detail.find("Connection refused") != std::string::npos;
      return absl::Status(
          code, "control at " + address_ + " does not answer" + (is_told ? "" : ": " + detail));
    }
    return absl::Status(code, status.error_message());
  }

  const std::string address_;
  std::unique_ptr<v1::Control::Stub> control_;
  std::unique_ptr<v1::Portability::Stub> portability_;
};

// What a running `tributary dev` wrote.
absl::StatusOr<ControlPlace> ReadPlace(const std::string& data_directory) {
  const std::string file = data_directory + "/control.json";
  std::ifstream stream(file);
  std::ostringstream text;
  if (!stream || !(text << stream.rdbuf())) {
    return absl::NotFoundError("no `tributary dev` runs on " + data_directory + " (there is no " +
                               file + ")");
  }
  const absl::StatusOr<json::Value> parsed = json::Parse(text.str());
  const json::Value* const address = parsed.ok() ? parsed->Find("address") : nullptr;
  if (address == nullptr || address->string() == nullptr) {
    return absl::FailedPreconditionError(file + " does not say where control is");
  }
  ControlPlace place;
  place.address = *address->string();
  const json::Value* const directory = parsed->Find("tls_directory");
  place.tls_directory =
      (directory != nullptr && directory->string() != nullptr ? *directory->string()
                                                              : data_directory + "/tls") +
      "/tributary";
  return place;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ControlCalls>> ConnectToControl(const ControlPlace& place) {
  ControlPlace found = place;
  if (found.address.empty()) {
    absl::StatusOr<ControlPlace> written = ReadPlace(found.data_directory);
    if (!written.ok()) {
      return written.status();
    }
    found = *std::move(written);
  }
  const absl::StatusOr<tls::Identity> identity = tls::Load(found.tls_directory);
  if (!identity.ok()) {
    return absl::FailedPreconditionError(std::string(identity.status().message()));
  }
  return std::make_unique<GrpcCalls>(found.address, *identity);
}

}  // namespace tributary::cli

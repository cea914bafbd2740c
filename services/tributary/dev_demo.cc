#include "services/tributary/dev_demo.h"

#include <algorithm>
#include <chrono>
#include <ostream>

#include "libs/config/quantities.h"
#include "libs/connector/connector.h"

namespace tributary::dev {
namespace {

constexpr const char* kTenant = "demo";

v1::ConnectionConfig& AddConnection(v1::TenantConfig& tenant, v1::ApplyRequest& request,
                                    const std::string& name, const std::string& integration,
                                    const std::string& url, const std::string& field,
                                    const std::string& secret) {
  v1::ConnectionConfig& connection = *tenant.add_connections();
  connection.set_name(name);
  connection.set_integration(integration);
  connection.set_url(url);
  connection.set_allow_insecure_loopback(true);
  v1::SealedInput& credential = *request.add_credentials();
  credential.set_tenant(kTenant);
  credential.set_connection(name);
  (*credential.mutable_fields())[field] = secret;
  return connection;
}

void AddSync(v1::TenantConfig& tenant, const std::string& target) {
  v1::SyncConfig& sync = *tenant.add_syncs();
  sync.set_name(target);
  sync.set_source("billing");
  sync.set_target(target);
  sync.set_on_missing("recreate");
}

}  // namespace

absl::StatusOr<std::unique_ptr<simulator::SimulatorServer>> StartDemo(const Flags& flags) {
  simulator::ServerSettings settings;
  simulator::WorldOptions& world = settings.world;
  world.seed = flags.seed;
  world.customers = flags.customers;
  world.tenant = kTenant;
  world.visibility_lag = kDemoVisibilityLag;
  world.index_lag = kDemoIndexLag;
  if (flags.once) {
    // A few seconds of changes, some of them between the pages of a list.
    world.mutations_total = std::max<std::int64_t>(20, flags.customers / 2);
    world.mutation_rate = std::max(5.0, static_cast<double>(world.mutations_total) / 8);
    world.switches.mutations_per_page = 2;
  } else {
    world.mutations_total = 1'000'000'000;
    world.mutation_rate = 1;
  }
  return simulator::SimulatorServer::Start(std::move(settings));
}

void TuneForDemo(v1::ConfigFile& config) {
  *config.mutable_extractor()->mutable_visibility_lag() = config::ToProto(kDemoVisibilityLag);
  *config.mutable_extractor()->mutable_poll_interval() =
      config::ToProto(std::chrono::milliseconds(500));
  // Q is less than L.
  *config.mutable_loader()->mutable_request_timeout() =
      config::ToProto(std::chrono::milliseconds(1500));
  *config.mutable_loader()->mutable_retry_delay_min() =
      config::ToProto(std::chrono::milliseconds(200));
}

v1::ApplyRequest DemoTenant(simulator::SimulatorServer& simulator) {
  simulator::Access access;
  WallTime began;
  simulator.WithWorld([&](simulator::World& world, WallTime now) {
    access = world.access();
    began = now;
  });
  v1::ApplyRequest request;
  v1::TenantConfig& tenant = *request.add_tenants();
  tenant.set_name(kTenant);

  v1::ConnectionConfig& billing =
      AddConnection(tenant, request, "billing", "chargify",
                    simulator.url(simulator::Target::kChargify), "api_key", access.chargify_key);
  (*billing.mutable_settings())["poll_interval"] = "500ms";
  (*billing.mutable_settings())["visibility_lag"] = config::FormatDuration(kDemoVisibilityLag);

  v1::ConnectionConfig& highlevel =
      AddConnection(tenant, request, "highlevel", "highlevel",
                    simulator.url(simulator::Target::kHighLevel), "token", access.highlevel_token);
  (*highlevel.mutable_settings())["location"] = access.highlevel_location;

  v1::ConnectionConfig& rest =
      AddConnection(tenant, request, "rest", "rest", simulator.url(simulator::Target::kRest),
                    "api_key", access.rest_key);
  rest.set_connector_file("rest.yaml");
  // Nobody is told of it in the first weeks of a demo.
  constexpr auto kCredentialLife = std::chrono::days(90);
  v1::SealedInput& rest_credential = *request.mutable_credentials()->rbegin();
  (*rest_credential.mutable_expires_at())["api_key"].set_seconds(
      std::chrono::floor<std::chrono::seconds>((began + kCredentialLife).time_since_epoch())
          .count());
  (*request.mutable_files())["rest.yaml"] = *connector::BuiltinFile("rest.yaml");

  for (v1::ConnectionConfig* crm : {&highlevel, &rest}) {
    // These vendors have room; the files name what the real ones allow.
    crm->set_concurrency(16);
    crm->set_requests_per_second("500");
    (*crm->mutable_settings())["settle"] = config::FormatDuration(kDemoSettle);
    (*crm->mutable_settings())["index_lag"] = config::FormatDuration(kDemoIndexLag);
  }
  AddSync(tenant, "highlevel");
  AddSync(tenant, "rest");
  return request;
}

bool IsDemoTenant(const v1::TenantSnapshot& snapshot) {
  return snapshot.tenant() == kTenant && !snapshot.connections().empty() &&
         std::all_of(snapshot.connections().begin(), snapshot.connections().end(),
                     [](const v1::Connection& connection) {
                       return connection.allow_insecure_loopback() &&
                              connection.url().starts_with("http://127.0.0.1:");
                     });
}

std::optional<WallTime> QuietSince(simulator::SimulatorServer& simulator) {
  std::optional<WallTime> since;
  simulator.WithWorld([&since](simulator::World& world, WallTime now) {
    world.Advance(now);
    if (world.finished_mutating()) since = now;
  });
  return since;
}

Judged Judge(simulator::SimulatorServer& simulator, std::ostream* differences) {
  simulator::Judgement judgement;
  simulator.WithWorld(
      [&judgement](simulator::World& world, WallTime now) { judgement = world.Judge(now); });
  if (differences != nullptr) {
    for (const std::string& problem : judgement.problems) {
      *differences << "differs: " << problem << '\n';
    }
  }
  return {.duplicate_records = judgement.duplicate_records,
          .regressions = judgement.regressions,
          .mismatches = judgement.mismatches,
          .provoked_429 = judgement.provoked_429};
}

}  // namespace tributary::dev

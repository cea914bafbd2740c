#include "services/tributary/commands.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <ostream>
#include <thread>

#include "libs/config/config.h"
#include "libs/eventlog/clock.h"
#include "libs/eventlog/embedded/embedded_log.h"
#include "libs/eventlog/kafka/kafka_log.h"
#include "libs/observe/build_info.h"
#include "libs/runtime/log_config.h"
#include "libs/runtime/random.h"
#include "libs/tls/tls.h"
#include "libs/verify/verify.h"
#include "services/control/apply_plan.h"
#include "services/control/apply_request.h"
#include "services/control/catalogue_files.h"
#include "services/tributary/output.h"

namespace tributary::cli {
namespace {

constexpr const char* kFixOfService =
    "fix: start that service, or see at its /readyz what it waits for; then try again\n";

int Fail(const Streams& streams, const absl::Status& status) {
  streams.err << "error: " << std::string(status.message()) << '\n';
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      streams.err << "fix: see that control, or `tributary dev`, runs there, and try again\n";
      return kTemporary;
    case absl::StatusCode::kAborted:
      // Control is there, and says who is not.
      streams.err << kFixOfService;
      return kTemporary;
    case absl::StatusCode::kPermissionDenied:
      streams.err << "fix: use the certificate that `tributary tls init` made for `tributary`\n";
      return kBad;
    case absl::StatusCode::kInvalidArgument:
      return kUsage;
    default:
      return kBad;
  }
}

// Calls control, or says why that was not possible. None: `code` is the exit code.
template <typename Response, typename Call>
std::optional<Response> Ask(const Streams& streams, const Connect& connect, int& code,
                            const Call& call) {
  absl::StatusOr<std::unique_ptr<ControlCalls>> control = connect();
  if (!control.ok()) {
    streams.err
        << "error: " << std::string(control.status().message()) << '\n'
        << "fix: start it, or say where control is: --data DIR of a running `tributary dev`, "
           "or --control HOST:PORT --tls-dir DIR\n";
    code = control.status().code() == absl::StatusCode::kNotFound ? kTemporary : kConfiguration;
    return std::nullopt;
  }
  absl::StatusOr<Response> response = call(**control);
  if (!response.ok()) {
    code = Fail(streams, response.status());
    return std::nullopt;
  }
  return *std::move(response);
}

void Print(const Streams& streams, const std::string& json, const std::string& text) {
  streams.out << (streams.json ? json : text) << std::flush;
}

// All files as one configuration. False: problems were printed.
bool LoadTenants(const Streams& streams, const std::vector<std::string>& files,
                 v1::ConfigFile& config) {
  config::LoadOptions options;
  options.allow_tenants = true;
  options.environment = config::ProcessEnvironment();
  bool is_good = true;
  std::map<std::string, std::string> named_in;
  for (const std::string& file : files) {
    const config::Loaded loaded = config::Load(file, options);
    for (const config::Problem& problem : loaded.problems) {
      streams.err << config::Format(problem) << '\n';
      is_good = false;
    }
    for (const v1::TenantConfig& tenant : loaded.config.tenants()) {
      const auto [other, is_new] = named_in.emplace(tenant.name(), file);
      if (!is_new && other->second != file) {
        streams.err << file << ": error: tenant `" << tenant.name() << "` is also in "
                    << other->second << '\n';
        is_good = false;
      }
      *config.add_tenants() = tenant;
    }
  }
  return is_good;
}

std::vector<std::string> SplitPath(const std::string& path) {
  std::vector<std::string> parts(1);
  for (const char c : path) {
    if (c == '/') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

absl::StatusOr<v1::VerifyResponse> VerifyBy(eventlog::LogAdmin& admin, std::int32_t partitions,
                                            Duration action_age) {
  return verify::Verify(
      {.partitions = partitions,
       .read_all = [&](eventlog::Topic topic,
                       const auto& visit) { return admin.ReadAll(topic, visit); }},
      {.action_age = action_age,
       .wait = [] { std::this_thread::sleep_for(std::chrono::seconds(3)); }});
}

std::string ProblemsOf(const config::Loaded& loaded) {
  std::string text;
  for (const config::Problem& problem : loaded.problems) {
    text += (text.empty() ? "" : "\n") + config::Format(problem);
  }
  return text;
}

config::Loaded LoadInstallation(const std::string& file) {
  config::LoadOptions options;
  options.allow_tenants = true;
  options.check_files = false;
  options.environment = config::ProcessEnvironment();
  return config::Load(file, options);
}

class QuietLogger : public Logger {
 public:
  void Log(Level, std::string_view, const Fields&) override {}
};

// The log of a configuration, for administration. Kept alive together.
struct AdminLog {
  QuietLogger logger;
  std::unique_ptr<eventlog::KafkaLog> kafka;
  std::unique_ptr<eventlog::EmbeddedLog> embedded;
  std::unique_ptr<eventlog::LogAdmin> admin;
};

absl::Status OpenAdminLog(const v1::LogConfig& config, AdminLog& log) {
  if (config.kind() == "kafka") {
    absl::StatusOr<std::unique_ptr<eventlog::KafkaLog>> opened =
        eventlog::KafkaLog::Open(runtime::KafkaOptionsFrom(config, log.logger));
    if (!opened.ok()) {
      return opened.status();
    }
    log.kafka = *std::move(opened);
    log.admin = log.kafka->MakeAdmin();
    return absl::OkStatus();
  }
  absl::StatusOr<std::unique_ptr<eventlog::EmbeddedLog>> opened =
      eventlog::EmbeddedLog::Open({.directory = config.data_directory() + "/log",
                                   .topics = runtime::TopicSettingsFrom(config)});
  if (!opened.ok()) {
    return opened.status();
  }
  log.embedded = *std::move(opened);
  log.admin = log.embedded->MakeAdmin();
  return absl::OkStatus();
}

}  // namespace

int Apply(const Streams& streams, const Connect& connect, const ApplyArguments& arguments) {
  v1::ConfigFile config;
  if (!LoadTenants(streams, arguments.files, config)) {
    return kConfiguration;
  }
  control::BuiltApplyRequest built = control::BuildApplyRequest(config);
  if (!built.problems.empty()) {
    for (const std::string& problem : built.problems) {
      streams.err << problem << '\n';
    }
    return kConfiguration;
  }
  built.request.set_dry_run(arguments.dry_run);
  built.request.set_prune(arguments.prune);
  int code = kGood;
  const auto response = Ask<v1::ApplyResponse>(
      streams, connect, code, [&](ControlCalls& control) { return control.Apply(built.request); });
  if (!response) {
    return code;
  }
  for (const std::string& problem : response->problems()) {
    streams.err << problem << '\n';
  }
  if (!response->problems().empty()) {
    if (streams.json) {
      streams.out << ApplyJson(*response, arguments.dry_run);
    }
    return kConfiguration;
  }
  Print(streams, ApplyJson(*response, arguments.dry_run), ApplyText(*response, arguments.dry_run));
  return kGood;
}

int ValidateConfig(const Streams& streams, const std::string& file) {
  std::vector<std::string> problems;
  config::LoadOptions options;
  options.allow_tenants = true;
  options.environment = config::ProcessEnvironment();
  const config::Loaded loaded = config::Load(file, options);
  for (const config::Problem& problem : loaded.problems) {
    problems.push_back(config::Format(problem));
  }
  // What the files that it names say, as far as it can be found.
  if (problems.empty() && loaded.config.tenants_size() > 0) {
    const control::BuiltApplyRequest built =
        control::BuildApplyRequest(loaded.config, /*with_secrets=*/false);
    problems = built.problems;
    const control::Tenants no_tenants;
    const std::map<std::string, v1::Blob> no_blobs;
    const control::ApplyPlan plan = control::PlanApply(
        {no_tenants, no_blobs,
         [](const control::ConnectionName&) { return std::optional<control::CredentialFields>(); }},
        *control::MakeCatalogue(), built.request);
    problems.insert(problems.end(), plan.problems.begin(), plan.problems.end());
  }
  if (streams.json) {
    v1::ApplyResponse response;
    response.mutable_problems()->Assign(problems.begin(), problems.end());
    streams.out << ApplyJson(response, true);
  } else {
    for (const std::string& problem : problems) {
      streams.err << problem << '\n';
    }
  }
  for (const std::string& warning : loaded.warnings) {
    streams.err << "warning: " << warning << '\n';
  }
  if (!problems.empty()) {
    return kConfiguration;
  }
  if (!streams.json) {
    streams.out << file << ": good\n";
  }
  return kGood;
}

int ListTenants(const Streams& streams, const Connect& connect) {
  int code = kGood;
  const auto response = Ask<v1::ListTenantsResponse>(
      streams, connect, code, [](ControlCalls& control) { return control.ListTenants({}); });
  if (response) {
    Print(streams, TenantsJson(*response), TenantsText(*response));
  }
  return code;
}

namespace {

// The tenant, or all. None: `code` is the exit code.
std::optional<v1::ListTenantsResponse> AskForTenant(const Streams& streams, const Connect& connect,
                                                    const std::string& tenant, int& code) {
  v1::ListTenantsRequest request;
  request.set_tenant(tenant);
  auto response = Ask<v1::ListTenantsResponse>(
      streams, connect, code, [&](ControlCalls& control) { return control.ListTenants(request); });
  if (response && !tenant.empty() && response->tenants().empty()) {
    streams.err << "error: there is no tenant `" << tenant << "`\n"
                << "fix: `tributary tenant list` shows them\n";
    code = kBad;
    return std::nullopt;
  }
  return response;
}

}  // namespace

int ShowTenant(const Streams& streams, const Connect& connect, const std::string& tenant) {
  int code = kGood;
  const auto response = AskForTenant(streams, connect, tenant, code);
  if (!response) {
    return code;
  }
  if (streams.json) {
    // Both lists in one document.
    const std::string connections = ConnectionsJson(*response);
    const std::string syncs = SyncsJson(*response);
    streams.out << connections.substr(0, connections.size() - 2) << "," << syncs.substr(1);
  } else {
    streams.out << ConnectionsText(*response) << '\n' << SyncsText(*response);
  }
  return kGood;
}

int ListConnections(const Streams& streams, const Connect& connect, const std::string& name) {
  const std::vector<std::string> parts = SplitPath(name);
  if (parts.size() > 2) {
    streams.err << "error: `" << name << "` is not TENANT/CONNECTION\n";
    return kUsage;
  }
  int code = kGood;
  auto response = AskForTenant(streams, connect, parts[0], code);
  if (!response) {
    return code;
  }
  if (parts.size() == 2) {
    auto& connections = *response->mutable_tenants(0)->mutable_connections();
    for (int i = connections.size() - 1; i >= 0; --i) {
      if (connections[i].name() != parts[1]) {
        connections.DeleteSubrange(i, 1);
      }
    }
    if (connections.empty()) {
      streams.err << "error: tenant `" << parts[0] << "` has no connection `" << parts[1] << "`\n"
                  << "fix: `tributary connection list " << parts[0] << "` shows them\n";
      return kBad;
    }
  }
  Print(streams, ConnectionsJson(*response), ConnectionsText(*response));
  return kGood;
}

int ListSyncs(const Streams& streams, const Connect& connect, const std::string& tenant) {
  int code = kGood;
  const auto response = AskForTenant(streams, connect, tenant, code);
  if (response) {
    Print(streams, SyncsJson(*response), SyncsText(*response));
  }
  return code;
}

int PauseSync(const Streams& streams, const Connect& connect, const std::string& name,
              bool paused) {
  const std::vector<std::string> parts = SplitPath(name);
  if (parts.size() != 2) {
    streams.err << "error: `" << name << "` is not TENANT/SYNC\n";
    return kUsage;
  }
  v1::SetSyncPausedRequest request;
  request.set_tenant(parts[0]);
  request.set_sync(parts[1]);
  request.set_paused(paused);
  int code = kGood;
  const auto response = Ask<v1::SetSyncPausedResponse>(
      streams, connect, code,
      [&](ControlCalls& control) { return control.SetSyncPaused(request); });
  if (response) {
    Print(streams, "{}\n", name + (paused ? ": paused\n" : ": resumed\n"));
  }
  return code;
}

int Status(const Streams& streams, const Connect& connect, const std::string& tenant) {
  v1::StatusRequest request;
  request.set_tenant(tenant);
  int code = kGood;
  const auto response = Ask<v1::StatusResponse>(
      streams, connect, code, [&](ControlCalls& control) { return control.GetStatus(request); });
  if (response) {
    Print(streams, StatusJson(*response), StatusText(*response));
  }
  return code;
}

int ListParked(const Streams& streams, const Connect& connect, const std::string& tenant) {
  v1::ListParkedRequest request;
  request.set_tenant(tenant);
  int code = kGood;
  const auto response = Ask<v1::ListParkedResponse>(
      streams, connect, code, [&](ControlCalls& control) { return control.ListParked(request); });
  if (!response) {
    return code;
  }
  Print(streams, ParkedJson(*response), ParkedText(*response));
  if (!response->problem().empty()) {
    streams.err << "error: " << response->problem() << '\n'
                << "the list may lack something\n"
                << kFixOfService;
    return kTemporary;
  }
  return kGood;
}

int ShowParked(const Streams& streams, const Connect& connect, const std::string& key) {
  v1::ListParkedRequest request;
  request.set_key(key);
  int code = kGood;
  auto response = Ask<v1::ListParkedResponse>(
      streams, connect, code, [&](ControlCalls& control) { return control.ListParked(request); });
  if (!response) {
    return code;
  }
  auto& items = *response->mutable_items();
  for (int i = items.size() - 1; i >= 0; --i) {
    if (items[i].key() != key) {
      items.DeleteSubrange(i, 1);
    }
  }
  if (items.empty()) {
    if (!response->problem().empty()) {
      streams.err << "error: " << response->problem() << '\n' << kFixOfService;
      return kTemporary;
    }
    streams.err << "error: nothing is parked under `" << key << "`\n"
                << "fix: `tributary parked list` shows the keys\n";
    return kBad;
  }
  Print(streams, ParkedJson(*response), ParkedDetails(*response));
  return kGood;
}

int DecideParked(const Streams& streams, const Connect& connect, const std::string& key,
                 bool replay) {
  v1::DecideParkedRequest request;
  request.set_key(key);
  request.set_replay(replay);
  int code = kGood;
  const auto response = Ask<v1::DecideParkedResponse>(
      streams, connect, code, [&](ControlCalls& control) { return control.DecideParked(request); });
  if (!response) {
    return code;
  }
  if (!response->problem().empty()) {
    streams.err << "error: " << key << ": " << response->problem() << '\n';
    return kBad;
  }
  Print(streams, "{}\n", key + (replay ? ": will be tried again\n" : ": dropped\n"));
  return kGood;
}

int Sweep(const Streams& streams, const Connect& connect, const std::string& name, bool starts,
          Duration wait_max) {
  const std::vector<std::string> parts = SplitPath(name);
  if (parts.size() > 2) {
    streams.err << "error: `" << name << "` is not TENANT/CONNECTION\n";
    return kUsage;
  }
  v1::SweepRequest request;
  request.set_tenant(parts[0]);
  if (parts.size() == 2) {
    request.set_connection(parts[1]);
  }
  request.set_start(starts);
  const auto deadline = std::chrono::steady_clock::now() + wait_max;
  while (true) {
    int code = kGood;
    const auto response = Ask<v1::SweepResponse>(
        streams, connect, code, [&](ControlCalls& control) { return control.Sweep(request); });
    if (!response) {
      return code;
    }
    const bool is_done = std::none_of(
        response->connections().begin(), response->connections().end(),
        [](const v1::SweepStatus& status) { return status.running() || status.due() > 0; });
    const bool is_late = std::chrono::steady_clock::now() >= deadline;
    if (!response->problem().empty() || is_done || is_late) {
      Print(streams, SweepJson(*response), SweepText(*response));
      if (!response->problem().empty()) {
        streams.err << "error: " << response->problem() << '\n';
        return kTemporary;
      }
      return wait_max > Duration::zero() && !is_done ? kTemporary : kGood;
    }
    // Ordered once.
    request.set_start(false);
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
}

int Trace(const Streams& streams, const Connect& connect, const std::string& path) {
  const std::vector<std::string> parts = SplitPath(path);
  const bool is_good =
      (parts.size() == 3 || parts.size() == 4) &&
      std::none_of(parts.begin(), parts.end(), [](const auto& part) { return part.empty(); });
  if (!is_good) {
    streams.err << "error: `" << path << "` is not TENANT/[CONNECTION/]customers/ID\n";
    return kUsage;
  }
  v1::TraceRequest request;
  request.set_tenant(parts[0]);
  if (parts.size() == 4) {
    request.set_connection(parts[1]);
  }
  request.set_kind(parts[parts.size() - 2]);
  request.set_id(parts.back());
  int code = kGood;
  const auto response = Ask<v1::TraceResponse>(
      streams, connect, code, [&](ControlCalls& control) { return control.Trace(request); });
  if (!response) {
    return code;
  }
  if (response->found()) {
    Print(streams, TraceJson(*response), TraceText(*response));
  } else if (streams.json) {
    streams.out << TraceJson(*response);
  }
  if (!response->problem().empty()) {
    // What it knows is not shown, and what is not found may be there.
    streams.err << "error: " << response->problem() << '\n' << kFixOfService;
    return kTemporary;
  }
  if (response->found()) {
    return kGood;
  }
  streams.err << "error: " << path << " is not known\n";
  for (const std::string& nearest : response->nearest()) {
    streams.err << "nearest: " << nearest << '\n';
  }
  return kBad;
}

int Verify(const Streams& streams, const Verifier& verifier) {
  const absl::StatusOr<v1::VerifyResponse> response = verifier();
  if (!response.ok()) {
    if (response.status().code() == absl::StatusCode::kInvalidArgument) {
      // Lines of their own, each with its place.
      streams.err << std::string(response.status().message()) << '\n';
      return kConfiguration;
    }
    streams.err << "error: " << std::string(response.status().message()) << '\n'
                << "fix: give --data DIR of a `tributary dev`, --config FILE that says where the "
                   "topics are, or --control HOST:PORT --tls-dir DIR\n";
    return kTemporary;
  }
  Print(streams, VerifyJson(*response), VerifyText(*response));
  return response->ok() ? kGood : (response->at_rest() ? kBad : kTemporary);
}

absl::StatusOr<v1::VerifyResponse> VerifyTopics(const std::string& config_file) {
  const config::Loaded loaded = LoadInstallation(config_file);
  if (!loaded.problems.empty()) {
    return absl::InvalidArgumentError(ProblemsOf(loaded));
  }
  AdminLog log;
  if (absl::Status opened = OpenAdminLog(loaded.config.log(), log); !opened.ok()) {
    return opened;
  }
  return VerifyBy(*log.admin, loaded.config.log().partitions(),
                  config::FromProto(loaded.config.loader().action_age()));
}

absl::StatusOr<v1::VerifyResponse> VerifyDirectory(const std::string& log_directory) {
  absl::StatusOr<std::unique_ptr<eventlog::EmbeddedLog>> log =
      eventlog::EmbeddedLog::Open({.directory = log_directory, .topics = {.partitions = 0}});
  if (!log.ok()) {
    return log.status();
  }
  const std::unique_ptr<eventlog::LogAdmin> admin = (*log)->MakeAdmin();
  return VerifyBy(*admin, admin->settings().partitions, std::chrono::hours(24 * 30));
}

int Version(const Streams& streams) {
  const observe::BuildInfo info = observe::GetBuildInfo();
  v1::BuildInfo proto;
  proto.set_version(info.version);
  proto.set_commit(info.commit);
  proto.set_compiler(info.compiler);
  proto.mutable_libraries()->insert(info.libraries.begin(), info.libraries.end());
  std::string text = "tributary " + info.version +
                     (info.commit.empty() ? "" : " (" + info.commit + ")") + "\n" + info.compiler +
                     "\n";
  for (const auto& [name, version] : info.libraries) {
    text += name + " " + version + "\n";
  }
  Print(streams, BuildInfoJson(proto), text);
  return kGood;
}

int InitTls(const Streams& streams, const std::string& directory,
            const std::vector<std::string>& hosts) {
  const std::vector<std::string> names = {"control", "extractor", "transformer", "loader",
                                          "tributary"};
  if (absl::Status made = tls::EnsureDirectory(directory, names, hosts); !made.ok()) {
    streams.err << "error: " << std::string(made.message()) << '\n';
    return made.code() == absl::StatusCode::kInvalidArgument ? kUsage : kBad;
  }
  if (!streams.json) {
    for (const std::string& name : names) {
      streams.out << directory << '/' << name << '\n';
    }
    streams.err << "Give each process its own directory as control.tls_directory; keep "
                << directory << "/ca.key away from all of them.\n";
  } else {
    streams.out << "{}\n";
  }
  return kGood;
}

int CreateTopics(const Streams& streams, const std::string& config_file, bool anew) {
  const config::Loaded loaded = LoadInstallation(config_file);
  if (!loaded.problems.empty()) {
    streams.err << ProblemsOf(loaded) << '\n';
    return kConfiguration;
  }
  AdminLog log;
  if (absl::Status opened = OpenAdminLog(loaded.config.log(), log); !opened.ok()) {
    return Fail(streams, opened);
  }
  if (absl::Status made = log.admin->EnsureTopics(); !made.ok()) {
    return Fail(streams, made);
  }
  const absl::StatusOr<std::int64_t> generation = eventlog::Found(
      *log.admin, {.now = eventlog::SystemTime(), .random = runtime::Random64, .anew = anew});
  if (!generation.ok()) {
    return Fail(streams, generation.status());
  }
  Print(streams, "{\"generation\":" + std::to_string(*generation) + "}\n",
        "topics are there, of generation " + std::to_string(*generation) + "\n");
  return kGood;
}

}  // namespace tributary::cli

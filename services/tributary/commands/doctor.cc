#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>
#include <ostream>
#include <set>

#include "libs/eventlog/clock.h"
#include "libs/json/value.h"
#include "services/tributary/commands/ask.h"
#include "services/tributary/commands/commands.h"
#include "services/tributary/commands/installation.h"
#include "services/tributary/doctor/accounts.h"
#include "services/tributary/doctor/ground.h"
#include "services/tributary/output.h"

namespace tributary::cli {
namespace {

namespace fs = std::filesystem;
using Severity = Finding::Severity;

const char* Word(Severity severity) {
  switch (severity) {
    case Severity::kGood:
      return "good";
    case Severity::kWarning:
      return "warning";
    case Severity::kError:
      return "error";
  }
  return "";
}

void Add(Findings more, Findings& findings) {
  std::move(more.begin(), more.end(), std::back_inserter(findings));
}
void Add(std::optional<Finding> finding, Findings& findings) {
  if (finding) {
    findings.push_back(*std::move(finding));
  }
}

// False: nothing else can be looked at.
bool CheckConfiguration(const std::string& file, const config::Loaded& loaded, Findings& findings) {
  for (const config::Problem& problem : loaded.problems) {
    findings.push_back(Error("configuration", file, config::Format(problem),
                             "correct it; `tributary config validate " + file + "` tells more"));
  }
  if (loaded.problems.empty()) {
    findings.push_back(Good("configuration", file, "no problem"));
  }
  return loaded.problems.empty();
}

void CheckMachine(const v1::ConfigFile& config, const std::string& file, Findings& findings) {
  const v1::LogConfig& log = config.log();
  const fs::path control_directory = fs::path(config.control().database()).parent_path();
  std::set<std::string> directories = {log.data_directory(), control_directory.string()};
  directories.erase("");
  for (const std::string& directory : directories) {
    Add(CheckDirectory(directory), findings);
  }
  const std::string& key = config.control().master_key_file();
  Add(CheckMasterKey(key.empty() ? (control_directory / "master.key").string() : key), findings);
  if (!config.control().tls_directory().empty()) {
    Add(CheckTls(config.control().tls_directory()), findings);
  }
  if (log.kind() == "kafka") {
    Add(CheckKafka(log, file), findings);
  }
}

void CheckControl(const CommandTree& tree, bool with_accounts, Findings& findings) {
  const std::string place =
      tree.place().address.empty() ? tree.place().data_directory : tree.place().address;
  const std::string start =
      "start control or `tributary dev`, or say where it is: --data DIR, or "
      "--control HOST:PORT --tls-dir DIR";
  absl::StatusOr<std::unique_ptr<ControlCalls>> control = tree.connect()();
  if (!control.ok()) {
    findings.push_back(Error("control", place, std::string(control.status().message()), start));
    return;
  }
  const absl::StatusOr<v1::StatusResponse> status = (*control)->GetStatus({});
  const absl::StatusOr<v1::ListTenantsResponse> tenants =
      status.ok() ? (*control)->ListTenants({}) : status.status();
  if (!tenants.ok()) {
    findings.push_back(Error("control", place, std::string(tenants.status().message()), start));
    return;
  }
  findings.push_back(
      Good("control", place,
           "answers, and knows " + std::to_string(tenants->tenants_size()) + " tenants"));
  for (const std::string& service : status->missing_services()) {
    findings.push_back(Error("status", service, "control knows of none",
                             "start it, or see in its log why it does not reach control"));
  }
  const WallTime now = eventlog::SystemTime();
  for (const v1::ConnectionReport& report : status->connections()) {
    const WallTime end(std::chrono::seconds(report.credential_expires_at().seconds()));
    if (report.has_credential_expires_at() && end > now) {
      Add(JudgeCredentialEnd(report.tenant() + "/" + report.connection(), end, now), findings);
    }
    const v1::WebhookEndpoints& endpoints = report.webhook_endpoints();
    if (endpoints.paused() + endpoints.disabled() > 0) {
      findings.push_back(Warning("status", report.tenant() + "/" + report.connection(),
                                 EndpointsText(endpoints), kFixOfEndpoints));
    }
    if (!report.problem().empty()) {
      findings.push_back(Error(report.credential_refused() ? "credentials" : "status",
                               report.tenant() + "/" + report.connection(), report.problem(),
                               report.fix().empty()
                                   ? "see `tributary connection show " + report.tenant() + "/" +
                                         report.connection() + "`"
                                   : report.fix()));
    }
  }
  if (!with_accounts) {
    return;
  }
  for (const v1::TenantSnapshot& tenant : tenants->tenants()) {
    for (const v1::Connection& connection : tenant.connections()) {
      Add(CheckUrl(tenant.tenant() + "/" + connection.name(), connection.url(),
                   connection.allow_insecure_loopback()),
          findings);
    }
  }
}

std::string FindingsJson(const Findings& findings, int errors, int warnings) {
  json::Array list;
  for (const Finding& finding : findings) {
    list.emplace_back(json::Object{{"severity", Word(finding.severity)},
                                   {"check", finding.check},
                                   {"place", finding.place},
                                   {"detail", finding.detail},
                                   {"fix", finding.fix.empty() ? json::Value() : finding.fix}});
  }
  return json::Write(json::Object{{"ok", errors == 0},
                                  {"errors", errors},
                                  {"warnings", warnings},
                                  {"findings", std::move(list)}}) +
         "\n";
}

std::string FindingsText(const Findings& findings, int errors, int warnings) {
  std::string text;
  for (const Finding& finding : findings) {
    text += std::string(Word(finding.severity)) + ": " + finding.check + ": " + finding.place +
            ": " + finding.detail + "\n";
    if (!finding.fix.empty()) {
      text += "  fix: " + finding.fix + "\n";
    }
  }
  return text + std::to_string(errors) + " errors, " + std::to_string(warnings) + " warnings\n";
}

int Doctor(const Streams& streams, const CommandTree& tree, const std::string& file) {
  Findings findings;
  int code = kBad;
  if (file.empty()) {
    CheckControl(tree, /*with_accounts=*/true, findings);
  } else {
    config::LoadOptions options;
    options.allow_tenants = true;
    options.environment = config::ProcessEnvironment();
    const config::Loaded loaded = config::Load(file, options);
    if (CheckConfiguration(file, loaded, findings)) {
      CheckMachine(loaded.config, file, findings);
      Add(CheckAccounts(loaded.config), findings);
      // Only where something says that there is one.
      std::error_code ignored;
      if (!tree.place().address.empty() ||
          fs::exists(fs::path(tree.place().data_directory) / "control.json", ignored)) {
        CheckControl(tree, loaded.config.tenants().empty(), findings);
      }
    } else {
      code = kConfiguration;
    }
  }
  const auto count = [&](Severity severity) {
    return static_cast<int>(
        std::count_if(findings.begin(), findings.end(),
                      [&](const Finding& finding) { return finding.severity == severity; }));
  };
  const int errors = count(Severity::kError);
  const int warnings = count(Severity::kWarning);
  Print(streams, FindingsJson(findings, errors, warnings),
        FindingsText(findings, errors, warnings));
  return errors == 0 ? static_cast<int>(kGood) : code;
}

}  // namespace

void AddDoctor(CommandTree& tree) {
  const auto file = std::make_shared<std::string>();
  CLI::App& doctor =
      tree.Add("doctor",
               "Looks for what is wrong with configuration, disk, broker, clock, credentials and "
               "reachability; each finding has a fix",
               "doctor --config tributary.yaml");
  doctor
      .add_option("--config", *file, "Of a service or of `tributary dev`; without it, asks control")
      ->type_name("FILE");
  tree.Does(doctor, [&tree, file](const Streams& streams) { return Doctor(streams, tree, *file); });
}

}  // namespace tributary::cli

#include <map>
#include <memory>
#include <ostream>

#include "libs/config/config.h"
#include "services/control/apply_plan.h"
#include "services/control/apply_request.h"
#include "services/control/catalogue_files.h"
#include "services/tributary/commands/ask.h"
#include "services/tributary/commands/commands.h"
#include "services/tributary/output.h"

namespace tributary::cli {
namespace {

struct ApplyArguments {
  std::vector<std::string> files;
  bool dry_run = false;
  bool prune = false;
};

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

// Without a control: the file, and the mappings, rules and connector files that it names.
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

}  // namespace

void AddApply(CommandTree& tree) {
  const auto arguments = std::make_shared<ApplyArguments>();
  CLI::App& apply = tree.Add("apply", "Makes tenants, connections and syncs as a file says",
                             "apply -f tenants.yaml --dry-run");
  apply.add_option("-f,--file", arguments->files, "Configuration file")
      ->required()
      ->type_name("FILE");
  apply.add_flag("--dry-run", arguments->dry_run, "Only show what would change");
  apply.add_flag("--prune", arguments->prune, "Remove what is not in the file any more");
  tree.Does(apply, [&tree, arguments](const Streams& streams) {
    return Apply(streams, tree.connect(), *arguments);
  });

  CLI::App& config = tree.AddGroup("config", "Configuration files", "config validate tenants.yaml");
  const auto file = std::make_shared<std::string>();
  CLI::App& validate =
      tree.AddTo(config, "validate", "Tells every problem of a file, without a control",
                 "config validate tenants.yaml");
  validate.add_option("FILE", *file, "Configuration file")->required();
  tree.Does(validate, [file](const Streams& streams) { return ValidateConfig(streams, *file); });
}

}  // namespace tributary::cli

#include <chrono>
#include <filesystem>
#include <memory>
#include <ostream>

#include "libs/config/config.h"
#include "services/tributary/commands/ask.h"
#include "services/tributary/commands/commands.h"
#include "services/tributary/commands/installation.h"
#include "services/tributary/output.h"

namespace tributary::cli {
namespace {

// Reads the topics of a configuration: Kafka, or an embedded log that no process holds.
absl::StatusOr<v1::VerifyResponse> VerifyTopics(const std::string& config_file) {
  const config::Loaded loaded = LoadInstallation(config_file);
  if (!loaded.problems.empty()) {
    return absl::InvalidArgumentError(ProblemsOf(loaded));
  }
  AdminLog log;
  if (absl::Status opened = OpenAdminLog(loaded.config.log(), log); !opened.ok()) {
    return opened;
  }
  return VerifyLog(*log.admin, config::FromProto(loaded.config.loader().action_age()));
}

// Reads an embedded log in its directory, if no process holds it.
absl::StatusOr<v1::VerifyResponse> VerifyDirectory(const std::string& log_directory) {
  absl::StatusOr<std::unique_ptr<eventlog::EmbeddedLog>> log =
      eventlog::EmbeddedLog::Open({.directory = log_directory, .topics = {.partitions = 0}});
  if (!log.ok()) {
    return log.status();
  }
  const std::unique_ptr<eventlog::LogAdmin> admin = (*log)->MakeAdmin();
  return VerifyLog(*admin, std::chrono::hours(24 * 30));
}

// By control; without it, from what a `tributary dev` that has ended left behind.
absl::StatusOr<v1::VerifyResponse> VerifyByControl(const CommandTree& tree) {
  const ControlPlace& place = tree.place();
  const absl::StatusOr<std::unique_ptr<ControlCalls>> control = tree.connect()();
  if (control.ok()) {
    absl::StatusOr<v1::VerifyResponse> response = (*control)->Verify();
    if (response.status().code() != absl::StatusCode::kUnavailable || !place.address.empty()) {
      return response;
    }
  }
  const std::string log = place.data_directory + "/log";
  if (place.address.empty() && std::filesystem::is_directory(log)) {
    return VerifyDirectory(log);
  }
  return control.ok() ? absl::UnavailableError("control does not answer") : control.status();
}

int Verify(const Streams& streams, const absl::StatusOr<v1::VerifyResponse>& response) {
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

}  // namespace

void AddVerify(CommandTree& tree) {
  const auto file = std::make_shared<std::string>();
  CLI::App& verify = tree.Add("verify", "Tells from the topics alone whether anything was lost",
                              "verify --data ./tributary-data");
  verify.add_option("--config", *file, "Read the topics here, as this file says")
      ->type_name("FILE");
  tree.Does(verify, [&tree, file](const Streams& streams) {
    return Verify(streams, file->empty() ? VerifyByControl(tree) : VerifyTopics(*file));
  });
}

}  // namespace tributary::cli

#include <filesystem>
#include <memory>
#include <optional>
#include <ostream>
#include <system_error>

#include "libs/config/config.h"
#include "libs/eventlog/clock.h"
#include "libs/eventlog/lmdb_stores.h"
#include "libs/eventlog/migration.h"
#include "libs/runtime/random.h"
#include "services/tributary/commands/ask.h"
#include "services/tributary/commands/commands.h"
#include "services/tributary/commands/installation.h"

namespace tributary::cli {
namespace {

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

bool AreTheSame(const v1::LogConfig& a, const v1::LogConfig& b) {
  if (a.kind() != b.kind()) return false;
  if (a.kind() == "kafka") {
    return a.bootstrap_servers() == b.bootstrap_servers() && a.topic_prefix() == b.topic_prefix();
  }
  return a.data_directory() == b.data_directory();
}

/// Opens the log of a configuration file. Unset: it is open; else the exit code.
std::optional<int> OpenLog(const Streams& streams, const std::string& file, config::Loaded& loaded,
                           AdminLog& log) {
  loaded = LoadInstallation(file);
  if (!loaded.problems.empty()) {
    streams.err << ProblemsOf(loaded) << '\n';
    return kConfiguration;
  }
  if (absl::Status opened = OpenAdminLog(loaded.config.log(), log); !opened.ok()) {
    return Fail(streams, opened);
  }
  return std::nullopt;
}

int ReopenTopics(const Streams& streams, const std::string& config_file) {
  config::Loaded loaded;
  AdminLog log;
  if (const std::optional<int> exit = OpenLog(streams, config_file, loaded, log)) return *exit;
  if (absl::Status reopened = eventlog::Reopen(*log.admin); !reopened.ok()) {
    return Fail(streams, reopened);
  }
  Print(streams, "{}\n",
        "the topics are open again; those that were made of them are worth nothing\n");
  return kGood;
}

int MigrateTopics(const Streams& streams, const std::string& config_file,
                  const std::string& new_file) {
  config::Loaded from;
  config::Loaded to;
  AdminLog source;
  AdminLog target;
  if (const std::optional<int> exit = OpenLog(streams, config_file, from, source)) return *exit;
  if (const std::optional<int> exit = OpenLog(streams, new_file, to, target)) return *exit;
  if (AreTheSame(from.config.log(), to.config.log())) {
    streams.err << "error: " << new_file << ": log: names the same topics as " << config_file
                << "\nfix: give it another log.topic_prefix, e.g. tributary.g2.\n";
    return kConfiguration;
  }
  const auto say = [&](const std::string& step) { streams.err << step << '\n'; };
  say("verifying the old topics");
  const absl::StatusOr<v1::VerifyResponse> verified =
      VerifyLog(*source.admin, config::FromProto(from.config.loader().action_age()));
  if (!verified.ok()) return Fail(streams, verified.status());
  if (!verified->ok()) {
    for (const std::string& problem : verified->problems()) streams.err << problem << '\n';
    streams.err << "error: the old topics are "
                << (verified->at_rest() ? "not in order" : "not at rest")
                << "\nfix: start the services, wait until `tributary verify` is good, end them\n";
    return verified->at_rest() ? kBad : kTemporary;
  }

  // Copies of all tables, to fold and compare them; on the disk where the new ones will be.
  const std::string copies = to.config.log().data_directory() + "/migrate";
  std::error_code ignored;
  std::filesystem::remove_all(copies, ignored);
  absl::StatusOr<eventlog::MigrationReport> report = absl::UnknownError("");
  {
    const auto source_copies = eventlog::MakeLmdbStores(copies + "/source");
    if (!source_copies.ok()) return Fail(streams, source_copies.status());
    const auto target_copies = eventlog::MakeLmdbStores(copies + "/target");
    if (!target_copies.ok()) return Fail(streams, target_copies.status());
    report = eventlog::Migrate(*source.admin, *target.admin,
                               {.now = eventlog::SystemTime(),
                                .random = runtime::Random64,
                                .source_copies = **source_copies,
                                .target_copies = **target_copies,
                                .say = say});
  }
  std::filesystem::remove_all(copies, ignored);
  if (!report.ok()) return Fail(streams, report.status());
  Print(streams,
        "{\"generation\":" + std::to_string(report->generation) +
            ",\"table_entries\":" + std::to_string(report->table_entries) +
            ",\"stream_records\":" + std::to_string(report->stream_records) + "}\n",
        std::to_string(report->table_entries) + " entries and " +
            std::to_string(report->stream_records) + " records are in topics of generation " +
            std::to_string(report->generation) + ", and were compared\n");
  say("The old topics are closed and keep everything. Give every service the new log.topic_prefix "
      "and "
      "log.partitions, start control first, and remove the old topics when `tributary verify` is "
      "good.");
  return kGood;
}

}  // namespace

void AddTopics(CommandTree& tree) {
  struct Arguments {
    std::string config_file;
    std::string new_file;
    bool anew = false;
    bool reopen = false;
  };
  const auto arguments = std::make_shared<Arguments>();
  CLI::App& group =
      tree.AddGroup("topics", "Topics of an installation", "topics create --config control.yaml");
  CLI::App& create =
      tree.AddTo(group, "create", "Makes and founds them", "topics create --config control.yaml");
  create.add_option("--config", arguments->config_file, "Configuration file")
      ->required()
      ->type_name("FILE");
  create.add_flag("--anew", arguments->anew,
                  "Also what was lost, under a larger generation: everything is read and "
                  "compared again");
  tree.Does(create, [arguments](const Streams& streams) {
    return CreateTopics(streams, arguments->config_file, arguments->anew);
  });

  CLI::App& migrate = tree.AddTo(
      group, "migrate",
      "Moves everything to new topics, with another number of partitions, while no service runs",
      "topics migrate --config control.yaml --to control-new.yaml");
  migrate.add_option("--config", arguments->config_file, "Configuration file, as it is")
      ->required()
      ->type_name("FILE");
  auto* const to = migrate.add_option("--to", arguments->new_file,
                                      "The same with another log.topic_prefix and log.partitions");
  to->type_name("FILE");
  auto* const reopen = migrate.add_flag(
      "--reopen", arguments->reopen, "Gives the old topics back, if nobody has used the new ones");
  to->excludes(reopen);
  tree.Does(migrate, [arguments](const Streams& streams) -> int {
    if (arguments->reopen) return ReopenTopics(streams, arguments->config_file);
    if (arguments->new_file.empty()) {
      streams.err << "error: --to or --reopen is needed\n";
      return kUsage;
    }
    return MigrateTopics(streams, arguments->config_file, arguments->new_file);
  });
}

}  // namespace tributary::cli

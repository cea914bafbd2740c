#include <memory>
#include <ostream>

#include "libs/config/config.h"
#include "libs/eventlog/clock.h"
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

}  // namespace

void AddTopics(CommandTree& tree) {
  struct Arguments {
    std::string config_file;
    bool anew = false;
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
}

}  // namespace tributary::cli

#include "services/tributary/command_line.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <ostream>

#include <CLI/CLI.hpp>

#include "libs/config/nearest.h"
#include "libs/config/quantities.h"
#include "services/tributary/commands.h"

namespace tributary::cli {
namespace {

std::string Environment(const char* name) {
  // Before any thread.
  const char* const value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  return value == nullptr ? "" : value;
}

// The nearest known command of the first word that is none. Empty: all are known.
std::string MistypedCommand(const CLI::App& root, int argc, const char* const* argv,
                            std::string& mistyped) {
  const CLI::App* app = &root;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.starts_with("-")) {
      const CLI::Option* const option = root.get_option_no_throw(word.substr(0, word.find('=')));
      if (option == nullptr) {
        // Of a command; a value may follow.
        return "";
      }
      if (option->get_expected_min() > 0 && word.find('=') == std::string::npos) {
        ++i;
      }
      continue;
    }
    std::vector<std::string> names;
    const CLI::App* next = nullptr;
    for (const CLI::App* candidate : app->get_subcommands([](const CLI::App*) { return true; })) {
      names.push_back(candidate->get_name());
      if (candidate->get_name() == word) {
        next = candidate;
      }
    }
    if (names.empty()) {
      return "";
    }
    if (next == nullptr) {
      mistyped = word;
      const std::string nearest = config::Nearest(word, names);
      std::string list;
      for (const std::string& name : names) {
        list += (list.empty() ? "" : ", ") + name;
      }
      return nearest.empty() ? "known are " + list : "did you mean `" + nearest + "`?";
    }
    app = next;
  }
  return "";
}

}  // namespace

int Main(int argc, const char* const* argv, const Surroundings& surroundings) {
  CLI::App app("Keeps CRMs in step with Chargify.", "tributary");
  app.require_subcommand(1);
  app.fallthrough();
  app.footer(
      "Examples:\n"
      "  tributary dev                        everything in one process, with simulators\n"
      "  tributary apply -f tenants.yaml      make it so\n"
      "  tributary status                     how it stands\n"
      "  tributary trace acme/customers/42    where one customer is\n\n"
      "Exit codes: 0 good, 1 not as it should be, 2 usage, 75 try later, 78 configuration.");

  bool json = false;
  ControlPlace place;
  place.address = Environment("TRIBUTARY_CONTROL_ADDRESS");
  place.tls_directory = Environment("TRIBUTARY_CONTROL_TLS_DIRECTORY");
  app.add_flag("--json", json, "One JSON document on standard output");
  bool no_color = false;
  app.add_flag("--no-color", no_color, "No colours; there are none now");
  auto* const control_option =
      app.add_option("--control", place.address, "Where control serves")->type_name("HOST:PORT");
  auto* const tls_option =
      app.add_option("--tls-dir", place.tls_directory,
                     "Directory with ca.pem, cert.pem and key.pem of `tributary`")
          ->type_name("DIR");
  auto* const data_option =
      app.add_option("--data", place.data_directory, "Directory of a running `tributary dev`")
          ->type_name("DIR");

  const Connect connect = [&] { return surroundings.connect(place); };
  std::function<int(const Streams&)> command;
  const auto subcommand = [](CLI::App& parent, const std::string& name,
                             const std::string& description, const std::string& example) {
    CLI::App* const sub = parent.add_subcommand(name, description);
    sub->fallthrough();
    sub->footer("Example:\n  tributary " + example +
                "\n\nEvery command also takes --json, --data, --control and --tls-dir: see "
                "`tributary --help`.");
    return sub;
  };
  const auto group = [&](const std::string& name, const std::string& description,
                         const std::string& example) {
    CLI::App* const sub = subcommand(app, name, description, example);
    sub->require_subcommand(1);
    return sub;
  };

  app.add_subcommand("dev", "Everything in one process, with simulators or real accounts");

  ApplyArguments apply_arguments;
  CLI::App* const apply =
      subcommand(app, "apply", "Makes tenants, connections and syncs as a file says",
                 "apply -f tenants.yaml --dry-run");
  apply->add_option("-f,--file", apply_arguments.files, "Configuration file")
      ->required()
      ->type_name("FILE");
  apply->add_flag("--dry-run", apply_arguments.dry_run, "Only show what would change");
  apply->add_flag("--prune", apply_arguments.prune, "Remove what is not in the file any more");
  apply->callback([&] {
    command = [&](const Streams& streams) { return Apply(streams, connect, apply_arguments); };
  });

  std::string config_file;
  CLI::App* const config_group =
      group("config", "Configuration files", "config validate tenants.yaml");
  CLI::App* const validate =
      subcommand(*config_group, "validate", "Tells every problem of a file, without a control",
                 "config validate tenants.yaml");
  validate->add_option("FILE", config_file, "Configuration file")->required();
  validate->callback([&] {
    command = [&](const Streams& streams) { return ValidateConfig(streams, config_file); };
  });

  std::string name;
  CLI::App* const tenant_group = group("tenant", "Tenants", "tenant list");
  subcommand(*tenant_group, "list", "All of them", "tenant list --json")->callback([&] {
    command = [&](const Streams& streams) { return ListTenants(streams, connect); };
  });
  CLI::App* const tenant_show =
      subcommand(*tenant_group, "show", "Its connections and syncs", "tenant show acme");
  tenant_show->add_option("TENANT", name, "Name")->required();
  tenant_show->callback([&] {
    command = [&](const Streams& streams) { return ShowTenant(streams, connect, name); };
  });

  CLI::App* const connection_group = group("connection", "Connections", "connection list acme");
  CLI::App* const connection_list =
      subcommand(*connection_group, "list", "All, or a tenant's", "connection list acme");
  connection_list->add_option("TENANT", name, "Name");
  connection_list->callback([&] {
    command = [&](const Streams& streams) { return ListConnections(streams, connect, name); };
  });
  CLI::App* const connection_show =
      subcommand(*connection_group, "show", "One of them", "connection show acme/billing");
  connection_show->add_option("TENANT/CONNECTION", name, "Names")->required();
  connection_show->callback([&] {
    command = [&](const Streams& streams) {
      if (name.find('/') == std::string::npos) {
        streams.err << "error: `" << name << "` is not TENANT/CONNECTION\n";
        return static_cast<int>(kUsage);
      }
      return ListConnections(streams, connect, name);
    };
  });

  CLI::App* const sync_group = group("sync", "Syncs", "sync list acme");
  CLI::App* const sync_list =
      subcommand(*sync_group, "list", "All, or a tenant's", "sync list acme");
  sync_list->add_option("TENANT", name, "Name");
  sync_list->callback(
      [&] { command = [&](const Streams& streams) { return ListSyncs(streams, connect, name); }; });
  for (const bool paused : {true, false}) {
    CLI::App* const sub =
        subcommand(*sync_group, paused ? "pause" : "resume",
                   paused ? "Sends nothing until it is resumed" : "Goes on where it was paused",
                   paused ? "sync pause acme/contacts" : "sync resume acme/contacts");
    sub->add_option("TENANT/SYNC", name, "Names")->required();
    sub->callback([&, paused] {
      command = [&, paused](const Streams& streams) {
        return PauseSync(streams, connect, name, paused);
      };
    });
  }

  CLI::App* const status = subcommand(app, "status", "How every sync stands", "status acme --json");
  status->add_option("TENANT", name, "Only this one");
  status->callback(
      [&] { command = [&](const Streams& streams) { return Status(streams, connect, name); }; });

  CLI::App* const parked_group = group("parked", "What waits for a person", "parked list");
  CLI::App* const parked_list =
      subcommand(*parked_group, "list", "All, or a tenant's", "parked list acme");
  parked_list->add_option("TENANT", name, "Name");
  parked_list->callback([&] {
    command = [&](const Streams& streams) { return ListParked(streams, connect, name); };
  });
  CLI::App* const parked_show = subcommand(*parked_group, "show", "All that is known of one",
                                           "parked show acme/contacts/s/contact/customers/42");
  parked_show->add_option("KEY", name, "As the list shows it")->required();
  parked_show->callback([&] {
    command = [&](const Streams& streams) { return ShowParked(streams, connect, name); };
  });
  for (const bool replay : {true, false}) {
    CLI::App* const sub = subcommand(*parked_group, replay ? "replay" : "drop",
                                     replay ? "Tries it again" : "Gives it up for good",
                                     std::string(replay ? "parked replay" : "parked drop") +
                                         " acme/contacts/s/contact/customers/42");
    sub->add_option("KEY", name, "As the list shows it")->required();
    sub->callback([&, replay] {
      command = [&, replay](const Streams& streams) {
        return DecideParked(streams, connect, name, replay);
      };
    });
  }

  bool sweep_starts = false;
  std::string sweep_wait;
  CLI::App* const sweep =
      subcommand(app, "sweep", "Compares what CRMs have with what was written, and repairs it",
                 "sweep acme/crm --now --wait 10m");
  sweep->add_option("TENANT[/CONNECTION]", name, "Only this one");
  sweep->add_flag("--now", sweep_starts,
                  "Everything is due now; without it, only tells how it stands");
  sweep->add_option("--wait", sweep_wait, "Until nothing is due, at most so long: 90s, 5m, 2h")
      ->type_name("DURATION");
  sweep->callback([&] {
    command = [&](const Streams& streams) -> int {
      const std::optional<Duration> wait =
          config::ParseDuration(sweep_wait.empty() ? "0s" : sweep_wait);
      if (!wait) {
        streams.err << "error: --wait: `" << sweep_wait << "` is no duration, like 90s, 5m or 2h\n";
        return kUsage;
      }
      return Sweep(streams, connect, name, sweep_starts, *wait);
    };
  });

  CLI::App* const trace = subcommand(app, "trace", "Which version of one entity is where, and why",
                                     "trace acme/customers/42");
  trace->add_option("TENANT/[CONNECTION/]customers/ID", name, "What to follow")->required();
  trace->callback(
      [&] { command = [&](const Streams& streams) { return Trace(streams, connect, name); }; });

  CLI::App* const verify =
      subcommand(app, "verify", "Tells from the topics alone whether anything was lost",
                 "verify --data ./tributary-data");
  verify->add_option("--config", config_file, "Read the topics here, as this file says")
      ->type_name("FILE");
  verify->callback([&] {
    command = [&](const Streams& streams) {
      return Verify(streams, [&]() -> absl::StatusOr<v1::VerifyResponse> {
        if (!config_file.empty()) {
          return VerifyTopics(config_file);
        }
        const absl::StatusOr<std::unique_ptr<ControlCalls>> control = connect();
        if (control.ok()) {
          absl::StatusOr<v1::VerifyResponse> response = (*control)->Verify();
          if (response.status().code() != absl::StatusCode::kUnavailable ||
              !place.address.empty()) {
            return response;
          }
        }
        // A `tributary dev` that has ended leaves its log behind.
        const std::string log = place.data_directory + "/log";
        if (place.address.empty() && std::filesystem::is_directory(log)) {
          return VerifyDirectory(log);
        }
        return control.ok() ? absl::UnavailableError("control does not answer") : control.status();
      });
    };
  });

  subcommand(app, "version", "What this is made of", "version --json")->callback([&] {
    command = [](const Streams& streams) { return Version(streams); };
  });

  std::string directory;
  std::vector<std::string> hosts;
  CLI::App* const tls_group = group("tls", "Certificates of our own processes",
                                    "tls init ./tls --host control.example.com");
  CLI::App* const tls_init = subcommand(
      *tls_group, "init", "Makes an authority, and a certificate for each process, where missing",
      "tls init ./tls --host control.example.com");
  tls_init->add_option("DIR", directory, "Where")->required();
  tls_init->add_option("--host", hosts, "More names and addresses of control")->type_name("HOST");
  tls_init->callback([&] {
    command = [&](const Streams& streams) { return InitTls(streams, directory, hosts); };
  });

  bool anew = false;
  CLI::App* const topics_group =
      group("topics", "Topics of an installation", "topics create --config control.yaml");
  CLI::App* const topics_create = subcommand(*topics_group, "create", "Makes and founds them",
                                             "topics create --config control.yaml");
  topics_create->add_option("--config", config_file, "Configuration file")
      ->required()
      ->type_name("FILE");
  topics_create->add_flag("--anew", anew,
                          "Also what was lost, under a larger generation: everything is read and "
                          "compared again");
  topics_create->callback([&] {
    command = [&](const Streams& streams) { return CreateTopics(streams, config_file, anew); };
  });

  std::string mistyped;
  const std::string suggestion = MistypedCommand(app, argc, argv, mistyped);
  if (!suggestion.empty()) {
    surroundings.err << "error: there is no command `" << mistyped << "`; " << suggestion << '\n';
    return kUsage;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    app.exit(help, surroundings.out, surroundings.err);
    return kGood;
  } catch (const CLI::ParseError& error) {
    // The command as far as it is known.
    std::string before;
    const CLI::App* at = &app;
    while (!at->get_subcommands().empty()) {
      before += (before.empty() ? "" : " ") + at->get_name();
      at = at->get_subcommands().front();
    }
    const std::string path = (before.empty() ? "" : before + " ") + at->get_name();
    const bool has_commands = !at->get_subcommands([](const CLI::App*) { return true; }).empty();
    if (has_commands && dynamic_cast<const CLI::RequiredError*>(&error) != nullptr) {
      surroundings.err << "error: `" << path << "` needs a command\n" << at->help(before);
      return kUsage;
    }
    surroundings.err << "error: " << error.what() << "\nfix: see `" << path << " --help`\n";
    return kUsage;
  }
  if (data_option->count() > 0 && control_option->count() + tls_option->count() > 0) {
    surroundings.err << "error: --data stands instead of --control and --tls-dir\n";
    return kUsage;
  }
  if (data_option->count() > 0) {
    place.address.clear();
  } else if (place.address.empty()) {
    place.data_directory = "./tributary-data";
  } else if (place.tls_directory.empty()) {
    surroundings.err << "error: --control needs --tls-dir\n";
    return kUsage;
  }
  return command({surroundings.out, surroundings.err, json});
}

}  // namespace tributary::cli

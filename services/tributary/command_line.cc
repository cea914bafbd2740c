#include "services/tributary/command_line.h"

#include <algorithm>
#include <cstdlib>
#include <ostream>

#include <CLI/CLI.hpp>

#include "libs/nearest/nearest.h"
#include "services/tributary/command_tree.h"
#include "services/tributary/commands/commands.h"

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
      const std::string nearest = Nearest(word, names);
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

  CommandTree tree(app, place, [&] { return surroundings.connect(place); });
  app.add_subcommand("dev", "Everything in one process, with simulators or real accounts");
  AddApply(tree);
  AddTenants(tree);
  AddStatus(tree);
  AddParked(tree);
  AddVerify(tree);
  AddAbout(tree);
  AddTopics(tree);
  AddBackup(tree);
  AddDoctor(tree);
  AddMove(tree);
  AddPlan(tree);
  AddManual(tree);

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
  return tree.chosen()({surroundings.out, surroundings.err, json});
}

}  // namespace tributary::cli

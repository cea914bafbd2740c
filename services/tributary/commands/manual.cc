#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <ostream>

#include "libs/command_line/completion.h"
#include "libs/command_line/man_page.h"
#include "libs/observe/build_info.h"
#include "libs/runtime/service_flags.h"
#include "services/simulator/flags.h"
#include "services/tributary/commands/ask.h"
#include "services/tributary/commands/commands.h"
#include "services/tributary/dev_flags.h"

namespace tributary::cli {
namespace {

// The whole tree; `dev` is a command line of its own.
command_line::Command DescribeAll(const CLI::App& root) {
  command_line::Command command = command_line::Describe(root);
  for (command_line::Command& below : command.commands) {
    if (below.name == "dev") {
      const std::string description = below.description;
      below = dev::DescribeFlags();
      below.name = "dev";
      below.description = description;
    }
  }
  return command;
}

struct Page {
  std::string name;
  int section = 1;
  std::string text;
};

std::string Reference(const std::string& name, int section) {
  return name + "(" + std::to_string(section) + ")";
}

std::vector<Page> MakePages(const CLI::App& root) {
  constexpr int kCommands = 1;
  constexpr int kDaemons = 8;
  struct Source {
    command_line::Command command;
    command_line::ManPageOptions options;
  };
  std::vector<Source> sources;
  sources.push_back(
      {DescribeAll(root),
       {.name = "tributary",
        .section = kCommands,
        .environment = {{"TRIBUTARY_CONTROL_ADDRESS", "Stands for --control"},
                        {"TRIBUTARY_CONTROL_TLS_DIRECTORY", "Stands for --tls-dir"}},
        .files = {{"./tributary-data", "Of `tributary dev`, where nothing else is said"}}}});
  sources.push_back({dev::DescribeFlags(), {.name = "tributary-dev", .section = kCommands}});
  sources.push_back(
      {simulator::DescribeFlags(), {.name = "tributary-simulator", .section = kCommands}});
  for (const std::string& service : runtime::ServiceNames()) {
    sources.push_back(
        {runtime::DescribeService(service),
         {.name = "tributary-" + service,
          .section = kDaemons,
          .environment = {{"TRIBUTARY_...",
                           "Every option of the file: its path in capitals, joined by `_`, as in "
                           "TRIBUTARY_LOG_BOOTSTRAP_SERVERS. It stands above the file"}},
          .files = {{"/etc/tributary/tributary.yaml", "What all services are told"},
                    {"/etc/tributary/" + service + ".env", "What only this one is told"},
                    {"/var/lib/tributary/" + service,
                     service == "control" ? "Its database and what unseals it"
                                          : "Copies of tables, which can be made anew"}}}});
  }
  std::vector<Page> pages;
  for (Source& source : sources) {
    for (const Source& other : sources) {
      if (&other != &source) {
        source.options.see_also.push_back(Reference(other.options.name, other.options.section));
      }
    }
    source.options.version = observe::GetBuildInfo().version;
    pages.push_back({source.options.name, source.options.section,
                     command_line::ManPage(source.command, source.options)});
  }
  return pages;
}

struct ManArguments {
  std::string page = "tributary";
  std::string directory;
};

int WritePages(const Streams& streams, const std::vector<Page>& pages,
               const std::string& directory) {
  for (const Page& page : pages) {
    const std::string section = std::to_string(page.section);
    const std::filesystem::path file =
        std::filesystem::path(directory) / ("man" + section) / (page.name + "." + section);
    std::error_code error;
    std::filesystem::create_directories(file.parent_path(), error);
    std::ofstream out(file);
    out << page.text << std::flush;
    if (!out) {
      streams.err << "error: cannot write " << file.string()
                  << "\nfix: give --write a directory that can be written\n";
      return kBad;
    }
    streams.out << file.string() << '\n';
  }
  return kGood;
}

int Man(const Streams& streams, const std::vector<Page>& pages, const ManArguments& arguments) {
  if (!arguments.directory.empty()) {
    return WritePages(streams, pages, arguments.directory);
  }
  // `dev` for `tributary-dev`.
  const auto page = std::find_if(pages.begin(), pages.end(), [&](const Page& candidate) {
    return candidate.name == arguments.page || candidate.name == "tributary-" + arguments.page;
  });
  if (page == pages.end()) {
    streams.err << "error: there is no page `" << arguments.page << "`\nfix: one of";
    for (const Page& known : pages) {
      streams.err << ' ' << known.name;
    }
    streams.err << '\n';
    return kUsage;
  }
  streams.out << page->text;
  return kGood;
}

}  // namespace

void AddManual(CommandTree& tree) {
  const auto arguments = std::make_shared<ManArguments>();
  CLI::App& man =
      tree.Add("man", "Manual pages of all programs, for man(1)", "man loader | man -l -");
  man.add_option("PAGE", arguments->page, "Without it, that of `tributary`");
  man.add_option("--write", arguments->directory,
                 "All of them, into man1 and man8 of this directory")
      ->type_name("DIR");
  tree.Does(man, [&tree, arguments](const Streams& streams) {
    return Man(streams, MakePages(tree.root()), *arguments);
  });

  const auto shell = std::make_shared<std::string>();
  CLI::App& completion =
      tree.Add("completion", "A script that completes commands in a shell",
               "completion bash > /usr/share/bash-completion/completions/tributary");
  completion.add_option("SHELL", *shell, "Which shell")
      ->required()
      ->check(CLI::IsMember(command_line::ShellNames()));
  tree.Does(completion, [&tree, shell](const Streams& streams) -> int {
    streams.out << command_line::Completion(DescribeAll(tree.root()),
                                            *command_line::ShellFrom(*shell));
    return kGood;
  });
}

}  // namespace tributary::cli

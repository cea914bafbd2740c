#include "libs/command_line/command.h"

#include <sstream>

#include <CLI/CLI.hpp>

namespace tributary::command_line {
namespace {

// `TEXT:{a,b}`, as CLI11 writes a value that has only these.
std::vector<std::string> ChoicesIn(const std::string& type) {
  std::vector<std::string> choices;
  const std::size_t open = type.find('{');
  const std::size_t close = type.rfind('}');
  if (open == std::string::npos || close == std::string::npos) {
    return choices;
  }
  std::istringstream list(type.substr(open + 1, close - open - 1));
  for (std::string choice; std::getline(list, choice, ',');) {
    choices.push_back(choice);
  }
  return choices;
}

Option DescribeOption(const CLI::Option& option) {
  Option described;
  for (const std::string& name : option.get_snames()) {
    described.names.push_back("-" + name);
  }
  for (const std::string& name : option.get_lnames()) {
    described.names.push_back("--" + name);
  }
  if (described.names.empty()) {
    described.names.push_back(option.get_name(/*positional=*/true));
  }
  described.description = option.get_description();
  described.required = option.get_required();
  if (option.get_expected_min() > 0) {
    described.repeats = option.get_expected_max() > 1;
    const std::string type = option.get_type_name();
    described.choices = ChoicesIn(type);
    described.value = type.substr(0, type.find(" in ["));
    if (!described.choices.empty()) {
      described.value = described.value.substr(0, described.value.find(":{"));
    }
    described.default_value = option.get_default_str();
  }
  return described;
}

// The footer is for people; what of it are examples and exit codes is seen by its form.
void ReadFooter(const std::string& footer, Command& command) {
  std::istringstream lines(footer);
  for (std::string line; std::getline(lines, line);) {
    constexpr const char* kExample = "Example: ";
    if (line.starts_with("  ")) {
      command.examples.push_back(line.substr(2));
    } else if (line.starts_with(kExample)) {
      command.examples.push_back(line.substr(std::string_view(kExample).size()));
    } else if (line.starts_with("Exit")) {
      command.exit_codes = line.substr(line.find(": ") + 2);
    }
  }
}

}  // namespace

Command Describe(const CLI::App& app) {
  Command command{.name = app.get_name(),
                  .description = app.get_description(),
                  .takes_options_above = app.get_parent() != nullptr && app.get_fallthrough()};
  for (const CLI::Option* option : app.get_options()) {
    (option->nonpositional() ? command.options : command.arguments)
        .push_back(DescribeOption(*option));
  }
  for (const CLI::App* below : app.get_subcommands([](const CLI::App*) { return true; })) {
    command.commands.push_back(Describe(*below));
  }
  ReadFooter(app.get_footer(), command);
  return command;
}

std::string Synopsis(const Command& command, const std::string& path) {
  std::string text = path;
  if (!command.options.empty()) {
    text += " [OPTIONS]";
  }
  for (const Option& option : command.options) {
    if (option.required) {
      text += " " + option.names.back() + " " + option.value;
    }
  }
  for (const Option& argument : command.arguments) {
    const std::string name = argument.names.front() + (argument.repeats ? "…" : "");
    text += argument.required ? " " + name : " [" + name + "]";
  }
  if (!command.commands.empty()) {
    text += " COMMAND";
  }
  return text;
}

}  // namespace tributary::command_line

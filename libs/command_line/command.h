#pragma once

#include <string>
#include <vector>

namespace CLI {  // NOLINT(readability-identifier-naming): its own name
class App;
}

// A command line as data, read from the tree that parses it.

namespace tributary::command_line {

struct Option {
  /// `-f`, `--file`; one without dashes for what is told apart by its place.
  std::vector<std::string> names;
  /// What the value is: `FILE`, `HOST:PORT`. Empty: a flag.
  std::string value;
  std::string description;
  /// The only values there are. Empty: any.
  std::vector<std::string> choices;
  std::string default_value;
  bool required = false;
  bool repeats = false;
};

struct Command {
  std::string name;
  std::string description;
  std::vector<Option> options;
  /// By their place, in order.
  std::vector<Option> arguments;
  std::vector<Command> commands;
  /// Whole lines, and what the exit codes mean, from the footer.
  std::vector<std::string> examples;
  std::string exit_codes;
  /// Also takes the options of the command above it.
  bool takes_options_above = false;
};

Command Describe(const CLI::App& app);

/// How it is written, `tributary parked show KEY`; `path` is the command's whole name.
std::string Synopsis(const Command& command, const std::string& path);

}  // namespace tributary::command_line

#pragma once

#include <string>
#include <vector>

#include "libs/command_line/command.h"

namespace tributary::command_line {

struct ManPageOptions {
  /// The page's own, `tributary-loader`; the program's may be shorter.
  std::string name;
  int section = 1;
  std::string version;
  /// What the program reads of the environment, and which files: a name and what it is for.
  std::vector<std::pair<std::string, std::string>> environment;
  std::vector<std::pair<std::string, std::string>> files;
  /// `tributary(1)`.
  std::vector<std::string> see_also;
};

/// A page for man(1), of the macros of man(7). Commands that have pages of their own
/// (`NAME-COMMAND` in `see_also`) are only named.
std::string ManPage(const Command& command, const ManPageOptions& options);

}  // namespace tributary::command_line

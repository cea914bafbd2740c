#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/command_line/command.h"

namespace tributary::command_line {

enum class Shell { kBash, kZsh, kFish };

/// `bash`, `zsh`, `fish`.
std::optional<Shell> ShellFrom(std::string_view name);
const std::vector<std::string>& ShellNames();

/// A script that completes `command`: its commands, options, and the values that are files,
/// directories or a choice. It needs nothing but the shell.
std::string Completion(const Command& command, Shell shell);

}  // namespace tributary::command_line

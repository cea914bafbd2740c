#include "services/tributary/command_tree.h"

#include <utility>

namespace tributary::cli {

CommandTree::CommandTree(CLI::App& root, const ControlPlace& place, Connect connect)
    : root_(root), place_(place), connect_(std::move(connect)) {}

CLI::App& CommandTree::Add(const std::string& name, const std::string& description,
                           const std::string& example) {
  return AddTo(root_, name, description, example);
}

CLI::App& CommandTree::AddTo(CLI::App& group, const std::string& name,
                             const std::string& description, const std::string& example) {
  CLI::App* const command = group.add_subcommand(name, description);
  command->fallthrough();
  command->footer("Example:\n  tributary " + example +
                  "\n\nEvery command also takes --json, --data, --control and --tls-dir: see "
                  "`tributary --help`.");
  return *command;
}

CLI::App& CommandTree::AddGroup(const std::string& name, const std::string& description,
                                const std::string& example) {
  CLI::App& group = Add(name, description, example);
  group.require_subcommand(1);
  return group;
}

void CommandTree::Does(CLI::App& command, Action action) {
  command.callback([chosen = chosen_, action = std::move(action)] { *chosen = action; });
}

}  // namespace tributary::cli

#pragma once

#include <functional>
#include <iosfwd>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "services/tributary/control_calls.h"

namespace tributary::cli {

enum ExitCode : int {
  kGood = 0,
  kBad = 1,
  kUsage = 2,
  kTemporary = 75,
  kConfiguration = 78,
};

/// Data goes to `out`, words about it to `err`.
struct Streams {
  std::ostream& out;
  std::ostream& err;
  bool json = false;
};

/// Connects when it is needed for the first time.
using Connect = std::function<absl::StatusOr<std::unique_ptr<ControlCalls>>()>;

/// The commands, and what each of them does. A file of `commands/` adds those of one subject; what
/// is read from the command line lives in what the action holds.
class CommandTree {
 public:
  using Action = std::function<int(const Streams&)>;

  /// `root` and `place` outlive it; `place` is complete when an action runs.
  CommandTree(CLI::App& root, const ControlPlace& place, Connect connect);

  /// A command without others below it. `example`: its words after `tributary`.
  CLI::App& Add(const std::string& name, const std::string& description,
                const std::string& example);
  CLI::App& AddTo(CLI::App& group, const std::string& name, const std::string& description,
                  const std::string& example);
  /// Needs one of those below it.
  CLI::App& AddGroup(const std::string& name, const std::string& description,
                     const std::string& example);

  /// What `command` does once everything is read; the last word on the command line wins.
  void Does(CLI::App& command, Action action);
  const Action& chosen() const { return *chosen_; }

  /// As given on the command line.
  const ControlPlace& place() const { return place_; }
  const Connect& connect() const { return connect_; }
  const CLI::App& root() const { return root_; }

 private:
  CLI::App& root_;
  const ControlPlace& place_;
  Connect connect_;
  // Held by what CLI11 calls back.
  std::shared_ptr<Action> chosen_ = std::make_shared<Action>();
};

}  // namespace tributary::cli

#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "libs/config/quantities.h"
#include "tributary/v1/config.pb.h"

// YAML file, environment and flags → ConfigFile. The schema, with defaults and bounds, is
// proto/tributary/v1/config.proto and nothing else: an option that is added there can be used.
//
//   config::LoadOptions options;
//   options.environment = config::ProcessEnvironment();
//   options.flags = {{.path = "admin.listen", .value = "127.0.0.1:9100", .name =
//   "--admin-listen"}}; config::Loaded loaded = config::Load("loader.yaml", options); for (const
//   config::Problem& problem : loaded.problems) std::cerr << Format(problem) << '\n'; if
//   (!loaded.problems.empty()) return 78;

namespace tributary::config {

struct Problem {
  /// The file as it was given, the name of the environment variable, or the flag.
  std::string file;
  /// From 1. 0: not at a place in a file.
  int line = 0;
  int column = 0;
  /// Begins with the path of the option. Never holds a secret.
  std::string message;
};

/// `F:LINE:COL: error: MESSAGE`, or `F: error: MESSAGE`.
std::string Format(const Problem& problem);

/// An option set by a flag.
struct Override {
  /// `log.bootstrap_servers`
  std::string path;
  std::string value;
  /// For messages: `--bootstrap-servers`.
  std::string name;
};

struct LoadOptions {
  /// False in a service: tenants come from control, and a file that has some is refused.
  bool allow_tenants = false;
  /// That the files which tenants name can be read.
  bool check_files = true;
  /// Names and values; only those that begin with `TRIBUTARY_` are looked at.
  std::vector<std::pair<std::string, std::string>> environment;
  std::vector<Override> flags;
  /// What is wrong in the eyes of whoever loads it: path of an option, and why. Looks at a whole
  /// configuration, which may have problems of its own. Empty: nothing.
  std::function<std::vector<std::pair<std::string, std::string>>(const v1::ConfigFile&)>
      more_checks;
  /// What `integration:` may say.
  std::vector<std::string> integrations = {"chargify", "highlevel", "rest"};
};

struct Loaded {
  /// Complete, with defaults; meaningless if there are problems. Paths of files are resolved
  /// against the directory of the configuration file.
  v1::ConfigFile config;
  /// All of them, in the order of the file.
  std::vector<Problem> problems;
  /// What is odd but harmless, for the log: `TRIBUTARY_…` variables that name no option (an
  /// orchestrator makes some by itself).
  std::vector<std::string> warnings;
};

Loaded Load(const std::string& file, const LoadOptions& options);
/// `file` is for messages and for the directory against which paths are resolved.
Loaded LoadText(std::string_view text, const std::string& file, const LoadOptions& options);

/// Checks a configuration that did not come from a file of ours, e.g. over the network: the same
/// rules, without places. `origin` stands in front of the messages. Removes slashes behind URLs.
std::vector<Problem> Check(const std::string& origin, const LoadOptions& options,
                           v1::ConfigFile& config);

/// Of this process.
std::vector<std::pair<std::string, std::string>> ProcessEnvironment();

/// Reads the secret that a reference names; one trailing line end is removed. Errors name the file
/// or variable, never the content: kNotFound when it is missing or empty, kFailedPrecondition when
/// the file can be read by others than its owner and group.
absl::StatusOr<std::string> ReadSecret(const v1::SecretReference& reference);

}  // namespace tributary::config

#pragma once

#include <functional>
#include <iosfwd>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "libs/time/time.h"
#include "services/tributary/control_calls.h"

// What each command does, apart from how it is written on the command line. Data goes to `out`,
// words about it to `err`.

namespace tributary::cli {

enum ExitCode : int {
  kGood = 0,
  kBad = 1,
  kUsage = 2,
  kTemporary = 75,
  kConfiguration = 78,
};

struct Streams {
  std::ostream& out;
  std::ostream& err;
  bool json = false;
};

/// Connects when it is needed for the first time.
using Connect = std::function<absl::StatusOr<std::unique_ptr<ControlCalls>>()>;

struct ApplyArguments {
  std::vector<std::string> files;
  bool dry_run = false;
  bool prune = false;
};
int Apply(const Streams& streams, const Connect& connect, const ApplyArguments& arguments);
/// Without a control: the file, and the mappings, rules and connector files that it names.
int ValidateConfig(const Streams& streams, const std::string& file);

/// Empty tenant: all.
int ListTenants(const Streams& streams, const Connect& connect);
/// Its connections and syncs.
int ShowTenant(const Streams& streams, const Connect& connect, const std::string& tenant);
/// `name`: TENANT, TENANT/CONNECTION or empty.
int ListConnections(const Streams& streams, const Connect& connect, const std::string& name);
int ListSyncs(const Streams& streams, const Connect& connect, const std::string& tenant);
/// `name`: TENANT/SYNC.
int PauseSync(const Streams& streams, const Connect& connect, const std::string& name, bool paused);

int Status(const Streams& streams, const Connect& connect, const std::string& tenant);
int ListParked(const Streams& streams, const Connect& connect, const std::string& tenant);
int ShowParked(const Streams& streams, const Connect& connect, const std::string& key);
int DecideParked(const Streams& streams, const Connect& connect, const std::string& key,
                 bool replay);
/// `name`: TENANT, TENANT/CONNECTION or empty. `starts`: everything is due now. `wait_max`: until
/// nothing is due any more, at most so long; zero: not at all.
int Sweep(const Streams& streams, const Connect& connect, const std::string& name, bool starts,
          Duration wait_max);
/// `path`: TENANT/[CONNECTION/]KIND/ID.
int Trace(const Streams& streams, const Connect& connect, const std::string& path);

/// How to verify: by control, or by reading the topics here.
using Verifier = std::function<absl::StatusOr<v1::VerifyResponse>()>;
int Verify(const Streams& streams, const Verifier& verifier);
/// Reads the topics of a configuration: Kafka, or an embedded log that no process holds.
absl::StatusOr<v1::VerifyResponse> VerifyTopics(const std::string& config_file);
/// Reads an embedded log in its directory, if no process holds it.
absl::StatusOr<v1::VerifyResponse> VerifyDirectory(const std::string& log_directory);

int Version(const Streams& streams);
int InitTls(const Streams& streams, const std::string& directory,
            const std::vector<std::string>& hosts);
/// Makes and founds the topics of a configuration; `anew`: also what was lost.
int CreateTopics(const Streams& streams, const std::string& config_file, bool anew);

}  // namespace tributary::cli

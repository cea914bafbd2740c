#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "libs/eventlog/log.h"
#include "libs/eventlog/owner.h"
#include "libs/mapping/mapping.h"
#include "libs/mapping/rules.h"
#include "libs/stage/set_aside.h"
#include "libs/stage/stage.h"
#include "libs/time/time.h"

// The transformer keeps the mirror of every entity, joins the view of each touched customer, maps
// it and says what its records should look like. It also turns live events into actions, by rules.
// No I/O but the log; protocol rules 10 and 32 to 38.

namespace tributary::v1 {
class ConfigFile;
}

namespace tributary::transformer {

/// What the log says of a broken promise: rule 35.
inline constexpr std::string_view kEqualVersionsDiffer = "Equal versions have different content.";

/// Mappings and rules by name and content: what many syncs share is compiled once.
struct CompiledFiles {
  static constexpr std::size_t kFilesMax = 1000;
  std::map<std::string, mapping::Mapping> mappings;
  std::map<std::string, mapping::Rules> rules;
};

struct Options {
  std::string instance;
  std::int32_t partitions = 64;
  /// V and P of the protocol; the transformer sends to nobody but the log and waits for neither.
  Duration lease = std::chrono::seconds(10);
  Duration pause_bound = std::chrono::seconds(5);
  /// C and R.
  Duration min_compaction_lag = std::chrono::hours(1);
  Duration delete_retention = std::chrono::hours(24);
  /// Rule 14.
  bool predecessor_is_dead = false;
  /// Customers derived in one call.
  std::int32_t batch_customers_max = 500;
  /// Customers of one partition that wait before reading pauses: about 100 bytes each.
  std::int32_t waiting_customers_max = 100'000;
  /// A first read names each customer again and again. Those that it names are derived once it has
  /// brought nothing for so long, or after the other time; what changes meanwhile is derived at
  /// once.
  Duration first_read_quiet = std::chrono::seconds(1);
  Duration first_read_wait_max = std::chrono::minutes(5);
  /// Changes folded into the local copy before it is written, be their customers derived or not.
  std::int32_t unpersisted_changes_max = 1000;
  /// Of commands whose acknowledgement is awaited.
  std::int64_t batch_bytes_max = 8 << 20;
  /// State commands that were written and not read back yet; the version gate knows them from
  /// memory, some 300 bytes each.
  std::int32_t unread_commands_max = 2000;
  /// A new mapping and a removed sync wait beyond so many: what changes meanwhile, of whatever
  /// tenant, stands behind no more than these in `commands`.
  std::int32_t remap_unread_commands_max = 250;
  /// An event waits so long for the snapshot of its tenant, which is not there as long as control
  /// has not written a `tenants` that was made anew. Then it passes, in sight.
  Duration unknown_tenant_wait_max = std::chrono::hours(1);
  /// A of the protocol: no rule acts on an event that is older.
  Duration action_age = std::chrono::hours(24 * 30);
  Duration status_interval = std::chrono::seconds(1);
  /// Stages of one thread may share it. None: its own.
  std::shared_ptr<CompiledFiles> compiled;
};

/// `predecessor_is_dead` is what the shell found out, not an option of the file.
Options OptionsFrom(const v1::ConfigFile& file);

/// Since the stage was made. Only ever grow.
struct Counters {
  std::int64_t derived_customers = 0;
  std::int64_t state_commands = 0;
  std::int64_t action_commands = 0;
  std::int64_t mapping_errors = 0;
  /// Derivations that the version gate found to be no news.
  std::int64_t unchanged = 0;
  std::int64_t events = 0;
  std::int64_t batches = 0;
  std::int64_t void_entries_repaired = 0;
  std::int64_t undecodable = 0;
  /// The same by topic.
  std::array<std::int64_t, eventlog::kAllTopics.size()> set_aside{};
  /// Events that their topic has lost before they were read.
  std::int64_t expired_unread = 0;
  /// A broken promise: equal versions must have equal content. Stays 0.
  std::int64_t equal_version_conflicts = 0;
};

/// Of the partition where it is most.
struct Levels {
  eventlog::Owner::Standing standing;
  std::int64_t customers = 0;
  std::int64_t customers_max = 0;
  std::int64_t unacknowledged_bytes = 0;
  std::int64_t unacknowledged_bytes_max = 0;
  std::int64_t unread_commands = 0;
  std::int64_t unread_commands_max = 0;
  /// Events read and not handled, or not committed.
  std::int64_t events = 0;
  std::int64_t events_max = 0;
  /// Of these, events whose tenant nobody has told of yet; of all partitions.
  std::int64_t events_of_unknown_tenants = 0;
};

class Transformer : public Stage {
 public:
  virtual const Counters& counters() const = 0;
  virtual Levels levels(Now now) const = 0;
  /// The newest ones.
  virtual const std::deque<SetAside>& set_aside() const = 0;
};

/// `ports` outlive the transformer.
std::unique_ptr<Transformer> MakeTransformer(Options options, StagePorts ports);

}  // namespace tributary::transformer

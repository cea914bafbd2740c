#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>

#include "libs/budget/budget.h"
#include "libs/connector/connector.h"
#include "libs/eventlog/log.h"
#include "libs/eventlog/owner.h"
#include "libs/stage/stage.h"
#include "libs/time/time.h"

// The loader makes records at the targets equal commands. Its queue is no position in a topic but a
// difference: every key whose command is newer than its record and which may be tried now. Protocol
// rules 11 to 31.

namespace tributary::v1 {
class ConfigFile;
}

namespace tributary::loader {

/// By name or content.
using Connectors = std::map<std::string, std::shared_ptr<const connector::Connector>>;

struct Options {
  std::string instance;
  std::int32_t partitions = 64;
  /// V and P of the protocol.
  Duration lease = std::chrono::seconds(10);
  Duration pause_bound = std::chrono::seconds(5);
  /// C and R.
  Duration min_compaction_lag = std::chrono::hours(1);
  Duration delete_retention = std::chrono::hours(24);
  /// Rule 14.
  bool predecessor_is_dead = false;
  /// Q.
  Duration request_timeout = std::chrono::seconds(30);
  /// A.
  Duration action_age = std::chrono::hours(24 * 30);
  Duration retry_delay_min = std::chrono::seconds(1);
  Duration retry_delay_max = std::chrono::minutes(10);
  std::int32_t attempts_max = 12;
  /// A connection rests no longer after failures in a row.
  Duration target_delay_max = std::chrono::minutes(5);
  std::int32_t ready_keys_max = 2048;
  /// Keys whose intent, receipt or entry is not acknowledged yet. Beyond it nothing begins that
  /// needs no answer of a target, such as parking a million keys whose mapping fails.
  std::int32_t open_writes_max = 4096;
  /// Keys whose entry was acknowledged and not read back yet; some six kilobytes each. Beyond it
  /// nothing further is taken from the tables.
  std::int32_t unread_entries_max = 2048;
  /// Of one target, in batches from their intents to their entries; some six kilobytes each.
  std::int32_t batched_keys_max = 1024;
  /// Zero: nothing is compared, also not after doubt.
  Duration sweep_period = std::chrono::hours(24 * 7);
  std::int32_t sweep_share_percent = 5;
  std::int32_t sweep_keys_max = 1024;
  std::size_t body_bytes_max = 4u << 20;
  /// Open requests are aborted so long after a revoke (rule 13).
  Duration revoke_grace = std::chrono::seconds(2);
  Duration status_interval = std::chrono::seconds(1);
  /// What has been parsed. Stages of one thread may share it. None: its own.
  std::shared_ptr<Connectors> connectors;
};

/// `predecessor_is_dead` is what the shell found out, not an option of the file.
Options OptionsFrom(const v1::ConfigFile& file);

/// What a request to a target was for.
enum class Operation : std::uint8_t { kWrite, kAction, kLookup, kBatch, kToken, kCompare };
inline constexpr std::size_t kOperations = 6;
inline constexpr std::size_t kAnswers = 5;
inline constexpr std::size_t kOutcomes = 9;
inline constexpr std::size_t kReasons = 16;

/// What comparing a record or an action with its target has shown (protocol rule 15).
enum class Compared : std::uint8_t {
  kEqual,
  /// Is written again.
  kDiffers,
  /// Differs as it did before it was written again, twice: the target shows it so.
  kShownSo,
  /// Differs whatever is written: shown.
  kGivenUp,
  kMissing,
  /// There is a second one: shown.
  kSecond,
};
inline constexpr std::size_t kComparedResults = 6;

struct IntegrationCounters {
  /// By v1::Outcome.
  std::array<std::int64_t, kOutcomes> outcomes{};
  /// By v1::Reason.
  std::array<std::int64_t, kReasons> parked{};
  /// By Operation and http::AnswerClass.
  std::array<std::array<std::int64_t, kAnswers>, kOperations> requests{};
  /// Of `quota` only what grows; the rest is in Levels.
  budget::Usage quota;
  /// By Compared.
  std::array<std::int64_t, kComparedResults> compared{};
};

/// Since the stage was made. Only ever grow.
struct Counters {
  std::int64_t applied = 0;
  std::int64_t noop = 0;
  std::int64_t superseded = 0;
  std::int64_t retrying = 0;
  std::int64_t parked = 0;
  std::int64_t dropped = 0;
  std::int64_t left = 0;
  /// Actions whose outcome stays unknown.
  std::int64_t actions_unknown = 0;
  std::int64_t requests = 0;
  std::int64_t throttled = 0;
  std::int64_t unauthorised = 0;
  std::int64_t unknown = 0;
  std::int64_t refused_at_send = 0;
  /// Answers of success that could not be read.
  std::int64_t unreadable = 0;
  /// Entries that could not be decoded, set aside.
  std::int64_t undecodable = 0;
  /// The same by topic.
  std::array<std::int64_t, eventlog::kAllTopics.size()> set_aside{};
  std::int64_t void_entries_repaired = 0;
  /// By the integration of the connection. `unknown`: it was gone when the answer came.
  std::map<std::string, IntegrationCounters> by_integration;
};

/// A record that could not be decoded, or a null where none may be. It is no state, and it is not
/// forgotten.
struct SetAside {
  eventlog::Topic topic{};
  eventlog::Partition partition = 0;
  eventlog::Offset offset = 0;
  std::string key;
  std::string sha256_hex;
  /// Of the first bytes; empty for a null.
  std::string prefix_hex;
  bool is_null = false;
  WallTime seen_at{};
};

struct Levels {
  eventlog::Owner::Standing standing;
  /// Of the connection where most keys wait.
  std::int64_t ready_keys = 0;
  std::int64_t ready_keys_max = 0;
  /// Of the connection that has most of them.
  std::int64_t batched_keys = 0;
  std::int64_t batched_keys_max = 0;
  std::int64_t open_writes = 0;
  std::int64_t open_writes_max = 0;
  std::int64_t unread_entries = 0;
  std::int64_t unread_entries_max = 0;
  /// Of the connection where most keys wait to be compared.
  std::int64_t sweep_keys = 0;
  std::int64_t sweep_keys_max = 0;
  /// Keys of which something is open.
  std::int64_t lanes = 0;
  /// By integration.
  std::map<std::string, budget::Usage> quotas;
};

class Loader : public Stage {
 public:
  virtual const Counters& counters() const = 0;
  virtual Levels levels(Now now) const = 0;
  /// The newest ones that nothing readable has replaced, at most kSetAsideMax.
  virtual const std::deque<SetAside>& set_aside() const = 0;

  static constexpr std::size_t kSetAsideMax = 100;
};

/// `ports` outlive the loader.
std::unique_ptr<Loader> MakeLoader(Options options, StagePorts ports);

}  // namespace tributary::loader

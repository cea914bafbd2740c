#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>

#include "libs/budget/budget.h"
#include "libs/connector/render.h"
#include "libs/eventlog/log.h"
#include "services/loader/backoff.h"
#include "services/loader/due_queue.h"

// One target connection of one tenant: its connector, its credential, its quota and its queue.

namespace tributary::loader {

struct IntegrationCounters;

/// Tenant and connection.
using TargetKey = std::pair<std::string, std::string>;

enum class Priority : std::uint8_t { kLive, kRetry, kBackfill };
inline constexpr std::size_t kPriorities = 3;

/// What all connections of one scope spend together.
struct Quota {
  budget::Budget budget;
  IntegrationCounters* counters = nullptr;
  /// Those that have to wait, in turn. Not used while there is only one.
  std::deque<TargetKey> turns;
  std::int32_t targets = 0;
};

/// Where comparing with one target stands (sweep.cc).
struct SweepState {
  /// By the wall clock, as their entries say it; what is too much is found again by a pass.
  DueQueue due;
  /// A pass over all records of the tenant.
  bool scanning = false;
  std::string scan_from;
  Instant next_pass_at{};
  /// What was compared before is due, by a person's order.
  WallTime all_before{};
  /// One is under way.
  bool open = false;
  /// By the share of the rate.
  Instant next_at{};
  std::int32_t missing_in_a_row = 0;
  /// Why it rests, for people.
  std::string problem;

  std::int64_t compared = 0;
  std::int64_t repaired = 0;
  std::int64_t missing = 0;
  std::int64_t second = 0;
};

struct Target {
  TargetKey key;
  eventlog::Partition partition = 0;

  // What it is, from the snapshot and the connector file.
  std::shared_ptr<const connector::Connector> connector;
  std::string connector_file;
  /// Of its integration, in the stage's counters.
  IntegrationCounters* counters = nullptr;
  connector::Account account;
  Duration settle{};
  Duration index_lag{};
  bool linked = false;

  // What proves who we are.
  std::optional<connector::Credentials> credentials;
  std::int64_t credential_revision = 0;
  /// The snapshot names this one.
  std::int64_t wanted_revision = 0;
  bool credential_asked = false;
  Instant ask_again_at{};
  std::string token;
  Instant token_ends{};
  bool token_asked = false;
  /// Grows with every change of credential or token, so that an answer to an older one is told
  /// apart.
  std::int64_t proof = 0;
  std::int32_t refusals = 0;
  Instant first_refused_at{};

  Backoff backoff;
  std::shared_ptr<Quota> quota;
  std::string scope;
  /// Something has waited for the quota since then. None: nothing does.
  std::optional<Instant> waits_since;
  /// Why it rests, for people. Empty: it does not.
  std::string problem;
  std::string fix;
  std::string reported_problem;
  bool reported_refused = false;

  /// Keys whose intents were written for a batch, until they rest.
  std::int32_t batched_keys = 0;
  /// Of batches that were refused as a whole: each goes by itself, once. With batched_keys_max of
  /// them nothing goes in batches.
  std::set<std::string, std::less<>> alone;

  // Keys that may be tried now; bounded, the rest is found again by scanning the difference.
  std::array<std::deque<std::string>, kPriorities> ready;
  std::unordered_set<std::string> queued;
  /// Where the next pass is to begin: a key that may be tried is queued, or the pass that is under
  /// way comes to it, or the next one does. None: no pass is wanted.
  std::optional<std::string> next_scan_from = "";
  /// Keys without a lane may be tried from here on.
  Instant rescan_at = Instant::max();
  bool scanning = false;
  std::string scan_from;
  /// Whose call failed last, since one was good. Empty: none.
  std::string last_failed_key;
  /// Keys or batches that wait for the quota alone.
  std::array<std::deque<std::string>, kPriorities> waiting;
  Instant wake = Instant::max();
  bool is_dirty = false;
  SweepState sweep;

  bool must_scan() const { return scanning || next_scan_from.has_value(); }
  /// The key `begin` may be tried and is not queued. Empty: any may be so.
  void ScanFrom(std::string_view begin) {
    // The pass that is under way comes there.
    if (scanning && !begin.empty() && begin >= scan_from) return;
    if (!next_scan_from || begin < *next_scan_from) next_scan_from = begin;
  }

  std::size_t ready_count() const { return queued.size(); }
  std::size_t waiting_count() const {
    std::size_t count = 0;
    for (const std::deque<std::string>& queue : waiting) count += queue.size();
    return count;
  }
  /// Of those that wait for the quota. None: nobody does.
  std::optional<Priority> NextWaiting() const { return First(waiting); }
  std::optional<Priority> NextReady() const { return First(ready); }
  void Await(std::string name, Priority priority) {
    waiting[static_cast<std::size_t>(priority)].push_back(std::move(name));
  }
  bool HasRoom(Priority priority, std::size_t ready_max) const {
    // A backfill never takes the place of what is more urgent.
    const std::size_t others = priority == Priority::kBackfill
                                   ? ready_count()
                                   : ready[static_cast<std::size_t>(priority)].size();
    return others < ready_max;
  }
  void Push(const std::string& name, Priority priority) {
    if (!queued.insert(name).second) return;
    ready[static_cast<std::size_t>(priority)].push_back(name);
  }
  /// To the front of its queue.
  void PutBack(const std::string& name, Priority priority) {
    queued.insert(name);
    ready[static_cast<std::size_t>(priority)].push_front(name);
  }
  std::optional<std::string> Pop() {
    for (std::deque<std::string>& queue : ready) {
      if (queue.empty()) continue;
      std::string name = std::move(queue.front());
      queue.pop_front();
      queued.erase(name);
      return name;
    }
    return std::nullopt;
  }

 private:
  static std::optional<Priority> First(
      const std::array<std::deque<std::string>, kPriorities>& queues) {
    for (std::size_t i = 0; i < kPriorities; ++i) {
      if (!queues[i].empty()) return static_cast<Priority>(i);
    }
    return std::nullopt;
  }
};

}  // namespace tributary::loader

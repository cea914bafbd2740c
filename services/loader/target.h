#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>

#include "libs/connector/render.h"
#include "libs/eventlog/log.h"
#include "services/loader/budget.h"

// One target connection of one tenant: its connector, its credential, its budget and its queue.

namespace tributary::loader {

struct IntegrationCounters;

/// Tenant and connection.
using TargetKey = std::pair<std::string, std::string>;

enum class Priority : std::uint8_t { kLive, kRetry, kBackfill };
inline constexpr std::size_t kPriorities = 3;

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
  /// A person's own ceiling stands whatever headers say.
  bool rate_is_given = false;

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

  Budget budget;
  /// Why it rests, for people. Empty: it does not.
  std::string problem;
  std::string fix;
  std::string reported_problem;
  bool reported_refused = false;

  /// Keys whose intents were written for a batch, until they rest.
  std::int32_t batched_keys = 0;

  // Keys that may be tried now; bounded, the rest is found again by scanning the difference.
  std::array<std::deque<std::string>, kPriorities> ready;
  std::unordered_set<std::string> queued;
  bool scan_wanted = true;
  /// Keys without a lane may be tried from here on.
  Instant rescan_at = Instant::max();
  bool scanning = false;
  std::string scan_from;
  /// Keys or batches that wait for the rate alone.
  std::deque<std::string> waiting_for_rate;
  Instant wake = Instant::max();
  bool is_dirty = false;

  std::size_t ready_count() const { return queued.size(); }
  void Push(const std::string& name, Priority priority) {
    if (!queued.insert(name).second) return;
    ready[static_cast<std::size_t>(priority)].push_back(name);
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
};

}  // namespace tributary::loader

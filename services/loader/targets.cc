#include <algorithm>
#include <charconv>

#include "services/loader/entries.h"
#include "services/loader/stage.h"

// Target connections: what they are, and how they are doing.

namespace tributary::loader {
namespace {

constexpr Duration kTargetDelayMin = std::chrono::milliseconds(500);
// Failures in a row before people are told: one connection in many is refused on any day.
constexpr int kUnreachableMin = 3;
constexpr std::string_view kUnreachable = "cannot be reached: ";

/// None: not a number above 0.
std::optional<double> PositiveNumber(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value <= 0) return std::nullopt;
  return value;
}

}  // namespace

Target* LoaderStage::FindTarget(const TargetKey& key) {
  const auto found = targets_.find(key);
  return found == targets_.end() ? nullptr : &found->second;
}

void LoaderStage::RefreshTenant(const std::string& tenant) {
  const tenants::TenantState* state = directory_.Find(tenant);
  if (state == nullptr) return;
  for (const v1::Sync& sync : state->snapshot.syncs()) {
    const v1::Connection* connection = directory_.FindConnection(tenant, sync.target());
    if (connection == nullptr) continue;
    const TargetKey key(tenant, sync.target());
    Target& target = targets_[key];
    target.key = key;
    target.partition = PartitionOf(tenant);
    RefreshTarget(target, *connection);
    target.alone.clear();
    target.ScanFrom("");
    MarkDirty(&target);
  }
  // A sync may have another target now.
  for (Lane* const lane : LanesOf(PartitionOf(tenant))) {
    if (lane->parts.tenant != tenant) continue;
    lane->target_is_stale = lane->busy();
    if (lane->target_is_stale) continue;
    TakeTarget(*lane);
    // It has waited for its sync, and where its command is gone no scan finds it.
    if (lane->parts.kind == ids::CommandKey::Kind::kAction &&
        (lane->doubt != Doubt::kNone || lane->command_is_gone)) {
      Touch(*lane);
    }
  }
}

void LoaderStage::MarkDirty(Target* target) {
  if (target == nullptr || target->is_dirty) return;
  target->is_dirty = true;
  dirty_targets_.push_back(target);
}

void LoaderStage::WakeAt(Target& target, Instant at) {
  if (at >= target.wake) return;
  target.wake = at;
  target_wakes_.insert({at, target.key});
}

void LoaderStage::RefreshTarget(Target& target, const v1::Connection& connection) {
  const std::string file = connection.connector_file().empty() ? connection.integration() + ".yaml"
                                                               : connection.connector_file();
  target.counters = &counters_.by_integration[connection.integration()];
  if (target.connector == nullptr || target.connector_file != file) {
    target.connector = nullptr;
    target.connector_file = file;
    const std::string* text = nullptr;
    std::string name = file;
    if (connection.connector_file().empty()) {
      text = connector::BuiltinFile(file);
    } else if (const v1::Blob* blob =
                   directory_.FindBlob(target.partition, connection.connector_file())) {
      text = &blob->content();
      name = blob->name();
    }
    std::shared_ptr<const connector::Connector>& known = (*connectors_)[file];
    if (known == nullptr && text != nullptr) {
      absl::StatusOr<connector::Connector> parsed = connector::Connector::Parse(name, *text);
      if (parsed.ok()) {
        known = std::make_shared<const connector::Connector>(*std::move(parsed));
      } else {
        target.problem = std::string(parsed.status().message());
        target.fix = "correct the connector file and apply it again";
      }
    }
    if (text == nullptr) {
      target.problem = "connector file `" + file + "` is not there";
      target.fix = "name a known integration, or give a connector file";
      // It may come with the next blob.
      target.connector_file.clear();
    }
    target.connector = known;
  }
  target.linked = connection.state() == v1::CONNECTION_STATE_LINKED;
  if (target.connector == nullptr) return;
  const connector::Connector& file_says = *target.connector;
  std::map<std::string, std::string> settings(connection.settings().begin(),
                                              connection.settings().end());
  const std::vector<std::string> problems = file_says.CheckSettings(settings);
  target.account = file_says.MakeAccount(connection.url(), connection.allow_insecure_loopback(),
                                         std::move(settings));
  target.settle = file_says.SettleOf(target.account);
  target.index_lag = file_says.IndexLagOf(target.account);
  RefreshQuota(target, connection);
  if (!problems.empty()) {
    target.problem = problems.front();
    target.fix = "correct the connection's settings";
    target.linked = false;
  } else if (options_.request_timeout >= target.settle) {
    // Q < L: a request that we still wait for must not outlive its doubt.
    target.problem = "loader.request_timeout is not below `settle` of the connection";
    target.fix = "make loader.request_timeout shorter, or settle longer";
  } else if (target.problem.starts_with("setting ") || target.problem.starts_with("loader.")) {
    target.problem.clear();
    target.fix.clear();
  }
  target.wanted_revision = connection.credential_revision();
  if (target.credentials && target.wanted_revision > target.credential_revision) {
    AskCredential(target, 0);
  }
  ReportConnection(target);
}

void LoaderStage::RefreshQuota(Target& target, const v1::Connection& connection) {
  const connector::Limits& limits = target.connector->limits;
  std::string scope = target.connector->ScopeOf(target.account);
  if (scope.empty()) scope = target.key.first + "/" + target.key.second;
  budget::Options options;
  options.concurrency_max =
      connection.concurrency() > 0 ? connection.concurrency() : limits.concurrency;
  const std::optional<double> given = PositiveNumber(connection.requests_per_second());
  options.rate_is_given = given.has_value();
  options.requests_per_second = given.value_or(limits.requests_per_second);
  options.share = std::min(PositiveNumber(connection.quota_share()).value_or(1.0), 1.0);
  options.windows = limits.windows;
  target.backoff.SetConcurrency(options.concurrency_max);
  if (target.quota == nullptr || target.scope != scope) {
    LeaveQuota(target);
    std::shared_ptr<Quota>& quota = quotas_[scope];
    if (quota == nullptr) quota = std::make_shared<Quota>(Quota{.budget = budget::Budget(options)});
    target.quota = quota;
    target.scope = scope;
    ++quota->targets;
  }
  target.quota->counters = target.counters;
  target.quota->budget.SetOptions(std::move(options));
}

void LoaderStage::LeaveQuota(Target& target) {
  if (target.quota == nullptr) return;
  LeaveTurns(target);
  if (--target.quota->targets == 0) quotas_.erase(target.scope);
  target.quota.reset();
}

void LoaderStage::LeaveTurns(Target& target) {
  std::deque<TargetKey>& turns = target.quota->turns;
  if (turns.empty()) return;
  const bool was_first = turns.front() == target.key;
  turns.erase(std::remove(turns.begin(), turns.end(), target.key), turns.end());
  if (was_first && !turns.empty()) MarkDirty(turns.front());
}

bool LoaderStage::TakesTurn(Target& target) {
  std::deque<TargetKey>& turns = target.quota->turns;
  if (turns.empty() || turns.front() == target.key) return true;
  if (std::find(turns.begin(), turns.end(), target.key) == turns.end()) {
    turns.push_back(target.key);
  }
  return false;
}

void LoaderStage::OnMisconfigured(Target& target, const std::string& detail) {
  target.problem = detail;
  target.fix = "correct the connection: no record of it is accepted as it is set up";
  target.backoff.Failed();
  target.backoff.PauseUntil(now_.steady +
                            options_.target_delay_max / 5 * std::min(target.backoff.failures(), 5));
  WakeAt(target, target.backoff.paused_until());
  ReportConnection(target);
}

void LoaderStage::PauseAfterFailure(Target& target, std::optional<Duration> retry_after) {
  target.backoff.Failed();
  const Duration jitter = FullJitter(kTargetDelayMin, options_.target_delay_max,
                                     target.backoff.failures() - 1, ports_.random());
  target.backoff.PauseUntil(now_.steady + std::max(jitter, retry_after.value_or(Duration::zero())));
  WakeAt(target, target.backoff.paused_until());
}

void LoaderStage::OnTargetAnswered(Target& target, const http::Completion& completion, bool good) {
  if (completion.delivery == http::Delivery::kNotSent) {
    // This is the one behind those that the pause has counted.
    if (target.backoff.failures() + 1 >= kUnreachableMin && target.problem.empty() &&
        !completion.refused_at_send && !completion.error.empty()) {
      target.problem = std::string(kUnreachable) + completion.error;
      target.fix =
          "look at its `url` and the way there (names, firewall, certificate); "
          "it is tried again by itself";
      ReportConnection(target);
    }
    return;
  }
  if (completion.delivery != http::Delivery::kComplete) return;
  if (good) {
    target.backoff.Succeeded();
    target.last_failed_key.clear();
    target.refusals = 0;
  }
  // An answer is one, also one that refuses.
  const bool is_over = good ? !target.problem.empty() && !target.problem.starts_with("setting ") &&
                                  !target.problem.starts_with("loader.")
                            : target.problem.starts_with(kUnreachable);
  if (is_over) {
    target.problem.clear();
    target.fix.clear();
    ReportConnection(target);
  }
}

}  // namespace tributary::loader

#include <algorithm>

#include "libs/time/rfc3339.h"
#include "libs/utf8/utf8.h"
#include "services/loader/entries.h"
#include "services/loader/stage.h"

// What people see and decide.

namespace tributary::loader {
namespace {

using eventlog::Topic;

constexpr std::int32_t kParkedItemsMax = 1000;
/// Shorter ones come and go with every request.
constexpr Duration kShownWaitMin = std::chrono::seconds(5);
constexpr std::int32_t kRefusalsMin = 3;
/// A target's own fault of half an hour has been seen; a person is asked after more.
constexpr Duration kRefusedFor = std::chrono::minutes(30);

}  // namespace

Levels LoaderStage::levels(Now now) const {
  Levels levels;
  levels.standing = owner_->standing(now);
  levels.ready_keys_max = options_.ready_keys_max;
  levels.batched_keys_max = options_.batched_keys_max;
  levels.open_writes = static_cast<std::int64_t>(writes_.size());
  levels.open_writes_max = options_.open_writes_max;
  levels.unread_entries = static_cast<std::int64_t>(unread_entries_);
  levels.unread_entries_max = options_.unread_entries_max;
  levels.sweep_keys_max = options_.sweep_keys_max;
  levels.lanes = static_cast<std::int64_t>(lanes_.size());
  for (const auto& [key, target] : targets_) {
    levels.ready_keys =
        std::max(levels.ready_keys, static_cast<std::int64_t>(target.ready_count()));
    levels.batched_keys = std::max(levels.batched_keys, std::int64_t{target.batched_keys});
    levels.sweep_keys =
        std::max(levels.sweep_keys, static_cast<std::int64_t>(target.sweep.due.size()));
  }
  for (const auto& [integration, counters] : counters_.by_integration) {
    budget::Usage& out = levels.quotas[integration] = counters.quota;
    for (const auto& [scope, quota] : quotas_) {
      if (quota->counters == &counters) quota->budget.AddTo(out, now);
    }
  }
  return levels;
}

std::optional<budget::Budget::Wait> LoaderStage::QuotaWaitOf(const Target& target) {
  std::optional<Priority> next = target.NextWaiting();
  if (!next) next = target.NextReady();
  if (!next || !target.linked || target.quota == nullptr) return std::nullopt;
  std::optional<budget::Budget::Wait> wait =
      target.quota->budget.WaitsFor(now_, *next != Priority::kBackfill);
  const Instant rests_until = target.backoff.paused_until();
  if (rests_until > (wait ? wait->until : now_.steady)) {
    wait = {.until = rests_until, .what = "the pause after a request that failed"};
  }
  if (wait && wait->until - now_.steady < kShownWaitMin) wait.reset();
  return wait;
}

void LoaderStage::ReportConnection(Target& target) {
  const bool refused =
      target.refusals >= kRefusalsMin && now_.steady - target.first_refused_at >= kRefusedFor;
  if (target.problem == target.reported_problem && refused == target.reported_refused) return;
  target.reported_problem = target.problem;
  target.reported_refused = refused;
  v1::FromService message;
  v1::ConnectionReport& report = *message.mutable_connection_report();
  report.set_tenant(target.key.first);
  report.set_connection(target.key.second);
  report.set_problem(target.problem);
  report.set_fix(target.fix);
  report.set_credential_refused(refused);
  ports_.control.Send(message);
  Log(target.problem.empty() ? Logger::Level::kInfo : Logger::Level::kWarning,
      target.problem.empty() ? "Connection works again." : "Connection has a problem.",
      {{"tenant", target.key.first},
       {"connection", target.key.second},
       {"problem", target.problem}});
}

void LoaderStage::ReportStatus() {
  v1::FromService message;
  v1::ServiceStatus& status = *message.mutable_status();
  status.set_ready(owner_->all_ready());
  std::map<std::pair<std::string, std::string>, std::pair<std::int64_t, std::int64_t>> open;
  for (const auto& [key, lane] : lanes_) {
    auto& [in_doubt, intents] = open[{lane.parts.tenant, lane.parts.sync}];
    if (lane.doubt != Doubt::kNone) ++in_doubt;
    if (lane.entry.has_intent()) ++intents;
  }
  directory_.ForEach([&](const tenants::TenantState& tenant) {
    for (const v1::Sync& sync : tenant.snapshot.syncs()) {
      const std::pair<std::string, std::string> name(tenant.snapshot.tenant(), sync.name());
      SyncStats& stats = stats_[name];
      v1::SyncStatus& out = *status.add_syncs();
      out.set_tenant(name.first);
      out.set_sync(name.second);
      const WallTime oldest = std::min(stats.waiting.oldest().value_or(now_.wall), now_.wall);
      out.set_freshness_seconds(std::to_string((now_.wall - oldest).count() / 1'000'000));
      out.set_pending(stats.pending - stats.retrying);
      out.set_retrying(stats.retrying);
      out.set_parked(stats.parked);
      out.set_shown(stats.shown);
      out.set_applied(stats.applied);
      out.set_noop(stats.noop);
      out.set_superseded(stats.superseded);
      out.set_dropped(stats.dropped);
      out.set_in_doubt(open[name].first);
      out.set_open_intents(open[name].second);
      const Target* target = FindTarget({name.first, sync.target()});
      if (target != nullptr) {
        out.set_problem(target->problem);
        out.set_fix(target->fix);
      }
      if (const SetAside* const aside = FindAside(name.first, name.second);
          aside != nullptr && out.problem().empty()) {
        out.set_problem("a record of " + std::string(eventlog::Name(aside->topic)) +
                        " cannot be read: " + utf8::Cleaned(aside->key));
        out.set_fix("see it in the list of what is parked");
      }
      const bool is_paused = sync.state() != v1::SYNC_STATE_ACTIVE;
      out.set_state(is_paused                ? "paused"
                    : !out.problem().empty() ? "failing"
                    : out.pending() > 100    ? "backfilling"
                                             : "active");
    }
  });
  for (auto& [key, target] : targets_) {
    ReportConnection(target);
    const std::optional<budget::Budget::Wait> wait = QuotaWaitOf(target);
    if (target.problem.empty() && !wait) continue;
    v1::ConnectionReport& report = *status.add_connections();
    if (wait) {
      report.set_waits_for(wait->what);
      SetTime(now_.wall + (wait->until - now_.steady), report.mutable_waits_until());
    }
    report.set_tenant(key.first);
    report.set_connection(key.second);
    report.set_problem(target.problem);
    report.set_fix(target.fix);
    report.set_credential_refused(target.reported_refused);
  }
  std::string text = message.SerializeAsString();
  if (text == last_status_) return;
  last_status_ = std::move(text);
  ports_.control.Send(message);
}

void LoaderStage::AnswerParked(std::int64_t id, const v1::ListParkedRequest& request) {
  v1::FromService message;
  message.set_answer_to(id);
  v1::ListParkedResponse& response = *message.mutable_parked();
  const std::int32_t limit =
      request.items_max() > 0 ? std::min(request.items_max(), kParkedItemsMax) : kParkedItemsMax;
  const auto add = [&](const std::string& key) {
    Lane* const lane = LaneOf(key);
    if (lane == nullptr) return;
    if (lane->counted.is_parked) {
      const v1::RecordEntry& entry = lane->entry;
      v1::ParkedItem& item = *response.add_items();
      item.set_key(key);
      if (entry.has_status_version()) *item.mutable_version() = entry.status_version();
      item.set_reason(entry.reason());
      item.set_detail(entry.detail());
      if (entry.has_since()) *item.mutable_since() = entry.since();
      item.set_fix(FixOf(entry.reason(), key));
      if (!request.key().empty()) item.set_kept_answer(entry.kept_answer());
    } else if (lane->counted.is_shown) {
      *response.add_items() = ShownItemOf(key, lane->entry);
    }
    ForgetIfIdle(*lane);
  };
  if (!request.key().empty()) {
    const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(request.key());
    if (parts && partitions_.contains(PartitionOf(parts->tenant)) &&
        (request.tenant().empty() || request.tenant() == parts->tenant)) {
      add(request.key());
    }
  } else {
    std::vector<std::string> keys;
    bool has_more = false;
    directory_.ForEach([&](const tenants::TenantState& tenant) {
      const std::string& name = tenant.snapshot.tenant();
      const eventlog::Table* const records = Table(Topic::kRecords, name);
      if (has_more || records == nullptr) return;
      if (!request.tenant().empty() && request.tenant() != name) return;
      records->ScanIndex(ids::JoinKey({"p", name}) + "/",
                         [&](std::string_view, std::string_view key) {
                           has_more = keys.size() >= static_cast<std::size_t>(limit);
                           if (!has_more) keys.emplace_back(key);
                           return !has_more;
                         });
    });
    for (const std::string& key : keys) add(key);
    response.set_more(has_more);
  }
  AddAside(request, limit, response);
  if (!request.key().empty() && response.items_size() == 0) {
    response.set_problem("nothing is parked under this key");
  }
  ports_.control.Send(message);
}

void LoaderStage::AnswerDecide(std::int64_t id, const v1::DecideParkedRequest& request) {
  v1::FromService message;
  message.set_answer_to(id);
  message.mutable_decided()->set_problem(Decide(request));
  ports_.control.Send(message);
}

std::string LoaderStage::Decide(const v1::DecideParkedRequest& request) {
  const std::string& key = request.key();
  const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
  if (!parts) return "this is no key of a record or an action";
  const auto partition = partitions_.find(PartitionOf(parts->tenant));
  if (partition == partitions_.end() || partition->second.revoking) {
    return "this loader does not own the tenant";
  }
  Lane* const found = LaneOf(key);
  if (found == nullptr) return "this is no key of a record or an action";
  const std::string problem = DecideLane(*found, request.replay());
  if (!problem.empty()) ForgetIfIdle(*found);
  return problem;
}

std::string LoaderStage::DecideLane(Lane& lane, bool replay) {
  const v1::RecordEntry& entry = lane.entry;
  if (entry.status() != v1::RecordEntry::STATUS_PARKED) {
    if (!lane.counted.is_shown) return "nothing is parked under this key";
    return DecideShown(lane, replay);
  }
  const v1::Command* const desired = DesiredOf(lane);
  const bool is_action = lane.parts.kind == ids::CommandKey::Kind::kAction;
  // Rule 28.
  if (is_action && replay) {
    return "its outcome is final; doing it again is a new attempt, which the transformer writes";
  }
  if (desired == nullptr) return "its command is not known";
  if (lane.busy()) return "it is being written just now; try again";
  // Its list has shown the older one, and nobody has tried this one yet.
  if (!replay && !lane.counted.is_parked)
    return "a newer version is under way, and nothing of it is parked";
  TakeCommand(lane, lane.desired, lane.desired_bytes);
  BeginNextEntry(lane);
  v1::RecordEntry& next = lane.next_entry;
  if (replay) {
    // The same lane as everything else (rule 22).
    next.set_status(v1::RecordEntry::STATUS_WAITING);
    next.clear_reason();
    next.clear_detail();
    next.clear_retry_at();
    next.clear_attempts();
    next.clear_status_version();
    next.clear_since();
    next.set_final(false);
    next.set_in_doubt(lane.doubt != Doubt::kNone);
    if (entry.reason() == v1::REASON_MISSING) {
      // What the sweep has missed was written at this version: it is to be written once more, and
      // its id is found to be gone on the way (rule 27).
      next.clear_resolved();
      next.clear_content_hash();
      next.clear_calls();
    }
    lane.looked_up = false;
    lane.not_before = {};
    ConcludeUnreported(lane);
    return "";
  }
  if (is_action && entry.outcome() == v1::OUTCOME_UNKNOWN) {
    // It may have been done, and stays what it is; only out of sight.
    next.clear_status();
    next.set_reason(v1::REASON_PERSON);
    next.set_detail("dropped by a person; whether it was done is not known");
    next.clear_since();
    ConcludeUnreported(lane);
    return "";
  }
  if (is_action) {
    FinishAction(lane, v1::OUTCOME_DROPPED, v1::REASON_PERSON, "dropped by a person", 0);
    return "";
  }
  Verdict verdict;
  verdict.outcome = v1::OUTCOME_DROPPED;
  verdict.reason = v1::REASON_PERSON;
  verdict.detail = "dropped by a person";
  ResolveWithoutCall(lane, verdict);
  return "";
}

v1::TraceResponse::Record LoaderStage::TraceOf(const std::string& key) {
  v1::TraceResponse::Record out;
  out.set_key(key);
  Lane* const lane = LaneOf(key);
  if (lane == nullptr) return out;
  const v1::Command* const desired = DesiredOf(*lane);
  const v1::RecordEntry& entry = lane->entry;
  out.set_id(entry.id());
  if (desired != nullptr && desired->has_version()) *out.mutable_desired() = desired->version();
  if (entry.has_resolved()) *out.mutable_resolved() = entry.resolved();
  if (entry.reason() != v1::REASON_UNSPECIFIED) out.set_reason(std::string(TextOf(entry.reason())));
  if (const std::string shown = ShownDetailOf(entry); !shown.empty() && out.reason().empty()) {
    out.set_reason(shown);
  }
  const bool resolved = desired != nullptr && IsResolved(entry, desired->version());
  if (entry.status() == v1::RecordEntry::STATUS_PARKED) {
    out.set_status("parked");
    out.set_next(FixOf(entry.reason(), key));
  } else if (lane->doubt == Doubt::kSettling) {
    out.set_status("retrying");
    out.set_next("in doubt: nothing is sent before " +
                 FormatRfc3339(now_.wall + (lane->settle_until - now_.steady)));
  } else if (entry.status() == v1::RecordEntry::STATUS_RETRYING) {
    out.set_status("retrying");
    out.set_next("is tried again at " + FormatRfc3339(TimeOf(entry.retry_at())));
  } else if (resolved || entry.final()) {
    out.set_status(std::string(TextOf(entry.outcome())));
    out.set_next("nothing");
  } else {
    out.set_status("waiting");
    const Target* target = FindTarget(lane->target);
    out.set_next(target != nullptr && !target->problem.empty() ? "waits: " + target->problem
                                                               : "is sent next");
  }
  ForgetIfIdle(*lane);
  return out;
}

void LoaderStage::AnswerTrace(std::int64_t id, const v1::TraceRequest& request) {
  v1::FromService message;
  message.set_answer_to(id);
  v1::TraceResponse& response = *message.mutable_trace();
  response.set_entity(request.kind() + "/" + request.id());
  const eventlog::Table* commands = Table(Topic::kCommands, request.tenant());
  if (commands == nullptr) {
    response.set_problem("this loader does not own the tenant");
    ports_.control.Send(message);
    return;
  }
  std::vector<std::string> keys;
  commands->ScanIndex(ids::JoinKey({"c", request.tenant(), request.id()}) + "/",
                      [&](std::string_view, std::string_view key) {
                        keys.emplace_back(key);
                        return true;
                      });
  for (const std::string& key : keys) {
    const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
    const v1::Sync* sync = parts ? directory_.FindSync(parts->tenant, parts->sync) : nullptr;
    if (sync == nullptr) continue;
    if (!request.connection().empty() && sync->source() != request.connection()) continue;
    *response.add_records() = TraceOf(key);
  }
  response.set_found(response.records_size() > 0);
  ports_.control.Send(message);
}

}  // namespace tributary::loader

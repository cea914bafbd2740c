#include "services/extractor/extractor.h"

#include <algorithm>
#include <utility>

#include "libs/ids/keys.h"
#include "services/extractor/entity_times.h"
#include "services/extractor/stage.h"

namespace tributary::extractor {
namespace {

using eventlog::Partition;
using eventlog::Topic;

constexpr Duration kStatusInterval = std::chrono::seconds(1);

eventlog::OwnerOptions OwnerOptionsOf(const Options& options) {
  eventlog::OwnerOptions owner;
  owner.service = "extractor";
  owner.instance = options.instance;
  owner.writes = {Topic::kCursors, Topic::kChanges};
  owner.reads = {Topic::kTenants};
  owner.streams = {Topic::kNotifications};
  owner.indexers = {{Topic::kChanges, IndexUndecodable}};
  owner.is_leased = true;
  owner.lease = options.lease;
  owner.pause_bound = options.pause_bound;
  owner.min_compaction_lag = options.min_compaction_lag;
  owner.delete_retention = options.delete_retention;
  owner.predecessor_is_dead = options.predecessor_is_dead;
  return owner;
}

}  // namespace

Extractor::Extractor(Options options, StagePorts ports)
    : options_(std::move(options)),
      ports_(std::move(ports)),
      owner_(OwnerOptionsOf(options_), ports_.log, ports_.stores, ports_.random, *this),
      directory_(
          [this](Partition partition, std::string_view key, const eventlog::TableEntry& entry) {
            KeepAside(Topic::kTenants, partition, entry.offset, key, entry.value);
          }) {}

void Extractor::OnLog(Now now, const eventlog::Fact& fact) {
  now_ = now;
  if (const auto* sampled = std::get_if<eventlog::EndSampled>(&fact)) {
    if (sampled->topic == Topic::kEvents) return OnEventsEnd(*sampled);
  }
  owner_.OnFact(now, fact);
}

void Extractor::OnHttp(Now now, http::Completion completion) {
  may_report_ = true;
  now_ = now;
  const auto found = requests_.find(completion.id);
  if (found == requests_.end()) return;
  const Sent sent = found->second;
  requests_.erase(found);
  Settle(sent, completion);
  if (Owned* owned = FindOwned(sent.partition)) owned->reads_in_flight.erase(sent.read);
  Site* site = FindSite(sent.site);
  if (site != nullptr && site->connection.owns_request(completion.id)) {
    site->connection.OnAnswer(now, completion);
    Schedule(*site);
  }
  PumpWaiting(*sent.budget, sent.site);
}

void Extractor::PumpWaiting(budget::Budget& budget, std::string after) {
  const auto found = budget_waiting_.find(&budget);
  if (found == budget_waiting_.end()) return;
  // In turn, from behind the one that was answered, so that nobody is always the last.
  for (std::size_t left = found->second.size(); left > 0; --left) {
    if (!budget.MayOpen(now_) || budget.NextSendAt(now_, true) > now_.steady) return;
    const auto waiting = budget_waiting_.find(&budget);
    if (waiting == budget_waiting_.end()) return;
    auto next = waiting->second.upper_bound(after);
    if (next == waiting->second.end()) next = waiting->second.begin();
    after = *next;
    if (Site* site = FindSite(after)) {
      site->connection.Pump(now_);
      Schedule(*site);
    }
  }
}

void Extractor::Settle(const Sent& sent, const http::Completion& completion) {
  const http::Classified classified = http::Classify(completion, true, false, now_.wall);
  if (!completion.refused_at_send) {
    ++counters_.requests[static_cast<std::size_t>(sent.operation)]
                        [static_cast<std::size_t>(classified.answer)];
  }
  if (completion.delivery == http::Delivery::kNotSent) {
    sent.budget->NotSent(sent.ticket);
  } else if (classified.answer == http::AnswerClass::kThrottled) {
    ++counters_.quota.refused;
    sent.budget->Refused(now_, sent.ticket, completion.headers, classified.retry_after);
  } else {
    sent.budget->Answered(now_, sent.ticket, completion.headers);
  }
}

void Extractor::OnTick(Now now) {
  now_ = now;
  owner_.OnTick(now);
  while (!agenda_.empty() && agenda_.begin()->first <= now.steady) {
    const std::string key = agenda_.begin()->second;
    agenda_.erase(agenda_.begin());
    may_report_ = true;
    Site* site = FindSite(key);
    if (site == nullptr) continue;
    site->scheduled = Instant::max();
    site->connection.Pump(now);
    Schedule(*site);
  }
  if (now.steady >= status_due_) {
    // A whole status of thousands of sites is not for every second.
    status_due_ = now.steady + kStatusInterval * (1 + static_cast<int>(sites_.size() / 1000));
    CommitHints();
    for (const auto& [partition, owned] : owned_) {
      if (now.steady >= owned->events_look_due) AskForEventsEnd(*owned);
    }
    const bool is_ready = owner_.all_ready();
    if (std::exchange(may_report_, false) || is_ready != was_ready_) Report();
    was_ready_ = is_ready;
  }
}

Instant Extractor::next_tick() const {
  Instant next = std::min(owner_.next_tick(), status_due_);
  if (!agenda_.empty()) next = std::min(next, agenda_.begin()->first);
  return next;
}

bool Extractor::MaySend(Now now, http::RequestId id) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return false;
  const Owned* owned = FindOwned(found->second.partition);
  const Site* site = FindSite(found->second.site);
  return owned != nullptr && !owned->is_revoking && site != nullptr &&
         site->connection.owns_request(id) && owner_.may_send(now, owned->partition);
}

void Extractor::Drain(Now now) {
  now_ = now;
  owner_.ReleaseAll(now);
}

std::vector<std::string> Extractor::not_ready_because() const { return owner_.not_ready_because(); }

std::string Extractor::failure() const { return owner_.failure(); }

Levels Extractor::levels(Now now) const {
  Levels levels{.standing = owner_.standing(now),
                .sites = static_cast<std::int64_t>(sites_.size()),
                .requests = static_cast<std::int64_t>(requests_.size()),
                .requests_max = options_.requests_in_flight_total_max,
                .unacknowledged_pages_max = options_.unacknowledged_pages_max,
                .unread_entries_max = static_cast<std::int64_t>(options_.unread_entries_max)};
  for (const auto& [key, site] : sites_) {
    levels.unacknowledged_pages =
        std::max(levels.unacknowledged_pages,
                 static_cast<std::int64_t>(site->connection.unacknowledged_pages()));
  }
  levels.quota = counters_.quota;
  for (const auto& [url, budget] : budgets_) {
    if (!budget_members_.at(budget.get()).empty()) budget->AddTo(levels.quota, now);
  }
  for (const auto& [partition, owned] : owned_) {
    levels.unread_entries =
        std::max(levels.unread_entries, static_cast<std::int64_t>(owned->mirror->unread()));
  }
  return levels;
}

void Extractor::OnReady(const eventlog::Takeover& takeover) {
  may_report_ = true;
  auto owned = std::make_unique<Owned>();
  owned->partition = takeover.partition;
  owned->generation = takeover.generation;
  for (const auto& [topic, token] : takeover.tokens) {
    if (topic != Topic::kChanges) continue;
    owned->token.set_generation(token.generation);
    owned->token.set_offset(token.offset);
  }
  const eventlog::Table* changes = owner_.table(Topic::kChanges, takeover.partition);
  const eventlog::Table* tenants = owner_.table(Topic::kTenants, takeover.partition);
  owned->mirror = std::make_unique<Mirror>(*changes);
  if (takeover.unclean) {
    owned->single_until =
        takeover.began + options_.lease + options_.pause_bound + options_.request_timeout;
  }
  owned_[takeover.partition] = std::move(owned);
  directory_.Load(takeover.partition, *tenants);
  std::vector<std::string> names;
  directory_.ForEach([&](const tenants::TenantState& tenant) {
    if (tenant.partition == takeover.partition) names.push_back(tenant.snapshot.tenant());
  });
  for (const std::string& key : Undecodable(*changes)) {
    if (const auto entry = changes->Get(key)) {
      KeepAside(Topic::kChanges, takeover.partition, entry->offset, key, entry->value);
    }
  }
  owner_.table(Topic::kCursors, takeover.partition)
      ->Scan("", {}, [&](std::string_view key, const eventlog::TableEntry& entry) {
        SetAsideCursor(takeover.partition, key, entry);
        return true;
      });
  for (const std::string& name : names) Reconcile(takeover.partition, name);
  LearnEventsEnd(*owned_[takeover.partition]);
  AskForEventsEnd(*owned_[takeover.partition]);
  for (const eventlog::ExpiredUnread& expired : takeover.expired) {
    OnExpiredHints(*owned_[takeover.partition], expired);
  }
  SendOwnership();
}

void Extractor::OnEntry(Topic topic, Partition partition, std::string_view key,
                        const std::optional<eventlog::TableEntry>& entry) {
  may_report_ = true;
  Owned* owned = FindOwned(partition);
  if (owned == nullptr) return;
  if (topic == Topic::kTenants) {
    const std::string tenant = directory_.OnEntry(partition, key, entry);
    if (!tenant.empty()) Reconcile(partition, tenant);
  } else if (topic == Topic::kChanges) {
    if (entry && entry->is_void) {
      Repair(key);
    } else if (!owned->mirror->OnReadBack(key, entry)) {
      KeepAside(topic, partition, entry->offset, key, entry->value);
      Repair(key);
    }
  } else if (topic == Topic::kCursors && entry &&
             (entry->is_void || SetAsideCursor(partition, key, *entry))) {
    const auto parts = ids::SplitKey(key);
    if (!parts || parts->size() != 3) return;
    if (Site* site = FindSite(SiteKey((*parts)[0], (*parts)[1]))) {
      site->connection.RestoreCursor((*parts)[2]);
    }
  }
}

void Extractor::OnStreamRecord(const eventlog::Record& record) {
  may_report_ = true;
  Owned* owned = FindOwned(record.partition);
  if (owned == nullptr) return;
  owned->notifications_next = record.offset + 1;
  v1::Notification notification;
  if (!record.value || !notification.ParseFromString(*record.value)) {
    KeepAside(record.topic, record.partition, record.offset, record.key, record.value.value_or(""));
    return;
  }
  const std::optional<std::string> tenant = ids::DecodePart(record.key);
  if (!tenant) return;
  if (notification.has_read_events_again_from()) {
    ReadEventsAgain(*owned, *tenant, notification.connection(),
                    TimeOf(notification.read_events_again_from()), record.offset);
    return;
  }
  Site* site = FindSite(SiteKey(*tenant, notification.connection()));
  if (site == nullptr) return;
  site->connection.OnHint(now_, record.offset);
  Schedule(*site);
}

void Extractor::OnWritten(eventlog::ProduceId id, eventlog::Offset offset) {
  may_report_ = true;
  const auto found = writes_.find(id);
  if (found == writes_.end()) {
    // A cursor; perhaps one that is being set back. Or what asks for that.
    for (const auto& [partition, owned] : owned_) {
      owned->set_back.erase(id);
      if (owned->events_asked_for.erase(id) != 0 && owned->events_asked_for.empty()) {
        OnEventsAskedFor(*owned);
      }
    }
    return;
  }
  const Write write = found->second;
  const auto site = site_by_number_.find(write.site);
  writes_.erase(found);
  if (site == site_by_number_.end()) return;
  if (write.is_event) OnEventAppended(site->second->owned, offset);
  site->second->connection.OnWritten(now_, id);
  Schedule(*site->second);
}

void Extractor::OnRevoking(Partition partition, Instant) {
  may_report_ = true;
  if (Owned* owned = FindOwned(partition)) {
    owned->is_revoking = true;
    for (const std::string& key : owned->sites) {
      if (Site* site = FindSite(key)) site->connection.Stop();
    }
  }
  owner_.Release(partition);
}

void Extractor::OnGone(Partition partition) {
  may_report_ = true;
  const auto found = owned_.find(partition);
  if (found != owned_.end()) {
    const std::set<std::string> keys = found->second->sites;
    for (const std::string& key : keys) RemoveSite(key);
    owned_.erase(partition);
  }
  directory_.Forget(partition);
  SendOwnership();
}

Owned* Extractor::FindOwned(Partition partition) {
  const auto found = owned_.find(partition);
  return found == owned_.end() ? nullptr : found->second.get();
}

std::string Extractor::SiteKey(std::string_view tenant, std::string_view connection) {
  return ids::JoinKey({tenant, connection});
}

Site* Extractor::FindSite(const std::string& key) {
  const auto found = sites_.find(key);
  return found == sites_.end() ? nullptr : found->second.get();
}

std::set<std::string> Extractor::Undecodable(const eventlog::Table& changes) {
  std::set<std::string> keys;
  changes.ScanIndex(kUndecodableRow, [&](std::string_view, std::string_view key) {
    keys.emplace(key);
    return true;
  });
  return keys;
}

bool Extractor::SetAsideCursor(Partition partition, std::string_view key,
                               const eventlog::TableEntry& entry) {
  v1::Cursor cursor;
  if (entry.is_void || key.starts_with('!') || cursor.ParseFromString(entry.value)) return false;
  KeepAside(Topic::kCursors, partition, entry.offset, key, entry.value);
  return true;
}

void Extractor::KeepAside(Topic topic, Partition partition, eventlog::Offset offset,
                          std::string_view key, std::string_view bytes) {
  ++counters_.set_aside[static_cast<std::size_t>(topic)];
  set_aside_.Add(topic, partition, offset, key, bytes, ports_.logger);
}

std::unique_ptr<ReadingStage> MakeExtractor(Options options, StagePorts ports) {
  return std::make_unique<Extractor>(std::move(options), std::move(ports));
}

}  // namespace tributary::extractor

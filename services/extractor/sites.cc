#include <algorithm>
#include <charconv>

#include "libs/ids/keys.h"
#include "services/extractor/entity_times.h"
#include "services/extractor/stage.h"

namespace tributary::extractor {
namespace {

using eventlog::Partition;
using eventlog::Topic;

constexpr std::string_view kIntegration = "chargify";

/// `250ms`, `2s`, `5m`, `1h`. None: anything else.
std::optional<Duration> ParseSetting(std::string_view text) {
  std::int64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || count < 0 || count > 1'000'000) return std::nullopt;
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (unit == "ms") return std::chrono::milliseconds(count);
  if (unit == "s") return std::chrono::seconds(count);
  if (unit == "m") return std::chrono::minutes(count);
  if (unit == "h") return std::chrono::hours(count);
  return std::nullopt;
}

const std::string* FindSetting(const v1::Connection& connection, const std::string& name) {
  const auto found = connection.settings().find(name);
  return found == connection.settings().end() ? nullptr : &found->second;
}

}  // namespace

std::string BaseUrl(const v1::Connection& connection) {
  if (!connection.url().empty()) {
    std::string url = connection.url();
    while (url.ends_with('/')) url.pop_back();
    return url;
  }
  const std::string* subdomain = FindSetting(connection, "subdomain");
  if (subdomain == nullptr || subdomain->empty()) return {};
  const std::string* region = FindSetting(connection, "region");
  const bool is_european = region != nullptr && *region == "eu";
  return "https://" + *subdomain + (is_european ? ".ebilling.maxio.com" : ".chargify.com");
}

void Extractor::Reconcile(Partition partition, const std::string& tenant) {
  Owned* owned = FindOwned(partition);
  if (owned == nullptr || owned->is_revoking) return;
  std::map<std::string, const v1::Connection*> wanted;
  if (const tenants::TenantState* state = directory_.Find(tenant);
      state != nullptr && !state->snapshot.removed()) {
    for (const v1::Connection& connection : state->snapshot.connections()) {
      if (connection.integration() != kIntegration) continue;
      if (connection.state() != v1::CONNECTION_STATE_LINKED) continue;
      wanted[SiteKey(tenant, connection.name())] = &connection;
    }
  }
  const std::set<std::string> present = owned->sites;
  for (const std::string& key : present) {
    const Site* site = FindSite(key);
    if (site->tenant != tenant) continue;
    const auto found = wanted.find(key);
    const bool stays = found != wanted.end() && SameSite(site->settings, *found->second);
    if (stays) continue;
    const std::optional<WallTime> from = site->connection.read_again_from();
    const std::optional<std::int64_t> hint = site->connection.oldest_open_hint();
    const std::string connection = site->settings.name();
    RemoveSite(key);
    if (from && hint) ReadEventsAgain(*owned, tenant, connection, *from, *hint);
  }
  for (const auto& [key, connection] : wanted) {
    if (Site* site = FindSite(key)) {
      if (connection->credential_revision() > site->credential_revision) {
        site->AskCredential(0);
      }
      site->budget.SetOptions(BudgetOptionsOf(*connection));
      continue;
    }
    AddSite(*owned, tenant, key, *connection);
  }
}

bool Extractor::SameSite(const v1::Connection& a, const v1::Connection& b) {
  if (BaseUrl(a) != BaseUrl(b)) return false;
  if (a.allow_insecure_loopback() != b.allow_insecure_loopback()) return false;
  for (const char* name : {"poll_interval", "visibility_lag"}) {
    const std::string* left = FindSetting(a, name);
    const std::string* right = FindSetting(b, name);
    if ((left == nullptr) != (right == nullptr)) return false;
    if (left != nullptr && *left != *right) return false;
  }
  return true;
}

budget::Options Extractor::BudgetOptionsOf(const v1::Connection& connection) const {
  budget::Options out;
  out.refusals_are_of_concurrency = true;
  out.concurrency_max = options_.requests_in_flight_max;
  if (connection.concurrency() > 0) {
    out.concurrency_max = std::min(out.concurrency_max, connection.concurrency());
  }
  const auto number = [](const std::string& text) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() && value > 0 ? value : 0.0;
  };
  out.requests_per_second = number(connection.requests_per_second());
  out.rate_is_given = out.requests_per_second > 0;
  if (const double share = number(connection.quota_share()); share > 0 && share < 1) {
    out.share = share;
    // Here the limit is of requests open at once.
    out.concurrency_max =
        std::max(1, static_cast<std::int32_t>(share * static_cast<double>(out.concurrency_max)));
  }
  return out;
}

void Extractor::AddSite(Owned& owned, const std::string& tenant, const std::string& key,
                        const v1::Connection& connection) {
  const std::string url = BaseUrl(connection);
  if (url.empty()) {
    ports_.logger.Log(Logger::Level::kError, "A connection has no URL.",
                      {{"tenant", tenant}, {"connection", connection.name()}});
    return;
  }
  std::unique_ptr<budget::Budget>& budget = budgets_[url];
  if (budget == nullptr) {
    budget = std::make_unique<budget::Budget>(BudgetOptionsOf(connection));
  } else {
    budget->SetOptions(BudgetOptionsOf(connection));
  }
  budget->SingleUntil(owned.single_until);
  budget_members_[budget.get()].insert(key);
  Options options = options_;
  if (const std::string* text = FindSetting(connection, "poll_interval")) {
    options.poll_interval = ParseSetting(*text).value_or(options.poll_interval);
  }
  if (const std::string* text = FindSetting(connection, "visibility_lag")) {
    options.visibility_lag = ParseSetting(*text).value_or(options.visibility_lag);
  }
  owned.sites.insert(key);
  auto site = std::make_unique<Site>(*this, owned, connection, tenant, *budget, options, now_);
  site->scheduled = Instant::max();
  Site& added = *site;
  site_by_number_[added.number] = &added;
  sites_[key] = std::move(site);
  Schedule(added);
  if (const auto asked = owned.read_again.extract(key)) {
    ReadEventsAgain(owned, tenant, connection.name(), asked.mapped().from, asked.mapped().offset);
  }
  // Also of a connection that is linked again only now.
  const eventlog::Table* changes = owner_.table(Topic::kChanges, owned.partition);
  std::set<std::string> unknown = Undecodable(*changes);
  unknown.insert(changes->void_keys().begin(), changes->void_keys().end());
  for (const std::string& entity : unknown) {
    if (entity.starts_with(key + "/")) Repair(entity);
  }
}

void Extractor::RemoveSite(const std::string& key) {
  Site* site = FindSite(key);
  if (site == nullptr) return;
  site->connection.Stop();
  agenda_.erase({site->scheduled, key});
  site->owned.sites.erase(key);
  budget_members_[&site->budget].erase(key);
  StopWaiting(site->budget, key);
  site_by_number_.erase(site->number);
  sites_.erase(key);
}

void Extractor::StopWaiting(const budget::Budget& budget, const std::string& key) {
  const auto found = budget_waiting_.find(&budget);
  if (found == budget_waiting_.end()) return;
  found->second.erase(key);
  if (found->second.empty()) budget_waiting_.erase(found);
}

void Extractor::Schedule(Site& site) {
  const Instant due = site.connection.next_due();
  if (due == site.scheduled) return;
  agenda_.erase({site.scheduled, site.key});
  site.scheduled = due;
  if (due != Instant::max()) agenda_.emplace(due, site.key);
}

void Extractor::Repair(std::string_view key) {
  const auto parts = ids::SplitKey(key);
  if (!parts || parts->size() != 4) return;
  const std::optional<StreamKind> kind = StreamKindOf((*parts)[2]);
  Site* site = FindSite(SiteKey((*parts)[0], (*parts)[1]));
  if (!kind || site == nullptr) return;
  site->connection.Repair(*kind, (*parts)[3]);
  Schedule(*site);
}

void Extractor::ReadEventsAgain(Owned& owned, const std::string& tenant,
                                const std::string& connection, WallTime from, std::int64_t offset) {
  if (Site* site = FindSite(SiteKey(tenant, connection))) {
    site->connection.ReadEventsAgain(from);
    site->connection.OnHint(now_, offset);
    Schedule(*site);
    return;
  }
  // It is not linked now. When it is, it begins there.
  const std::string key = ids::CursorKey(tenant, connection, Name(StreamKind::kEvents));
  const auto entry = owner_.table(Topic::kCursors, owned.partition)->Get(key);
  v1::Cursor cursor;
  if (!entry || entry->is_void || !cursor.ParseFromString(entry->value)) return;
  cursor.clear_since_id();
  Owned::ReadAgain& asked =
      owned.read_again.try_emplace(SiteKey(tenant, connection), Owned::ReadAgain{from, offset})
          .first->second;
  asked.from = std::min(asked.from, from);
  SetTime(cursor.mutable_read_again_from(), asked.from);
  cursor.set_events_end(owned.events_asked_for.empty() ? owned.events_end : owned.events_end_found);
  const eventlog::ProduceId id =
      owner_.Write(Topic::kCursors, owned.partition, key, cursor.SerializeAsString());
  if (id != 0) owned.set_back[id] = offset;
}

void Extractor::OnExpiredHints(Owned& owned, const eventlog::ExpiredUnread& expired) {
  counters_.expired_unread += expired.begin - expired.from;
  ports_.logger.Log(Logger::Level::kError,
                    "Notifications have expired unread; events are read again.",
                    {{"partition", std::to_string(owned.partition)},
                     {"from", std::to_string(expired.from)},
                     {"begin", std::to_string(expired.begin)}});
  owned.notifications_next = expired.begin;
  // One of them may have asked for it.
  for (const std::string& key : std::set<std::string>(owned.sites)) {
    const Site& site = *FindSite(key);
    ReadEventsAgain(owned, site.tenant, site.settings.name(), now_.wall - options_.action_age,
                    expired.begin - 1);
  }
}

void Extractor::CommitHints() {
  for (const auto& [partition, owned] : owned_) {
    std::int64_t next = owned->notifications_next;
    for (const auto& [id, offset] : owned->set_back) next = std::min(next, offset);
    for (const std::string& key : owned->sites) {
      const Site* site = FindSite(key);
      const auto open = site->connection.oldest_open_hint();
      if (open) next = std::min(next, *open);
    }
    if (next <= owned->notifications_committed || owned->is_revoking) continue;
    owned->notifications_committed = next;
    owner_.Commit(Topic::kNotifications, partition, next);
  }
}

}  // namespace tributary::extractor

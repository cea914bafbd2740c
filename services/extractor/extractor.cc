#include "services/extractor/extractor.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"

#include "libs/eventlog/owner.h"
#include "libs/ids/keys.h"
#include "libs/tenants/directory.h"
#include "libs/time/rfc3339.h"
#include "services/extractor/connection.h"
#include "services/extractor/mirror.h"
#include "services/extractor/site_gate.h"
#include "tributary/v1/changes.pb.h"
#include "tributary/v1/control.pb.h"
#include "tributary/v1/tenants.pb.h"

namespace tributary::extractor {
namespace {

using eventlog::Partition;
using eventlog::Topic;

constexpr std::string_view kIntegration = "chargify";
constexpr Duration kStatusInterval = std::chrono::seconds(1);
constexpr std::size_t kNearestMax = 5;
constexpr std::size_t kAsidePrefixBytes = 64;

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

/// Where the site is. The region is data: nothing else may assume a host (trap 34). Empty: unknown.
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

eventlog::OwnerOptions OwnerOptionsOf(const Options& options) {
  eventlog::OwnerOptions owner;
  owner.service = "extractor";
  owner.instance = options.instance;
  owner.writes = {Topic::kCursors, Topic::kChanges};
  owner.reads = {Topic::kTenants};
  owner.streams = {Topic::kNotifications};
  owner.indexers = {{Topic::kChanges, UndecodableChanges()}};
  owner.is_leased = true;
  owner.lease = options.lease;
  owner.pause_bound = options.pause_bound;
  owner.min_compaction_lag = options.min_compaction_lag;
  owner.delete_retention = options.delete_retention;
  owner.predecessor_is_dead = options.predecessor_is_dead;
  return owner;
}

std::int64_t Distance(std::string_view a, std::string_view b) {
  std::int64_t left = 0;
  std::int64_t right = 0;
  const auto is_number = [](std::string_view text, std::int64_t& out) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    return error == std::errc() && end == text.data() + text.size();
  };
  if (is_number(a, left) && is_number(b, right) && left >= 0 && right >= 0) {
    return left < right ? right - left : left - right;
  }
  const std::size_t same = static_cast<std::size_t>(
      std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  return static_cast<std::int64_t>(a.size() - same) + 1'000'000'000;
}

Operation OperationOf(std::string_view path) {
  path = path.substr(0, path.find('?'));
  if (path == "/site.json") return Operation::kSite;
  if (path == "/customers.json") return Operation::kCustomers;
  if (path == "/subscriptions.json") return Operation::kSubscriptions;
  if (path == "/subscriptions_components.json") return Operation::kComponents;
  if (path == "/invoices.json") return Operation::kInvoices;
  if (path == "/events.json") return Operation::kEvents;
  return Operation::kById;
}

class Extractor;

/// A partition that is ours.
struct Owned {
  Partition partition = 0;
  std::int64_t generation = 0;
  v1::WriterToken token;
  std::unique_ptr<Mirror> mirror;
  std::int64_t reads = 0;
  std::set<std::int64_t> reads_in_flight;
  /// Rule 11: a dead owner's requests may be under way until then.
  Instant single_until{};
  bool is_revoking = false;
  /// Sites, by their key.
  std::set<std::string> sites;
  std::int64_t notifications_next = -1;
  std::int64_t notifications_committed = -1;
};

/// A Chargify connection and its way out: the seam between Connection and the stage.
class Site final : public ConnectionHost {
 public:
  Site(Extractor& stage, Owned& owned, const v1::Connection& connection, std::string tenant,
       SiteGate& gate, const Options& options, Now now);

  std::optional<Ticket> TrySend(std::string_view path, Instant& retry_at) override;
  void Cancel(http::RequestId id) override;
  void OnThrottled(Instant until) override;
  v1::ReadSequence NextRead() override;
  std::int64_t oldest_read_in_flight() const override;
  eventlog::ProduceId WriteChange(std::string_view key, const v1::ChangeEvent& change) override;
  eventlog::ProduceId WriteCursor(std::string_view stream, const v1::Cursor& cursor) override;
  eventlog::ProduceId AppendEvent(const v1::SourceEvent& event) override;
  std::optional<v1::Cursor> ReadCursor(std::string_view stream) override;
  void AskCredential(std::int64_t refused_revision) override;
  std::uint64_t Random() override;
  void Warn(std::string_view message,
            std::vector<std::pair<std::string_view, std::string>> fields) override;

  void OnCredential(const v1::Credential& credential);
  eventlog::RecordMeta Meta(std::string id, std::string_view type) const;

  Extractor& stage;
  Owned& owned;
  const v1::Connection settings;
  const std::string tenant;
  const std::string key;
  const std::string base_url;
  /// `source` of what is read here.
  const std::string origin;
  /// Never given twice.
  const std::int64_t number;
  SiteGate& gate;
  std::string authorization;
  std::int64_t credential_revision = 0;
  /// As entered in the agenda.
  Instant scheduled{};
  Connection connection;
};

class Extractor final : public ReadingStage, private eventlog::OwnerListener {
 public:
  Extractor(Options options, StagePorts ports)
      : options_(std::move(options)),
        ports_(std::move(ports)),
        owner_(OwnerOptionsOf(options_), ports_.log, ports_.stores, ports_.random, *this),
        directory_(
            [this](Partition partition, std::string_view key, const eventlog::TableEntry& entry) {
              KeepAside(Topic::kTenants, partition, entry.offset, key, entry.value);
            }) {}

  void OnLog(Now now, const eventlog::Fact& fact) override {
    now_ = now;
    owner_.OnFact(now, fact);
  }

  void OnHttp(Now now, http::Completion completion) override {
    now_ = now;
    const auto found = requests_.find(completion.id);
    if (found == requests_.end()) return;
    const Sent sent = found->second;
    requests_.erase(found);
    sent.gate->Leave(now, completion.elapsed);
    const http::AnswerClass answer = http::Classify(completion, true, false, now.wall).answer;
    ++counters_
          .requests[static_cast<std::size_t>(sent.operation)][static_cast<std::size_t>(answer)];
    if (Owned* owned = FindOwned(sent.partition)) owned->reads_in_flight.erase(sent.read);
    Site* site = FindSite(sent.site);
    if (site != nullptr && site->connection.owns_request(completion.id)) {
      site->connection.OnAnswer(now, completion);
      Schedule(*site);
    }
    // Who else waits for this gate.
    const std::set<std::string> waiting = gate_members_[sent.gate];
    for (const std::string& key : waiting) {
      if (key == sent.site) continue;
      if (Site* other = FindSite(key)) {
        other->connection.Pump(now);
        Schedule(*other);
      }
    }
  }

  void OnControl(Now now, const v1::ToService& message) override {
    now_ = now;
    switch (message.kind_case()) {
      case v1::ToService::kCredential: {
        const v1::Credential& credential = message.credential();
        Site* site = FindSite(SiteKey(credential.tenant(), credential.connection()));
        if (site == nullptr) return;
        site->OnCredential(credential);
        Schedule(*site);
        return;
      }
      case v1::ToService::kTrace: {
        v1::FromService answer;
        answer.set_answer_to(message.id());
        *answer.mutable_trace() = Trace(message.trace());
        ports_.control.Send(answer);
        return;
      }
      case v1::ToService::kListParked: {
        // Nothing is ever parked here: what cannot be read is asked for again.
        v1::FromService answer;
        answer.set_answer_to(message.id());
        answer.mutable_parked();
        ports_.control.Send(answer);
        return;
      }
      case v1::ToService::kDecideParked: {
        v1::FromService answer;
        answer.set_answer_to(message.id());
        answer.mutable_decided()->set_problem("an extractor parks nothing");
        ports_.control.Send(answer);
        return;
      }
      case v1::ToService::KIND_NOT_SET:
        return;
    }
  }

  void OnTick(Now now) override {
    now_ = now;
    owner_.OnTick(now);
    while (!agenda_.empty() && agenda_.begin()->first <= now.steady) {
      const std::string key = agenda_.begin()->second;
      agenda_.erase(agenda_.begin());
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
      Report();
    }
  }

  Instant next_tick() const override {
    Instant next = std::min(owner_.next_tick(), status_due_);
    if (!agenda_.empty()) next = std::min(next, agenda_.begin()->first);
    return next;
  }

  bool MaySend(Now now, http::RequestId id) override {
    const auto found = requests_.find(id);
    if (found == requests_.end()) return false;
    const Owned* owned = FindOwned(found->second.partition);
    const Site* site = FindSite(found->second.site);
    return owned != nullptr && !owned->is_revoking && site != nullptr &&
           site->connection.owns_request(id) && owner_.may_send(now, owned->partition);
  }

  void Drain(Now now) override {
    now_ = now;
    owner_.ReleaseAll(now);
  }
  bool drained() const override { return owner_.partitions().empty(); }
  std::vector<std::string> not_ready_because() const override { return owner_.not_ready_because(); }
  std::string failure() const override { return owner_.failure(); }

  const Counters& counters() const override { return counters_; }
  const std::deque<SetAside>& set_aside() const override { return set_aside_; }
  Levels levels(Now now) const override {
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
    for (const auto& [partition, owned] : owned_) {
      levels.unread_entries =
          std::max(levels.unread_entries, static_cast<std::int64_t>(owned->mirror->unread()));
    }
    return levels;
  }

 private:
  friend class Site;

  struct Sent {
    std::string site;
    SiteGate* gate = nullptr;
    Partition partition = 0;
    std::int64_t read = 0;
    Operation operation{};
  };

  // ---- partitions ----

  void OnReady(const eventlog::Takeover& takeover) override {
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
    SendOwnership();
  }

  void OnEntry(Topic topic, Partition partition, std::string_view key,
               const std::optional<eventlog::TableEntry>& entry) override {
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

  void OnStreamRecord(const eventlog::Record& record) override {
    Owned* owned = FindOwned(record.partition);
    if (owned == nullptr) return;
    owned->notifications_next = record.offset + 1;
    v1::Notification notification;
    if (!record.value || !notification.ParseFromString(*record.value)) {
      KeepAside(record.topic, record.partition, record.offset, record.key,
                record.value.value_or(""));
      return;
    }
    const std::optional<std::string> tenant = ids::DecodePart(record.key);
    if (!tenant) return;
    Site* site = FindSite(SiteKey(*tenant, notification.connection()));
    if (site == nullptr) return;
    site->connection.OnHint(now_, record.offset);
    Schedule(*site);
  }

  void OnWritten(eventlog::ProduceId id, eventlog::Offset) override {
    const auto found = writes_.find(id);
    if (found == writes_.end()) return;
    const auto site = site_by_number_.find(found->second);
    writes_.erase(found);
    if (site == site_by_number_.end()) return;
    site->second->connection.OnWritten(now_, id);
    Schedule(*site->second);
  }

  void OnRevoking(Partition partition, Instant) override {
    if (Owned* owned = FindOwned(partition)) {
      owned->is_revoking = true;
      for (const std::string& key : owned->sites) {
        if (Site* site = FindSite(key)) site->connection.Stop();
      }
    }
    owner_.Release(partition);
  }

  void OnGone(Partition partition) override {
    const auto found = owned_.find(partition);
    if (found != owned_.end()) {
      const std::set<std::string> keys = found->second->sites;
      for (const std::string& key : keys) RemoveSite(key);
      owned_.erase(partition);
    }
    directory_.Forget(partition);
    SendOwnership();
  }

  Owned* FindOwned(Partition partition) {
    const auto found = owned_.find(partition);
    return found == owned_.end() ? nullptr : found->second.get();
  }

  // ---- sites ----

  /// The time of day for headers; a batch of records shares it.
  const std::string& NowText() {
    if (now_text_.empty() || now_text_of_ != now_.wall) {
      now_text_ = FormatRfc3339(now_.wall);
      now_text_of_ = now_.wall;
    }
    return now_text_;
  }

  static std::string SiteKey(std::string_view tenant, std::string_view connection) {
    return ids::JoinKey({tenant, connection});
  }

  Site* FindSite(const std::string& key) {
    const auto found = sites_.find(key);
    return found == sites_.end() ? nullptr : found->second.get();
  }

  /// Brings the sites of a tenant to what its snapshot says.
  void Reconcile(Partition partition, const std::string& tenant) {
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
      if (!stays) RemoveSite(key);
    }
    for (const auto& [key, connection] : wanted) {
      if (Site* site = FindSite(key)) {
        if (connection->credential_revision() > site->credential_revision) {
          site->AskCredential(0);
        }
        continue;
      }
      AddSite(*owned, tenant, key, *connection);
    }
  }

  static bool SameSite(const v1::Connection& a, const v1::Connection& b) {
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

  void AddSite(Owned& owned, const std::string& tenant, const std::string& key,
               const v1::Connection& connection) {
    const std::string url = BaseUrl(connection);
    if (url.empty()) {
      ports_.logger.Log(Logger::Level::kError, "A connection has no URL.",
                        {{"tenant", tenant}, {"connection", connection.name()}});
      return;
    }
    auto gate = gates_.find(url);
    if (gate == gates_.end()) {
      SiteGate::Options limits;
      limits.in_flight_max = options_.requests_in_flight_max;
      if (connection.concurrency() > 0) {
        limits.in_flight_max = std::min(limits.in_flight_max, connection.concurrency());
      }
      gate = gates_.emplace(url, std::make_unique<SiteGate>(limits)).first;
    }
    gate->second->SingleUntil(owned.single_until);
    gate_members_[gate->second.get()].insert(key);
    Options options = options_;
    if (const std::string* text = FindSetting(connection, "poll_interval")) {
      options.poll_interval = ParseSetting(*text).value_or(options.poll_interval);
    }
    if (const std::string* text = FindSetting(connection, "visibility_lag")) {
      options.visibility_lag = ParseSetting(*text).value_or(options.visibility_lag);
    }
    owned.sites.insert(key);
    auto site =
        std::make_unique<Site>(*this, owned, connection, tenant, *gate->second, options, now_);
    site->scheduled = Instant::max();
    Site& added = *site;
    site_by_number_[added.number] = &added;
    sites_[key] = std::move(site);
    Schedule(added);
    // Also of a connection that is linked again only now.
    const eventlog::Table* changes = owner_.table(Topic::kChanges, owned.partition);
    std::set<std::string> unknown = Undecodable(*changes);
    unknown.insert(changes->void_keys().begin(), changes->void_keys().end());
    for (const std::string& entity : unknown) {
      if (entity.starts_with(key + "/")) Repair(entity);
    }
  }

  void RemoveSite(const std::string& key) {
    Site* site = FindSite(key);
    if (site == nullptr) return;
    site->connection.Stop();
    agenda_.erase({site->scheduled, key});
    site->owned.sites.erase(key);
    gate_members_[&site->gate].erase(key);
    site_by_number_.erase(site->number);
    sites_.erase(key);
  }

  void Schedule(Site& site) {
    const Instant due = site.connection.next_due();
    if (due == site.scheduled) return;
    agenda_.erase({site.scheduled, site.key});
    site.scheduled = due;
    if (due != Instant::max()) agenda_.emplace(due, site.key);
  }

  /// Keys whose newest entry cannot be decoded.
  static std::set<std::string> Undecodable(const eventlog::Table& changes) {
    std::set<std::string> keys;
    changes.ScanIndex(kUndecodableRow, [&](std::string_view, std::string_view key) {
      keys.emplace(key);
      return true;
    });
    return keys;
  }

  /// True: it cannot be decoded, and counts as none.
  bool SetAsideCursor(Partition partition, std::string_view key,
                      const eventlog::TableEntry& entry) {
    v1::Cursor cursor;
    if (entry.is_void || key.starts_with('!') || cursor.ParseFromString(entry.value)) return false;
    KeepAside(Topic::kCursors, partition, entry.offset, key, entry.value);
    return true;
  }

  void KeepAside(Topic topic, Partition partition, eventlog::Offset offset, std::string_view key,
                 std::string_view bytes) {
    ++counters_.set_aside[static_cast<std::size_t>(topic)];
    SetAside aside;
    aside.topic = topic;
    aside.partition = partition;
    aside.offset = offset;
    aside.key = std::string(key);
    aside.sha256_hex = ids::Sha256Hex(bytes);
    aside.prefix_hex = ids::ToHex(bytes.substr(0, kAsidePrefixBytes));
    ports_.logger.Log(Logger::Level::kError, "A record cannot be decoded and is set aside.",
                      {{"topic", std::string(eventlog::Name(topic))},
                       {"partition", std::to_string(partition)},
                       {"offset", std::to_string(offset)},
                       {"key", aside.key},
                       {"sha256", aside.sha256_hex},
                       {"bytes", aside.prefix_hex}});
    set_aside_.push_back(std::move(aside));
    if (set_aside_.size() > kSetAsideMax) set_aside_.pop_front();
  }

  /// Rule 4: the newest entry of this entity is no state.
  void Repair(std::string_view key) {
    const auto parts = ids::SplitKey(key);
    if (!parts || parts->size() != 4) return;
    const std::optional<StreamKind> kind = StreamKindOf((*parts)[2]);
    Site* site = FindSite(SiteKey((*parts)[0], (*parts)[1]));
    if (!kind || site == nullptr) return;
    site->connection.Repair(*kind, (*parts)[3]);
    Schedule(*site);
  }

  /// Rule 45: webhooks that reads have caught up with.
  void CommitHints() {
    for (const auto& [partition, owned] : owned_) {
      std::int64_t next = owned->notifications_next;
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

  // ---- control ----

  void SendOwnership() {
    v1::FromService message;
    v1::Ownership* ownership = message.mutable_ownership();
    for (const auto& [partition, owned] : owned_) ownership->add_partitions(partition);
    ports_.control.Send(message);
  }

  void Report() {
    if (!said_hello_) {
      said_hello_ = true;
      v1::FromService hello;
      hello.mutable_hello()->set_service("extractor");
      hello.mutable_hello()->set_instance(options_.instance);
      ports_.control.Send(hello);
      SendOwnership();
    }
    v1::FromService message;
    v1::ServiceStatus* status = message.mutable_status();
    status->set_ready(owner_.all_ready());
    for (const auto& [key, site] : sites_) site->connection.AddStatus(*status);
    for (const v1::ConnectionReport& report : status->connections()) {
      std::string& last = reported_[SiteKey(report.tenant(), report.connection())];
      const std::string now = report.problem() + "\n" + report.fix();
      if (last == now || (last.empty() && report.problem().empty())) continue;
      last = now;
      v1::FromService alone;
      *alone.mutable_connection_report() = report;
      ports_.control.Send(alone);
    }
    std::string bytes = message.SerializeAsString();
    if (bytes == last_status_) return;
    last_status_ = std::move(bytes);
    ports_.control.Send(message);
  }

  v1::TraceResponse Trace(const v1::TraceRequest& request) {
    v1::TraceResponse response;
    const std::string kind = request.kind().empty() ? "customers" : request.kind();
    const tenants::TenantState* tenant = directory_.Find(request.tenant());
    if (tenant == nullptr) {
      response.set_problem("tenant " + request.tenant() + " is not served by this extractor");
      return response;
    }
    const eventlog::Table* changes = owner_.table(Topic::kChanges, tenant->partition);
    const Owned* owned = FindOwned(tenant->partition);
    if (changes == nullptr || owned == nullptr) return response;
    std::vector<std::pair<std::int64_t, std::string>> nearest;
    for (const v1::Connection& connection : tenant->snapshot.connections()) {
      if (!request.connection().empty() && connection.name() != request.connection()) continue;
      const std::string key =
          ids::ChangeKey(request.tenant(), connection.name(), kind, request.id());
      if (const auto entry = changes->Get(key)) {
        response.set_found(true);
        response.set_entity(key);
        v1::Version* version = response.add_versions();
        version->set_generation(owned->generation);
        version->set_offset(entry->offset);
        continue;
      }
      const std::string prefix = ids::ChangeKey(request.tenant(), connection.name(), kind, "");
      changes->Scan(prefix, {}, [&](std::string_view other, const eventlog::TableEntry&) {
        const std::optional<std::string> id = ids::DecodePart(other.substr(prefix.size()));
        if (!id) return true;
        nearest.emplace_back(Distance(request.id(), *id), *id);
        std::sort(nearest.begin(), nearest.end());
        if (nearest.size() > kNearestMax) nearest.pop_back();
        return true;
      });
    }
    if (response.found()) return response;
    for (const auto& [distance, id] : nearest) response.add_nearest(id);
    return response;
  }

  const Options options_;
  StagePorts ports_;
  eventlog::Owner owner_;
  tenants::Directory directory_;
  Now now_{};
  std::map<Partition, std::unique_ptr<Owned>> owned_;
  /// By URL: two connections to one site share its four requests. Never removed.
  std::map<std::string, std::unique_ptr<SiteGate>> gates_;
  std::map<const SiteGate*, std::set<std::string>> gate_members_;
  std::map<std::string, std::unique_ptr<Site>> sites_;
  std::set<std::pair<Instant, std::string>> agenda_;
  std::map<http::RequestId, Sent> requests_;
  http::RequestId next_request_ = 1;
  /// Sites by their number, and those of what is not acknowledged.
  std::int64_t sites_made_ = 0;
  std::unordered_map<std::int64_t, Site*> site_by_number_;
  std::unordered_map<eventlog::ProduceId, std::int64_t> writes_;
  std::string now_text_;
  WallTime now_text_of_{};
  Counters counters_;
  std::deque<SetAside> set_aside_;
  Instant status_due_{};
  bool said_hello_ = false;
  std::string last_status_;
  std::map<std::string, std::string> reported_;
};

// ---- Site ----

Site::Site(Extractor& extractor, Owned& owner, const v1::Connection& connection_settings,
           std::string tenant_name, SiteGate& site_gate, const Options& options, Now now)
    : stage(extractor),
      owned(owner),
      settings(connection_settings),
      tenant(std::move(tenant_name)),
      key(Extractor::SiteKey(tenant, connection_settings.name())),
      base_url(BaseUrl(connection_settings)),
      origin("/chargify/" + tenant + "/" + connection_settings.name()),
      number(++extractor.sites_made_),
      gate(site_gate),
      connection(
          {.tenant = tenant, .name = connection_settings.name(), .generation = owner.generation},
          options, *owner.mirror, *this, now) {}

std::optional<ConnectionHost::Ticket> Site::TrySend(std::string_view path, Instant& retry_at) {
  const Now now = stage.now_;
  if (owned.is_revoking) return std::nullopt;
  if (!stage.owner_.ready(owned.partition)) {
    // Only for as long as the tables are behind (rule 9); nobody tells when they no longer are.
    retry_at = now.steady + std::chrono::milliseconds(200);
    return std::nullopt;
  }
  if (gate.paused(now)) {
    retry_at = gate.paused_until();
    return std::nullopt;
  }
  if (!stage.owner_.may_send(now, owned.partition)) {
    retry_at = now.steady + std::chrono::milliseconds(200);
    return std::nullopt;
  }
  const auto limit = static_cast<std::size_t>(stage.options_.requests_in_flight_total_max);
  if (!gate.may_enter(now) || stage.requests_.size() >= limit) {
    retry_at = now.steady + std::chrono::seconds(1);
    return std::nullopt;
  }
  Ticket ticket;
  ticket.id = stage.next_request_++;
  ticket.read = NextRead();
  owned.reads_in_flight.insert(ticket.read.number());
  gate.Enter();
  stage.requests_.emplace(ticket.id, Extractor::Sent{.site = key,
                                                     .gate = &gate,
                                                     .partition = owned.partition,
                                                     .read = ticket.read.number(),
                                                     .operation = OperationOf(path)});
  http::Request request;
  request.url = base_url + std::string(path);
  request.headers = {{"Authorization", authorization},
                     {"Accept", "application/json"},
                     {"User-Agent", "tributary"}};
  request.timeout = stage.options_.request_timeout;
  request.body_bytes_max = stage.options_.body_bytes_max;
  request.allow_insecure_loopback = settings.allow_insecure_loopback();
  stage.ports_.http.Send(ticket.id, std::move(request));
  return ticket;
}

void Site::Cancel(http::RequestId id) { stage.ports_.http.Cancel(id); }

void Site::OnThrottled(Instant until) { gate.Refused(stage.now_, until); }

v1::ReadSequence Site::NextRead() {
  v1::ReadSequence read;
  *read.mutable_reader() = owned.token;
  read.set_number(++owned.reads);
  return read;
}

std::int64_t Site::oldest_read_in_flight() const {
  return owned.reads_in_flight.empty() ? owned.reads + 1 : *owned.reads_in_flight.begin();
}

eventlog::RecordMeta Site::Meta(std::string id, std::string_view type) const {
  eventlog::RecordMeta meta;
  meta.source = origin;
  meta.type = std::string(type);
  meta.time = stage.NowText();
  meta.traceparent = ids::TraceParent(id);
  meta.id = std::move(id);
  return meta;
}

eventlog::ProduceId Site::WriteChange(std::string_view change_key, const v1::ChangeEvent& change) {
  const v1::ReadSequence& read = change.entity().read();
  std::string id = std::string(change_key) + "@" + std::to_string(read.reader().generation()) +
                   "." + std::to_string(read.reader().offset()) + "." +
                   std::to_string(read.number());
  const eventlog::ProduceId produced =
      stage.owner_.Write(Topic::kChanges, owned.partition, change_key, change.SerializeAsString(),
                         Meta(std::move(id), "tributary.change.v1"));
  if (produced != 0) {
    stage.writes_[produced] = number;
    ++stage.counters_.changes;
  }
  return produced;
}

eventlog::ProduceId Site::WriteCursor(std::string_view stream, const v1::Cursor& cursor) {
  const std::string cursor_key = ids::CursorKey(tenant, settings.name(), stream);
  std::string id = cursor_key + "@" + std::to_string(owned.token.generation()) + "." +
                   std::to_string(owned.token.offset()) + "." + std::to_string(++owned.reads);
  return stage.owner_.Write(Topic::kCursors, owned.partition, cursor_key,
                            cursor.SerializeAsString(), Meta(std::move(id), "tributary.cursor.v1"));
}

eventlog::ProduceId Site::AppendEvent(const v1::SourceEvent& event) {
  // One id for one event, however often it is read: readers take repeats for one.
  const eventlog::ProduceId produced = stage.owner_.Append(
      Topic::kEvents, owned.partition, ids::EncodePart(tenant), event.SerializeAsString(),
      Meta(ids::JoinKey({tenant, settings.name(), event.id()}), "tributary.event.v1"));
  if (produced != 0) {
    stage.writes_[produced] = number;
    ++stage.counters_.events;
  }
  return produced;
}

std::optional<v1::Cursor> Site::ReadCursor(std::string_view stream) {
  const eventlog::Table* cursors = stage.owner_.table(Topic::kCursors, owned.partition);
  if (cursors == nullptr) return std::nullopt;
  const auto entry = cursors->Get(ids::CursorKey(tenant, settings.name(), stream));
  v1::Cursor cursor;
  if (!entry || !cursor.ParseFromString(entry->value)) return std::nullopt;
  if (entry->is_void) cursor.set_generation(0);
  return cursor;
}

void Site::AskCredential(std::int64_t refused_revision) {
  v1::FromService message;
  v1::CredentialRequest* request = message.mutable_credential_request();
  request->set_tenant(tenant);
  request->set_connection(settings.name());
  request->set_refused_revision(refused_revision);
  stage.ports_.control.Send(message);
}

std::uint64_t Site::Random() { return stage.ports_.random(); }

void Site::Warn(std::string_view message,
                std::vector<std::pair<std::string_view, std::string>> fields) {
  fields.emplace_back("tenant", tenant);
  stage.ports_.logger.Log(Logger::Level::kWarning, message, fields);
}

void Site::OnCredential(const v1::Credential& credential) {
  const auto field = credential.fields().find("api_key");
  const bool usable = credential.problem().empty() && field != credential.fields().end();
  std::string problem = credential.problem();
  if (!usable && problem.empty()) problem = "the credential has no api_key";
  credential_revision = credential.revision();
  if (usable) {
    std::string encoded;
    absl::Base64Escape(field->second + ":x", &encoded);
    authorization = "Basic " + encoded;
  }
  connection.OnCredential(std::move(problem), usable, credential.revision());
}

}  // namespace

std::unique_ptr<ReadingStage> MakeExtractor(Options options, StagePorts ports) {
  return std::make_unique<Extractor>(std::move(options), std::move(ports));
}

}  // namespace tributary::extractor

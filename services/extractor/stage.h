#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "libs/budget/budget.h"
#include "libs/eventlog/owner.h"
#include "libs/tenants/directory.h"
#include "services/extractor/connection.h"
#include "services/extractor/extractor.h"
#include "services/extractor/mirror.h"
#include "tributary/v1/changes.pb.h"
#include "tributary/v1/control.pb.h"
#include "tributary/v1/tenants.pb.h"

// The inside of the stage: partitions and facts in extractor.cc, which sites there are in sites.cc,
// a site's way out in site.cc, control and status in control.cc.

namespace tributary::extractor {

class Extractor;

/// A partition that is ours.
struct Owned {
  eventlog::Partition partition = 0;
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
  /// Cursors that are being set back for a notification, by its offset.
  std::map<eventlog::ProduceId, std::int64_t> set_back;
  std::int64_t notifications_committed = -1;
  struct ReadAgain {
    WallTime from{};
    std::int64_t offset = 0;
  };
  /// The same of connections that are not linked, by the key of the site: the table may not say it
  /// yet when they are linked again.
  std::map<std::string, ReadAgain> read_again;
  /// Behind the newest record of `events` that is known to be there: acknowledged to this owner, or
  /// to one whose cursors we have.
  eventlog::Offset events_end = 0;
  /// The running question after its end; 0: none. What is known to be there is of when it was
  /// asked.
  std::uint64_t events_question = 0;
  eventlog::Offset events_end_asked = 0;
  Instant events_look_due{};
  /// `events` was lost: what asks for reading them again, not acknowledged yet, and where the new
  /// one is known to end. Until it is, cursors tell of the loss.
  std::set<eventlog::ProduceId> events_asked_for;
  eventlog::Offset events_end_found = 0;
};

/// Where the site is. The region is data: nothing else may assume a host (trap 34). Empty: unknown.
std::string BaseUrl(const v1::Connection& connection);

/// A Chargify connection and its way out: the seam between Connection and the stage.
class Site final : public ConnectionHost {
 public:
  Site(Extractor& stage, Owned& owned, const v1::Connection& connection, std::string tenant,
       budget::Budget& budget, const Options& options, Now now);

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
  static std::string TraceParentOf(std::string_view id);

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
  /// Of the site, whoever asks: the site counts all of them, queues what is too many and then
  /// refuses (trap 21). Slow answers are its first sign.
  budget::Budget& budget;
  std::optional<Instant> waits_since;
  std::string authorization;
  std::int64_t credential_revision = 0;
  /// As entered in the agenda.
  Instant scheduled{};
  Connection connection;
};

class Extractor final : public ReadingStage, private eventlog::OwnerListener {
 public:
  Extractor(Options options, StagePorts ports);

  void OnLog(Now now, const eventlog::Fact& fact) override;

  void OnHttp(Now now, http::Completion completion) override;

  void OnControl(Now now, const v1::ToService& message) override;

  void OnTick(Now now) override;

  Instant next_tick() const override;

  bool MaySend(Now now, http::RequestId id) override;

  void Drain(Now now) override;
  bool drained() const override { return owner_.partitions().empty(); }
  std::vector<std::string> not_ready_because() const override;
  std::string failure() const override;

  const Counters& counters() const override { return counters_; }
  const std::deque<SetAside>& set_aside() const override { return set_aside_.newest(); }
  Levels levels(Now now) const override;

 private:
  friend class Site;

  struct Sent {
    std::string site;
    budget::Budget* budget = nullptr;
    budget::Budget::Ticket ticket;
    eventlog::Partition partition = 0;
    std::int64_t read = 0;
    Operation operation{};
  };

  // ---- partitions ----

  void OnReady(const eventlog::Takeover& takeover) override;

  void OnEntry(eventlog::Topic topic, eventlog::Partition partition, std::string_view key,
               const std::optional<eventlog::TableEntry>& entry) override;

  void OnStreamRecord(const eventlog::Record& record) override;

  void OnWritten(eventlog::ProduceId id, eventlog::Offset) override;

  void OnRevoking(eventlog::Partition partition, Instant) override;

  void OnGone(eventlog::Partition partition) override;

  Owned* FindOwned(eventlog::Partition partition);

  // ---- sites ----

  static std::string SiteKey(std::string_view tenant, std::string_view connection);

  Site* FindSite(const std::string& key);

  /// Brings the sites of a tenant to what its snapshot says.
  void Reconcile(eventlog::Partition partition, const std::string& tenant);

  static bool SameSite(const v1::Connection& a, const v1::Connection& b);

  void AddSite(Owned& owned, const std::string& tenant, const std::string& key,
               const v1::Connection& connection);

  void RemoveSite(const std::string& key);

  /// What a site allows, for this connection to it.
  budget::Options BudgetOptionsOf(const v1::Connection& connection) const;

  /// Tells those that wait for this budget that an answer has made room.
  void PumpWaiting(budget::Budget& budget, std::string after);

  void StopWaiting(const budget::Budget& budget, const std::string& key);

  /// What the answer says of it.
  void Settle(const Sent& sent, const http::Completion& completion);

  void Schedule(Site& site);

  /// Keys whose newest entry cannot be decoded.
  static std::set<std::string> Undecodable(const eventlog::Table& changes);

  /// True: it cannot be decoded, and counts as none.
  bool SetAsideCursor(eventlog::Partition partition, std::string_view key,
                      const eventlog::TableEntry& entry);

  void KeepAside(eventlog::Topic topic, eventlog::Partition partition, eventlog::Offset offset,
                 std::string_view key, std::string_view bytes);

  /// Rule 4: the newest entry of this entity is no state.
  void Repair(std::string_view key);

  /// Rule 37: events have expired unread.
  void ReadEventsAgain(Owned& owned, const std::string& tenant, const std::string& connection,
                       WallTime from, std::int64_t offset);

  void OnExpiredHints(Owned& owned, const eventlog::ExpiredUnread& expired);

  // ---- events that were lost, in lost_events.cc ----

  void LearnEventsEnd(Owned& owned);
  void AskForEventsEnd(Owned& owned);
  void OnEventsEnd(const eventlog::EndSampled& sampled);
  void OnEventAppended(Owned& owned, eventlog::Offset offset);
  /// `end`: of the `events` that is there now.
  void OnEventsLost(Owned& owned, eventlog::Offset end);
  /// They will be read again, whatever happens from now on.
  void OnEventsAskedFor(Owned& owned);
  using OnCursor = std::function<void(const std::string& tenant, const std::string& connection,
                                      const v1::Cursor& cursor)>;
  /// Each position in events that can be read, of connections that are not linked now too.
  void ForEachEventsCursor(const Owned& owned, const OnCursor& each);

  /// Rule 45: webhooks that reads have caught up with.
  void CommitHints();

  // ---- control ----

  void SendOwnership();

  void Report();

  v1::TraceResponse Trace(const v1::TraceRequest& request);

  const Options options_;
  StagePorts ports_;
  eventlog::Owner owner_;
  tenants::Directory directory_;
  Now now_{};
  std::map<eventlog::Partition, std::unique_ptr<Owned>> owned_;
  /// By URL: two connections to one site share its four requests. Never removed.
  std::map<std::string, std::unique_ptr<budget::Budget>> budgets_;
  std::map<const budget::Budget*, std::set<std::string>> budget_members_;
  /// Those of them that had something to send when it had no room.
  std::map<const budget::Budget*, std::set<std::string>> budget_waiting_;
  std::map<std::string, std::unique_ptr<Site>> sites_;
  std::set<std::pair<Instant, std::string>> agenda_;
  std::map<http::RequestId, Sent> requests_;
  http::RequestId next_request_ = 1;
  std::uint64_t last_question_ = 0;
  /// Sites by their number, and those of what is not acknowledged.
  std::int64_t sites_made_ = 0;
  std::unordered_map<std::int64_t, Site*> site_by_number_;
  struct Write {
    std::int64_t site = 0;
    bool is_event = false;
  };
  std::unordered_map<eventlog::ProduceId, Write> writes_;
  Counters counters_;
  SetAsideRecords set_aside_;
  Instant status_due_{};
  /// Something has happened since the last report that it may tell.
  bool may_report_ = true;
  bool was_ready_ = false;
  bool said_hello_ = false;
  std::string last_status_;
  std::map<std::string, std::string> reported_;
};

}  // namespace tributary::extractor

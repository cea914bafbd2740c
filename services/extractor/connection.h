#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "libs/eventlog/log.h"
#include "libs/http/message.h"
#include "libs/time/time.h"
#include "services/extractor/documents.h"
#include "services/extractor/list_scan.h"
#include "services/extractor/mirror.h"
#include "services/extractor/options.h"
#include "tributary/v1/changes.pb.h"

namespace tributary::v1 {
class ServiceStatus;
}  // namespace tributary::v1

namespace tributary::extractor {

/// What a connection asks of the stage around it.
class ConnectionHost {
 public:
  struct Ticket {
    http::RequestId id = 0;
    v1::ReadSequence read;
  };

  virtual ~ConnectionHost() = default;
  /// Sends `GET path` if the site's gate, the lease and the limits let it. None: not now; try again
  /// at `retry_at`, or when a request of that site has ended.
  virtual std::optional<Ticket> TrySend(std::string_view path, Instant& retry_at) = 0;
  virtual void Cancel(http::RequestId id) = 0;
  /// The site refused for too much use.
  virtual void OnThrottled(Instant until) = 0;
  /// A read sequence for what is said anew without a request.
  virtual v1::ReadSequence NextRead() = 0;
  /// Numbers below it belong to requests that have ended.
  virtual std::int64_t oldest_read_in_flight() const = 0;
  /// 0: refused, the partition is no longer ours.
  virtual eventlog::ProduceId WriteChange(std::string_view key, const v1::ChangeEvent& change) = 0;
  virtual eventlog::ProduceId WriteCursor(std::string_view stream, const v1::Cursor& cursor) = 0;
  virtual eventlog::ProduceId AppendEvent(const v1::SourceEvent& event) = 0;
  virtual std::optional<v1::Cursor> ReadCursor(std::string_view stream) = 0;
  /// `refused_revision` 0: there is none yet.
  virtual void AskCredential(std::int64_t refused_revision) = 0;
  virtual std::uint64_t Random() = 0;
  /// For people; `fields` as in Logger.
  virtual void Warn(std::string_view message,
                    std::vector<std::pair<std::string_view, std::string>> fields) = 0;
};

/// One Chargify connection: its streams, and what is to be read next. Rules 38 to 45.
class Connection {
 public:
  struct Identity {
    std::string tenant;
    std::string name;
    std::int64_t generation = 0;
  };
  /// References outlive the connection.
  Connection(Identity identity, const Options& options, Mirror& mirror, ConnectionHost& host,
             Now now);

  void OnCredential(std::string revision_problem, bool usable, std::int64_t revision);
  /// Sends what may be sent.
  void Pump(Now now);
  void OnAnswer(Now now, const http::Completion& completion);
  void OnWritten(Now now, eventlog::ProduceId id);
  /// A webhook came: read events as soon as may be. `done` is called when an own read that began
  /// after this has been acknowledged.
  void OnHint(Now now, std::int64_t offset);
  /// Rule 37: the next walk through the events begins at the first one, and those that occurred
  /// from then on are appended again, though they were before.
  void ReadEventsAgain(WallTime from);
  /// What that wants, until its walk has ended.
  std::optional<WallTime> read_again_from() const;
  /// Hints below this are covered.
  std::optional<std::int64_t> oldest_open_hint() const;
  /// Rule 4: the newest entry of this entity is void or cannot be decoded.
  void Repair(StreamKind kind, std::string_view id);
  /// A cursor of ours was overwritten by a void one.
  void RestoreCursor(std::string_view stream);
  /// No further request; those under way are given up.
  void Stop();

  Instant next_due() const { return next_due_; }
  bool owns_request(http::RequestId id) const { return requests_.contains(id); }
  void AddStatus(v1::ServiceStatus& status) const;
  bool first_read_done() const;
  /// Of the stream where most wait.
  std::size_t unacknowledged_pages() const {
    std::size_t most = 0;
    for (const Track& each : tracks_) most = std::max(most, each.open_pages.size());
    return most;
  }

 private:
  struct Track {
    StreamKind kind{};
    v1::Cursor cursor;
    /// Of the running scan, or of the last one.
    Instant began{};
    bool has_begun = false;
    Instant due{};
    /// Asked for while one was running.
    bool again = false;
    bool is_running = false;
    bool is_over = false;
    bool is_dirty = false;
    bool found_news = false;
    std::optional<WallTime> server_start;
    /// How far the server's clock was in front of ours at the start of the newest scan.
    std::optional<Duration> server_offset;
    /// A Date header was missing, unreadable or behind one seen before.
    bool clock_is_bad = false;
    std::optional<ListScan> scan;
    ListTraits traits;
    http::RequestId request = 0;
    std::map<std::int64_t, int> open_pages;
    std::int64_t page_serial = 0;
    int failures = 0;
    Instant not_before{};
    std::string problem;
    /// Why the last scan did not end; stands while the next one runs.
    std::string scan_problem;
    std::string remark;
    std::int64_t read = 0;
    std::optional<Instant> quiet_scan_began;
    std::optional<Instant> last_ended;
    /// Of the last scan that ended, and of the last one without a lower bound that ended clean.
    std::optional<Instant> ended_began;
    std::optional<Instant> whole_began;
    /// The next scan is to have no lower bound.
    bool wants_whole = false;
    /// The running one has none.
    bool is_whole = false;
    std::optional<WallTime> last_ended_at;
    Instant cursor_written_at{};
  };
  struct ById {
    StreamKind kind{};
    std::string id;
    bool for_event = false;
    bool for_repair = false;
    int failures = 0;
    Instant not_before{};
    std::optional<Instant> first_missing;
    std::optional<Instant> first_asked;
  };
  struct InFlight {
    enum class What : std::uint8_t { kList, kEvents, kById, kEndpoints };
    What what{};
    StreamKind kind{};
    ById by_id;
    v1::ReadSequence read;
    Instant sent_at{};
  };
  /// Of the site's webhook endpoints, which are others'.
  struct Endpoints {
    Instant due{};
    bool is_asked = false;
    int failures = 0;
    /// None: not known.
    std::optional<EndpointCounts> counts;
  };
  struct ReadResult {
    bool is_offered = true;
    std::optional<v1::Entity> entity;
  };
  /// One walk through the events feed, from the cursor to its end.
  struct Pass {
    std::int64_t since = 0;
    std::int64_t last = 0;
    std::size_t page = 1;
    /// Where the cursor may go when everything is acknowledged.
    std::int64_t candidate = 0;
    std::int64_t skipped_min = 0;
    bool has_skipped = false;
    bool is_last_page = false;
    /// As ReadEventsAgain() wants.
    bool is_again = false;
    int pages_since_cursor = 0;
    std::int64_t created_max_us = 0;
    bool saw_rows = false;
    /// By pages: the ids seen, the page before, and how often in a row a page came again, or had
    /// nothing new.
    std::unordered_set<std::int64_t> numbers;
    std::vector<std::int64_t> page_before;
    int repeated_pages = 0;
    int stale_pages = 0;
  };
  enum class Verdict : std::uint8_t { kAnswer, kMissing, kLater };

  Track& track(StreamKind kind) { return tracks_[static_cast<std::size_t>(kind)]; }
  const Track& track(StreamKind kind) const { return tracks_[static_cast<std::size_t>(kind)]; }
  Duration D() const { return options_.visibility_lag; }
  std::string Key(StreamKind kind, std::string_view id) const;

  // What to ask.
  bool SendNext(Now now);
  bool SendById(Now now);
  bool SendEvents(Now now);
  bool SendList(Now now, Track& track);
  bool SendEndpoints(Now now);
  bool Send(Now now, std::string_view path, InFlight in_flight, http::RequestId* slot);
  std::string ListPath(const Track& track) const;
  std::string EventsPath() const;
  static std::string ByIdPath(const ById& by_id);
  bool IsDue(Now now, const Track& track) const;
  Instant DueOf(const Track& track) const;
  bool BackPressed(const Track& track) const;
  bool IsUnavailable(StreamKind kind) const { return !track(kind).cursor.unavailable().empty(); }

  // What came.
  Verdict Judge(Now now, const http::Completion& completion, InFlight& in_flight, int& failures,
                Instant& not_before, std::string& problem);
  void OnListAnswer(Now now, Track& track, const http::Completion& completion,
                    const v1::ReadSequence& read);
  void OnSiteAnswer(Now now, Track& track, const http::Completion& completion,
                    const v1::ReadSequence& read);
  void OnEventsAnswer(Now now, const http::Completion& completion, const v1::ReadSequence& read);
  void OnByIdAnswer(Now now, InFlight in_flight, const http::Completion& completion);
  void OnEndpointsAnswer(Now now, const http::Completion& completion);
  void Malformed(Now now, Track& track, const http::Completion& completion, std::string_view why);
  void NoteClock(Now now, Track& track, const http::Completion& completion);
  Duration Backoff(int failures);
  /// Tells the host of a 429, and returns until when.
  Instant Throttled(Now now);

  // Scans.
  void OnListPage(Now now, Track& track, const std::vector<RowPlace>& places, std::size_t rows,
                  bool order_is_known);
  bool IsBehindTheEnd(const InFlight& in_flight, const http::Completion& completion) const;
  void BeginScan(Now now, Track& track);
  void FinishScan(Now now, Track& track);
  void MaybeFinish(Now now, Track& track);
  void MarkUnavailable(Now now, Track& track, std::string why);
  void StoreCursor(Now now, Track& track);
  void HintLists(Now now);

  // Events.
  static std::int64_t SinceIdOf(const v1::Cursor& cursor);
  void BeginPass(Now now);
  /// As ReadEventsAgain() wants. True: the cursor was changed.
  bool SetBackEvents();
  void RestartByPages(Now now);
  bool EndsWalkByPages(const EventPage& page, std::size_t count);
  void ResolveBatch(Now now);
  bool IsLive(const EventRow& row) const;
  std::vector<ById> EntitiesOf(const EventRow& row) const;
  void TakeDeletion(Now now, const EventRow& row);
  void EmitBatch(Now now);
  void AfterPage(Now now);
  void FinishPass(Now now);

  // Entities.
  v1::Entity EntityOf(StreamKind kind, Row row, const v1::ReadSequence& read,
                      std::optional<WallTime> read_at) const;
  /// True: it was new.
  bool Take(Now now, StreamKind kind, v1::Entity&& entity, Track& acknowledged_by);
  void Produce(Now now, StreamKind kind, const std::string& key, v1::Entity&& entity,
               Track& acknowledged_by);
  void CarryToComponents(Now now, const v1::Entity& subscription, Track& acknowledged_by);
  /// The largest number of a request that may bring an entity of this kind and is not answered yet.
  std::int64_t NewestUnderWay(StreamKind kind) const;
  void MirrorById(Now now, StreamKind kind, const v1::Entity& entity);
  void OnRepairMissing(Now now, ById by_id, const http::Completion& completion,
                       const v1::ReadSequence& read);

  const Identity identity_;
  const Options options_;
  Mirror& mirror_;
  ConnectionHost& host_;

  std::array<Track, kStreamKinds> tracks_;
  std::size_t next_stream_ = 0;
  std::map<http::RequestId, InFlight> requests_;
  struct Ack {
    StreamKind kind{};
    std::int64_t page = 0;
  };
  std::map<eventlog::ProduceId, Ack> acks_;

  bool has_credential_ = false;
  std::int64_t credential_revision_ = 0;
  Instant credential_asked_at_{};
  bool credential_asked_ = false;
  bool stopped_ = false;
  Instant next_due_{};
  Instant pause_until_{};
  Instant last_news_{};
  bool has_news_ = false;
  std::optional<std::int32_t> offset_minutes_;

  int refusals_ = 0;
  Instant first_refusal_{};
  Instant last_refusal_{};
  bool is_refused_ = false;
  std::string problem_;
  std::string fix_;
  std::int64_t malformed_ = 0;
  std::set<std::string> logged_bodies_;

  std::optional<Pass> pass_;
  /// What ReadEventsAgain() wants.
  std::optional<WallTime> read_again_from_;
  bool events_by_pages_ = false;
  std::vector<EventRow> batch_;
  v1::ReadSequence batch_read_;
  std::set<std::string> awaited_;
  std::map<std::string, ReadResult> results_;
  /// What an event waits for that the site does not answer. Empty: nothing.
  std::string by_id_problem_;
  /// The last event that went on without an entity that it names, for people.
  std::string incomplete_event_;
  /// Emitted and not yet passed by the cursor.
  std::set<std::int64_t> seen_;
  /// When an event that is not emitted yet was seen first.
  std::map<std::int64_t, Instant> first_seen_;
  std::deque<ById> by_id_;
  Endpoints endpoints_;
  /// None: not looked yet.
  std::optional<bool> has_components_;
  std::array<int, kStreamKinds> missing_in_a_row_{};
  std::array<Instant, kStreamKinds> not_offered_until_{};
  std::set<std::int64_t> open_hints_;
  std::set<std::int64_t> running_hints_;
};

}  // namespace tributary::extractor

#include <algorithm>
#include <charconv>
#include <limits>

#include "services/extractor/connection.h"
#include "services/extractor/entity_times.h"

// The tail of the events feed. Rules 37, 44 and 45.

namespace tributary::extractor {
namespace {

/// Enough that no date of a site is behind it.
constexpr std::int64_t kNoId = std::numeric_limits<std::int64_t>::max();
/// Pages of events that came again in a row, and such without anything new, before a walk ends.
constexpr int kRepeatedPages = 2;
constexpr int kStalePagesMax = 4;

bool IsDeletion(const EventRow& row) {
  return row.key == "customer_delete" || row.key == "subscription_deletion";
}

}  // namespace

std::int64_t Connection::SinceIdOf(const v1::Cursor& cursor) {
  const std::string& text = cursor.since_id();
  std::int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

void Connection::BeginPass(Now now) {
  Track& events = track(StreamKind::kEvents);
  const bool is_again = SetBackEvents();
  if (is_again) StoreCursor(now, events);
  BeginScan(now, events);
  events.scan.reset();
  pass_ = Pass();
  pass_->is_again = is_again;
  pass_->since = SinceIdOf(events.cursor);
  pass_->last = pass_->since;
  pass_->candidate = pass_->since;
  pass_->skipped_min = kNoId;
  running_hints_.insert(open_hints_.begin(), open_hints_.end());
  open_hints_.clear();
}

bool Connection::SetBackEvents() {
  if (!read_again_from_) return false;
  v1::Cursor& cursor = track(StreamKind::kEvents).cursor;
  cursor.clear_since_id();
  SetTime(cursor.mutable_read_again_from(), *read_again_from_);
  read_again_from_.reset();
  seen_.clear();
  return true;
}

void Connection::RestartByPages(Now) {
  events_by_pages_ = true;
  pass_->page = 1;
  pass_->numbers.clear();
  pass_->page_before.clear();
  pass_->repeated_pages = 0;
  pass_->stale_pages = 0;
  pass_->last = pass_->since;
  pass_->candidate = pass_->since;
  track(StreamKind::kEvents).server_start.reset();
}

bool Connection::EndsWalkByPages(const EventPage& page, std::size_t count) {
  if (count == 0) return true;
  std::vector<std::int64_t> numbers;
  for (const EventRow& row : page.rows) numbers.push_back(row.number);
  std::sort(numbers.begin(), numbers.end());
  bool brings_new = false;
  for (const std::int64_t number : numbers) {
    brings_new = pass_->numbers.insert(number).second || brings_new;
  }
  // The site ignores page numbers, or those behind its last page. Events that came in front of what
  // was read can look like that once, and hardly twice.
  pass_->repeated_pages = numbers == pass_->page_before ? pass_->repeated_pages + 1 : 0;
  pass_->page_before = std::move(numbers);
  if (pass_->repeated_pages >= kRepeatedPages) return true;
  pass_->stale_pages = brings_new ? 0 : pass_->stale_pages + 1;
  if (pass_->stale_pages < kStalePagesMax) return false;
  Track& events = track(StreamKind::kEvents);
  events.is_dirty = true;
  events.scan_problem = "pages of events bring nothing new and do not end";
  return true;
}

void Connection::OnEventsAnswer(Now now, const http::Completion& completion,
                                const v1::ReadSequence& read) {
  Track& events = track(StreamKind::kEvents);
  absl::StatusOr<EventPage> page = ParseEvents(completion.body);
  if (!page.ok()) {
    Malformed(now, events, completion, std::string(page.status().message()));
    return;
  }
  if (!page->unreadable.empty()) {
    // An event that cannot be read must not be passed by the cursor, nor hold up the others.
    events.is_dirty = true;
    Malformed(now, events, completion, page->unreadable.front());
    events.not_before = now.steady;
  } else {
    events.failures = 0;
    events.problem.clear();
  }
  NoteClock(now, events, completion);
  std::vector<EventRow>& rows = page->rows;
  const bool ignores_cursor = !rows.empty() && pass_->last > 0 && rows.front().number < pass_->last;
  if (!events_by_pages_ && (ignores_cursor || !page->ascends)) {
    // Not the order or not the beginning that was asked for: only walking all pages is certain.
    RestartByPages(now);
    return;
  }
  if (events_by_pages_) events.remark = "the site ignores since_id or direction of events";

  if (events.server_start && !events.cursor.has_lower_bound() && !events.clock_is_bad) {
    // What happened before this first read is history, also when it is read again after a crash.
    SetTime(events.cursor.mutable_lower_bound(), *events.server_start);
    StoreCursor(now, events);
  }
  const std::size_t count = rows.size() + page->unreadable.size();
  const std::size_t full =
      std::min(static_cast<std::size_t>(options_.page_size), events.traits.rows_seen_max);
  pass_->is_last_page = events_by_pages_ ? EndsWalkByPages(*page, count) : count < full;
  events.traits.rows_seen_max = std::max(events.traits.rows_seen_max, count);
  std::sort(rows.begin(), rows.end(),
            [](const EventRow& a, const EventRow& b) { return a.number < b.number; });
  if (!events_by_pages_) {
    if (rows.empty() || rows.back().number <= pass_->last) pass_->is_last_page = true;
    if (!rows.empty()) pass_->last = std::max(pass_->last, rows.back().number);
  }
  ++pass_->page;
  if (!events_by_pages_) pass_->page = 1;
  ++pass_->pages_since_cursor;
  ++events.page_serial;
  events.read += static_cast<std::int64_t>(rows.size());

  const WallTime server_now = events.server_start.value_or(WallTime::min());
  const std::int64_t covered = std::max(pass_->since, SinceIdOf(events.cursor));
  batch_.clear();
  for (EventRow& row : rows) {
    pass_->created_max_us =
        std::max(pass_->created_max_us, row.created_at.time_since_epoch().count());
    pass_->saw_rows = true;
    const bool is_too_old = events.cursor.has_read_again_from() &&
                            row.created_at < TimeOf(events.cursor.read_again_from());
    const bool is_known = is_too_old || row.number <= covered || seen_.contains(row.number);
    if (!is_known) {
      first_seen_.try_emplace(row.number, now.steady);
      batch_.push_back(std::move(row));
    } else if (events.server_start && row.created_at <= server_now - D() &&
               row.number < pass_->skipped_min) {
      pass_->candidate = std::max(pass_->candidate, row.number);
    }
  }
  batch_read_ = read;
  if (batch_.empty()) {
    AfterPage(now);
    return;
  }
  bool any_live = false;
  for (const EventRow& row : batch_) {
    if (IsDeletion(row)) TakeDeletion(now, row);
    any_live = any_live || IsLive(row);
  }
  // They name what has changed: the lists are read at once rather than at their next turn.
  if (any_live) HintLists(now);
  ResolveBatch(now);
}

// Rule 45: under a new generation all is read again, and what lies in front of the old position is
// history by then, unless it is asked for.
bool Connection::IsLive(const EventRow& row) const {
  const v1::Cursor& cursor = track(StreamKind::kEvents).cursor;
  if (!cursor.has_lower_bound() || row.created_at < TimeOf(cursor.lower_bound())) return false;
  if (cursor.first_read_done() || cursor.has_read_again_from()) return true;
  return !cursor.has_last_scan_started_at() ||
         row.created_at >= TimeOf(cursor.last_scan_started_at()) - D();
}

std::vector<Connection::ById> Connection::EntitiesOf(const EventRow& row) const {
  std::vector<ById> named;
  std::string customer = row.customer;
  if (customer.empty() && !row.subscription.empty()) {
    const auto subscription = mirror_.Find(Key(StreamKind::kSubscriptions, row.subscription));
    if (subscription && !subscription->customers().empty()) customer = subscription->customers(0);
  }
  if (!customer.empty()) {
    named.push_back({.kind = StreamKind::kCustomers, .id = customer, .for_event = true});
  }
  if (!row.subscription.empty()) {
    named.push_back(
        {.kind = StreamKind::kSubscriptions, .id = row.subscription, .for_event = true});
  }
  if (!row.subscription.empty() && !row.component.empty()) {
    named.push_back({.kind = StreamKind::kComponents,
                     .id = row.subscription + "-" + row.component,
                     .for_event = true});
  }
  if (!row.invoice.empty()) {
    named.push_back({.kind = StreamKind::kInvoices, .id = row.invoice, .for_event = true});
  }
  return named;
}

void Connection::TakeDeletion(Now now, const EventRow& row) {
  const bool is_customer = row.key == "customer_delete";
  const StreamKind kind = is_customer ? StreamKind::kCustomers : StreamKind::kSubscriptions;
  const std::string& id = is_customer ? row.customer : row.subscription;
  Track& events = track(StreamKind::kEvents);
  if (id.empty()) {
    host_.Warn("A deletion does not say of what.",
               {{"connection", identity_.name}, {"event", row.id}});
    return;
  }
  v1::Entity gone;
  if (const auto known = mirror_.Find(Key(kind, id))) {
    gone = *known;
    if (gone.gone()) {
      // Whoever wrote that may have died before it wrote the same of the components.
      if (kind == StreamKind::kSubscriptions) CarryToComponents(now, gone, events);
      return;
    }
  } else {
    gone.set_connection(identity_.name);
    gone.set_kind(std::string(Name(kind)));
    gone.set_id(id);
    const std::string& customer = is_customer ? id : row.customer;
    if (!customer.empty()) gone.add_customers(customer);
  }
  // It keeps what it was and whose, so that nothing read before outranks it (T13).
  gone.set_gone(true);
  if (!gone.has_updated_at() || TimeOf(gone.updated_at()) < row.created_at) {
    SetTime(gone.mutable_updated_at(), row.created_at);
  }
  if (events.server_start) SetTime(gone.mutable_read_at(), *events.server_start);
  *gone.mutable_read() = host_.NextRead();
  Take(now, kind, std::move(gone), events);
}

void Connection::ResolveBatch(Now now) {
  awaited_.clear();
  results_.clear();
  for (const EventRow& row : batch_) {
    if (!IsLive(row)) continue;
    for (ById& named : EntitiesOf(row)) {
      const std::string key = Key(named.kind, named.id);
      const auto kind = static_cast<std::size_t>(named.kind);
      if (results_.contains(key) || awaited_.contains(key)) continue;
      const auto known = mirror_.Find(key);
      if (now.steady < not_offered_until_[kind]) {
        results_[key] = {.is_offered = false};
      } else if (known && known->gone()) {
        results_[key] = {};
      } else {
        awaited_.insert(key);
        by_id_.push_back(std::move(named));
      }
    }
  }
  if (awaited_.empty()) EmitBatch(now);
}

void Connection::EmitBatch(Now now) {
  Track& events = track(StreamKind::kEvents);
  const WallTime server_now = events.server_start.value_or(WallTime::min());
  for (const EventRow& row : batch_) {
    const bool is_old = events.server_start && row.created_at <= server_now - D();
    const bool live = IsLive(row);
    // Where the site has no clock: what we saw so long ago is old by ours too.
    const Instant first_seen = first_seen_[row.number];
    const bool has_waited = is_old || now.steady >= first_seen + D();
    v1::SourceEvent event;
    bool must_wait = false;
    std::string not_shown;
    for (const ById& named : EntitiesOf(row)) {
      const std::string key = Key(named.kind, named.id);
      if (event.customer().empty() && named.kind == StreamKind::kCustomers) {
        event.set_customer(named.id);
      }
      // Rules look at live events only, and what is known now is not what history was about.
      if (!live) continue;
      const auto result = results_.find(key);
      if (result != results_.end() && result->second.entity) {
        *event.add_entities() = *result->second.entity;
        continue;
      }
      const auto known = mirror_.Find(key);
      if (!IsUnavailable(named.kind)) {
        // Only shown by a list that has not been read since, or not shown yet: the next pass sees
        // it. What is not shown D after the event was seen never will be.
        const Track& list = track(named.kind);
        const bool not_offered = result != results_.end() && !result->second.is_offered;
        const bool list_is_behind =
            not_offered && (!list.ended_began || *list.ended_began < first_seen);
        if (list_is_behind || (!known && !has_waited)) must_wait = true;
        if (!known) not_shown = std::string(Name(named.kind)) + "/" + named.id;
      }
      if (known) *event.add_entities() = *known;
    }
    if (must_wait) {
      pass_->skipped_min = std::min(pass_->skipped_min, row.number);
      pass_->has_skipped = true;
      continue;
    }
    if (!not_shown.empty()) {
      incomplete_event_ =
          "event " + row.id + " went on without " + not_shown + ", which the site does not show";
      host_.Warn("An event goes on without an entity that it names.",
                 {{"connection", identity_.name}, {"event", row.id}, {"entity", not_shown}});
    }
    event.set_connection(identity_.name);
    event.set_id(row.id);
    event.set_key(row.key);
    SetTime(event.mutable_occurred_at(), row.created_at);
    event.set_live(live);
    event.set_document(row.document);
    *event.mutable_read() = batch_read_;
    const eventlog::ProduceId id = host_.AppendEvent(event);
    if (id == 0) return;  // no longer ours
    acks_.emplace(id, Ack{.kind = StreamKind::kEvents, .page = events.page_serial});
    ++events.open_pages[events.page_serial];
    seen_.insert(row.number);
    first_seen_.erase(row.number);
    events.found_news = true;
    last_news_ = now.steady;
    has_news_ = true;
    if (is_old && row.number < pass_->skipped_min) {
      pass_->candidate = std::max(pass_->candidate, row.number);
    }
  }
  batch_.clear();
  AfterPage(now);
}

void Connection::AfterPage(Now now) {
  Track& events = track(StreamKind::kEvents);
  results_.clear();
  if (pass_->is_last_page) events.is_over = true;
  MaybeFinish(now, events);
}

void Connection::FinishPass(Now now) {
  Track& events = track(StreamKind::kEvents);
  Pass pass = *pass_;
  pass_.reset();
  pass.candidate = std::min(pass.candidate, pass.skipped_min - 1);
  if (events.is_dirty) open_hints_.insert(running_hints_.begin(), running_hints_.end());
  running_hints_.clear();
  events.is_running = false;
  events.due = events.again ? now.steady : events.began + options_.poll_interval;
  events.last_ended = now.steady;
  events.last_ended_at = events.server_start;
  if (events.is_dirty) {
    events.due = std::max(events.due, now.steady + Backoff(events.failures));
    return;
  }
  bool must_store = !events.cursor.first_read_done() || !events.cursor.unavailable().empty();
  if (!events.server_start || events.clock_is_bad) {
    events.problem = "the site's clock (Date header) is missing, unreadable or went back";
  } else {
    SetTime(events.cursor.mutable_last_scan_started_at(), *events.server_start);
    if (pass.candidate > SinceIdOf(events.cursor)) {
      // Rule 44: only what nothing older can still appear behind.
      events.cursor.set_since_id(std::to_string(pass.candidate));
      seen_.erase(seen_.begin(), seen_.upper_bound(pass.candidate));
      must_store = true;
    }
  }
  events.scan_problem.clear();
  if (!events.cursor.has_lower_bound() && pass.saw_rows) {
    // A site without a clock: live is what is newer than all of its first read.
    SetTime(events.cursor.mutable_lower_bound(), WallTime(Duration(pass.created_max_us + 1)));
    must_store = true;
  }
  events.cursor.set_first_read_done(true);
  events.cursor.clear_unavailable();
  events.cursor.set_last_scan_was_empty(!events.found_news);
  if (!events.found_news && !pass.has_skipped) events.quiet_scan_began = events.began;
  if (must_store || now.steady >= events.cursor_written_at + options_.cursor_interval) {
    StoreCursor(now, events);
  }
}

}  // namespace tributary::extractor

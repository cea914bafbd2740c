#include <algorithm>

#include "services/extractor/connection.h"
#include "services/extractor/entity_times.h"

// Scans of lists, their ends and positions. Rules 39 to 43 and 45.

namespace tributary::extractor {
namespace {

using std::chrono::seconds;

std::uint64_t HashId(std::string_view id) {
  std::uint64_t hash = 14695981039346656037ULL;
  for (const char c : id) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 1099511628211ULL;
  }
  return hash;
}

}  // namespace

void Connection::BeginScan(Now now, Track& each) {
  each.is_running = true;
  each.is_over = false;
  each.is_dirty = false;
  each.found_news = false;
  each.clock_is_bad = false;
  each.again = false;
  each.server_start.reset();
  each.began = now.steady;
  if (each.wants_whole) each.cursor.clear_lower_bound();
  each.wants_whole = false;
  each.is_whole = !each.cursor.has_lower_bound();
  each.has_begun = true;
  each.read = 0;
  each.remark.clear();
  if (each.kind == StreamKind::kSite) return;
  ListScan::Options scan;
  scan.page_size = static_cast<std::size_t>(options_.page_size);
  scan.keys_are_unique =
      each.kind == StreamKind::kSubscriptions || each.kind == StreamKind::kComponents;
  each.scan.emplace(scan, each.traits);
}

void Connection::OnSiteAnswer(Now now, Track& each, const http::Completion& completion,
                              const v1::ReadSequence& read) {
  absl::StatusOr<Row> row = ParseSingle(StreamKind::kSite, completion.body);
  if (!row.ok()) {
    Malformed(now, each, completion, std::string(row.status().message()));
    return;
  }
  NoteClock(now, each, completion);
  each.failures = 0;
  ++each.page_serial;
  each.read = 1;
  v1::Entity site = EntityOf(StreamKind::kSite, *std::move(row), read, each.server_start);
  if (Take(now, StreamKind::kSite, std::move(site), each)) each.found_news = true;
  each.is_over = true;
  MaybeFinish(now, each);
}

void Connection::OnListAnswer(Now now, Track& each, const http::Completion& completion,
                              const v1::ReadSequence& read) {
  absl::StatusOr<RowPage> page = ParseList(each.kind, completion.body);
  if (!page.ok()) {
    Malformed(now, each, completion, std::string(page.status().message()));
    return;
  }
  NoteClock(now, each, completion);
  each.failures = 0;
  each.problem.clear();
  ++each.page_serial;
  if (page->offset_minutes) offset_minutes_ = page->offset_minutes;
  if (!page->unreadable.empty()) {
    // What can be read goes on; the position stays until all can.
    each.is_dirty = true;
    Malformed(now, each, completion, page->unreadable.front());
    each.not_before = now.steady;
  }

  const std::optional<WallTime> lower = each.cursor.has_lower_bound()
                                            ? std::optional(TimeOf(each.cursor.lower_bound()))
                                            : std::nullopt;
  std::vector<RowPlace> places;
  bool order_is_known = true;
  for (Row& row : page->rows) {
    RowPlace place;
    place.id_hash = HashId(row.id);
    place.key = row.order_key.value_or(0);
    if (!row.order_key) order_is_known = false;
    place.is_settled =
        !row.updated_at || !each.server_start || *row.updated_at < *each.server_start - D();
    places.push_back(place);
    if (lower && row.updated_at && *row.updated_at < *lower - seconds(1)) {
      // Trap 4. More than was asked for loses nothing: it is a full read.
      each.remark = "the site ignores date_field; every scan is a full read";
    }
    ++each.read;
    v1::Entity entity = EntityOf(each.kind, std::move(row), read, each.server_start);
    if (Take(now, each.kind, std::move(entity), each)) each.found_news = true;
  }
  OnListPage(now, each, places, page->rows.size() + page->unreadable.size(), order_is_known);
}

void Connection::OnListPage(Now now, Track& each, const std::vector<RowPlace>& places,
                            std::size_t rows, bool order_is_known) {
  const ListScan::State state = each.scan->OnPage(places, rows, order_is_known);
  if (state == ListScan::State::kReading) return;
  if (state == ListScan::State::kGivenUp) {
    each.is_dirty = true;
    each.scan_problem = std::string(each.scan->remark());
  } else if (!each.scan->remark().empty()) {
    if (!each.remark.empty()) each.remark += "; ";
    each.remark += each.scan->remark();
  }
  each.is_over = true;
  MaybeFinish(now, each);
}

bool Connection::IsBehindTheEnd(const InFlight& in_flight,
                                const http::Completion& completion) const {
  // Some sites have no page behind the last one: where an earlier page of this very scan came, the
  // list is there and this is its end, to be confirmed like any other.
  if (completion.status != 404) return false;
  if (in_flight.what == InFlight::What::kEvents) {
    return events_by_pages_ && pass_ && pass_->page > 1;
  }
  const Track& each = track(in_flight.kind);
  return each.scan && each.scan->question().page > 1;
}

void Connection::MaybeFinish(Now now, Track& each) {
  // Rule 45: the position follows what it covers.
  if (!each.is_running || !each.is_over || !each.open_pages.empty()) return;
  if (each.kind == StreamKind::kEvents) {
    FinishPass(now);
  } else {
    FinishScan(now, each);
  }
  next_due_ = std::min(next_due_, DueOf(each));
}

void Connection::FinishScan(Now now, Track& each) {
  each.is_running = false;
  each.scan.reset();
  const Duration pause = each.kind == StreamKind::kSite
                             ? options_.poll_interval * options_.site_polls
                             : options_.poll_interval;
  each.due = each.again ? now.steady : each.began + pause;
  each.last_ended = now.steady;
  each.last_ended_at = each.server_start;
  each.ended_began = each.began;
  if (each.is_dirty) {
    each.due = std::max(each.due, now.steady + Backoff(each.failures));
    return;
  }
  if (each.is_whole) each.whole_began = each.began;
  bool must_store =
      each.found_news || !each.cursor.first_read_done() || !each.cursor.unavailable().empty();
  if (each.clock_is_bad || !each.server_start) {
    // Rule 40: without the server's clock the window stays where it was.
    each.problem = "the site's clock (Date header) is missing, unreadable or went back";
  } else {
    const WallTime lower = *each.server_start - D();
    if (each.kind != StreamKind::kSite &&
        (!each.cursor.has_lower_bound() || TimeOf(each.cursor.lower_bound()) < lower)) {
      SetTime(each.cursor.mutable_lower_bound(), lower);
    }
    SetTime(each.cursor.mutable_last_scan_started_at(), *each.server_start);
    each.problem.clear();
  }
  each.scan_problem.clear();
  each.cursor.set_first_read_done(true);
  each.cursor.clear_unavailable();
  each.cursor.set_last_scan_was_empty(!each.found_news);
  if (!each.found_news) each.quiet_scan_began = each.began;
  if (must_store || now.steady >= each.cursor_written_at + options_.cursor_interval) {
    StoreCursor(now, each);
  }
}

void Connection::MarkUnavailable(Now now, Track& each, std::string why) {
  const bool is_new = each.cursor.unavailable() != why;
  each.is_running = false;
  each.is_over = false;
  each.scan.reset();
  if (each.kind == StreamKind::kEvents) {
    pass_.reset();
    running_hints_.clear();
    open_hints_.clear();
  }
  // One that has worked is likely to come back.
  each.due = now.steady +
             (each.cursor.first_read_done()
                  ? std::min<Duration>(options_.unavailable_retry, options_.poll_interval * 10)
                  : options_.unavailable_retry);
  each.failures = 0;
  each.problem.clear();
  each.scan_problem.clear();
  each.cursor.set_unavailable(why);
  if (each.kind == StreamKind::kEvents && SetBackEvents()) StoreCursor(now, each);
  if (!is_new) return;
  host_.Warn(
      "The site does not offer a stream.",
      {{"connection", identity_.name}, {"stream", std::string(Name(each.kind))}, {"why", why}});
  StoreCursor(now, each);
}

void Connection::StoreCursor(Now now, Track& each) {
  each.cursor_written_at = now.steady;
  host_.WriteCursor(Name(each.kind), each.cursor);
}

void Connection::HintLists(Now now) {
  for (Track& each : tracks_) {
    if (each.kind == StreamKind::kSite || each.kind == StreamKind::kEvents) continue;
    if (IsUnavailable(each.kind)) continue;
    if (each.is_running) {
      each.again = true;
    } else {
      each.due = std::min(each.due, now.steady);
    }
  }
}

void Connection::OnWritten(Now now, eventlog::ProduceId id) {
  const auto found = acks_.find(id);
  if (found == acks_.end()) return;
  Track& each = track(found->second.kind);
  const auto page = each.open_pages.find(found->second.page);
  acks_.erase(found);
  if (page != each.open_pages.end() && --page->second == 0) each.open_pages.erase(page);
  if (!each.open_pages.empty()) {
    next_due_ = std::min(next_due_, now.steady);  // back pressure may have ended
    return;
  }
  if (each.kind == StreamKind::kEvents && each.is_running && !each.is_over && !each.is_dirty &&
      !each.clock_is_bad && batch_.empty() && pass_ && !events_by_pages_ &&
      pass_->pages_since_cursor >= options_.unacknowledged_pages_max) {
    // A long history is not read from its start again after a crash.
    pass_->pages_since_cursor = 0;
    pass_->candidate = std::min(pass_->candidate, pass_->skipped_min - 1);
    if (pass_->candidate > SinceIdOf(each.cursor)) {
      each.cursor.set_since_id(std::to_string(pass_->candidate));
      seen_.erase(seen_.begin(), seen_.upper_bound(pass_->candidate));
      StoreCursor(now, each);
    }
  }
  MaybeFinish(now, each);
  next_due_ = std::min(next_due_, now.steady);
}

}  // namespace tributary::extractor

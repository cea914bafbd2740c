#include <algorithm>

#include "libs/ids/keys.h"
#include "libs/time/rfc3339.h"
#include "services/extractor/connection.h"
#include "services/extractor/entity_times.h"

// What is asked next, and when.

namespace tributary::extractor {
namespace {

using std::chrono::seconds;

constexpr Instant kNever = Instant::max();

}  // namespace

Instant Connection::DueOf(const Track& each) const {
  Instant due = each.due;
  // A row may be shown late, and one that was read in the second of its change is read once more
  // (rule 38): the first scan that begins after all that also says that nothing is left.
  if (has_news_ && each.has_begun && each.began < last_news_ + D()) {
    due = std::min(due, std::max(last_news_ + D(), each.began + options_.poll_interval / 4));
  }
  return std::max(due, each.not_before);
}

bool Connection::IsDue(Now now, const Track& each) const {
  if (each.request != 0 || each.not_before > now.steady) return false;
  if (each.is_running) return !each.is_over;
  if (each.kind == StreamKind::kComponents) {
    // Its customers are those of its subscription, which therefore comes first.
    const Track& subscriptions = track(StreamKind::kSubscriptions);
    if (!subscriptions.cursor.first_read_done() && !IsUnavailable(StreamKind::kSubscriptions)) {
      return false;
    }
  }
  return DueOf(each) <= now.steady;
}

bool Connection::BackPressed(const Track& each) const {
  return each.open_pages.size() >= static_cast<std::size_t>(options_.unacknowledged_pages_max) ||
         mirror_.unread() >= options_.unread_entries_max;
}

void Connection::Pump(Now now) {
  if (stopped_) {
    next_due_ = kNever;
    return;
  }
  if (!has_credential_) {
    const Duration again = seconds(30);
    if (!credential_asked_ || now.steady >= credential_asked_at_ + again) {
      credential_asked_ = true;
      credential_asked_at_ = now.steady;
      host_.AskCredential(0);
    }
    next_due_ = credential_asked_at_ + again;
    return;
  }
  if (now.steady < pause_until_) {
    next_due_ = pause_until_;
    return;
  }
  next_due_ = kNever;
  while (SendNext(now)) {
  }
  for (const ById& each : by_id_) {
    if (each.not_before > now.steady) next_due_ = std::min(next_due_, each.not_before);
  }
  if (!endpoints_.is_asked && endpoints_.due > now.steady) {
    next_due_ = std::min(next_due_, endpoints_.due);
  }
  for (const Track& each : tracks_) {
    if (each.request != 0) continue;
    if (mirror_.unread() >= options_.unread_entries_max) {
      next_due_ = std::min(next_due_, now.steady + std::chrono::milliseconds(100));
    }
    if (each.is_running) {
      if (!each.is_over && each.not_before > now.steady) {
        next_due_ = std::min(next_due_, each.not_before);
      }
    } else {
      const Instant due = DueOf(each);
      if (due > now.steady) next_due_ = std::min(next_due_, due);
    }
  }
}

bool Connection::SendNext(Now now) {
  if (SendById(now)) return true;
  if (SendEvents(now)) return true;
  for (std::size_t i = 0; i < kStreamKinds; ++i) {
    Track& each = tracks_[(next_stream_ + i) % kStreamKinds];
    if (each.kind == StreamKind::kEvents || !IsDue(now, each) || BackPressed(each)) continue;
    if (!SendList(now, each)) return false;
    next_stream_ = (static_cast<std::size_t>(each.kind) + 1) % kStreamKinds;
    return true;
  }
  // Last: when nothing else has anything to send.
  return SendEndpoints(now);
}

bool Connection::Send(Now now, std::string_view path, InFlight in_flight, http::RequestId* slot) {
  Instant retry_at = kNever;
  const auto ticket = host_.TrySend(path, retry_at);
  if (!ticket) {
    next_due_ = std::min(next_due_, retry_at);
    return false;
  }
  in_flight.read = ticket->read;
  in_flight.sent_at = now.steady;
  requests_.emplace(ticket->id, std::move(in_flight));
  if (slot != nullptr) *slot = ticket->id;
  return true;
}

bool Connection::SendById(Now now) {
  for (auto each = by_id_.begin(); each != by_id_.end(); ++each) {
    if (each->not_before > now.steady) continue;
    if (!each->first_asked) each->first_asked = now.steady;
    InFlight in_flight{.what = InFlight::What::kById, .kind = each->kind, .by_id = *each};
    if (!Send(now, ByIdPath(*each), std::move(in_flight), nullptr)) return false;
    by_id_.erase(each);
    return true;
  }
  return false;
}

std::string Connection::ByIdPath(const ById& by_id) {
  const std::string id = ids::EncodePart(by_id.id);
  switch (by_id.kind) {
    case StreamKind::kCustomers:
      return "/customers/" + id + ".json";
    case StreamKind::kSubscriptions:
      return "/subscriptions/" + id + ".json";
    case StreamKind::kInvoices:
      return "/invoices/" + id + ".json";
    case StreamKind::kComponents:
      // By the list, so that the row has the list's shape.
      return "/subscriptions_components.json?sort=id&direction=asc&page=1&per_page=200"
             "&subscription_ids=" +
             ids::EncodePart(by_id.id.substr(0, by_id.id.find('-')));
    case StreamKind::kSite:
    case StreamKind::kEvents:
      break;
  }
  return "/site.json";
}

bool Connection::SendEvents(Now now) {
  Track& events = track(StreamKind::kEvents);
  if (!batch_.empty() || !IsDue(now, events) || BackPressed(events)) return false;
  if (!events.is_running) BeginPass(now);
  return Send(now, EventsPath(), {.what = InFlight::What::kEvents, .kind = StreamKind::kEvents},
              &events.request);
}

std::string Connection::EventsPath() const {
  std::string path = "/events.json?direction=asc&per_page=" + std::to_string(options_.page_size);
  path += "&page=" + std::to_string(pass_->page);
  const std::int64_t since = events_by_pages_ ? pass_->since : pass_->last;
  if (since > 0) path += "&since_id=" + std::to_string(since);
  return path;
}

bool Connection::SendList(Now now, Track& each) {
  if (!each.is_running) BeginScan(now, each);
  return Send(now, ListPath(each), {.what = InFlight::What::kList, .kind = each.kind},
              &each.request);
}

std::string Connection::ListPath(const Track& each) const {
  std::string path;
  switch (each.kind) {
    case StreamKind::kSite:
    case StreamKind::kEvents:
      return "/site.json";
    case StreamKind::kCustomers:
      // In the order of creation, the only one that customers can be had in (trap 5).
      path = "/customers.json?direction=asc";
      break;
    case StreamKind::kSubscriptions:
      path = "/subscriptions.json?sort=id&direction=asc";
      break;
    case StreamKind::kComponents:
      path = "/subscriptions_components.json?sort=id&direction=asc";
      break;
    case StreamKind::kInvoices:
      // Nothing that sorts invoices is unique; their creation at least never changes. All parts,
      // because what is left out looks like what was removed (trap 15).
      path =
          "/invoices.json?sort=created_at&direction=asc&line_items=true&discounts=true&taxes=true"
          "&credits=true&payments=true&custom_fields=true&refunds=true";
      break;
  }
  const ListScan::Question& question = each.scan->question();
  path += "&page=" + std::to_string(question.page);
  path += "&per_page=" + std::to_string(question.per_page);
  if (each.cursor.has_lower_bound()) {
    // With the zone, and in the site's own, so that a site that ignores it reads the same (trap 6).
    path += "&date_field=updated_at&start_datetime=" +
            ids::EncodePart(
                FormatAtOffset(TimeOf(each.cursor.lower_bound()), offset_minutes_.value_or(0)));
  }
  return path;
}

}  // namespace tributary::extractor

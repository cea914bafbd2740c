#include "services/extractor/connection.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "libs/ids/keys.h"
#include "libs/json/value.h"
#include "libs/time/rfc3339.h"
#include "tributary/v1/control.pb.h"

namespace tributary::extractor {
namespace {

using std::chrono::seconds;

constexpr Instant kNever = Instant::max();
/// Enough that no date of a site is behind it.
constexpr std::int64_t kNoId = std::numeric_limits<std::int64_t>::max();
/// Answers 404 for what the lists show, before a kind counts as not offered by id.
constexpr int kMissingInARowMax = 3;
/// Failed reads of one entity before an event goes on with what is known of it.
constexpr int kReadFailuresMax = 6;
/// Refusals of the key, each sent after the one before was answered.
constexpr int kRefusalsMin = 3;
/// Pages of events that came again in a row, and such without anything new, before a walk ends.
constexpr int kRepeatedPages = 2;
constexpr int kStalePagesMax = 4;
/// Bodies that could not be read and are kept in the log, one entry each.
constexpr std::size_t kBodiesLoggedMax = 100;
constexpr std::size_t kBodyBytesLoggedMax = 4096;

void SetTime(google::protobuf::Timestamp* out, WallTime time) {
  const auto whole = std::chrono::floor<seconds>(time.time_since_epoch());
  out->set_seconds(whole.count());
  out->set_nanos(static_cast<std::int32_t>((time.time_since_epoch() - whole).count() * 1000));
}

WallTime TimeOf(const google::protobuf::Timestamp& time) {
  return WallTime(seconds(time.seconds()) + Duration(time.nanos() / 1000));
}

std::uint64_t HashId(std::string_view id) {
  std::uint64_t hash = 14695981039346656037ULL;
  for (const char c : id) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 1099511628211ULL;
  }
  return hash;
}

std::int64_t NumberOf(std::string_view text) {
  std::int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

/// A read by id shows members that lists leave out, and the other way round (trap 41): only where
/// both have a member can they differ.
bool CommonMembersDiffer(std::string_view a, std::string_view b) {
  const auto left = json::Parse(a);
  const auto right = json::Parse(b);
  if (!left.ok() || !right.ok() || left->object() == nullptr) return a != b;
  for (const auto& [name, value] : *left->object()) {
    const json::Value* other = right->Find(name);
    if (other != nullptr && !(*other == value)) return true;
  }
  return false;
}

bool IsDeletion(const EventRow& row) {
  return row.key == "customer_delete" || row.key == "subscription_deletion";
}

bool Later(const v1::Entity& a, const v1::Entity& b) {
  const auto order = [](const google::protobuf::Timestamp& time) {
    return std::pair(time.seconds(), time.nanos());
  };
  return order(b.updated_at()) < order(a.updated_at());
}

}  // namespace

Connection::Connection(Identity identity, const Options& options, Mirror& mirror,
                       ConnectionHost& host, Now now)
    : identity_(std::move(identity)), options_(options), mirror_(mirror), host_(host) {
  for (std::size_t i = 0; i < kStreamKinds; ++i) {
    Track& each = tracks_[i];
    each.kind = static_cast<StreamKind>(i);
    each.due = now.steady;
    const std::optional<v1::Cursor> stored = host_.ReadCursor(Name(each.kind));
    if (stored && stored->generation() == identity_.generation) {
      each.cursor = *stored;
    } else if (stored && stored->generation() == 0 && each.kind == StreamKind::kEvents &&
               stored->has_lower_bound()) {
      // Void: the position counts for nothing, but where the live time began does not move.
      *each.cursor.mutable_lower_bound() = stored->lower_bound();
    }
    each.cursor.set_generation(identity_.generation);
    // What was not offered may be by now.
    if (IsUnavailable(each.kind)) each.due = now.steady;
  }
  next_due_ = now.steady;
}

std::string Connection::Key(StreamKind kind, std::string_view id) const {
  return ids::ChangeKey(identity_.tenant, identity_.name, Name(kind), id);
}

void Connection::OnCredential(std::string problem, bool usable, std::int64_t revision) {
  credential_asked_ = false;
  if (usable && revision != credential_revision_) {
    refusals_ = 0;
    is_refused_ = false;
    pause_until_ = Instant{};
  }
  has_credential_ = usable;
  credential_revision_ = revision;
  // The key that is being refused, once more: what was said of it stands.
  if (!is_refused_ || !problem.empty()) {
    problem_ = std::move(problem);
    fix_ = problem_.empty() ? "" : "give the connection " + identity_.name + " an API key";
  }
  next_due_ = Instant{};
}

void Connection::Stop() {
  stopped_ = true;
  for (const auto& [id, request] : requests_) host_.Cancel(id);
}

bool Connection::first_read_done() const {
  return std::all_of(tracks_.begin(), tracks_.end(), [](const Track& each) {
    return each.cursor.first_read_done() || !each.cursor.unavailable().empty();
  });
}

Duration Connection::Backoff(int failures) {
  Duration delay = options_.retry_delay_min;
  for (int i = 1; i < failures && delay < options_.retry_delay_max; ++i) delay *= 2;
  delay = std::min(delay, options_.retry_delay_max);
  // Between half and all of it, so that those who failed together do not come back together.
  const auto half = static_cast<std::uint64_t>(delay.count() / 2) + 1;
  return Duration(delay.count() / 2 + static_cast<std::int64_t>(host_.Random() % half));
}

// ---- what to ask ----

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
  return false;
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

// ---- what came ----

void Connection::OnHint(Now now, std::int64_t offset) {
  open_hints_.insert(offset);
  Track& events = track(StreamKind::kEvents);
  events.due = std::min(events.due, now.steady);
  if (events.is_running) events.again = true;
  if (IsUnavailable(StreamKind::kEvents)) HintLists(now);
  next_due_ = std::min(next_due_, now.steady);
}

std::optional<std::int64_t> Connection::oldest_open_hint() const {
  std::optional<std::int64_t> oldest;
  if (!open_hints_.empty()) oldest = *open_hints_.begin();
  if (!running_hints_.empty()) {
    oldest = oldest ? std::min(*oldest, *running_hints_.begin()) : *running_hints_.begin();
  }
  return oldest;
}

void Connection::Repair(StreamKind kind, std::string_view id) {
  if (kind == StreamKind::kEvents) return;
  if (kind == StreamKind::kSite) {
    track(kind).due = Instant{};
    next_due_ = Instant{};
    return;
  }
  for (const ById& each : by_id_) {
    if (each.kind == kind && each.id == id && each.for_repair) return;
  }
  by_id_.push_back({.kind = kind, .id = std::string(id), .for_repair = true});
  next_due_ = Instant{};
}

void Connection::RestoreCursor(std::string_view stream) {
  const std::optional<StreamKind> kind = StreamKindOf(stream);
  if (!kind) return;
  const Track& each = track(*kind);
  host_.WriteCursor(stream, each.cursor);
}

void Connection::OnAnswer(Now now, const http::Completion& completion) {
  const auto found = requests_.find(completion.id);
  if (found == requests_.end()) return;
  InFlight in_flight = std::move(found->second);
  requests_.erase(found);
  mirror_.ForgetConfirmationsBelow(host_.oldest_read_in_flight());
  Track& each = track(in_flight.kind);
  if (in_flight.what != InFlight::What::kById) each.request = 0;
  if (stopped_) return;

  if (in_flight.what == InFlight::What::kById) {
    OnByIdAnswer(now, std::move(in_flight), completion);
    Pump(now);
    return;
  }
  const Verdict verdict =
      Judge(now, completion, in_flight, each.failures, each.not_before, each.problem);
  if (verdict == Verdict::kMissing && IsBehindTheEnd(in_flight, completion)) {
    NoteClock(each, completion);
    each.failures = 0;
    if (in_flight.what == InFlight::What::kEvents) {
      pass_->is_last_page = true;
      AfterPage(now);
    } else {
      OnListPage(now, each, {}, 0, true);
    }
  } else if (verdict == Verdict::kMissing) {
    MarkUnavailable(now, each, "HTTP " + std::to_string(completion.status));
  } else if (verdict == Verdict::kLater) {
    // A page that is too large to arrive is asked for in smaller ones.
    if (completion.delivery == http::Delivery::kBroken && completion.status == 200 && each.scan) {
      each.scan->ShrinkPages();
    }
  } else {
    if (in_flight.what == InFlight::What::kEvents) {
      OnEventsAnswer(now, completion, in_flight.read);
    } else if (in_flight.kind == StreamKind::kSite) {
      OnSiteAnswer(now, each, completion, in_flight.read);
    } else {
      OnListAnswer(now, each, completion, in_flight.read);
    }
  }
  Pump(now);
}

Connection::Verdict Connection::Judge(Now now, const http::Completion& completion,
                                      InFlight& in_flight, int& failures, Instant& not_before,
                                      std::string& problem) {
  const auto later = [&](std::string why) {
    ++failures;
    not_before = now.steady + Backoff(failures);
    problem = std::move(why);
    return Verdict::kLater;
  };
  if (completion.refused_at_send) {
    not_before = now.steady + std::chrono::milliseconds(200);
    return Verdict::kLater;
  }
  if (completion.delivery != http::Delivery::kComplete) {
    return later("no complete answer: " + completion.error);
  }
  const int status = completion.status;
  const std::string text = ErrorText(completion.body);
  if (status != 401 && refusals_ > 0 && status < 500 && status != 429) {
    refusals_ = 0;
    is_refused_ = false;
    problem_.clear();
    fix_.clear();
  }
  if (status >= 200 && status < 300) return Verdict::kAnswer;
  switch (status) {
    case 401: {
      // Valid keys have been refused for minutes: one refusal says nothing, and those that were
      // under way together are one.
      if (refusals_ == 0 || in_flight.sent_at >= last_refusal_) {
        if (refusals_ == 0) first_refusal_ = now.steady;
        ++refusals_;
        last_refusal_ = now.steady;
        pause_until_ = now.steady + Backoff(refusals_ + 1);
        if (refusals_ == 2 || refusals_ % 8 == 0) host_.AskCredential(credential_revision_);
      }
      if (refusals_ >= kRefusalsMin && now.steady - first_refusal_ >= options_.refusal_patience &&
          !is_refused_) {
        is_refused_ = true;
        problem_ = "the site refuses the API key (401): " + text;
        fix_ = "check the API key of connection " + identity_.name;
        host_.Warn("The site refuses the key again and again.",
                   {{"connection", identity_.name}, {"refusals", std::to_string(refusals_)}});
      }
      not_before = pause_until_;
      problem = "HTTP 401: " + text;
      return Verdict::kLater;
    }
    case 429: {
      const auto quarter = static_cast<std::uint64_t>(options_.throttle_pause.count() / 2) + 1;
      const Duration pause = options_.throttle_pause * 3 / 4 +
                             Duration(static_cast<std::int64_t>(host_.Random() % quarter));
      host_.OnThrottled(now.steady + pause);
      not_before = now.steady + pause;
      problem = "HTTP 429: " + text;
      return Verdict::kLater;
    }
    case 403:
    case 404:
      return Verdict::kMissing;
    default:
      // Also 422: a canceled or cleared account answers it to everything, and only time or a
      // person changes that (trap 22).
      return later("HTTP " + std::to_string(status) + ": " + text);
  }
}

void Connection::Malformed(Now now, Track& each, const http::Completion& completion,
                           std::string_view why) {
  ++malformed_;
  ++each.failures;
  each.not_before = now.steady + Backoff(each.failures);
  const std::string hash = ids::Sha256Hex(completion.body);
  each.problem = "an answer could not be read: " + std::string(why) + " (sha256 " + hash + ", " +
                 std::to_string(completion.body.size()) + " bytes, " + std::to_string(malformed_) +
                 " so far)";
  if (logged_bodies_.size() < kBodiesLoggedMax && logged_bodies_.insert(hash).second) {
    host_.Warn("An answer could not be read.",
               {{"connection", identity_.name},
                {"stream", std::string(Name(each.kind))},
                {"why", std::string(why)},
                {"sha256", hash},
                {"bytes_hex",
                 ids::ToHex(std::string_view(completion.body).substr(0, kBodyBytesLoggedMax))}});
  }
}

void Connection::NoteClock(Track& each, const http::Completion& completion) {
  const std::string* header = http::FindHeader(completion.headers, "Date");
  const std::optional<WallTime> date = header ? ParseHttpDate(*header) : std::nullopt;
  if (!date) {
    each.clock_is_bad = true;
    return;
  }
  // The header is stamped when the answer leaves; the rows were chosen after the request came.
  const WallTime began = *date - std::max(completion.elapsed, Duration{});
  if (!each.server_start) {
    each.server_start = began;
    if (each.cursor.has_last_scan_started_at() &&
        *date < TimeOf(each.cursor.last_scan_started_at())) {
      each.clock_is_bad = true;
    }
  } else if (*date < *each.server_start) {
    each.clock_is_bad = true;
  }
}

v1::Entity Connection::EntityOf(StreamKind kind, Row row, const v1::ReadSequence& read,
                                std::optional<WallTime> read_at) const {
  v1::Entity entity;
  entity.set_connection(identity_.name);
  entity.set_kind(std::string(Name(kind)));
  entity.set_id(std::move(row.id));
  std::sort(row.customers.begin(), row.customers.end());
  for (std::string& customer : row.customers) entity.add_customers(std::move(customer));
  if (row.updated_at) SetTime(entity.mutable_updated_at(), *row.updated_at);
  if (read_at) SetTime(entity.mutable_read_at(), *read_at);
  *entity.mutable_read() = read;
  const ids::Sha256Digest digest = ids::Sha256(row.document);
  entity.set_document_hash(digest.data(), 16);
  entity.set_document(std::move(row.document));
  if (entity.customers().empty() && !row.subscription.empty()) {
    const auto subscription = mirror_.Find(Key(StreamKind::kSubscriptions, row.subscription));
    if (subscription) *entity.mutable_customers() = subscription->customers();
  }
  if (kind == StreamKind::kComponents) {
    const auto subscription = mirror_.Find(Key(StreamKind::kSubscriptions, row.subscription));
    if (subscription && subscription->gone()) {
      entity.set_gone(true);
      if (Later(*subscription, entity)) {
        *entity.mutable_updated_at() = subscription->updated_at();
      }
    }
  }
  return entity;
}

bool Connection::Take(Now now, StreamKind kind, v1::Entity entity, Track& acknowledged_by) {
  const std::string key = Key(kind, entity.id());
  std::optional<v1::Entity> folded = mirror_.Fold(key, std::move(entity));
  if (!folded) return false;
  Produce(now, kind, key, *std::move(folded), acknowledged_by);
  return true;
}

void Connection::Produce(Now now, StreamKind kind, const std::string& key, v1::Entity entity,
                         Track& acknowledged_by) {
  v1::ChangeEvent change;
  change.set_first_read(!first_read_done());
  *change.mutable_entity() = std::move(entity);
  const eventlog::ProduceId id = host_.WriteChange(key, change);
  if (id == 0) return;
  acks_.emplace(id, Ack{.kind = acknowledged_by.kind, .page = acknowledged_by.page_serial});
  ++acknowledged_by.open_pages[acknowledged_by.page_serial];
  mirror_.OnProduced(key, change.entity());
  last_news_ = now.steady;
  has_news_ = true;
  if (kind == StreamKind::kSubscriptions) CarryToComponents(now, change.entity(), acknowledged_by);
}

void Connection::CarryToComponents(Now now, const v1::Entity& subscription,
                                   Track& acknowledged_by) {
  std::vector<std::pair<std::string, v1::Entity>> moved;
  mirror_.Scan(Key(StreamKind::kComponents, subscription.id() + "-"),
               [&](std::string_view key, const v1::Entity& component) {
                 const bool same =
                     std::equal(component.customers().begin(), component.customers().end(),
                                subscription.customers().begin(), subscription.customers().end());
                 if (same && (component.gone() || !subscription.gone())) return true;
                 moved.emplace_back(key, component);
                 return true;
               });
  for (auto& [key, component] : moved) {
    *component.mutable_customers() = subscription.customers();
    if (subscription.gone()) component.set_gone(true);
    if (subscription.gone() && Later(subscription, component)) {
      *component.mutable_updated_at() = subscription.updated_at();
    }
    *component.mutable_read() = host_.NextRead();
    if (auto folded = mirror_.Fold(key, std::move(component))) {
      Produce(now, StreamKind::kComponents, key, *std::move(folded), acknowledged_by);
    }
  }
}

// ---- scans of lists ----

void Connection::BeginScan(Now now, Track& each) {
  each.is_running = true;
  each.is_over = false;
  each.is_dirty = false;
  each.found_news = false;
  each.clock_is_bad = false;
  each.again = false;
  each.server_start.reset();
  each.began = now.steady;
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
  NoteClock(each, completion);
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
  NoteClock(each, completion);
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
  if (each.is_dirty) {
    each.due = std::max(each.due, now.steady + Backoff(each.failures));
    return;
  }
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
  if (each.kind == StreamKind::kEvents && each.is_running && !each.is_over && batch_.empty() &&
      pass_ && !events_by_pages_ &&
      pass_->pages_since_cursor >= options_.unacknowledged_pages_max) {
    // A long history is not read from its start again after a crash.
    pass_->pages_since_cursor = 0;
    pass_->candidate = std::min(pass_->candidate, pass_->skipped_min - 1);
    if (pass_->candidate > NumberOf(each.cursor.since_id())) {
      each.cursor.set_since_id(std::to_string(pass_->candidate));
      seen_.erase(seen_.begin(), seen_.upper_bound(pass_->candidate));
      StoreCursor(now, each);
    }
  }
  MaybeFinish(now, each);
  next_due_ = std::min(next_due_, now.steady);
}

// ---- events ----

void Connection::BeginPass(Now now) {
  Track& events = track(StreamKind::kEvents);
  BeginScan(now, events);
  events.scan.reset();
  pass_.emplace();
  pass_->since = NumberOf(events.cursor.since_id());
  pass_->last = pass_->since;
  pass_->candidate = pass_->since;
  pass_->skipped_min = kNoId;
  running_hints_.insert(open_hints_.begin(), open_hints_.end());
  open_hints_.clear();
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
  NoteClock(events, completion);
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
  const std::int64_t covered = std::max(pass_->since, NumberOf(events.cursor.since_id()));
  batch_.clear();
  for (EventRow& row : rows) {
    pass_->created_max_us =
        std::max(pass_->created_max_us, row.created_at.time_since_epoch().count());
    pass_->saw_rows = true;
    const bool is_known = row.number <= covered || seen_.contains(row.number);
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
    any_live = any_live || (events.cursor.has_lower_bound() &&
                            row.created_at >= TimeOf(events.cursor.lower_bound()));
  }
  // They name what has changed: the lists are read at once rather than at their next turn.
  if (any_live) HintLists(now);
  ResolveBatch(now);
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
    if (gone.gone()) return;
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
  const Track& events = track(StreamKind::kEvents);
  awaited_.clear();
  results_.clear();
  for (const EventRow& row : batch_) {
    const bool live =
        events.cursor.has_lower_bound() && row.created_at >= TimeOf(events.cursor.lower_bound());
    if (!live) continue;
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

void Connection::OnByIdAnswer(Now now, InFlight in_flight, const http::Completion& completion) {
  ById& by_id = in_flight.by_id;
  const StreamKind kind = by_id.kind;
  const auto index = static_cast<std::size_t>(kind);
  const std::string key = Key(kind, by_id.id);
  std::string problem;
  const auto resolve = [&](ReadResult result) {
    if (!by_id.for_event) return;
    results_[key] = std::move(result);
    if (awaited_.erase(key) > 0 && awaited_.empty()) EmitBatch(now);
  };

  Verdict verdict = Judge(now, completion, in_flight, by_id.failures, by_id.not_before, problem);
  std::optional<Row> row;
  if (verdict == Verdict::kAnswer) {
    std::string why;
    if (kind == StreamKind::kComponents) {
      absl::StatusOr<RowPage> page = ParseList(kind, completion.body);
      if (page.ok()) {
        for (Row& each : page->rows) {
          if (each.id == by_id.id) row = std::move(each);
        }
        if (!row) verdict = Verdict::kMissing;
      } else {
        why = std::string(page.status().message());
      }
    } else {
      absl::StatusOr<Row> single = ParseSingle(kind, completion.body);
      if (single.ok() && single->id == by_id.id) {
        row = *std::move(single);
      } else {
        why = single.ok() ? "another entity than the one asked for"
                          : std::string(single.status().message());
      }
    }
    if (!why.empty()) {
      Track& stream = track(kind);
      const Instant not_before = stream.not_before;
      Malformed(now, stream, completion, why);
      stream.not_before = not_before;
      --stream.failures;
      ++by_id.failures;
      by_id.not_before = now.steady + Backoff(by_id.failures);
      verdict = Verdict::kLater;
    }
  }
  if (row) {
    missing_in_a_row_[index] = 0;
    const std::string* date = http::FindHeader(completion.headers, "Date");
    v1::Entity entity =
        EntityOf(kind, *std::move(row), in_flight.read, date ? ParseHttpDate(*date) : std::nullopt);
    MirrorById(now, kind, entity);
    resolve({.entity = mirror_.WithFormerCustomers(key, std::move(entity))});
    return;
  }
  if (verdict == Verdict::kLater) {
    if (by_id.for_event && by_id.failures >= kReadFailuresMax && mirror_.Find(key)) {
      host_.Warn("An event goes on with what was known of its entity.",
                 {{"connection", identity_.name}, {"entity", key}, {"why", problem}});
      resolve({});
      return;
    }
    by_id_.push_back(by_id);
    return;
  }
  // Missing: gone, or not shown yet, or never offered by id.
  const auto known = mirror_.Find(key);
  if (known && !known->gone() && ++missing_in_a_row_[index] >= kMissingInARowMax) {
    missing_in_a_row_[index] = 0;
    not_offered_until_[index] = now.steady + options_.unavailable_retry;
  }
  if (by_id.for_repair && mirror_.is_void(key)) {
    if (!by_id.first_missing) by_id.first_missing = now.steady;
    if (now.steady < *by_id.first_missing + D()) {
      by_id.not_before = now.steady + std::max<Duration>(D() / 4, options_.retry_delay_min);
      by_id_.push_back(by_id);
      return;
    }
    v1::Entity gone;
    gone.set_connection(identity_.name);
    gone.set_kind(std::string(Name(kind)));
    gone.set_id(by_id.id);
    gone.set_gone(true);
    *gone.mutable_read() = in_flight.read;
    if (kind == StreamKind::kCustomers) gone.add_customers(by_id.id);
    const std::string* date = http::FindHeader(completion.headers, "Date");
    if (const auto at = date ? ParseHttpDate(*date) : std::nullopt) {
      SetTime(gone.mutable_updated_at(), *at);
    }
    Take(now, kind, std::move(gone), track(StreamKind::kEvents));
    return;
  }
  resolve({});
}

void Connection::MirrorById(Now now, StreamKind kind, const v1::Entity& entity) {
  const std::string key = Key(kind, entity.id());
  Track& list = track(kind);
  const auto known = mirror_.Find(key);
  // Lists and reads by id show different members. The mirror keeps the shape of the list, and takes
  // a read by id only where the list would not bring what it shows.
  bool list_brings_it =
      kind != StreamKind::kComponents && !mirror_.is_void(key) && !IsUnavailable(kind);
  if (list_brings_it && list.cursor.has_lower_bound() && entity.has_updated_at() &&
      TimeOf(entity.updated_at()) < TimeOf(list.cursor.lower_bound())) {
    list_brings_it = false;
  }
  if (list_brings_it && (!known || Later(entity, *known))) return;
  if (kind != StreamKind::kComponents && known && !known->gone() && !mirror_.is_void(key) &&
      !Later(entity, *known) && !CommonMembersDiffer(entity.document(), known->document())) {
    return;
  }
  Take(now, kind, entity, track(StreamKind::kEvents));
}

void Connection::EmitBatch(Now now) {
  Track& events = track(StreamKind::kEvents);
  const WallTime server_now = events.server_start.value_or(WallTime::min());
  for (const EventRow& row : batch_) {
    const bool is_old = events.server_start && row.created_at <= server_now - D();
    const bool live =
        events.cursor.has_lower_bound() && row.created_at >= TimeOf(events.cursor.lower_bound());
    v1::SourceEvent event;
    bool must_wait = false;
    for (const ById& named : EntitiesOf(row)) {
      const std::string key = Key(named.kind, named.id);
      const auto result = results_.find(key);
      if (result != results_.end() && result->second.entity) {
        *event.add_entities() = *result->second.entity;
        continue;
      }
      const auto known = mirror_.Find(key);
      if (live && !is_old) {
        // Not shown yet, or only by a list that has not been read since: the next pass sees it.
        const Track& list = track(named.kind);
        const bool not_offered = result != results_.end() && !result->second.is_offered;
        const bool list_is_behind =
            not_offered && !IsUnavailable(named.kind) &&
            (!list.last_ended || list.is_running || list.began < first_seen_[row.number]);
        if (list_is_behind || (!known && !IsUnavailable(named.kind))) must_wait = true;
      }
      if (known) *event.add_entities() = *known;
    }
    if (must_wait) {
      pass_->skipped_min = std::min(pass_->skipped_min, row.number);
      pass_->has_skipped = true;
      continue;
    }
    event.set_connection(identity_.name);
    event.set_id(row.id);
    event.set_key(row.key);
    SetTime(event.mutable_occurred_at(), row.created_at);
    event.set_live(live);
    event.set_customer(row.customer);
    if (row.customer.empty()) {
      for (const v1::Entity& entity : event.entities()) {
        if (entity.kind() == Name(StreamKind::kCustomers)) event.set_customer(entity.id());
      }
    }
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
    if (pass.candidate > NumberOf(events.cursor.since_id())) {
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

// ---- status ----

void Connection::AddStatus(v1::ServiceStatus& status) const {
  v1::ConnectionReport* report = status.add_connections();
  report->set_tenant(identity_.tenant);
  report->set_connection(identity_.name);
  report->set_problem(problem_);
  report->set_fix(fix_);
  report->set_credential_refused(is_refused_);
  int offered = 0;
  int blocked = 0;
  for (const Track& each : tracks_) {
    v1::StreamStatus* stream = status.add_streams();
    stream->set_tenant(identity_.tenant);
    stream->set_connection(identity_.name);
    stream->set_stream(std::string(Name(each.kind)));
    stream->set_unavailable(each.cursor.unavailable());
    stream->set_first_read_done(each.cursor.first_read_done());
    stream->set_read(each.read);
    const bool is_unavailable = !each.cursor.unavailable().empty();
    stream->set_settled(is_unavailable ||
                        (each.quiet_scan_began && each.open_pages.empty() &&
                         (!has_news_ || *each.quiet_scan_began >= last_news_ + D())));
    if (each.last_ended_at) SetTime(stream->mutable_last_scan_ended_at(), *each.last_ended_at);
    stream->set_problem(!each.problem.empty()        ? each.problem
                        : !each.scan_problem.empty() ? each.scan_problem
                                                     : each.remark);
    if (is_unavailable || !each.has_begun) continue;
    ++offered;
    if (each.problem.starts_with("HTTP 422")) ++blocked;
  }
  if (problem_.empty() && offered > 0 && blocked == offered) {
    // An account that is closed, cleared or in arrears answers 422 to everything (trap 22).
    for (const Track& each : tracks_) {
      if (!each.problem.empty()) report->set_problem(each.problem);
    }
    report->set_fix("look at the account of this site at its vendor");
  }
}

}  // namespace tributary::extractor

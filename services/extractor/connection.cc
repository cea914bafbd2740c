#include "services/extractor/connection.h"

#include <algorithm>

#include "libs/ids/keys.h"
#include "libs/time/rfc3339.h"
#include "services/extractor/entity_times.h"

// What an answer is, before its content matters; hints, repairs and the credential.

namespace tributary::extractor {
namespace {

/// Refusals of the key, each sent after the one before was answered.
constexpr int kRefusalsMin = 3;
/// Bodies that could not be read and are kept in the log, one entry each.
constexpr std::size_t kBodiesLoggedMax = 100;
constexpr std::size_t kBodyBytesLoggedMax = 4096;

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
    } else if (stored && each.kind == StreamKind::kEvents && stored->has_lower_bound()) {
      // Void: the position counts for nothing, but where the live time began does not move.
      *each.cursor.mutable_lower_bound() = stored->lower_bound();
      // Nor is what was appended under an older generation live once more (IsLive).
      if (stored->generation() != 0 && stored->has_last_scan_started_at()) {
        *each.cursor.mutable_last_scan_started_at() = stored->last_scan_started_at();
      }
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

Instant Connection::Throttled(Now now) {
  const auto half = static_cast<std::uint64_t>(options_.throttle_pause.count() / 2) + 1;
  const Duration pause =
      options_.throttle_pause * 3 / 4 + Duration(static_cast<std::int64_t>(host_.Random() % half));
  host_.OnThrottled(now.steady + pause);
  return now.steady + pause;
}

void Connection::OnHint(Now now, std::int64_t offset) {
  open_hints_.insert(offset);
  Track& events = track(StreamKind::kEvents);
  events.due = std::min(events.due, now.steady);
  if (events.is_running) events.again = true;
  if (IsUnavailable(StreamKind::kEvents)) HintLists(now);
  next_due_ = std::min(next_due_, now.steady);
}

void Connection::ReadEventsAgain(WallTime from) {
  read_again_from_ = std::min(from, read_again_from_.value_or(from));
}

std::optional<WallTime> Connection::read_again_from() const {
  if (!pass_ || !pass_->is_again) return read_again_from_;
  const WallTime from = TimeOf(track(StreamKind::kEvents).cursor.read_again_from());
  return std::min(from, read_again_from_.value_or(from));
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
  // This answer is still to be looked at.
  mirror_.ForgetReadsBelow(std::min(host_.oldest_read_in_flight(), in_flight.read.number()));
  Track& each = track(in_flight.kind);
  if (in_flight.what == InFlight::What::kEndpoints) {
    OnEndpointsAnswer(now, completion);
    Pump(now);
    return;
  }
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
    NoteClock(now, each, completion);
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
  if (status != 401 && refusals_ > 0 && status < 500 && status != 429) {
    refusals_ = 0;
    is_refused_ = false;
    problem_.clear();
    fix_.clear();
  }
  if (status >= 200 && status < 300) return Verdict::kAnswer;
  const std::string text = ErrorText(completion.body);
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
      not_before = Throttled(now);
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

void Connection::NoteClock(Now now, Track& each, const http::Completion& completion) {
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
      return;
    }
    // One of a site's machines may be ahead of the others. What jumps ahead is believed when the
    // next scan says it too: changes in front of a lower bound in the future would not be listed.
    const Duration offset = date->time_since_epoch() - now.steady.time_since_epoch();
    *each.server_start -= std::max(offset - each.server_offset.value_or(offset), Duration{});
    each.server_offset = offset;
  } else if (*date < *each.server_start) {
    each.clock_is_bad = true;
  }
}

}  // namespace tributary::extractor

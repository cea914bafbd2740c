#include "libs/budget/window.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <string_view>

#include "libs/time/rfc3339.h"

namespace tributary::budget {
namespace {

using std::chrono::hours;
using std::chrono::minutes;

/// In longer ones live changes are sent as they come. All others keep a distance, so that a limit
/// that falls meets one of them and not many, and so that others can be seen in time.
constexpr Duration kPacedLengthMax = minutes(5);
/// How long others are remembered who ask no more, or are refused: whoever takes their slots at
/// once meets them when they come again.
constexpr int kOthersWindows = 4;
constexpr Duration kRestMax = hours(1);
constexpr Duration kProbeDelayMin = minutes(1);
constexpr Duration kProbeDelayMax = hours(1);
constexpr Duration kDay = hours(24);
/// Of a fixed window: so many must have counted before fewer tell of a reset.
constexpr std::int64_t kResetSeenMin = 16;
/// Fewer in a window are not taken for its limit at once.
constexpr std::int64_t kLearntMin = 4;
constexpr std::int64_t kCountMax = 1'000'000'000;
constexpr Duration kClockMargin = std::chrono::seconds(2);
constexpr std::int64_t kAnyNumber = std::numeric_limits<std::int64_t>::max();

std::optional<std::int64_t> HeaderNumber(const http::Headers& headers, const std::string& name,
                                         std::int32_t part) {
  if (name.empty()) return std::nullopt;
  const std::string* const header = http::FindHeader(headers, name);
  if (header == nullptr) return std::nullopt;
  std::string_view text = *header;
  for (std::int32_t i = 0; i < part; ++i) {
    const std::size_t bar = text.find('|');
    if (bar == std::string_view::npos) return std::nullopt;
    text.remove_prefix(bar + 1);
  }
  text = text.substr(0, text.find('|'));
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

/// More than that is as good as no limit.
std::optional<std::int64_t> HeaderCount(const http::Headers& headers, const std::string& name,
                                        std::int32_t part) {
  const auto count = HeaderNumber(headers, name, part);
  return count ? std::optional(std::min(*count, kCountMax)) : std::nullopt;
}

/// Of the server, if it tells one that is not just rounded: a reset at a time of day is by its
/// clock.
WallTime ServerTime(const http::Headers& headers, WallTime now) {
  const std::string* const header = http::FindHeader(headers, "Date");
  const std::optional<WallTime> date = header == nullptr ? std::nullopt : ParseHttpDate(*header);
  if (!date || (*date - now < kClockMargin && now - *date < kClockMargin)) return now;
  return *date;
}

/// In how long; some servers tell seconds from now, others a time since 1970.
Duration UntilReset(std::int64_t value, WallTime now) {
  constexpr std::int64_t kSecondsOf2001 = 1'000'000'000;
  if (value < kSecondsOf2001) return std::chrono::seconds(value);
  if (value < 100 * kSecondsOf2001) return WallTime(std::chrono::seconds(value)) - now;
  if (value < 100'000 * kSecondsOf2001) return WallTime(std::chrono::milliseconds(value)) - now;
  return Duration::zero();
}

}  // namespace

std::string_view Name(Reason reason) {
  switch (reason) {
    case Reason::kConfigured:
      return "configured";
    case Reason::kHeader:
      return "header";
    case Reason::kLearnt:
      return "learnt";
  }
  return "configured";
}

Window::Window(WindowOptions options, double share)
    : options_(std::move(options)), share_(std::clamp(share, 0.001, 1.0)) {
  options_.length = std::max<Duration>(options_.length, std::chrono::milliseconds(100));
  limit_ = options_.requests;
}

bool Window::names_headers() const {
  return !options_.limit_header.empty() || !options_.remaining_header.empty() ||
         !options_.used_header.empty();
}

bool Window::says_full(const http::Headers& headers) const {
  const std::int32_t part = options_.header_part;
  if (const auto left = HeaderNumber(headers, options_.remaining_header, part)) return *left == 0;
  const auto limit = HeaderNumber(headers, options_.limit_header, part);
  const auto used = HeaderNumber(headers, options_.used_header, part);
  return limit && used && *used >= *limit;
}

void Window::StartFixed(Now now) {
  if (options_.kind != WindowOptions::Kind::kFixed || reset_ || !options_.resets_at) return;
  Duration since = (now.wall.time_since_epoch() - *options_.resets_at) % options_.length;
  if (since < Duration::zero()) since += options_.length;
  began_ = now.steady - since;
  reset_ = now.steady + (options_.length - since);
}

void Window::Roll(Instant began) {
  const Instant from = found_ ? found_->first : began_;
  if (heard_at_ - from >= options_.length / 4) {
    others_before_ = AtThisPace(others_now_ - (found_ ? found_->second : 0), heard_at_ - from);
  }
  found_.reset();
  others_now_ = 0;
  own_ = 0;
  total_ = 0;
  began_ = began;
}

void Window::Advance(Now now) {
  StartFixed(now);
  if (is_fixed()) {
    while (now.steady >= *reset_) {
      Roll(*reset_);
      *reset_ += options_.length;
    }
    return;
  }
  while (!slices_.empty() &&
         slices_.front().begin + Slices() + options_.length + lag_ <= now.steady) {
    own_ -= slices_.front().count;
    slices_.pop_front();
  }
  const Duration memory =
      options_.length * (options_.length > kPacedLengthMax ? 1 : kOthersWindows);
  while (!others_.empty() && others_.front().first + memory <= now.steady) others_.pop_front();
}

Window::Mark Window::Sent(Now now) {
  Advance(now);
  if (!is_fixed() && !slices_.empty() && now.steady < slices_.back().begin + Slices()) {
    ++slices_.back().count;
  } else if (!is_fixed()) {
    slices_.push_back({now.steady, 1});
  }
  ++own_;
  last_sent_ = now.steady;
  return {now.steady, own_};
}

void Window::GiveBack(const Mark& mark) {
  if (own_ == 0) return;
  if (is_fixed()) {
    if (mark.at >= began_) --own_;
    return;
  }
  for (auto slice = slices_.rbegin(); slice != slices_.rend(); ++slice) {
    if (slice->begin > mark.at || slice->count == 0) continue;
    --slice->count;
    --own_;
    return;
  }
}

void Window::NoteOthers(Now now, std::int64_t others) {
  if (is_fixed()) {
    if (!others_before_ && !found_ && options_.length > kPacedLengthMax) {
      found_ = {now.steady, others};
    }
    others_now_ = std::max(others_now_, others);
    return;
  }
  while (!others_.empty() && others_.back().second <= others) others_.pop_back();
  // Falling values within one slice are one.
  if (!others_.empty() && now.steady < others_.back().first + Slices()) return;
  others_.emplace_back(now.steady, others);
}

std::int64_t Window::Others(Now now) const {
  if (is_fixed()) {
    if (others_before_) return std::max(*others_before_, others_now_);
    // In the first window: at the pace that was seen.
    if (found_) {
      const Duration elapsed = std::max(now.steady - found_->first, options_.length / 16);
      const Duration rest = std::max(elapsed, began_ + options_.length - found_->first);
      return found_->second +
             std::llround(static_cast<double>(others_now_ - found_->second) *
                          static_cast<double>(rest.count()) / static_cast<double>(elapsed.count()));
    }
    return AtThisPace(others_now_, std::max(now.steady - began_, options_.length / 16));
  }
  const std::int64_t seen = others_.empty() ? 0 : others_.front().second;
  if (!move_ || now.steady - move_->at >= 2 * options_.length) return seen;
  if (move_->to >= move_->from) return std::max(seen, move_->to);
  // Those from before the fall leave one after the other.
  const double gone = std::min(1.0, static_cast<double>((now.steady - move_->at).count()) /
                                        static_cast<double>(options_.length.count()));
  return std::max(seen, static_cast<std::int64_t>(
                            std::ceil(static_cast<double>(move_->from) -
                                      gone * static_cast<double>(move_->from - move_->to))));
}

std::int64_t Window::AtThisPace(std::int64_t count, Duration elapsed) const {
  if (elapsed >= options_.length || elapsed <= Duration::zero()) return count;
  return std::llround(static_cast<double>(count) * static_cast<double>(options_.length.count()) /
                      static_cast<double>(elapsed.count()));
}

void Window::TakeLimit(Now now, std::int64_t limit) {
  if (limit_is_heard_ && limit != limit_ && limit_ > 0) {
    // Who shares with us keeps its part; whether it does shows in a window's time.
    const std::int64_t others = Others(now);
    // Bounded: limits that go up and down would make it ever more.
    const auto scaled = static_cast<std::int64_t>(
        std::min(static_cast<double>(kCountMax),
                 std::ceil(static_cast<double>(others) * static_cast<double>(limit) /
                           static_cast<double>(limit_))));
    others_.clear();
    if (is_fixed()) {
      others_before_ = scaled;
      others_now_ = 0;
    } else {
      move_ = Move{now.steady, others, scaled};
    }
  }
  // One that allows nothing is asked from time to time whether it still does.
  limit_ = std::max<std::int64_t>(1, limit);
  limit_is_heard_ = true;
}

bool Window::Hear(Now now, const Mark& mark, std::int64_t own, const http::Headers& headers) {
  const std::int32_t part = options_.header_part;
  auto limit = HeaderCount(headers, options_.limit_header, part);
  auto left = HeaderCount(headers, options_.remaining_header, part);
  const auto used = HeaderCount(headers, options_.used_header, part);
  if (!limit && !left && !used) return false;
  if (const auto interval = HeaderNumber(headers, options_.interval_milliseconds_header, part);
      interval && *interval >= 100 && *interval <= 2 * kDay / std::chrono::milliseconds(1)) {
    options_.length = std::chrono::milliseconds(*interval);
  }
  heard_at_ = now.steady;
  if (used && !left && limit) left = std::max<std::int64_t>(0, *limit - *used);
  // Without the limit what is left says how many more there may be of ours.
  if (!limit && left) limit = *left + own;
  // More can be left than there is while a limit moves.
  if (limit && left) left = std::min(*left, *limit);
  if (options_.kind == WindowOptions::Kind::kFixed && limit && left) {
    const auto reset = HeaderNumber(headers, options_.reset_header, part);
    NoteReset(
        now, mark, *limit - *left,
        reset ? std::optional(UntilReset(*reset, ServerTime(headers, now.wall))) : std::nullopt);
    own = std::min(own, own_);
  }
  if (is_fixed() && mark.at < began_) return true;
  if (limit && mark.at >= limit_of_) {
    limit_of_ = mark.at;
    TakeLimit(now, *limit);
  }
  if (limit && left) NoteOthers(now, std::max<std::int64_t>(0, *limit - *left - own));
  return true;
}

void Window::NoteReset(Now now, const Mark& mark, std::int64_t total,
                       std::optional<Duration> until_reset) {
  if (mark.at < total_of_) return;
  std::optional<Instant> at;
  if (until_reset && *until_reset > Duration::zero() && *until_reset <= options_.length * 2) {
    at = now.steady + *until_reset;
  }
  const bool was_reset = total_ >= kResetSeenMin && total < total_ / 2;
  total_ = total;
  total_of_ = mark.at;
  if (was_reset && !at) {
    // At another time than was thought, or at one that was not known.
    at = mark.at + options_.length;
  }
  if (!at) return;
  if (!reset_) {
    slices_.clear();
    others_.clear();
    began_ = *at - options_.length;
    own_ = std::min(own_, total);
  } else if (*at > *reset_ + options_.length / 2) {
    Roll(*at - options_.length);
    own_ = 1;
  }
  reset_ = at;
}

void Window::Answered(Now now, const Mark& mark, const http::Headers& headers, Duration lag) {
  lag_ = std::clamp<Duration>(lag, Duration::zero(), options_.length / 50);
  Advance(now);
  is_answered_ = true;
  if (mark.at > refused_at_) refused_in_a_row_ = 0;
  Hear(now, mark, mark.own, headers);
  if (!search_until_) return;
  if (mark.own >= *search_until_) {
    learnt_ = search_until_;
    search_until_.reset();
    probe_at_ = now.steady + probe_delay_;
  } else if (now.steady - search_began_ >= options_.length * 2) {
    // Nothing refuses what goes one at a time: no limit is in sight.
    learnt_.reset();
    search_until_.reset();
  }
}

bool Window::Refused(Now now, const Mark& mark, const http::Headers& headers,
                     std::optional<Duration> told, Duration* rest) {
  Advance(now);
  is_answered_ = true;
  const std::int64_t accepted = std::max<std::int64_t>(0, mark.own - 1);
  const bool is_heard = Hear(now, mark, accepted, headers);
  if (mark.at <= refused_at_) return false;
  refused_at_ = now.steady;
  ++refused_in_a_row_;
  *rest = std::min(
      options_.length / 16 * (std::int64_t{1} << std::min<std::int64_t>(refused_in_a_row_ - 1, 12)),
      kRestMax);
  if (is_heard || limit_is_heard_) {
    // It is full though we thought otherwise: others have more than was seen.
    const std::int64_t more =
        (std::int64_t{1} << std::min<std::int64_t>(refused_in_a_row_ - 1, 10)) - 1;
    NoteOthers(now, std::max<std::int64_t>(0, limit_ - accepted) + more);
    return true;
  }
  if (search_until_ || !learnt_) {
    // This is what was looked for.
    const bool is_more = !learnt_ || accepted > *learnt_ + *learnt_ / 8 + 1;
    probe_delay_ = is_more ? kProbeDelayMin : std::min(probe_delay_ * 2, kProbeDelayMax);
    // Others come and go unseen: a little less than was possible now.
    const bool is_rare = accepted < kLearntMin && now.steady >= doubtful_until_;
    if (accepted > 0 && !is_rare) {
      learnt_ = std::max<std::int64_t>(1, accepted - accepted / 24);
      search_until_.reset();
      probe_at_ = now.steady + probe_delay_;
      return true;
    }
    // Next to nothing of ours is in the window, and still: it is longer than we think, or others
    // fill it, or it is no matter of numbers. Only if it comes again is it the limit.
    doubtful_until_ = now.steady + kProbeDelayMin;
    if (!told || refused_in_a_row_ > 1) {
      *rest = std::max(*rest, std::min(options_.length * refused_in_a_row_, kRestMax));
    }
    learnt_.reset();
    search_until_ = kAnyNumber;
    search_began_ = now.steady + *rest;
    return true;
  }
  // The limit fell, nobody says how far. What is in the window would be in the way of every
  // attempt: wait until it is out, then look from below.
  search_until_ = std::max<std::int64_t>(1, *learnt_ - std::max<std::int64_t>(1, *learnt_ / 16));
  learnt_.reset();
  *rest = std::max(*rest, options_.length + lag_ + Slices());
  search_began_ = now.steady + *rest;
  return true;
}

std::optional<std::int64_t> Window::Ceiling(Now now) const {
  std::optional<std::int64_t> ceiling;
  if (limit_ > 0) {
    const auto ours = static_cast<std::int64_t>(static_cast<double>(limit_) * share_);
    // A hundredth stays free, where there is one, so that others who come can be seen.
    const std::int64_t left = limit_ - Others(now) - (limit_is_heard_ ? limit_ / 100 : 0);
    ceiling = std::max<std::int64_t>(1, std::min(ours, left));
  }
  if (learnt_ && !search_until_ && (!ceiling || *learnt_ < *ceiling)) ceiling = learnt_;
  return ceiling;
}

Instant Window::FreeAt(Now now, std::int64_t count) const {
  if (is_fixed()) return *reset_;
  for (const Slice& slice : slices_) {
    count -= slice.count;
    if (count <= 0) return slice.begin + Slices() + options_.length + lag_;
  }
  return now.steady + options_.length / 8;
}

Instant Window::NextAt(Now now, bool is_live) {
  Advance(now);
  std::optional<std::int64_t> ceiling = Ceiling(now);
  if (!ceiling) return Instant::min();
  if (!is_live && options_.reserve_for_live > 0) {
    // Of a fixed one, what the rest of its time will need.
    const double part = is_fixed()
                            ? std::clamp(static_cast<double>((*reset_ - now.steady).count()) /
                                             static_cast<double>(options_.length.count()),
                                         0.0, 1.0)
                            : 1.0;
    const auto reserve = static_cast<std::int64_t>(std::ceil(
        static_cast<double>(limit_ > 0 ? limit_ : *ceiling) * options_.reserve_for_live * part));
    ceiling = std::max<std::int64_t>(0, *ceiling - reserve);
  }
  if (own_ + 1 > *ceiling) {
    if (learnt_ == ceiling && !search_until_ && now.steady >= probe_at_) {
      search_until_ = kAnyNumber;
      search_began_ = now.steady;
      return Instant::min();
    }
    return FreeAt(now, own_ + 1 - *ceiling);
  }
  if (is_live && options_.length > kPacedLengthMax) return Instant::min();
  // Even when the window is as full as it should be; at once when there is room.
  const double room = static_cast<double>(*ceiling - own_);
  double fill = static_cast<double>(own_ + 1) / static_cast<double>(*ceiling);
  double even = static_cast<double>(options_.length.count()) / static_cast<double>(*ceiling);
  if (is_fixed()) {
    // Its last part is for those that take their time.
    even = 0.97 * static_cast<double>((*reset_ - now.steady).count()) / room;
    const double gone = static_cast<double>((now.steady - began_).count()) /
                        static_cast<double>(options_.length.count());
    if (options_.length <= kPacedLengthMax) fill = std::min(1.0, fill / std::max(gone, 0.001));
  }
  return last_sent_ + Duration(std::llround(even * fill * fill));
}

bool Window::is_single(Now now) const {
  if (search_until_) return true;
  if (!names_headers()) return false;
  if (!is_answered_) return true;
  // What was heard is older than everything that the server counts now.
  return limit_is_heard_ && now.steady - heard_at_ >= options_.length;
}

Window::Standing Window::standing(Now now) {
  Advance(now);
  Standing out;
  out.ceiling = Ceiling(now);
  out.used = own_;
  if (limit_is_heard_) out.reason = Reason::kHeader;
  if (learnt_ && out.ceiling == learnt_) out.reason = Reason::kLearnt;
  return out;
}

}  // namespace tributary::budget

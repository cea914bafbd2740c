#include "libs/budget/budget.h"

#include <algorithm>
#include <cmath>

namespace tributary::budget {

Budget::Budget(Options options) : allowed_(std::max(options.concurrency_max, 1)) {
  SetOptions(std::move(options));
}

void Budget::SetOptions(Options options) {
  options.concurrency_max = std::max(options.concurrency_max, 1);
  if (options.windows.empty() && !options.refusals_are_of_concurrency) {
    options.windows.push_back({.name = "learnt"});
  }
  options.windows.resize(std::min(options.windows.size(), kWindowsMax));
  if (windows_.empty() || !(options.windows == options_.windows) ||
      options.share != options_.share) {
    windows_.clear();
    for (const WindowOptions& window : options.windows) {
      windows_.emplace_back(window, options.share);
    }
    is_heard_ = false;
  }
  if (options.concurrency_max != options_.concurrency_max || allowed_ > options.concurrency_max) {
    allowed_ = options.concurrency_max;
  }
  options_ = std::move(options);
}

std::int32_t Budget::allowed(Now now) const {
  if (now.steady < single_until_) return 1;
  for (const Window& window : windows_) {
    if (window.is_single(now)) return 1;
  }
  return allowed_;
}

bool Budget::MayOpen(Now now) const { return now.steady >= paused_until_ && open_ < allowed(now); }

Duration Budget::Interval() const {
  const double rate = options_.requests_per_second * options_.share;
  return Duration(static_cast<std::int64_t>(std::llround(1e6 / std::max(rate, 0.001))));
}

bool Budget::RateCounts() const {
  return options_.requests_per_second > 0 && (options_.rate_is_given || !is_heard_);
}

Instant Budget::NextSendAt(Now now, bool is_live) {
  Instant next = paused_until_;
  if (RateCounts()) {
    // As many at once as a second allows, so that a window of any length sees one second more than
    // its share at most.
    const Duration burst =
        Interval() *
        std::max<std::int64_t>(std::llround(options_.requests_per_second * options_.share) - 1, 0);
    next = std::max(next, due_ - burst);
  }
  for (Window& window : windows_) next = std::max(next, window.NextAt(now, is_live));
  return next;
}

Duration Budget::Spacing(Now now) {
  Duration spacing = RateCounts() ? Interval() : Duration::zero();
  for (Window& window : windows_) {
    const std::optional<std::int64_t> ceiling = window.standing(now).ceiling;
    if (ceiling) spacing = std::max(spacing, window.options().length / *ceiling);
  }
  return spacing;
}

Budget::Ticket Budget::Sent(Now now) {
  Ticket ticket{.at = now.steady};
  for (std::size_t i = 0; i < windows_.size(); ++i) ticket.marks[i] = windows_[i].Sent(now);
  due_ = std::max(due_, now.steady) + Interval();
  ++open_;
  return ticket;
}

void Budget::NotSent(const Ticket& ticket) {
  --open_;
  for (std::size_t i = 0; i < windows_.size(); ++i) windows_[i].GiveBack(ticket.marks[i]);
}

void Budget::Close(Now now, const Ticket& ticket) {
  --open_;
  const Duration took = now.steady - ticket.at;
  if (took > options_.slow_answer) {
    allowed_ = std::max(1, allowed_ - 1);
    warned_at_ = now.steady;
  } else if (allowed_ < options_.concurrency_max &&
             now.steady - std::max(warned_at_, paused_until_) >= options_.recover_after) {
    ++allowed_;
    warned_at_ = now.steady;
  }
  // Forgets slowly, so that a way that has become longer is not taken for late requests for ever.
  fastest_ = std::min(took, fastest_ == Duration::max() ? took : fastest_ + fastest_ / 256);
  lag_ = std::max(lag_ - lag_ / 128, took - fastest_);
}

void Budget::Answered(Now now, const Ticket& ticket, const http::Headers& headers) {
  Close(now, ticket);
  for (std::size_t i = 0; i < windows_.size(); ++i) {
    windows_[i].Answered(now, ticket.marks[i], headers, lag_);
    is_heard_ = is_heard_ || windows_[i].limit_is_heard();
  }
}

void Budget::Refused(Now now, const Ticket& ticket, const http::Headers& headers,
                     std::optional<Duration> retry_after) {
  Close(now, ticket);
  // Whoever refuses does not count.
  for (std::size_t i = 0; i < windows_.size(); ++i) windows_[i].GiveBack(ticket.marks[i]);
  if (retry_after) PauseUntil(now.steady + *retry_after);
  ++refused_;
  if (options_.refusals_are_of_concurrency) {
    allowed_ = 1;
    warned_at_ = now.steady;
  }
  if (windows_.empty()) return;
  // The one that says it is full; else the shortest, as the one that is full most often.
  std::size_t full = 0;
  for (std::size_t i = 0; i < windows_.size(); ++i) {
    if (windows_[i].says_full(headers)) {
      full = i;
      break;
    }
    if (windows_[i].options().length < windows_[full].options().length) full = i;
  }
  Duration rest{};
  for (std::size_t i = 0; i < windows_.size(); ++i) {
    if (i != full) windows_[i].Answered(now, ticket.marks[i], headers, lag_);
  }
  if (windows_[full].Refused(now, ticket.marks[full], headers, retry_after, &rest)) {
    PauseUntil(now.steady + rest);
  }
}

void Budget::AddTo(Usage& usage, Now now) {
  const Standing one = standing(now);
  usage.ceiling[static_cast<std::size_t>(one.reason)] += one.requests_per_second;
  usage.used_share = std::max(usage.used_share, one.used_share);
}

std::optional<Budget::Wait> Budget::WaitsFor(Now now, bool is_live) {
  const Instant until = NextSendAt(now, is_live);
  if (until <= now.steady) return std::nullopt;
  Wait out{.until = until, .what = "its rate"};
  if (until == paused_until_) out.what = "the pause that the server asked for";
  for (Window& window : windows_) {
    if (until == paused_until_ || window.NextAt(now, is_live) != until) continue;
    const Window::Standing standing = window.standing(now);
    out.what =
        "quota `" + window.options().name + "`: " + std::to_string(standing.used) + " of " +
        std::to_string(standing.ceiling.value_or(0)) + " used" +
        (is_live || window.options().reserve_for_live <= 0 ? "" : ", the rest is for changes");
    break;
  }
  return out;
}

Budget::Standing Budget::standing(Now now) {
  Standing out;
  out.paused_until = paused_until_;
  for (Window& window : windows_) {
    const Window::Standing standing = window.standing(now);
    if (!standing.ceiling) continue;
    const double share = std::clamp(
        static_cast<double>(standing.used) / static_cast<double>(*standing.ceiling), 0.0, 1.0);
    if (!out.window.empty() && share <= out.used_share) continue;
    const double seconds = static_cast<double>(window.options().length.count()) / 1e6;
    out.requests_per_second = static_cast<double>(*standing.ceiling) / seconds;
    out.reason = standing.reason;
    out.used_share = share;
    out.window = window.options().name;
  }
  const double rate = options_.requests_per_second * options_.share;
  if (RateCounts() && (out.window.empty() || rate < out.requests_per_second)) {
    out.requests_per_second = rate;
    out.reason = Reason::kConfigured;
    out.window = "second";
  }
  return out;
}

}  // namespace tributary::budget

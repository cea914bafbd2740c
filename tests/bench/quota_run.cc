#include "tests/bench/quota_run.h"

#include <algorithm>
#include <deque>
#include <map>
#include <optional>

#include "services/simulator/random.h"

namespace tributary::bench {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

/// A whole day in UTC, so that fixed windows begin with the run.
constexpr std::int64_t kStartSeconds = 1'760'054'400;

Now NowAt(Duration since) {
  return {Instant(hours(1)) + since, WallTime(seconds(kStartSeconds)) + since};
}

/// Knows the limit and the neighbour, and takes each slot that is not the neighbour's at once.
class Oracle {
 public:
  explicit Oracle(simulator::Quota::Options options) : quota_(options) {}
  void SetMax(WallTime now, std::int64_t max) { quota_.SetMax(now, max); }
  void Wait(WallTime now) { quota_.Advance(now); }
  void Advance(WallTime now) {
    quota_.Advance(now);
    const simulator::Quota::Options& options = quota_.options();
    const WallTime window(now.time_since_epoch() / options.length * options.length);
    while (!own_.empty() &&
           (options.is_fixed ? own_.front() < window : own_.front() <= now - options.length)) {
      own_.pop_front();
    }
    const auto ours = static_cast<std::size_t>(options.requests_max - quota_.neighbour_max());
    while (own_.size() < ours && quota_.remaining() > 0 && quota_.Take(now)) own_.push_back(now);
  }
  std::int64_t taken() const { return quota_.taken(); }

 private:
  simulator::Quota quota_;
  std::deque<WallTime> own_;
};

struct Event {
  bool is_arrival = false;
  bool is_refused = false;
  budget::Budget::Ticket ticket;
  http::Headers headers;
  std::optional<Duration> retry_after;
};

class Run {
 public:
  explicit Run(const QuotaScenario& scenario)
      : scenario_(scenario),
        quota_(scenario.quota),
        oracle_(scenario.quota),
        budget_(scenario.budget),
        random_(scenario.seed, 77) {}

  QuotaResult Go() {
    // The neighbour was there before.
    for (int i = 2; i >= 0; --i) {
      quota_.Advance(NowAt(-i * scenario_.quota.length).wall);
      oracle_.Wait(NowAt(-i * scenario_.quota.length).wall);
    }
    Duration end{};
    for (const auto& [length, limit] : scenario_.phases) {
      begin_ = end;
      end += length;
      result_.phases.push_back({.limit = limit});
      const WallTime wall = NowAt(begin_).wall;
      quota_.SetMax(wall, limit);
      oracle_.SetMax(wall, limit);
      while (at_ < end) Step(end);
    }
    for (const QuotaPhase& phase : result_.phases) {
      result_.total.taken += phase.taken;
      result_.total.left += phase.left;
      result_.total.refused += phase.refused;
      result_.total.refused_in_steady_state += phase.refused_in_steady_state;
      result_.total.neighbour_refused += phase.neighbour_refused;
    }
    return result_;
  }

 private:
  void Step(Duration end) {
    const Now now = NowAt(at_);
    QuotaPhase& phase = result_.phases.back();
    const std::int64_t before = oracle_.taken();
    oracle_.Advance(now.wall);
    phase.left += oracle_.taken() - before;
    while (!events_.empty() && events_.begin()->first <= at_) {
      Event event = std::move(events_.begin()->second);
      events_.erase(events_.begin());
      event.is_arrival ? Arrive(std::move(event)) : Complete(event);
    }
    // The oracle looks so often; a longer step would be its loss.
    Duration next = at_ + (scenario_.quota.length > hours(1) ? seconds(10) : milliseconds(1));
    if (scenario_.live_every > Duration::zero()) {
      for (; next_live_ <= at_; next_live_ += scenario_.live_every) live_.push_back(next_live_);
    }
    while (budget_.MayOpen(now)) {
      const bool is_live = scenario_.live_every == Duration::zero() || !live_.empty();
      const Instant when = budget_.NextSendAt(now, is_live);
      if (when > now.steady) {
        next = std::min(next, at_ + (when - now.steady));
        break;
      }
      if (!live_.empty()) {
        result_.live_wait_max = std::max(result_.live_wait_max, at_ - live_.front());
        live_.pop_front();
      }
      Event event;
      event.is_arrival = true;
      event.ticket = budget_.Sent(now);
      events_.emplace(at_ + Way(), std::move(event));
    }
    if (!events_.empty()) next = std::min(next, events_.begin()->first);
    at_ = std::min(std::max(next, at_ + Duration(1)), end);
  }

  Duration Way() {
    return scenario_.latency / 2 + Duration(random_.Below(scenario_.jitter.count() + 1));
  }

  void Arrive(Event event) {
    const WallTime wall = NowAt(at_).wall;
    QuotaPhase& phase = result_.phases.back();
    const std::int64_t neighbour = quota_.neighbour_refused();
    event.is_arrival = false;
    event.is_refused = !quota_.Take(wall);
    phase.neighbour_refused += quota_.neighbour_refused() - neighbour;
    if (event.is_refused) {
      ++phase.refused;
      if (at_ - begin_ > scenario_.quota.length * 6) ++phase.refused_in_steady_state;
    } else {
      ++phase.taken;
    }
    if (scenario_.quota.tells) {
      event.headers = {
          {"Limit", std::to_string(quota_.options().requests_max)},
          {"Remaining", std::to_string(quota_.remaining())},
          {"Interval", std::to_string(quota_.options().length / milliseconds(1))},
          {"Reset", std::to_string(quota_.next_reset(wall).time_since_epoch() / milliseconds(1))}};
    }
    if (event.is_refused && scenario_.quota.tells_retry_after) {
      event.retry_after = quota_.retry_after(wall);
    }
    events_.emplace(at_ + Way(), std::move(event));
  }

  void Complete(const Event& event) {
    const Now now = NowAt(at_);
    if (event.is_refused) {
      budget_.Refused(now, event.ticket, event.headers, event.retry_after);
    } else {
      budget_.Answered(now, event.ticket, event.headers);
    }
  }

  const QuotaScenario& scenario_;
  simulator::Quota quota_;
  Oracle oracle_;
  budget::Budget budget_;
  simulator::Random random_;
  QuotaResult result_;
  std::multimap<Duration, Event> events_;
  std::deque<Duration> live_;
  Duration next_live_{};
  Duration at_{};
  Duration begin_{};
};

}  // namespace

QuotaResult RunQuota(const QuotaScenario& scenario) { return Run(scenario).Go(); }

std::vector<QuotaScenario> QuotaScenarios() {
  const budget::WindowOptions told = {.name = "burst",
                                      .limit_header = "Limit",
                                      .remaining_header = "Remaining",
                                      .interval_milliseconds_header = "Interval"};
  std::vector<QuotaScenario> out;
  QuotaScenario headers;
  headers.name = "headers";
  headers.quota.neighbour_share = 1.0 / 3;
  headers.budget.windows = {told};
  headers.phases = {{minutes(5), 100}, {minutes(5), 10}, {minutes(5), 100}};
  out.push_back(headers);

  QuotaScenario slow = headers;
  slow.name = "headers_slow_server";
  slow.latency = milliseconds(400);
  slow.jitter = milliseconds(50);
  out.push_back(slow);

  QuotaScenario none = headers;
  none.name = "no_headers";
  none.quota.tells = false;
  none.quota.tells_retry_after = false;
  none.budget.windows = {};
  none.phases = {{minutes(60), 100}, {minutes(60), 10}, {minutes(60), 100}};
  out.push_back(none);

  QuotaScenario fixed = headers;
  fixed.name = "fixed_window";
  fixed.quota.is_fixed = true;
  fixed.budget.windows[0].kind = budget::WindowOptions::Kind::kFixed;
  fixed.budget.windows[0].reset_header = "Reset";
  out.push_back(fixed);

  QuotaScenario unaware = fixed;
  unaware.name = "fixed_window_without_reset";
  unaware.budget.windows[0].reset_header.clear();
  out.push_back(unaware);

  QuotaScenario daily = headers;
  daily.name = "daily";
  daily.quota.is_fixed = true;
  daily.quota.length = hours(24);
  daily.budget.windows[0].kind = budget::WindowOptions::Kind::kFixed;
  daily.budget.windows[0].length = hours(24);
  daily.budget.windows[0].resets_at = Duration::zero();
  daily.budget.windows[0].reserve_for_live = 0.1;
  daily.live_every = minutes(6);
  daily.phases = {{hours(72), 3000}};
  out.push_back(daily);
  return out;
}

}  // namespace tributary::bench

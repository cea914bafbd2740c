#include "services/extractor/metrics.h"

#include <array>
#include <string>

#include "libs/http/message.h"
#include "libs/runtime/levels.h"
#include "services/extractor/extractor.h"

namespace tributary::extractor {
namespace {

const std::string kStage = "extractor";
constexpr std::array<const char*, kOperations> kOperationNames = {
    "site", "customers", "subscriptions", "components", "invoices", "events", "by_id", "endpoints"};

}  // namespace

struct StageNumbers::State {
  explicit State(observe::Metrics& metrics)
      : standing(metrics, kStage),
        set_aside(metrics, kStage),
        pages(metrics, kStage, "unacknowledged_pages"),
        unread(metrics, kStage, "unread_entries"),
        requests_open(metrics, kStage, "source_requests"),
        quota(metrics, "chargify"),
        sites(metrics.AddGauge("tributary_sites", "Sites that are read.")),
        changes(metrics.AddCounter("tributary_changes_total", "Changes that were written.")),
        events(metrics.AddCounter("tributary_source_events_total", "Events that were written.")),
        expired(runtime::AddExpiredUnread(metrics, kStage, eventlog::Topic::kNotifications)) {
    for (std::size_t i = 0; i < kOperations; ++i) {
      for (std::size_t j = 0; j < kAnswers; ++j) {
        requests[i][j] = observe::FollowedCounter(metrics.AddCounter(
            "tributary_source_requests_total",
            "Requests to sources, by what is known of the answer.",
            {{"operation", kOperationNames[i]},
             {"answer", std::string(http::Name(static_cast<http::AnswerClass>(j)))}}));
      }
    }
  }

  runtime::StandingMetrics standing;
  runtime::SetAsideMetrics set_aside;
  runtime::QueueMetrics pages;
  runtime::QueueMetrics unread;
  runtime::QueueMetrics requests_open;
  runtime::QuotaMetrics quota;
  observe::Gauge sites;
  observe::FollowedCounter changes;
  observe::FollowedCounter events;
  observe::FollowedCounter expired;
  std::array<std::array<observe::FollowedCounter, kAnswers>, kOperations> requests;
};

StageNumbers::StageNumbers(observe::Metrics& metrics) : state_(std::make_unique<State>(metrics)) {}
StageNumbers::~StageNumbers() = default;

void StageNumbers::Show(const Counters& counters, const Levels& levels) {
  State& s = *state_;
  s.standing.Set(levels.standing);
  s.set_aside.Follow(counters.set_aside);
  s.pages.Set(levels.unacknowledged_pages, levels.unacknowledged_pages_max);
  s.unread.Set(levels.unread_entries, levels.unread_entries_max);
  s.requests_open.Set(levels.requests, levels.requests_max);
  s.quota.Show(levels.quota);
  s.sites.Set(static_cast<double>(levels.sites));
  s.changes.Follow(counters.changes);
  s.events.Follow(counters.events);
  s.expired.Follow(counters.expired_unread);
  for (std::size_t i = 0; i < kOperations; ++i) {
    for (std::size_t j = 0; j < kAnswers; ++j) s.requests[i][j].Follow(counters.requests[i][j]);
  }
}

std::function<std::function<void(Now)>(const Stage&)> MeasureInto(observe::Metrics& metrics) {
  return [&metrics](const Stage& stage) -> std::function<void(Now)> {
    const auto numbers = std::make_shared<StageNumbers>(metrics);
    return [numbers, &reading = static_cast<const ReadingStage&>(stage)](Now now) {
      numbers->Show(reading.counters(), reading.levels(now));
    };
  };
}

}  // namespace tributary::extractor

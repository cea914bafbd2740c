#include "services/loader/metrics.h"

#include <array>
#include <map>
#include <string>

#include "libs/http/message.h"
#include "libs/runtime/levels.h"
#include "services/loader/entries.h"
#include "services/loader/loader.h"

namespace tributary::loader {
namespace {

const std::string kStage = "loader";
constexpr std::array<const char*, kOperations> kOperationNames = {"write", "action", "lookup",
                                                                  "batch", "token",  "compare"};
constexpr std::array<const char*, kComparedResults> kComparedNames = {
    "equal", "differs", "shown_so", "given_up", "missing", "second"};

struct OfIntegration {
  OfIntegration(observe::Metrics& metrics, const std::string& integration)
      : quota(metrics, integration) {
    for (std::size_t i = 1; i < kOutcomes; ++i) {
      outcomes[i] = observe::FollowedCounter(
          metrics.AddCounter("tributary_outcomes_total", "What became of commands.",
                             {{"integration", integration},
                              {"outcome", std::string(TextOf(static_cast<v1::Outcome>(i)))}}));
    }
    for (std::size_t i = 0; i < kReasons; ++i) {
      parked[i] = observe::FollowedCounter(
          metrics.AddCounter("tributary_parked_total", "Commands that were parked for a person.",
                             {{"integration", integration},
                              {"reason", std::string(TextOf(static_cast<v1::Reason>(i)))}}));
    }
    for (std::size_t i = 0; i < kComparedResults; ++i) {
      compared[i] = observe::FollowedCounter(metrics.AddCounter(
          "tributary_sweep_comparisons_total",
          "Records and actions that were compared with their target, by what came of it.",
          {{"integration", integration}, {"outcome", kComparedNames[i]}}));
    }
    for (std::size_t i = 0; i < kOperations; ++i) {
      for (std::size_t j = 0; j < kAnswers; ++j) {
        requests[i][j] = observe::FollowedCounter(metrics.AddCounter(
            "tributary_target_requests_total",
            "Requests to targets, by what is known of the answer.",
            {{"integration", integration},
             {"operation", kOperationNames[i]},
             {"answer", std::string(http::Name(static_cast<http::AnswerClass>(j)))}}));
      }
    }
  }
  void Follow(const IntegrationCounters& counters) {
    for (std::size_t i = 0; i < kOutcomes; ++i) outcomes[i].Follow(counters.outcomes[i]);
    for (std::size_t i = 0; i < kReasons; ++i) parked[i].Follow(counters.parked[i]);
    for (std::size_t i = 0; i < kComparedResults; ++i) compared[i].Follow(counters.compared[i]);
    for (std::size_t i = 0; i < kOperations; ++i) {
      for (std::size_t j = 0; j < kAnswers; ++j) requests[i][j].Follow(counters.requests[i][j]);
    }
  }

  runtime::QuotaMetrics quota;
  std::array<observe::FollowedCounter, kOutcomes> outcomes;
  std::array<observe::FollowedCounter, kReasons> parked;
  std::array<std::array<observe::FollowedCounter, kAnswers>, kOperations> requests;
  std::array<observe::FollowedCounter, kComparedResults> compared;
};

}  // namespace

struct StageNumbers::State {
  explicit State(observe::Metrics& metrics_in)
      : metrics(metrics_in),
        standing(metrics, kStage),
        set_aside(metrics, kStage),
        ready_keys(metrics, kStage, "ready_keys"),
        batched_keys(metrics, kStage, "batched_keys"),
        open_writes(metrics, kStage, "open_writes"),
        unread_entries(metrics, kStage, "unread_entries"),
        sweep_keys(metrics, kStage, "sweep_keys"),
        lanes(metrics.AddGauge("tributary_records_in_flight", "Records of which something is open.",
                               {{"stage", kStage}})),
        refused_at_send(
            metrics.AddCounter("tributary_refused_at_send_total",
                               "Requests that the check right before their first byte held back.")),
        unreadable(metrics.AddCounter("tributary_unreadable_answers_total",
                                      "Answers of success that could not be read.")),
        void_repaired(metrics.AddCounter("tributary_void_entries_repaired_total",
                                         "Entries of dead owners that were written again.",
                                         {{"stage", kStage}})) {}

  observe::Metrics& metrics;
  runtime::StandingMetrics standing;
  runtime::SetAsideMetrics set_aside;
  runtime::QueueMetrics ready_keys;
  runtime::QueueMetrics batched_keys;
  runtime::QueueMetrics open_writes;
  runtime::QueueMetrics unread_entries;
  runtime::QueueMetrics sweep_keys;
  observe::Gauge lanes;
  observe::FollowedCounter refused_at_send;
  observe::FollowedCounter unreadable;
  observe::FollowedCounter void_repaired;
  std::map<std::string, OfIntegration> integrations;
};

StageNumbers::StageNumbers(observe::Metrics& metrics) : state_(std::make_unique<State>(metrics)) {}
StageNumbers::~StageNumbers() = default;

void StageNumbers::Show(const Counters& counters, const Levels& levels) {
  State& s = *state_;
  s.standing.Set(levels.standing);
  s.set_aside.Follow(counters.set_aside);
  s.ready_keys.Set(levels.ready_keys, levels.ready_keys_max);
  s.batched_keys.Set(levels.batched_keys, levels.batched_keys_max);
  s.open_writes.Set(levels.open_writes, levels.open_writes_max);
  s.unread_entries.Set(levels.unread_entries, levels.unread_entries_max);
  s.sweep_keys.Set(levels.sweep_keys, levels.sweep_keys_max);
  s.lanes.Set(static_cast<double>(levels.lanes));
  s.refused_at_send.Follow(counters.refused_at_send);
  s.unreadable.Follow(counters.unreadable);
  s.void_repaired.Follow(counters.void_entries_repaired);
  for (const auto& [integration, numbers] : counters.by_integration) {
    auto known = s.integrations.find(integration);
    if (known == s.integrations.end()) {
      known = s.integrations.emplace(integration, OfIntegration(s.metrics, integration)).first;
    }
    known->second.Follow(numbers);
    const auto quota = levels.quotas.find(integration);
    known->second.quota.Show(quota == levels.quotas.end() ? numbers.quota : quota->second);
  }
}

std::function<std::function<void(Now)>(const Stage&)> MeasureInto(observe::Metrics& metrics) {
  return [&metrics](const Stage& stage) -> std::function<void(Now)> {
    const auto numbers = std::make_shared<StageNumbers>(metrics);
    return [numbers, &loader = static_cast<const Loader&>(stage)](Now now) {
      numbers->Show(loader.counters(), loader.levels(now));
    };
  };
}

}  // namespace tributary::loader

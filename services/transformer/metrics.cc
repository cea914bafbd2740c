#include "services/transformer/metrics.h"

#include <string>

#include "libs/runtime/levels.h"
#include "services/transformer/transformer.h"

namespace tributary::transformer {
namespace {

const std::string kStage = "transformer";

}  // namespace

struct StageNumbers::State {
  explicit State(observe::Metrics& metrics)
      : standing(metrics, kStage),
        set_aside(metrics, kStage),
        customers(metrics, kStage, "customers"),
        unacknowledged(metrics, kStage, "unacknowledged_command_bytes"),
        unread(metrics, kStage, "unread_commands"),
        derived(metrics.AddCounter("tributary_derived_customers_total",
                                   "Customers whose view was joined and mapped.")),
        states(metrics.AddCounter("tributary_commands_total", "Commands that were written.",
                                  {{"kind", "state"}})),
        actions(metrics.AddCounter("tributary_commands_total", "Commands that were written.",
                                   {{"kind", "action"}})),
        unchanged(metrics.AddCounter("tributary_unchanged_total",
                                     "Derivations that the version gate found to be no news.")),
        mapping_errors(metrics.AddCounter("tributary_mapping_errors_total",
                                          "Mappings and rules that failed for a customer.")),
        events(
            metrics.AddCounter("tributary_events_total", "Events that were looked at by rules.")),
        conflicts(metrics.AddCounter(
            "tributary_equal_version_conflicts_total",
            "Equal versions with unequal content: a broken promise, must stay 0.")),
        events_waiting(metrics, kStage, "events"),
        unknown_tenants(metrics.AddGauge(
            "tributary_events_of_unknown_tenants",
            "Events that wait until control has told of their tenant, an hour at most.")),
        expired(runtime::AddExpiredUnread(metrics, kStage, eventlog::Topic::kEvents)),
        void_repaired(metrics.AddCounter("tributary_void_entries_repaired_total",
                                         "Entries of dead owners that were written again.",
                                         {{"stage", kStage}})) {}

  runtime::StandingMetrics standing;
  runtime::SetAsideMetrics set_aside;
  runtime::QueueMetrics customers;
  runtime::QueueMetrics unacknowledged;
  runtime::QueueMetrics unread;
  observe::FollowedCounter derived;
  observe::FollowedCounter states;
  observe::FollowedCounter actions;
  observe::FollowedCounter unchanged;
  observe::FollowedCounter mapping_errors;
  observe::FollowedCounter events;
  observe::FollowedCounter conflicts;
  runtime::QueueMetrics events_waiting;
  observe::Gauge unknown_tenants;
  observe::FollowedCounter expired;
  observe::FollowedCounter void_repaired;
};

StageNumbers::StageNumbers(observe::Metrics& metrics) : state_(std::make_unique<State>(metrics)) {}
StageNumbers::~StageNumbers() = default;

void StageNumbers::Show(const Counters& counters, const Levels& levels) {
  State& s = *state_;
  s.standing.Set(levels.standing);
  s.set_aside.Follow(counters.set_aside);
  s.customers.Set(levels.customers, levels.customers_max);
  s.unacknowledged.Set(levels.unacknowledged_bytes, levels.unacknowledged_bytes_max);
  s.unread.Set(levels.unread_commands, levels.unread_commands_max);
  s.events_waiting.Set(levels.events, levels.events_max);
  s.unknown_tenants.Set(static_cast<double>(levels.events_of_unknown_tenants));
  s.expired.Follow(counters.expired_unread);
  s.derived.Follow(counters.derived_customers);
  s.states.Follow(counters.state_commands);
  s.actions.Follow(counters.action_commands);
  s.unchanged.Follow(counters.unchanged);
  s.mapping_errors.Follow(counters.mapping_errors);
  s.events.Follow(counters.events);
  s.conflicts.Follow(counters.equal_version_conflicts);
  s.void_repaired.Follow(counters.void_entries_repaired);
}

std::function<std::function<void(Now)>(const Stage&)> MeasureInto(observe::Metrics& metrics) {
  return [&metrics](const Stage& stage) -> std::function<void(Now)> {
    const auto numbers = std::make_shared<StageNumbers>(metrics);
    return [numbers, &transformer = static_cast<const Transformer&>(stage)](Now now) {
      numbers->Show(transformer.counters(), transformer.levels(now));
    };
  };
}

}  // namespace tributary::transformer

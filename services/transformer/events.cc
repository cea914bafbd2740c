#include <algorithm>

#include "libs/ids/keys.h"
#include "services/transformer/stage.h"

// From live events to actions (rule 37).

namespace tributary::transformer {
namespace {

constexpr std::size_t kEventsWaitingMin = 100;

std::string CustomerOf(const v1::SourceEvent& event) {
  if (!event.customer().empty()) return event.customer();
  for (const v1::Entity& entity : event.entities()) {
    if (entity.kind() == "customers") return entity.id();
  }
  return "";
}

// The object that an operation is about: `contact` of `contact.note.create`.
std::string ObjectOf(const std::string& operation, const std::vector<std::string>& objects) {
  const std::string first = operation.substr(0, operation.find('.'));
  if (std::find(objects.begin(), objects.end(), first) != objects.end()) return first;
  return objects.empty() ? first : objects.front();
}

}  // namespace

using eventlog::Topic;

bool TransformerStage::HandleEvents(PartitionWork& work) {
  std::int32_t budget = options_.batch_customers_max;
  for (EventWork& event : work.events) {
    if (event.is_handled) continue;
    if (!may_write(work)) return false;
    // Others need not wait with it; the commit does.
    if (AwaitsTenant(work, event)) continue;
    if (budget-- <= 0) return true;
    event.is_handled = true;
    HandleEvent(work, event);
  }
  return false;
}

bool TransformerStage::AwaitsTenant(const PartitionWork& work, EventWork& event) {
  const std::optional<std::vector<std::string>> key = ids::SplitKey(event.record.key);
  if (!key || key->empty() || directory_.Find(key->front()) != nullptr) return false;
  // A removed tenant has a snapshot that says so (see Refresh()).
  const bool is_first =
      std::none_of(work.events.begin(), work.events.end(),
                   [](const EventWork& other) { return other.waits_since.has_value(); });
  if (!event.waits_since) event.waits_since = now_.steady;
  const bool is_over = now_.steady - *event.waits_since >= options_.unknown_tenant_wait_max;
  if (is_first || is_over) {
    ports_.logger.Log(is_over ? Logger::Level::kError : Logger::Level::kWarning,
                      is_over ? "An event passed: nothing tells of its tenant."
                              : "An event waits until control has told of its tenant.",
                      {{"tenant", key->front()},
                       {"partition", std::to_string(event.record.partition)},
                       {"offset", std::to_string(event.record.offset)}});
  }
  return !is_over;
}

void TransformerStage::HandleEvent(PartitionWork& work, EventWork& waiting) {
  ++counters_.events;
  const eventlog::Record& record = waiting.record;
  v1::SourceEvent event;
  if (!record.value || !event.ParseFromString(*record.value) || event.id().empty()) {
    KeepAside(Topic::kEvents, work.partition, record.offset, record.key, record.value.value_or(""));
    return;
  }
  if (!event.live()) return;
  const std::optional<std::vector<std::string>> key = ids::SplitKey(record.key);
  if (!key || key->empty()) {
    KeepAside(Topic::kEvents, work.partition, record.offset, record.key, *record.value);
    return;
  }
  const std::string& tenant = key->front();
  const std::string customer = CustomerOf(event);
  const std::string trace_id = ids::TraceId(eventlog::MetaOf(record.headers).id);
  json::Tree tree;
  std::optional<mapping::EventView> view;
  for (auto at = work.syncs.lower_bound({tenant, ""});
       at != work.syncs.end() && at->first.first == tenant; ++at) {
    auto& [name, sync] = *at;
    if (sync.is_removed || sync.sync.source() != event.connection()) continue;
    if (!sync.rules && !sync.sync.rules().empty()) {
      // Control refuses such rules; only another version of us can have let them in.
      ports_.logger.Log(Logger::Level::kError, "An event passed by rules that cannot be compiled.",
                        {{"tenant", tenant}, {"sync", name.second}, {"event", event.id()}});
    }
    if (!sync.rules || !sync.rules->ListensTo(event.key())) continue;
    if (!view) view = ViewOf(event, tree);
    const std::vector<std::string> objects =
        sync.mapping ? sync.mapping->objects() : std::vector<std::string>();
    std::string previous;
    std::string previous_rule;
    for (const mapping::Step& step : sync.rules->Fire(event.key(), *view)) {
      v1::Command command;
      v1::Action& action = *command.mutable_action();
      action.set_action_id(ids::ActionId(tenant, name.second, event.id(), step.rule, step.step, 0));
      action.set_event_id(event.id());
      action.set_event_key(event.key());
      if (event.has_occurred_at()) {
        *action.mutable_event_time() = event.occurred_at();
        *command.mutable_changed_at() = event.occurred_at();
      }
      action.set_rule(step.rule);
      action.set_step(step.step);
      action.set_operation(step.operation);
      for (const v1::Field& argument : step.arguments) *action.add_arguments() = argument;
      action.set_at_least_once(step.at_least_once);
      if (step.rule == previous_rule) action.set_after_action_id(previous);
      previous_rule = step.rule;
      previous = action.action_id();
      command.set_customer(customer);
      command.set_trace_id(trace_id);
      command.set_mapping_error(step.error);
      if (customer.empty()) {
        if (step.error.empty()) command.set_mapping_error("the event names no customer");
      } else {
        action.set_record_key(ids::StateKey(tenant, name.second, ObjectOf(step.operation, objects),
                                            "customers", customer));
      }
      if (!command.mapping_error().empty()) ++counters_.mapping_errors;

      const std::string action_key = ids::ActionKey(tenant, name.second, action.action_id());
      const std::optional<eventlog::TableEntry> standing =
          table(Topic::kCommands, work.partition).Get(action_key);
      // The first valid entry decides (rule 28): the event came again.
      if ((standing && !standing->is_void) || work.own_actions.contains(action_key)) continue;
      ++counters_.action_commands;
      Put(work, action_key, command, name, record.offset);
      work.own_actions.insert(action_key);
    }
  }
}

void TransformerStage::OnEventsExpired(PartitionWork& work,
                                       const eventlog::ExpiredUnread& expired) {
  counters_.expired_unread += expired.begin - expired.from;
  ports_.logger.Log(Logger::Level::kError,
                    "Events have expired unread; their sources are asked to be read again.",
                    {{"partition", std::to_string(work.partition)},
                     {"from", std::to_string(expired.from)},
                     {"begin", std::to_string(expired.begin)}});
  work.events_begin = expired.begin;
  AskForEvents(work, std::to_string(expired.begin));
}

// Rule 37: what a lost topic held of events is known to their sources alone. What was done already
// has its end in `records`, which refuses it.
void TransformerStage::FindLostEvents(PartitionWork& work, const eventlog::Takeover& takeover) {
  // Until the first command of its generation: none is written before the sources are asked.
  const bool commands_are_lost = table(Topic::kCommands, work.partition).IsEmptySinceLoss();
  const auto has = [&takeover](Topic topic) {
    return std::any_of(
        takeover.committed.begin(), takeover.committed.end(),
        [&](const auto& position) { return position.first == topic && position.second; });
  };
  const auto is_replaced = [&takeover](Topic topic) {
    return std::find(takeover.replaced.begin(), takeover.replaced.end(), topic) !=
           takeover.replaced.end();
  };
  const bool has_events = has(Topic::kEvents);
  // Whoever has committed the one has committed the other before.
  const bool events_are_lost =
      is_replaced(Topic::kEvents) ||
      (!has_events && (has(Topic::kChanges) || is_replaced(Topic::kChanges)));
  // What is still in `events` is read from there again, as it was (Owner).
  if ((!has_events || commands_are_lost) && !work.events_begin) work.events_begin = 0;
  if ((!commands_are_lost && !events_are_lost) || !work.read_again.empty()) return;
  ports_.logger.Log(Logger::Level::kError,
                    commands_are_lost
                        ? "The commands were lost; sources are asked to be read again for events."
                        : "The events were lost; their sources are asked to be read again.",
                    {{"partition", std::to_string(work.partition)},
                     {"generation", std::to_string(work.generation)}});
  AskForEvents(work, "generation-" + std::to_string(work.generation));
}

void TransformerStage::AskForEvents(PartitionWork& work, const std::string& why) {
  std::set<std::pair<std::string, std::string>> sources;
  directory_.ForEach([&](const tenants::TenantState& tenant) {
    if (tenant.partition != work.partition || tenant.snapshot.removed()) return;
    for (const v1::Sync& sync : tenant.snapshot.syncs()) {
      sources.emplace(tenant.snapshot.tenant(), sync.source());
    }
  });
  for (const auto& [tenant, connection] : sources) {
    v1::Notification notification;
    notification.set_connection(connection);
    notification.set_id("read-again@" + why);
    const WallTime from = now_.wall - options_.action_age;
    notification.mutable_read_events_again_from()->set_seconds(
        std::chrono::floor<std::chrono::seconds>(from.time_since_epoch()).count());
    eventlog::RecordMeta meta;
    meta.id = ids::JoinKey({tenant, connection, notification.id()});
    meta.source = "/transformer";
    meta.type = "tributary.notification.v1";
    const eventlog::ProduceId id =
        owner_->Append(Topic::kNotifications, work.partition, ids::EncodePart(tenant),
                       notification.SerializeAsString(), meta);
    if (id != 0) work.read_again.insert(id);
  }
}

void TransformerStage::CommitEvents(PartitionWork& work) {
  if (!work.read_again.empty()) return;
  std::optional<eventlog::Offset> next = std::exchange(work.events_begin, std::nullopt);
  while (!work.events.empty() && work.events.front().is_handled &&
         work.events.front().unacknowledged.empty()) {
    next = work.events.front().record.offset + 1;
    work.events.pop_front();
  }
  if (next) owner_->Commit(Topic::kEvents, work.partition, *next);
  if (work.events_paused && work.events.size() < kEventsWaitingMin) {
    work.events_paused = false;
    owner_->Resume(Topic::kEvents, work.partition);
  }
}

}  // namespace tributary::transformer

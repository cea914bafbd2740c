#include <algorithm>

#include "libs/ids/keys.h"
#include "libs/utf8/utf8.h"
#include "services/transformer/stage.h"

// What people see.

namespace tributary::transformer {
namespace {

constexpr std::size_t kNearestMax = 5;
constexpr std::size_t kNearestLookedAt = 5000;
constexpr std::size_t kProblemBytesMax = 2000;

// How many characters two ids share at their begin.
std::size_t CommonBegin(std::string_view a, std::string_view b) {
  const std::size_t size = std::min(a.size(), b.size());
  std::size_t common = 0;
  while (common < size && a[common] == b[common]) ++common;
  return common;
}

std::string_view Name(v1::DesiredState::Presence presence) {
  switch (presence) {
    case v1::DesiredState::PRESENCE_UNWANTED:
      return "unwanted";
    case v1::DesiredState::PRESENCE_WITHDRAWN:
      return "withdrawn";
    case v1::DesiredState::PRESENCE_GONE:
      return "gone";
    case v1::DesiredState::PRESENCE_ERASED:
      return "erased";
    default:
      return "present";
  }
}

}  // namespace

using eventlog::Topic;

Levels TransformerStage::levels(Now now) const {
  Levels levels;
  levels.standing = owner_->standing(now);
  levels.customers_max = options_.waiting_customers_max;
  levels.unacknowledged_bytes_max = options_.batch_bytes_max;
  levels.unread_commands_max = options_.unread_commands_max;
  levels.events_max = static_cast<std::int64_t>(kEventsWaitingMax);
  for (const auto& [partition, work] : partitions_) {
    levels.events = std::max(levels.events, static_cast<std::int64_t>(work.events.size()));
    levels.events_of_unknown_tenants += std::count_if(
        work.events.begin(), work.events.end(),
        [](const EventWork& event) { return !event.is_handled && event.waits_since.has_value(); });
    levels.customers = std::max(levels.customers, static_cast<std::int64_t>(work.waiting.size()));
    levels.unacknowledged_bytes = std::max(levels.unacknowledged_bytes, work.unacknowledged_bytes);
    levels.unread_commands =
        std::max(levels.unread_commands, static_cast<std::int64_t>(work.own_states.size()));
  }
  return levels;
}

void TransformerStage::Report() {
  if (!said_hello_) {
    said_hello_ = true;
    v1::FromService hello;
    hello.mutable_hello()->set_service("transformer");
    hello.mutable_hello()->set_instance(options_.instance);
    ports_.control.Send(hello);
  }
  v1::FromService ownership;
  ownership.mutable_ownership();
  for (const auto& [partition, work] : partitions_) {
    ownership.mutable_ownership()->add_partitions(partition);
  }
  std::string text = ownership.SerializeAsString();
  if (text != last_ownership_) {
    last_ownership_ = std::move(text);
    ports_.control.Send(ownership);
  }

  v1::FromService message;
  v1::ServiceStatus& status = *message.mutable_status();
  status.set_ready(owner_->all_ready());
  for (const auto& [partition, work] : partitions_) {
    for (const auto& [name, sync] : work.syncs) {
      if (sync.is_removed && sync.withdraw.empty()) continue;
      v1::SyncStatus& out = *status.add_syncs();
      out.set_tenant(name.first);
      out.set_sync(name.second);
      std::int64_t pending =
          static_cast<std::int64_t>(sync.remap.size() + sync.withdraw.size()) + sync.unacknowledged;
      pending += static_cast<std::int64_t>(work.waiting.CountOf(name.first, sync.sync.source()));
      for (const Customer& customer : work.held) {
        if (customer.tenant == name.first && customer.connection == sync.sync.source()) ++pending;
      }
      out.set_pending(pending);
      out.set_problem(utf8::Cleaned(sync.problem, kProblemBytesMax));
      if (!sync.problem.empty()) {
        out.set_fix("correct the mapping or the rules and apply them again");
      }
      out.set_state(!sync.problem.empty()                        ? "failing"
                    : !sync.remap.empty()                        ? "backfilling"
                    : sync.sync.state() == v1::SYNC_STATE_PAUSED ? "paused"
                                                                 : "active");
    }
  }
  text = message.SerializeAsString();
  if (text == last_status_) return;
  last_status_ = std::move(text);
  ports_.control.Send(message);
}

void TransformerStage::AnswerTrace(std::int64_t id, const v1::TraceRequest& request) {
  v1::FromService message;
  message.set_answer_to(id);
  v1::TraceResponse& response = *message.mutable_trace();
  const eventlog::Partition partition = ids::PartitionOf(request.tenant(), options_.partitions);
  const auto found = partitions_.find(partition);
  if (found == partitions_.end()) {
    response.set_problem("this transformer does not own the tenant");
    ports_.control.Send(message);
    return;
  }
  PartitionWork& work = found->second;
  const eventlog::Table& changes = table(Topic::kChanges, partition);
  const std::string kind = request.kind().empty() ? "customers" : request.kind();

  std::set<std::string> connections;
  if (!request.connection().empty()) connections.insert(request.connection());
  for (const auto& [name, sync] : work.syncs) {
    if (name.first == request.tenant() && request.connection().empty() &&
        !sync.sync.source().empty()) {
      connections.insert(sync.sync.source());
    }
  }
  std::set<Customer> customers;
  std::vector<std::pair<std::size_t, std::string>> near;
  for (const std::string& connection : connections) {
    const std::string key = ids::ChangeKey(request.tenant(), connection, kind, request.id());
    if (const std::optional<eventlog::TableEntry> entry = changes.Get(key)) {
      response.set_entity(key);
      response.set_found(true);
      for (const Customer& customer : NewsOf(key, *entry).value_or(ChangeNews()).customers) {
        customers.insert(customer);
      }
      continue;
    }
    const std::string prefix = ids::JoinKey({request.tenant(), connection, kind}) + "/";
    std::size_t looked_at = 0;
    changes.Scan(prefix, "", [&](std::string_view other, const eventlog::TableEntry&) {
      const std::string known = ids::DecodePart(other.substr(prefix.size())).value_or("");
      near.emplace_back(CommonBegin(known, request.id()), known);
      return ++looked_at < kNearestLookedAt;
    });
  }
  for (const Customer& customer : customers) {
    for (auto& [name, sync] : work.syncs) {
      if (name.first != customer.tenant || sync.sync.source() != customer.connection) continue;
      for (const std::string& key : KeysOf(work, name, sync, customer.id)) {
        const std::optional<StandingState> standing = Standing(work, key);
        v1::TraceResponse::Record& record = *response.add_records();
        record.set_key(key);
        if (!standing) {
          record.set_status("unknown");
          record.set_next("its newest command is void; it is derived again");
          continue;
        }
        *record.mutable_desired() = standing->version;
        record.set_reason(std::string(Name(standing->presence)));
        *response.add_versions() = standing->version;
      }
    }
  }
  if (!response.found()) {
    std::stable_sort(near.begin(), near.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    for (std::size_t i = 0; i < std::min(near.size(), kNearestMax); ++i) {
      response.add_nearest(near[i].second);
    }
  }
  ports_.control.Send(message);
}

}  // namespace tributary::transformer

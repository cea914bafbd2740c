#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "libs/ids/keys.h"
#include "services/control/control_core_state.h"

// What is asked of services: parked, decisions, traces, the sweep.

namespace tributary::control {
namespace {

constexpr int kParkedItemsMax = 1000;

std::string TenantOfKey(const std::string& key) {
  const std::optional<std::vector<std::string>> parts = ids::SplitKey(key);
  return parts && !parts->empty() ? parts->front() : "";
}

// One record of a trace, of which the transformer knows what is wanted and the loader what became
// of it; either may answer first. The transformer gives a status only where nothing is known of
// what is wanted.
void AddTraced(const v1::TraceResponse::Record& from, v1::TraceResponse::Record& into) {
  if (into.key().empty()) {
    into = from;
    return;
  }
  const auto is_void = [](const v1::TraceResponse::Record& record) {
    return record.status() == "unknown" && !record.has_desired();
  };
  const bool is_loaders = !from.status().empty() && !is_void(from);
  const v1::TraceResponse::Record wanted = is_loaders ? into : from;
  if (is_loaders) {
    into = from;
  }
  if (!into.has_desired() && wanted.has_desired()) {
    *into.mutable_desired() = wanted.desired();
  }
  if (is_void(wanted)) {
    into.set_status(wanted.status());
    into.set_next(wanted.next());
  } else if (!into.has_resolved() && wanted.reason() == "unwanted") {
    // Of what the mapping does not want at the target, the loader keeps nothing.
    into.set_status("unwanted");
    into.set_next("nothing");
  }
}

}  // namespace

void ControlCore::State::Decide(Instant deadline, std::string_view service,
                                const std::string& tenant, const v1::DecideParkedRequest& request,
                                Reply<v1::DecideParkedResponse> reply) {
  v1::ToService message;
  *message.mutable_decide_parked() = request;
  questions.Ask(deadline, {{service, PartitionOf(tenant), std::move(message)}},
                [reply = std::move(reply)](const Questions::Finished& finished) {
                  if (finished.answers.empty()) {
                    reply(absl::AbortedError(finished.MissingText()));
                    return;
                  }
                  reply(finished.answers.front().decided());
                });
}

void ControlCore::State::DoAgain(Instant deadline, const std::string& tenant,
                                 const v1::DecideParkedRequest& request,
                                 Reply<v1::DecideParkedResponse> reply) {
  v1::ToService message;
  message.mutable_list_parked()->set_key(request.key());
  auto finish = [this, deadline, tenant, request,
                 reply = std::move(reply)](const Questions::Finished& finished) {
    if (finished.answers.empty()) {
      reply(absl::AbortedError(finished.MissingText()));
      return;
    }
    const v1::ParkedItem* parked = nullptr;
    for (const v1::ParkedItem& item : finished.answers.front().parked().items()) {
      if (item.key() == request.key()) {
        parked = &item;
      }
    }
    v1::DecideParkedResponse refused;
    if (parked == nullptr) {
      refused.set_problem("nothing is parked under this key");
      reply(refused);
    } else if (parked->reason() == v1::REASON_RECORD) {
      refused.set_problem("it waits for its record, and is done by itself as soon as that exists");
      reply(refused);
    } else if (parked->reason() == v1::REASON_SECOND) {
      // It was done, and more than once: only looked at again.
      Decide(deadline + options.question_timeout, "loader", tenant, request, reply);
    } else {
      WriteNextAttempt(deadline + options.question_timeout, tenant, request, reply);
    }
  };
  questions.Ask(deadline, {{"loader", PartitionOf(tenant), std::move(message)}}, std::move(finish));
}

void ControlCore::State::WriteNextAttempt(Instant deadline, const std::string& tenant,
                                          const v1::DecideParkedRequest& request,
                                          const Reply<v1::DecideParkedResponse>& reply) {
  Decide(deadline, "transformer", tenant, request,
         [this, deadline, tenant, request,
          reply](const absl::StatusOr<v1::DecideParkedResponse>& written) {
           if (!written.ok() || !written->problem().empty()) {
             reply(written);
             return;
           }
           v1::DecideParkedRequest drop = request;
           drop.set_replay(false);
           Decide(deadline + options.question_timeout, "loader", tenant, drop,
                  [reply](absl::StatusOr<v1::DecideParkedResponse> dropped) {
                    const std::string why =
                        dropped.ok() ? dropped->problem() : std::string(dropped.status().message());
                    if (!why.empty()) {
                      dropped = v1::DecideParkedResponse();
                      dropped->set_problem(
                          "it is tried again as a new attempt, but the old one is still listed "
                          "as parked (" +
                          why + "): drop it");
                    }
                    reply(std::move(dropped));
                  });
         });
}

void ControlCore::ListParked(Now now, const v1::ListParkedRequest& request,
                             Reply<v1::ListParkedResponse> reply) {
  std::string tenant = request.tenant();
  if (!request.key().empty()) {
    tenant = TenantOfKey(request.key());
    if (tenant.empty()) {
      reply(absl::InvalidArgumentError("`" + request.key() +
                                       "` is no key; `tributary parked list` "
                                       "shows them"));
      return;
    }
  }
  if (!tenant.empty() && !state_->tenants.contains(tenant)) {
    reply(state_->NoSuchTenant(tenant));
    return;
  }
  v1::ListParkedRequest bounded = request;
  const std::int32_t items_max = request.items_max() > 0 && request.items_max() < kParkedItemsMax
                                     ? request.items_max()
                                     : kParkedItemsMax;
  bounded.set_items_max(items_max);
  v1::ToService message;
  *message.mutable_list_parked() = bounded;

  auto finish = [reply = std::move(reply), items_max](const Questions::Finished& finished) {
    v1::ListParkedResponse response;
    std::map<std::string, v1::ParkedItem> items;
    std::string problem = finished.MissingText();
    for (const v1::FromService& answer : finished.answers) {
      response.set_more(response.more() || answer.parked().more());
      if (problem.empty()) {
        problem = answer.parked().problem();
      }
      for (const v1::ParkedItem& item : answer.parked().items()) {
        items[item.key()] = item;
      }
    }
    for (auto& [key, item] : items) {
      if (response.items_size() == items_max) {
        response.set_more(true);
        break;
      }
      *response.add_items() = std::move(item);
    }
    response.set_problem(problem);
    reply(std::move(response));
  };
  const std::optional<std::int32_t> partition =
      tenant.empty() ? std::nullopt : std::optional(state_->PartitionOf(tenant));
  state_->questions.Ask(now.steady + state_->options.question_timeout,
                        {{"loader", partition, std::move(message)}}, std::move(finish));
}

void ControlCore::DecideParked(Now now, const std::string& actor,
                               const v1::DecideParkedRequest& request,
                               Reply<v1::DecideParkedResponse> reply) {
  const std::optional<ids::CommandKey> key = ids::ParseCommandKey(request.key());
  if (!key || key->kind == ids::CommandKey::Kind::kMapped) {
    reply(absl::InvalidArgumentError("`" + request.key() +
                                     "` is no key of a record or action; "
                                     "`tributary parked list` shows them"));
    return;
  }
  if (!state_->tenants.contains(key->tenant)) {
    reply(state_->NoSuchTenant(key->tenant));
    return;
  }
  Database::Changes changes;
  changes.actor = actor;
  changes.audit = {std::string(request.replay() ? "replay" : "drop") + " of " + request.key()};
  if (absl::Status written = state_->database.Write(now.wall, changes); !written.ok()) {
    reply(written);
    return;
  }
  const bool is_new_attempt = key->kind == ids::CommandKey::Kind::kAction && request.replay();
  const Instant deadline = now.steady + state_->options.question_timeout;
  if (is_new_attempt) {
    state_->DoAgain(deadline, key->tenant, request, std::move(reply));
  } else {
    state_->Decide(deadline, "loader", key->tenant, request, std::move(reply));
  }
}

void ControlCore::Trace(Now now, const v1::TraceRequest& request, Reply<v1::TraceResponse> reply) {
  if (!state_->tenants.contains(request.tenant())) {
    reply(state_->NoSuchTenant(request.tenant()));
    return;
  }
  v1::ToService message;
  *message.mutable_trace() = request;
  auto finish = [reply = std::move(reply), request](const Questions::Finished& finished) {
    if (finished.answers.empty()) {
      reply(absl::AbortedError(finished.MissingText()));
      return;
    }
    v1::TraceResponse response;
    std::set<std::string> nearest;
    std::set<std::tuple<std::int64_t, std::int64_t, std::int64_t>> versions;
    std::map<std::string, v1::TraceResponse::Record> records;
    std::string problem = finished.MissingText();
    for (const v1::FromService& answer : finished.answers) {
      const v1::TraceResponse& trace = answer.trace();
      // The transformer's names the connection, the loader's does not.
      if (trace.entity().size() > response.entity().size()) {
        response.set_entity(trace.entity());
      }
      response.set_found(response.found() || trace.found());
      nearest.insert(trace.nearest().begin(), trace.nearest().end());
      for (const v1::Version& version : trace.versions()) {
        versions.insert({version.generation(), version.offset(), version.revision()});
      }
      for (const v1::TraceResponse::Record& record : trace.records()) {
        AddTraced(record, records[record.key()]);
      }
      if (problem.empty()) {
        problem = trace.problem();
      }
    }
    for (const auto& [generation, offset, revision] : versions) {
      v1::Version& version = *response.add_versions();
      version.set_generation(generation);
      version.set_offset(offset);
      version.set_revision(revision);
    }
    for (auto& [key, record] : records) {
      *response.add_records() = std::move(record);
    }
    if (!response.found()) {
      response.mutable_nearest()->Assign(nearest.begin(), nearest.end());
    }
    if (response.entity().empty()) {
      response.set_entity(request.tenant() +
                          (request.connection().empty() ? "" : "/" + request.connection()) + "/" +
                          request.kind() + "/" + request.id());
    }
    response.set_problem(problem);
    reply(std::move(response));
  };
  // Versions are the transformer's to know, records the loader's.
  const std::int32_t partition = state_->PartitionOf(request.tenant());
  state_->questions.Ask(now.steady + state_->options.question_timeout,
                        {{"transformer", partition, message}, {"loader", partition, message}},
                        std::move(finish));
}

void ControlCore::Sweep(Now now, const std::string& actor, const v1::SweepRequest& request,
                        Reply<v1::SweepResponse> reply) {
  if (!request.tenant().empty()) {
    const auto tenant = state_->tenants.find(request.tenant());
    if (tenant == state_->tenants.end()) {
      reply(state_->NoSuchTenant(request.tenant()));
      return;
    }
    if (!request.connection().empty() &&
        !tenant->second.connections.contains(request.connection())) {
      reply(absl::NotFoundError("tenant `" + request.tenant() + "` has no connection `" +
                                request.connection() + "`"));
      return;
    }
  }
  if (request.start()) {
    Database::Changes changes;
    changes.actor = actor;
    changes.audit = {"sweep of " + (request.tenant().empty() ? "everything" : request.tenant()) +
                     (request.connection().empty() ? "" : "/" + request.connection())};
    if (absl::Status written = state_->database.Write(now.wall, changes); !written.ok()) {
      reply(written);
      return;
    }
  }
  v1::ToService message;
  *message.mutable_sweep() = request;
  auto finish = [reply = std::move(reply)](const Questions::Finished& finished) {
    if (finished.answers.empty()) {
      reply(absl::AbortedError(finished.MissingText()));
      return;
    }
    v1::SweepResponse response;
    std::map<std::pair<std::string, std::string>, v1::SweepStatus> connections;
    std::string problem = finished.MissingText();
    for (const v1::FromService& answer : finished.answers) {
      if (problem.empty()) problem = answer.swept().problem();
      for (const v1::SweepStatus& status : answer.swept().connections()) {
        connections[{status.tenant(), status.connection()}] = status;
      }
    }
    for (auto& [name, status] : connections) *response.add_connections() = std::move(status);
    response.set_problem(problem);
    reply(std::move(response));
  };
  const std::optional<std::int32_t> partition =
      request.tenant().empty() ? std::nullopt
                               : std::optional(state_->PartitionOf(request.tenant()));
  state_->questions.Ask(now.steady + state_->options.question_timeout,
                        {{"loader", partition, std::move(message)}}, std::move(finish));
}

}  // namespace tributary::control

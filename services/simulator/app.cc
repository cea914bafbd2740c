#include "services/simulator/app.h"

#include <array>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <mutex>
#include <utility>
#include <vector>

#include "libs/http/server.h"
#include "libs/json/value.h"
#include "services/simulator/json_text.h"

namespace tributary::simulator {
namespace {

constexpr std::array kTargets = {Target::kChargify, Target::kHighLevel, Target::kRest};
constexpr int kPortAttempts = 20;

WallTime MachineTime() {
  return WallTime(
      std::chrono::duration_cast<Duration>(std::chrono::system_clock::now().time_since_epoch()));
}

/// Runs at its own rate from a given time; never back.
class Clock {
 public:
  explicit Clock(WallTime start) : base_(start), real_base_(std::chrono::steady_clock::now()) {}

  WallTime Now() const {
    const auto passed =
        std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now() - real_base_);
    return base_ + Duration(static_cast<std::int64_t>(static_cast<double>(passed.count()) * rate_));
  }
  void Move(Duration by, double rate) {
    base_ = Now() + by;
    real_base_ = std::chrono::steady_clock::now();
    rate_ = rate;
  }
  double rate() const { return rate_; }

 private:
  WallTime base_;
  std::chrono::steady_clock::time_point real_base_;
  double rate_ = 1;
};

http::ServerResponse::Fault FaultOf(Answer::Form form) {
  using Fault = http::ServerResponse::Fault;
  switch (form) {
    case Answer::Form::kResetBeforeApply:
    case Answer::Form::kResetAfterApply:
      return Fault::kReset;
    case Answer::Form::kTruncate:
      return Fault::kTruncate;
    case Answer::Form::kHang:
      return Fault::kHang;
    case Answer::Form::kAnswer:
      break;
  }
  return Fault::kNone;
}

http::ServerResponse ToResponse(Answer answer) {
  http::ServerResponse response;
  response.status = answer.status;
  response.delay = answer.delay;
  response.fault = FaultOf(answer.form);
  for (auto& [name, value] : answer.headers) {
    if (name == "Content-Type") {
      response.content_type = std::move(value);
    } else {
      response.headers.emplace_back(std::move(name), std::move(value));
    }
  }
  response.body = std::move(answer.body);
  return response;
}

http::ServerResponse Says(int status, std::string body,
                          std::string_view type = "application/json") {
  http::ServerResponse response;
  response.status = status;
  response.content_type = type;
  response.body = std::move(body);
  return response;
}

http::ServerResponse Refuses(int status, std::string_view reason) {
  std::string body;
  ObjectText object(body);
  object.Text("error", reason);
  object.End();
  return Says(status, std::move(body));
}

std::string JudgementJson(const Judgement& judgement) {
  std::string body;
  ObjectText object(body);
  object.Integer("mismatches", judgement.mismatches);
  object.Integer("duplicate_records", judgement.duplicate_records);
  object.Integer("regressions", judgement.regressions);
  object.Integer("provoked_429", judgement.provoked_429);
  if (object.Key("problems")) {
    body += "[";
    for (const std::string& problem : judgement.problems) {
      if (body.back() != '[') body += ",";
      json::AppendQuoted(body, problem);
    }
    body += "]";
  }
  object.End();
  return body;
}

}  // namespace

struct SimulatorServer::State {
  explicit State(const WorldOptions& options) : clock(options.start), world(options) {}

  http::ServerResponse HandleControl(const http::ServerRequest& request);
  http::ServerResponse MoveClock(std::string_view body);
  http::ServerResponse Mutate(std::string_view body);
  http::ServerResponse MoveQuota(std::string_view body);
  http::ServerResponse SwitchEndpoint(std::string_view body);

  std::mutex mutex;
  Clock clock;
  World world;
  /// In the order of Target. Destroyed first: their handlers use what is above.
  std::vector<std::unique_ptr<http::Server>> servers;
  std::string ports_json;
};

// Everything under /_sim: not of the vendor, and never to be used by the pipeline.
http::ServerResponse SimulatorServer::State::HandleControl(const http::ServerRequest& request) {
  const std::string& path = request.path;
  const bool is_read = request.method == "GET";
  if (is_read && path == "/_sim/ports") return Says(200, ports_json);
  if (is_read && path == "/_sim/truth") return Says(200, world.Truth(), "application/x-ndjson");
  if (is_read && path == "/_sim/requests") {
    return Says(200, world.Requests(), "application/x-ndjson");
  }
  if (is_read && path == "/_sim/records") return Says(200, world.Records());
  if (is_read && path == "/_sim/judge") {
    JudgeScope scope;
    scope.highlevel = http::QueryParameter(request.query, "highlevel") != "0";
    scope.rest = http::QueryParameter(request.query, "rest") != "0";
    return Says(200, JudgementJson(world.Judge(clock.Now(), scope)));
  }
  if (is_read && path == "/_sim/state") {
    std::string body;
    ObjectText object(body);
    object.Boolean("finished_mutating", world.finished_mutating());
    object.Integer("mutations", world.mutations());
    for (const Target target : kTargets) {
      object.Integer(std::string(Name(target)) + "_requests", world.request_count(target));
      object.Integer(std::string(Name(target)) + "_applied", world.applied_count(target));
    }
    object.End();
    return Says(200, std::move(body));
  }
  if (is_read) return Refuses(404, "no such page");
  if (path == "/_sim/faults") {
    const absl::Status status = world.SetFaults(request.body);
    if (!status.ok()) return Refuses(422, std::string(status.message()));
    return Says(200, "{}");
  }
  if (path == "/_sim/clock") return MoveClock(request.body);
  if (path == "/_sim/mutate") return Mutate(request.body);
  if (path == "/_sim/quota") return MoveQuota(request.body);
  if (path == "/_sim/endpoints") return SwitchEndpoint(request.body);
  if (path == "/_sim/stop_mutating") {
    world.StopMutating();
    return Says(200, "{}");
  }
  return Refuses(404, "no such page");
}

http::ServerResponse SimulatorServer::State::MoveClock(std::string_view text) {
  const auto body = json::Parse(text);
  if (!body.ok() || body->object() == nullptr) return Refuses(422, "an object is expected");
  const json::Value* advance = body->Find("advance_ms");
  const json::Value* rate = body->Find("rate");
  if (advance == nullptr && rate == nullptr) return Refuses(422, "advance_ms or rate is expected");
  std::int64_t milliseconds = 0;
  if (advance != nullptr) {
    const auto given = advance->ToInt64();
    if (!given || *given < 0) return Refuses(422, "advance_ms: the clock never goes back");
    milliseconds = *given;
  }
  double factor = clock.rate();
  if (rate != nullptr) {
    const auto given = rate->ToIdText();
    char* end = nullptr;
    factor = given ? std::strtod(given->c_str(), &end) : -1;
    if (!given || *end != '\0' || !std::isfinite(factor) || factor < 0) {
      return Refuses(422, "rate: a number from 0 is expected");
    }
  }
  clock.Move(std::chrono::milliseconds(milliseconds), factor);
  world.Advance(clock.Now());
  return Says(200, "{}");
}

http::ServerResponse SimulatorServer::State::MoveQuota(std::string_view text) {
  const auto body = json::Parse(text);
  if (!body.ok() || body->object() == nullptr) return Refuses(422, "an object is expected");
  const json::Value* max = body->Find("requests_max");
  const std::int64_t requests = max == nullptr ? -1 : max->ToInt64().value_or(-1);
  const json::Value* percent = body->Find("neighbour_percent");
  const auto share = percent == nullptr ? std::optional<std::int64_t>(0) : percent->ToInt64();
  if (requests < 0 || !share || *share < 0 || *share > 100) {
    return Refuses(422, "requests_max from 0, and neighbour_percent from 0 to 100, are expected");
  }
  world.SetQuota(clock.Now(), requests, static_cast<double>(*share) / 100);
  return Says(200, "{}");
}

http::ServerResponse SimulatorServer::State::SwitchEndpoint(std::string_view text) {
  const auto body = json::Parse(text);
  const json::Value* id = body.ok() ? body->Find("id") : nullptr;
  const json::Value* status = body.ok() ? body->Find("status") : nullptr;
  if (id == nullptr || status == nullptr || status->string() == nullptr) {
    return Refuses(422, "id and status are expected");
  }
  const absl::Status switched = world.SetEndpoint(id->ToInt64().value_or(0), *status->string());
  if (switched.ok()) return Says(200, "{}");
  return Refuses(absl::IsNotFound(switched) ? 404 : 422, std::string(switched.message()));
}

http::ServerResponse SimulatorServer::State::Mutate(std::string_view text) {
  const auto body = json::Parse(text);
  if (!body.ok() || body->object() == nullptr) return Refuses(422, "an object is expected");
  if (const json::Value* count = body->Find("count"); count != nullptr) {
    const auto times = count->ToInt64();
    if (!times || *times < 0) return Refuses(422, "count: a number from 0 is expected");
    world.Mutate(clock.Now(), *times);
    return Says(200, "{}");
  }
  const json::Value* entity = body->Find("entity");
  const json::Value* id = body->Find("id");
  const json::Value* set = body->Find("set");
  if (entity == nullptr || entity->string() == nullptr || id == nullptr || !id->ToIdText() ||
      set == nullptr) {
    return Refuses(422, "count, or entity, id and set are expected");
  }
  const absl::Status status =
      world.Set(clock.Now(), *entity->string(), *id->ToIdText(), json::Write(*set));
  if (absl::IsNotFound(status)) return Refuses(404, std::string(status.message()));
  if (!status.ok()) return Refuses(422, std::string(status.message()));
  return Says(200, "{}");
}

SimulatorServer::SimulatorServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

SimulatorServer::~SimulatorServer() { Stop(); }

absl::StatusOr<std::unique_ptr<SimulatorServer>> SimulatorServer::Start(ServerSettings settings) {
  if (settings.world.start == WallTime{}) settings.world.start = MachineTime();
  auto state = std::make_unique<State>(settings.world);
  State* const shared = state.get();
  const auto listen = [&](Target target, std::uint16_t port) {
    http::ServerOptions options;
    options.host = settings.host;
    options.port = port;
    options.connections_max = 1'024;
    options.requests_per_connection_max = 1'000'000;
    options.connection_age_max = std::chrono::hours(24);
    return http::Server::Start(
        options, http::SyncHandler([shared, target](const http::ServerRequest& request) {
          const std::lock_guard lock(shared->mutex);
          if (target == Target::kChargify && request.path.substr(0, 6) == "/_sim/") {
            return shared->HandleControl(request);
          }
          http::Request asked;
          asked.method = request.method;
          asked.url = request.target;
          asked.headers = request.headers;
          asked.body = request.body;
          return ToResponse(shared->world.Handle(shared->clock.Now(), target, asked));
        }));
  };
  // Neighbours of a port that the system chose may be taken: then from the beginning.
  for (int attempt = 0;; ++attempt) {
    absl::Status problem;
    for (std::size_t i = 0; i < kTargets.size(); ++i) {
      const int next = i == 0 ? settings.port : state->servers[0]->port() + static_cast<int>(i);
      auto server = next > 65'535
                        ? absl::StatusOr<std::unique_ptr<http::Server>>(
                              absl::UnavailableError("no port is left behind the first one"))
                        : listen(kTargets[i], static_cast<std::uint16_t>(next));
      if (!server.ok()) {
        problem = server.status();
        break;
      }
      state->servers.push_back(*std::move(server));
    }
    if (problem.ok()) break;
    state->servers.clear();
    if (settings.port != 0 || attempt == kPortAttempts) return problem;
  }

  const Access access = state->world.access();
  const auto port = [&](std::size_t i) {
    return static_cast<std::int64_t>(state->servers[i]->port());
  };
  ObjectText ports(state->ports_json);
  if (ports.Key("chargify")) {
    ObjectText object(state->ports_json);
    object.Integer("port", port(0));
    object.Text("key", access.chargify_key);
    object.End();
  }
  if (ports.Key("highlevel")) {
    ObjectText object(state->ports_json);
    object.Integer("port", port(1));
    object.Text("token", access.highlevel_token);
    object.Text("location", access.highlevel_location);
    object.End();
  }
  if (ports.Key("rest")) {
    ObjectText object(state->ports_json);
    object.Integer("port", port(2));
    object.Text("key", access.rest_key);
    object.End();
  }
  ports.End();
  return std::unique_ptr<SimulatorServer>(new SimulatorServer(std::move(state)));
}

std::uint16_t SimulatorServer::port(Target target) const {
  return state_->servers[static_cast<std::size_t>(target)]->port();
}

std::string SimulatorServer::url(Target target) const {
  return state_->servers[static_cast<std::size_t>(target)]->url();
}

std::string SimulatorServer::PortsJson() const { return state_->ports_json; }

void SimulatorServer::WithWorld(const std::function<void(World& world, WallTime now)>& use) {
  const std::lock_guard lock(state_->mutex);
  use(state_->world, state_->clock.Now());
}

void SimulatorServer::Stop() {
  for (const auto& server : state_->servers) server->Stop();
}

}  // namespace tributary::simulator

#include "tests/simulation/network.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace tributary::simulation {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr int kFirstPort = 20000;

bool IsWrite(const http::Request& request) { return request.is_write; }

}  // namespace

Network::Network(eventlog::testing::VirtualTime& time, eventlog::testing::SeededRandom random,
                 Trace& trace, std::vector<std::unique_ptr<simulator::World>>& worlds,
                 Duration limbo, Duration pause_bound)
    : time_(time),
      random_(random),
      trace_(trace),
      worlds_(worlds),
      limbo_(limbo),
      pause_bound_(pause_bound) {}

std::string Network::Url(std::size_t tenant, simulator::Target target) {
  const int port = kFirstPort + static_cast<int>(tenant) * 10 + static_cast<int>(target);
  return "http://127.0.0.1:" + std::to_string(port);
}

Network::Client::Client(Network& network, std::string sender, Shell shell)
    : state_(std::make_shared<State>(
          State{network, std::move(sender), std::move(shell), false, false, {}, {}})) {}

Network::Client::~Client() { Die(); }

void Network::Client::Die() {
  state_->dead = true;
  state_->open.clear();
  state_->held.clear();
}

void Network::Client::Send(http::RequestId id, http::Request request) {
  if (state_->dead) return;
  Network& network = state_->network;
  Duration connects = network.random_.Between(microseconds(50), milliseconds(5));
  if (network.random_.Below(1000) < network.faults_.connect_slow) {
    connects = network.random_.Between(milliseconds(5), request.timeout);
    if (network.on_moment_ && IsWrite(request)) {
      network.on_moment_({state_->sender, false, connects});
    }
  }
  Exchange exchange;
  exchange.request = std::move(request);
  exchange.asked_at = network.time_.now().steady;
  state_->open[id] = std::move(exchange);
  network.time_.After(connects, [&network, state = state_, id] { network.TryLeave(state, id); });
}

void Network::Client::Cancel(http::RequestId id) {
  const auto found = state_->open.find(id);
  if (state_->dead || found == state_->open.end()) return;
  http::Completion completion;
  completion.id = id;
  completion.delivery = found->second.has_left ? http::Delivery::kBroken : http::Delivery::kNotSent;
  completion.error = "cancelled";
  Network& network = state_->network;
  // Whoever cancels is told later, not from inside the call.
  network.time_.After(Duration::zero(), [&network, state = state_, id, completion] {
    network.Complete(state, id, completion);
  });
}

void Network::Client::Resume() {
  state_->suspended = false;
  Network& network = state_->network;
  for (const http::RequestId id : std::exchange(state_->held, {})) {
    network.time_.After(Duration::zero(),
                        [&network, state = state_, id] { network.TryLeave(state, id); });
  }
}

void Network::TryLeave(const std::shared_ptr<State>& state, http::RequestId id) {
  const auto found = state->open.find(id);
  if (state->dead || found == state->open.end() || found->second.is_checked) return;
  if (state->suspended) {
    state->held.push_back(id);
    return;
  }
  http::Completion completion;
  completion.id = id;
  completion.delivery = http::Delivery::kNotSent;
  if (random_.Below(1000) < faults_.connect_fails) {
    completion.error = "connection refused";
    Complete(state, id, std::move(completion));
    return;
  }
  found->second.is_checked = true;
  if (!state->shell.may_send(id)) {
    completion.refused_at_send = true;
    completion.error = "refused at the send";
    trace_.Line(state->sender, "refuses its own request at the send");
    Complete(state, id, std::move(completion));
    return;
  }
  if (random_.Below(1000) < faults_.pauses) {
    // Rule 15 bounds it by P.
    const Duration longest = faults_.pause_max.value_or(pause_bound_ - milliseconds(1));
    const Duration pause = random_.Between(milliseconds(1), longest);
    if (on_moment_ && IsWrite(found->second.request)) on_moment_({state->sender, true, pause});
    time_.After(pause, [this, state, id] { Leave(state, id); });
  } else {
    Leave(state, id);
  }
}

void Network::Leave(const std::shared_ptr<State>& state, http::RequestId id) {
  const auto found = state->open.find(id);
  if (state->dead || found == state->open.end()) return;
  Client::Exchange& exchange = found->second;
  exchange.has_left = true;
  auto transmission = std::make_shared<Transmission>();
  transmission->number = ++last_number_;
  transmission->sender = state->sender;
  transmission->request = std::move(exchange.request);
  transmission->sent_at = time_.now().steady;
  const http::Request& request = transmission->request;
  const std::string& url = request.url;
  const std::size_t colon = url.find(':', 6);
  const int port = std::atoi(url.c_str() + colon + 1) - kFirstPort;
  transmission->tenant = static_cast<std::size_t>(port / 10);
  transmission->target = static_cast<simulator::Target>(port % 10);
  if (trace_.keeps_lines()) {
    trace_.Line(state->sender, "sends " + request.method + " " + url.substr(url.find('/', 8)) +
                                   " " + request.body);
  }
  ++open_;
  if (observer_ != nullptr) observer_->OnSent(*transmission);
  const Instant deadline = std::max(time_.now().steady, exchange.asked_at + request.timeout);
  Duration transit = random_.Between(microseconds(200), milliseconds(20));
  if (random_.Below(1000) < faults_.request_late) {
    // Some of L is left for a target that takes its time besides.
    transit = random_.Between(milliseconds(20), limbo_ / 2);
  }
  time_.After(transit, [this, state, id, transmission, deadline] {
    Arrive(state, id, transmission, deadline);
  });
  // The process gives up; what it does with that is the point of the whole protocol.
  time_.At(deadline, [this, state, id] {
    const auto open = state->open.find(id);
    if (state->dead || open == state->open.end()) return;
    http::Completion completion;
    completion.id = id;
    completion.delivery = http::Delivery::kBroken;
    completion.error = "timed out";
    Complete(state, id, std::move(completion));
  });
}

void Network::Settle(const std::shared_ptr<Transmission>& transmission) {
  if (transmission->settled) return;
  transmission->settled = true;
  --open_;
  if (observer_ != nullptr) observer_->OnSettled(*transmission);
}

void Network::Arrive(const std::shared_ptr<State>& state, http::RequestId id,
                     const std::shared_ptr<Transmission>& transmission, Instant deadline) {
  simulator::World& world = *worlds_[transmission->tenant];
  simulator::Answer answer =
      world.Handle(time_.now().wall, transmission->target, transmission->request);
  transmission->arrived = true;
  const bool answers = answer.form == simulator::Answer::Form::kAnswer;
  const bool is_lost = !answers || random_.Below(1000) < faults_.answer_lost;
  // A world may apply a request that it has not answered later, within L.
  const Instant applied_by =
      answers ? time_.now().steady : std::max(time_.now().steady, transmission->sent_at + limbo_);
  time_.At(applied_by, [this, transmission] { Settle(transmission); });
  if (trace_.keeps_lines()) {
    trace_.Line("world-" + std::to_string(transmission->tenant),
                "answers " + std::to_string(answer.status) + (is_lost ? ", and it is lost" : ""));
  }

  http::Completion completion;
  completion.id = id;
  Duration back = answer.delay + random_.Between(microseconds(200), milliseconds(20));
  if (random_.Below(1000) < faults_.answer_late) {
    back += random_.Between(milliseconds(20), 2 * (deadline - transmission->sent_at));
  }
  if (!is_lost) {
    completion.delivery = http::Delivery::kComplete;
    completion.status = answer.status;
    completion.headers = std::move(answer.headers);
    completion.body = std::move(answer.body);
  } else {
    if (IsWrite(transmission->request)) ++unknown_outcomes_;
    completion.delivery = http::Delivery::kBroken;
    if (answer.form == simulator::Answer::Form::kHang) return;  // the time-out completes it
    if (answer.form == simulator::Answer::Form::kTruncate) {
      completion.status = answer.status;
      completion.headers = answer.headers;
      completion.body = answer.body.substr(0, answer.body.size() / 2);
      completion.error = "the connection ended in the middle of the answer";
    } else {
      completion.error = "connection reset";
    }
  }
  completion.elapsed = time_.now().steady + back - transmission->sent_at;
  time_.After(back, [this, state, id, completion = std::move(completion)]() mutable {
    Complete(state, id, std::move(completion));
  });
}

void Network::Complete(const std::shared_ptr<State>& state, http::RequestId id,
                       http::Completion completion) {
  // Exactly one for each request, whatever else comes.
  if (state->dead || state->open.erase(id) == 0) return;
  state->shell.complete(std::move(completion));
}

}  // namespace tributary::simulation

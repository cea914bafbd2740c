#include <algorithm>
#include <charconv>

#include "services/loader/entries.h"
#include "services/loader/stage.h"

// Target connections: what they are, what proves who we are, what they may spend, what is next.

namespace tributary::loader {
namespace {

using eventlog::Topic;

constexpr Duration kAskAgain = std::chrono::seconds(15);
constexpr std::size_t kScanChunk = 512;
constexpr Duration kTargetDelayMax = std::chrono::minutes(5);
constexpr Duration kTargetDelayMin = std::chrono::milliseconds(500);
constexpr char kBatchMark = '#';

}  // namespace

Target* LoaderStage::FindTarget(const TargetKey& key) {
  const auto found = targets_.find(key);
  return found == targets_.end() ? nullptr : &found->second;
}

void LoaderStage::RefreshTenant(const std::string& tenant) {
  const tenants::TenantState* state = directory_.Find(tenant);
  if (state == nullptr) return;
  for (const v1::Sync& sync : state->snapshot.syncs()) {
    const v1::Connection* connection = directory_.FindConnection(tenant, sync.target());
    if (connection == nullptr) continue;
    const TargetKey key(tenant, sync.target());
    Target& target = targets_[key];
    target.key = key;
    target.partition = PartitionOf(tenant);
    RefreshTarget(target, *connection);
    target.scan_wanted = true;
    dirty_targets_.insert(key);
  }
}

void LoaderStage::RefreshTarget(Target& target, const v1::Connection& connection) {
  const std::string file = connection.connector_file().empty() ? connection.integration() + ".yaml"
                                                               : connection.connector_file();
  target.counters = &counters_.by_integration[connection.integration()];
  if (target.connector == nullptr || target.connector_file != file) {
    target.connector = nullptr;
    target.connector_file = file;
    const std::string* text = nullptr;
    std::string name = file;
    if (connection.connector_file().empty()) {
      text = connector::BuiltinFile(file);
    } else if (const v1::Blob* blob =
                   directory_.FindBlob(target.partition, connection.connector_file())) {
      text = &blob->content();
      name = blob->name();
    }
    std::shared_ptr<const connector::Connector>& known = connectors_[file];
    if (known == nullptr && text != nullptr) {
      absl::StatusOr<connector::Connector> parsed = connector::Connector::Parse(name, *text);
      if (parsed.ok()) {
        known = std::make_shared<const connector::Connector>(*std::move(parsed));
      } else {
        target.problem = std::string(parsed.status().message());
        target.fix = "correct the connector file and apply it again";
      }
    }
    if (text == nullptr) {
      target.problem = "connector file `" + file + "` is not there";
      target.fix = "name a known integration, or give a connector file";
      // It may come with the next blob.
      target.connector_file.clear();
    }
    target.connector = known;
  }
  target.linked = connection.state() == v1::CONNECTION_STATE_LINKED;
  if (target.connector == nullptr) return;
  const connector::Connector& file_says = *target.connector;
  std::map<std::string, std::string> settings(connection.settings().begin(),
                                              connection.settings().end());
  const std::vector<std::string> problems = file_says.CheckSettings(settings);
  target.account = file_says.MakeAccount(connection.url(), connection.allow_insecure_loopback(),
                                         std::move(settings));
  target.settle = file_says.SettleOf(target.account);
  target.index_lag = file_says.IndexLagOf(target.account);
  double rate = file_says.limits.requests_per_second;
  const std::string& given = connection.requests_per_second();
  double parsed_rate = 0;
  const auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), parsed_rate);
  target.rate_is_given = !given.empty() && error == std::errc() && parsed_rate > 0 &&
                         end == given.data() + given.size();
  if (target.rate_is_given) rate = parsed_rate;
  target.budget.SetCeiling(
      connection.concurrency() > 0 ? connection.concurrency() : file_says.limits.concurrency, rate);
  if (!problems.empty()) {
    target.problem = problems.front();
    target.fix = "correct the connection's settings";
    target.linked = false;
  } else if (options_.request_timeout >= target.settle) {
    // Q < L: a request that we still wait for must not outlive its doubt.
    target.problem = "loader.request_timeout is not below `settle` of the connection";
    target.fix = "make loader.request_timeout shorter, or settle longer";
  } else if (target.problem.starts_with("setting ") || target.problem.starts_with("loader.")) {
    target.problem.clear();
    target.fix.clear();
  }
  target.wanted_revision = connection.credential_revision();
  if (target.credentials && target.wanted_revision > target.credential_revision) {
    AskCredential(target, 0);
  }
  ReportConnection(target);
}

void LoaderStage::Enqueue(const std::string& key, const TargetKey& target_key, Priority priority) {
  Target* target = FindTarget(target_key);
  if (target == nullptr) return;
  dirty_targets_.insert(target_key);
  if (target->ready_count() >= static_cast<std::size_t>(options_.ready_keys_max)) {
    target->scan_wanted = true;
    ForgetIfIdle(key);
    return;
  }
  target->Push(key, priority);
}

void LoaderStage::ScanMore(Target& target) {
  if (!target.scanning) {
    if (!target.scan_wanted) return;
    target.scanning = true;
    target.scan_wanted = false;
    target.scan_from.clear();
  }
  const eventlog::Table* commands = Table(Topic::kCommands, target.key.first);
  if (commands == nullptr) {
    target.scanning = false;
    return;
  }
  const std::size_t room = static_cast<std::size_t>(options_.ready_keys_max) -
                           std::min<std::size_t>(target.ready_count(),
                                                 static_cast<std::size_t>(options_.ready_keys_max));
  const std::size_t limit = std::min(room, kScanChunk);
  std::vector<std::string> keys;
  bool ended = true;
  commands->Scan(ids::EncodePart(target.key.first) + "/", target.scan_from,
                 [&](std::string_view key, const eventlog::TableEntry& entry) {
                   if (keys.size() >= limit) {
                     target.scan_from = std::string(key);
                     ended = false;
                     return false;
                   }
                   const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
                   if (parts && parts->kind != ids::CommandKey::Kind::kMapped && !entry.is_void &&
                       TargetOf(*parts) == target.key) {
                     keys.emplace_back(key);
                   }
                   return true;
                 });
  if (ended) target.scanning = false;
  for (const std::string& key : keys) Evaluate(key);
}

bool LoaderStage::CanBatch(const Target& target, const connector::Object& object) const {
  if (!object.batch || object.update.size() != 1 || object.tags_add) return false;
  if (object.batch->enabled_by.empty()) return true;
  const auto setting = target.account.settings.find(object.batch->enabled_by);
  return setting != target.account.settings.end() && setting->second == "true";
}

void LoaderStage::Pump(Target& target) {
  const auto partition = partitions_.find(target.partition);
  if (partition == partitions_.end() || partition->second.revoking) return;
  const auto wake_at = [&](Instant at) { target.wake = std::min(target.wake, at); };
  if (!owner_->ready(target.partition)) {
    wake_at(now_.steady + std::chrono::milliseconds(200));
    return;
  }
  if (target.connector == nullptr) return;
  // Resolving without a call needs neither credential nor slot.
  for (int rounds = 0; target.ready_count() == 0 && (target.scan_wanted || target.scanning);
       ++rounds) {
    if (rounds == 8) {
      wake_at(now_.steady);
      break;
    }
    ScanMore(target);
  }
  const bool has_work = !target.waiting_for_rate.empty() || target.ready_count() > 0;
  if (!has_work || !target.linked) return;
  if (!HasProof(target)) return;

  while (!target.waiting_for_rate.empty()) {
    const Instant at = target.budget.NextSendAt();
    if (at > now_.steady) {
      wake_at(at);
      break;
    }
    const std::string name = std::move(target.waiting_for_rate.front());
    target.waiting_for_rate.pop_front();
    SendName(target, name);
  }
  while (target.ready_count() > 0 && target.budget.HasSlot(now_.steady)) {
    const std::string key = *target.Pop();
    const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
    const Lane* lane = FindLane(key);
    const connector::Object* object = parts ? target.connector->FindObject(parts->object) : nullptr;
    const bool may_batch = object != nullptr && parts->kind == ids::CommandKey::Kind::kState &&
                           CanBatch(target, *object) && (lane == nullptr || !lane->no_batch);
    if (!may_batch) {
      Begin(key, 0);
    } else {
      const std::uint64_t id = ++next_batch_;
      Batch& batch = batches_[id];
      batch.target = target.key;
      batch.partition = target.partition;
      batch.connector = target.connector;
      batch.object = object->name;
      target.budget.TakeSlot();
      Begin(key, id);
      while (batch.keys.size() < static_cast<std::size_t>(object->batch->size) &&
             target.ready_count() > 0) {
        const std::string next = *target.Pop();
        const std::optional<ids::CommandKey> next_parts = ids::ParseCommandKey(next);
        const Lane* next_lane = FindLane(next);
        if (!next_parts || next_parts->object != batch.object ||
            (next_lane != nullptr && next_lane->no_batch)) {
          target.queued.insert(next);
          target.ready[0].push_front(next);
          break;
        }
        Begin(next, id);
      }
      batch.closed = true;
      if (batch.keys.empty()) {
        batches_.erase(id);
        target.budget.ReturnSlot();
      } else if (batch.unacknowledged == 0) {
        target.waiting_for_rate.push_back(std::string(1, kBatchMark) + std::to_string(id));
      }
    }
    if (target.ready_count() == 0) ScanMore(target);
  }
  if (target.ready_count() > 0 && target.budget.paused_until() > now_.steady) {
    wake_at(target.budget.paused_until());
  }
}

// ---- sends ----

void LoaderStage::SendName(Target& target, const std::string& name) {
  if (name.front() == kBatchMark) {
    SendBatch(target, std::stoull(name.substr(1)));
    return;
  }
  if (Lane* lane = FindLane(name)) SendLane(target, *lane);
}

http::RequestId LoaderStage::Send(Target& target, http::Request request, Flight flight,
                                  bool is_write) {
  request.timeout = options_.request_timeout;
  request.body_bytes_max = options_.body_bytes_max;
  request.is_write = is_write;
  flight.target = target.key;
  flight.partition = target.partition;
  flight.proof = target.proof;
  const http::RequestId id = ++next_request_;
  flights_[id] = std::move(flight);
  target.budget.Sent(now_.steady);
  ++counters_.requests;
  ports_.http.Send(id, std::move(request));
  return id;
}

void LoaderStage::SendLane(Target& target, Lane& lane) {
  const bool is_lookup = lane.phase == Lane::Phase::kLookingUp;
  if (!is_lookup && lane.phase != Lane::Phase::kAwaitingSend) return;
  // The newest desired version, whatever was queued (rule 17).
  const std::optional<Desired> desired = DesiredOf(lane.key);
  const bool is_state = lane.parts.kind == ids::CommandKey::Kind::kState;
  const bool is_current =
      desired && Judge(lane.key).kind == Verdict::Kind::kSend &&
      (!is_state || Compare(desired->command.version(), lane.command.version()) == 0);
  http::Request request = lane.request;
  if (!is_current ||
      !connector::Authorise(*lane.connector, target.credentials.value_or(connector::Credentials()),
                            target.token, request)
           .ok()) {
    // An acknowledged intent stays for the one that follows.
    Rest(lane);
    return;
  }
  Flight flight;
  flight.kind = is_lookup ? Flight::Kind::kLookup : Flight::Kind::kCall;
  flight.key = lane.key;
  lane.proof = target.proof;
  lane.left = false;
  if (!is_lookup) {
    lane.phase = Lane::Phase::kSending;
    lane.intent_unsent = false;
  }
  lane.request_id = Send(target, std::move(request), std::move(flight), !is_lookup);
}

void LoaderStage::BatchIntentAcknowledged(std::uint64_t id) {
  const auto found = batches_.find(id);
  if (found == batches_.end()) return;
  Batch& batch = found->second;
  if (batch.unacknowledged > 0) --batch.unacknowledged;
  if (!batch.closed || batch.unacknowledged > 0) return;
  if (Target* target = FindTarget(batch.target)) {
    target->waiting_for_rate.push_back(std::string(1, kBatchMark) + std::to_string(id));
  }
}

void LoaderStage::DissolveBatch(std::uint64_t id) {
  const auto found = batches_.find(id);
  if (found == batches_.end()) return;
  const Batch batch = std::move(found->second);
  batches_.erase(found);
  if (Target* target = FindTarget(batch.target)) target->budget.ReturnSlot();
  for (const std::string& key : batch.keys) {
    Lane* lane = FindLane(key);
    if (lane == nullptr) continue;
    if (lane->phase == Lane::Phase::kAwaitingSend) Rest(*lane);
  }
}

void LoaderStage::SendBatch(Target& target, std::uint64_t id) {
  const auto found = batches_.find(id);
  if (found == batches_.end()) return;
  Batch& batch = found->second;
  std::vector<std::string> keys;
  std::vector<const v1::DesiredState*> states;
  for (const std::string& key : batch.keys) {
    Lane* lane = FindLane(key);
    if (lane == nullptr || lane->phase != Lane::Phase::kAwaitingSend) continue;
    const std::optional<Desired> desired = DesiredOf(key);
    if (!desired || Judge(key).kind != Verdict::Kind::kSend ||
        Compare(desired->command.version(), lane->command.version()) != 0) {
      Rest(*lane);
      continue;
    }
    keys.push_back(key);
    states.push_back(&lane->command.state());
  }
  if (keys.empty()) {
    DissolveBatch(id);
    return;
  }
  batch.keys = keys;
  const connector::Object& object = *batch.connector->FindObject(batch.object);
  absl::StatusOr<http::Request> request =
      connector::RenderBatch(*batch.connector, target.account, object, states);
  if (!request.ok() ||
      !connector::Authorise(*batch.connector, target.credentials.value_or(connector::Credentials()),
                            target.token, *request)
           .ok()) {
    DissolveBatch(id);
    return;
  }
  Flight flight;
  flight.kind = Flight::Kind::kBatch;
  flight.batch = id;
  batch.sent = true;
  for (const std::string& key : keys) {
    Lane& lane = *FindLane(key);
    lane.phase = Lane::Phase::kSending;
    lane.intent_unsent = false;
    lane.left = false;
    lane.proof = target.proof;
  }
  Send(target, *std::move(request), std::move(flight), true);
}

// ---- what proves who we are ----

bool LoaderStage::HasProof(Target& target) {
  if (!target.credentials) {
    if (!target.credential_asked || now_.steady >= target.ask_again_at) AskCredential(target, 0);
    target.wake = std::min(target.wake, target.ask_again_at);
    return false;
  }
  const connector::Authentication& authentication = target.connector->authentication;
  if (authentication.kind != connector::Authentication::Kind::kTokenRequest) return true;
  if (!target.token.empty() && now_.steady < target.token_ends) return true;
  if (target.token_asked) return false;
  if (target.budget.paused_until() > now_.steady) {
    target.wake = std::min(target.wake, target.budget.paused_until());
    return false;
  }
  absl::StatusOr<http::Request> request =
      connector::RenderTokenRequest(*target.connector, target.account, *target.credentials);
  if (!request.ok()) {
    target.problem = std::string(request.status().message());
    target.fix = "give the connection its credentials";
    ReportConnection(target);
    return false;
  }
  target.token_asked = true;
  Flight flight;
  flight.kind = Flight::Kind::kToken;
  // Asking twice does no harm: it is no write in the sense of rule 16.
  Send(target, *std::move(request), std::move(flight), false);
  return false;
}

void LoaderStage::AskCredential(Target& target, std::int64_t refused_revision) {
  target.credential_asked = true;
  target.ask_again_at = now_.steady + kAskAgain;
  v1::FromService message;
  v1::CredentialRequest& request = *message.mutable_credential_request();
  request.set_tenant(target.key.first);
  request.set_connection(target.key.second);
  request.set_refused_revision(refused_revision);
  ports_.control.Send(message);
}

void LoaderStage::OnCredential(const v1::Credential& credential) {
  Target* target = FindTarget({credential.tenant(), credential.connection()});
  if (target == nullptr) return;
  target->credential_asked = false;
  if (!credential.problem().empty()) {
    target->credential_asked = true;
    target->ask_again_at = now_.steady + kAskAgain;
    target->problem = credential.problem();
    target->fix = "give the connection its credentials";
    ReportConnection(*target);
    return;
  }
  connector::Credentials fields;
  for (const auto& [name, value] : credential.fields()) fields[name] = value;
  if (target->credentials != fields) {
    ++target->proof;
    target->token.clear();
  }
  target->credentials = std::move(fields);
  target->credential_revision = credential.revision();
  if (target->fix == "give the connection its credentials") {
    target->problem.clear();
    target->fix.clear();
    ReportConnection(*target);
  }
  dirty_targets_.insert(target->key);
}

void LoaderStage::OnTokenAnswer(Target& target, const http::Completion& completion) {
  target.token_asked = false;
  if (completion.refused_at_send) {
    target.wake = std::min(target.wake, now_.steady + std::chrono::milliseconds(100));
    return;
  }
  connector::TokenAnswer answer =
      connector::InterpretToken(*target.connector, completion, now_.wall);
  if (answer.answer.answer == http::AnswerClass::kDone) {
    target.token = std::move(answer.token);
    ++target.proof;
    const Duration before = target.connector->authentication.renew_before;
    const Duration life = answer.expires_in.value_or(std::chrono::minutes(15));
    // A short-lived one is used for half of its life.
    target.token_ends = now_.steady + std::max(life - before, life / 2);
    // A token says that the key is right; only a call that it opens ends the count of refusals.
    target.budget.Succeeded();
    return;
  }
  if (answer.answer.answer == http::AnswerClass::kUnauthorised) {
    ++counters_.unauthorised;
    OnUnauthorised(target, target.proof);
    return;
  }
  if (answer.answer.answer == http::AnswerClass::kRefused) {
    OnMisconfigured(target, answer.answer.detail);
    return;
  }
  PauseAfterFailure(target, answer.answer.retry_after);
}

void LoaderStage::OnUnauthorised(Target& target, std::int64_t proof) {
  // An answer to what was replaced in the meantime says nothing.
  if (proof != target.proof) return;
  if (target.refusals == 0) target.first_refused_at = now_.steady;
  ++target.refusals;
  const bool has_token =
      target.connector->authentication.kind == connector::Authentication::Kind::kTokenRequest;
  if (has_token && !target.token.empty()) {
    target.token.clear();
    ++target.proof;
  } else {
    AskCredential(target, target.credential_revision);
    // Not counted again for what is still under way.
    ++target.proof;
  }
  if (target.refusals == 1) return;
  // The fresh one is refused too: rest, and let one request try from time to time.
  target.problem = "the target refuses the credential";
  target.fix = "give the connection a valid credential";
  target.budget.Failed();
  const Duration pause = std::min<Duration>(
      std::chrono::seconds(5) * (1 << std::min(target.refusals - 2, 6)), kTargetDelayMax);
  target.budget.PauseUntil(now_.steady + pause);
  target.wake = std::min(target.wake, target.budget.paused_until());
  ReportConnection(target);
}

void LoaderStage::OnMisconfigured(Target& target, const std::string& detail) {
  target.problem = detail;
  target.fix = "correct the connection: no record of it is accepted as it is set up";
  target.budget.Failed();
  target.budget.PauseUntil(now_.steady +
                           kTargetDelayMax / 5 * std::min(target.budget.failures(), 5));
  target.wake = std::min(target.wake, target.budget.paused_until());
  ReportConnection(target);
}

void LoaderStage::PauseAfterFailure(Target& target, std::optional<Duration> retry_after) {
  target.budget.Failed();
  const Duration jitter =
      FullJitter(kTargetDelayMin, kTargetDelayMax, target.budget.failures() - 1, ports_.random());
  target.budget.PauseUntil(now_.steady + std::max(jitter, retry_after.value_or(Duration::zero())));
  target.wake = std::min(target.wake, target.budget.paused_until());
}

void LoaderStage::OnTargetAnswered(Target& target, const http::Completion& completion, bool good) {
  if (completion.delivery != http::Delivery::kComplete) return;
  const connector::Limits& limits = target.connector->limits;
  if (!target.rate_is_given) {
    if (const std::optional<double> rate = connector::RateOf(limits, completion.headers)) {
      target.budget.Learn(*rate);
    }
  }
  if (const std::optional<Duration> rest = connector::ExhaustedFor(limits, completion.headers)) {
    target.budget.PauseUntil(now_.steady + *rest);
    target.wake = std::min(target.wake, target.budget.paused_until());
  }
  if (!good) return;
  target.budget.Succeeded();
  target.refusals = 0;
  if (!target.problem.empty() && !target.problem.starts_with("setting ") &&
      !target.problem.starts_with("loader.")) {
    target.problem.clear();
    target.fix.clear();
    ReportConnection(target);
  }
}

}  // namespace tributary::loader

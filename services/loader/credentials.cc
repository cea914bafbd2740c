#include <algorithm>

#include "services/loader/entries.h"
#include "services/loader/stage.h"

// What proves to a target who we are: credentials from control, and tokens obtained with them.

namespace tributary::loader {
namespace {

constexpr Duration kAskAgain = std::chrono::seconds(15);
/// Failures in a row before people are told.
constexpr int kTokenFailuresMin = 3;
constexpr std::string_view kNoToken = "no token is obtained: ";
constexpr const char* kGiveCredentials = "give the connection its credentials";

}  // namespace

bool LoaderStage::HasProof(Target& target) {
  if (!target.credentials) {
    if (!target.credential_asked || now_.steady >= target.ask_again_at) AskCredential(target, 0);
    WakeAt(target, target.ask_again_at);
    return false;
  }
  const connector::Authentication& authentication = target.connector->authentication;
  if (authentication.kind != connector::Authentication::Kind::kTokenRequest ||
      (!target.token.empty() && now_.steady < target.token_ends)) {
    return CanAuthorise(target);
  }
  if (target.token_asked) return false;
  const Instant paused_until =
      std::max(target.backoff.paused_until(), target.quota->budget.paused_until());
  if (paused_until > now_.steady) {
    WakeAt(target, paused_until);
    return false;
  }
  absl::StatusOr<http::Request> request =
      connector::RenderTokenRequest(*target.connector, target.account, *target.credentials);
  if (!request.ok()) {
    target.problem = std::string(request.status().message());
    target.fix = kGiveCredentials;
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

bool LoaderStage::CanAuthorise(Target& target) {
  http::Request probe;
  const absl::Status authorised =
      connector::Authorise(*target.connector, *target.credentials, target.token, probe);
  if (authorised.ok()) return true;
  // Another file may name its credentials otherwise, and what cannot be sent would begin anew
  // without end.
  target.problem = std::string(authorised.message());
  target.fix = kGiveCredentials;
  ReportConnection(target);
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
    target->fix = kGiveCredentials;
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
  // Also of the same secret, which a person wants to be tried again.
  if (credential.revision() > target->credential_revision) target->refusals = 0;
  target->credential_revision = credential.revision();
  if (target->fix == kGiveCredentials) {
    target->problem.clear();
    target->fix.clear();
    ReportConnection(*target);
  }
  MarkDirty(target);
}

void LoaderStage::OnTokenAnswer(Target& target, const http::Completion& completion) {
  target.token_asked = false;
  if (completion.refused_at_send) {
    WakeAt(target, now_.steady + std::chrono::milliseconds(100));
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
    target.backoff.Succeeded();
    if (target.problem.starts_with(kNoToken)) {
      target.problem.clear();
      target.fix.clear();
      ReportConnection(target);
    }
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
  if (IsFailure(answer.answer.answer, completion)) {
    OnTargetAnswered(target, completion, false);
    PauseAfterFailure(target, answer.answer.retry_after);
    if (target.backoff.failures() >= kTokenFailuresMin && target.problem.empty()) {
      target.problem = kNoToken;
      target.problem += answer.answer.detail;
      target.fix = "look at the target, or at its token request; it is tried again by itself";
      ReportConnection(target);
    }
  }
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
  target.backoff.Failed();
  const Duration pause = std::min<Duration>(
      std::chrono::seconds(5) * (1 << std::min(target.refusals - 2, 6)), options_.target_delay_max);
  target.backoff.PauseUntil(now_.steady + pause);
  WakeAt(target, target.backoff.paused_until());
  ReportConnection(target);
}

}  // namespace tributary::loader

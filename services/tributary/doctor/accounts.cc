#include "services/tributary/doctor/accounts.h"

#include <chrono>
#include <fstream>
#include <map>
#include <sstream>
#include <utility>

#include "absl/strings/escaping.h"

#include "libs/config/config.h"
#include "libs/connector/connector.h"
#include "libs/connector/interpret.h"
#include "libs/connector/render.h"
#include "libs/eventlog/clock.h"
#include "libs/http/client.h"
#include "libs/json/value.h"
#include "libs/time/rfc3339.h"
#include "services/control/credential_end.h"
#include "services/tributary/doctor/ground.h"

namespace tributary::cli {
namespace {

using http::AnswerClass;
using http::Delivery;

constexpr Duration kRequestMax = std::chrono::seconds(10);
constexpr Duration kSkewWarning = std::chrono::seconds(5);
constexpr Duration kSkewError = std::chrono::seconds(60);
// An id that no record has.
constexpr const char* kNobody = "tributary-doctor";

http::Completion Call(http::Request request) {
  request.timeout = kRequestMax;
  http::Client client({}, [](http::RequestId) { return true; });
  client.Send(1, std::move(request));
  while (true) {
    std::vector<http::Completion> completions = client.Poll({}, kRequestMax);
    if (!completions.empty()) {
      return std::move(completions.front());
    }
  }
}

struct HostAndPort {
  std::string host;
  std::string port;
};

HostAndPort HostOf(const std::string& url) {
  const bool is_https = url.starts_with("https://");
  const std::size_t begin = url.find("://") + 3;
  const std::string authority = url.substr(begin, url.find('/', begin) - begin);
  const std::size_t colon = authority.rfind(':');
  const bool has_port =
      colon != std::string::npos && authority.find(']', colon) == std::string::npos;
  std::string host = has_port ? authority.substr(0, colon) : authority;
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  }
  return {host, has_port ? authority.substr(colon + 1) : (is_https ? "443" : "80")};
}

Finding Unreachable(const std::string& place, const http::Completion& completion) {
  const bool is_tls = completion.error.find("SSL") != std::string::npos ||
                      completion.error.find("certificate") != std::string::npos;
  return Error("reachability", place,
               "no answer: " + (completion.error.empty() ? "it broke off" : completion.error),
               is_tls ? "see that the URL is right, that its certificate is one that this machine "
                        "trusts (package ca-certificates), and that the clock is right"
                      : "see that the URL is right, and that no firewall or proxy is in between");
}

// Reachability and clock, as far as an answer shows them. False: there is no answer to look into.
bool JudgeAnswer(const std::string& place, const http::Completion& completion, Findings& findings) {
  if (completion.delivery != Delivery::kComplete) {
    findings.push_back(Unreachable(place, completion));
    return false;
  }
  if (const std::string* date = http::FindHeader(completion.headers, "Date")) {
    if (const std::optional<WallTime> time = ParseHttpDate(*date)) {
      findings.push_back(JudgeClock(place, *time, eventlog::SystemTime()));
    }
  }
  return true;
}

Finding JudgeCredential(const std::string& place, AnswerClass answer, bool misconfigured,
                        const std::string& evidence) {
  const std::string asked = "a read was answered with " + evidence;
  if (misconfigured) {
    return Error("credentials", place, asked,
                 "give the credential the scopes that the connector file names, and see the "
                 "connection's settings");
  }
  switch (answer) {
    case AnswerClass::kUnauthorised:
      return Error("credentials", place, asked + ": the credential is refused",
                   "make a new key or token there, put it where the configuration says, and "
                   "`tributary apply` it");
    case AnswerClass::kThrottled:
      return Warning("credentials", place, asked + ": its quota is used up",
                     "wait; if it stays so, somebody else uses the same quota (quota_share)");
    case AnswerClass::kUnknown:
      return Error("credentials", place, asked + ": no sign that it works",
                   "see the status page of that system, and try again");
    default:
      return Good("credentials", place, "a read is answered");
  }
}

void CheckSource(const std::string& place, const v1::ConnectionConfig& connection,
                 const connector::Credentials& credentials, Findings& findings) {
  const auto key = credentials.find("api_key");
  std::string encoded;
  absl::Base64Escape((key == credentials.end() ? "" : key->second) + ":x", &encoded);
  http::Request request;
  request.url = connection.url() + "/site.json";
  request.headers = {{"Authorization", "Basic " + encoded}, {"Accept", "application/json"}};
  request.allow_insecure_loopback = connection.allow_insecure_loopback();
  const http::Completion completion = Call(std::move(request));
  if (!JudgeAnswer(place, completion, findings)) {
    return;
  }
  const http::Classified classified =
      http::Classify(completion, json::Parse(completion.body).ok(), /*creates_or_acts=*/false,
                     eventlog::SystemTime());
  findings.push_back(JudgeCredential(place, classified.answer,
                                     classified.answer == AnswerClass::kRefused,
                                     "status " + std::to_string(completion.status)));
}

absl::StatusOr<connector::Connector> ConnectorOf(const v1::ConnectionConfig& connection) {
  const std::string& file = connection.connector_file();
  if (!file.empty()) {
    std::ifstream stream(file, std::ios::binary);
    std::ostringstream text;
    text << stream.rdbuf();
    return connector::Connector::Parse(file, text.str());
  }
  const std::string name = connection.integration() + ".yaml";
  const std::string* text = connector::BuiltinFile(name);
  return text == nullptr ? absl::NotFoundError("integration `" + connection.integration() +
                                               "` has no connector file")
                         : connector::Connector::Parse(name, *text);
}

// A token, where one has to be asked for. None: what is wrong was added.
std::optional<std::string> TokenOf(const std::string& place, const connector::Connector& connector,
                                   const connector::Account& account,
                                   const connector::Credentials& credentials, Findings& findings) {
  if (connector.authentication.kind != connector::Authentication::Kind::kTokenRequest) {
    return "";
  }
  absl::StatusOr<http::Request> request =
      connector::RenderTokenRequest(connector, account, credentials);
  if (!request.ok()) {
    findings.push_back(Error("credentials", place, std::string(request.status().message()),
                             "correct the connector file"));
    return std::nullopt;
  }
  const http::Completion completion = Call(*std::move(request));
  if (!JudgeAnswer(place, completion, findings)) {
    return std::nullopt;
  }
  connector::TokenAnswer answer =
      connector::InterpretToken(connector, completion, eventlog::SystemTime());
  if (answer.answer.answer != AnswerClass::kDone) {
    findings.push_back(JudgeCredential(place, answer.answer.answer, answer.answer.misconfigured,
                                       answer.answer.evidence));
    return std::nullopt;
  }
  if (answer.expires_in && *answer.expires_in <= connector.authentication.renew_before) {
    findings.push_back(Warning("credentials", place,
                               "a token lives no longer than it is renewed before its end",
                               "lower renew_before in the connector file"));
  }
  return std::move(answer.token);
}

void CheckTarget(const std::string& place, const v1::ConnectionConfig& connection,
                 const connector::Credentials& credentials, Findings& findings) {
  const absl::StatusOr<connector::Connector> connector = ConnectorOf(connection);
  if (!connector.ok()) {
    findings.push_back(Error("configuration", place, std::string(connector.status().message()),
                             "correct the connector file"));
    return;
  }
  const connector::Account account =
      connector->MakeAccount(connection.url(), connection.allow_insecure_loopback(),
                             std::map<std::string, std::string>(connection.settings().begin(),
                                                                connection.settings().end()));
  const std::optional<std::string> token =
      TokenOf(place, *connector, account, credentials, findings);
  if (!token) {
    return;
  }
  for (const auto& [name, object] : connector->objects) {
    if (!object.read) {
      continue;
    }
    absl::StatusOr<http::Request> request =
        connector::Render(*connector, account, &object, object.read->call, {.id = kNobody});
    const absl::Status authorised =
        request.ok() ? connector::Authorise(*connector, credentials, *token, *request)
                     : request.status();
    if (!authorised.ok()) {
      findings.push_back(Error("credentials", place, std::string(authorised.message()),
                               "correct the connector file"));
      return;
    }
    const http::Completion completion = Call(*std::move(request));
    if (JudgeAnswer(place, completion, findings)) {
      const connector::Interpreted answer =
          connector::Interpret(*connector, object.read->call, completion, eventlog::SystemTime());
      findings.push_back(
          JudgeCredential(place, answer.answer, answer.misconfigured, answer.evidence));
    }
    return;
  }
  findings.push_back(Good(
      "credentials", place,
      token->empty() ? "nothing of it can be read, so it was not tried" : "a token was given"));
}

void CheckConnection(const std::string& place, const v1::ConnectionConfig& connection,
                     Findings& findings) {
  connector::Credentials credentials;
  bool has_all = true;
  const std::map<std::string, v1::SecretReference> references(connection.credentials().begin(),
                                                              connection.credentials().end());
  for (const auto& [name, reference] : references) {
    absl::StatusOr<std::string> secret = config::ReadSecret(reference);
    if (!secret.ok()) {
      findings.push_back(Error("credentials", place, std::string(secret.status().message()),
                               "put the secret there, readable by its owner alone (chmod 600)"));
      has_all = false;
      continue;
    }
    const std::optional<WallTime> end = reference.expires().empty()
                                            ? control::EndOfToken(*secret)
                                            : ParseDateOrTime(reference.expires());
    std::optional<Finding> finding =
        end ? JudgeCredentialEnd(place, *end, eventlog::SystemTime()) : std::nullopt;
    if (finding) {
      findings.push_back(*std::move(finding));
    }
    credentials[name] = *std::move(secret);
  }
  std::string url = connection.url();
  if (url.empty()) {
    const absl::StatusOr<connector::Connector> connector = ConnectorOf(connection);
    url = connector.ok() ? connector->base_url : "";
  }
  const HostAndPort where = HostOf(url);
  Findings reached = CheckReachable("reachability", where.host, where.port);
  const bool is_there = reached.front().severity == Finding::Severity::kGood;
  for (Finding& finding : reached) {
    finding.place = place;
    finding.detail = where.host + ":" + where.port + " " + finding.detail;
    findings.push_back(std::move(finding));
  }
  if (!is_there || !has_all) {
    return;
  }
  if (connection.integration() == "chargify") {
    CheckSource(place, connection, credentials, findings);
  } else {
    CheckTarget(place, connection, credentials, findings);
  }
}

}  // namespace

Finding JudgeClock(const std::string& place, WallTime date, WallTime now) {
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(date > now ? date - now : now - date);
  const std::string detail = "its clock is " + std::to_string(seconds.count()) + " s " +
                             (date > now ? "ahead of" : "behind") + " this machine's";
  const std::string fix =
      "keep this machine's clock by NTP: `timedatectl set-ntp true`; if it is right, the other "
      "one is wrong";
  if (seconds > kSkewError) {
    return Error("clock", place, detail, fix);
  }
  return seconds > kSkewWarning ? Warning("clock", place, detail, fix)
                                : Good("clock", place, detail);
}

std::optional<Finding> JudgeCredentialEnd(const std::string& place, WallTime end, WallTime now) {
  if (end > now + control::kCredentialEndsSoon) {
    return std::nullopt;
  }
  const std::string fix =
      "make a new one there, put it where the configuration says, correct its `expires:`, and "
      "`tributary apply` it";
  if (end <= now) {
    return Error("credentials", place, "the credential ended " + FormatRfc3339(end), fix);
  }
  return Warning("credentials", place, "the credential ends " + FormatRfc3339(end), fix);
}

Findings CheckUrl(const std::string& place, const std::string& url, bool allow_insecure_loopback) {
  const HostAndPort where = HostOf(url);
  Findings findings = CheckReachable("reachability", where.host, where.port);
  if (findings.front().severity != Finding::Severity::kGood) {
    findings.front().place = place;
    return findings;
  }
  findings.clear();
  http::Request request;
  request.url = url + "/";
  request.allow_insecure_loopback = allow_insecure_loopback;
  if (JudgeAnswer(place, Call(std::move(request)), findings)) {
    findings.push_back(Good("reachability", place, url + " answers"));
  }
  return findings;
}

Findings CheckAccounts(const v1::ConfigFile& config) {
  Findings findings;
  for (const v1::TenantConfig& tenant : config.tenants()) {
    for (const v1::ConnectionConfig& connection : tenant.connections()) {
      CheckConnection(tenant.name() + "/" + connection.name(), connection, findings);
    }
  }
  return findings;
}

}  // namespace tributary::cli

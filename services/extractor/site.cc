#include <algorithm>
#include <chrono>

#include "absl/strings/escaping.h"

#include "libs/ids/keys.h"
#include "services/extractor/stage.h"

namespace tributary::extractor {
namespace {

using eventlog::Topic;

// Of what is no part of the mirror: it must not hold one of the site's four places for long.
constexpr Duration kEndpointsTimeout = std::chrono::seconds(10);
constexpr std::size_t kEndpointsBytesMax = 1 << 20;

Operation OperationOf(std::string_view path) {
  path = path.substr(0, path.find('?'));
  if (path == "/site.json") return Operation::kSite;
  if (path == "/customers.json") return Operation::kCustomers;
  if (path == "/subscriptions.json") return Operation::kSubscriptions;
  if (path == "/subscriptions_components.json") return Operation::kComponents;
  if (path == "/invoices.json") return Operation::kInvoices;
  if (path == "/events.json") return Operation::kEvents;
  if (path == "/endpoints.json") return Operation::kEndpoints;
  return Operation::kById;
}

}  // namespace

Site::Site(Extractor& extractor, Owned& owner, const v1::Connection& connection_settings,
           std::string tenant_name, budget::Budget& site_budget, const Options& options, Now now)
    : stage(extractor),
      owned(owner),
      settings(connection_settings),
      tenant(std::move(tenant_name)),
      key(Extractor::SiteKey(tenant, connection_settings.name())),
      base_url(BaseUrl(connection_settings)),
      origin("/chargify/" + tenant + "/" + connection_settings.name()),
      number(++extractor.sites_made_),
      budget(site_budget),
      connection(
          {.tenant = tenant, .name = connection_settings.name(), .generation = owner.generation},
          options, *owner.mirror, *this, now) {}

std::optional<ConnectionHost::Ticket> Site::TrySend(std::string_view path, Instant& retry_at) {
  const Now now = stage.now_;
  if (owned.is_revoking) return std::nullopt;
  if (!stage.owner_.ready(owned.partition)) {
    // Only for as long as the tables are behind (rule 9); nobody tells when they no longer are.
    retry_at = now.steady + std::chrono::milliseconds(200);
    return std::nullopt;
  }
  if (const Instant next = budget.NextSendAt(now, true); next > now.steady) {
    if (!waits_since) waits_since = now.steady;
    stage.budget_waiting_[&budget].insert(key);
    retry_at = next;
    return std::nullopt;
  }
  if (!stage.owner_.may_send(now, owned.partition)) {
    retry_at = now.steady + std::chrono::milliseconds(200);
    return std::nullopt;
  }
  const auto limit = static_cast<std::size_t>(stage.options_.requests_in_flight_total_max);
  if (!budget.MayOpen(now) || stage.requests_.size() >= limit) {
    stage.budget_waiting_[&budget].insert(key);
    retry_at = now.steady + std::chrono::seconds(1);
    return std::nullopt;
  }
  const Operation operation = OperationOf(path);
  Ticket ticket;
  ticket.id = stage.next_request_++;
  ticket.read = NextRead();
  owned.reads_in_flight.insert(ticket.read.number());
  if (waits_since) stage.counters_.quota.waited += now.steady - *waits_since;
  waits_since.reset();
  stage.StopWaiting(budget, key);
  stage.requests_.emplace(ticket.id, Extractor::Sent{.site = key,
                                                     .budget = &budget,
                                                     .ticket = budget.Sent(now),
                                                     .partition = owned.partition,
                                                     .read = ticket.read.number(),
                                                     .operation = operation});
  http::Request request;
  request.url = base_url + std::string(path);
  request.headers = {{"Authorization", authorization},
                     {"Accept", "application/json"},
                     {"User-Agent", "tributary"}};
  request.timeout = stage.options_.request_timeout;
  request.body_bytes_max = stage.options_.body_bytes_max;
  if (operation == Operation::kEndpoints) {
    request.timeout = std::min(request.timeout, kEndpointsTimeout);
    request.body_bytes_max = std::min(request.body_bytes_max, kEndpointsBytesMax);
  }
  request.allow_insecure_loopback = settings.allow_insecure_loopback();
  stage.ports_.http.Send(ticket.id, std::move(request));
  return ticket;
}

void Site::Cancel(http::RequestId id) { stage.ports_.http.Cancel(id); }

void Site::OnThrottled(Instant until) { budget.PauseUntil(until); }

v1::ReadSequence Site::NextRead() {
  v1::ReadSequence read;
  *read.mutable_reader() = owned.token;
  read.set_number(++owned.reads);
  return read;
}

std::int64_t Site::oldest_read_in_flight() const {
  return owned.reads_in_flight.empty() ? owned.reads + 1 : *owned.reads_in_flight.begin();
}

std::string Site::TraceParentOf(std::string_view id) {
  const std::string trace = ids::TraceId(id);
  return ids::TraceParent(trace, ids::RootSpanId(trace));
}

eventlog::ProduceId Site::WriteChange(std::string_view change_key, const v1::ChangeEvent& change) {
  const v1::ReadSequence& read = change.entity().read();
  const eventlog::ProduceId produced =
      stage.owner_.Write(Topic::kChanges, owned.partition, change_key, change.SerializeAsString(),
                         TraceParentOf(ids::ChangeId(change_key, read.reader().generation(),
                                                     read.reader().offset(), read.number())));
  if (produced != 0) {
    stage.writes_[produced] = {.site = number};
    ++stage.counters_.changes;
  }
  return produced;
}

eventlog::ProduceId Site::WriteCursor(std::string_view stream, const v1::Cursor& cursor) {
  const std::string cursor_key = ids::CursorKey(tenant, settings.name(), stream);
  std::string value;
  if (stream == Name(StreamKind::kEvents)) {
    v1::Cursor with_end = cursor;
    with_end.set_events_end(owned.events_end);
    value = with_end.SerializeAsString();
  } else {
    value = cursor.SerializeAsString();
  }
  return stage.owner_.Write(Topic::kCursors, owned.partition, cursor_key, std::move(value));
}

eventlog::ProduceId Site::AppendEvent(const v1::SourceEvent& event) {
  // One id for one event, however often it is read: readers take repeats for one.
  eventlog::RecordMeta meta;
  meta.id = ids::JoinKey({tenant, settings.name(), event.id()});
  meta.source = origin;
  meta.type = "tributary.event.v1";
  meta.traceparent = TraceParentOf(meta.id);
  const eventlog::ProduceId produced = stage.owner_.Append(
      Topic::kEvents, owned.partition, ids::EncodePart(tenant), event.SerializeAsString(), meta);
  if (produced != 0) {
    stage.writes_[produced] = {.site = number, .is_event = true};
    ++stage.counters_.events;
  }
  return produced;
}

std::optional<v1::Cursor> Site::ReadCursor(std::string_view stream) {
  const eventlog::Table* cursors = stage.owner_.table(Topic::kCursors, owned.partition);
  if (cursors == nullptr) return std::nullopt;
  const auto entry = cursors->Get(ids::CursorKey(tenant, settings.name(), stream));
  v1::Cursor cursor;
  if (!entry || !cursor.ParseFromString(entry->value)) return std::nullopt;
  if (entry->is_void) cursor.set_generation(0);
  return cursor;
}

void Site::AskCredential(std::int64_t refused_revision) {
  v1::FromService message;
  v1::CredentialRequest* request = message.mutable_credential_request();
  request->set_tenant(tenant);
  request->set_connection(settings.name());
  request->set_refused_revision(refused_revision);
  stage.ports_.control.Send(message);
}

std::uint64_t Site::Random() { return stage.ports_.random(); }

void Site::Warn(std::string_view message,
                std::vector<std::pair<std::string_view, std::string>> fields) {
  fields.emplace_back("tenant", tenant);
  stage.ports_.logger.Log(Logger::Level::kWarning, message, fields);
}

void Site::OnCredential(const v1::Credential& credential) {
  const auto field = credential.fields().find("api_key");
  const bool usable = credential.problem().empty() && field != credential.fields().end();
  std::string problem = credential.problem();
  if (!usable && problem.empty()) problem = "the credential has no api_key";
  credential_revision = credential.revision();
  if (usable) {
    std::string encoded;
    absl::Base64Escape(field->second + ":x", &encoded);
    authorization = "Basic " + encoded;
  }
  connection.OnCredential(std::move(problem), usable, credential.revision());
}

}  // namespace tributary::extractor

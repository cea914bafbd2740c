#include <algorithm>
#include <charconv>

#include "libs/ids/keys.h"
#include "services/extractor/entity_times.h"
#include "services/extractor/stage.h"

namespace tributary::extractor {
namespace {

using eventlog::Topic;

constexpr std::size_t kNearestMax = 5;
/// Shorter waits come and go.
constexpr Duration kShownWaitMin = std::chrono::seconds(5);

std::int64_t Distance(std::string_view a, std::string_view b) {
  std::int64_t left = 0;
  std::int64_t right = 0;
  const auto is_number = [](std::string_view text, std::int64_t& out) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    return error == std::errc() && end == text.data() + text.size();
  };
  if (is_number(a, left) && is_number(b, right) && left >= 0 && right >= 0) {
    return left < right ? right - left : left - right;
  }
  const std::size_t same = static_cast<std::size_t>(
      std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  return static_cast<std::int64_t>(a.size() - same) + 1'000'000'000;
}

}  // namespace

void Extractor::OnControl(Now now, const v1::ToService& message) {
  may_report_ = true;
  now_ = now;
  switch (message.kind_case()) {
    case v1::ToService::kCredential: {
      const v1::Credential& credential = message.credential();
      Site* site = FindSite(SiteKey(credential.tenant(), credential.connection()));
      if (site == nullptr) return;
      site->OnCredential(credential);
      Schedule(*site);
      return;
    }
    case v1::ToService::kTrace: {
      v1::FromService answer;
      answer.set_answer_to(message.id());
      *answer.mutable_trace() = Trace(message.trace());
      ports_.control.Send(answer);
      return;
    }
    case v1::ToService::kListParked: {
      // Nothing is ever parked here: what cannot be read is asked for again.
      v1::FromService answer;
      answer.set_answer_to(message.id());
      answer.mutable_parked();
      ports_.control.Send(answer);
      return;
    }
    case v1::ToService::kDecideParked: {
      v1::FromService answer;
      answer.set_answer_to(message.id());
      answer.mutable_decided()->set_problem("an extractor parks nothing");
      ports_.control.Send(answer);
      return;
    }
    // The loader's.
    case v1::ToService::kSweep:
    case v1::ToService::KIND_NOT_SET:
      return;
  }
}

void Extractor::SendOwnership() {
  v1::FromService message;
  v1::Ownership* ownership = message.mutable_ownership();
  for (const auto& [partition, owned] : owned_) ownership->add_partitions(partition);
  ports_.control.Send(message);
}

void Extractor::Report() {
  if (!said_hello_) {
    said_hello_ = true;
    v1::FromService hello;
    hello.mutable_hello()->set_service("extractor");
    hello.mutable_hello()->set_instance(options_.instance);
    ports_.control.Send(hello);
    SendOwnership();
  }
  v1::FromService message;
  v1::ServiceStatus* status = message.mutable_status();
  status->set_ready(owner_.all_ready());
  for (const auto& [key, site] : sites_) {
    const int first = status->connections_size();
    site->connection.AddStatus(*status);
    const std::optional<budget::Budget::Wait> wait = site->budget.WaitsFor(now_, true);
    if (!wait || wait->until - now_.steady < kShownWaitMin) continue;
    v1::ConnectionReport& report = *status->mutable_connections(first);
    report.set_waits_for(wait->what);
    SetTime(report.mutable_waits_until(), now_.wall + (wait->until - now_.steady));
  }
  for (const v1::ConnectionReport& report : status->connections()) {
    std::string& last = reported_[SiteKey(report.tenant(), report.connection())];
    const std::string now = report.problem() + "\n" + report.fix();
    if (last == now || (last.empty() && report.problem().empty())) continue;
    last = now;
    v1::FromService alone;
    *alone.mutable_connection_report() = report;
    ports_.control.Send(alone);
  }
  std::string bytes = message.SerializeAsString();
  if (bytes == last_status_) return;
  last_status_ = std::move(bytes);
  ports_.control.Send(message);
}

v1::TraceResponse Extractor::Trace(const v1::TraceRequest& request) {
  v1::TraceResponse response;
  const std::string kind = request.kind().empty() ? "customers" : request.kind();
  const tenants::TenantState* tenant = directory_.Find(request.tenant());
  if (tenant == nullptr) {
    response.set_problem("tenant " + request.tenant() + " is not served by this extractor");
    return response;
  }
  const eventlog::Table* changes = owner_.table(Topic::kChanges, tenant->partition);
  const Owned* owned = FindOwned(tenant->partition);
  if (changes == nullptr || owned == nullptr) return response;
  std::vector<std::pair<std::int64_t, std::string>> nearest;
  for (const v1::Connection& connection : tenant->snapshot.connections()) {
    if (!request.connection().empty() && connection.name() != request.connection()) continue;
    const std::string key = ids::ChangeKey(request.tenant(), connection.name(), kind, request.id());
    if (const auto entry = changes->Get(key)) {
      response.set_found(true);
      response.set_entity(key);
      v1::Version* version = response.add_versions();
      version->set_generation(owned->generation);
      version->set_offset(entry->offset);
      continue;
    }
    const std::string prefix = ids::ChangeKey(request.tenant(), connection.name(), kind, "");
    changes->Scan(prefix, {}, [&](std::string_view other, const eventlog::TableEntry&) {
      const std::optional<std::string> id = ids::DecodePart(other.substr(prefix.size()));
      if (!id) return true;
      nearest.emplace_back(Distance(request.id(), *id), *id);
      std::sort(nearest.begin(), nearest.end());
      if (nearest.size() > kNearestMax) nearest.pop_back();
      return true;
    });
  }
  if (response.found()) return response;
  for (const auto& [distance, id] : nearest) response.add_nearest(id);
  return response;
}

}  // namespace tributary::extractor

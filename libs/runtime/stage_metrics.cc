#include "libs/runtime/stage_metrics.h"

#include <algorithm>
#include <cstdlib>

#include "libs/eventlog/clock.h"
#include "tributary/v1/control.pb.h"

namespace tributary::runtime {
namespace {

using eventlog::Topic;

std::string CodeClass(const http::Completion& completion) {
  switch (completion.delivery) {
    case http::Delivery::kNotSent:
      return "not_sent";
    case http::Delivery::kBroken:
      return "broken";
    case http::Delivery::kComplete:
      break;
  }
  if (completion.status == 429) return "429";
  return std::to_string(completion.status / 100) + "xx";
}

}  // namespace

StageMetrics::StageMetrics(observe::Metrics& metrics, const std::string& service,
                           int tenants_labelled_max)
    : produce_queue(metrics, service, "produce_bytes"),
      http_queue(metrics, service, "http_requests"),
      metrics_(metrics),
      service_(service),
      tenants_labelled_max_(tenants_labelled_max) {
  const observe::Labels stage = {{"stage", service}};
  for (const Topic topic : eventlog::kAllTopics) {
    const observe::Labels labels = {{"stage", service}, {"topic", std::string(Name(topic))}};
    records_in_[topic] =
        metrics.AddCounter("tributary_records_in_total", "Records read, own ones too.", labels);
    records_out_[topic] =
        metrics.AddCounter("tributary_records_out_total", "Records given to the log.", labels);
    lag_[topic] = metrics.AddGauge("tributary_consumer_lag",
                                   "Offsets between where reading stands and the end.", labels);
    last_record_[topic] =
        metrics.AddGauge("tributary_last_record_timestamp_seconds",
                         "When the log took the newest record read, since 1970.", labels);
  }
  requests_in_flight_ =
      metrics.AddGauge("tributary_http_client_requests_in_flight",
                       "Requests to sources and targets, queued ones too.", stage);
  produce_errors_ =
      metrics.AddCounter("tributary_producer_errors_total",
                         "Records that the log did not take; each restarts the stage.", stage);
  assigned_partitions_ =
      metrics.AddGauge("tributary_assigned_partitions", "Partitions held now.", stage);
  for (const char* kind : {"assigned", "revoked", "lost"}) {
    rebalances_[kind] = metrics.AddCounter("tributary_rebalances_total", "Changes of ownership.",
                                           {{"stage", service}, {"kind", kind}});
  }
  restarts = metrics.AddCounter("tributary_stage_restarts_total",
                                "Times that the stage was discarded and begun anew.", stage);
}

void StageMetrics::OnFact(const eventlog::Fact& fact) {
  if (const auto* fetched = std::get_if<eventlog::Fetched>(&fact)) {
    for (const eventlog::Record& record : fetched->records) {
      Flow& flow = FlowOf(record.topic);
      ++flow.in;
      flow.last_appended_at = record.appended_at;
    }
    return;
  }
  if (const auto* produced = std::get_if<eventlog::Produced>(&fact)) {
    if (!produced->error.empty()) produce_errors_.Increment();
    return;
  }
  if (const auto* given = std::get_if<eventlog::Assigned>(&fact)) {
    assigned_.insert(given->partitions.begin(), given->partitions.end());
    rebalances_.at("assigned").Increment();
  } else if (const auto* revoking = std::get_if<eventlog::Revoking>(&fact)) {
    for (const auto partition : revoking->partitions) assigned_.erase(partition);
    rebalances_.at("revoked").Increment();
  } else if (const auto* lost = std::get_if<eventlog::Lost>(&fact)) {
    for (const auto partition : lost->partitions) assigned_.erase(partition);
    rebalances_.at("lost").Increment();
  } else {
    return;
  }
  assigned_partitions_.Set(static_cast<double>(assigned_.size()));
}

void StageMetrics::OnTurn() {
  for (const Topic topic : eventlog::kAllTopics) {
    Flow& flow = FlowOf(topic);
    if (flow.in > 0) {
      records_in_.at(topic).Increment(static_cast<double>(flow.in));
      last_record_.at(topic).Set(
          static_cast<double>(flow.last_appended_at.time_since_epoch().count()) * 1e-6);
    }
    if (flow.out > 0) records_out_.at(topic).Increment(static_cast<double>(flow.out));
    flow = Flow();
  }
}

void StageMetrics::OnFetchBuffer(const eventlog::LogMember::FetchBuffer& buffer) {
  if (buffer.records_max == 0) return;
  if (!fetch_queue_) fetch_queue_.emplace(metrics_, service_, "fetched_records");
  fetch_queue_->Set(buffer.records, buffer.records_max);
}

void StageMetrics::OnLags(const std::vector<eventlog::LogMember::Lag>& lags) {
  std::map<Topic, std::int64_t> sums;
  for (const auto& lag : lags) sums[lag.topic] += lag.offsets;
  for (auto& [topic, gauge] : lag_) {
    const auto found = sums.find(topic);
    gauge.Set(found == sums.end() ? 0 : static_cast<double>(found->second));
  }
}

void StageMetrics::OnMessage(const v1::FromService& message) {
  if (!message.has_status()) return;
  // The loader knows what became of commands, the extractor what sites say; the others report other
  // things.
  if (service_ == "loader") OnSyncs(message.status());
  if (service_ == "extractor") OnWebhookEndpoints(message.status());
}

void StageMetrics::OnSyncs(const v1::ServiceStatus& status) {
  struct Sums {
    double pending = 0;
    double retrying = 0;
    double parked = 0;
    double freshness = 0;
  };
  std::map<std::pair<std::string, std::string>, Sums> by_sync;
  std::set<std::string> tenants;
  Sums all;
  for (const v1::SyncStatus& sync : status.syncs()) {
    tenants.insert(sync.tenant());
    const double freshness = std::strtod(sync.freshness_seconds().c_str(), nullptr);
    for (Sums* const sums : {&by_sync[{sync.tenant(), sync.sync()}], &all}) {
      sums->pending += static_cast<double>(sync.pending());
      sums->retrying += static_cast<double>(sync.retrying());
      sums->parked += static_cast<double>(sync.parked());
      sums->freshness = std::max(sums->freshness, freshness);
    }
  }
  if (tenants.size() > static_cast<std::size_t>(tenants_labelled_max_)) by_sync = {{{}, all}};

  const auto labels = [](const std::pair<std::string, std::string>& sync) {
    return sync.first.empty() ? observe::Labels{}
                              : observe::Labels{{"tenant", sync.first}, {"sync", sync.second}};
  };
  static constexpr const char* kNames[] = {"tributary_pending", "tributary_retrying",
                                           "tributary_parked", "tributary_freshness_seconds"};
  std::set<std::pair<std::string, std::string>> shown;
  for (const auto& [sync, sums] : by_sync) {
    shown.insert(sync);
    metrics_.AddGauge(kNames[0], "Records whose newest version waits.", labels(sync))
        .Set(sums.pending);
    metrics_.AddGauge(kNames[1], "Records that wait for time.", labels(sync)).Set(sums.retrying);
    metrics_.AddGauge(kNames[2], "Records that wait for a person.", labels(sync)).Set(sums.parked);
    metrics_
        .AddGauge(kNames[3], "Age of the oldest change that is not at its target.", labels(sync))
        .Set(sums.freshness);
  }
  for (const auto& sync : syncs_) {
    if (shown.count(sync) != 0) continue;
    for (const char* name : kNames) metrics_.RemoveGauge(name, labels(sync));
  }
  syncs_ = std::move(shown);
}

void StageMetrics::OnWebhookEndpoints(const v1::ServiceStatus& status) {
  static constexpr const char* kName = "tributary_webhook_endpoints";
  static constexpr std::array<const char*, 4> kStatuses = {"enabled", "paused", "disabled",
                                                           "other"};
  using Counts = std::array<std::int64_t, kStatuses.size()>;
  std::map<std::pair<std::string, std::string>, Counts> by_connection;
  std::set<std::string> tenants;
  Counts all{};
  for (const v1::ConnectionReport& report : status.connections()) {
    if (!report.has_webhook_endpoints()) continue;
    tenants.insert(report.tenant());
    const v1::WebhookEndpoints& said = report.webhook_endpoints();
    const Counts counts = {said.enabled(), said.paused(), said.disabled(), said.other()};
    by_connection[{report.tenant(), report.connection()}] = counts;
    for (std::size_t i = 0; i < all.size(); ++i) all[i] += counts[i];
  }
  if (tenants.size() > static_cast<std::size_t>(tenants_labelled_max_)) {
    by_connection = {{{}, all}};
  }

  const auto labels = [](const std::pair<std::string, std::string>& connection,
                         const char* endpoint_status) {
    observe::Labels all_labels = {{"status", endpoint_status}};
    if (!connection.first.empty()) {
      all_labels["tenant"] = connection.first;
      all_labels["connection"] = connection.second;
    }
    return all_labels;
  };
  std::set<std::pair<std::string, std::string>> shown;
  for (const auto& [connection, counts] : by_connection) {
    shown.insert(connection);
    for (std::size_t i = 0; i < counts.size(); ++i) {
      metrics_
          .AddGauge(kName, "Webhook endpoints of a site, other programs', by what the site says.",
                    labels(connection, kStatuses[i]))
          .Set(static_cast<double>(counts[i]));
    }
  }
  for (const auto& connection : connections_) {
    if (shown.contains(connection)) continue;
    for (const char* endpoint_status : kStatuses) {
      metrics_.RemoveGauge(kName, labels(connection, endpoint_status));
    }
  }
  connections_ = std::move(shown);
}

void StageMetrics::OnProduce(Topic topic) { ++FlowOf(topic).out; }

void StageMetrics::OnSend() { requests_in_flight_.Set(++in_flight_); }

void StageMetrics::OnCompletion(const http::Completion& completion, const std::string& method) {
  requests_in_flight_.Set(--in_flight_);
  const std::string code = CodeClass(completion);
  auto counter = requests_.find({method, code});
  if (counter == requests_.end()) {
    counter = requests_
                  .emplace(std::pair(method, code),
                           metrics_.AddCounter(
                               "tributary_http_client_requests_total",
                               "Requests to sources and targets, by what is known of the answer.",
                               {{"stage", service_}, {"method", method}, {"code_class", code}}))
                  .first;
  }
  counter->second.Increment();
  auto histogram = request_seconds_.find(method);
  if (histogram == request_seconds_.end()) {
    histogram =
        request_seconds_
            .emplace(method, metrics_.AddHistogram("tributary_http_client_request_duration_seconds",
                                                   "From connect to the last byte.",
                                                   observe::DurationBuckets(),
                                                   {{"stage", service_}, {"method", method}}))
            .first;
  }
  histogram->second.Observe(static_cast<double>(completion.elapsed.count()) * 1e-6);
}

void StageMetrics::OnEndOfLife() {
  assigned_.clear();
  assigned_partitions_.Set(0);
  in_flight_ = 0;
  requests_in_flight_.Set(0);
}

void MeasuredHttp::Send(http::RequestId id, http::Request request) {
  metrics_.OnSend();
  methods_[id] = request.method;
  http_.Send(id, std::move(request));
}

void MeasuredHttp::Cancel(http::RequestId id) { http_.Cancel(id); }

void MeasuredHttp::OnCompletion(const http::Completion& completion) {
  const auto found = methods_.find(completion.id);
  if (found == methods_.end()) return;
  metrics_.OnCompletion(completion, found->second);
  methods_.erase(found);
}

void MeasuredLog::Produce(eventlog::ProduceId id, eventlog::Topic topic,
                          eventlog::Partition partition, std::string key,
                          std::optional<std::string> value, eventlog::Headers headers) {
  metrics_.OnProduce(topic);
  if (spans_ != nullptr) {
    spans_->OnProduce(id, topic, partition, key, value ? &*value : nullptr, headers,
                      eventlog::SystemTime());
  }
  log_.Produce(id, topic, partition, std::move(key), std::move(value), std::move(headers));
}

}  // namespace tributary::runtime

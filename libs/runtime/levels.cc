#include "libs/runtime/levels.h"

namespace tributary::runtime {

QueueMetrics::QueueMetrics(observe::Metrics& metrics, const std::string& stage,
                           const std::string& queue)
    : depth_(metrics.AddGauge("tributary_queue_depth", "How much waits in a bounded queue.",
                              {{"stage", stage}, {"queue", queue}})),
      capacity_(metrics.AddGauge("tributary_queue_capacity",
                                 "How much may wait before what fills the queue is held back.",
                                 {{"stage", stage}, {"queue", queue}})) {}

void QueueMetrics::Set(std::int64_t depth, std::int64_t capacity) const {
  depth_.Set(static_cast<double>(depth));
  capacity_.Set(static_cast<double>(capacity));
}

StandingMetrics::StandingMetrics(observe::Metrics& metrics, const std::string& stage)
    : ready_partitions_(metrics.AddGauge("tributary_ready_partitions",
                                         "Partitions whose tables stand at their sampled ends.",
                                         {{"stage", stage}})),
      lease_left_(metrics.AddGauge("tributary_lease_left_seconds",
                                   "Until the lease ends unless it is renewed; 0: none is held.",
                                   {{"stage", stage}})) {}

void StandingMetrics::Set(const eventlog::Owner::Standing& standing) const {
  ready_partitions_.Set(static_cast<double>(standing.ready_partitions));
  lease_left_.Set(static_cast<double>(standing.lease_left.count()) * 1e-6);
}

QuotaMetrics::QuotaMetrics(observe::Metrics& metrics, const std::string& integration)
    : used_(metrics.AddGauge("tributary_quota_used_ratio",
                             "Of what a quota's window allows; of the one that is used most.",
                             {{"integration", integration}})),
      refused_(metrics.AddCounter("tributary_quota_refusals_total",
                                  "Requests that a server refused for too much use.",
                                  {{"integration", integration}})),
      waited_(metrics.AddCounter("tributary_quota_wait_seconds_total",
                                 "For how long something waited for a quota alone.",
                                 {{"integration", integration}})) {
  for (std::size_t i = 0; i < budget::kReasons; ++i) {
    ceiling_[i] = metrics.AddGauge(
        "tributary_quota_ceiling", "Requests a second that quotas allow, by where that is from.",
        {{"integration", integration},
         {"reason", std::string(budget::Name(static_cast<budget::Reason>(i)))}});
  }
}

void QuotaMetrics::Show(const budget::Usage& usage) {
  for (std::size_t i = 0; i < budget::kReasons; ++i) ceiling_[i].Set(usage.ceiling[i]);
  used_.Set(usage.used_share);
  refused_.Follow(usage.refused);
  if (usage.waited > waited_seen_) {
    waited_.Increment(static_cast<double>((usage.waited - waited_seen_).count()) * 1e-6);
  }
  waited_seen_ = usage.waited;
}

observe::Counter AddExpiredUnread(observe::Metrics& metrics, const std::string& stage,
                                  eventlog::Topic topic) {
  return metrics.AddCounter(
      "tributary_expired_unread_total",
      "Records of a stream that expired before they were read; their source is read again.",
      {{"stage", stage}, {"topic", std::string(eventlog::Name(topic))}});
}

SetAsideMetrics::SetAsideMetrics(observe::Metrics& metrics, const std::string& stage) {
  for (const eventlog::Topic topic : eventlog::kAllTopics) {
    counters_[static_cast<std::size_t>(topic)] = observe::FollowedCounter(
        metrics.AddCounter("tributary_set_aside_total", "Records that could not be decoded.",
                           {{"stage", stage}, {"topic", std::string(eventlog::Name(topic))}}));
  }
}

void SetAsideMetrics::Follow(const std::array<std::int64_t, eventlog::kAllTopics.size()>& totals) {
  for (std::size_t i = 0; i < totals.size(); ++i) counters_[i].Follow(totals[i]);
}

}  // namespace tributary::runtime

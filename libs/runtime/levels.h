#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "libs/eventlog/log.h"
#include "libs/eventlog/owner.h"
#include "libs/observe/metrics.h"

// Metrics that every stage has, for the exporters of the services.

namespace tributary::runtime {

/// How full something bounded is.
class QueueMetrics {
 public:
  QueueMetrics(observe::Metrics& metrics, const std::string& stage, const std::string& queue);
  void Set(std::int64_t depth, std::int64_t capacity) const;

 private:
  observe::Gauge depth_;
  observe::Gauge capacity_;
};

class StandingMetrics {
 public:
  StandingMetrics(observe::Metrics& metrics, const std::string& stage);
  void Set(const eventlog::Owner::Standing& standing) const;

 private:
  observe::Gauge ready_partitions_;
  observe::Gauge lease_left_;
};

/// `tributary_set_aside_total`; `totals` are by eventlog::Topic.
class SetAsideMetrics {
 public:
  SetAsideMetrics(observe::Metrics& metrics, const std::string& stage);
  void Follow(const std::array<std::int64_t, eventlog::kAllTopics.size()>& totals);

 private:
  std::array<observe::FollowedCounter, eventlog::kAllTopics.size()> counters_;
};

}  // namespace tributary::runtime

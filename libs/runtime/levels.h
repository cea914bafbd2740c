#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "libs/budget/budget.h"
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

/// What the budgets of one integration allow, and what became of it.
class QuotaMetrics {
 public:
  QuotaMetrics(observe::Metrics& metrics, const std::string& integration);
  void Show(const budget::Usage& usage);

 private:
  std::array<observe::Gauge, budget::kReasons> ceiling_;
  observe::Gauge used_;
  observe::FollowedCounter refused_;
  observe::Counter waited_;
  Duration waited_seen_{};
};

/// `tributary_expired_unread_total` of a stream.
observe::Counter AddExpiredUnread(observe::Metrics& metrics, const std::string& stage,
                                  eventlog::Topic topic);

/// `tributary_set_aside_total`; `totals` are by eventlog::Topic.
class SetAsideMetrics {
 public:
  SetAsideMetrics(observe::Metrics& metrics, const std::string& stage);
  void Follow(const std::array<std::int64_t, eventlog::kAllTopics.size()>& totals);

 private:
  std::array<observe::FollowedCounter, eventlog::kAllTopics.size()> counters_;
};

}  // namespace tributary::runtime

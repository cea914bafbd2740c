#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// What a process counts, and its text for Prometheus. Resolve a metric once and keep it: adding one
// takes a lock, counting does not.

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace tributary::observe {

using Labels = std::map<std::string, std::string>;

/// Values that outlive no Metrics. From any thread. A default one counts nothing.
class Counter {
 public:
  Counter() = default;
  explicit Counter(prometheus::Counter* impl) : impl_(impl) {}
  void Increment(double by = 1) const;
  double value() const;

 private:
  prometheus::Counter* impl_ = nullptr;
};

/// Shows a total that is counted elsewhere, from 0 on and without a lock.
class FollowedCounter {
 public:
  FollowedCounter() = default;
  explicit FollowedCounter(Counter counter) : counter_(counter) {}
  void Follow(std::int64_t total) {
    if (total > seen_) counter_.Increment(static_cast<double>(total - seen_));
    seen_ = total;
  }

 private:
  Counter counter_;
  std::int64_t seen_ = 0;
};

class Gauge {
 public:
  Gauge() = default;
  explicit Gauge(prometheus::Gauge* impl) : impl_(impl) {}
  void Set(double value) const;
  double value() const;

 private:
  prometheus::Gauge* impl_ = nullptr;
};

class Histogram {
 public:
  Histogram() = default;
  explicit Histogram(prometheus::Histogram* impl) : impl_(impl) {}
  void Observe(double value) const;

 private:
  prometheus::Histogram* impl_ = nullptr;
};

/// Seconds that a request or a step takes.
std::vector<double> DurationBuckets();
/// Seconds between a change at its source and at its target.
std::vector<double> FreshnessBuckets();

/// Names begin with `tributary_`; counters end in `_total`; units are seconds, bytes or ratios. A
/// name or label that breaks this, or the label `le`, ends the program: they are constants.
class Metrics {
 public:
  Metrics();
  ~Metrics();

  /// The same again gives the same metric.
  Counter AddCounter(const std::string& name, const std::string& help, const Labels& labels = {});
  Gauge AddGauge(const std::string& name, const std::string& help, const Labels& labels = {});
  Histogram AddHistogram(const std::string& name, const std::string& help,
                         const std::vector<double>& buckets, const Labels& labels = {});
  /// Its series is no longer shown; what was resolved to it must not be used again.
  void RemoveGauge(const std::string& name, const Labels& labels);

  /// Text exposition format 0.0.4, with the `process_*` metrics of this process.
  std::string Exposition() const;
  static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

  /// Names of everything that was added, with type and help, sorted; for tests and documentation.
  struct Description {
    std::string name;
    std::string type;
    std::string help;
  };
  std::vector<Description> descriptions() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tributary::observe

#include "libs/observe/metrics.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <mutex>

#include <dirent.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <sys/resource.h>
#include <unistd.h>

namespace tributary::observe {
namespace {

[[noreturn]] void Refuse(const std::string& name, const char* why) {
  std::fprintf(stderr, "metric %s: %s\n", name.c_str(), why);
  std::abort();
}

void CheckName(const std::string& name, const Labels& labels, bool is_counter) {
  if (name.rfind("tributary_", 0) != 0) Refuse(name, "must begin with tributary_");
  const bool is_total = name.size() > 6 && name.compare(name.size() - 6, 6, "_total") == 0;
  if (is_counter != is_total) Refuse(name, "counters, and nothing else, end in _total");
  if (labels.count("le") != 0) Refuse(name, "the label le belongs to histograms");
}

std::string Number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char text[64];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value);
  return std::string(text, end);
}

void AppendEscaped(std::string& out, std::string_view text, bool quotes) {
  for (const char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && quotes) {
      out += "\\\"";
    } else {
      out += c;
    }
  }
}

void AppendSample(std::string& out, const std::string& name,
                  const std::vector<prometheus::ClientMetric::Label>& labels,
                  std::string_view bound, double value) {
  out += name;
  if (!labels.empty() || !bound.empty()) {
    char separator = '{';
    for (const auto& label : labels) {
      out += separator;
      out += label.name + "=\"";
      AppendEscaped(out, label.value, true);
      out += '"';
      separator = ',';
    }
    if (!bound.empty()) {
      out += separator;
      out += "le=\"";
      out += bound;
      out += '"';
    }
    out += '}';
  }
  out += ' ';
  out += Number(value);
  out += '\n';
}

void AppendHead(std::string& out, const std::string& name, std::string_view help,
                std::string_view type) {
  out += "# HELP " + name + " ";
  AppendEscaped(out, help, false);
  out += "\n# TYPE " + name + " ";
  out += type;
  out += '\n';
}

std::string_view TypeName(prometheus::MetricType type) {
  switch (type) {
    case prometheus::MetricType::Counter:
      return "counter";
    case prometheus::MetricType::Gauge:
      return "gauge";
    case prometheus::MetricType::Histogram:
      return "histogram";
    default:
      return "untyped";
  }
}

void AppendFamily(std::string& out, const prometheus::MetricFamily& family) {
  AppendHead(out, family.name, family.help, TypeName(family.type));
  for (const auto& metric : family.metric) {
    switch (family.type) {
      case prometheus::MetricType::Counter:
        AppendSample(out, family.name, metric.label, "", metric.counter.value);
        break;
      case prometheus::MetricType::Gauge:
        AppendSample(out, family.name, metric.label, "", metric.gauge.value);
        break;
      case prometheus::MetricType::Histogram:
        for (const auto& bucket : metric.histogram.bucket) {
          AppendSample(out, family.name + "_bucket", metric.label, Number(bucket.upper_bound),
                       static_cast<double>(bucket.cumulative_count));
        }
        AppendSample(out, family.name + "_sum", metric.label, "", metric.histogram.sample_sum);
        AppendSample(out, family.name + "_count", metric.label, "",
                     static_cast<double>(metric.histogram.sample_count));
        break;
      default:
        break;
    }
  }
}

void AppendOne(std::string& out, const char* name, const char* help, const char* type,
               double value) {
  AppendHead(out, name, help, type);
  AppendSample(out, name, {}, "", value);
}

double OpenDescriptors() {
  DIR* const directory = opendir("/proc/self/fd");
  if (directory == nullptr) return 0;
  int count = 0;
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  // `.`, `..` and the directory itself.
  return count - 3;
}

/// Start of this process since 1970, from the boot time and its age in clock ticks.
double StartTime() {
  std::ifstream stat("/proc/self/stat");
  const std::string text((std::istreambuf_iterator<char>(stat)), {});
  std::size_t at = text.rfind(')');
  // The 22nd field; the name in brackets, which may hold blanks, is the 2nd.
  for (int field = 2; field < 22 && at != std::string::npos; ++field) at = text.find(' ', at + 1);
  if (at == std::string::npos) return 0;
  const double ticks = std::strtod(text.c_str() + at, nullptr);
  std::ifstream boot("/proc/stat");
  std::string word;
  while (boot >> word) {
    if (word != "btime") continue;
    double since = 0;
    boot >> since;
    return since + ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
  }
  return 0;
}

void AppendProcess(std::string& out) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  double virtual_pages = 0;
  double resident_pages = 0;
  std::ifstream("/proc/self/statm") >> virtual_pages >> resident_pages;
  const auto page = static_cast<double>(sysconf(_SC_PAGESIZE));
  rlimit descriptors{};
  getrlimit(RLIMIT_NOFILE, &descriptors);
  static const double start_time = StartTime();
  AppendOne(out, "process_cpu_seconds_total", "User and system CPU time.", "counter",
            seconds(usage.ru_utime) + seconds(usage.ru_stime));
  AppendOne(out, "process_max_fds", "Descriptors that may be open.", "gauge",
            static_cast<double>(descriptors.rlim_cur));
  AppendOne(out, "process_open_fds", "Descriptors that are open.", "gauge", OpenDescriptors());
  AppendOne(out, "process_resident_memory_bytes", "Resident memory.", "gauge",
            resident_pages * page);
  AppendOne(out, "process_start_time_seconds", "When the process began, since 1970.", "gauge",
            start_time);
  AppendOne(out, "process_virtual_memory_bytes", "Virtual memory.", "gauge", virtual_pages * page);
}

}  // namespace

void Counter::Increment(double by) const {
  if (impl_ != nullptr) impl_->Increment(by);
}
double Counter::value() const { return impl_ == nullptr ? 0 : impl_->Value(); }
void Gauge::Set(double value) const {
  if (impl_ != nullptr) impl_->Set(value);
}
double Gauge::value() const { return impl_ == nullptr ? 0 : impl_->Value(); }
void Histogram::Observe(double value) const {
  if (impl_ != nullptr) impl_->Observe(value);
}

std::vector<double> DurationBuckets() {
  return {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
}
std::vector<double> FreshnessBuckets() { return {0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600}; }

struct Metrics::State {
  prometheus::Registry registry;
  // Families by name; a registry only ever adds them.
  std::mutex mutex;
  std::map<std::string, prometheus::Family<prometheus::Counter>*> counters;
  std::map<std::string, prometheus::Family<prometheus::Gauge>*> gauges;
  std::map<std::string, prometheus::Family<prometheus::Histogram>*> histograms;
  std::map<std::pair<std::string, Labels>, prometheus::Gauge*> gauge_of;
};

Metrics::Metrics() : state_(std::make_unique<State>()) {}
Metrics::~Metrics() = default;

Counter Metrics::AddCounter(const std::string& name, const std::string& help,
                            const Labels& labels) {
  CheckName(name, labels, true);
  const std::lock_guard lock(state_->mutex);
  auto*& family = state_->counters[name];
  if (family == nullptr) {
    family = &prometheus::BuildCounter().Name(name).Help(help).Register(state_->registry);
  }
  return Counter(&family->Add(labels));
}

Gauge Metrics::AddGauge(const std::string& name, const std::string& help, const Labels& labels) {
  CheckName(name, labels, false);
  const std::lock_guard lock(state_->mutex);
  auto*& family = state_->gauges[name];
  if (family == nullptr) {
    family = &prometheus::BuildGauge().Name(name).Help(help).Register(state_->registry);
  }
  auto*& gauge = state_->gauge_of[{name, labels}];
  if (gauge == nullptr) gauge = &family->Add(labels);
  return Gauge(gauge);
}

Histogram Metrics::AddHistogram(const std::string& name, const std::string& help,
                                const std::vector<double>& buckets, const Labels& labels) {
  CheckName(name, labels, false);
  const std::lock_guard lock(state_->mutex);
  auto*& family = state_->histograms[name];
  if (family == nullptr) {
    family = &prometheus::BuildHistogram().Name(name).Help(help).Register(state_->registry);
  }
  return Histogram(&family->Add(labels, buckets));
}

void Metrics::RemoveGauge(const std::string& name, const Labels& labels) {
  const std::lock_guard lock(state_->mutex);
  const auto found = state_->gauge_of.find({name, labels});
  if (found == state_->gauge_of.end()) return;
  state_->gauges.at(name)->Remove(found->second);
  state_->gauge_of.erase(found);
}

std::string Metrics::Exposition() const {
  std::string out;
  {
    // Against a removal while the registry collects.
    const std::lock_guard lock(state_->mutex);
    auto families = state_->registry.Collect();
    std::sort(families.begin(), families.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
    for (const auto& family : families) {
      if (!family.metric.empty()) AppendFamily(out, family);
    }
  }
  AppendProcess(out);
  return out;
}

std::vector<Metrics::Description> Metrics::descriptions() const {
  std::vector<Description> result;
  for (const auto& family : state_->registry.Collect()) {
    result.push_back({family.name, std::string(TypeName(family.type)), family.help});
  }
  std::sort(result.begin(), result.end(),
            [](const Description& a, const Description& b) { return a.name < b.name; });
  return result;
}

}  // namespace tributary::observe

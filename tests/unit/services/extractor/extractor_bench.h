#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "libs/eventlog/local_store.h"
#include "libs/eventlog/testing/simulated_log.h"
#include "libs/eventlog/testing/virtual_time.h"
#include "libs/stage/stage.h"
#include "services/extractor/options.h"
#include "tributary/v1/changes.pb.h"
#include "tributary/v1/control.pb.h"

// An extractor on a simulated log, on virtual time, in front of whatever answers as the site.

namespace tributary::extractor::testing {

/// What the wire does with one request.
struct SiteAnswer {
  http::Delivery delivery = http::Delivery::kComplete;
  int status = 200;
  http::Headers headers;
  std::string body;
  Duration delay = std::chrono::milliseconds(5);
};
/// Asked in the moment in which a request reaches the site.
using SiteHandler = std::function<SiteAnswer(WallTime now, const http::Request& request)>;

/// Path and query of a URL.
std::string TargetOf(std::string_view url);
/// `Date` of an answer.
http::Headers DateHeader(WallTime time);

/// What the topics say at the end, by nobody's account but theirs.
struct Topics {
  std::map<std::string, v1::ChangeEvent> changes;
  /// Every valid entry, oldest first.
  std::vector<std::pair<std::string, v1::ChangeEvent>> history;
  std::map<std::string, v1::Cursor> cursors;
  std::map<std::string, v1::SourceEvent> events;
  std::vector<v1::SourceEvent> events_history;
};

class ExtractorBench {
 public:
  struct Setup {
    Options options;
    std::string url = "http://127.0.0.1:1";
    std::map<std::string, std::string> settings;
    std::string api_key = "key";
    /// To the one site: `billing`, `billing-2`, …
    int connections = 1;
    std::uint64_t seed = 1;
  };
  ExtractorBench(Setup setup, SiteHandler site);
  ~ExtractorBench();

  /// A process starts: it joins, is assigned everything, and is driven by the virtual time.
  void Start();
  /// kill -9.
  void Kill();
  void RunFor(Duration duration) { time_.RunFor(duration); }
  /// Runs until `condition`, looking every 100 ms. False: not within `limit`.
  bool RunUntil(const std::function<bool()>& condition, Duration limit);
  /// Every stream that is offered says settled.
  bool RunUntilSettled(Duration limit);

  WallTime wall() const { return time_.now().wall; }
  Instant steady() const { return time_.now().steady; }
  Topics Read() const;
  const v1::ServiceStatus& status() const { return status_; }
  const v1::StreamStatus* Stream(std::string_view name) const;
  const std::vector<std::string>& log_lines() const { return log_lines_; }
  const std::vector<std::string>& requests() const { return request_log_; }
  /// When each was sent, beside requests().
  const std::vector<Instant>& request_times() const { return request_times_; }
  int in_flight_max() const { return in_flight_max_; }
  void ResetInFlightMax() { in_flight_max_ = 0; }
  Stage& stage() { return *stage_; }
  eventlog::testing::SimulatedLog& log() { return log_; }
  void SetApiKey(std::string key, std::int64_t revision);
  /// What control has been told besides status.
  const std::vector<v1::FromService>& to_control() const { return to_control_; }
  /// Acknowledgements of the log take so long.
  void SlowLog(Duration delay) { log_delay_ = delay; }
  void PublishTenant(bool linked);

  static constexpr std::string_view kTenant = "acme";
  static constexpr std::string_view kConnection = "billing";

 private:
  struct Http;
  struct Control;
  struct Lines;

  void Drive();
  void Wake();
  void SendCredentials();
  std::string ConnectionName(int number) const;

  const Setup setup_;
  const SiteHandler site_;
  eventlog::testing::VirtualTime time_;
  eventlog::testing::SimulatedLog log_;
  eventlog::testing::SeededRandom random_;
  std::unique_ptr<eventlog::LocalStores> stores_;
  std::unique_ptr<eventlog::testing::SimulatedMember> member_;
  std::unique_ptr<Http> http_;
  std::unique_ptr<Control> control_;
  std::unique_ptr<Lines> logger_;
  std::unique_ptr<Stage> stage_;
  std::uint64_t incarnation_ = 0;
  bool wake_pending_ = false;
  std::string api_key_;
  std::int64_t key_revision_ = 1;
  v1::ServiceStatus status_;
  std::vector<v1::FromService> to_control_;
  std::vector<std::string> log_lines_;
  std::vector<std::string> request_log_;
  std::vector<Instant> request_times_;
  int in_flight_ = 0;
  int in_flight_max_ = 0;
  Duration log_delay_{};
  Instant next_wake_ = Instant::max();
};

}  // namespace tributary::extractor::testing

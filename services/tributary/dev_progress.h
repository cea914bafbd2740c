#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "libs/time/time.h"
#include "tributary/v1/control.pb.h"

// What `tributary dev` makes of a status: how far everything is, whether it has settled, and the
// one line that says so. No I/O.

namespace tributary::dev {

struct Totals {
  std::int64_t applied = 0;
  std::int64_t noop = 0;
  std::int64_t superseded = 0;
  std::int64_t dropped = 0;
  std::int64_t parked = 0;
  std::int64_t pending = 0;
  std::int64_t retrying = 0;
  std::int64_t open_intents = 0;
  std::int64_t in_doubt = 0;
};
Totals Sum(const v1::StatusResponse& status);

/// One look at everything.
struct Look {
  v1::StatusResponse status;
  /// When the source stopped changing. None: it still does.
  std::optional<WallTime> quiet_since;
  /// Records that somebody still has to read.
  std::int64_t lag = 0;
};

/// Decides from looks whether nothing is left to do. Status comes late (about a second), so what
/// it says must hold for some time; and a scan that could have missed the last change does not
/// count: two scans of each stream must have ended after that change had become visible, the second
/// of which began after the first.
class Settling {
 public:
  /// `visibility_lag` is D of the protocol; `syncs` that many must be reported.
  Settling(Duration visibility_lag, int syncs, Duration hold = std::chrono::milliseconds(2500));

  /// What is being waited for, for people. Empty: settled.
  std::string Waiting(const Look& look, Instant now);

 private:
  std::string Reason(const Look& look);

  const Duration visibility_lag_;
  const int syncs_;
  const Duration hold_;
  /// Ends of scans that count, by tenant/connection/stream.
  std::map<std::string, std::pair<std::int64_t, int>> scans_;
  std::optional<Instant> holds_since_;
};

/// Records applied a second, over the last ten.
class Rate {
 public:
  void Add(Instant now, std::int64_t applied);
  double per_second() const;

 private:
  std::deque<std::pair<Instant, std::int64_t>> points_;
};

/// `412 applied · 37 waiting · 85/s · about 1 s left · 0 parked`
std::string ProgressLine(const Totals& totals, double per_second, const std::string& waiting);

/// At most so many characters of UTF-8; the last is `…` if something was cut off.
std::string CutTo(const std::string& text, int characters);

struct Judged {
  std::int64_t duplicate_records = 0;
  std::int64_t regressions = 0;
  std::int64_t mismatches = 0;
  std::int64_t provoked_429 = 0;
};

struct Result {
  bool settled = false;
  /// None without the simulator.
  std::optional<std::uint64_t> seed;
  std::optional<std::int64_t> customers;
  Totals totals;
  std::optional<Judged> judged;
  double seconds = 0;
};
/// One line, without its end; members as the design fixes them.
std::string ToJson(const Result& result);
/// 0, 1 or 75.
int ExitCode(const Result& result);

}  // namespace tributary::dev

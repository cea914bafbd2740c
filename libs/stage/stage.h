#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/eventlog/local_store.h"
#include "libs/eventlog/log.h"
#include "libs/http/message.h"
#include "libs/time/time.h"

// A stage is single-threaded code that is given what happened and asks its ports for what to do. No
// thread, clock, random source, socket or librdkafka handle inside. A shell (libs/runtime) drives
// it with the real ones, the simulation (tests/simulation) with simulated ones on virtual time.

namespace tributary::v1 {
class FromService;
class ToService;
}  // namespace tributary::v1

namespace tributary {

/// Where a stage writes its log lines. State changes and decisions, never records; `message` is a
/// constant sentence, what varies is in `fields`. Never a secret.
class Logger {
 public:
  enum class Level : std::uint8_t { kDebug, kInfo, kWarning, kError };
  using Fields = std::vector<std::pair<std::string_view, std::string>>;
  virtual ~Logger() = default;
  virtual void Log(Level level, std::string_view message, const Fields& fields) = 0;
};

/// The way to control. Calls only queue; while control is away, messages of status are dropped and
/// requests for credentials wait.
class ControlPort {
 public:
  virtual ~ControlPort() = default;
  virtual void Send(const v1::FromService& message) = 0;
};

struct StagePorts {
  eventlog::LogPort& log;
  eventlog::LocalStores& stores;
  http::ClientPort& http;
  ControlPort& control;
  Logger& logger;
  /// 64 random bits.
  std::function<std::uint64_t()> random;
};

class Stage {
 public:
  virtual ~Stage() = default;

  virtual void OnLog(Now now, const eventlog::Fact& fact) = 0;
  virtual void OnHttp(Now now, http::Completion completion) = 0;
  virtual void OnControl(Now now, const v1::ToService& message) = 0;
  /// To be called at or soon after next_tick(). Facts come in batches, one call for each of them;
  /// behind every batch that leaves next_tick() at or before the present, OnTick comes once, before
  /// anybody waits. So a stage that works once a batch says so by next_tick().
  virtual void OnTick(Now now) = 0;
  virtual Instant next_tick() const = 0;

  /// The check at the send (protocol rules 11 and 17), asked right before the first byte of a
  /// request leaves. False: it must not leave; its completion says refused_at_send.
  virtual bool MaySend(Now now, http::RequestId id) = 0;

  /// SIGTERM: finish what is open, release, then drained() is true.
  virtual void Drain(Now now) = 0;
  virtual bool drained() const = 0;

  /// Every owned partition stands at its sampled ends; else why not, for /readyz.
  virtual std::vector<std::string> not_ready_because() const = 0;

  /// Protocol rule 6. Not empty: discard this stage with its ports, begin anew as unclean.
  virtual std::string failure() const = 0;
};

}  // namespace tributary

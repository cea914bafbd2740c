#pragma once

#include <string>
#include <vector>

#include <sys/eventfd.h>
#include <unistd.h>

#include "libs/eventlog/log_member.h"
#include "libs/stage/stage.h"
#include "tributary/v1/control.pb.h"

// A stage with nothing to do, and what it stands on.

namespace tributary::runtime::testing {

class SilentMember final : public eventlog::LogMember {
 public:
  ~SilentMember() override { close(wake_fd_); }
  void Produce(eventlog::ProduceId, eventlog::Topic, eventlog::Partition, std::string,
               std::optional<std::string>, eventlog::Headers) override {}
  void StartReading(eventlog::Topic, eventlog::Partition, eventlog::Offset) override {}
  void StopReading(eventlog::Topic, eventlog::Partition) override {}
  void PauseReading(eventlog::Topic, eventlog::Partition) override {}
  void ResumeReading(eventlog::Topic, eventlog::Partition) override {}
  void SampleEnd(std::uint64_t, eventlog::Topic, eventlog::Partition) override {}
  void FetchCommitted(std::uint64_t, eventlog::Topic, eventlog::Partition) override {}
  void Commit(std::uint64_t, eventlog::Topic, eventlog::Partition, eventlog::Offset,
              std::string) override {}
  void RenewLease(std::uint64_t) override {}
  void FinishRevoking() override {}
  std::vector<eventlog::Fact> Poll(Duration) override { return {}; }
  int wake_fd() const override { return wake_fd_; }
  absl::Status Close(Duration) override { return absl::OkStatus(); }
  std::vector<Lag> lags() const override { return {}; }
  ProduceBuffer produce_buffer() const override { return {.bytes = 77, .bytes_max = 100}; }

 private:
  const int wake_fd_ = eventfd(0, EFD_NONBLOCK);
};

/// Ready at once; needs `drain_time` to end.
class SlowStage final : public Stage {
 public:
  explicit SlowStage(Duration drain_time) : drain_time_(drain_time) {}
  void OnLog(Now, const eventlog::Fact&) override {}
  void OnHttp(Now, http::Completion) override {}
  void OnControl(Now, const v1::ToService&) override {}
  void OnTick(Now now) override {
    next_tick_ = now.steady + std::chrono::milliseconds(10);
    drained_ = is_draining_ && now.steady >= drained_at_;
  }
  Instant next_tick() const override { return next_tick_; }
  bool MaySend(Now, http::RequestId) override { return true; }
  void Drain(Now now) override {
    is_draining_ = true;
    drained_at_ = now.steady + drain_time_;
  }
  bool drained() const override { return drained_; }
  std::vector<std::string> not_ready_because() const override { return {}; }
  std::string failure() const override { return ""; }

 private:
  const Duration drain_time_;
  bool is_draining_ = false;
  bool drained_ = false;
  Instant drained_at_{};
  Instant next_tick_{};
};

class SilentControl final : public ControlPort {
 public:
  void Send(const v1::FromService&) override {}
};

}  // namespace tributary::runtime::testing

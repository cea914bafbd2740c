#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>

#include "libs/observe/metrics.h"
#include "libs/stage/stage.h"
#include "libs/time/time.h"
#include "services/control/model.h"

namespace tributary::control {

class ControlCore;

/// Shows when credentials end. One for a process; `metrics` outlives it.
class CredentialEndMetrics {
 public:
  explicit CredentialEndMetrics(observe::Metrics& metrics) : metrics_(metrics) {}
  /// Of more than this, those that end first.
  static constexpr std::size_t kShownMax = 200;
  void Show(const std::map<ConnectionName, WallTime>& ends);

 private:
  observe::Metrics& metrics_;
  std::set<ConnectionName> shown_;
};

/// For runtime::StageRunnerOptions::measure of the runner on whose thread the core lives. Both
/// outlive it.
std::function<std::function<void(Now)>(const Stage&)> MeasureInto(observe::Metrics& metrics,
                                                                  const ControlCore& core);

}  // namespace tributary::control

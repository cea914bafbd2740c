#include "services/control/metrics.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "services/control/control_core.h"

namespace tributary::control {
namespace {

constexpr const char* kEndName = "tributary_credential_expires_timestamp_seconds";
// A walk over all connections is nothing to do at each turn.
constexpr Duration kInterval = std::chrono::seconds(1);

observe::Labels LabelsOf(const ConnectionName& name) {
  return {{"tenant", name.first}, {"connection", name.second}};
}

}  // namespace

void CredentialEndMetrics::Show(const std::map<ConnectionName, WallTime>& ends) {
  std::vector<std::pair<WallTime, ConnectionName>> by_end;
  for (const auto& [name, end] : ends) {
    by_end.emplace_back(end, name);
  }
  std::sort(by_end.begin(), by_end.end());
  by_end.resize(std::min(by_end.size(), kShownMax));
  std::set<ConnectionName> shown;
  for (const auto& [end, name] : by_end) {
    shown.insert(name);
    metrics_
        .AddGauge(kEndName, "When the credential of a connection ends, since 1970.", LabelsOf(name))
        .Set(static_cast<double>(end.time_since_epoch().count()) * 1e-6);
  }
  for (const ConnectionName& name : shown_) {
    if (!shown.contains(name)) {
      metrics_.RemoveGauge(kEndName, LabelsOf(name));
    }
  }
  shown_ = std::move(shown);
}

std::function<std::function<void(Now)>(const Stage&)> MeasureInto(observe::Metrics& metrics,
                                                                  const ControlCore& core) {
  // Beyond the lives of the stage, so that what one has shown the next takes back.
  const auto ends = std::make_shared<CredentialEndMetrics>(metrics);
  return [ends, &core](const Stage&) -> std::function<void(Now)> {
    return [ends, &core, next = Instant()](Now now) mutable {
      if (now.steady < next) {
        return;
      }
      next = now.steady + kInterval;
      ends->Show(core.CredentialEnds());
    };
  };
}

}  // namespace tributary::control

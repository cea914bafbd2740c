#pragma once

#include <functional>
#include <memory>

#include "libs/observe/metrics.h"
#include "libs/stage/stage.h"
#include "libs/time/time.h"

namespace tributary::extractor {

struct Counters;
struct Levels;

/// Shows what an extractor counts. One for each life of the stage, whose counters begin at 0.
/// `metrics` outlives it.
class StageNumbers {
 public:
  explicit StageNumbers(observe::Metrics& metrics);
  ~StageNumbers();
  void Show(const Counters& counters, const Levels& levels);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// For runtime::StageRunnerOptions::measure of a runner whose stages come from this service's
/// factory.
std::function<std::function<void(Now)>(const Stage&)> MeasureInto(observe::Metrics& metrics);

}  // namespace tributary::extractor

#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "gtest/gtest.h"

#include "services/simulator/world.h"
#include "tests/unit/services/extractor/extractor_bench.h"

// The simulated site behind the bench, and what its own history of mutations says.

namespace tributary::extractor::testing {

SiteHandler HandlerOf(simulator::World& world);

struct Truth {
  /// By `kind/id`: the last document; none: gone.
  std::map<std::string, std::optional<std::string>> entities;
  std::set<std::string> events;
};
Truth TruthOf(const simulator::World& world);
/// Without copies of other entities, which change without their row's `updated_at`.
std::string Comparable(std::string_view document);

/// Every entity that the history holds is in the mirror as it was last, and every event is there.
void ExpectMirrorIsTruth(const simulator::World& world, const Topics& topics);
/// Rules 5, 34 and 38: no key ever goes back, and nobody whom it belonged to is forgotten.
void ExpectNoKeyGoesBack(const Topics& topics);

class SiteTest : public ::testing::Test {
 protected:
  /// Starts with the bench's clock.
  static simulator::WorldOptions WorldOptionsWith(std::uint64_t seed, std::int32_t customers);
  /// Polls every second; the visibility lag is the world's.
  static ExtractorBench::Setup SetupFor(const simulator::World& world);
};

}  // namespace tributary::extractor::testing

#pragma once

#include <functional>
#include <string_view>

#include "tests/simulation/simulation.h"
#include "tests/simulation/trouble.h"

namespace tributary::simulation {

/// Makes what is in reach for hours or days unreachable, or loses all of one thing at once.
class Outages {
 public:
  /// `scene` stays where it is.
  explicit Outages(const Scene& scene) : s_(scene) {}

  void Plan(Outage outage, Instant begin, Instant end);
  bool control_is_away() const { return control_is_away_; }
  std::int64_t expired_unread() const { return expired_unread_; }

 private:
  void ForEach(std::string_view service, const std::function<void(Node&)>& each);
  void KillAll(std::string_view service, std::string_view why, Duration away, Disk disk);
  void LoseControl();
  void LoseDisks();
  void LoseOffsets();
  void LoseEvents();
  void LoseTargets();
  void Rebalance(Instant end);

  const Scene& s_;
  bool control_is_away_ = false;
  std::int64_t expired_unread_ = 0;
};

}  // namespace tributary::simulation

#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
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
  /// What people did to records at CRMs.
  std::int64_t deeds() const { return deeds_; }
  /// A new `events` had grown beyond what was committed in the lost one.
  std::int64_t positions_outgrown() const { return positions_outgrown_; }

 private:
  void ForEach(std::string_view service, const std::function<void(Node&)>& each);
  void KillAll(std::string_view service, std::string_view why, Duration away, Disk disk);
  void LoseControl();
  void LoseDisks();
  void LoseOffsets();
  void LoseEvents();
  void LoseTargets();
  void CommitLate(Instant end, bool with_mark);
  void StartTransformersBeyond(const std::map<eventlog::Partition, eventlog::Offset>& positions,
                               Instant at_last);
  void Rebalance(Instant end);
  void Meddle(Instant end);

  const Scene& s_;
  bool control_is_away_ = false;
  std::int64_t expired_unread_ = 0;
  std::int64_t deeds_ = 0;
  std::int64_t positions_outgrown_ = 0;
  std::set<std::string> meddled_;
};

}  // namespace tributary::simulation

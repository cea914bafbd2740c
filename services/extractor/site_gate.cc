#include "services/extractor/site_gate.h"

#include <algorithm>

namespace tributary::extractor {

int SiteGate::allowed(Now now) const { return now.steady < single_until_ ? 1 : allowed_; }

bool SiteGate::may_enter(Now now) const { return !paused(now) && in_flight_ < allowed(now); }

void SiteGate::Leave(Now now, Duration elapsed) {
  --in_flight_;
  if (elapsed > options_.slow_answer) {
    allowed_ = std::max(1, allowed_ - 1);
    warned_at_ = now.steady;
  } else if (allowed_ < options_.in_flight_max &&
             now.steady - warned_at_ >= options_.recover_after) {
    ++allowed_;
    warned_at_ = now.steady;
  }
}

void SiteGate::Refused(Now now, Instant until) {
  allowed_ = 1;
  paused_until_ = std::max(paused_until_, until);
  warned_at_ = std::max(now.steady, paused_until_);
}

void SiteGate::SingleUntil(Instant until) { single_until_ = std::max(single_until_, until); }

}  // namespace tributary::extractor

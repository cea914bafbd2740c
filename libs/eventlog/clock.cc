#include "libs/eventlog/clock.h"

#include <chrono>
#include <ctime>

namespace tributary::eventlog {
namespace {

Duration Read(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return std::chrono::seconds(time.tv_sec) +
         std::chrono::duration_cast<Duration>(std::chrono::nanoseconds(time.tv_nsec));
}

}  // namespace

Instant BootTime() { return Instant(Read(CLOCK_BOOTTIME)); }
WallTime SystemTime() { return WallTime(Read(CLOCK_REALTIME)); }

}  // namespace tributary::eventlog

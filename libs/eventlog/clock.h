#pragma once

#include "libs/time/time.h"

namespace tributary::eventlog {

/// CLOCK_BOOTTIME (protocol rule 11). For the logs that talk to the world; stages are given the
/// time.
Instant BootTime();
WallTime SystemTime();

}  // namespace tributary::eventlog

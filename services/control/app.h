#pragma once

#include "libs/runtime/signals.h"
#include "tributary/v1/config.pb.h"

namespace tributary::control {

/// Composition root of the process `control`. Runs until a signal comes and what is open is
/// finished. Returns the exit code: 0, 75 when something that it needs is not there, 78 for a
/// configuration that cannot work.
int Run(const v1::ConfigFile& config, runtime::StopSignals& signals);

}  // namespace tributary::control

#pragma once

#include "libs/runtime/signals.h"
#include "services/tributary/dev_flags.h"
#include "tributary/v1/config.pb.h"

namespace tributary::dev {

/// Composition root of `tributary dev`. Runs until it has settled (--once) or a signal comes.
/// Returns the exit code.
int Run(const Flags& flags, v1::ConfigFile config, runtime::StopSignals& signals);

}  // namespace tributary::dev

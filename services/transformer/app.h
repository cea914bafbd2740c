#pragma once

#include "tributary/v1/config.pb.h"

namespace tributary::transformer {

/// Composition root of the transformer's process. Runs until a signal has drained it. Returns the
/// exit code: 0, or 78 when the configuration cannot work.
int Run(const v1::ConfigFile& config);

}  // namespace tributary::transformer

#pragma once

#include "tributary/v1/config.pb.h"

namespace tributary::extractor {

/// Composition root of the extractor's process. Runs until a signal has drained it. Returns the
/// exit code: 0, or 78 when the configuration cannot work.
int Run(const v1::ConfigFile& config);

}  // namespace tributary::extractor

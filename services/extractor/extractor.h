#pragma once

#include <memory>

#include "libs/stage/stage.h"
#include "services/extractor/options.h"

namespace tributary::extractor {

/// The stage that reads Chargify and writes `changes`, `events` and `cursors`. The objects behind
/// `ports` outlive it.
std::unique_ptr<Stage> MakeExtractor(Options options, StagePorts ports);

}  // namespace tributary::extractor

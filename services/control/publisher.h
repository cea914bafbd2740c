#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libs/stage/stage.h"
#include "services/control/control_core.h"

namespace tributary::control {

struct PublisherOptions {
  std::string instance;
  std::int32_t partitions = 64;
  /// C and R of the protocol.
  Duration min_compaction_lag = std::chrono::hours(1);
  Duration delete_retention = std::chrono::hours(24);
};

/// Keeps `tributary.tenants` equal to what the core wants, under its own fence. At a start it
/// compares with what it reads back and writes only what differs. A blob is acknowledged before the
/// first snapshot that names it (protocol section 0), and each tenant's snapshots follow one
/// another: the next is written when the last is acknowledged, because its syncs' revisions are
/// that one's offset (rule 35).
///
/// A stage: it is discarded and made anew after a failure, while the core lives on. Same thread as
/// the core, which it also ticks.
std::unique_ptr<Stage> MakePublisher(PublisherOptions options, ControlCore& core,
                                     const StagePorts& ports);

}  // namespace tributary::control

#pragma once

#include <iosfwd>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"

#include "services/simulator/app.h"
#include "services/tributary/dev_flags.h"
#include "services/tributary/dev_progress.h"
#include "tributary/v1/config.pb.h"
#include "tributary/v1/control.pb.h"
#include "tributary/v1/tenants.pb.h"

// The made-up site and CRMs of `tributary dev`, and the tenant that joins them.

namespace tributary::dev {

/// What the made-up vendors promise: protocol signs D, L and S.
inline constexpr Duration kDemoVisibilityLag = std::chrono::seconds(2);
inline constexpr Duration kDemoSettle = std::chrono::seconds(2);
inline constexpr Duration kDemoIndexLag = std::chrono::seconds(1);

absl::StatusOr<std::unique_ptr<simulator::SimulatorServer>> StartDemo(const Flags& flags);

/// Options that fit vendors who answer at once and forget soon.
void TuneForDemo(v1::ConfigFile& config);

/// Tenant `demo`: connections `billing`, `highlevel` and `rest`, and a sync to each CRM.
v1::ApplyRequest DemoTenant(simulator::SimulatorServer& simulator);
inline constexpr int kDemoSyncs = 2;
/// Made by DemoTenant, now or by an earlier process: nothing of it is outside of this machine.
bool IsDemoTenant(const v1::TenantSnapshot& snapshot);

/// When the site stopped changing. None: it still does.
std::optional<WallTime> QuietSince(simulator::SimulatorServer& simulator);

/// Compares every CRM with the history of mutations. What differs goes to `differences`, unless
/// null.
Judged Judge(simulator::SimulatorServer& simulator, std::ostream* differences);

}  // namespace tributary::dev

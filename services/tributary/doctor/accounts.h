#pragma once

#include <optional>
#include <string>

#include "libs/time/time.h"
#include "services/tributary/doctor/finding.h"
#include "tributary/v1/config.pb.h"

// The accounts at Chargify and at CRMs, asked by a read that changes nothing.

namespace tributary::cli {

/// Every connection of a configuration with tenants: reachable, its clock is ours, its credential
/// is taken and does not end soon.
Findings CheckAccounts(const v1::ConfigFile& config);

/// Reachable and its clock, without a credential.
Findings CheckUrl(const std::string& place, const std::string& url, bool allow_insecure_loopback);

/// How far another's clock is from ours. `date`: of an answer that came at `now`.
Finding JudgeClock(const std::string& place, WallTime date, WallTime now);

/// Of a credential that ends then. None: that is far away.
std::optional<Finding> JudgeCredentialEnd(const std::string& place, WallTime end, WallTime now);

}  // namespace tributary::cli

#pragma once

#include <string>
#include <vector>

#include "tributary/v1/config.pb.h"
#include "tributary/v1/control.pb.h"

namespace tributary::control {

struct BuiltApplyRequest {
  v1::ApplyRequest request;
  /// Files and secrets that cannot be read, all of them; never a secret. Not empty: do not apply.
  std::vector<std::string> problems;
};

/// Makes an order of the tenants of a configuration: reads the files that they name and, unless
/// told otherwise, the secrets that they refer to, on this machine.
BuiltApplyRequest BuildApplyRequest(const v1::ConfigFile& config, bool with_secrets = true);

}  // namespace tributary::control

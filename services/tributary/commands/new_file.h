#pragma once

#include <string>

#include "absl/status/status.h"

namespace tributary::cli {

/// Writes a file that is its owner's alone (0600), synced; never over what is there.
///
/// Errors: kFailedPrecondition when it is there already; kInternal with what the system said.
absl::Status WriteNewFile(const std::string& path, const std::string& bytes);

}  // namespace tributary::cli

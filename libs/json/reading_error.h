#pragma once

#include <cstddef>
#include <string_view>

#include "absl/status/status.h"

#include "libs/json/reader.h"
#include "libs/json/value.h"

// What is said of a document that cannot be read. Private to this library.

namespace tributary::json {

/// kInvalidArgument: `JSON, byte N: PROBLEM`.
absl::Status ErrorAt(std::size_t offset, std::string_view problem);
absl::Status ErrorOf(const Reader& reader);
/// An error of a text beyond the limit.
absl::Status CheckSize(std::string_view text, const ParseLimits& limits);

}  // namespace tributary::json

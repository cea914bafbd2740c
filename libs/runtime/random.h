#pragma once

#include <cstdint>

namespace tributary::runtime {

/// 64 bits from the kernel. From any thread. Ends the process with 75 if it gives none: nothing
/// that needs them may go on without.
std::uint64_t Random64();

}  // namespace tributary::runtime

#pragma once

#include <cstdint>

namespace tributary::runtime {

/// 64 bits from the kernel. From any thread.
std::uint64_t Random64();

}  // namespace tributary::runtime

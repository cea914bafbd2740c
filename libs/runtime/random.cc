#include "libs/runtime/random.h"

#include <cstdlib>

#include <sys/random.h>

namespace tributary::runtime {

std::uint64_t Random64() {
  std::uint64_t value = 0;
  // Up to 256 bytes are never short; only a kernel without it fails.
  if (getrandom(&value, sizeof value, 0) != sizeof value) std::abort();
  return value;
}

}  // namespace tributary::runtime

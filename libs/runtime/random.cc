#include "libs/runtime/random.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include <sys/random.h>
#include <unistd.h>

namespace tributary::runtime {
namespace {

// As for all that may be there later.
constexpr int kExitLater = 75;

}  // namespace

std::uint64_t Random64() {
  std::uint64_t value = 0;
  // Up to 256 bytes are never short; only a kernel without it fails, or a filter of system calls.
  if (getrandom(&value, sizeof value, 0) != sizeof value) {
    std::fprintf(stderr,
                 "error: the kernel gives no random numbers: getrandom: %s\n"
                 "fix: let the process call it (seccomp profile, kernel 3.17 or later)\n",
                 std::strerror(errno));
    _exit(kExitLater);
  }
  return value;
}

}  // namespace tributary::runtime

#include "libs/runtime/core_files.h"

#include <sys/prctl.h>
#include <sys/resource.h>

namespace tributary::runtime {

void ForbidCoreFiles() {
  // Neither can fail for a process that only gives something up.
  const rlimit none = {.rlim_cur = 0, .rlim_max = 0};
  (void)setrlimit(RLIMIT_CORE, &none);
  // A program that core_pattern names gets the memory whatever the limit says, but not of these.
  (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

}  // namespace tributary::runtime

#include "libs/runtime/core_files.h"

#include <cstdlib>

#include "gtest/gtest.h"
#include <sys/prctl.h>
#include <sys/resource.h>

namespace tributary::runtime {
namespace {

int LeaveWithoutCoreFiles() {
  ForbidCoreFiles();
  rlimit limit{};
  if (getrlimit(RLIMIT_CORE, &limit) != 0 || limit.rlim_cur != 0 || limit.rlim_max != 0) return 1;
  return prctl(PR_GET_DUMPABLE) == 0 ? 0 : 2;
}

TEST(CoreFilesTest, NeitherAFileNorAProgramOfTheKernelGetsTheMemory) {
  EXPECT_EXIT(std::_Exit(LeaveWithoutCoreFiles()), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace tributary::runtime

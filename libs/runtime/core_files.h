#pragma once

namespace tributary::runtime {

/// Keeps the memory of this process, and of what it starts, out of core files, for credentials and
/// customers' data are in it: no core file is written, also not through a program of the kernel's
/// core_pattern, and nobody but root may attach to the process.
///
/// To be called first in main().
void ForbidCoreFiles();

}  // namespace tributary::runtime

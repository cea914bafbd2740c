#pragma once

namespace tributary::dev {

/// `tributary dev …`: every service in one process, with a made-up site and CRMs or real ones.
/// `argv[0]` is the name of the subcommand. Returns the exit code.
int Main(int argc, const char* const* argv);

}  // namespace tributary::dev

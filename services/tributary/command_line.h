#pragma once

#include <functional>
#include <iosfwd>
#include <memory>
#include <string>

#include "services/tributary/control_calls.h"

namespace tributary::cli {

/// What the command line touches besides its arguments; exchanged in tests.
struct Surroundings {
  std::ostream& out;
  std::ostream& err;
  std::function<absl::StatusOr<std::unique_ptr<ControlCalls>>(const ControlPlace&)> connect;
};

/// `tributary …` without `dev`. Returns the exit code: 0, 1 for what is not as it should be, 2 for
/// wrong usage, 75 for what may work later, 78 for a wrong configuration.
int Main(int argc, const char* const* argv, const Surroundings& surroundings);

}  // namespace tributary::cli

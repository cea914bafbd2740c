#include "services/tributary/dev.h"

#include "libs/runtime/signals.h"
#include "services/tributary/dev_app.h"
#include "services/tributary/dev_flags.h"
#include "services/tributary/dev_ground.h"

namespace tributary::dev {

int Main(int argc, const char* const* argv) {
  const ParsedFlags parsed = ParseFlags(argc, argv);
  if (parsed.exit_code) return *parsed.exit_code;
  runtime::StopSignals signals;
  std::optional<v1::ConfigFile> config = MakeConfig(parsed.flags);
  if (!config) return 78;
  return Run(parsed.flags, *std::move(config), signals);
}

}  // namespace tributary::dev

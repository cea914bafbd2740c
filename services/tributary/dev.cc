#include "services/tributary/dev.h"

#include <filesystem>
#include <iostream>
#include <string>
#include <system_error>

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
  const std::string data = config->log().data_directory();
  const int code = Run(parsed.flags, *std::move(config), signals);
  if (!IsForThisRunOnly(parsed.flags)) return code;
  if (code != 0) {
    std::cerr << "what it kept is in " << data << '\n';
    return code;
  }
  std::error_code error;
  std::filesystem::remove_all(data, error);
  if (error) {
    std::cerr << "warning: " << data << " cannot be removed: " << error.message() << '\n';
  }
  return code;
}

}  // namespace tributary::dev

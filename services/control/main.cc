#include "libs/runtime/core_files.h"
#include "libs/runtime/service_flags.h"
#include "libs/runtime/signals.h"
#include "services/control/app.h"

int main(int argc, char** argv) {
  tributary::runtime::ForbidCoreFiles();
  tributary::runtime::StopSignals signals;
  const tributary::runtime::ServiceCommand command =
      tributary::runtime::ReadServiceCommandLine("control", argc, argv);
  return command.exit_code ? *command.exit_code : tributary::control::Run(command.config, signals);
}

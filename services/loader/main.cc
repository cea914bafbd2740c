#include "libs/runtime/core_files.h"
#include "libs/runtime/service_flags.h"
#include "services/loader/app.h"

int main(int argc, char** argv) {
  tributary::runtime::ForbidCoreFiles();
  const tributary::runtime::ServiceCommand command =
      tributary::runtime::ReadServiceCommandLine("loader", argc, argv);
  if (command.exit_code) return *command.exit_code;
  return tributary::loader::Run(command.config);
}

#include "libs/runtime/core_files.h"
#include "libs/runtime/service_flags.h"
#include "services/extractor/app.h"

int main(int argc, char** argv) {
  tributary::runtime::ForbidCoreFiles();
  const tributary::runtime::ServiceCommand command =
      tributary::runtime::ReadServiceCommandLine("extractor", argc, argv);
  if (command.exit_code) return *command.exit_code;
  return tributary::extractor::Run(command.config);
}

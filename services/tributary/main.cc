#include <iostream>
#include <string_view>

#include "libs/runtime/core_files.h"
#include "services/tributary/command_line.h"
#include "services/tributary/dev.h"

int main(int argc, char** argv) {
  tributary::runtime::ForbidCoreFiles();
  if (argc > 1 && std::string_view(argv[1]) == "dev") {
    return tributary::dev::Main(argc - 1, argv + 1);
  }
  return tributary::cli::Main(argc, argv, {std::cout, std::cerr, tributary::cli::ConnectToControl});
}

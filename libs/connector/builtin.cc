#include "libs/connector/builtin_files.h"
#include "libs/connector/connector.h"

namespace tributary::connector {

const std::string* BuiltinFile(std::string_view name) {
  for (const auto& [file, content] : BuiltinFiles()) {
    if (file == name) return &content;
  }
  return nullptr;
}

std::vector<std::string> BuiltinFileNames() {
  std::vector<std::string> names;
  for (const auto& [file, content] : BuiltinFiles()) names.push_back(file);
  return names;
}

}  // namespace tributary::connector

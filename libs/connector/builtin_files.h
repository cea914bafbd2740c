#pragma once

#include <string>
#include <utility>
#include <vector>

namespace tributary::connector {

/// Name and content; generated from files/.
const std::vector<std::pair<std::string, std::string>>& BuiltinFiles();

}  // namespace tributary::connector

#pragma once

#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"

#include "libs/json/tree.h"
#include "libs/mapping/mapping.h"

namespace tributary::mapping {

/// Of libs/connector/files.
inline std::string FileText(const std::string& name) {
  std::ifstream file(std::string(TRIBUTARY_SOURCE_DIR) + "/libs/connector/files/" + name);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Lives as long as the program.
inline json::Node Document(std::string_view text) {
  static json::Tree tree;
  return *tree.Parse(tree.Keep(text));
}

/// Mapping or Rules; it must compile.
template <typename Compilable>
Compilable Compiled(std::string_view yaml) {
  std::vector<std::string> problems;
  std::optional<Compilable> compiled = Compilable::Compile("f.yaml", yaml, problems);
  EXPECT_THAT(problems, ::testing::IsEmpty());
  return *std::move(compiled);
}

/// What compiling has against it, a line each; it must not compile.
template <typename Compilable>
std::string Refusal(std::string_view yaml, const TargetCheck& check = {}) {
  std::vector<std::string> problems;
  EXPECT_FALSE(Compilable::Compile("f.yaml", yaml, problems, check).has_value());
  std::string text;
  for (const std::string& problem : problems) text += problem + "\n";
  return text;
}

}  // namespace tributary::mapping

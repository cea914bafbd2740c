#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "libs/cel/program.h"
#include "libs/cel/value.h"
#include "libs/mapping/yaml_reader.h"

namespace YAML {
class Node;
}

// Private to this library.

namespace tributary::mapping {

/// The file that expressions came from, for their run-time errors.
struct SourceFile {
  std::string name;
  std::string text;
};

/// An expression and its place in the file.
struct Expression {
  cel::Program program;
  /// Of the YAML node.
  std::size_t offset = 0;
};

/// `FIELD: FILE:LINE:COL: MESSAGE` and the line with a caret.
std::string Explain(const SourceFile& file, const Expression& expression, std::string_view field,
                    const cel::Value& error);

/// Compiles what stands in `node`. None: reported.
std::optional<Expression> CompileExpression(YamlReader& reader, const YAML::Node& node,
                                            std::string_view what,
                                            const cel::Environment& environment);

}  // namespace tributary::mapping

#include "libs/mapping/compiled.h"

#include <yaml-cpp/yaml.h>

namespace tributary::mapping {

std::string Explain(const SourceFile& file, const Expression& expression, std::string_view field,
                    const cel::Value& error) {
  const std::size_t offset = OffsetInFile(file.text, expression.offset, expression.program.source(),
                                          error.error_offset().value_or(0));
  const cel::Position position = cel::PositionOf(file.text, offset);
  return "`" + std::string(field) + "`: " + file.name + ":" + std::to_string(position.line) + ":" +
         std::to_string(position.column) + ": " + error.error() + "\n" +
         cel::CaretText(file.text, offset);
}

std::optional<Expression> CompileExpression(YamlReader& reader, const YAML::Node& node,
                                            std::string_view what,
                                            const cel::Environment& environment) {
  std::optional<cel::Program> program = reader.Expression(node, what, environment);
  if (!program) return std::nullopt;
  return Expression{*std::move(program), reader.OffsetOf(node)};
}

}  // namespace tributary::mapping

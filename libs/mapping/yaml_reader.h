#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/cel/program.h"

namespace YAML {
class Node;
}

// Reading of mapping and rules files: every problem at once, at its place. Private to this library.

namespace tributary::mapping {

/// Byte of the file at which that part of an expression stands, which begins at or behind byte
/// `from`. `from` itself: it was folded or escaped, and is not to be found.
std::size_t OffsetInFile(std::string_view text, std::size_t from, std::string_view expression,
                         std::size_t offset);

class YamlReader {
 public:
  YamlReader(std::string_view file, std::string_view text, std::vector<std::string>& problems);

  /// Parses the text and calls `read` with its root. Nothing that YAML throws gets out. Behind it
  /// the problems are all there, in the order of their places in the file.
  void Read(const std::function<void(const YAML::Node& root)>& read);

  /// `FILE:LINE:COL: error: MESSAGE` and the line with a caret.
  void Report(const YAML::Node& node, const std::string& message);
  /// The same at a place inside of an expression that stands in `node`.
  void ReportIn(const YAML::Node& node, std::string_view expression, std::size_t offset,
                const std::string& message);

  /// Members of a map; reports keys that are not `known` (all are, if it is empty), and repeated
  /// ones. Not a map: reported, none.
  std::map<std::string, YAML::Node> Members(const YAML::Node& node,
                                            const std::vector<std::string>& known);
  /// None: reported.
  std::optional<std::string> Text(const YAML::Node& node, std::string_view what);
  std::optional<bool> Boolean(const YAML::Node& node, std::string_view what);
  std::optional<cel::Program> Expression(const YAML::Node& node, std::string_view what,
                                         const cel::Environment& environment);
  /// Refuses a result that is known to be of another kind.
  void Want(const YAML::Node& node, const std::optional<cel::Program>& program,
            cel::Type::Kind kind, std::string_view what);

  /// Byte at which the node begins.
  std::size_t OffsetOf(const YAML::Node& node) const;

 private:
  void ReadLoaded(const YAML::Node& root, const std::function<void(const YAML::Node& root)>& read);
  /// From 0.
  std::size_t OffsetOf(int line, int column) const;
  void ReportAt(std::size_t offset, const std::string& message);

  std::string file_;
  std::string text_;
  /// By the byte where they are; found in the order in which a compiler looks at things.
  std::vector<std::pair<std::size_t, std::string>> found_;
  std::vector<std::string>& problems_;
};

}  // namespace tributary::mapping

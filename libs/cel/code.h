#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "libs/cel/functions.h"
#include "libs/cel/program.h"
#include "libs/cel/type.h"
#include "libs/cel/value.h"

namespace re2 {
class RE2;
}

// The tree behind a Program; private to this library.

namespace tributary::cel {

struct Node {
  enum class Kind : std::uint8_t {
    kConstant,
    kVariable,
    kSelect,
    kIndex,
    kHas,
    kList,
    // Children: value of each name in `names`.
    kMap,
    kAnd,
    kOr,
    kTernary,
    kDefault,
    kCall,
    // Children: range, then bodies that see `slot`.
    kFilter,
    kTransform,
    kExists,
    kAll,
    kExistsOne,
  };

  Kind kind{};
  std::size_t offset = 0;
  std::size_t depth = 1;
  std::vector<std::uint32_t> children;
  Type type;
  Value constant;
  /// Of a variable, and of a macro the slot of its own.
  std::size_t slot = 0;
  /// Of a select.
  std::string name;
  /// Of a map literal.
  std::vector<std::string> names;
  Function function{};
  /// Of `matches` with a pattern that is a literal.
  std::shared_ptr<const re2::RE2> pattern;
};

struct Program::Code {
  std::string source;
  std::vector<Node> nodes;
  std::uint32_t root = 0;
  std::size_t variables = 0;
  std::size_t slots = 0;
};

}  // namespace tributary::cel

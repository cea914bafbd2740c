#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/cel/type.h"
#include "libs/cel/value.h"

// A subset of the Common Expression Language: typed, without side effects, and it always ends. See
// README.md for what it knows and where it differs. Compiled once, evaluated often; a Program may
// be used by several threads at once.

namespace tributary::cel {

struct Variable {
  std::string name;
  Type type;
};

/// What an expression may name.
struct Environment {
  /// Their values are given to Evaluate in this order.
  std::vector<Variable> variables;
  /// Names that exist elsewhere, and why not here.
  std::vector<std::pair<std::string, std::string>> refused;
};

struct Limits {
  std::size_t source_bytes_max = 16 * 1024;
  std::size_t nodes_max = 4096;
  /// Of the tree.
  std::size_t depth_max = 200;
  /// Macros inside of each other: each level multiplies the work.
  std::size_t macro_depth_max = 3;
};

struct Problem {
  /// Byte in the source.
  std::size_t offset = 0;
  std::string message;
};

/// From 1; columns count characters.
struct Position {
  int line = 1;
  int column = 1;
};
Position PositionOf(std::string_view source, std::size_t offset);
/// The line of `offset` and a caret below it: `  | LINE\n  |    ^`.
std::string CaretText(std::string_view source, std::size_t offset);

struct EvaluationLimits {
  /// Steps; each node costs one, work on long texts and lists more.
  std::int64_t cost_max = 1'000'000;
  /// Of one text that is made.
  std::size_t text_bytes_max = 1u << 20;
};

class Program {
 public:
  /// The value, or an error value with the place in the source (never none). `variables` are as
  /// many as the environment's and in its order.
  Value Evaluate(std::span<const Value> variables, const EvaluationLimits& limits = {}) const;

  const Type& type() const;
  const std::string& source() const;
  /// `1:17: message`, and the caret below the source's line.
  std::string Explain(const Value& error) const;

  struct Code;
  explicit Program(std::shared_ptr<const Code> code) : code_(std::move(code)) {}

 private:
  std::shared_ptr<const Code> code_;
};

/// None: `problems` says why, each with its place.
std::optional<Program> Compile(std::string_view source, const Environment& environment,
                               std::vector<Problem>& problems, const Limits& limits = {});

}  // namespace tributary::cel

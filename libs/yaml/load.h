#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include <yaml-cpp/yaml.h>

// YAML that people write, loaded so that whoever walks over it needs no guard of his own: it is
// UTF-8, its escapes too, without control characters, and neither its aliases nor its nesting make
// more of it than was looked at here.

namespace tributary::yaml {

struct Limits {
  std::size_t bytes_max = std::size_t{8} << 20;
  /// Aliases counted as often as they stand there.
  std::size_t nodes_max = 200'000;
  std::size_t depth_max = 64;
};

struct Problem {
  /// From 1. 0: of the whole file.
  int line = 0;
  int column = 0;
  std::string message;
};

/// Fills `root` with the one document of `text`; null if it holds none. Nothing that yaml-cpp
/// throws gets out. None: it went well.
std::optional<Problem> Load(std::string_view text, const Limits& limits, YAML::Node& root);

/// RFC 3629.
bool IsUtf8(std::string_view text);

}  // namespace tributary::yaml

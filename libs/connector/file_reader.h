#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <yaml-cpp/yaml.h>

#include "libs/connector/template.h"
#include "libs/json/value.h"
#include "libs/time/time.h"

namespace tributary::connector {

using Keys = std::vector<std::string>;

/// Reads the values of maps, and collects what is wrong with them, each with its place.
class FileReader {
 public:
  /// `file`: its name, for problems.
  explicit FileReader(std::string_view file) : file_(file) {}

  /// Notes that something is wrong at that place.
  void Problem(const YAML::Node& at, const std::string& text);
  /// All of them, a line each: `FILE:LINE:COL: error: …`.
  const std::string& problems() const { return problems_; }

  /// False, with a problem: not a map. Keys that are not in `known` are problems.
  bool Map(const YAML::Node& node, std::string_view what, const Keys& known);

  // The value of a key of a map. What is not there is empty, false or the fallback; what is not of
  // the kind or beyond its bounds is a problem, and the same.
  std::string Text(const YAML::Node& map, const char* key, bool required);
  bool Bool(const YAML::Node& map, const char* key);
  std::int64_t Integer(const YAML::Node& map, const char* key, std::int64_t fallback,
                       std::int64_t min, std::int64_t max);
  Duration Time(const YAML::Node& map, const char* key, Duration fallback, Duration min,
                Duration max);
  Keys List(const YAML::Node& map, const char* key);
  Template Pattern(const YAML::Node& map, const char* key, bool required);
  Template PatternOf(const YAML::Node& node, const std::string& text);

  /// As JSON, whose texts are patterns.
  json::Value Body(const YAML::Node& node);

  /// The names that the file declares, before any pattern is read.
  void Know(Keys settings, Keys credentials);

 private:
  void CheckPlaceholder(const YAML::Node& node, const std::string& name);
  void CheckNamed(const YAML::Node& node, const std::string& name, const Keys& known,
                  const std::string& what);

  std::string file_;
  std::string problems_;
  Keys settings_;
  Keys credentials_;
};

}  // namespace tributary::connector

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libs/connector/connector.h"
#include "libs/connector/file_reader.h"

// The parts of a connector file, for parse.cc alone. What is missing or wrong is a problem of the
// reader and leaves the default: all problems are told at once.

namespace tributary::connector {

/// What an answer means, from the `answers` of a call or of the whole file.
std::vector<AnswerRule> ReadAnswers(FileReader& reader, const YAML::Node& map);

/// `what`: the map in words, for problems. `extra`: keys of it that belong to what surrounds the
/// call. `name`: of a call that has none of its own.
Call ReadCall(FileReader& reader, const YAML::Node& map, std::string_view what, std::string name,
              const Keys& extra = {});
Call ReadLookup(FileReader& reader, const YAML::Node& map, std::string name);
/// The list of them that `object` has under `key`.
std::vector<Call> ReadCalls(FileReader& reader, const YAML::Node& object, const char* key,
                            bool is_lookup);

Object ReadObject(FileReader& reader, const std::string& name, const YAML::Node& map);
/// The objects of `connector` must be read already.
ActionOperation ReadAction(FileReader& reader, const std::string& name, const YAML::Node& map,
                           const Connector& connector);

void ReadAuthentication(FileReader& reader, const YAML::Node& root, Authentication& out);
void ReadLimits(FileReader& reader, const YAML::Node& root, Limits& out);

}  // namespace tributary::connector

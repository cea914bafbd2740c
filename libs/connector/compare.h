#pragma once

#include <string>
#include <vector>

#include "libs/connector/connector.h"
#include "libs/connector/interpret.h"
#include "tributary/v1/commands.pb.h"

// A record as its target shows it, beside what is desired (protocol rule 15).

namespace tributary::connector {

struct Shown {
  /// Done when the target certainly told; missing when it certainly has no such record.
  Interpreted answer;
  /// Paths of the fields, and `tags`, in which the record is not what is desired.
  std::vector<std::string> differing;
  /// 16 bytes over what these have instead.
  std::string hash;
  /// Those under the prefix that the mapping owns, canonical. Of an object without tags: none.
  std::vector<std::string> tags;
};

/// `completion` answers the object's read. A field counts as desired when it has a value, or is to
/// be cleared; where the target does not tell by which keys it keeps pairs, only whether the value
/// is among them.
Shown CompareRead(const Connector& connector, const Object& object,
                  const http::Completion& completion, const v1::DesiredState& state,
                  WallTime now_wall);

}  // namespace tributary::connector

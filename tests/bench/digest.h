#pragma once

#include <string>
#include <vector>

#include "libs/eventlog/log.h"
#include "libs/ids/keys.h"

namespace tributary::bench {

/// Of all that a stage has written, for people: two builds that write the same have the same.
inline std::string DigestOf(const std::vector<eventlog::Record>& records) {
  std::string all;
  for (const eventlog::Record& record : records) {
    all.append(record.key).append("=").append(record.value.value_or("")).append(";");
    for (const auto& [name, value] : record.headers) all.append(name).append(value);
  }
  return ids::Sha256Hex(all).substr(0, 16);
}

}  // namespace tributary::bench

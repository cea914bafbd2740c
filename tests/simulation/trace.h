#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "libs/eventlog/testing/virtual_time.h"

namespace tributary::simulation {

/// What happened, a line each. Two histories of one seed have the same lines.
class Trace {
 public:
  /// `keeps_lines`: for people, and to find the first difference. Writing them takes as long as all
  /// the rest, so whoever makes a line of many pieces asks for keeps_lines() first.
  Trace(const eventlog::testing::VirtualTime& time, bool keeps_lines)
      : time_(time), keeps_lines_(keeps_lines) {}

  bool keeps_lines() const { return keeps_lines_; }
  void Line(std::string_view who, std::string_view what);

  std::int64_t lines() const { return lines_; }
  const std::string& text() const { return text_; }

 private:
  const eventlog::testing::VirtualTime& time_;
  bool keeps_lines_;
  std::int64_t lines_ = 0;
  std::string text_;
};

/// FNV-1a, 64 bits: the same on every machine.
std::uint64_t Fingerprint(std::string_view bytes, std::uint64_t hash = 0xcbf29ce484222325);
std::string Hex(std::uint64_t number);

}  // namespace tributary::simulation

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/time/time.h"

namespace tributary::trace {

/// Something that a service did for one change or event.
struct Span {
  /// OpenTelemetry's numbers.
  enum class Kind : std::uint8_t { kInternal = 1, kClient = 3, kProducer = 4, kConsumer = 5 };

  /// Hex digits: 32, 16, and 16 or none.
  std::string trace_id;
  std::string span_id;
  std::string parent_id;
  /// A constant.
  std::string_view name;
  Kind kind = Kind::kInternal;
  WallTime start{};
  WallTime end{};
  /// Names are constants. Never a secret, never what a person wrote or is.
  std::vector<std::pair<std::string_view, std::string>> attributes;
  /// Empty: it went well.
  std::string problem;
};

/// Where spans go.
class SpanSink {
 public:
  virtual ~SpanSink() = default;
  /// Part of all traces that are recorded, 0 to 1.
  virtual double sample_ratio() const = 0;
  /// Never waits.
  virtual void Add(Span span) = 0;
};

}  // namespace tributary::trace

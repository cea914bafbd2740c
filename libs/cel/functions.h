#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libs/cel/program.h"
#include "libs/cel/type.h"
#include "libs/cel/value.h"

namespace re2 {
class RE2;
}

// Operators and functions; private to this library.

namespace tributary::cel {

enum class Function : std::uint8_t {
  // Operators.
  kNot,
  kNegate,
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kRemainder,
  kLess,
  kLessOrEqual,
  kGreater,
  kGreaterOrEqual,
  kEqual,
  kNotEqual,
  kIn,
  // Functions by name.
  kSize,
  kLowerAscii,
  kUpperAscii,
  kTrim,
  kSplit,
  kJoin,
  kReplace,
  kSubstring,
  kIndexOf,
  kStartsWith,
  kEndsWith,
  kContains,
  kMatches,
  kInt,
  kDecimal,
  kString,
  kBool,
  kDyn,
  kAbs,
  kRound,
  kDivideTo,
  kMin,
  kMax,
  kSum,
  kTimestamp,
  kDuration,
  kGetFullYear,
  kGetMonth,
  kGetDate,
  kGetDayOfMonth,
  kGetDayOfWeek,
  kGetDayOfYear,
  kGetHours,
  kGetMinutes,
  kGetSeconds,
  kGetMilliseconds,
  kFormatDate,
  kSort,
  kDistinct,
  kReverse,
  kFlatten,
  kFirst,
  kLast,
  kKeys,
};

/// What an evaluation may still spend.
struct Budget {
  std::int64_t cost = 0;
  std::size_t text_bytes_max = 0;
  /// Not enough left: the evaluation ends with an error that nothing absorbs.
  bool exhausted = false;
  bool Spend(std::size_t steps) {
    cost -= static_cast<std::int64_t>(steps);
    if (cost < 0) exhausted = true;
    return !exhausted;
  }
};

/// None: no such function.
std::optional<Function> FindFunction(std::string_view name);
std::vector<std::string> FunctionNames();
/// As people write it: `+`, `trim`.
std::string_view Name(Function function);

/// The type of a call. Empty `problem`: it may be right.
Type CheckCall(Function function, std::span<const Type> arguments, std::string& problem);

/// `arguments` holds no errors. `pattern` may be null. Errors are error values without a place.
Value Call(Function function, std::span<const Value> arguments, const re2::RE2* pattern,
           Budget& budget);

/// None: `problem` says why.
std::shared_ptr<const re2::RE2> MakePattern(std::string_view pattern, std::string& problem);

}  // namespace tributary::cel

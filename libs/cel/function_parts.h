#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libs/cel/functions.h"

// What functions are made of, by subject. `arguments` fit an overload of the function; errors are
// error values without a place, and an empty one says that the budget is spent.

namespace tributary::cel {

/// Of a value that an error quotes.
inline constexpr std::size_t kQuotedBytesMax = 40;

// ---- overloads.cc ----
bool MatchesOverload(Function function, std::span<const Value> arguments);
/// Says what would have matched.
Value Mismatch(Function function, std::span<const Value> arguments);

// ---- text_functions.cc: kSize to kMatches ----
Value CallText(Function function, std::span<const Value> arguments, const re2::RE2* pattern,
               Budget& budget);
std::string_view Trimmed(std::string_view text);
Value TooLong();

// ---- number_functions.cc, and what is made of other kinds: kInt to kSum ----
Value CallNumber(Function function, std::span<const Value> arguments, Budget& budget);
/// `function`: an operator of two numbers.
Value Calculate(Function function, const Value& a, const Value& b, Budget& budget);
Value Overflow();

// ---- time_functions.cc: kTimestamp to kFormatDate ----
Value CallTime(Function function, std::span<const Value> arguments);

// ---- list_functions.cc: kSort to kKeys ----
Value CallList(Function function, std::span<const Value> arguments, Budget& budget);
std::vector<Value> Items(const List& list);
/// The operator `in`; `range` is a list, or a map that is asked for a name.
Value Contains(const Value& item, const Value& range, Budget& budget);

}  // namespace tributary::cel

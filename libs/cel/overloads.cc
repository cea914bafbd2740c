#include <algorithm>
#include <array>

#include "libs/cel/function_parts.h"

namespace tributary::cel {
namespace {

using Kind = Value::Kind;

// What a call accepts. Letters: S string, I int, N int or decimal, L list, M map, T timestamp,
// D duration, B bool, A anything; `|`: the rest may be left out; `*`: the letter before it may be
// repeated. Result: the same, and X decimal, E an element of the first, Z the same if it is a
// number, l the first's own type, s a list of strings, N the numbers' common type.
struct Overload {
  Function function;
  std::string_view name;
  std::string_view arguments;
  char result;
};

constexpr auto kOverloads = std::to_array<Overload>({
    {Function::kNot, "!", "B", 'B'},
    {Function::kNegate, "-", "N", 'N'},
    {Function::kNegate, "-", "D", 'D'},
    {Function::kAdd, "+", "NN", 'N'},
    {Function::kAdd, "+", "SS", 'S'},
    {Function::kAdd, "+", "LL", 'L'},
    {Function::kAdd, "+", "TD", 'T'},
    {Function::kAdd, "+", "DT", 'T'},
    {Function::kAdd, "+", "DD", 'D'},
    {Function::kSubtract, "-", "NN", 'N'},
    {Function::kSubtract, "-", "TT", 'D'},
    {Function::kSubtract, "-", "TD", 'T'},
    {Function::kSubtract, "-", "DD", 'D'},
    {Function::kMultiply, "*", "NN", 'N'},
    {Function::kDivide, "/", "NN", 'N'},
    {Function::kRemainder, "%", "II", 'I'},
    {Function::kLess, "<", "NN", 'B'},
    {Function::kLess, "<", "SS", 'B'},
    {Function::kLess, "<", "TT", 'B'},
    {Function::kLess, "<", "DD", 'B'},
    {Function::kLess, "<", "BB", 'B'},
    {Function::kLessOrEqual, "<=", "NN", 'B'},
    {Function::kLessOrEqual, "<=", "SS", 'B'},
    {Function::kLessOrEqual, "<=", "TT", 'B'},
    {Function::kLessOrEqual, "<=", "DD", 'B'},
    {Function::kLessOrEqual, "<=", "BB", 'B'},
    {Function::kGreater, ">", "NN", 'B'},
    {Function::kGreater, ">", "SS", 'B'},
    {Function::kGreater, ">", "TT", 'B'},
    {Function::kGreater, ">", "DD", 'B'},
    {Function::kGreater, ">", "BB", 'B'},
    {Function::kGreaterOrEqual, ">=", "NN", 'B'},
    {Function::kGreaterOrEqual, ">=", "SS", 'B'},
    {Function::kGreaterOrEqual, ">=", "TT", 'B'},
    {Function::kGreaterOrEqual, ">=", "DD", 'B'},
    {Function::kGreaterOrEqual, ">=", "BB", 'B'},
    {Function::kEqual, "==", "AA", 'B'},
    {Function::kNotEqual, "!=", "AA", 'B'},
    {Function::kIn, "in", "AL", 'B'},
    {Function::kIn, "in", "SM", 'B'},
    {Function::kSize, "size", "S", 'I'},
    {Function::kSize, "size", "L", 'I'},
    {Function::kSize, "size", "M", 'I'},
    {Function::kLowerAscii, "lowerAscii", "S", 'S'},
    {Function::kUpperAscii, "upperAscii", "S", 'S'},
    {Function::kTrim, "trim", "S", 'S'},
    {Function::kSplit, "split", "SS|I", 's'},
    {Function::kJoin, "join", "L|S", 'S'},
    {Function::kReplace, "replace", "SSS|I", 'S'},
    {Function::kSubstring, "substring", "SI|I", 'S'},
    {Function::kIndexOf, "indexOf", "SS", 'I'},
    {Function::kStartsWith, "startsWith", "SS", 'B'},
    {Function::kEndsWith, "endsWith", "SS", 'B'},
    {Function::kContains, "contains", "SS", 'B'},
    {Function::kMatches, "matches", "SS", 'B'},
    {Function::kInt, "int", "N", 'I'},
    {Function::kInt, "int", "S", 'I'},
    {Function::kInt, "int", "T", 'I'},
    {Function::kDecimal, "decimal", "N", 'X'},
    {Function::kDecimal, "decimal", "S", 'X'},
    {Function::kDecimal, "double", "N", 'X'},
    {Function::kDecimal, "double", "S", 'X'},
    {Function::kString, "string", "S", 'S'},
    {Function::kString, "string", "N", 'S'},
    {Function::kString, "string", "B", 'S'},
    {Function::kString, "string", "T", 'S'},
    {Function::kString, "string", "D", 'S'},
    {Function::kBool, "bool", "B", 'B'},
    {Function::kBool, "bool", "S", 'B'},
    {Function::kDyn, "dyn", "A", 'A'},
    {Function::kAbs, "abs", "N", 'N'},
    {Function::kRound, "round", "N|I", 'N'},
    {Function::kDivideTo, "divide", "NNI", 'X'},
    {Function::kMin, "min", "L", 'E'},
    {Function::kMin, "min", "NN*", 'N'},
    {Function::kMax, "max", "L", 'E'},
    {Function::kMax, "max", "NN*", 'N'},
    {Function::kSum, "sum", "L", 'Z'},
    {Function::kTimestamp, "timestamp", "S", 'T'},
    {Function::kTimestamp, "timestamp", "I", 'T'},
    {Function::kTimestamp, "timestamp", "T", 'T'},
    {Function::kDuration, "duration", "S", 'D'},
    {Function::kDuration, "duration", "D", 'D'},
    {Function::kGetFullYear, "getFullYear", "T|S", 'I'},
    {Function::kGetMonth, "getMonth", "T|S", 'I'},
    {Function::kGetDate, "getDate", "T|S", 'I'},
    {Function::kGetDayOfMonth, "getDayOfMonth", "T|S", 'I'},
    {Function::kGetDayOfWeek, "getDayOfWeek", "T|S", 'I'},
    {Function::kGetDayOfYear, "getDayOfYear", "T|S", 'I'},
    {Function::kGetHours, "getHours", "T|S", 'I'},
    {Function::kGetHours, "getHours", "D", 'I'},
    {Function::kGetMinutes, "getMinutes", "T|S", 'I'},
    {Function::kGetMinutes, "getMinutes", "D", 'I'},
    {Function::kGetSeconds, "getSeconds", "T|S", 'I'},
    {Function::kGetSeconds, "getSeconds", "D", 'I'},
    {Function::kGetMilliseconds, "getMilliseconds", "T|S", 'I'},
    {Function::kGetMilliseconds, "getMilliseconds", "D", 'I'},
    {Function::kFormatDate, "formatDate", "TS|S", 'S'},
    {Function::kSort, "sort", "L", 'l'},
    {Function::kDistinct, "distinct", "L", 'l'},
    {Function::kReverse, "reverse", "L", 'l'},
    {Function::kFlatten, "flatten", "L", 'L'},
    {Function::kFirst, "first", "L", 'E'},
    {Function::kLast, "last", "L", 'E'},
    {Function::kKeys, "keys", "M", 's'},
});

// Overloads of one function stand together: index of the first, by function.
constexpr std::size_t kFunctions = static_cast<std::size_t>(Function::kKeys) + 1;
constexpr std::array<std::size_t, kFunctions> kFirstOverload = [] {
  std::array<std::size_t, kFunctions> first{};
  for (std::size_t i = kOverloads.size(); i-- > 0;) {
    first[static_cast<std::size_t>(kOverloads[i].function)] = i;
  }
  return first;
}();

std::span<const Overload> OverloadsOf(Function function) {
  const std::size_t first = kFirstOverload[static_cast<std::size_t>(function)];
  std::size_t end = first;
  while (end < kOverloads.size() && kOverloads[end].function == function) ++end;
  return std::span(kOverloads).subspan(first, end - first);
}

// True: `letter` accepts such a value.
constexpr bool Accepts(char letter, Kind kind) {
  switch (letter) {
    case 'A':
      return true;
    case 'S':
      return kind == Kind::kString;
    case 'I':
      return kind == Kind::kInt;
    case 'N':
      return kind == Kind::kInt || kind == Kind::kDecimal;
    case 'L':
      return kind == Kind::kList;
    case 'M':
      return kind == Kind::kMap;
    case 'T':
      return kind == Kind::kTimestamp;
    case 'D':
      return kind == Kind::kDuration;
    case 'B':
      return kind == Kind::kBool;
    default:
      return false;
  }
}

bool MayAccept(char letter, Type::Kind kind) {
  switch (kind) {
    case Type::Kind::kDyn:
      return true;
    case Type::Kind::kNull:
      return Accepts(letter, Kind::kNull);
    case Type::Kind::kBool:
      return Accepts(letter, Kind::kBool);
    case Type::Kind::kInt:
      return Accepts(letter, Kind::kInt);
    case Type::Kind::kDecimal:
      return Accepts(letter, Kind::kDecimal);
    case Type::Kind::kString:
      return Accepts(letter, Kind::kString);
    case Type::Kind::kList:
      return Accepts(letter, Kind::kList);
    case Type::Kind::kMap:
      return Accepts(letter, Kind::kMap);
    case Type::Kind::kTimestamp:
      return Accepts(letter, Kind::kTimestamp);
    case Type::Kind::kDuration:
      return Accepts(letter, Kind::kDuration);
  }
  return false;
}

template <typename AcceptsAt>
bool Matches(std::string_view letters, std::size_t count, AcceptsAt accepts_at) {
  std::size_t at = 0;
  bool optional = false;
  char repeated = '\0';
  for (std::size_t i = 0; i < letters.size(); ++i) {
    if (letters[i] == '|') {
      optional = true;
      continue;
    }
    if (letters[i] == '*') {
      repeated = letters[i - 1];
      continue;
    }
    if (at == count) return optional;
    if (!accepts_at(letters[i], at)) return false;
    ++at;
  }
  while (repeated != '\0' && at < count && accepts_at(repeated, at)) ++at;
  return at == count;
}

// An overload as an evaluation looks at it.
struct Shape {
  // Kinds that each argument may have, a bit each; the last one's are those of repeated ones too.
  std::array<std::uint16_t, 4> kinds{};
  std::size_t required = 0;
  std::size_t count = 0;
  bool repeats = false;
};

constexpr Shape ShapeOf(std::string_view letters) {
  Shape shape;
  bool optional = false;
  for (const char letter : letters) {
    if (letter == '|') {
      optional = true;
    } else if (letter == '*') {
      shape.repeats = true;
    } else {
      for (unsigned kind = 0; kind <= static_cast<unsigned>(Kind::kError); ++kind) {
        if (!Accepts(letter, static_cast<Kind>(kind))) continue;
        shape.kinds[shape.count] =
            static_cast<std::uint16_t>(shape.kinds[shape.count] | 1u << kind);
      }
      ++shape.count;
      if (!optional) shape.required = shape.count;
    }
  }
  return shape;
}

// By the index of the overload.
constexpr auto kShapes = [] {
  std::array<Shape, kOverloads.size()> shapes{};
  for (std::size_t i = 0; i < shapes.size(); ++i) shapes[i] = ShapeOf(kOverloads[i].arguments);
  return shapes;
}();

bool Fits(const Shape& shape, std::span<const Value> arguments) {
  if (arguments.size() < shape.required) return false;
  if (arguments.size() > shape.count && !shape.repeats) return false;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const unsigned kinds = shape.kinds[std::min(i, shape.count - 1)];
    if ((kinds >> static_cast<unsigned>(arguments[i].kind()) & 1u) == 0) return false;
  }
  return true;
}

std::string_view LetterName(char letter) {
  switch (letter) {
    case 'S':
      return "string";
    case 'I':
      return "int";
    case 'N':
      return "number";
    case 'L':
      return "list";
    case 'M':
      return "map";
    case 'T':
      return "timestamp";
    case 'D':
      return "duration";
    case 'B':
      return "bool";
    default:
      return "anything";
  }
}

std::string Signatures(Function function) {
  std::string text;
  for (const Overload& overload : OverloadsOf(function)) {
    // Two names of one function have the same signatures.
    if (overload.name != Name(function)) continue;
    if (!text.empty()) text += " or ";
    text += '(';
    bool first = true;
    bool optional = false;
    for (const char letter : overload.arguments) {
      if (letter == '|') {
        optional = true;
      } else if (letter == '*') {
        text += ", …";
      } else {
        if (!first) text += ", ";
        first = false;
        text += LetterName(letter);
        if (optional) text += '?';
      }
    }
    text += ')';
  }
  return text;
}

Type TypeOf(Type::Kind kind) { return {kind, nullptr, nullptr}; }

Type ElementOf(const Type& list) { return list.element ? *list.element : Type{}; }

Type ResultType(const Overload& overload, std::span<const Type> arguments) {
  switch (overload.result) {
    case 'B':
      return TypeOf(Type::Kind::kBool);
    case 'I':
      return TypeOf(Type::Kind::kInt);
    case 'X':
      return TypeOf(Type::Kind::kDecimal);
    case 'S':
      return TypeOf(Type::Kind::kString);
    case 'T':
      return TypeOf(Type::Kind::kTimestamp);
    case 'D':
      return TypeOf(Type::Kind::kDuration);
    case 'L':
      return TypeOf(Type::Kind::kList);
    case 's':
      return Type::ListOf(TypeOf(Type::Kind::kString));
    case 'l':
      return arguments[0].kind == Type::Kind::kList ? arguments[0] : TypeOf(Type::Kind::kList);
    case 'E':
      return ElementOf(arguments[0]);
    case 'Z': {
      // Of nothing it is 0, whatever the list would hold.
      const Type element = ElementOf(arguments[0]);
      const bool is_number =
          element.kind == Type::Kind::kInt || element.kind == Type::Kind::kDecimal;
      return is_number ? element : Type{};
    }
    case 'N': {
      bool all_int = true;
      for (const Type& type : arguments) {
        if (type.kind == Type::Kind::kDecimal) return TypeOf(Type::Kind::kDecimal);
        all_int = all_int && type.kind == Type::Kind::kInt;
      }
      return all_int ? TypeOf(Type::Kind::kInt) : Type{};
    }
    default:
      return {};
  }
}

std::string KindList(std::span<const Value> arguments) {
  std::string text = "(";
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (i > 0) text += ", ";
    text += KindName(arguments[i].kind());
  }
  return text + ")";
}

}  // namespace

Value Mismatch(Function function, std::span<const Value> arguments) {
  std::string message = "`" + std::string(Name(function)) + "` takes " + Signatures(function) +
                        ", not " + KindList(arguments);
  for (const Value& argument : arguments) {
    if (argument.is_nothing()) {
      message += "; default(x, y) gives a fallback";
      break;
    }
  }
  return Value::Error(std::move(message));
}

bool MatchesOverload(Function function, std::span<const Value> arguments) {
  std::size_t at = kFirstOverload[static_cast<std::size_t>(function)];
  for (; at < kOverloads.size() && kOverloads[at].function == function; ++at) {
    if (Fits(kShapes[at], arguments)) return true;
  }
  return false;
}

std::optional<Function> FindFunction(std::string_view name) {
  for (const Overload& overload : kOverloads) {
    if (overload.name == name && overload.function >= Function::kSize) return overload.function;
  }
  return std::nullopt;
}

std::vector<std::string> FunctionNames() {
  std::vector<std::string> names;
  for (const Overload& overload : kOverloads) {
    if (overload.function < Function::kSize) continue;
    if (names.empty() || names.back() != overload.name) names.emplace_back(overload.name);
  }
  return names;
}

std::string_view Name(Function function) {
  return kOverloads[kFirstOverload[static_cast<std::size_t>(function)]].name;
}

Type CheckCall(Function function, std::span<const Type> arguments, std::string& problem) {
  const Overload* only = nullptr;
  bool several = false;
  for (const Overload& overload : OverloadsOf(function)) {
    if (!Matches(overload.arguments, arguments.size(), [&](char letter, std::size_t at) {
          return MayAccept(letter, arguments[at].kind);
        })) {
      continue;
    }
    if (only != nullptr && only->result != overload.result) several = true;
    if (only == nullptr) only = &overload;
  }
  if (only == nullptr) {
    problem = "`" + std::string(Name(function)) + "` takes " + Signatures(function) + ", not (";
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      if (i > 0) problem += ", ";
      problem += Name(arguments[i]);
    }
    problem += ")";
    return {};
  }
  // Which numbers or elements come is known only when all overloads agree.
  if (several) return {};
  return ResultType(*only, arguments);
}

}  // namespace tributary::cel

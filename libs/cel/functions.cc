#include "libs/cel/functions.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include "re2/re2.h"

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
bool Accepts(char letter, Kind kind) {
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

// ---- texts ----

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

std::size_t CountCharacters(std::string_view text) {
  std::size_t count = 0;
  for (const char c : text) count += IsContinuation(c) ? 0 : 1;
  return count;
}

// Byte at which character number `index` begins; the end if there are not so many.
std::size_t ByteOf(std::string_view text, std::int64_t index) {
  std::size_t at = 0;
  while (at < text.size() && index > 0) {
    ++at;
    while (at < text.size() && IsContinuation(text[at])) ++at;
    --index;
  }
  return at;
}

std::string MapAscii(std::string_view text, char first, char last, int shift) {
  std::string mapped(text);
  for (char& c : mapped) {
    if (c >= first && c <= last) c = static_cast<char>(c + shift);
  }
  return mapped;
}

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\v\f\r";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

Value TooLong() { return Value::Error("the text grows too long"); }

Value Split(std::string_view text, std::string_view separator, std::int64_t limit, Budget& budget) {
  std::vector<Value> parts;
  if (limit == 0) return Value::OfList({});
  if (!budget.Spend(text.size() / 4 + 1)) return Value::Error("");
  while (limit < 0 || static_cast<std::int64_t>(parts.size()) + 1 < limit) {
    std::size_t end = separator.empty() ? ByteOf(text, 1) : text.find(separator);
    if (end == std::string_view::npos || (separator.empty() && end >= text.size())) break;
    parts.push_back(Value::String(std::string(text.substr(0, end))));
    text.remove_prefix(end + separator.size());
  }
  if (!separator.empty() || !text.empty()) parts.push_back(Value::String(std::string(text)));
  return Value::OfList(std::move(parts));
}

std::optional<std::string> ScalarText(const Value& value) {
  switch (value.kind()) {
    case Kind::kString:
      return std::string(value.text());
    case Kind::kInt:
      return std::to_string(value.integer());
    case Kind::kDecimal:
      return value.ToDecimal().ToText();
    case Kind::kBool:
      return value.boolean() ? "true" : "false";
    case Kind::kTimestamp:
      return ToText(value.timestamp());
    case Kind::kDuration:
      return DurationText(value.nanos());
    default:
      return std::nullopt;
  }
}

Value Join(const List& list, std::string_view separator, Budget& budget) {
  std::string joined;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Value item = list.at(i);
    if (item.kind() != Kind::kString) {
      return Value::Error("join: element " + std::to_string(i) + " is " +
                          std::string(KindName(item.kind())) + ", not string");
    }
    if (i > 0) joined += separator;
    joined += item.text();
    if (joined.size() > budget.text_bytes_max) return TooLong();
    if (!budget.Spend(1 + item.text().size() / 16)) return Value::Error("");
  }
  return Value::String(std::move(joined));
}

Value Replace(std::string_view text, std::string_view from, std::string_view to, std::int64_t count,
              Budget& budget) {
  if (from.empty()) return Value::Error("replace: the text to be replaced is empty");
  std::string replaced;
  while (count != 0) {
    const std::size_t found = text.find(from);
    if (found == std::string_view::npos) break;
    replaced += text.substr(0, found);
    replaced += to;
    text.remove_prefix(found + from.size());
    if (replaced.size() > budget.text_bytes_max) return TooLong();
    if (!budget.Spend(1 + (found + to.size()) / 16)) return Value::Error("");
    --count;
  }
  replaced += text;
  if (replaced.size() > budget.text_bytes_max) return TooLong();
  return Value::String(std::move(replaced));
}

// ---- numbers ----

Value Overflow() { return Value::Error("the result does not fit 64 bits"); }
Value TooManyDigits() { return Value::Error("the result has too many digits"); }

Value OfOptional(const std::optional<Decimal>& decimal) {
  return decimal ? Value::OfDecimal(*decimal) : TooManyDigits();
}

Value Calculate(Function function, const Value& a, const Value& b, Budget& budget) {
  if (a.kind() == Kind::kInt && b.kind() == Kind::kInt) {
    const std::int64_t x = a.integer();
    const std::int64_t y = b.integer();
    std::int64_t result = 0;
    switch (function) {
      case Function::kAdd:
        return __builtin_add_overflow(x, y, &result) ? Overflow() : Value::Int(result);
      case Function::kSubtract:
        return __builtin_sub_overflow(x, y, &result) ? Overflow() : Value::Int(result);
      case Function::kMultiply:
        return __builtin_mul_overflow(x, y, &result) ? Overflow() : Value::Int(result);
      default:
        if (y == 0) return Value::Error("division by zero");
        if (y == -1) {
          if (function == Function::kRemainder) return Value::Int(0);
          return __builtin_sub_overflow(std::int64_t{0}, x, &result) ? Overflow()
                                                                     : Value::Int(result);
        }
        return Value::Int(function == Function::kDivide ? x / y : x % y);
    }
  }
  if (!budget.Spend(4)) return Value::Error("");
  const Decimal x = a.ToDecimal();
  const Decimal y = b.ToDecimal();
  switch (function) {
    case Function::kAdd:
      return OfOptional(Decimal::Add(x, y));
    case Function::kSubtract:
      return OfOptional(Decimal::Subtract(x, y));
    case Function::kMultiply:
      return OfOptional(Decimal::Multiply(x, y));
    default: {
      if (y.is_zero()) return Value::Error("division by zero");
      const std::optional<Decimal> quotient = Decimal::DivideExactly(x, y);
      if (quotient) return Value::OfDecimal(*quotient);
      return Value::Error("the quotient has no end; use divide(x, y, digits)");
    }
  }
}

Value Add(const Value& a, const Value& b, Budget& budget) {
  switch (a.kind()) {
    case Kind::kString: {
      const std::size_t size = a.text().size() + b.text().size();
      if (size > budget.text_bytes_max) return TooLong();
      if (!budget.Spend(size / 16)) return Value::Error("");
      std::string joined(a.text());
      joined += b.text();
      return Value::String(std::move(joined));
    }
    case Kind::kList: {
      const std::size_t size = a.list().size() + b.list().size();
      if (!budget.Spend(size)) return Value::Error("");
      std::vector<Value> items;
      items.reserve(size);
      for (std::size_t i = 0; i < a.list().size(); ++i) items.push_back(a.list().at(i));
      for (std::size_t i = 0; i < b.list().size(); ++i) items.push_back(b.list().at(i));
      return Value::OfList(std::move(items));
    }
    case Kind::kTimestamp:
    case Kind::kDuration: {
      if (a.kind() == Kind::kDuration && b.kind() == Kind::kDuration) {
        std::int64_t sum = 0;
        return __builtin_add_overflow(a.nanos(), b.nanos(), &sum) ? Overflow() : Value::Span(sum);
      }
      const bool a_is_moment = a.kind() == Kind::kTimestamp;
      const std::optional<Timestamp> moved =
          Shift((a_is_moment ? a : b).timestamp(), (a_is_moment ? b : a).nanos());
      return moved ? Value::Time(*moved) : Value::Error("outside of the years 1 to 9999");
    }
    default:
      return Calculate(Function::kAdd, a, b, budget);
  }
}

Value Subtract(const Value& a, const Value& b, Budget& budget) {
  std::int64_t difference = 0;
  if (a.kind() == Kind::kTimestamp && b.kind() == Kind::kTimestamp) {
    const std::optional<std::int64_t> nanos = NanosBetween(b.timestamp(), a.timestamp());
    return nanos ? Value::Span(*nanos) : Overflow();
  }
  if (a.kind() == Kind::kTimestamp) {
    if (__builtin_sub_overflow(std::int64_t{0}, b.nanos(), &difference)) return Overflow();
    const std::optional<Timestamp> moved = Shift(a.timestamp(), difference);
    return moved ? Value::Time(*moved) : Value::Error("outside of the years 1 to 9999");
  }
  if (a.kind() == Kind::kDuration) {
    return __builtin_sub_overflow(a.nanos(), b.nanos(), &difference) ? Overflow()
                                                                     : Value::Span(difference);
  }
  return Calculate(Function::kSubtract, a, b, budget);
}

Value ParseInt(const Value& value) {
  if (value.kind() == Kind::kInt) return value;
  if (value.kind() == Kind::kTimestamp) return Value::Int(value.timestamp().seconds);
  if (value.kind() == Kind::kDecimal) {
    const std::optional<std::int64_t> integer = value.ToDecimal().Truncated().ToInt64();
    return integer ? Value::Int(*integer) : Overflow();
  }
  const std::string_view text = Trimmed(value.text());
  std::int64_t integer = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), integer);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) {
    return Value::Error("int: \"" + std::string(text.substr(0, 40)) +
                        "\" is not an integer of 64 bits");
  }
  return Value::Int(integer);
}

Value ParseDecimal(const Value& value) {
  if (value.is_number()) return Value::OfDecimal(value.ToDecimal());
  const std::string_view text = Trimmed(value.text());
  const std::optional<Decimal> decimal = Decimal::Parse(text);
  if (!decimal) {
    return Value::Error("decimal: \"" + std::string(text.substr(0, 40)) + "\" is not a number");
  }
  return Value::OfDecimal(*decimal);
}

Value Sum(const List& list, Budget& budget) {
  Value sum = Value::Int(0);
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Value item = list.at(i);
    if (!item.is_number()) {
      return Value::Error("sum: element " + std::to_string(i) + " is " +
                          std::string(KindName(item.kind())) + ", not a number");
    }
    if (!budget.Spend(1)) return Value::Error("");
    sum = Calculate(Function::kAdd, sum, item, budget);
    if (sum.is_error()) return sum;
  }
  return sum;
}

Value Extreme(std::span<const Value> values, bool largest, Budget& budget) {
  if (values.empty()) return {};
  Value best = values[0];
  for (const Value& value : values) {
    if (!budget.Spend(1)) return Value::Error("");
    const std::optional<std::strong_ordering> order = Compare(value, best);
    if (!order) {
      return Value::Error("cannot compare " + std::string(KindName(value.kind())) + " with " +
                          std::string(KindName(best.kind())));
    }
    if (largest ? *order > 0 : *order < 0) best = value;
  }
  return best;
}

// ---- lists ----

std::vector<Value> Items(const List& list) {
  std::vector<Value> items;
  items.reserve(list.size());
  for (std::size_t i = 0; i < list.size(); ++i) items.push_back(list.at(i));
  return items;
}

Value Sort(const List& list, Budget& budget) {
  std::vector<Value> items = Items(list);
  std::size_t levels = 1;
  for (std::size_t n = items.size(); n > 1; n /= 2) ++levels;
  if (!budget.Spend(items.size() * levels)) return Value::Error("");
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!Compare(items[i], items[0])) {
      return Value::Error("sort: cannot compare element " + std::to_string(i) + " (" +
                          std::string(KindName(items[i].kind())) + ") with element 0 (" +
                          std::string(KindName(items[0].kind())) + ")");
    }
  }
  std::stable_sort(items.begin(), items.end(),
                   [](const Value& a, const Value& b) { return *Compare(a, b) < 0; });
  return Value::OfList(std::move(items));
}

Value Distinct(const List& list, Budget& budget) {
  std::vector<Value> items;
  std::set<std::string> seen;
  for (std::size_t i = 0; i < list.size(); ++i) {
    Value item = list.at(i);
    std::string canonical;
    AppendCanonical(canonical, item);
    if (!budget.Spend(4 + canonical.size() / 16)) return Value::Error("");
    if (seen.insert(std::move(canonical)).second) items.push_back(std::move(item));
  }
  return Value::OfList(std::move(items));
}

Value Flatten(const List& list, Budget& budget) {
  std::vector<Value> items;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Value item = list.at(i);
    if (item.kind() != Kind::kList) {
      items.push_back(item);
    } else {
      if (!budget.Spend(item.list().size())) return Value::Error("");
      for (std::size_t j = 0; j < item.list().size(); ++j) items.push_back(item.list().at(j));
    }
    if (!budget.Spend(1)) return Value::Error("");
  }
  return Value::OfList(std::move(items));
}

Value Contains(const Value& item, const Value& range, Budget& budget) {
  if (range.kind() == Kind::kMap) {
    if (!budget.Spend(range.map().size() / 4)) return Value::Error("");
    for (std::size_t i = 0; i < range.map().size(); ++i) {
      if (range.map().name(i) == item.text()) return Value::Bool(true);
    }
    return Value::Bool(false);
  }
  for (std::size_t i = 0; i < range.list().size(); ++i) {
    if (!budget.Spend(1)) return Value::Error("");
    if (Equal(item, range.list().at(i))) return Value::Bool(true);
  }
  return Value::Bool(false);
}

// ---- time ----

Value CalendarPart(Function function, std::span<const Value> arguments) {
  if (arguments[0].kind() == Kind::kDuration) {
    const std::int64_t nanos = arguments[0].nanos();
    switch (function) {
      case Function::kGetHours:
        return Value::Int(nanos / 3'600'000'000'000);
      case Function::kGetMinutes:
        return Value::Int(nanos / 60'000'000'000);
      case Function::kGetSeconds:
        return Value::Int(nanos / 1'000'000'000);
      default:
        return Value::Int(nanos / 1'000'000 % 1000);
    }
  }
  std::int64_t offset = 0;
  if (arguments.size() > 1) {
    const std::optional<std::int64_t> parsed = ParseOffset(arguments[1].text());
    if (!parsed) return Value::Error("a time zone is `UTC` or an offset such as `-05:00`");
    offset = *parsed;
  }
  const CalendarTime time = ToCalendar(arguments[0].timestamp(), offset);
  switch (function) {
    case Function::kGetFullYear:
      return Value::Int(time.year);
    case Function::kGetMonth:
      return Value::Int(time.month - 1);
    case Function::kGetDate:
      return Value::Int(time.day);
    case Function::kGetDayOfMonth:
      return Value::Int(time.day - 1);
    case Function::kGetDayOfWeek:
      return Value::Int(time.weekday);
    case Function::kGetDayOfYear:
      return Value::Int(time.day_of_year - 1);
    case Function::kGetHours:
      return Value::Int(time.hour);
    case Function::kGetMinutes:
      return Value::Int(time.minute);
    case Function::kGetSeconds:
      return Value::Int(time.second);
    default:
      return Value::Int(arguments[0].timestamp().nanos / 1'000'000);
  }
}

Value FormatDate(std::span<const Value> arguments) {
  std::int64_t offset = 0;
  if (arguments.size() > 2) {
    const std::optional<std::int64_t> parsed = ParseOffset(arguments[2].text());
    if (!parsed) return Value::Error("a time zone is `UTC` or an offset such as `-05:00`");
    offset = *parsed;
  }
  std::optional<std::string> text = Format(arguments[0].timestamp(), arguments[1].text(), offset);
  if (!text) return Value::Error("formatDate knows %Y %y %m %d %e %j %H %M %S %b %B %a %A %z %%");
  return Value::String(std::move(*text));
}

Value ParseTime(const Value& value) {
  if (value.kind() == Kind::kTimestamp) return value;
  if (value.kind() == Kind::kInt) {
    const std::optional<Timestamp> moment = [&]() -> std::optional<Timestamp> {
      if (value.integer() < -62'135'596'800 || value.integer() > 253'402'300'799) {
        return std::nullopt;
      }
      return Timestamp{value.integer(), 0, 0};
    }();
    return moment ? Value::Time(*moment) : Value::Error("outside of the years 1 to 9999");
  }
  const std::optional<Timestamp> moment = ParseTimestamp(value.text());
  if (moment) return Value::Time(*moment);
  return Value::Error("timestamp: \"" + std::string(value.text().substr(0, 40)) +
                      "\" is not a time such as 2026-11-21T08:00:00Z");
}

std::string KindList(std::span<const Value> arguments) {
  std::string text = "(";
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (i > 0) text += ", ";
    text += KindName(arguments[i].kind());
  }
  return text + ")";
}

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
  for (const Overload& overload : OverloadsOf(function)) {
    if (Matches(overload.arguments, arguments.size(), [&](char letter, std::size_t at) {
          return Accepts(letter, arguments[at].kind());
        })) {
      return true;
    }
  }
  return false;
}

}  // namespace

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

std::shared_ptr<const re2::RE2> MakePattern(std::string_view pattern, std::string& problem) {
  re2::RE2::Options options(re2::RE2::Quiet);
  options.set_max_mem(1 << 20);
  auto made =
      std::make_shared<const re2::RE2>(re2::StringPiece(pattern.data(), pattern.size()), options);
  if (made->ok()) return made;
  problem = "not a regular expression (RE2): " + made->error();
  return nullptr;
}

Value Call(Function function, std::span<const Value> arguments, const re2::RE2* pattern,
           Budget& budget) {
  if (!MatchesOverload(function, arguments)) return Mismatch(function, arguments);
  const Value& a = arguments[0];
  switch (function) {
    case Function::kNot:
      return Value::Bool(!a.boolean());
    case Function::kNegate: {
      std::int64_t negated = 0;
      if (a.kind() == Kind::kDecimal) return Value::OfDecimal(a.ToDecimal().Negated());
      const bool is_span = a.kind() == Kind::kDuration;
      if (__builtin_sub_overflow(std::int64_t{0}, is_span ? a.nanos() : a.integer(), &negated)) {
        return Overflow();
      }
      return is_span ? Value::Span(negated) : Value::Int(negated);
    }
    case Function::kAdd:
      return Add(a, arguments[1], budget);
    case Function::kSubtract:
      return Subtract(a, arguments[1], budget);
    case Function::kMultiply:
    case Function::kDivide:
    case Function::kRemainder:
      return Calculate(function, a, arguments[1], budget);
    case Function::kLess:
      return Value::Bool(*Compare(a, arguments[1]) < 0);
    case Function::kLessOrEqual:
      return Value::Bool(*Compare(a, arguments[1]) <= 0);
    case Function::kGreater:
      return Value::Bool(*Compare(a, arguments[1]) > 0);
    case Function::kGreaterOrEqual:
      return Value::Bool(*Compare(a, arguments[1]) >= 0);
    case Function::kEqual:
      return Value::Bool(Equal(a, arguments[1]));
    case Function::kNotEqual:
      return Value::Bool(!Equal(a, arguments[1]));
    case Function::kIn:
      return Contains(a, arguments[1], budget);

    case Function::kSize:
      if (a.kind() == Kind::kList) return Value::Int(static_cast<std::int64_t>(a.list().size()));
      if (a.kind() == Kind::kMap) return Value::Int(static_cast<std::int64_t>(a.map().size()));
      if (!budget.Spend(a.text().size() / 16)) return Value::Error("");
      return Value::Int(static_cast<std::int64_t>(CountCharacters(a.text())));
    case Function::kLowerAscii:
    case Function::kUpperAscii:
      if (!budget.Spend(a.text().size() / 16)) return Value::Error("");
      return Value::String(function == Function::kLowerAscii
                               ? MapAscii(a.text(), 'A', 'Z', 'a' - 'A')
                               : MapAscii(a.text(), 'a', 'z', 'A' - 'a'));
    case Function::kTrim:
      return Value::String(std::string(Trimmed(a.text())));
    case Function::kSplit:
      return Split(a.text(), arguments[1].text(),
                   arguments.size() > 2 ? arguments[2].integer() : -1, budget);
    case Function::kJoin:
      return Join(a.list(), arguments.size() > 1 ? arguments[1].text() : std::string_view{},
                  budget);
    case Function::kReplace:
      return Replace(a.text(), arguments[1].text(), arguments[2].text(),
                     arguments.size() > 3 ? arguments[3].integer() : -1, budget);
    case Function::kSubstring: {
      if (!budget.Spend(a.text().size() / 16)) return Value::Error("");
      const auto size = static_cast<std::int64_t>(CountCharacters(a.text()));
      const std::int64_t begin = arguments[1].integer();
      const std::int64_t end = arguments.size() > 2 ? arguments[2].integer() : size;
      if (begin < 0 || begin > end || end > size) {
        return Value::Error("substring: from " + std::to_string(begin) + " to " +
                            std::to_string(end) + " of a text of " + std::to_string(size) +
                            " characters");
      }
      const std::size_t first = ByteOf(a.text(), begin);
      const std::size_t last = first + ByteOf(a.text().substr(first), end - begin);
      return Value::String(std::string(a.text().substr(first, last - first)));
    }
    case Function::kIndexOf: {
      if (!budget.Spend(a.text().size() / 16)) return Value::Error("");
      const std::size_t found = a.text().find(arguments[1].text());
      if (found == std::string_view::npos) return Value::Int(-1);
      return Value::Int(static_cast<std::int64_t>(CountCharacters(a.text().substr(0, found))));
    }
    case Function::kStartsWith:
      return Value::Bool(a.text().starts_with(arguments[1].text()));
    case Function::kEndsWith:
      return Value::Bool(a.text().ends_with(arguments[1].text()));
    case Function::kContains:
      if (!budget.Spend(a.text().size() / 16)) return Value::Error("");
      return Value::Bool(a.text().find(arguments[1].text()) != std::string_view::npos);
    case Function::kMatches: {
      std::shared_ptr<const re2::RE2> made;
      if (pattern == nullptr) {
        if (!budget.Spend(100 + arguments[1].text().size())) return Value::Error("");
        std::string problem;
        made = MakePattern(arguments[1].text(), problem);
        if (!made) return Value::Error(std::move(problem));
        pattern = made.get();
      }
      if (!budget.Spend(4 + a.text().size() / 4)) return Value::Error("");
      return Value::Bool(
          re2::RE2::PartialMatch(re2::StringPiece(a.text().data(), a.text().size()), *pattern));
    }

    case Function::kInt:
      return ParseInt(a);
    case Function::kDecimal:
      return ParseDecimal(a);
    case Function::kString:
      return a.kind() == Kind::kString ? a : Value::String(*ScalarText(a));
    case Function::kBool:
      if (a.kind() == Kind::kBool) return a;
      if (a.text() == "true" || a.text() == "True" || a.text() == "1") return Value::Bool(true);
      if (a.text() == "false" || a.text() == "False" || a.text() == "0") return Value::Bool(false);
      return Value::Error("bool: neither `true` nor `false`");
    case Function::kDyn:
      return a;
    case Function::kAbs:
      if (a.kind() == Kind::kDecimal) {
        const Decimal decimal = a.ToDecimal();
        return decimal.is_negative() ? Value::OfDecimal(decimal.Negated()) : a;
      }
      return a.integer() < 0 ? Call(Function::kNegate, arguments, nullptr, budget) : a;
    case Function::kRound: {
      const std::int64_t digits = arguments.size() > 1 ? arguments[1].integer() : 0;
      const auto limit = static_cast<std::int64_t>(Decimal::kDigitsMax);
      if (digits < -limit || digits > limit) {
        return Value::Error("round: at most " + std::to_string(limit) + " digits");
      }
      const Decimal rounded = a.ToDecimal().Rounded(static_cast<int>(digits));
      if (a.kind() != Kind::kInt) return Value::OfDecimal(rounded);
      const std::optional<std::int64_t> integer = rounded.ToInt64();
      return integer ? Value::Int(*integer) : Overflow();
    }
    case Function::kDivideTo: {
      const std::int64_t digits = arguments[2].integer();
      if (arguments[1].ToDecimal().is_zero()) return Value::Error("division by zero");
      if (digits < 0 || digits > 64) return Value::Error("divide: 0 to 64 digits");
      return OfOptional(
          Decimal::Divide(a.ToDecimal(), arguments[1].ToDecimal(), static_cast<int>(digits)));
    }
    case Function::kMin:
    case Function::kMax:
      if (a.kind() == Kind::kList) {
        return Extreme(Items(a.list()), function == Function::kMax, budget);
      }
      return Extreme(arguments, function == Function::kMax, budget);
    case Function::kSum:
      return Sum(a.list(), budget);

    case Function::kTimestamp:
      return ParseTime(a);
    case Function::kDuration: {
      if (a.kind() == Kind::kDuration) return a;
      const std::optional<std::int64_t> nanos = ParseDuration(a.text());
      return nanos ? Value::Span(*nanos)
                   : Value::Error("duration: write it like `36h`, `90s`, `1h30m`");
    }
    case Function::kGetFullYear:
    case Function::kGetMonth:
    case Function::kGetDate:
    case Function::kGetDayOfMonth:
    case Function::kGetDayOfWeek:
    case Function::kGetDayOfYear:
    case Function::kGetHours:
    case Function::kGetMinutes:
    case Function::kGetSeconds:
    case Function::kGetMilliseconds:
      return CalendarPart(function, arguments);
    case Function::kFormatDate:
      return FormatDate(arguments);

    case Function::kSort:
      return Sort(a.list(), budget);
    case Function::kDistinct:
      return Distinct(a.list(), budget);
    case Function::kReverse: {
      std::vector<Value> items = Items(a.list());
      if (!budget.Spend(items.size())) return Value::Error("");
      std::reverse(items.begin(), items.end());
      return Value::OfList(std::move(items));
    }
    case Function::kFlatten:
      return Flatten(a.list(), budget);
    case Function::kFirst:
      return a.list().size() == 0 ? Value() : a.list().at(0);
    case Function::kLast:
      return a.list().size() == 0 ? Value() : a.list().at(a.list().size() - 1);
    case Function::kKeys: {
      std::vector<Value> names;
      for (std::size_t i = 0; i < a.map().size(); ++i) {
        if (!budget.Spend(1)) return Value::Error("");
        names.push_back(Value::String(std::string(a.map().name(i))));
      }
      return Value::OfList(std::move(names));
    }
  }
  return Value::Error("not known");
}

}  // namespace tributary::cel

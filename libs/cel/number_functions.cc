#include <charconv>

#include "libs/cel/function_parts.h"
#include "libs/utf8/utf8.h"

namespace tributary::cel {
namespace {

using Kind = Value::Kind;

Value TooManyDigits() { return Value::Error("the result has too many digits"); }

Value OfOptional(const std::optional<Decimal>& decimal) {
  return decimal ? Value::OfDecimal(*decimal) : TooManyDigits();
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
    return Value::Error("int: \"" + utf8::Cleaned(text, kQuotedBytesMax) +
                        "\" is not an integer of 64 bits");
  }
  return Value::Int(integer);
}

Value ParseDecimal(const Value& value) {
  if (value.is_number()) return Value::OfDecimal(value.ToDecimal());
  const std::string_view text = Trimmed(value.text());
  const std::optional<Decimal> decimal = Decimal::Parse(text);
  if (!decimal) {
    return Value::Error("decimal: \"" + utf8::Cleaned(text, kQuotedBytesMax) +
                        "\" is not a number");
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

}  // namespace

Value Overflow() { return Value::Error("the result does not fit 64 bits"); }

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

Value CallNumber(Function function, std::span<const Value> arguments, Budget& budget) {
  const Value& a = arguments[0];
  switch (function) {
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
    default:
      return Value::Error("not known");
  }
}

}  // namespace tributary::cel

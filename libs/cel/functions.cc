#include "libs/cel/functions.h"

#include "libs/cel/function_parts.h"

namespace tributary::cel {
namespace {

using Kind = Value::Kind;

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

Value CallOperator(Function function, std::span<const Value> arguments, Budget& budget) {
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
    default:
      return Value::Error("not known");
  }
}

}  // namespace

Value Call(Function function, std::span<const Value> arguments, const re2::RE2* pattern,
           Budget& budget) {
  if (!MatchesOverload(function, arguments)) return Mismatch(function, arguments);
  // In the order of `Function`.
  if (function < Function::kSize) return CallOperator(function, arguments, budget);
  if (function < Function::kInt) return CallText(function, arguments, pattern, budget);
  if (function < Function::kTimestamp) return CallNumber(function, arguments, budget);
  if (function < Function::kSort) return CallTime(function, arguments);
  return CallList(function, arguments, budget);
}

}  // namespace tributary::cel

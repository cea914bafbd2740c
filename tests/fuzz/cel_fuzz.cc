#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/cel/decimal.h"
#include "libs/cel/program.h"
#include "libs/cel/timestamp.h"
#include "libs/json/tree.h"
#include "tests/fuzz/invariant.h"

// Expressions, and the values that they read as text. Input: an expression; behind a NUL, if there
// is one, the document that it sees as `customer`. It always ends, says the same each time, and
// keeps the type that was found before there was a value.

namespace tributary::cel {
namespace {

using fuzz::Require;

// The types that the environment declares.
constexpr std::string_view kCustomer = R"({
  "id": 42, "first_name": "Zoë", "phone": null, "email": "Z@X.test", "balance": "12.50",
  "price": 10.50, "big": 123456789012345678901234567890, "vip": true, "huge": 1e-2000000,
  "created_at": "2021-03-29T07:47:00-04:00", "mixed": {"a": [1, "2", null]}})";
constexpr std::string_view kSubscriptions = R"([
  {"id": 1, "state": "active", "cents": 1050, "product": {"handle": "pro"}},
  {"id": 2, "state": "canceled", "cents": -50, "product": null}])";

const Environment& TheEnvironment() {
  static const Environment environment = [] {
    const auto type = [](Type::Kind kind) { return Type{kind, nullptr, nullptr}; };
    Environment made;
    made.variables = {
        {"customer", Type::MapOf({{"id", type(Type::Kind::kInt)},
                                  {"first_name", type(Type::Kind::kString)},
                                  {"phone", type(Type::Kind::kString)},
                                  {"vip", type(Type::Kind::kBool)}})},
        {"subscriptions", Type::ListOf(Type::MapOf({{"id", type(Type::Kind::kInt)},
                                                    {"state", type(Type::Kind::kString)}}))},
        {"gone", type(Type::Kind::kBool)},
    };
    made.refused = {{"now", "exists in rules only"}};
    return made;
  }();
  return environment;
}

std::string CanonicalText(const Value& value) {
  std::string text;
  if (value.is_error()) return "error " + value.error();
  AppendCanonical(text, value);
  return text;
}

bool Keeps(const Type& type, const Value& value) {
  if (type.kind == Type::Kind::kDyn || value.is_nothing() || value.is_error()) return true;
  switch (value.kind()) {
    case Value::Kind::kBool:
      return type.kind == Type::Kind::kBool;
    // An integer is the decimal of that value.
    case Value::Kind::kInt:
    case Value::Kind::kDecimal:
      return type.kind == Type::Kind::kInt || type.kind == Type::Kind::kDecimal;
    case Value::Kind::kString:
      return type.kind == Type::Kind::kString;
    case Value::Kind::kList:
      return type.kind == Type::Kind::kList;
    case Value::Kind::kMap:
      return type.kind == Type::Kind::kMap;
    case Value::Kind::kTimestamp:
      return type.kind == Type::Kind::kTimestamp;
    case Value::Kind::kDuration:
      return type.kind == Type::Kind::kDuration;
    default:
      return false;
  }
}

void CheckExpression(std::string_view source, std::string_view document) {
  std::vector<Problem> problems;
  const std::optional<Program> program = Compile(source, TheEnvironment(), problems);
  Require(program.has_value() == problems.empty(), "a program, or problems");
  for (const Problem& problem : problems) {
    Require(problem.offset <= source.size(), "a problem has its place in the source");
    Require(!problem.message.empty(), "and says what it is");
    Require(PositionOf(source, problem.offset).line >= 1, "in a line");
    Require(!CaretText(source, problem.offset).empty(), "that can be shown");
  }
  if (!program) return;
  Require(program->source() == source, "a program knows its source");

  json::Tree tree;
  const bool is_declared = document.empty();
  const absl::StatusOr<json::Node> customer = tree.Parse(is_declared ? kCustomer : document);
  if (!customer.ok()) return;
  const Value variables[] = {Value::FromJson(*customer),
                             Value::FromJson(*tree.Parse(kSubscriptions)), Value::Bool(false)};
  // Less than in service, so that the search goes on.
  const EvaluationLimits limits = {.cost_max = 50'000, .text_bytes_max = 1u << 14};
  const Value value = program->Evaluate(variables, limits);
  const Value again = program->Evaluate(variables, limits);
  Require(CanonicalText(value) == CanonicalText(again), "it says the same each time");
  if (value.is_error()) {
    Require(!program->Explain(value).empty(), "an error is explained");
    return;
  }
  Require(Equal(value, again), "a value equals itself");
  if (is_declared) Require(Keeps(program->type(), value), "a value has the type that was foreseen");
  if (value.kind() == Value::Kind::kString) {
    Require(value.text().size() <= limits.text_bytes_max + source.size() + document.size() + 4096,
            "a text that is made stays within its limit");
  }
}

void CheckTexts(std::string_view text) {
  if (const std::optional<Decimal> decimal = Decimal::Parse(text)) {
    const std::string written = decimal->ToText();
    const std::optional<Decimal> again = Decimal::Parse(written);
    Require(again && *again == *decimal && again->ToText() == written, "a decimal is read back");
    const Decimal zero;
    Require(Decimal::Add(*decimal, zero) == *decimal, "adding nothing changes nothing");
    Require(Decimal::Subtract(*decimal, *decimal) == zero, "a decimal less itself is zero");
    Require(decimal->Negated().Negated() == *decimal, "twice negated is the same");
    Require(((*decimal <=> zero) < 0) == decimal->is_negative(), "negative is below zero");
  }
  if (const std::optional<Timestamp> time = ParseTimestamp(text)) {
    const std::string written = ToText(*time);
    const std::optional<Timestamp> again = ParseTimestamp(written);
    Require(again && *again == *time && ToText(*again) == written, "a time is read back");
  }
  if (const std::optional<std::int64_t> nanos = ParseDuration(text)) {
    const std::optional<std::int64_t> again = ParseDuration(DurationText(*nanos));
    Require(again == nanos, "a duration is read back");
  }
}

}  // namespace
}  // namespace tributary::cel

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tributary::fuzz::Choices choices(tributary::fuzz::TextOf(data, size));
  const std::string_view source = choices.TakeToNul();
  tributary::cel::CheckExpression(source, choices.rest());
  tributary::cel::CheckTexts(source);
  return 0;
}

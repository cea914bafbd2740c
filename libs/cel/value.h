#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "libs/cel/decimal.h"
#include "libs/cel/timestamp.h"
#include "libs/json/tree.h"

namespace tributary::cel {

class Value;

/// A list: of an expression's own making, or the array of a document where it stands. Lives as long
/// as a value of it.
struct List {
  /// Null pointer: it is the document's.
  const std::vector<Value>* own = nullptr;
  std::span<const json::Node> document;
  std::size_t size() const;
  Value at(std::size_t index) const;
};

/// The same of a map with names as keys, in the order of the document or of the literal.
struct Map {
  const std::vector<std::pair<std::string, Value>>* own = nullptr;
  std::span<const json::Member> document;
  std::size_t size() const;
  std::string_view name(std::size_t index) const;
  Value at(std::size_t index) const;
  /// Absent: no such key.
  Value Find(std::string_view name) const;
};

/// What an expression calculates with. Values made from a document, or by a program, refer to it
/// and must not outlive it. Cheap to copy; immutable.
class Value {
 public:
  /// In the order of `data_`.
  enum class Kind : std::uint8_t {
    // A key that is not there, or the first of no elements. Is not null, but equals it.
    kAbsent,
    kNull,
    kBool,
    kInt,
    kDecimal,
    kString,
    kList,
    kMap,
    kTimestamp,
    kDuration,
    // Inside an evaluation only.
    kError,
  };

  Value() = default;  // absent
  static Value Null();
  static Value Bool(bool boolean);
  static Value Int(std::int64_t integer);
  static Value OfDecimal(const Decimal& decimal);
  static Value String(std::string text);
  /// The bytes outlive the value.
  static Value StringView(std::string_view text);
  static Value OfList(std::vector<Value> items);
  static Value OfMap(std::vector<std::pair<std::string, Value>> members);
  static Value Time(const Timestamp& timestamp);
  static Value Span(std::int64_t nanos);
  /// Refers to the document. A number beyond Decimal's limit is an error value.
  static Value FromJson(const json::Node& document);
  /// A number as it stands in a document.
  static Value OfNumber(std::string_view text);
  static Value Error(std::string message);

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is_absent() const { return kind() == Kind::kAbsent; }
  bool is_error() const { return kind() == Kind::kError; }
  bool is_nothing() const { return kind() == Kind::kAbsent || kind() == Kind::kNull; }
  bool is_number() const { return kind() == Kind::kInt || kind() == Kind::kDecimal; }

  // Only for the kind that they name.
  bool boolean() const { return std::get<bool>(data_); }
  std::int64_t integer() const { return std::get<std::int64_t>(data_); }
  std::string_view text() const { return std::get<std::string_view>(data_); }
  const List& list() const { return std::get<List>(data_); }
  const Map& map() const { return std::get<Map>(data_); }
  const Timestamp& timestamp() const { return std::get<Timestamp>(data_); }
  std::int64_t nanos() const { return std::get<Nanos>(data_).count; }
  /// Of an integer or a decimal.
  Decimal ToDecimal() const;
  /// Why; and where in the expression, once known.
  const std::string& error() const { return std::get<const Failure*>(data_)->text; }
  std::optional<std::size_t> error_offset() const {
    return std::get<const Failure*>(data_)->offset;
  }
  /// An error with the place where it happened; the first place that is given stays.
  Value At(std::size_t offset) const;

 private:
  struct Absent {};
  struct Nothing {};
  struct Nanos {
    std::int64_t count = 0;
  };
  struct Failure {
    std::string text;
    std::optional<std::size_t> offset;
  };
  /// Makes what `data_` refers to.
  template <typename T>
  const T* Own(T made);

  std::variant<Absent, Nothing, bool, std::int64_t, const Decimal*, std::string_view, List, Map,
               Timestamp, Nanos, const Failure*>
      data_;
  /// Null pointer: `data_` refers to nothing, or to a document or a program. Beside it, so that
  /// copying what nearly all values are is copying bytes.
  std::shared_ptr<const void> own_;
};

/// `null`, `bool`, `int`, `decimal`, …, for messages.
std::string_view KindName(Value::Kind kind);
/// Numbers by value, lists and maps by content; absent equals null; other kinds differ.
bool Equal(const Value& a, const Value& b);
/// Of two numbers, strings, bools, timestamps or durations. None: cannot be compared.
std::optional<std::strong_ordering> Compare(const Value& a, const Value& b);
/// Appends a text that is the same for equal values and differs for others.
void AppendCanonical(std::string& out, const Value& value);

}  // namespace tributary::cel

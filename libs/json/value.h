#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"

// JSON whose numbers keep the text in which they were written: money and ids never pass through a
// binary float.

namespace tributary::json {

class Value;

/// A number as written, e.g. `10.50`, `1e3`, `9007199254740993`.
struct Number {
  std::string text;
  friend bool operator==(const Number&, const Number&) = default;
};

using Array = std::vector<Value>;
/// Members in the order of the document. Of a name that comes twice the first counts.
using Object = std::vector<std::pair<std::string, Value>>;

class Value {
 public:
  Value() = default;  // null
  // Implicit, so that a document can be written down as it reads.
  // NOLINTBEGIN(google-explicit-constructor)
  Value(std::nullptr_t) {}
  Value(bool boolean) : data_(boolean) {}
  Value(std::int64_t integer) : data_(Number{std::to_string(integer)}) {}
  Value(int integer) : data_(Number{std::to_string(integer)}) {}
  Value(Number number) : data_(std::move(number)) {}
  Value(std::string text) : data_(std::move(text)) {}
  Value(std::string_view text) : data_(std::string(text)) {}
  Value(const char* text) : data_(std::string(text)) {}
  Value(Array array) : data_(std::move(array)) {}
  Value(Object object) : data_(std::move(object)) {}
  // NOLINTEND(google-explicit-constructor)

  bool is_null() const { return std::holds_alternative<std::monostate>(data_); }
  const bool* boolean() const { return std::get_if<bool>(&data_); }
  const Number* number() const { return std::get_if<Number>(&data_); }
  const std::string* string() const { return std::get_if<std::string>(&data_); }
  const Array* array() const { return std::get_if<Array>(&data_); }
  Array* array() { return std::get_if<Array>(&data_); }
  const Object* object() const { return std::get_if<Object>(&data_); }
  Object* object() { return std::get_if<Object>(&data_); }

  /// Member of an object; null pointer if this is no object or has no such member.
  const Value* Find(std::string_view name) const;
  /// Follows `a.b.0.c`; null pointer if a step is missing.
  const Value* FindPath(std::string_view dotted_path) const;
  /// Sets a member of an object, replacing it in place; a null value becomes an object first.
  Value& Set(std::string_view name, Value value);
  /// Integer of a number or of a string of digits that fits.
  std::optional<std::int64_t> ToInt64() const;
  /// Text of a string or a number, for ids that are either. Null: none.
  std::optional<std::string> ToIdText() const;

  friend bool operator==(const Value&, const Value&) = default;

 private:
  std::variant<std::monostate, bool, Number, std::string, Array, Object> data_;
};

struct ParseLimits {
  std::size_t depth_max = 64;
  std::size_t bytes_max = 256u << 20;
};

/// Parses one whole document: anything behind it, malformed UTF-8, or nesting beyond the limit is
/// an error (kInvalidArgument) that names the byte offset.
absl::StatusOr<Value> Parse(std::string_view text, const ParseLimits& limits = {});

/// Compact text; numbers as they were written.
std::string Write(const Value& value);
/// Appends `text` quoted and escaped.
void AppendQuoted(std::string& out, std::string_view text);

/// The bytes of each element of an array document, or of the array under `member` of an object
/// document, exactly as they stand in `text`. The whole document is validated. The views live as
/// long as `text`.
absl::StatusOr<std::vector<std::string_view>> SplitArray(std::string_view text,
                                                         std::string_view member = {},
                                                         const ParseLimits& limits = {});

/// The bytes of the value of member `name` of an object document, exactly as they stand in `text`.
absl::StatusOr<std::string_view> MemberBytes(std::string_view text, std::string_view name,
                                             const ParseLimits& limits = {});

}  // namespace tributary::json

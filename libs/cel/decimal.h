#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tributary::cel {

/// An exact decimal number of at most `kDigitsMax` digits before and behind the point. Never a
/// binary float. One value has one representation.
class Decimal {
 public:
  /// Holds every number that a JSON document may bring, and the product of two of them.
  static constexpr std::size_t kDigitsMax = 700;

  /// Zero.
  Decimal() = default;
  explicit Decimal(std::int64_t integer);

  /// Digits with an optional minus sign, point and exponent. None: no number, or beyond the limit.
  static std::optional<Decimal> Parse(std::string_view text);

  /// Without exponent and without zeros at the end behind a point.
  std::string ToText() const;
  /// None: not an integer, or too large.
  std::optional<std::int64_t> ToInt64() const;

  bool is_zero() const { return digits_.empty(); }
  bool is_negative() const { return negative_; }
  bool is_integer() const { return scale_ == 0; }

  Decimal Negated() const;
  /// To `digits` places behind the point (before it, if negative), halves away from zero.
  Decimal Rounded(int digits) const;
  /// The integer towards zero.
  Decimal Truncated() const;

  /// None of these: beyond the limit.
  static std::optional<Decimal> Add(const Decimal& a, const Decimal& b);
  static std::optional<Decimal> Subtract(const Decimal& a, const Decimal& b);
  static std::optional<Decimal> Multiply(const Decimal& a, const Decimal& b);
  /// None: the quotient has no end within 64 places, or `b` is zero.
  static std::optional<Decimal> DivideExactly(const Decimal& a, const Decimal& b);
  /// To `digits` places behind the point, halves away from zero. None: `b` is zero, or beyond the
  /// limit.
  static std::optional<Decimal> Divide(const Decimal& a, const Decimal& b, int digits);

  friend bool operator==(const Decimal&, const Decimal&) = default;
  friend std::strong_ordering operator<=>(const Decimal& a, const Decimal& b);

 private:
  static std::optional<Decimal> Make(bool negative, std::string digits, std::int64_t scale);

  bool negative_ = false;
  // Of the unscaled number, without zeros in front; empty: zero.
  std::string digits_;
  // Places behind the point. Not above zero when the number ends in zeros.
  int scale_ = 0;
};

}  // namespace tributary::cel

#include "libs/cel/decimal.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include <boost/multiprecision/cpp_int.hpp>

namespace tributary::cel {
namespace {

using boost::multiprecision::cpp_int;
__extension__ typedef __int128 Int128;

// Up to this many digits, two numbers are brought to one scale inside 128 bits.
constexpr std::size_t kShortDigits = 18;
constexpr int kExactPlaces = 64;

Int128 ShortValue(std::string_view digits) {
  std::int64_t value = 0;
  for (const char digit : digits) value = value * 10 + (digit - '0');
  return value;
}

Int128 ShortPower(int exponent) {
  Int128 power = 1;
  for (int i = 0; i < exponent; ++i) power *= 10;
  return power;
}

std::string ShortDigits(Int128 magnitude) {
  std::string digits;
  for (; magnitude != 0; magnitude /= 10) {
    digits += static_cast<char>('0' + static_cast<int>(magnitude % 10));
  }
  std::reverse(digits.begin(), digits.end());
  return digits;
}

cpp_int LongValue(const std::string& digits) {
  return digits.empty() ? cpp_int(0) : cpp_int(digits);
}

cpp_int LongPower(int exponent) {
  return boost::multiprecision::pow(cpp_int(10), static_cast<unsigned>(exponent));
}

std::string LongDigits(const cpp_int& magnitude) {
  return magnitude == 0 ? std::string() : magnitude.str();
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

Decimal::Decimal(std::int64_t integer) : negative_(integer < 0) {
  if (integer != 0) digits_ = std::to_string(integer).substr(negative_ ? 1 : 0);
}

std::optional<Decimal> Decimal::Make(bool negative, std::string digits, std::int64_t scale) {
  const std::size_t leading = std::min(digits.find_first_not_of('0'), digits.size());
  digits.erase(0, leading);
  if (digits.empty()) return Decimal();
  const std::size_t last = digits.find_last_not_of('0');
  const auto trailing = static_cast<std::int64_t>(digits.size() - 1 - last);
  if (scale > 0) {
    const std::int64_t dropped = std::min(scale, trailing);
    digits.resize(digits.size() - static_cast<std::size_t>(dropped));
    scale -= dropped;
  } else if (scale < 0) {
    if (-scale > static_cast<std::int64_t>(kDigitsMax)) return std::nullopt;
    digits.append(static_cast<std::size_t>(-scale), '0');
    scale = 0;
  }
  const auto size = static_cast<std::int64_t>(digits.size());
  const auto limit = static_cast<std::int64_t>(kDigitsMax);
  if (scale > limit || size - scale > limit) return std::nullopt;
  Decimal made;
  made.negative_ = negative;
  made.digits_ = std::move(digits);
  made.scale_ = static_cast<int>(scale);
  return made;
}

std::optional<Decimal> Decimal::Parse(std::string_view text) {
  std::size_t at = 0;
  const bool negative = at < text.size() && text[at] == '-';
  if (negative) ++at;
  std::string digits;
  std::int64_t scale = 0;
  while (at < text.size() && IsDigit(text[at])) digits += text[at++];
  if (digits.empty()) return std::nullopt;
  if (at < text.size() && text[at] == '.') {
    const std::size_t begin = ++at;
    while (at < text.size() && IsDigit(text[at])) digits += text[at++];
    if (at == begin) return std::nullopt;
    scale = static_cast<std::int64_t>(at - begin);
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    const bool down = at < text.size() && text[at] == '-';
    if (at < text.size() && (text[at] == '-' || text[at] == '+')) ++at;
    if (at == text.size() || !IsDigit(text[at])) return std::nullopt;
    std::int64_t exponent = 0;
    const auto [end, error] =
        std::from_chars(text.data() + at, text.data() + text.size(), exponent);
    if (error != std::errc() || exponent > std::numeric_limits<std::int32_t>::max()) {
      return digits.find_first_not_of('0') == std::string::npos ? std::optional(Decimal())
                                                                : std::nullopt;
    }
    at = static_cast<std::size_t>(end - text.data());
    scale += down ? exponent : -exponent;
  }
  if (at != text.size()) return std::nullopt;
  return Make(negative, std::move(digits), scale);
}

std::string Decimal::ToText() const {
  if (is_zero()) return "0";
  std::string text = digits_;
  if (scale_ > 0) {
    const auto scale = static_cast<std::size_t>(scale_);
    if (text.size() <= scale) text.insert(0, scale + 1 - text.size(), '0');
    text.insert(text.size() - scale, 1, '.');
  }
  if (negative_) text.insert(0, 1, '-');
  return text;
}

std::optional<std::int64_t> Decimal::ToInt64() const {
  if (!is_integer()) return std::nullopt;
  const std::string text = ToText();
  std::int64_t integer = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), integer);
  if (error != std::errc()) return std::nullopt;
  return integer;
}

Decimal Decimal::Negated() const {
  Decimal negated = *this;
  negated.negative_ = !is_zero() && !negative_;
  return negated;
}

Decimal Decimal::Rounded(int digits) const {
  if (scale_ <= digits) return *this;
  const std::int64_t dropped = static_cast<std::int64_t>(scale_) - digits;
  const auto size = static_cast<std::int64_t>(digits_.size());
  if (dropped > size) return Decimal();
  const auto kept_size = static_cast<std::size_t>(size - dropped);
  std::string kept = digits_.substr(0, kept_size);
  if (digits_[kept_size] >= '5') {
    std::size_t at = kept.size();
    while (at > 0 && kept[at - 1] == '9') kept[--at] = '0';
    if (at > 0) {
      ++kept[at - 1];
    } else {
      kept.insert(0, 1, '1');
    }
  }
  return Make(negative_, std::move(kept), digits).value_or(*this);
}

Decimal Decimal::Truncated() const {
  if (is_integer()) return *this;
  const auto scale = static_cast<std::size_t>(scale_);
  if (digits_.size() <= scale) return Decimal();
  return *Make(negative_, digits_.substr(0, digits_.size() - scale), 0);
}

std::optional<Decimal> Decimal::Add(const Decimal& a, const Decimal& b) {
  const int scale = std::max(a.scale_, b.scale_);
  if (a.digits_.size() <= kShortDigits && b.digits_.size() <= kShortDigits &&
      scale <= static_cast<int>(kShortDigits)) {
    Int128 sum = ShortValue(a.digits_) * ShortPower(scale - a.scale_) * (a.negative_ ? -1 : 1) +
                 ShortValue(b.digits_) * ShortPower(scale - b.scale_) * (b.negative_ ? -1 : 1);
    const bool negative = sum < 0;
    if (negative) sum = -sum;
    return Make(negative, ShortDigits(sum), scale);
  }
  cpp_int left = LongValue(a.digits_) * LongPower(scale - a.scale_);
  cpp_int right = LongValue(b.digits_) * LongPower(scale - b.scale_);
  if (a.negative_) left = -left;
  if (b.negative_) right = -right;
  cpp_int sum = left + right;
  const bool negative = sum < 0;
  if (negative) sum = -sum;
  return Make(negative, LongDigits(sum), scale);
}

std::optional<Decimal> Decimal::Subtract(const Decimal& a, const Decimal& b) {
  return Add(a, b.Negated());
}

std::optional<Decimal> Decimal::Multiply(const Decimal& a, const Decimal& b) {
  const bool negative = a.negative_ != b.negative_;
  const std::int64_t scale = static_cast<std::int64_t>(a.scale_) + b.scale_;
  if (a.digits_.size() <= kShortDigits && b.digits_.size() <= kShortDigits) {
    return Make(negative, ShortDigits(ShortValue(a.digits_) * ShortValue(b.digits_)), scale);
  }
  return Make(negative, LongDigits(LongValue(a.digits_) * LongValue(b.digits_)), scale);
}

std::optional<Decimal> Decimal::DivideExactly(const Decimal& a, const Decimal& b) {
  if (b.is_zero()) return std::nullopt;
  const cpp_int dividend = LongValue(a.digits_) * LongPower(kExactPlaces + b.scale_);
  const cpp_int divisor = LongValue(b.digits_);
  cpp_int quotient;
  cpp_int remainder;
  boost::multiprecision::divide_qr(dividend, divisor, quotient, remainder);
  if (remainder != 0) return std::nullopt;
  // Exact, but with more places than may be told apart from an endless quotient.
  std::optional<Decimal> made =
      Make(a.negative_ != b.negative_, LongDigits(quotient), a.scale_ + kExactPlaces);
  return made;
}

std::optional<Decimal> Decimal::Divide(const Decimal& a, const Decimal& b, int digits) {
  const int limit = static_cast<int>(kDigitsMax);
  if (b.is_zero() || digits < 0 || digits > limit) return std::nullopt;
  // Twice the quotient, so that a half can be seen.
  const cpp_int dividend = LongValue(a.digits_) * LongPower(digits + b.scale_) * 2;
  const cpp_int divisor = LongValue(b.digits_) * LongPower(a.scale_);
  const cpp_int doubled = dividend / divisor;
  return Make(a.negative_ != b.negative_, LongDigits((doubled + 1) / 2), digits);
}

std::strong_ordering operator<=>(const Decimal& a, const Decimal& b) {
  if (a.negative_ != b.negative_) {
    return a.negative_ ? std::strong_ordering::less : std::strong_ordering::greater;
  }
  const auto magnitude = [&]() -> std::strong_ordering {
    const auto before = [](const Decimal& x) {
      return static_cast<std::int64_t>(x.digits_.size()) - x.scale_;
    };
    if (a.is_zero() || b.is_zero()) return b.is_zero() <=> a.is_zero();
    if (before(a) != before(b)) return before(a) <=> before(b);
    // No zeros in front: the digits compare as text, and a shorter one continues with zeros.
    const int order = a.digits_.compare(b.digits_);
    const std::size_t common = std::min(a.digits_.size(), b.digits_.size());
    if (a.digits_.compare(0, common, b.digits_, 0, common) != 0) return order <=> 0;
    const std::string& longer = a.digits_.size() > b.digits_.size() ? a.digits_ : b.digits_;
    if (longer.find_first_not_of('0', common) == std::string::npos) {
      return std::strong_ordering::equal;
    }
    return a.digits_.size() <=> b.digits_.size();
  }();
  return a.negative_ ? 0 <=> magnitude : magnitude;
}

}  // namespace tributary::cel

#include "libs/cel/token.h"

#include <array>
#include <charconv>

namespace tributary::cel {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsHex(char c) { return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

void AppendUtf8(std::string& out, std::uint32_t code_point) {
  const auto put = [&out](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | (code_point >> 6));
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | (code_point >> 12));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | (code_point >> 18));
    put(0x80 | ((code_point >> 12) & 0x3F));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

}  // namespace

Token Lexer::Next() {
  for (;;) {
    while (at_ < source_.size() &&
           (source_[at_] == ' ' || source_[at_] == '\t' || source_[at_] == '\n' ||
            source_[at_] == '\r' || source_[at_] == '\f')) {
      ++at_;
    }
    if (!source_.substr(at_).starts_with("//")) break;
    while (at_ < source_.size() && source_[at_] != '\n') ++at_;
  }
  const std::size_t begin = at_;
  if (at_ == source_.size()) return {Token::Kind::kEnd, begin, ""};
  const char c = source_[at_];
  if (IsDigit(c) || (c == '.' && IsDigit(At(at_ + 1)))) return NumberToken();
  if (c == '"' || c == '\'') return StringToken(begin, false);
  if ((c == 'r' || c == 'R') && (At(at_ + 1) == '"' || At(at_ + 1) == '\'')) {
    ++at_;
    return StringToken(begin, true);
  }
  if ((c == 'b' || c == 'B') && (At(at_ + 1) == '"' || At(at_ + 1) == '\'')) {
    return {Token::Kind::kBad, begin, "there are no byte strings here"};
  }
  if (IsNameStart(c)) {
    while (IsNameStart(At(at_)) || IsDigit(At(at_))) ++at_;
    std::string name(source_.substr(begin, at_ - begin));
    if (name == "in") return {Token::Kind::kSymbol, begin, std::move(name)};
    return {Token::Kind::kName, begin, std::move(name)};
  }
  constexpr std::array<std::string_view, 6> kPairs = {"<=", ">=", "==", "!=", "&&", "||"};
  for (const std::string_view pair : kPairs) {
    if (source_.substr(at_).starts_with(pair)) {
      at_ += 2;
      return {Token::Kind::kSymbol, begin, std::string(pair)};
    }
  }
  constexpr std::string_view kSingles = "()[]{}.,:?!<>+-*/%";
  if (kSingles.find(c) != std::string_view::npos) {
    ++at_;
    return {Token::Kind::kSymbol, begin, std::string(1, c)};
  }
  if (c == '=') return {Token::Kind::kBad, begin, "`=` alone; `==` compares"};
  if (c == '&') return {Token::Kind::kBad, begin, "`&` alone; write `&&`"};
  if (c == '|') return {Token::Kind::kBad, begin, "`|` alone; write `||`"};
  return {Token::Kind::kBad, begin, "a character that means nothing here"};
}

Token Lexer::NumberToken() {
  const std::size_t begin = at_;
  if (At(at_) == '0' && (At(at_ + 1) == 'x' || At(at_ + 1) == 'X') && IsHex(At(at_ + 2))) {
    at_ += 2;
    while (IsHex(At(at_))) ++at_;
  } else {
    while (IsDigit(At(at_))) ++at_;
    bool decimal = false;
    if (At(at_) == '.' && IsDigit(At(at_ + 1))) {
      decimal = true;
      ++at_;
      while (IsDigit(At(at_))) ++at_;
    }
    if (At(at_) == 'e' || At(at_) == 'E') {
      std::size_t digits = at_ + 1;
      if (At(digits) == '+' || At(digits) == '-') ++digits;
      if (!IsDigit(At(digits))) return {Token::Kind::kBad, begin, "an exponent without digits"};
      decimal = true;
      at_ = digits;
      while (IsDigit(At(at_))) ++at_;
    }
    if (decimal) {
      std::string text(source_.substr(begin, at_ - begin));
      if (text.starts_with('.')) text.insert(0, 1, '0');
      return {Token::Kind::kDecimal, begin, std::move(text)};
    }
  }
  std::string text(source_.substr(begin, at_ - begin));
  // Unsigned ones are integers like all others here.
  if (At(at_) == 'u' || At(at_) == 'U') ++at_;
  if (IsNameStart(At(at_))) return {Token::Kind::kBad, begin, "a letter inside a number"};
  return {Token::Kind::kInt, begin, std::move(text)};
}

Token Lexer::StringToken(std::size_t begin, bool raw) {
  const char quote = source_[at_];
  const std::string triple(3, quote);
  const bool is_triple = source_.substr(at_).starts_with(triple);
  at_ += is_triple ? 3 : 1;
  std::string text;
  for (;;) {
    if (at_ >= source_.size()) return {Token::Kind::kBad, begin, "a string without its end"};
    const char c = source_[at_];
    if (is_triple ? source_.substr(at_).starts_with(triple) : c == quote) {
      at_ += is_triple ? 3 : 1;
      return {Token::Kind::kString, begin, std::move(text)};
    }
    if (!is_triple && (c == '\n' || c == '\r')) {
      return {Token::Kind::kBad, begin, "a string without its end on the line"};
    }
    if (raw || c != '\\') {
      text += c;
      ++at_;
      continue;
    }
    const std::size_t escape = at_++;
    const char what = At(at_++);
    std::size_t hex_digits = 0;
    switch (what) {
      case 'n':
        text += '\n';
        continue;
      case 't':
        text += '\t';
        continue;
      case 'r':
        text += '\r';
        continue;
      case 'a':
        text += '\a';
        continue;
      case 'b':
        text += '\b';
        continue;
      case 'f':
        text += '\f';
        continue;
      case 'v':
        text += '\v';
        continue;
      case '\\':
      case '"':
      case '\'':
      case '`':
      case '?':
        text += what;
        continue;
      case 'x':
      case 'X':
        hex_digits = 2;
        break;
      case 'u':
        hex_digits = 4;
        break;
      case 'U':
        hex_digits = 8;
        break;
      case '0':
      case '1':
      case '2':
      case '3':
        break;
      default:
        return {Token::Kind::kBad, escape, "an escape that is not known"};
    }
    const bool octal = hex_digits == 0;
    const std::string_view digits =
        octal ? source_.substr(at_ - 1, 3) : source_.substr(at_, hex_digits);
    std::uint32_t code_point = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), code_point, octal ? 8 : 16);
    if (error != std::errc() || end != digits.data() + (octal ? 3 : hex_digits) ||
        digits.size() != (octal ? 3 : hex_digits) || code_point > 0x10FFFF ||
        (code_point >= 0xD800 && code_point <= 0xDFFF)) {
      return {Token::Kind::kBad, escape, "an escape that names no character"};
    }
    at_ += octal ? 2 : hex_digits;
    AppendUtf8(text, code_point);
  }
}

}  // namespace tributary::cel

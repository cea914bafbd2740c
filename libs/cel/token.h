#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

// Private to this library.

namespace tributary::cel {

/// Of UTF-8: a byte of a character, and not its first.
inline bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

struct Token {
  enum class Kind : std::uint8_t {
    kEnd,
    kInt,
    kDecimal,
    // `text` is what the literal says.
    kString,
    kName,
    // Operators, brackets, and `in`.
    kSymbol,
    // `text` says what is wrong.
    kBad,
  };
  Kind kind = Kind::kEnd;
  std::size_t offset = 0;
  std::string text;
};

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}
  Token Next();

 private:
  Token NumberToken();
  Token StringToken(std::size_t begin, bool raw);
  char At(std::size_t at) const { return at < source_.size() ? source_[at] : '\0'; }

  std::string_view source_;
  std::size_t at_ = 0;
};

}  // namespace tributary::cel

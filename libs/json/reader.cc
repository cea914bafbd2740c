#include "libs/json/reader.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace tributary::json {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Eight bytes at once: each byte of the result that is not zero has its highest bit set. What is
// found behind the first such byte may be none.
constexpr std::uint64_t kOnes = 0x0101010101010101u;
constexpr std::uint64_t kHighBits = 0x8080808080808080u;
std::uint64_t ZeroBytes(std::uint64_t bytes) { return (bytes - kOnes) & ~bytes & kHighBits; }
std::uint64_t BytesEqualTo(std::uint64_t bytes, char c) {
  return ZeroBytes(bytes ^ (kOnes * static_cast<unsigned char>(c)));
}
std::uint64_t BytesBelowSpace(std::uint64_t bytes) {
  return (bytes - kOnes * 0x20u) & ~bytes & kHighBits;
}

void AppendUtf8(std::string& out, unsigned code) {
  const auto add = [&out](unsigned byte) { out += static_cast<char>(byte); };
  if (code < 0x80) {
    add(code);
  } else if (code < 0x800) {
    add(0xC0 | (code >> 6));
    add(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    add(0xE0 | (code >> 12));
    add(0x80 | ((code >> 6) & 0x3F));
    add(0x80 | (code & 0x3F));
  } else {
    add(0xF0 | (code >> 18));
    add(0x80 | ((code >> 12) & 0x3F));
    add(0x80 | ((code >> 6) & 0x3F));
    add(0x80 | (code & 0x3F));
  }
}

}  // namespace

std::size_t PlainUntil(std::string_view text, std::size_t at) {
#ifdef __SSE2__
  // Sixteen at once: as signed bytes, those below a space are the control characters and all that
  // are not ASCII.
  for (; at + 16 <= text.size(); at += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data() + at));
    const __m128i found = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')),
                                                    _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'))),
                                       _mm_cmplt_epi8(bytes, _mm_set1_epi8(' ')));
    const auto mask = static_cast<unsigned>(_mm_movemask_epi8(found));
    if (mask != 0) return at + static_cast<std::size_t>(std::countr_zero(mask));
  }
#endif
  for (; at + 8 <= text.size(); at += 8) {
    std::uint64_t bytes = 0;
    std::memcpy(&bytes, text.data() + at, 8);
    const std::uint64_t found = (bytes & kHighBits) | BytesEqualTo(bytes, '"') |
                                BytesEqualTo(bytes, '\\') | BytesBelowSpace(bytes);
    if (found == 0) continue;
    if constexpr (std::endian::native != std::endian::little) break;
    return at + static_cast<std::size_t>(std::countr_zero(found)) / 8;
  }
  for (; at < text.size(); ++at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x20 || byte >= 0x80 || byte == '"' || byte == '\\') break;
  }
  return at;
}

// RFC 3629: nothing longer than it need be, no surrogates, nothing beyond U+10FFFF.
std::size_t Reader::CharacterBytes(std::size_t at) const {
  const auto byte = [&](std::size_t i) {
    return at + i < text_.size() ? static_cast<unsigned char>(text_[at + i]) : 0u;
  };
  const auto is_tail = [&](std::size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const unsigned first = byte(0);
  const unsigned second = byte(1);
  if (first >= 0xC2 && first <= 0xDF) return is_tail(1) ? 2 : 0;
  if ((first & 0xF0) == 0xE0) {
    if (!is_tail(1) || !is_tail(2)) return 0;
    if (first == 0xE0 && second < 0xA0) return 0;
    return first == 0xED && second >= 0xA0 ? 0 : 3;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    if (!is_tail(1) || !is_tail(2) || !is_tail(3)) return 0;
    if (first == 0xF0 && second < 0x90) return 0;
    return first == 0xF4 && second >= 0x90 ? 0 : 4;
  }
  return 0;
}

bool Reader::ReadText() {
  const std::size_t begin = ++at_;
  for (;;) {
    at_ = PlainUntil(text_, at_);
    if (at_ >= text_.size()) return Fail("a string has no end");
    const char c = text_[at_];
    if (c == '"') {
      found_ = text_.substr(begin, at_ - begin);
      is_in_place_ = true;
      ++at_;
      return true;
    }
    if (c == '\\') return ReadEscaped(begin);
    const std::size_t bytes = CharacterBytes(at_);
    if (bytes == 0) return Fail("a string holds a control character, or is no UTF-8");
    at_ += bytes;
  }
}

bool Reader::ReadEscaped(std::size_t begin) {
  unescaped_.assign(text_, begin, at_ - begin);
  for (;;) {
    const std::size_t from = at_;
    at_ = PlainUntil(text_, at_);
    unescaped_.append(text_, from, at_ - from);
    if (at_ >= text_.size()) return Fail("a string has no end");
    const char c = text_[at_];
    if (c == '"') {
      found_ = unescaped_;
      is_in_place_ = false;
      ++at_;
      return true;
    }
    if (c == '\\') {
      if (!ReadEscape()) return false;
      continue;
    }
    const std::size_t bytes = CharacterBytes(at_);
    if (bytes == 0) return Fail("a string holds a control character, or is no UTF-8");
    unescaped_.append(text_, at_, bytes);
    at_ += bytes;
  }
}

bool Reader::ReadEscape() {
  const std::size_t begin = at_;
  ++at_;
  const char c = at_ < text_.size() ? text_[at_] : '\0';
  ++at_;
  switch (c) {
    case '"':
    case '\\':
    case '/':
      unescaped_ += c;
      return true;
    case 'b':
      unescaped_ += '\b';
      return true;
    case 'f':
      unescaped_ += '\f';
      return true;
    case 'n':
      unescaped_ += '\n';
      return true;
    case 'r':
      unescaped_ += '\r';
      return true;
    case 't':
      unescaped_ += '\t';
      return true;
    case 'u':
      break;
    default:
      return FailAt(begin, "no such escape");
  }
  unsigned code = 0;
  if (!ReadHex(code)) return FailAt(begin, "an escape wants four hex digits");
  if (code >= 0xD800 && code <= 0xDFFF) {
    unsigned low = 0;
    const bool has_low = code <= 0xDBFF && text_.substr(std::min(at_, text_.size()), 2) == "\\u";
    if (has_low) at_ += 2;
    if (!has_low || !ReadHex(low) || low < 0xDC00 || low > 0xDFFF) {
      return FailAt(begin, "a string holds a surrogate without its partner");
    }
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  }
  AppendUtf8(unescaped_, code);
  return true;
}

bool Reader::ReadHex(unsigned& unit) {
  unit = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    if (IsDigit(c)) {
      unit = unit * 16 + static_cast<unsigned>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      unit = unit * 16 + static_cast<unsigned>(c - 'a' + 10);
    } else if (c >= 'A' && c <= 'F') {
      unit = unit * 16 + static_cast<unsigned>(c - 'A' + 10);
    } else {
      return false;
    }
  }
  return true;
}

bool Reader::ReadNumber() {
  const std::size_t begin = at_;
  const auto next = [this] { return at_ < text_.size() ? text_[at_] : '\0'; };
  const auto skip_digits = [&] {
    if (!IsDigit(next())) return false;
    while (IsDigit(next())) ++at_;
    return true;
  };
  if (next() == '-') ++at_;
  if (next() == '0') {
    ++at_;
  } else if (!skip_digits()) {
    return at_ >= text_.size() ? Fail("a value is missing") : Fail("no value begins like this");
  }
  if (next() == '.') {
    ++at_;
    if (!skip_digits()) return Fail("a number has no digit behind its point");
  }
  if (next() == 'e' || next() == 'E') {
    ++at_;
    if (next() == '+' || next() == '-') ++at_;
    if (!skip_digits()) return Fail("a number has no digit in its exponent");
  }
  found_ = text_.substr(begin, at_ - begin);
  return true;
}

bool Reader::ReadWord(std::string_view word) {
  if (text_.substr(at_, word.size()) != word) return Fail("no value begins like this");
  at_ += word.size();
  return true;
}

}  // namespace tributary::json

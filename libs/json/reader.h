#pragma once

#include <cstddef>
#include <string>
#include <string_view>

// Reads JSON text strictly (RFC 8259), in one pass, and tells a handler what is there. Numbers stay
// the text in which they were written. Private to this library.

namespace tributary::json {

/// First byte from `at` on that is not a plain character of ASCII within a string; the size: none.
std::size_t PlainUntil(std::string_view text, std::size_t at);

/// A cursor over JSON text. After a failure nothing may be read any more.
class Reader {
 public:
  /// `text` outlives the reader.
  Reader(std::string_view text, std::size_t depth_max) : text_(text), depth_max_(depth_max) {}

  /// Byte that comes next; after a failure the byte where it is.
  std::size_t at() const { return at_; }
  /// Empty: nothing is wrong so far.
  std::string_view problem() const { return problem_; }

  /// The byte behind white space. NUL: the text is over, or there is a NUL, which nothing accepts.
  char Peek() {
    while (at_ < text_.size() && IsSpace(text_[at_])) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  /// False: another byte stands there; only white space was read.
  bool Take(char wanted) {
    if (Peek() != wanted) return false;
    ++at_;
    return true;
  }
  /// The end of a container. False, a failure: another byte stands there.
  bool TakeLast(char wanted) { return Take(wanted) || Fail(kNoEnd); }
  /// False, a failure: more than white space is left.
  bool TakeEnd() {
    Peek();
    return at_ == text_.size() || Fail("more behind the document");
  }

  /// Reads one value, whole. The handler has
  ///   Null() Bool(bool) Number(text) String(text, in_place) Key(text, in_place)
  ///   StartObject() EndObject() StartArray() EndArray()
  /// Text that is not in place had escapes; it is gone at the next call. False: see problem().
  template <typename Handler>
  bool ReadValue(Handler& handler) {
    const std::size_t outside = open_.size();
    for (;;) {
      switch (Peek()) {
        case '{':
          if (!Open('}')) return false;
          handler.StartObject();
          if (Peek() == '}') break;
          if (!ReadKey(handler)) return false;
          continue;
        case '[':
          if (!Open(']')) return false;
          handler.StartArray();
          if (Peek() == ']') break;
          continue;
        case '"':
          if (!ReadText()) return false;
          handler.String(found_, is_in_place_);
          break;
        case 't':
          if (!ReadWord("true")) return false;
          handler.Bool(true);
          break;
        case 'f':
          if (!ReadWord("false")) return false;
          handler.Bool(false);
          break;
        case 'n':
          if (!ReadWord("null")) return false;
          handler.Null();
          break;
        default:
          if (!ReadNumber()) return false;
          handler.Number(found_);
      }
      // What ends here, until another value is due.
      while (open_.size() > outside && Take(open_.back())) {
        const bool is_object = open_.back() == '}';
        open_.pop_back();
        if (is_object) {
          handler.EndObject();
        } else {
          handler.EndArray();
        }
      }
      if (open_.size() == outside) return true;
      if (!Take(',')) return Fail(kNoEnd);
      if (open_.back() == '}' && !ReadKey(handler)) return false;
    }
  }

  /// A member's name, told by Key(), and the colon behind it.
  template <typename Handler>
  bool ReadKey(Handler& handler) {
    if (Peek() != '"') return Fail("a name is wanted here");
    if (!ReadText()) return false;
    handler.Key(found_, is_in_place_);
    return Take(':') || Fail("a colon is wanted here");
  }

 private:
  static constexpr std::string_view kNoEnd = "a comma or the end of the container is wanted here";

  static bool IsSpace(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

  bool Fail(std::string_view problem) {
    problem_ = problem;
    return false;
  }
  bool FailAt(std::size_t at, std::string_view problem) {
    at_ = at;
    return Fail(problem);
  }
  bool Open(char end) {
    ++at_;
    open_.push_back(end);
    return open_.size() <= depth_max_ || Fail("nested too deeply");
  }

  // Each fills `found_`.
  bool ReadText();
  bool ReadNumber();
  bool ReadWord(std::string_view word);

  bool ReadEscaped(std::size_t begin);
  bool ReadEscape();
  bool ReadHex(unsigned& unit);
  /// Bytes of the character of several bytes at `at`; 0: it is no UTF-8.
  std::size_t CharacterBytes(std::size_t at) const;

  std::string_view text_;
  const std::size_t depth_max_;
  std::size_t at_ = 0;
  std::string_view problem_;
  /// The bytes that will close what is open.
  std::string open_;
  std::string_view found_;
  bool is_in_place_ = true;
  std::string unescaped_;
};

}  // namespace tributary::json

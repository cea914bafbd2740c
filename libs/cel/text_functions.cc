#include "libs/cel/function_parts.h"
#include "libs/cel/token.h"
#include "re2/re2.h"

namespace tributary::cel {
namespace {

using Kind = Value::Kind;

std::size_t CountCharacters(std::string_view text) {
  std::size_t count = 0;
  for (const char c : text) count += IsContinuation(c) ? 0 : 1;
  return count;
}

// Byte at which character number `index` begins; the end if there are not so many.
std::size_t ByteOf(std::string_view text, std::int64_t index) {
  std::size_t at = 0;
  while (at < text.size() && index > 0) {
    ++at;
    while (at < text.size() && IsContinuation(text[at])) ++at;
    --index;
  }
  return at;
}

std::string MapAscii(std::string_view text, char first, char last, int shift) {
  std::string mapped(text);
  for (char& c : mapped) {
    if (c >= first && c <= last) c = static_cast<char>(c + shift);
  }
  return mapped;
}

Value Split(std::string_view text, std::string_view separator, std::int64_t limit, Budget& budget) {
  std::vector<Value> parts;
  if (limit == 0) return Value::OfList({});
  if (!budget.Spend(text.size() / 4 + 1)) return Value::Error("");
  while (limit < 0 || static_cast<std::int64_t>(parts.size()) + 1 < limit) {
    std::size_t end = separator.empty() ? ByteOf(text, 1) : text.find(separator);
    if (end == std::string_view::npos || (separator.empty() && end >= text.size())) break;
    parts.push_back(Value::String(std::string(text.substr(0, end))));
    text.remove_prefix(end + separator.size());
  }
  if (!separator.empty() || !text.empty()) parts.push_back(Value::String(std::string(text)));
  return Value::OfList(std::move(parts));
}

Value Join(const List& list, std::string_view separator, Budget& budget) {
  std::string joined;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Value item = list.at(i);
    if (item.kind() != Kind::kString) {
      return Value::Error("join: element " + std::to_string(i) + " is " +
                          std::string(KindName(item.kind())) + ", not string");
    }
    if (i > 0) joined += separator;
    joined += item.text();
    if (joined.size() > budget.text_bytes_max) return TooLong();
    if (!budget.Spend(1 + item.text().size() / 16)) return Value::Error("");
  }
  return Value::String(std::move(joined));
}

Value Replace(std::string_view text, std::string_view from, std::string_view to, std::int64_t count,
              Budget& budget) {
  if (from.empty()) return Value::Error("replace: the text to be replaced is empty");
  std::string replaced;
  while (count != 0) {
    const std::size_t found = text.find(from);
    if (found == std::string_view::npos) break;
    replaced += text.substr(0, found);
    replaced += to;
    text.remove_prefix(found + from.size());
    if (replaced.size() > budget.text_bytes_max) return TooLong();
    if (!budget.Spend(1 + (found + to.size()) / 16)) return Value::Error("");
    --count;
  }
  replaced += text;
  if (replaced.size() > budget.text_bytes_max) return TooLong();
  return Value::String(std::move(replaced));
}

}  // namespace

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\v\f\r";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

Value TooLong() { return Value::Error("the text grows too long"); }

std::shared_ptr<const re2::RE2> MakePattern(std::string_view pattern, std::string& problem) {
  re2::RE2::Options options(re2::RE2::Quiet);
  options.set_max_mem(1 << 20);
  auto made =
      std::make_shared<const re2::RE2>(re2::StringPiece(pattern.data(), pattern.size()), options);
  if (made->ok()) return made;
  problem = "not a regular expression (RE2): " + made->error();
  return nullptr;
}

Value CallText(Function function, std::span<const Value> arguments, const re2::RE2* pattern,
               Budget& budget) {
  const Value& a = arguments[0];
  switch (function) {
    case Function::kSize:
      if (a.kind() == Kind::kList) return Value::Int(static_cast<std::int64_t>(a.list().size()));
      if (a.kind() == Kind::kMap) return Value::Int(static_cast<std::int64_t>(a.map().size()));
      if (!budget.Spend(a.text().size() / 16)) return Value::Error("");
      return Value::Int(static_cast<std::int64_t>(CountCharacters(a.text())));
    case Function::kLowerAscii:
    case Function::kUpperAscii:
      if (!budget.Spend(a.text().size() / 16)) return Value::Error("");
      return Value::String(function == Function::kLowerAscii
                               ? MapAscii(a.text(), 'A', 'Z', 'a' - 'A')
                               : MapAscii(a.text(), 'a', 'z', 'A' - 'a'));
    case Function::kTrim:
      return Value::String(std::string(Trimmed(a.text())));
    case Function::kSplit:
      return Split(a.text(), arguments[1].text(),
                   arguments.size() > 2 ? arguments[2].integer() : -1, budget);
    case Function::kJoin:
      return Join(a.list(), arguments.size() > 1 ? arguments[1].text() : std::string_view{},
                  budget);
    case Function::kReplace:
      return Replace(a.text(), arguments[1].text(), arguments[2].text(),
                     arguments.size() > 3 ? arguments[3].integer() : -1, budget);
    case Function::kSubstring: {
      if (!budget.Spend(a.text().size() / 16)) return Value::Error("");
      const auto size = static_cast<std::int64_t>(CountCharacters(a.text()));
      const std::int64_t begin = arguments[1].integer();
      const std::int64_t end = arguments.size() > 2 ? arguments[2].integer() : size;
      if (begin < 0 || begin > end || end > size) {
        return Value::Error("substring: from " + std::to_string(begin) + " to " +
                            std::to_string(end) + " of a text of " + std::to_string(size) +
                            " characters");
      }
      const std::size_t first = ByteOf(a.text(), begin);
      const std::size_t last = first + ByteOf(a.text().substr(first), end - begin);
      return Value::String(std::string(a.text().substr(first, last - first)));
    }
    case Function::kIndexOf: {
      if (!budget.Spend(a.text().size() / 16)) return Value::Error("");
      const std::size_t found = a.text().find(arguments[1].text());
      if (found == std::string_view::npos) return Value::Int(-1);
      return Value::Int(static_cast<std::int64_t>(CountCharacters(a.text().substr(0, found))));
    }
    case Function::kStartsWith:
      return Value::Bool(a.text().starts_with(arguments[1].text()));
    case Function::kEndsWith:
      return Value::Bool(a.text().ends_with(arguments[1].text()));
    case Function::kContains:
      if (!budget.Spend(a.text().size() / 16)) return Value::Error("");
      return Value::Bool(a.text().find(arguments[1].text()) != std::string_view::npos);
    case Function::kMatches: {
      std::shared_ptr<const re2::RE2> made;
      if (pattern == nullptr) {
        if (!budget.Spend(100 + arguments[1].text().size())) return Value::Error("");
        std::string problem;
        made = MakePattern(arguments[1].text(), problem);
        if (!made) return Value::Error(std::move(problem));
        pattern = made.get();
      }
      if (!budget.Spend(4 + a.text().size() / 4)) return Value::Error("");
      return Value::Bool(
          re2::RE2::PartialMatch(re2::StringPiece(a.text().data(), a.text().size()), *pattern));
    }
    default:
      return Value::Error("not known");
  }
}

}  // namespace tributary::cel

#include "libs/json/value.h"

#include <charconv>
#include <unordered_set>

#include "absl/status/status.h"

#include "rapidjson/error/en.h"
#include "rapidjson/memorystream.h"
#include "rapidjson/reader.h"

namespace tributary::json {
namespace {

// Above this many members a set finds duplicates, below it a walk does.
constexpr std::size_t kWalkedMembersMax = 16;

constexpr unsigned kFlags = rapidjson::kParseNumbersAsStringsFlag |
                            rapidjson::kParseValidateEncodingFlag | rapidjson::kParseIterativeFlag;

absl::Status ErrorAt(std::size_t offset, std::string_view problem) {
  return absl::InvalidArgumentError("JSON, byte " + std::to_string(offset) + ": " +
                                    std::string(problem));
}

// RapidJSON turns the escape of a lone low surrogate into bytes that are no UTF-8.
bool HasSurrogate(std::string_view text) {
  for (std::size_t at = text.find('\xED'); at != std::string_view::npos && at + 1 < text.size();
       at = text.find('\xED', at + 1)) {
    if (static_cast<unsigned char>(text[at + 1]) >= 0xA0) return true;
  }
  return false;
}

// Counts the nesting and refuses what RapidJSON lets through; builds nothing.
class Checker {
 public:
  explicit Checker(std::size_t depth_max) : depth_max_(depth_max) {}

  bool Null() { return true; }
  bool Bool(bool) { return true; }
  // Not called: numbers come as text.
  bool Int(int) { return false; }
  bool Uint(unsigned) { return false; }
  bool Int64(std::int64_t) { return false; }
  bool Uint64(std::uint64_t) { return false; }
  bool Double(double) { return false; }
  bool RawNumber(const char*, rapidjson::SizeType, bool) { return true; }
  bool String(const char* text, rapidjson::SizeType size, bool) { return CheckText(text, size); }
  bool Key(const char* text, rapidjson::SizeType size, bool) { return CheckText(text, size); }
  bool StartObject() { return Open(); }
  bool EndObject(rapidjson::SizeType) { return Close(); }
  bool StartArray() { return Open(); }
  bool EndArray(rapidjson::SizeType) { return Close(); }

  /// Why parsing was ended by this handler. Empty: it was not.
  std::string_view problem() const { return problem_; }

 protected:
  bool CheckText(const char* text, rapidjson::SizeType size) {
    if (!HasSurrogate({text, size})) return true;
    problem_ = "a string holds a surrogate without its partner";
    return false;
  }
  bool Open() {
    if (++depth_ <= depth_max_) return true;
    problem_ = "nested too deeply";
    return false;
  }
  bool Close() {
    --depth_;
    return true;
  }

 private:
  std::size_t depth_max_;
  std::size_t depth_ = 0;
  std::string_view problem_;
};

class Builder : public Checker {
 public:
  using Checker::Checker;

  bool Null() { return Add(Value()); }
  bool Bool(bool boolean) { return Add(Value(boolean)); }
  bool RawNumber(const char* text, rapidjson::SizeType size, bool) {
    return Add(Value(Number{std::string(text, size)}));
  }
  bool String(const char* text, rapidjson::SizeType size, bool) {
    return CheckText(text, size) && Add(Value(std::string(text, size)));
  }
  bool Key(const char* text, rapidjson::SizeType size, bool) {
    if (!CheckText(text, size)) return false;
    open_.back().name.assign(text, size);
    return true;
  }
  bool StartObject() {
    if (!Open()) return false;
    open_.push_back({Value(Object()), {}, {}});
    return true;
  }
  bool StartArray() {
    if (!Open()) return false;
    open_.push_back({Value(Array()), {}, {}});
    return true;
  }
  bool EndObject(rapidjson::SizeType) { return CloseContainer(); }
  bool EndArray(rapidjson::SizeType) { return CloseContainer(); }

  Value Take() { return std::move(root_); }

 private:
  struct OpenContainer {
    Value value;
    // Of the member whose value comes next.
    std::string name;
    // Names seen; filled once a walk would be slow.
    std::unordered_set<std::string> names;
  };

  bool CloseContainer() {
    Value done = std::move(open_.back().value);
    open_.pop_back();
    return Close() && Add(std::move(done));
  }

  bool Add(Value value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return true;
    }
    OpenContainer& container = open_.back();
    if (Array* array = container.value.array()) {
      array->push_back(std::move(value));
      return true;
    }
    Object& object = *container.value.object();
    if (object.size() < kWalkedMembersMax) {
      for (const auto& [name, unused] : object) {
        if (name == container.name) return true;
      }
    } else {
      if (container.names.empty()) {
        for (const auto& [name, unused] : object) container.names.insert(name);
      }
      if (!container.names.insert(container.name).second) return true;
    }
    object.emplace_back(std::move(container.name), std::move(value));
    return true;
  }

  std::vector<OpenContainer> open_;
  Value root_;
};

template <typename Handler>
absl::Status Run(std::string_view text, const ParseLimits& limits, Handler& handler) {
  if (text.size() > limits.bytes_max) {
    return ErrorAt(limits.bytes_max, "longer than " + std::to_string(limits.bytes_max) + " bytes");
  }
  rapidjson::MemoryStream stream(text.data(), text.size());
  rapidjson::Reader reader;
  const rapidjson::ParseResult result = reader.Parse<kFlags>(stream, handler);
  if (result.IsError()) {
    if (!handler.problem().empty()) return ErrorAt(result.Offset(), handler.problem());
    return ErrorAt(result.Offset(), rapidjson::GetParseError_En(result.Code()));
  }
  // The reader takes a NUL byte for the end.
  if (stream.Tell() != text.size()) return ErrorAt(stream.Tell(), "more behind the document");
  return absl::OkStatus();
}

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// Walks text that has been validated.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  char Peek() {
    while (IsSpace(text_[at_])) ++at_;
    return text_[at_];
  }
  void Skip() { ++at_; }

  std::string_view TakeValue() {
    Peek();
    const std::size_t begin = at_;
    std::size_t depth = 0;
    do {
      const char c = text_[at_];
      if (c == '"') {
        SkipString();
      } else if (c == '{' || c == '[') {
        ++depth;
        ++at_;
      } else if (c == '}' || c == ']') {
        --depth;
        ++at_;
      } else if (c == ',' || c == ':' || IsSpace(c)) {
        ++at_;
      } else {
        while (at_ < text_.size() && !IsSpace(text_[at_]) && text_[at_] != ',' &&
               text_[at_] != ']' && text_[at_] != '}') {
          ++at_;
        }
      }
    } while (depth > 0);
    return text_.substr(begin, at_ - begin);
  }

 private:
  void SkipString() {
    ++at_;
    while (text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    ++at_;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

bool NameIs(std::string_view quoted, std::string_view name) {
  if (quoted.find('\\') == std::string_view::npos) {
    return quoted.substr(1, quoted.size() - 2) == name;
  }
  const absl::StatusOr<Value> parsed = Parse(quoted);
  return parsed.ok() && *parsed->string() == name;
}

// `text` has been validated. None: no such member.
absl::StatusOr<std::string_view> FindMember(std::string_view text, std::string_view name) {
  Scanner scanner(text);
  if (scanner.Peek() != '{') return absl::InvalidArgumentError("JSON: not an object");
  scanner.Skip();
  while (scanner.Peek() != '}') {
    if (scanner.Peek() == ',') {
      scanner.Skip();
      continue;
    }
    const std::string_view quoted = scanner.TakeValue();
    scanner.Peek();
    scanner.Skip();  // the colon
    const std::string_view value = scanner.TakeValue();
    if (NameIs(quoted, name)) return value;
  }
  return absl::NotFoundError("JSON: no member \"" + std::string(name) + "\"");
}

void AppendValue(std::string& out, const Value& value) {
  if (value.is_null()) {
    out += "null";
  } else if (const bool* boolean = value.boolean()) {
    out += *boolean ? "true" : "false";
  } else if (const Number* number = value.number()) {
    out += number->text;
  } else if (const std::string* text = value.string()) {
    AppendQuoted(out, *text);
  } else if (const Array* array = value.array()) {
    out += '[';
    bool first = true;
    for (const Value& item : *array) {
      if (!first) out += ',';
      first = false;
      AppendValue(out, item);
    }
    out += ']';
  } else {
    out += '{';
    bool first = true;
    for (const auto& [name, member] : *value.object()) {
      if (!first) out += ',';
      first = false;
      AppendQuoted(out, name);
      out += ':';
      AppendValue(out, member);
    }
    out += '}';
  }
}

}  // namespace

const Value* Value::Find(std::string_view name) const {
  const Object* members = object();
  if (members == nullptr) return nullptr;
  for (const auto& [member, value] : *members) {
    if (member == name) return &value;
  }
  return nullptr;
}

const Value* Value::FindPath(std::string_view dotted_path) const {
  const Value* at = this;
  while (at != nullptr && !dotted_path.empty()) {
    const std::size_t dot = dotted_path.find('.');
    const std::string_view step = dotted_path.substr(0, dot);
    dotted_path = dot == std::string_view::npos ? std::string_view{} : dotted_path.substr(dot + 1);
    if (const Array* items = at->array()) {
      std::size_t index = 0;
      const auto [end, error] = std::from_chars(step.data(), step.data() + step.size(), index);
      if (error != std::errc() || end != step.data() + step.size() || index >= items->size()) {
        return nullptr;
      }
      at = &(*items)[index];
    } else {
      at = at->Find(step);
    }
  }
  return at;
}

Value& Value::Set(std::string_view name, Value value) {
  if (object() == nullptr) data_ = Object();
  Object& members = *object();
  for (auto& [member, old] : members) {
    if (member == name) {
      old = std::move(value);
      return old;
    }
  }
  return members.emplace_back(std::string(name), std::move(value)).second;
}

std::optional<std::int64_t> Value::ToInt64() const {
  const std::string* text = string();
  if (const Number* written = number()) text = &written->text;
  if (text == nullptr) return std::nullopt;
  std::int64_t integer = 0;
  const char* const end = text->data() + text->size();
  const auto [at, error] = std::from_chars(text->data(), end, integer);
  if (error != std::errc() || at != end) return std::nullopt;
  return integer;
}

std::optional<std::string> Value::ToIdText() const {
  if (const std::string* text = string()) return *text;
  if (const Number* written = number()) return written->text;
  return std::nullopt;
}

absl::StatusOr<Value> Parse(std::string_view text, const ParseLimits& limits) {
  Builder builder(limits.depth_max);
  if (absl::Status status = Run(text, limits, builder); !status.ok()) return status;
  return builder.Take();
}

std::string Write(const Value& value) {
  std::string out;
  AppendValue(out, value);
  return out;
}

void AppendQuoted(std::string& out, std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out += '"';
  std::size_t plain = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte >= 0x20 && byte != '"' && byte != '\\') continue;
    out.append(text, plain, at - plain);
    plain = at + 1;
    switch (byte) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        out += "\\u00";
        out += kHex[byte >> 4];
        out += kHex[byte & 0xF];
    }
  }
  out.append(text, plain, text.size() - plain);
  out += '"';
}

absl::StatusOr<std::vector<std::string_view>> SplitArray(std::string_view text,
                                                         std::string_view member,
                                                         const ParseLimits& limits) {
  Checker checker(limits.depth_max);
  if (absl::Status status = Run(text, limits, checker); !status.ok()) return status;
  if (!member.empty()) {
    absl::StatusOr<std::string_view> found = FindMember(text, member);
    if (!found.ok()) return found.status();
    text = *found;
  }
  Scanner scanner(text);
  if (scanner.Peek() != '[') return absl::InvalidArgumentError("JSON: not an array");
  scanner.Skip();
  std::vector<std::string_view> items;
  while (scanner.Peek() != ']') {
    if (scanner.Peek() == ',') {
      scanner.Skip();
      continue;
    }
    items.push_back(scanner.TakeValue());
  }
  return items;
}

absl::StatusOr<std::string_view> MemberBytes(std::string_view text, std::string_view name,
                                             const ParseLimits& limits) {
  Checker checker(limits.depth_max);
  if (absl::Status status = Run(text, limits, checker); !status.ok()) return status;
  return FindMember(text, name);
}

}  // namespace tributary::json

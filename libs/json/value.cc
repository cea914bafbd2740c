#include "libs/json/value.h"

#include <charconv>
#include <unordered_set>

#include "libs/json/reader.h"
#include "libs/json/reading_error.h"

namespace tributary::json {
namespace {

// Above this many members a set finds duplicates, below it a walk does.
constexpr std::size_t kWalkedMembersMax = 16;

// Only reads; builds nothing.
struct Checker {
  void Null() {}
  void Bool(bool) {}
  void Number(std::string_view) {}
  void String(std::string_view, bool) {}
  void Key(std::string_view, bool) {}
  void StartObject() {}
  void EndObject() {}
  void StartArray() {}
  void EndArray() {}
};

class Builder {
 public:
  void Null() { Add(Value()); }
  void Bool(bool boolean) { Add(Value(boolean)); }
  void Number(std::string_view text) { Add(Value(json::Number{std::string(text)})); }
  void String(std::string_view text, bool) { Add(Value(text)); }
  void Key(std::string_view text, bool) { open_.back().name.assign(text); }
  void StartObject() { open_.push_back({Value(Object()), {}, {}}); }
  void StartArray() { open_.push_back({Value(Array()), {}, {}}); }
  void EndObject() { CloseContainer(); }
  void EndArray() { CloseContainer(); }

  Value Take() { return std::move(root_); }

 private:
  struct OpenContainer {
    Value value;
    // Of the member whose value comes next.
    std::string name;
    // Names seen; filled once a walk would be slow.
    std::unordered_set<std::string> names;
  };

  void CloseContainer() {
    Value done = std::move(open_.back().value);
    open_.pop_back();
    Add(std::move(done));
  }

  void Add(Value value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return;
    }
    OpenContainer& container = open_.back();
    if (Array* array = container.value.array()) {
      array->push_back(std::move(value));
      return;
    }
    Object& object = *container.value.object();
    if (object.size() < kWalkedMembersMax) {
      for (const auto& [name, unused] : object) {
        if (name == container.name) return;
      }
    } else {
      if (container.names.empty()) {
        for (const auto& [name, unused] : object) container.names.insert(name);
      }
      if (!container.names.insert(container.name).second) return;
    }
    object.emplace_back(std::move(container.name), std::move(value));
  }

  std::vector<OpenContainer> open_;
  Value root_;
};

// Remembers a member's name.
struct NameKeeper : Checker {
  std::string name;
  void Key(std::string_view text, bool) { name.assign(text); }
};

// Walks the members of an object document and calls `on_member` where the first one of that name
// has its value; all others are checked. `on_member` reads it, and is false after a failure.
template <typename OnMember>
absl::Status WalkTo(Reader& reader, std::string_view name, const OnMember& on_member) {
  if (!reader.Take('{')) {
    Checker checker;
    if (!reader.ReadValue(checker) || !reader.TakeEnd()) return ErrorOf(reader);
    return absl::InvalidArgumentError("JSON: not an object");
  }
  NameKeeper keeper;
  Checker checker;
  bool is_found = false;
  if (!reader.Take('}')) {
    do {
      if (!reader.ReadKey(keeper)) return ErrorOf(reader);
      const bool is_wanted = !is_found && keeper.name == name;
      is_found = is_found || is_wanted;
      reader.Peek();
      if (is_wanted ? !on_member() : !reader.ReadValue(checker)) return ErrorOf(reader);
    } while (reader.Take(','));
    if (!reader.TakeLast('}')) return ErrorOf(reader);
  }
  if (!reader.TakeEnd()) return ErrorOf(reader);
  if (is_found) return absl::OkStatus();
  return absl::NotFoundError("JSON: no member \"" + std::string(name) + "\"");
}

// The elements of the array that begins here. None, and it was checked: it is no array.
std::optional<bool> ReadItems(Reader& reader, std::string_view text,
                              std::vector<std::string_view>& items) {
  Checker checker;
  if (!reader.Take('[')) return reader.ReadValue(checker) ? std::nullopt : std::optional(false);
  if (reader.Take(']')) return true;
  do {
    reader.Peek();
    const std::size_t begin = reader.at();
    if (!reader.ReadValue(checker)) return false;
    items.push_back(text.substr(begin, reader.at() - begin));
  } while (reader.Take(','));
  return reader.TakeLast(']');
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

absl::Status ErrorAt(std::size_t offset, std::string_view problem) {
  return absl::InvalidArgumentError("JSON, byte " + std::to_string(offset) + ": " +
                                    std::string(problem));
}

absl::Status ErrorOf(const Reader& reader) { return ErrorAt(reader.at(), reader.problem()); }

absl::Status CheckSize(std::string_view text, const ParseLimits& limits) {
  if (text.size() <= limits.bytes_max) return absl::OkStatus();
  return ErrorAt(limits.bytes_max, "longer than " + std::to_string(limits.bytes_max) + " bytes");
}

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
  if (absl::Status status = CheckSize(text, limits); !status.ok()) return status;
  Reader reader(text, limits.depth_max);
  Builder builder;
  if (!reader.ReadValue(builder) || !reader.TakeEnd()) return ErrorOf(reader);
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
  for (std::size_t at = PlainUntil(text, 0); at < text.size(); at = PlainUntil(text, at + 1)) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte >= 0x80) continue;
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
  if (absl::Status status = CheckSize(text, limits); !status.ok()) return status;
  Reader reader(text, limits.depth_max);
  std::vector<std::string_view> items;
  bool is_array = true;
  const auto read = [&] {
    const std::optional<bool> done = ReadItems(reader, text, items);
    is_array = done.has_value();
    return done.value_or(true);
  };
  if (member.empty()) {
    if (!read() || !reader.TakeEnd()) return ErrorOf(reader);
  } else if (absl::Status status = WalkTo(reader, member, read); !status.ok()) {
    return status;
  }
  if (!is_array) return absl::InvalidArgumentError("JSON: not an array");
  return items;
}

absl::StatusOr<std::string_view> MemberBytes(std::string_view text, std::string_view name,
                                             const ParseLimits& limits) {
  if (absl::Status status = CheckSize(text, limits); !status.ok()) return status;
  Reader reader(text, limits.depth_max);
  std::string_view bytes;
  const absl::Status status = WalkTo(reader, name, [&] {
    Checker checker;
    const std::size_t begin = reader.at();
    if (!reader.ReadValue(checker)) return false;
    bytes = text.substr(begin, reader.at() - begin);
    return true;
  });
  if (!status.ok()) return status;
  return bytes;
}

}  // namespace tributary::json

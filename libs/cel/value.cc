#include "libs/cel/value.h"

#include <algorithm>
#include <charconv>

namespace tributary::cel {

std::size_t List::size() const { return own ? own->size() : document.size(); }

Value List::at(std::size_t index) const {
  return own ? (*own)[index] : Value::FromJson(document[index]);
}

std::size_t Map::size() const { return own ? own->size() : document.size(); }

std::string_view Map::name(std::size_t index) const {
  return own ? (*own)[index].first : document[index].name;
}

Value Map::at(std::size_t index) const {
  return own ? (*own)[index].second : Value::FromJson(document[index].value);
}

Value Map::Find(std::string_view name) const {
  if (own) {
    for (const auto& [key, value] : *own) {
      if (key == name) return value;
    }
  } else {
    for (const json::Member& member : document) {
      if (member.name == name) return Value::FromJson(member.value);
    }
  }
  return {};
}

template <typename T>
const T* Value::Own(T made) {
  auto own = std::make_shared<const T>(std::move(made));
  const T* const at = own.get();
  own_ = std::move(own);
  return at;
}

Value Value::Null() {
  Value value;
  value.data_ = Nothing{};
  return value;
}

Value Value::Bool(bool boolean) {
  Value value;
  value.data_ = boolean;
  return value;
}

Value Value::Int(std::int64_t integer) {
  Value value;
  value.data_ = integer;
  return value;
}

Value Value::OfDecimal(const Decimal& decimal) {
  Value value;
  value.data_ = value.Own(decimal);
  return value;
}

Value Value::String(std::string text) {
  Value value;
  value.data_ = std::string_view(*value.Own(std::move(text)));
  return value;
}

Value Value::StringView(std::string_view text) {
  Value value;
  value.data_ = text;
  return value;
}

Value Value::OfList(std::vector<Value> items) {
  Value value;
  // An empty one is the same wherever it is from.
  if (items.empty()) {
    value.data_ = List{};
    return value;
  }
  value.data_ = List{value.Own(std::move(items)), {}};
  return value;
}

Value Value::OfMap(std::vector<std::pair<std::string, Value>> members) {
  Value value;
  value.data_ = Map{value.Own(std::move(members)), {}};
  return value;
}

Value Value::Time(const Timestamp& timestamp) {
  Value value;
  value.data_ = timestamp;
  return value;
}

Value Value::Span(std::int64_t nanos) {
  Value value;
  value.data_ = Nanos{nanos};
  return value;
}

Value Value::Error(std::string message) {
  Value value;
  value.data_ = value.Own(Failure{std::move(message), std::nullopt});
  return value;
}

Value Value::At(std::size_t offset) const {
  const Failure& failure = *std::get<const Failure*>(data_);
  if (failure.offset) return *this;
  Value value;
  value.data_ = value.Own(Failure{failure.text, offset});
  return value;
}

Value Value::FromJson(const json::Node& document) {
  Value value;
  switch (document.kind()) {
    case json::Node::Kind::kNull:
      return Null();
    case json::Node::Kind::kFalse:
      return Bool(false);
    case json::Node::Kind::kTrue:
      return Bool(true);
    case json::Node::Kind::kString:
      return StringView(document.text());
    case json::Node::Kind::kNumber:
      return OfNumber(document.text());
    case json::Node::Kind::kArray:
      value.data_ = List{nullptr, document.items()};
      break;
    case json::Node::Kind::kObject:
      value.data_ = Map{nullptr, document.members()};
      break;
  }
  return value;
}

Value Value::OfNumber(std::string_view text) {
  std::int64_t integer = 0;
  const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), integer);
  if (error == std::errc() && at == text.data() + text.size()) return Int(integer);
  if (const std::optional<Decimal> decimal = Decimal::Parse(text)) return OfDecimal(*decimal);
  return Error("a number with more than " + std::to_string(Decimal::kDigitsMax) + " digits");
}

Decimal Value::ToDecimal() const {
  if (kind() == Kind::kInt) return Decimal(integer());
  return *std::get<const Decimal*>(data_);
}

std::string_view KindName(Value::Kind kind) {
  switch (kind) {
    case Value::Kind::kAbsent:
      return "absent";
    case Value::Kind::kNull:
      return "null";
    case Value::Kind::kBool:
      return "bool";
    case Value::Kind::kInt:
      return "int";
    case Value::Kind::kDecimal:
      return "decimal";
    case Value::Kind::kString:
      return "string";
    case Value::Kind::kList:
      return "list";
    case Value::Kind::kMap:
      return "map";
    case Value::Kind::kTimestamp:
      return "timestamp";
    case Value::Kind::kDuration:
      return "duration";
    case Value::Kind::kError:
      return "error";
  }
  return "";
}

bool Equal(const Value& a, const Value& b) {
  if (a.is_nothing() || b.is_nothing()) return a.is_nothing() && b.is_nothing();
  if (a.is_number() && b.is_number()) return Compare(a, b) == std::strong_ordering::equal;
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Value::Kind::kBool:
      return a.boolean() == b.boolean();
    case Value::Kind::kString:
      return a.text() == b.text();
    case Value::Kind::kTimestamp:
      return a.timestamp() == b.timestamp();
    case Value::Kind::kDuration:
      return a.nanos() == b.nanos();
    case Value::Kind::kList: {
      const List& left = a.list();
      const List& right = b.list();
      if (left.size() != right.size()) return false;
      for (std::size_t i = 0; i < left.size(); ++i) {
        if (!Equal(left.at(i), right.at(i))) return false;
      }
      return true;
    }
    case Value::Kind::kMap: {
      std::string left;
      std::string right;
      AppendCanonical(left, a);
      AppendCanonical(right, b);
      return left == right;
    }
    default:
      return false;
  }
}

std::optional<std::strong_ordering> Compare(const Value& a, const Value& b) {
  if (a.kind() == Value::Kind::kInt && b.kind() == Value::Kind::kInt) {
    return a.integer() <=> b.integer();
  }
  if (a.is_number() && b.is_number()) return a.ToDecimal() <=> b.ToDecimal();
  if (a.kind() != b.kind()) return std::nullopt;
  switch (a.kind()) {
    case Value::Kind::kBool:
      return a.boolean() <=> b.boolean();
    case Value::Kind::kString:
      return a.text().compare(b.text()) <=> 0;
    case Value::Kind::kTimestamp:
      return a.timestamp() <=> b.timestamp();
    case Value::Kind::kDuration:
      return a.nanos() <=> b.nanos();
    default:
      return std::nullopt;
  }
}

void AppendCanonical(std::string& out, const Value& value) {
  const auto add = [&out](char tag, std::string_view text) {
    out += tag;
    out += std::to_string(text.size());
    out += ':';
    out += text;
  };
  switch (value.kind()) {
    case Value::Kind::kAbsent:
    case Value::Kind::kNull:
    case Value::Kind::kError:
      out += '0';
      break;
    case Value::Kind::kBool:
      out += value.boolean() ? 't' : 'f';
      break;
    case Value::Kind::kInt:
      add('n', std::to_string(value.integer()));
      break;
    case Value::Kind::kDecimal:
      add('n', value.ToDecimal().ToText());
      break;
    case Value::Kind::kString:
      add('s', value.text());
      break;
    case Value::Kind::kTimestamp: {
      Timestamp timestamp = value.timestamp();
      timestamp.digits = 0;
      add('T', ToText(timestamp));
      break;
    }
    case Value::Kind::kDuration:
      add('D', std::to_string(value.nanos()));
      break;
    case Value::Kind::kList:
      out += '[';
      for (std::size_t i = 0; i < value.list().size(); ++i) {
        AppendCanonical(out, value.list().at(i));
      }
      out += ']';
      break;
    case Value::Kind::kMap: {
      const Map& map = value.map();
      std::vector<std::size_t> order(map.size());
      for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
      std::sort(order.begin(), order.end(),
                [&map](std::size_t a, std::size_t b) { return map.name(a) < map.name(b); });
      out += '{';
      for (const std::size_t i : order) {
        add('k', map.name(i));
        AppendCanonical(out, map.at(i));
      }
      out += '}';
      break;
    }
  }
}

}  // namespace tributary::cel

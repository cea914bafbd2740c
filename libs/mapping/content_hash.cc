#include "libs/mapping/content_hash.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <vector>

#include "libs/ids/keys.h"

namespace tributary::mapping {
namespace {

constexpr char kScheme = 1;
constexpr std::size_t kHashBytes = 16;
// Of the canonical text.
constexpr std::size_t kUsualBytes = 1000;

// The canonical text, in memory that is there before its bytes are.
class Canonical {
 public:
  Canonical() : bytes_(kUsualBytes, '\0') {}

  void Byte(char byte) {
    MakeRoom(1);
    bytes_[size_++] = byte;
  }
  void Number(std::size_t number) {
    constexpr std::size_t kDigitsMax = 20;
    MakeRoom(kDigitsMax);
    char* const at = bytes_.data() + size_;
    size_ += static_cast<std::size_t>(std::to_chars(at, at + kDigitsMax, number).ptr - at);
  }
  void Sized(std::string_view text) {
    Number(text.size());
    MakeRoom(1 + text.size());
    bytes_[size_] = ':';
    text.copy(bytes_.data() + size_ + 1, text.size());
    size_ += 1 + text.size();
  }
  std::string_view text() const { return {bytes_.data(), size_}; }

 private:
  void MakeRoom(std::size_t bytes) {
    if (size_ + bytes > bytes_.size()) bytes_.resize(2 * (size_ + bytes));
  }

  std::string bytes_;
  std::size_t size_ = 0;
};

void AppendValue(Canonical& out, const v1::FieldValue& value) {
  switch (value.kind_case()) {
    case v1::FieldValue::kBoolean:
      out.Byte('b');
      out.Sized(value.boolean() ? "true" : "false");
      break;
    case v1::FieldValue::kDecimal:
      out.Byte('d');
      out.Sized(value.decimal());
      break;
    case v1::FieldValue::kText:
      out.Byte('s');
      out.Sized(value.text());
      break;
    case v1::FieldValue::kTime:
      // At the target a time is a string.
      out.Byte('s');
      out.Sized(value.time());
      break;
    case v1::FieldValue::kList:
      out.Byte('l');
      out.Number(static_cast<std::size_t>(value.list().items_size()));
      out.Byte(':');
      for (const v1::FieldValue& item : value.list().items()) AppendValue(out, item);
      break;
    case v1::FieldValue::kMap:
      out.Byte('m');
      out.Number(static_cast<std::size_t>(value.map().members_size()));
      out.Byte(':');
      for (const v1::FieldValue::Member& member : value.map().members()) {
        out.Sized(member.name());
        AppendValue(out, member.value());
      }
      break;
    default:
      out.Byte('n');
      out.Sized("");
      break;
  }
}

}  // namespace

std::string ContentHash(const v1::DesiredState& state) {
  std::vector<const v1::Field*> fields;
  fields.reserve(static_cast<std::size_t>(state.fields_size()));
  for (const v1::Field& field : state.fields()) {
    const bool is_null = field.value().kind_case() == v1::FieldValue::kNull ||
                         field.value().kind_case() == v1::FieldValue::KIND_NOT_SET;
    if (is_null && field.on_null() != v1::Field::ON_NULL_CLEAR) continue;
    fields.push_back(&field);
  }
  const auto is_before = [](const v1::Field* a, const v1::Field* b) {
    return a->path() < b->path();
  };
  if (!std::is_sorted(fields.begin(), fields.end(), is_before)) {
    std::sort(fields.begin(), fields.end(), is_before);
  }
  Canonical canonical;
  if (!state.tag_prefix().empty()) {
    // No field has an empty path.
    canonical.Sized("");
    canonical.Byte('l');
    canonical.Number(static_cast<std::size_t>(state.tags_size()) + 1);
    canonical.Byte(':');
    canonical.Byte('s');
    canonical.Sized(state.tag_prefix());
    std::vector<std::string> tags(state.tags().begin(), state.tags().end());
    std::sort(tags.begin(), tags.end());
    for (const std::string& tag : tags) {
      canonical.Byte('s');
      canonical.Sized(tag);
    }
  }
  for (const v1::Field* field : fields) {
    canonical.Sized(field->path());
    AppendValue(canonical, field->value());
  }
  const ids::Sha256Digest digest = ids::Sha256(canonical.text());
  std::string hash(1 + kHashBytes, kScheme);
  std::copy_n(digest.begin(), kHashBytes, hash.begin() + 1);
  return hash;
}

bool ToFieldValue(const cel::Value& value, v1::FieldValue& out) {
  switch (value.kind()) {
    case cel::Value::Kind::kAbsent:
    case cel::Value::Kind::kError:
      return false;
    case cel::Value::Kind::kNull:
      out.set_null(v1::FieldValue::NULL_VALUE);
      return true;
    case cel::Value::Kind::kBool:
      out.set_boolean(value.boolean());
      return true;
    case cel::Value::Kind::kInt:
      out.set_decimal(std::to_string(value.integer()));
      return true;
    case cel::Value::Kind::kDecimal:
      out.set_decimal(value.ToDecimal().ToText());
      return true;
    case cel::Value::Kind::kString:
      out.set_text(std::string(value.text()));
      return true;
    case cel::Value::Kind::kTimestamp:
      out.set_time(cel::ToText(value.timestamp()));
      return true;
    case cel::Value::Kind::kDuration:
      out.set_text(cel::DurationText(value.nanos()));
      return true;
    case cel::Value::Kind::kList: {
      v1::FieldValue::List& list = *out.mutable_list();
      for (std::size_t i = 0; i < value.list().size(); ++i) {
        v1::FieldValue& item = *list.add_items();
        if (!ToFieldValue(value.list().at(i), item)) item.set_null(v1::FieldValue::NULL_VALUE);
      }
      return true;
    }
    case cel::Value::Kind::kMap: {
      const cel::Map& map = value.map();
      std::vector<std::size_t> order(map.size());
      for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
      std::sort(order.begin(), order.end(),
                [&map](std::size_t a, std::size_t b) { return map.name(a) < map.name(b); });
      v1::FieldValue::Map& members = *out.mutable_map();
      for (const std::size_t i : order) {
        v1::FieldValue converted;
        if (!ToFieldValue(map.at(i), converted)) continue;
        v1::FieldValue::Member& member = *members.add_members();
        member.set_name(std::string(map.name(i)));
        *member.mutable_value() = std::move(converted);
      }
      return true;
    }
  }
  return false;
}

}  // namespace tributary::mapping

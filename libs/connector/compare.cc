#include "libs/connector/compare.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "libs/connector/render.h"
#include "libs/ids/keys.h"

namespace tributary::connector {
namespace {

bool IsNothing(const json::Value* value) {
  if (value == nullptr || value->is_null()) return true;
  return value->string() != nullptr && value->string()->empty();
}

/// Without sign of a zero, leading and trailing zeros. None: no plain decimal.
std::optional<std::string> CanonicalDecimal(std::string_view text) {
  const bool is_negative = text.starts_with('-');
  if (is_negative) text.remove_prefix(1);
  const std::size_t dot = text.find('.');
  std::string_view whole = text.substr(0, dot);
  std::string_view fraction = dot == std::string_view::npos ? "" : text.substr(dot + 1);
  const auto is_digits = [](std::string_view digits) {
    return digits.find_first_not_of("0123456789") == std::string_view::npos;
  };
  if (whole.empty() || !is_digits(whole) || !is_digits(fraction)) return std::nullopt;
  while (whole.size() > 1 && whole.front() == '0') whole.remove_prefix(1);
  while (!fraction.empty() && fraction.back() == '0') fraction.remove_suffix(1);
  std::string out(whole);
  if (!fraction.empty()) out.append(".").append(fraction);
  return is_negative && out != "0" ? "-" + out : out;
}

std::string LettersAndDigits(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    // Bytes above ASCII are letters of some language.
    const bool counts =
        (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || static_cast<unsigned char>(c) >= 0x80;
    if (counts) out.push_back(c);
  }
  return out;
}

bool IsSame(const json::Value& wanted, const json::Value* shown, bool is_loose) {
  if (IsNothing(&wanted)) return IsNothing(shown);
  if (shown == nullptr) return false;
  if (const json::Array* const items = wanted.array()) {
    const json::Array* const others = shown->array();
    return others != nullptr &&
           std::equal(
               items->begin(), items->end(), others->begin(), others->end(),
               [&](const json::Value& a, const json::Value& b) { return IsSame(a, &b, is_loose); });
  }
  if (const json::Object* const members = wanted.object()) {
    return std::all_of(members->begin(), members->end(), [&](const auto& member) {
      return IsSame(member.second, shown->Find(member.first), is_loose);
    });
  }
  if (wanted.boolean() != nullptr) {
    return shown->boolean() != nullptr && *shown->boolean() == *wanted.boolean();
  }
  const std::optional<std::string> text = wanted.ToIdText();
  const std::optional<std::string> other = shown->ToIdText();
  if (!text || !other) return false;
  if (*text == *other) return true;
  if (wanted.number() != nullptr || shown->number() != nullptr) {
    const std::optional<std::string> number = CanonicalDecimal(*text);
    return number && number == CanonicalDecimal(*other);
  }
  return is_loose && LettersAndDigits(*text) == LettersAndDigits(*other);
}

/// Whether a pair is as desired. `text`: what is there instead.
bool HasPair(const Read& read, const json::Value* pairs, std::string_view key,
             const json::Value& wanted, bool is_loose, std::string& text) {
  const json::Array* const items = pairs == nullptr ? nullptr : pairs->array();
  if (items == nullptr) return IsNothing(&wanted);
  bool is_anywhere = false;
  for (const json::Value& item : *items) {
    const json::Value* const name = item.Find(read.pairs_key);
    const json::Value* const value = item.Find(read.pairs_value);
    if (name != nullptr && name->ToIdText() == key) {
      if (value != nullptr) text = json::Write(*value);
      return IsSame(wanted, value, is_loose);
    }
    is_anywhere = is_anywhere || (!IsNothing(&wanted) && IsSame(wanted, value, is_loose));
  }
  // It keeps them by ids of its own, or has none of that name.
  if (IsNothing(&wanted) || is_anywhere) return true;
  text = json::Write(*pairs);
  return false;
}

}  // namespace

Shown CompareRead(const Connector& connector, const Object& object,
                  const http::Completion& completion, const v1::DesiredState& state,
                  WallTime now_wall) {
  const Read& read = *object.read;
  Shown shown;
  shown.answer = Interpret(connector, read.call, completion, now_wall);
  if (shown.answer.answer != http::AnswerClass::kDone) return shown;
  const absl::StatusOr<json::Value> body = json::Parse(completion.body);
  const json::Value* const record =
      !body.ok() ? nullptr : (read.record.empty() ? &*body : body->FindPath(read.record));
  if (record == nullptr || record->object() == nullptr) {
    shown.answer.answer = http::AnswerClass::kUnknown;
    shown.answer.unreadable = true;
    return shown;
  }
  std::string instead;
  for (const v1::Field& field : state.fields()) {
    const json::Value wanted = JsonOf(field.value());
    const std::string& path = field.path();
    if (wanted.is_null() &&
        (field.on_null() != v1::Field::ON_NULL_CLEAR || object.not_clearable.contains(path))) {
      continue;
    }
    const std::size_t dot = path.find('.');
    const std::string first = path.substr(0, dot);
    const bool is_loose = read.loose.contains(path);
    std::string text;
    bool is_same = false;
    if (!object.pairs_prefix.empty() && dot != std::string::npos && first == object.pairs_prefix) {
      is_same = HasPair(read, record->Find(first), path.substr(dot + 1), wanted, is_loose, text);
    } else {
      const json::Value* value = record->Find(first);
      if (dot != std::string::npos && value != nullptr) value = value->Find(path.substr(dot + 1));
      is_same = IsSame(wanted, value, is_loose);
      if (value != nullptr) text = json::Write(*value);
    }
    if (is_same) continue;
    shown.differing.push_back(path);
    instead += path + "\n" + text + "\n";
  }
  if (object.tags_add && shown.answer.tags) {
    const std::vector<std::string> all = CanonicalTags(object, *shown.answer.tags);
    const std::vector<std::string> wanted =
        CanonicalTags(object, {state.tags().begin(), state.tags().end()});
    const std::vector<std::string> prefix = CanonicalTags(object, {state.tag_prefix()});
    for (const std::string& tag : all) {
      const bool is_ours = (!prefix.empty() && tag.starts_with(prefix.front())) ||
                           std::binary_search(wanted.begin(), wanted.end(), tag);
      if (is_ours) shown.tags.push_back(tag);
    }
    if (shown.tags != wanted) {
      shown.differing.emplace_back("tags");
      for (const std::string& tag : shown.tags) instead += tag + "\n";
    }
  }
  if (!shown.differing.empty()) {
    const ids::Sha256Digest digest = ids::Sha256(instead);
    shown.hash.assign(digest.begin(), digest.begin() + 16);
  }
  return shown;
}

}  // namespace tributary::connector

#include "libs/changes/change_view.h"

#include <algorithm>

namespace tributary::changes {
namespace {

constexpr char kVarint = 0;
constexpr char kDelimited = 2;
// Numbers of fields are below 16 here, so that a tag is one byte.
constexpr char Tag(int number, char type) { return static_cast<char>(number << 3 | type); }

// Takes fields off the front. What is not there as expected stays, and is found at the end.
class Cursor {
 public:
  explicit Cursor(std::string_view rest) : rest_(rest) {}

  bool is_at_end() const { return rest_.empty(); }
  const char* at() const { return rest_.data(); }
  bool Take(char tag) {
    if (rest_.empty() || rest_.front() != tag) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool TakeVarint(std::uint64_t& value) {
    constexpr std::size_t kBytesMax = 10;
    value = 0;
    for (std::size_t i = 0; i < std::min(rest_.size(), kBytesMax); ++i) {
      const auto byte = static_cast<unsigned char>(rest_[i]);
      value |= static_cast<std::uint64_t>(byte & 0x7F) << (7 * i);
      if (byte < 0x80) {
        rest_.remove_prefix(i + 1);
        return true;
      }
    }
    return false;
  }
  bool TakeBytes(std::string_view& bytes) {
    std::uint64_t size = 0;
    if (!TakeVarint(size) || size > rest_.size()) return false;
    bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return true;
  }

 private:
  std::string_view rest_;
};

// Of fields in the order in which they are encoded, each at most once unless it is repeated.
// Everything returns false where parsing has to decide.
class Walk {
 public:
  explicit Walk(bool is_checked) : is_checked_(is_checked) {}

  bool Change(std::string_view bytes, ChangeView& view) const {
    using v1::ChangeEvent;
    Cursor cursor(bytes);
    std::string_view entity;
    if (cursor.Take(Tag(ChangeEvent::kEntityFieldNumber, kDelimited))) {
      view.has_entity = true;
      if (!cursor.TakeBytes(entity) || !Entity(entity, view)) return false;
    }
    return Bool(cursor, ChangeEvent::kFirstReadFieldNumber, view.first_read) && cursor.is_at_end();
  }

 private:
  bool Entity(std::string_view bytes, ChangeView& view) const {
    using v1::Entity;
    Cursor cursor(bytes);
    return Text(cursor, Entity::kConnectionFieldNumber, view.connection) &&
           Text(cursor, Entity::kKindFieldNumber, view.kind) &&
           Text(cursor, Entity::kIdFieldNumber, view.id) &&
           Texts(cursor, Entity::kCustomersFieldNumber, view.customers) &&
           Texts(cursor, Entity::kFormerCustomersFieldNumber, view.former_customers) &&
           Time(cursor, Entity::kUpdatedAtFieldNumber, view.updated_at) &&
           Time(cursor, Entity::kReadAtFieldNumber, view.read_at) &&
           Read(cursor, Entity::kReadFieldNumber, view.read) &&
           Bool(cursor, Entity::kGoneFieldNumber, view.gone) &&
           Bytes(cursor, Entity::kDocumentHashFieldNumber, view.document_hash) &&
           Bytes(cursor, Entity::kDocumentFieldNumber, view.document) && cursor.is_at_end();
  }

  static bool Bytes(Cursor& cursor, int number, std::string_view& bytes) {
    return !cursor.Take(Tag(number, kDelimited)) || cursor.TakeBytes(bytes);
  }
  bool Text(Cursor& cursor, int number, std::string_view& text) const {
    return Bytes(cursor, number, text) && IsPlain(text);
  }
  bool Texts(Cursor& cursor, int number, Names& names) const {
    const char* const begin = cursor.at();
    std::string_view text;
    while (cursor.Take(Tag(number, kDelimited))) {
      if (!cursor.TakeBytes(text) || !IsPlain(text)) return false;
    }
    if (cursor.at() != begin) {
      names = Names({begin, static_cast<std::size_t>(cursor.at() - begin)});
    }
    return true;
  }
  static bool Bool(Cursor& cursor, int number, bool& value) {
    if (!cursor.Take(Tag(number, kVarint))) return true;
    std::uint64_t bits = 0;
    if (!cursor.TakeVarint(bits)) return false;
    value = bits != 0;
    return true;
  }
  template <typename Integer>
  static bool Number(Cursor& cursor, int number, Integer& value) {
    if (!cursor.Take(Tag(number, kVarint))) return true;
    std::uint64_t bits = 0;
    if (!cursor.TakeVarint(bits)) return false;
    value = static_cast<Integer>(bits);
    return true;
  }
  static bool Time(Cursor& cursor, int number, std::optional<TimeView>& time) {
    using google::protobuf::Timestamp;
    if (!cursor.Take(Tag(number, kDelimited))) return true;
    std::string_view bytes;
    if (!cursor.TakeBytes(bytes)) return false;
    Cursor inside(bytes);
    time.emplace();
    return Number(inside, Timestamp::kSecondsFieldNumber, time->seconds) &&
           Number(inside, Timestamp::kNanosFieldNumber, time->nanos) && inside.is_at_end();
  }
  static bool Read(Cursor& cursor, int number, ReadView& read) {
    std::string_view bytes;
    std::string_view reader;
    if (!Bytes(cursor, number, bytes)) return false;
    Cursor inside(bytes);
    if (!Bytes(inside, v1::ReadSequence::kReaderFieldNumber, reader) ||
        !Number(inside, v1::ReadSequence::kNumberFieldNumber, read.number) || !inside.is_at_end()) {
      return false;
    }
    Cursor token(reader);
    return Number(token, v1::WriterToken::kGenerationFieldNumber, read.generation) &&
           Number(token, v1::WriterToken::kOffsetFieldNumber, read.offset) && token.is_at_end();
  }

  // Certainly UTF-8.
  bool IsPlain(std::string_view text) const {
    return is_checked_ ||
           std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
  }

  const bool is_checked_;
};

}  // namespace

std::string_view Names::const_iterator::operator*() const {
  Cursor cursor(fields_.substr(1));
  std::string_view text;
  cursor.TakeBytes(text);
  return text;
}

Names::const_iterator& Names::const_iterator::operator++() {
  const std::string_view text = **this;
  fields_.remove_prefix(static_cast<std::size_t>(text.data() + text.size() - fields_.data()));
  return *this;
}

std::optional<ChangeView> ViewOf(std::string_view bytes, std::string& own) {
  std::optional<ChangeView> view(std::in_place);
  if (Walk(false).Change(bytes, *view)) return view;
  v1::ChangeEvent change;
  if (!change.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return std::nullopt;
  change.DiscardUnknownFields();
  change.SerializeToString(&own);
  view.emplace();
  if (!Walk(true).Change(own, *view)) return std::nullopt;
  return view;
}

}  // namespace tributary::changes

#include "services/loader/wire_shape.h"

#include <map>
#include <memory>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/stubs/common.h"

#include "services/loader/fields.h"

namespace tributary::loader {
namespace {

/// As deep as parsing goes.
constexpr int kDepthMax = 100;
/// A type with more fields or higher numbers is left to parsing.
constexpr int kNumberMax = 63;

}  // namespace

const WireShape& WireShape::Of(const google::protobuf::Descriptor& descriptor) {
  // Types name each other, so all are made before the first is used, and none is ever destroyed.
  static auto* const shapes =
      new std::map<const google::protobuf::Descriptor*, std::unique_ptr<WireShape>>();
  std::unique_ptr<WireShape>& shape = (*shapes)[&descriptor];
  if (shape != nullptr) return *shape;
  shape = std::make_unique<WireShape>();
  WireShape& made = *shape;
  made.fields_.resize(kNumberMax + 1);
  using google::protobuf::FieldDescriptor;
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& from = *descriptor.field(i);
    if (from.number() > kNumberMax) continue;
    Field& field = made.fields_[static_cast<std::size_t>(from.number())];
    field.is_repeated = from.is_repeated();
    const google::protobuf::OneofDescriptor* const oneof = from.real_containing_oneof();
    field.bit = std::uint64_t{1} << (oneof != nullptr ? oneof->field(0)->number() : from.number());
    switch (from.type()) {
      case FieldDescriptor::TYPE_INT32:
      case FieldDescriptor::TYPE_INT64:
      case FieldDescriptor::TYPE_UINT32:
      case FieldDescriptor::TYPE_UINT64:
      case FieldDescriptor::TYPE_BOOL:
      case FieldDescriptor::TYPE_ENUM:
        field.kind = from.is_repeated() ? Kind::kOther : Kind::kVarint;
        break;
      case FieldDescriptor::TYPE_BYTES:
        field.kind = Kind::kBytes;
        break;
      case FieldDescriptor::TYPE_STRING:
        field.kind = Kind::kText;
        break;
      case FieldDescriptor::TYPE_MESSAGE:
        field.kind = Kind::kMessage;
        field.message = &Of(*from.message_type());
        break;
      default:
        field.kind = Kind::kOther;
    }
  }
  return made;
}

bool WireShape::IsPlain(std::string_view message) const { return IsPlain(message, 0, 0); }

bool WireShape::IsPlainBut(int number, std::string_view message) const {
  return IsPlain(message, number, 0);
}

bool WireShape::IsPlain(std::string_view message, int unseen, int depth) const {
  if (depth > kDepthMax) return false;
  bool is_plain = true;
  std::uint64_t seen = 0;
  const bool is_whole =
      ForEachField(message, [&](int number, std::string_view bytes, std::uint64_t) {
        const bool is_integer = bytes.data() == nullptr;
        if (number > kNumberMax || !is_plain) {
          is_plain = false;
          return;
        }
        const Field& field = fields_[static_cast<std::size_t>(number)];
        if (field.kind == Kind::kUnknown) return;
        if (!field.is_repeated && (seen & field.bit) != 0) is_plain = false;
        seen |= field.bit;
        switch (field.kind) {
          case Kind::kUnknown:
            return;
          case Kind::kVarint:
            is_plain = is_plain && is_integer;
            return;
          case Kind::kBytes:
            is_plain = is_plain && !is_integer;
            return;
          case Kind::kText:
            is_plain = is_plain && !is_integer &&
                       google::protobuf::internal::IsStructurallyValidUTF8(
                           bytes.data(), static_cast<int>(bytes.size()));
            return;
          case Kind::kMessage:
            is_plain = is_plain && !is_integer &&
                       (number == unseen || field.message->IsPlain(bytes, 0, depth + 1));
            return;
          case Kind::kOther:
            is_plain = false;
            return;
        }
      });
  return is_whole && is_plain;
}

}  // namespace tributary::loader

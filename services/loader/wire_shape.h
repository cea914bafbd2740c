#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace google::protobuf {
class Descriptor;
}

namespace tributary::loader {

/// What the bytes of a message may look like, so that a walk over them (fields.h) believes none
/// that parsing would refuse or read otherwise.
class WireShape {
 public:
  /// Made once for each type; `descriptor` is of a generated message.
  static const WireShape& Of(const google::protobuf::Descriptor& descriptor);

  /// True: parsing takes `message`, with each singular field once and all of the declared types.
  /// False: only parsing can tell.
  bool IsPlain(std::string_view message) const;
  /// The same, but for what lies below its field `number`.
  bool IsPlainBut(int number, std::string_view message) const;

 private:
  enum class Kind : std::uint8_t { kUnknown, kVarint, kBytes, kText, kMessage, kOther };
  struct Field {
    Kind kind = Kind::kUnknown;
    bool is_repeated = false;
    /// Several fields of one `oneof` have one bit.
    std::uint64_t bit = 0;
    const WireShape* message = nullptr;
  };
  /// `unseen`: 0 or the number of a field.
  bool IsPlain(std::string_view message, int unseen, int depth) const;

  std::vector<Field> fields_;
};

}  // namespace tributary::loader

#pragma once

#include <cstdint>
#include <string_view>

namespace tributary::loader {

/// Takes a varint of at most `bytes_max` bytes off the front. False: there is none.
inline bool TakeVarint(std::string_view& in, std::size_t bytes_max, std::uint64_t* value) {
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < in.size() && i < bytes_max; ++i) {
    const auto byte = static_cast<unsigned char>(in[i]);
    bits |= static_cast<std::uint64_t>(byte & 0x7f) << (7 * i);
    if (byte < 0x80) {
      in.remove_prefix(i + 1);
      *value = bits;
      return true;
    }
  }
  return false;
}

/// Takes what stands behind a tag that is neither a varint nor delimited off the front. False:
/// malformed.
bool SkipField(std::string_view& in, std::uint32_t tag);

/// Walks over the fields of a message without reading what lies below them: an index row or a head
/// needs a few numbers of an entry of a kilobyte. `visit(number, bytes, integer)`; `bytes` has no
/// data where an integer stands. False: malformed; what parsing refuses by its wire format this
/// refuses, and the other way round.
template <typename Visitor>
bool ForEachField(std::string_view message, const Visitor& visit) {
  // As parsing has them: a tag and a length are numbers of 32 bits.
  constexpr std::size_t kBytesOf32 = 5;
  constexpr std::size_t kBytesOf64 = 10;
  constexpr std::uint32_t kVarint = 0;
  constexpr std::uint32_t kDelimited = 2;
  while (!message.empty()) {
    std::uint64_t tag_bits = 0;
    if (!TakeVarint(message, kBytesOf32, &tag_bits)) return false;
    const auto tag = static_cast<std::uint32_t>(tag_bits);
    const auto number = static_cast<int>(tag >> 3);
    if (number == 0) return false;
    std::uint64_t value = 0;
    switch (tag & 7) {
      case kVarint:
        if (!TakeVarint(message, kBytesOf64, &value)) return false;
        visit(number, std::string_view(), value);
        break;
      case kDelimited:
        if (!TakeVarint(message, kBytesOf32, &value) || value > message.size()) return false;
        visit(number, message.substr(0, value), std::uint64_t{0});
        message.remove_prefix(value);
        break;
      default:
        if (!SkipField(message, tag)) return false;
    }
  }
  return true;
}

}  // namespace tributary::loader

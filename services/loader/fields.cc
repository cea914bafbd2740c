#include "services/loader/fields.h"

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"

namespace tributary::loader {

bool SkipField(std::string_view& in, std::uint32_t tag) {
  using google::protobuf::internal::WireFormatLite;
  google::protobuf::io::CodedInputStream stream(reinterpret_cast<const std::uint8_t*>(in.data()),
                                                static_cast<int>(in.size()));
  if (!WireFormatLite::SkipField(&stream, tag)) return false;
  in.remove_prefix(static_cast<std::size_t>(stream.CurrentPosition()));
  return true;
}

}  // namespace tributary::loader

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libs/eventlog/embedded/record_format.h"
#include "libs/eventlog/log.h"
#include "tests/fuzz/invariant.h"

// Records of the embedded log as they stand in its file. Input: a byte for the kind. Kind 0: bytes
// as a damaged file may hold them; 1: the same, with a checksum that is right; 2: key, headers and
// value, which are written, damaged and read.

namespace tributary::eventlog::embedded {
namespace {

using fuzz::Require;

bool IsSame(const Record& a, const Record& b) {
  return a.key == b.key && a.value == b.value && a.headers == b.headers &&
         a.appended_at == b.appended_at;
}

void AppendBigEndian(std::string& out, std::uint32_t number) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(number >> shift);
}

void CheckRead(std::string_view bytes) {
  Record record;
  if (!DecodeRecord(bytes, record)) return;
  Require(AppendedAt(bytes) == record.appended_at, "its time is found without reading it");
  const std::string written =
      EncodeRecord(record.appended_at, record.key, record.value, record.headers);
  Record again;
  Require(DecodeRecord(written, again) && IsSame(record, again),
          "what is read is written the same");
  std::size_t headers = 0;
  for (const auto& [name, value] : record.headers) {
    headers += 1 + (name.size() + value.size()) * 0;
  }
  Require(headers == record.headers.size(), "its headers can be walked over");
  MetaOf(record.headers);
}

void CheckDamage(fuzz::Choices& choices) {
  const std::string_view key = choices.Take(choices.Byte());
  Headers headers;
  for (std::size_t left = choices.Below(4); left > 0; --left) {
    const std::string_view name = choices.Take(choices.Below(16));
    headers.emplace_back(name, choices.Take(choices.Below(64)));
  }
  const std::size_t damage = choices.Below(3);
  const std::size_t place = choices.Byte() * std::size_t{256} + choices.Byte();
  const std::uint8_t how = choices.Byte();
  const std::optional<std::string> value =
      how % 16 == 0 ? std::nullopt : std::optional<std::string>(choices.rest());
  const std::string written = EncodeRecord(WallTime(Duration(how)), key, value, headers);
  Record read;
  Require(DecodeRecord(written, read) && read.key == key && read.value == value &&
              read.headers == headers,
          "what is written is read");

  std::string damaged = written;
  const std::size_t at = place % damaged.size();
  if (damage == 0) {
    damaged[at] = static_cast<char>(damaged[at] ^ (how == 0 ? 1 : how));
  } else if (damage == 1) {
    damaged.resize(at);
  } else {
    // A whole page of it was never written.
    damaged.replace(at, std::string::npos, damaged.size() - at, '\0');
    if (damaged == written) return;
  }
  Require(!DecodeRecord(damaged, read), "a damaged record is not given");
}

void Check(std::string_view input) {
  fuzz::Choices choices(input);
  switch (choices.Below(3)) {
    case 0:
      return CheckRead(choices.rest());
    case 1: {
      std::string bytes;
      AppendBigEndian(bytes, Crc32c(choices.rest()));
      return CheckRead(bytes.append(choices.rest()));
    }
    default:
      return CheckDamage(choices);
  }
}

}  // namespace
}  // namespace tributary::eventlog::embedded

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tributary::eventlog::embedded::Check(tributary::fuzz::TextOf(data, size));
  return 0;
}

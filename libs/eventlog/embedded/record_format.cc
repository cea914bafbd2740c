#include "libs/eventlog/embedded/record_format.h"

#include <array>
#include <bit>
#include <cstddef>
#include <cstring>

#include "libs/eventlog/lmdb_handles.h"

namespace tributary::eventlog::embedded {
namespace {

// crc 4 · format 1 · flags 1 · appended_at 8 · key size 4 · header count 2 · key ·
// per header (name size 4 · value size 4 · name · value) · value
constexpr char kFormat = 1;
constexpr char kHasValue = 1;
constexpr std::size_t kTimeAt = 6;
constexpr std::size_t kFixedBytes = 20;

static_assert(std::endian::native == std::endian::little, "Crc32c reads words of four bytes");

// Slicing by four: one table look-up per byte, four bytes a step.
constexpr std::array<std::array<std::uint32_t, 256>, 4> MakeTables() {
  std::array<std::array<std::uint32_t, 256>, 4> tables{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78U : 0U);
    tables[0][i] = crc;
  }
  for (std::uint32_t i = 0; i < 256; ++i) {
    for (std::size_t t = 1; t < 4; ++t) {
      tables[t][i] = (tables[t - 1][i] >> 8) ^ tables[0][tables[t - 1][i] & 0xff];
    }
  }
  return tables;
}
constexpr auto kTables = MakeTables();

/// Takes a number and then so many bytes off the front. False: too short.
bool TakeSized(std::string_view& bytes, std::size_t size, std::string_view& out) {
  if (bytes.size() < size) return false;
  out = bytes.substr(0, size);
  bytes.remove_prefix(size);
  return true;
}

}  // namespace

std::uint32_t Crc32c(std::string_view bytes) {
  std::uint32_t crc = 0xffffffffU;
  std::size_t i = 0;
  for (; i + 4 <= bytes.size(); i += 4) {
    std::uint32_t word = 0;
    std::memcpy(&word, bytes.data() + i, 4);
    crc ^= word;
    crc = kTables[3][crc & 0xff] ^ kTables[2][(crc >> 8) & 0xff] ^ kTables[1][(crc >> 16) & 0xff] ^
          kTables[0][crc >> 24];
  }
  for (; i < bytes.size(); ++i) {
    crc = (crc >> 8) ^ kTables[0][(crc ^ static_cast<unsigned char>(bytes[i])) & 0xff];
  }
  return ~crc;
}

std::string EncodeRecord(WallTime appended_at, std::string_view key,
                         const std::optional<std::string>& value, const Headers& headers) {
  std::size_t size = kFixedBytes + key.size() + (value ? value->size() : 0);
  for (const auto& [name, text] : headers) size += 8 + name.size() + text.size();
  std::string bytes;
  bytes.reserve(size);
  bytes.append(4, '\0');
  bytes.push_back(kFormat);
  bytes.push_back(value ? kHasValue : '\0');
  lmdb::AppendBigEndian(bytes, std::int64_t{appended_at.time_since_epoch().count()});
  lmdb::AppendBigEndian(bytes, static_cast<std::uint32_t>(key.size()));
  lmdb::AppendBigEndian(bytes, static_cast<std::uint16_t>(headers.size()));
  bytes.append(key);
  for (const auto& [name, text] : headers) {
    lmdb::AppendBigEndian(bytes, static_cast<std::uint32_t>(name.size()));
    lmdb::AppendBigEndian(bytes, static_cast<std::uint32_t>(text.size()));
    bytes.append(name);
    bytes.append(text);
  }
  if (value) bytes.append(*value);
  std::string crc;
  lmdb::AppendBigEndian(crc, Crc32c(std::string_view(bytes).substr(4)));
  bytes.replace(0, 4, crc);
  return bytes;
}

bool DecodeRecord(std::string_view bytes, Record& record) {
  if (bytes.size() < kFixedBytes || bytes[4] != kFormat) return false;
  if (lmdb::ReadBigEndian<std::uint32_t>(bytes, 0) != Crc32c(bytes.substr(4))) return false;
  const bool has_value = bytes[5] == kHasValue;
  record.appended_at = WallTime(Duration(lmdb::ReadBigEndian<std::int64_t>(bytes, kTimeAt)));
  const std::size_t key_size = lmdb::ReadBigEndian<std::uint32_t>(bytes, 14);
  const std::size_t header_count = lmdb::ReadBigEndian<std::uint16_t>(bytes, 18);
  bytes.remove_prefix(kFixedBytes);
  std::string_view part;
  if (!TakeSized(bytes, key_size, part)) return false;
  record.key = part;
  record.headers.clear();
  for (std::size_t i = 0; i < header_count; ++i) {
    std::string_view sizes;
    std::string_view name;
    if (!TakeSized(bytes, 8, sizes)) return false;
    if (!TakeSized(bytes, lmdb::ReadBigEndian<std::uint32_t>(sizes, 0), name)) return false;
    if (!TakeSized(bytes, lmdb::ReadBigEndian<std::uint32_t>(sizes, 4), part)) return false;
    record.headers.emplace_back(name, part);
  }
  record.value = has_value ? std::optional<std::string>(bytes) : std::nullopt;
  return true;
}

std::optional<WallTime> AppendedAt(std::string_view bytes) {
  if (bytes.size() < kFixedBytes) return std::nullopt;
  return WallTime(Duration(lmdb::ReadBigEndian<std::int64_t>(bytes, kTimeAt)));
}

}  // namespace tributary::eventlog::embedded

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libs/eventlog/log.h"
#include "libs/time/time.h"

// How the embedded log keeps a record: checksum, format, time, key, headers, value.

namespace tributary::eventlog::embedded {

/// CRC-32C (Castagnoli).
std::uint32_t Crc32c(std::string_view bytes);

std::string EncodeRecord(WallTime appended_at, std::string_view key,
                         const std::optional<std::string>& value, const Headers& headers);

/// Fills everything but topic, partition and offset. False: these are not the bytes that were
/// written.
bool DecodeRecord(std::string_view bytes, Record& record);

/// Without looking at the rest, nor at the checksum. None: too short.
std::optional<WallTime> AppendedAt(std::string_view bytes);

}  // namespace tributary::eventlog::embedded

#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// Keys, partitions and hashes: protocol section 0. Fixed for good.

namespace tributary::ids {

/// Percent-encodes every byte outside [A-Za-z0-9._~-].
std::string EncodePart(std::string_view part);
/// None: malformed (a stray `%`, or a byte that should have been encoded).
std::optional<std::string> DecodePart(std::string_view part);
/// Encodes the parts and joins them by `/`.
std::string JoinKey(std::initializer_list<std::string_view> parts);
/// None: malformed.
std::optional<std::vector<std::string>> SplitKey(std::string_view key);

/// tenant/connection/kind/id
std::string ChangeKey(std::string_view tenant, std::string_view connection, std::string_view kind,
                      std::string_view id);
/// tenant/connection/stream
std::string CursorKey(std::string_view tenant, std::string_view connection,
                      std::string_view stream);
/// tenant/sync/s/object/source-kind/source-id
std::string StateKey(std::string_view tenant, std::string_view sync, std::string_view object,
                     std::string_view source_kind, std::string_view source_id);
/// tenant/sync/a/action-id
std::string ActionKey(std::string_view tenant, std::string_view sync, std::string_view action_id);
/// tenant/sync/mapped
std::string MappedKey(std::string_view tenant, std::string_view sync);
/// !b/<sha256 in hex>
std::string BlobKey(std::string_view sha256_hex);

/// What a key of `commands` or `records` says.
struct CommandKey {
  enum class Kind : std::uint8_t { kState, kAction, kMapped };
  Kind kind{};
  std::string tenant;
  std::string sync;
  /// Of a state.
  std::string object;
  std::string source_kind;
  std::string source_id;
  /// Of an action.
  std::string action_id;
};
std::optional<CommandKey> ParseCommandKey(std::string_view key);
/// What ParseCommandKey() makes of it, without its parts.
std::optional<CommandKey::Kind> KindOfCommandKey(std::string_view key);

/// (murmur2(tenant) & 0x7fffffff) mod partitions; murmur2 as Kafka's default partitioner has it.
std::int32_t PartitionOf(std::string_view tenant, std::int32_t partitions);
std::uint32_t Murmur2(std::string_view bytes);

using Sha256Digest = std::array<std::uint8_t, 32>;
Sha256Digest Sha256(std::string_view bytes);
std::string ToHex(std::string_view bytes);
std::string Sha256Hex(std::string_view bytes);

/// Rule 28: 32 hex digits over the length-prefixed fields.
std::string ActionId(std::string_view tenant, std::string_view sync, std::string_view event_id,
                     std::string_view rule, std::int32_t step, std::int32_t attempt);
/// Of a receipt: hash(key, version or action id, send number, outcome), 32 hex digits.
std::string ReceiptId(std::string_view key, std::string_view version_or_action, std::int64_t send,
                      std::string_view outcome);
/// Id of one read of one entity into `changes`: what its record is called, and its trace.
std::string ChangeId(std::string_view change_key, std::int64_t generation, std::int64_t fence,
                     std::int64_t read);

// A trace (W3C) begins with a change or an event. Nothing about it is random, so whoever derives
// something again says the same of it.

inline constexpr std::size_t kTraceIdBytes = 16;
inline constexpr std::size_t kSpanIdBytes = 8;
/// kTraceIdBytes, the same for the same seed.
std::string TraceId(std::string_view seed);
/// kSpanIdBytes of the span that began the trace.
std::string RootSpanId(std::string_view trace_id);
/// kSpanIdBytes of what a stage made of `key` in that trace.
std::string SpanId(std::string_view trace_id, std::string_view key);
/// `00-<trace>-<span>-01`, in hex digits.
std::string TraceParent(std::string_view trace_id, std::string_view span_id);

}  // namespace tributary::ids

#include "libs/ids/keys.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory>

#include <openssl/evp.h>

namespace tributary::ids {
namespace {

constexpr std::string_view kUpperHex = "0123456789ABCDEF";
constexpr std::string_view kLowerHex = "0123456789abcdef";

// Looked at for each byte of each key: a table, and not a row of comparisons.
constexpr std::array<bool, 256> kIsPlain = [] {
  std::array<bool, 256> plain{};
  for (const std::string_view range : {"AZ", "az", "09", "..", "__", "~~", "--"}) {
    for (int c = range[0]; c <= range[1]; ++c) plain[static_cast<std::size_t>(c)] = true;
  }
  return plain;
}();

bool IsPlain(char c) { return kIsPlain[static_cast<unsigned char>(c)]; }

std::size_t CountPlain(std::string_view part) {
  std::size_t count = 0;
  while (count < part.size() && IsPlain(part[count])) ++count;
  return count;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

void AppendHex(std::string& out, std::string_view bytes) {
  const std::size_t begin = out.size();
  out.resize(begin + bytes.size() * 2);
  char* to = out.data() + begin;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    *to++ = kLowerHex[byte >> 4];
    *to++ = kLowerHex[byte & 15];
  }
}

// Fields of a hash are told apart by their lengths: 8 bytes, little end first, before each.
void AppendField(std::string& out, std::string_view field) {
  auto length = static_cast<std::uint64_t>(field.size());
  for (int i = 0; i < 8; ++i) {
    out.push_back(static_cast<char>(length & 0xff));
    length >>= 8;
  }
  out.append(field);
}

std::string HashOfFields(std::initializer_list<std::string_view> fields) {
  std::string text;
  for (const std::string_view field : fields) AppendField(text, field);
  const Sha256Digest digest = Sha256(text);
  return ToHex(std::string_view(reinterpret_cast<const char*>(digest.data()), 16));
}

void AppendPart(std::string& out, std::string_view part) {
  const std::size_t plain = CountPlain(part);
  out.append(part.substr(0, plain));
  for (const char c : part.substr(plain)) {
    if (IsPlain(c)) {
      out.push_back(c);
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out.push_back('%');
      out.push_back(kUpperHex[byte >> 4]);
      out.push_back(kUpperHex[byte & 15]);
    }
  }
}

// False: malformed.
bool DecodeInto(std::string_view part, std::string& out) {
  const std::size_t plain = CountPlain(part);
  out.assign(part.substr(0, plain));
  for (std::size_t i = plain; i < part.size(); ++i) {
    if (IsPlain(part[i])) {
      out.push_back(part[i]);
      continue;
    }
    if (part[i] != '%' || i + 2 >= part.size()) return false;
    const int high = HexDigit(part[i + 1]);
    const int low = HexDigit(part[i + 2]);
    if (high < 0 || low < 0) return false;
    const auto byte = static_cast<char>(high * 16 + low);
    // One text for one part, else two keys would mean the same record.
    if (IsPlain(byte)) return false;
    out.push_back(byte);
    i += 2;
  }
  return true;
}

// The parts of a key of `commands` as they stand in it.
struct EncodedCommandKey {
  CommandKey::Kind kind{};
  // One more than the longest kind of key has is one too many.
  std::array<std::string_view, 7> parts;
  std::size_t count = 0;
};

// None: there is no such kind of key.
std::optional<EncodedCommandKey> SplitCommandKey(std::string_view key) {
  EncodedCommandKey out;
  for (bool is_last = false; !is_last && out.count < out.parts.size(); ++out.count) {
    const std::size_t slash = key.find('/');
    out.parts[out.count] = key.substr(0, slash);
    is_last = slash == std::string_view::npos;
    if (!is_last) key.remove_prefix(slash + 1);
  }
  const std::string_view kind = out.parts[2];
  if (out.count == 3 && kind == "mapped") {
    out.kind = CommandKey::Kind::kMapped;
  } else if (out.count == 4 && kind == "a") {
    out.kind = CommandKey::Kind::kAction;
  } else if (out.count == 6 && kind == "s") {
    out.kind = CommandKey::Kind::kState;
  } else {
    return std::nullopt;
  }
  return out;
}

}  // namespace

std::string EncodePart(std::string_view part) {
  std::string out;
  AppendPart(out, part);
  return out;
}

std::optional<std::string> DecodePart(std::string_view part) {
  std::string out;
  if (!DecodeInto(part, out)) return std::nullopt;
  return out;
}

std::string JoinKey(std::initializer_list<std::string_view> parts) {
  std::size_t bytes = 0;
  for (const std::string_view part : parts) bytes += part.size() + 1;
  std::string out;
  out.reserve(bytes);
  bool first = true;
  for (const std::string_view part : parts) {
    if (!first) out.push_back('/');
    first = false;
    AppendPart(out, part);
  }
  return out;
}

std::optional<std::vector<std::string>> SplitKey(std::string_view key) {
  std::vector<std::string> parts;
  parts.reserve(6);  // As many as the longest kind of key has.
  while (true) {
    const std::size_t slash = key.find('/');
    std::optional<std::string> part = DecodePart(key.substr(0, slash));
    if (!part) return std::nullopt;
    parts.push_back(*std::move(part));
    if (slash == std::string_view::npos) return parts;
    key.remove_prefix(slash + 1);
  }
}

std::string ChangeKey(std::string_view tenant, std::string_view connection, std::string_view kind,
                      std::string_view id) {
  return JoinKey({tenant, connection, kind, id});
}

std::string CursorKey(std::string_view tenant, std::string_view connection,
                      std::string_view stream) {
  return JoinKey({tenant, connection, stream});
}

std::string StateKey(std::string_view tenant, std::string_view sync, std::string_view object,
                     std::string_view source_kind, std::string_view source_id) {
  return JoinKey({tenant, sync, "s", object, source_kind, source_id});
}

std::string ActionKey(std::string_view tenant, std::string_view sync, std::string_view action_id) {
  return JoinKey({tenant, sync, "a", action_id});
}

std::string MappedKey(std::string_view tenant, std::string_view sync) {
  return JoinKey({tenant, sync, "mapped"});
}

std::string BlobKey(std::string_view sha256_hex) { return "!b/" + std::string(sha256_hex); }

std::optional<CommandKey> ParseCommandKey(std::string_view key) {
  const std::optional<EncodedCommandKey> encoded = SplitCommandKey(key);
  if (!encoded) return std::nullopt;
  const auto& parts = encoded->parts;
  CommandKey out;
  out.kind = encoded->kind;
  bool is_whole = DecodeInto(parts[0], out.tenant) && DecodeInto(parts[1], out.sync);
  if (out.kind == CommandKey::Kind::kAction) {
    is_whole = is_whole && DecodeInto(parts[3], out.action_id);
  } else if (out.kind == CommandKey::Kind::kState) {
    is_whole = is_whole && DecodeInto(parts[3], out.object) &&
               DecodeInto(parts[4], out.source_kind) && DecodeInto(parts[5], out.source_id);
  }
  if (!is_whole) return std::nullopt;
  return out;
}

std::optional<CommandKey::Kind> KindOfCommandKey(std::string_view key) {
  const std::optional<EncodedCommandKey> encoded = SplitCommandKey(key);
  if (!encoded) return std::nullopt;
  for (std::size_t i = 0; i < encoded->count; ++i) {
    const std::string_view part = encoded->parts[i];
    if (CountPlain(part) != part.size() && !DecodePart(part)) return std::nullopt;
  }
  return encoded->kind;
}

std::uint32_t Murmur2(std::string_view bytes) {
  constexpr std::uint32_t kMultiplier = 0x5bd1e995;
  constexpr std::uint32_t kSeed = 0x9747b28c;
  const auto byte = [bytes](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[i]));
  };
  std::uint32_t hash = kSeed ^ static_cast<std::uint32_t>(bytes.size());
  std::size_t i = 0;
  for (; i + 4 <= bytes.size(); i += 4) {
    std::uint32_t k = byte(i) | byte(i + 1) << 8 | byte(i + 2) << 16 | byte(i + 3) << 24;
    k *= kMultiplier;
    k ^= k >> 24;
    k *= kMultiplier;
    hash *= kMultiplier;
    hash ^= k;
  }
  const std::size_t rest = bytes.size() - i;
  if (rest > 2) hash ^= byte(i + 2) << 16;
  if (rest > 1) hash ^= byte(i + 1) << 8;
  if (rest > 0) {
    hash ^= byte(i);
    hash *= kMultiplier;
  }
  hash ^= hash >> 13;
  hash *= kMultiplier;
  hash ^= hash >> 15;
  return hash;
}

std::int32_t PartitionOf(std::string_view tenant, std::int32_t partitions) {
  return static_cast<std::int32_t>(Murmur2(tenant) & 0x7fffffff) % partitions;
}

Sha256Digest Sha256(std::string_view bytes) {
  // OpenSSL 3 looks its algorithm up again for each EVP_Digest of EVP_sha256(), which costs more
  // than the digest of a short text.
  static EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  thread_local const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(
      EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  Sha256Digest digest{};
  unsigned int size = 0;
  if (EVP_DigestInit_ex2(context.get(), algorithm, nullptr) != 1 ||
      EVP_DigestUpdate(context.get(), bytes.data(), bytes.size()) != 1 ||
      EVP_DigestFinal_ex(context.get(), digest.data(), &size) != 1) {
    // Only without memory; a wrong digest would pass for a right one.
    std::abort();
  }
  return digest;
}

std::string ToHex(std::string_view bytes) {
  std::string out;
  AppendHex(out, bytes);
  return out;
}

std::string Sha256Hex(std::string_view bytes) {
  const Sha256Digest digest = Sha256(bytes);
  return ToHex(std::string_view(reinterpret_cast<const char*>(digest.data()), digest.size()));
}

std::string ActionId(std::string_view tenant, std::string_view sync, std::string_view event_id,
                     std::string_view rule, std::int32_t step, std::int32_t attempt) {
  return HashOfFields(
      {"v1", tenant, sync, event_id, rule, std::to_string(step), std::to_string(attempt)});
}

std::string ReceiptId(std::string_view key, std::string_view version_or_action, std::int64_t send,
                      std::string_view outcome) {
  return HashOfFields({key, version_or_action, std::to_string(send), outcome});
}

std::string ChangeId(std::string_view change_key, std::int64_t generation, std::int64_t fence,
                     std::int64_t read) {
  return std::string(change_key) + "@" + std::to_string(generation) + "." + std::to_string(fence) +
         "." + std::to_string(read);
}

std::string TraceId(std::string_view seed) {
  const Sha256Digest digest = Sha256(seed);
  return std::string(reinterpret_cast<const char*>(digest.data()), kTraceIdBytes);
}

std::string RootSpanId(std::string_view trace_id) {
  return std::string(trace_id.substr(kTraceIdBytes - kSpanIdBytes));
}

std::string SpanId(std::string_view trace_id, std::string_view key) {
  std::string seed;
  seed.reserve(trace_id.size() + key.size());
  seed.append(trace_id).append(key);
  const Sha256Digest digest = Sha256(seed);
  return std::string(reinterpret_cast<const char*>(digest.data()), kSpanIdBytes);
}

std::string TraceParent(std::string_view trace_id, std::string_view span_id) {
  std::string text;
  text.reserve(2 * (trace_id.size() + span_id.size()) + 7);
  text = "00-";
  AppendHex(text, trace_id);
  text += '-';
  AppendHex(text, span_id);
  text += "-01";
  return text;
}

}  // namespace tributary::ids

#include "libs/eventlog/log.h"

#include <cstdlib>
#include <cstring>

namespace tributary::eventlog {

std::string_view Name(Topic topic) {
  switch (topic) {
    case Topic::kTenants:
      return "tenants";
    case Topic::kNotifications:
      return "notifications";
    case Topic::kChanges:
      return "changes";
    case Topic::kEvents:
      return "events";
    case Topic::kCursors:
      return "cursors";
    case Topic::kCommands:
      return "commands";
    case Topic::kRecords:
      return "records";
    case Topic::kOutcomes:
      return "outcomes";
  }
  std::abort();
}

bool IsTable(Topic topic) {
  switch (topic) {
    case Topic::kTenants:
    case Topic::kChanges:
    case Topic::kCursors:
    case Topic::kCommands:
    case Topic::kRecords:
      return true;
    case Topic::kNotifications:
    case Topic::kEvents:
    case Topic::kOutcomes:
      return false;
  }
  std::abort();
}

Headers::value_type Headers::const_iterator::operator*() const {
  std::array<std::uint32_t, 2> sizes;
  std::memcpy(sizes.data(), at_, kPrefixBytes);
  const char* const name = at_ + kPrefixBytes;
  return {{name, sizes[0]}, {name + sizes[0], sizes[1]}};
}

Headers::const_iterator& Headers::const_iterator::operator++() {
  std::array<std::uint32_t, 2> sizes;
  std::memcpy(sizes.data(), at_, kPrefixBytes);
  at_ += kPrefixBytes + sizes[0] + sizes[1];
  return *this;
}

void Headers::emplace_back(std::string_view name, std::string_view value) {
  const std::array<std::uint32_t, 2> sizes = {static_cast<std::uint32_t>(name.size()),
                                              static_cast<std::uint32_t>(value.size())};
  std::array<char, kPrefixBytes> prefix;
  std::memcpy(prefix.data(), sizes.data(), kPrefixBytes);
  bytes_.append(prefix.data(), prefix.size());
  bytes_.append(name);
  bytes_.append(value);
  ++count_;
}

void Headers::clear() {
  bytes_.clear();
  count_ = 0;
}

std::optional<std::string_view> FindHeader(const Headers& headers, std::string_view name) {
  for (const auto& [header, value] : headers) {
    if (header == name) return value;
  }
  return std::nullopt;
}

Headers ToHeaders(const RecordMeta& meta) {
  constexpr std::size_t kNames = 50;
  Headers headers;
  headers.reserve(
      5, kNames + meta.id.size() + meta.source.size() + meta.type.size() + meta.traceparent.size());
  headers.emplace_back("ce_specversion", "1.0");
  headers.emplace_back("ce_id", meta.id);
  headers.emplace_back("ce_source", meta.source);
  headers.emplace_back("ce_type", meta.type);
  if (!meta.traceparent.empty()) headers.emplace_back(kTraceHeader, meta.traceparent);
  return headers;
}

std::string WithSpan(std::string traceparent, std::string_view hex_digits) {
  constexpr std::size_t kSpanAt = 36;  // Behind `00-`, 32 digits and `-`.
  constexpr std::size_t kSpanDigits = 16;
  if (traceparent.size() >= kSpanAt + kSpanDigits && hex_digits.size() >= kSpanDigits) {
    traceparent.replace(kSpanAt, kSpanDigits, hex_digits.substr(0, kSpanDigits));
  }
  return traceparent;
}

RecordMeta MetaOf(const Headers& headers) {
  RecordMeta meta;
  for (const auto& [name, value] : headers) {
    if (name == "ce_id") meta.id = value;
    if (name == "ce_source") meta.source = value;
    if (name == "ce_type") meta.type = value;
    if (name == kTraceHeader) meta.traceparent = value;
  }
  return meta;
}

}  // namespace tributary::eventlog

#include "services/loader/index_rows.h"

#include <array>
#include <cstdint>
#include <optional>

#include "services/loader/fields.h"
#include "services/loader/heads.h"
#include "tributary/v1/records.pb.h"
#include "tributary/v1/tenants.pb.h"

namespace tributary::loader {
namespace {

/// The first parts of a key as they stand in it, encoded. Empty: there are not so many.
std::array<std::string_view, 4> EncodedParts(std::string_view key) {
  std::array<std::string_view, 4> parts;
  for (std::string_view& part : parts) {
    const std::size_t end = key.find('/');
    part = key.substr(0, end);
    if (end == std::string_view::npos) break;
    key.remove_prefix(end + 1);
  }
  return parts;
}

std::string RowOf(char kind, std::string_view tenant) {
  std::string row = {kind, '/'};
  row.append(tenant).push_back('/');
  return row;
}

}  // namespace

std::vector<std::string> IndexRecord(std::string_view key, const eventlog::TableEntry& entry) {
  std::vector<std::string> rows;
  if (entry.is_void) return rows;
  std::string_view id;
  bool is_parked = false;
  bool is_shown = false;
  const bool is_whole =
      ForEachField(entry.value, [&](int field, std::string_view bytes, std::uint64_t integer) {
        // Without data: an integer stands there, and the message knows no such field.
        if (field == v1::RecordEntry::kIdFieldNumber && bytes.data() != nullptr) id = bytes;
        if (field == v1::RecordEntry::kStatusFieldNumber && bytes.data() == nullptr) {
          is_parked = integer == v1::RecordEntry::STATUS_PARKED;
        }
        if (field == v1::RecordEntry::kComparisonFieldNumber) {
          std::optional<WallTime> compare_at;
          ReadComparison(bytes, &compare_at, &is_shown);
        }
      });
  const auto [tenant, sync, kind, object] = EncodedParts(key);
  if (!is_whole || object.empty()) return rows;
  if (kind == "s" && !id.empty()) {
    std::string row = RowOf('i', tenant);
    row.append(object).append("/").append(ids::EncodePart(id)).append("/");
    rows.push_back(std::move(row));
  }
  if (is_parked || is_shown) rows.push_back(RowOf('p', tenant));
  return rows;
}

std::vector<std::string> IndexCommand(std::string_view key, const eventlog::TableEntry& entry) {
  std::vector<std::string> rows;
  if (entry.is_void) return rows;
  std::string_view customer;
  const bool is_whole =
      ForEachField(entry.value, [&](int field, std::string_view bytes, std::uint64_t) {
        if (field == v1::Command::kCustomerFieldNumber && bytes.data() != nullptr) {
          customer = bytes;
        }
      });
  const auto [tenant, sync, kind, name] = EncodedParts(key);
  if (!is_whole || customer.empty() || name.empty()) return rows;
  std::string row = RowOf('c', tenant);
  row.append(ids::EncodePart(customer)).push_back('/');
  rows.push_back(std::move(row));
  return rows;
}

bool ParseInto(std::string_view bytes, google::protobuf::MessageLite& out) {
  return out.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

bool ParseCommand(ids::CommandKey::Kind kind, std::string_view bytes, v1::Command& out) {
  if (!ParseInto(bytes, out)) return false;
  switch (kind) {
    case ids::CommandKey::Kind::kState:
      return out.has_version() && !out.has_action() && !out.has_mapped();
    case ids::CommandKey::Kind::kAction:
      return out.has_action();
    case ids::CommandKey::Kind::kMapped:
      return out.has_mapped();
  }
  return false;
}

bool IsTenantsEntry(std::string_view key, const std::string& bytes) {
  if (key.starts_with("!b/")) return v1::Blob().ParseFromString(bytes);
  if (key.starts_with('!')) return true;
  v1::TenantSnapshot snapshot;
  return snapshot.ParseFromString(bytes) && !snapshot.tenant().empty();
}

}  // namespace tributary::loader

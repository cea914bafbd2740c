#include <algorithm>

#include "libs/changes/change_view.h"
#include "libs/ids/keys.h"
#include "services/transformer/stage.h"

// Rows by which entries of `changes` are found.

namespace tributary::transformer {

using changes::ChangeView;
using eventlog::TableEntry;

namespace {

// A key as it is: tenant/connection/kind/id.
struct ChangeParts {
  std::string_view tenant;
  std::string_view connection;
  std::string_view kind;
  std::string_view id;
  /// tenant/connection
  std::string_view place;
  /// Certainly nothing in it is encoded.
  bool is_plain = false;
};

// None: it has not four parts.
std::optional<ChangeParts> PartsOf(std::string_view key) {
  std::size_t slashes[3] = {};
  std::size_t found = 0;
  bool is_plain = true;
  for (std::size_t at = 0; at < key.size(); ++at) {
    const char c = key[at];
    // Of nearly all keys.
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_') continue;
    if (c != '/') {
      is_plain = false;
      continue;
    }
    if (found == 3) return std::nullopt;
    slashes[found++] = at;
  }
  if (found != 3) return std::nullopt;
  return ChangeParts{key.substr(0, slashes[0]),
                     key.substr(slashes[0] + 1, slashes[1] - slashes[0] - 1),
                     key.substr(slashes[1] + 1, slashes[2] - slashes[1] - 1),
                     key.substr(slashes[2] + 1),
                     key.substr(0, slashes[1]),
                     is_plain};
}

// As the parts are when they are decoded. None: malformed.
std::optional<std::string> TextOf(const ChangeParts& parts, std::string_view part) {
  return parts.is_plain ? std::string(part) : ids::DecodePart(part);
}

// None: it cannot be decoded. Of a void tombstone nothing is left but its key.
std::optional<ChangeView> ChangeOf(const TableEntry& entry, std::string& own) {
  const std::optional<ChangeView> change = changes::ViewOf(entry.value, own);
  if (entry.is_void) return change.value_or(ChangeView());
  return change && change->has_entity ? change : std::nullopt;
}

// Ids of customers that an entry names, sorted, each once; `id` is the one in its key.
std::vector<std::string_view> NamesIn(const ChangeParts& parts, const ChangeView& change,
                                      std::string_view id) {
  std::vector<std::string_view> names;
  for (const std::string_view name : change.customers) names.push_back(name);
  for (const std::string_view name : change.former_customers) names.push_back(name);
  if (parts.kind == kCustomers) names.push_back(id);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

}  // namespace

std::string CustomerRow(const Customer& customer) {
  return "c/" + ids::JoinKey({customer.tenant, customer.connection, customer.id}) + "/";
}

std::string ConnectionRows(std::string_view tenant, std::string_view connection) {
  return "c/" + ids::JoinKey({tenant, connection}) + "/";
}

std::string OffsetRow(eventlog::Offset offset) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string row = "o/0000000000000000";
  auto rest = static_cast<std::uint64_t>(offset);
  for (std::size_t at = row.size(); rest != 0; rest >>= 4) row[--at] = kDigits[rest & 15];
  return row;
}

std::optional<ChangeNews> NewsOf(std::string_view key, const TableEntry& entry) {
  const std::optional<ChangeParts> parts = PartsOf(key);
  if (!parts) return std::nullopt;
  const std::optional<std::string> tenant = TextOf(*parts, parts->tenant);
  const std::optional<std::string> connection = TextOf(*parts, parts->connection);
  const std::optional<std::string> id =
      parts->kind == kCustomers ? TextOf(*parts, parts->id) : std::string();
  if (!tenant || !connection || !id) return std::nullopt;
  std::string own;
  const std::optional<ChangeView> change = ChangeOf(entry, own);
  if (!change) return std::nullopt;
  ChangeNews news;
  news.first_read = change->first_read;
  for (const std::string_view name : NamesIn(*parts, *change, *id)) {
    news.customers.push_back({*tenant, *connection, std::string(name)});
  }
  return news;
}

std::vector<std::string> IndexChange(std::string_view key, const TableEntry& entry) {
  std::vector<std::string> rows;
  const std::optional<ChangeParts> parts = PartsOf(key);
  const bool is_key = parts && (parts->is_plain || ids::SplitKey(key));
  std::string own;
  const std::optional<ChangeView> change = is_key ? ChangeOf(entry, own) : std::nullopt;
  if (!change) {
    rows.push_back("u/" + OffsetRow(entry.offset));
    return rows;
  }
  const std::string id = parts->kind == kCustomers ? *TextOf(*parts, parts->id) : std::string();
  const std::vector<std::string_view> names = NamesIn(*parts, *change, id);
  rows.reserve(names.size() + 1);
  for (const std::string_view name : names) {
    std::string& row = rows.emplace_back("c/");
    row.append(parts->place).append("/").append(ids::EncodePart(name)).append("/");
  }
  rows.push_back(OffsetRow(entry.offset));
  return rows;
}

}  // namespace tributary::transformer

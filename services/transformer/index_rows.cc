#include <algorithm>
#include <memory>

#include "libs/ids/keys.h"
#include "services/transformer/stage.h"

// Rows by which entries of `changes` and `commands` are found.

namespace tributary::transformer {

using eventlog::TableEntry;

namespace {

// A key as it is: tenant/connection/kind/id.
struct ChangeParts {
  /// tenant/connection
  std::string_view connection;
  std::string_view kind;
  std::string_view id;
};

std::optional<ChangeParts> PartsOf(std::string_view key) {
  std::size_t slashes[3] = {};
  std::size_t found = 0;
  for (std::size_t at = 0; at < key.size(); ++at) {
    if (key[at] != '/') continue;
    if (found == 3) return std::nullopt;
    slashes[found++] = at;
  }
  if (found != 3) return std::nullopt;
  return ChangeParts{key.substr(0, slashes[1]),
                     key.substr(slashes[1] + 1, slashes[2] - slashes[1] - 1),
                     key.substr(slashes[2] + 1)};
}

// Ids of customers that an entry names, encoded, sorted, each once. None: it cannot be decoded.
std::optional<std::vector<std::string>> NamesIn(const ChangeParts& parts, const TableEntry& entry,
                                                v1::ChangeEvent& memory) {
  if (!memory.ParseFromString(entry.value)) {
    if (!entry.is_void) return std::nullopt;
    memory.Clear();
  }
  // Of a void tombstone nothing is left but its key.
  if (!entry.is_void && !memory.has_entity()) return std::nullopt;
  std::vector<std::string> names;
  for (const std::string& id : memory.entity().customers()) names.push_back(ids::EncodePart(id));
  for (const std::string& id : memory.entity().former_customers()) {
    names.push_back(ids::EncodePart(id));
  }
  if (parts.kind == kCustomers) names.emplace_back(parts.id);
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

std::optional<std::vector<Customer>> CustomersOf(std::string_view key, const TableEntry& entry,
                                                 v1::ChangeEvent& memory) {
  const std::optional<ChangeParts> parts = PartsOf(key);
  const std::optional<std::vector<std::string>> names =
      parts ? NamesIn(*parts, entry, memory) : std::nullopt;
  const std::optional<std::vector<std::string>> places =
      names ? ids::SplitKey(parts->connection) : std::nullopt;
  if (!places) return std::nullopt;
  std::vector<Customer> customers;
  for (const std::string& name : *names) {
    const std::optional<std::string> id = ids::DecodePart(name);
    if (!id) return std::nullopt;
    customers.push_back({(*places)[0], (*places)[1], *id});
  }
  return customers;
}

eventlog::Table::Indexer ChangeIndexer() {
  return [memory = std::make_shared<v1::ChangeEvent>()](std::string_view key,
                                                        const TableEntry& entry) {
    std::vector<std::string> rows;
    const std::optional<ChangeParts> parts = PartsOf(key);
    const std::optional<std::vector<std::string>> names =
        parts ? NamesIn(*parts, entry, *memory) : std::nullopt;
    if (!names || !ids::SplitKey(key)) {
      rows.push_back("u/" + OffsetRow(entry.offset));
      return rows;
    }
    rows.reserve(names->size() + 1);
    for (const std::string& name : *names) {
      std::string& row = rows.emplace_back("c/");
      row.append(parts->connection).append("/").append(name).append("/");
    }
    rows.push_back(OffsetRow(entry.offset));
    return rows;
  };
}

std::vector<std::string> IndexCommand(std::string_view key, const TableEntry&) {
  const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
  if (!parts || parts->kind != ids::CommandKey::Kind::kState) return {};
  return {CustomerRow({parts->tenant, parts->sync, parts->source_id})};
}

}  // namespace tributary::transformer

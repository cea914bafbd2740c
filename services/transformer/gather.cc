#include <algorithm>
#include <tuple>

#include "libs/cel/timestamp.h"
#include "libs/ids/keys.h"
#include "services/transformer/stage.h"

// What the tables say of one customer, and the rows by which that is found.

namespace tributary::transformer {
namespace {

using eventlog::TableEntry;

constexpr std::string_view kCustomers = "customers";

/// An entity of the view, with what sorts it.
struct Item {
  std::string id;
  json::Value document;
};

// Numbers by value, others by bytes behind them: the order of ids at the source.
bool IsBefore(const Item& a, const Item& b) {
  const std::optional<std::int64_t> x = json::Value(a.id).ToInt64();
  const std::optional<std::int64_t> y = json::Value(b.id).ToInt64();
  if (x && y && *x != *y) return *x < *y;
  if (x.has_value() != y.has_value()) return x.has_value();
  return a.id < b.id;
}

json::Value Sorted(std::vector<Item> items) {
  std::sort(items.begin(), items.end(), IsBefore);
  json::Array array;
  for (Item& item : items) array.push_back(std::move(item.document));
  return array;
}

bool IsEarlier(const google::protobuf::Timestamp& a, const google::protobuf::Timestamp& b) {
  return std::tuple(a.seconds(), a.nanos()) < std::tuple(b.seconds(), b.nanos());
}

template <typename Names>
bool Holds(const Names& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// An id as it stands in documents: a number where it is one.
json::Value IdValue(const std::string& id) {
  const std::optional<std::int64_t> number = json::Value(id).ToInt64();
  if (number && std::to_string(*number) == id) return *number;
  return json::Value(id);
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

std::optional<std::vector<Customer>> CustomersOf(std::string_view key, const TableEntry& entry) {
  const std::optional<std::vector<std::string>> parts = ids::SplitKey(key);
  v1::ChangeEvent change;
  if (!parts || parts->size() != 4) return std::nullopt;
  if (!change.ParseFromString(entry.value)) {
    if (!entry.is_void) return std::nullopt;
    change.Clear();
  }
  // Of a void tombstone nothing is left but its key.
  if (!entry.is_void && !change.has_entity()) return std::nullopt;
  std::set<std::string> named(change.entity().customers().begin(),
                              change.entity().customers().end());
  named.insert(change.entity().former_customers().begin(),
               change.entity().former_customers().end());
  if ((*parts)[2] == kCustomers) named.insert((*parts)[3]);
  std::vector<Customer> customers;
  for (const std::string& id : named) customers.push_back({(*parts)[0], (*parts)[1], id});
  return customers;
}

std::vector<std::string> IndexChange(std::string_view key, const TableEntry& entry) {
  std::vector<std::string> rows;
  const std::optional<std::vector<Customer>> customers = CustomersOf(key, entry);
  if (!customers) {
    rows.push_back("u/" + OffsetRow(entry.offset));
    return rows;
  }
  for (const Customer& customer : *customers) rows.push_back(CustomerRow(customer));
  rows.push_back(OffsetRow(entry.offset));
  return rows;
}

std::vector<std::string> IndexCommand(std::string_view key, const TableEntry&) {
  const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
  if (!parts || parts->kind != ids::CommandKey::Kind::kState) return {};
  return {CustomerRow({parts->tenant, parts->sync, parts->source_id})};
}

std::strong_ordering Compare(const v1::Version& a, const v1::Version& b) {
  return std::tuple(a.generation(), a.offset(), a.revision()) <=>
         std::tuple(b.generation(), b.offset(), b.revision());
}

Gathered Gather(const eventlog::Table& changes, const Customer& customer) {
  std::vector<std::string> keys;
  changes.ScanIndex(CustomerRow(customer), [&](std::string_view, std::string_view key) {
    keys.emplace_back(key);
    return true;
  });
  Gathered gathered;
  std::map<std::string, std::vector<Item>> current;
  std::map<std::string, std::vector<Item>> past;
  for (const std::string& key : keys) {
    const std::optional<TableEntry> entry = changes.Get(key);
    if (!entry) continue;
    if (entry->is_void) {
      gathered.has_void = true;
      return gathered;
    }
    v1::ChangeEvent change;
    if (!change.ParseFromString(entry->value)) continue;
    const v1::Entity& entity = change.entity();
    if (entry->offset > gathered.offset) {
      gathered.offset = entry->offset;
      gathered.first_read = change.first_read();
    }
    const bool has_time = entity.has_updated_at() || entity.has_read_at();
    const google::protobuf::Timestamp& time =
        entity.has_updated_at() ? entity.updated_at() : entity.read_at();
    if (has_time && (!gathered.changed_at || IsEarlier(*gathered.changed_at, time))) {
      gathered.changed_at = time;
    }

    const bool is_itself = entity.kind() == kCustomers && entity.id() == customer.id;
    json::Value document;
    if (!entity.document().empty()) {
      absl::StatusOr<json::Value> parsed = json::Parse(entity.document());
      if (!parsed.ok()) {
        gathered.problem = key + ": " + std::string(parsed.status().message());
        continue;
      }
      document = *std::move(parsed);
    }
    if (is_itself) {
      gathered.is_known = true;
      gathered.view.gone = entity.gone();
      if (document.is_null()) document.Set("id", IdValue(customer.id));
      gathered.view.customer = std::move(document);
      continue;
    }
    if (document.is_null()) continue;
    const bool is_current = !entity.gone() && Holds(entity.customers(), customer.id);
    (is_current ? current : past)[entity.kind()].push_back({entity.id(), std::move(document)});
  }
  gathered.view.subscriptions = Sorted(std::move(current["subscriptions"]));
  gathered.view.invoices = Sorted(std::move(current["invoices"]));
  gathered.view.components = Sorted(std::move(current["components"]));
  for (const char* kind : {"subscriptions", "invoices", "components"}) {
    gathered.view.past.Set(kind, Sorted(std::move(past[kind])));
  }
  return gathered;
}

mapping::EventView ViewOf(const v1::SourceEvent& event) {
  mapping::EventView view;
  absl::StatusOr<json::Value> document = json::Parse(event.document());
  if (document.ok()) {
    view.event = *std::move(document);
  } else {
    view.event.Set("id", IdValue(event.id()));
    view.event.Set("key", event.key());
  }
  if (event.has_occurred_at()) {
    view.now =
        cel::ToText(cel::Timestamp{event.occurred_at().seconds(), event.occurred_at().nanos(), 0});
  }
  std::map<std::string, std::vector<Item>> items;
  for (const v1::Entity& entity : event.entities()) {
    absl::StatusOr<json::Value> parsed = json::Parse(entity.document());
    if (!parsed.ok()) continue;
    if (entity.kind() == kCustomers) {
      if (!event.customer().empty() && entity.id() != event.customer()) continue;
      view.customer = *std::move(parsed);
      view.gone = entity.gone();
    } else {
      items[entity.kind()].push_back({entity.id(), *std::move(parsed)});
    }
  }
  // The one that the event names, else the first.
  const auto pick = [&](const char* kind, const json::Value* named) -> json::Value {
    std::vector<Item>& of_kind = items[kind];
    std::sort(of_kind.begin(), of_kind.end(), IsBefore);
    const std::optional<std::string> id = named == nullptr ? std::nullopt : named->ToIdText();
    for (const Item& item : of_kind) {
      if (id && (item.id == *id || item.id.ends_with("-" + *id))) return item.document;
    }
    return of_kind.empty() ? json::Value() : of_kind.front().document;
  };
  view.subscription = pick("subscriptions", view.event.Find("subscription_id"));
  view.invoice = pick("invoices", view.event.FindPath("event_specific_data.uid"));
  view.component = pick("components", view.event.FindPath("event_specific_data.component_id"));
  view.subscriptions = Sorted(std::move(items["subscriptions"]));
  view.invoices = Sorted(std::move(items["invoices"]));
  view.components = Sorted(std::move(items["components"]));
  return view;
}

}  // namespace tributary::transformer

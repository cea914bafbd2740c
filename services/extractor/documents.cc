#include "services/extractor/documents.h"

#include <array>
#include <utility>

#include "libs/json/value.h"
#include "libs/time/rfc3339.h"

namespace tributary::extractor {
namespace {

struct KindTraits {
  std::string_view name;
  /// Wrapper of one entity.
  std::string_view wrapper;
  /// Member that holds the list. Empty: a bare array.
  std::string_view list_member;
};
constexpr std::array<KindTraits, kStreamKinds> kTraits = {{
    {"site", "site", ""},
    {"customers", "customer", ""},
    {"subscriptions", "subscription", ""},
    {"components", "component", "subscriptions_components"},
    {"invoices", "invoice", "invoices"},
    {"events", "event", ""},
}};
const KindTraits& TraitsOf(StreamKind kind) { return kTraits[static_cast<std::size_t>(kind)]; }

std::string IdAt(const json::Value& document, std::string_view path) {
  const json::Value* value = document.FindPath(path);
  if (value == nullptr) return {};
  return value->ToIdText().value_or("");
}

std::optional<ZonedTime> TimeAt(const json::Value& document, std::string_view name) {
  const json::Value* value = document.Find(name);
  if (value == nullptr || value->string() == nullptr) return std::nullopt;
  return ParseZonedTime(*value->string());
}

/// The entity's own bytes: lists and reads wrap most kinds by their name, and not all (trap 14).
std::string_view Unwrap(std::string_view element, std::string_view wrapper) {
  const absl::StatusOr<std::string_view> inner = json::MemberBytes(element, wrapper);
  return inner.ok() && inner->starts_with('{') ? *inner : element;
}

absl::StatusOr<Row> ReadRow(StreamKind kind, std::string_view element,
                            std::optional<ZonedTime>& newest) {
  const std::string_view bytes = Unwrap(element, TraitsOf(kind).wrapper);
  const absl::StatusOr<json::Value> document = json::Parse(bytes);
  if (!document.ok()) return document.status();
  if (document->object() == nullptr) return absl::InvalidArgumentError("no object");

  Row row;
  row.document = std::string(bytes);
  if (const std::optional<ZonedTime> updated = TimeAt(*document, "updated_at")) {
    row.updated_at = updated->utc;
    if (!newest || newest->utc < updated->utc) newest = updated;
  }
  const std::optional<ZonedTime> created = TimeAt(*document, "created_at");
  const json::Value* id = document->Find("id");
  const std::optional<std::int64_t> number = id == nullptr ? std::nullopt : id->ToInt64();
  switch (kind) {
    case StreamKind::kSite:
      row.id = IdAt(*document, "id");
      if (row.id.empty()) row.id = IdAt(*document, "subdomain");
      break;
    case StreamKind::kCustomers:
      row.id = IdAt(*document, "id");
      if (!row.id.empty()) row.customers.push_back(row.id);
      // The list is in the order of creation, which ties within a second.
      if (created) row.order_key = created->utc.time_since_epoch().count();
      break;
    case StreamKind::kSubscriptions: {
      row.id = IdAt(*document, "id");
      row.order_key = number;
      std::string customer = IdAt(*document, "customer.id");
      if (customer.empty()) customer = IdAt(*document, "customer_id");
      if (!customer.empty()) row.customers.push_back(std::move(customer));
      break;
    }
    case StreamKind::kComponents: {
      row.subscription = IdAt(*document, "subscription_id");
      const std::string component = IdAt(*document, "component_id");
      if (!row.subscription.empty() && !component.empty()) {
        row.id = row.subscription + "-" + component;
      }
      row.order_key = number;
      break;
    }
    case StreamKind::kInvoices: {
      row.id = IdAt(*document, "uid");
      if (row.id.empty()) row.id = IdAt(*document, "id");
      row.subscription = IdAt(*document, "subscription_id");
      std::string customer = IdAt(*document, "customer_id");
      if (customer.empty()) customer = IdAt(*document, "customer.chargify_id");
      if (!customer.empty()) row.customers.push_back(std::move(customer));
      if (created) row.order_key = created->utc.time_since_epoch().count();
      break;
    }
    case StreamKind::kEvents:
      break;
  }
  if (row.id.empty()) return absl::InvalidArgumentError("no id");
  return row;
}

absl::StatusOr<std::vector<std::string_view>> Elements(StreamKind kind, std::string_view body) {
  const std::string_view member = TraitsOf(kind).list_member;
  absl::StatusOr<std::vector<std::string_view>> elements = json::SplitArray(body, member);
  // Sites of the older architecture answer a bare array of invoices.
  if (!elements.ok() && !member.empty()) {
    absl::StatusOr<std::vector<std::string_view>> bare = json::SplitArray(body);
    if (bare.ok()) return bare;
  }
  return elements;
}

std::string Problem(const absl::Status& status, std::string_view element) {
  constexpr std::size_t kShown = 120;
  return std::string(status.message()) + " in " + std::string(element.substr(0, kShown));
}

}  // namespace

std::string_view Name(StreamKind kind) { return TraitsOf(kind).name; }

std::optional<StreamKind> StreamKindOf(std::string_view name) {
  for (std::size_t i = 0; i < kTraits.size(); ++i) {
    if (kTraits[i].name == name) return static_cast<StreamKind>(i);
  }
  return std::nullopt;
}

absl::StatusOr<RowPage> ParseList(StreamKind kind, std::string_view body) {
  const absl::StatusOr<std::vector<std::string_view>> elements = Elements(kind, body);
  if (!elements.ok()) return elements.status();
  RowPage page;
  std::optional<ZonedTime> newest;
  page.rows.reserve(elements->size());
  for (const std::string_view element : *elements) {
    absl::StatusOr<Row> row = ReadRow(kind, element, newest);
    if (row.ok()) {
      page.rows.push_back(*std::move(row));
    } else {
      page.unreadable.push_back(Problem(row.status(), element));
    }
  }
  if (newest) page.offset_minutes = newest->offset_minutes;
  return page;
}

absl::StatusOr<Row> ParseSingle(StreamKind kind, std::string_view body) {
  std::optional<ZonedTime> newest;
  return ReadRow(kind, body, newest);
}

absl::StatusOr<EventPage> ParseEvents(std::string_view body) {
  const absl::StatusOr<std::vector<std::string_view>> elements = json::SplitArray(body);
  if (!elements.ok()) return elements.status();
  EventPage page;
  for (const std::string_view element : *elements) {
    const std::string_view bytes = Unwrap(element, "event");
    const absl::StatusOr<json::Value> document = json::Parse(bytes);
    if (!document.ok()) return document.status();
    const json::Value* id = document->Find("id");
    const std::optional<std::int64_t> number = id == nullptr ? std::nullopt : id->ToInt64();
    const std::optional<ZonedTime> created = TimeAt(*document, "created_at");
    const json::Value* key = document->Find("key");
    if (!number || !created || key == nullptr || key->string() == nullptr) {
      page.unreadable.push_back(
          Problem(absl::InvalidArgumentError("no id, key or created_at"), element));
      continue;
    }
    EventRow row;
    row.id = id->ToIdText().value_or("");
    row.number = *number;
    row.key = *key->string();
    row.created_at = created->utc;
    row.customer = IdAt(*document, "customer_id");
    row.subscription = IdAt(*document, "subscription_id");
    row.component = IdAt(*document, "event_specific_data.component_id");
    row.invoice = IdAt(*document, "event_specific_data.uid");
    row.document = std::string(bytes);
    if (!page.rows.empty() && page.rows.back().number >= row.number) page.ascends = false;
    page.rows.push_back(std::move(row));
  }
  return page;
}

std::string ErrorText(std::string_view body) {
  constexpr std::size_t kShown = 300;
  std::string text;
  for (const char c : body.substr(0, kShown)) {
    text += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

}  // namespace tributary::extractor

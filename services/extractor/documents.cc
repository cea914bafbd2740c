#include "services/extractor/documents.h"

#include <array>
#include <span>
#include <utility>

#include "libs/json/rows.h"
#include "libs/time/rfc3339.h"
#include "libs/utf8/utf8.h"

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

/// What is looked at in a document. The same of every kind, by Place.
const std::vector<std::string_view> kPaths = {
    "id",
    "uid",
    "subdomain",
    "key",
    "created_at",
    "updated_at",
    "customer_id",
    "customer.id",
    "customer.chargify_id",
    "subscription_id",
    "component_id",
    "event_specific_data.component_id",
    "event_specific_data.uid",
};
enum Place : std::size_t {
  kId,
  kUid,
  kSubdomain,
  kKey,
  kCreatedAt,
  kUpdatedAt,
  kCustomerId,
  kCustomerDotId,
  kCustomerChargifyId,
  kSubscriptionId,
  kComponentId,
  kEventComponentId,
  kEventUid,
};

/// Lists and reads wrap most kinds by their name, and not all (trap 14). Sites of the older
/// architecture answer a bare array of invoices.
const json::RowShape& ShapeOf(StreamKind kind) {
  static const std::array<json::RowShape, kStreamKinds> kShapes = [] {
    std::array<json::RowShape, kStreamKinds> shapes;
    for (std::size_t i = 0; i < kStreamKinds; ++i) {
      shapes[i] = {
          .member = kTraits[i].list_member, .wrapper = kTraits[i].wrapper, .paths = kPaths};
    }
    return shapes;
  }();
  return kShapes[static_cast<std::size_t>(kind)];
}

/// The values at kPaths of one document.
class Picks {
 public:
  explicit Picks(std::span<const json::Pick> picks) : picks_(picks) {}

  std::string Id(Place place) const { return std::string(picks_[place].ToIdText().value_or("")); }
  /// The first of two that is there.
  std::string Id(Place first, Place second) const {
    std::string id = Id(first);
    return id.empty() ? Id(second) : id;
  }
  std::optional<std::int64_t> Number(Place place) const { return picks_[place].ToInt64(); }
  std::optional<ZonedTime> Time(Place place) const {
    if (picks_[place].kind != json::Pick::Kind::kString) return std::nullopt;
    return ParseZonedTime(picks_[place].text);
  }
  std::optional<std::string_view> Text(Place place) const {
    if (picks_[place].kind != json::Pick::Kind::kString) return std::nullopt;
    return picks_[place].text;
  }

 private:
  std::span<const json::Pick> picks_;
};

/// False: no id.
bool FillRow(StreamKind kind, std::string_view bytes, const Picks& picks,
             std::optional<ZonedTime>& newest, Row& row) {
  // Also of a row without an id: the site's offset from UTC is in it all the same.
  if (const std::optional<ZonedTime> updated = picks.Time(kUpdatedAt)) {
    row.updated_at = updated->utc;
    if (!newest || newest->utc < updated->utc) newest = updated;
  }
  switch (kind) {
    case StreamKind::kSite:
      row.id = picks.Id(kId, kSubdomain);
      break;
    case StreamKind::kCustomers:
      row.id = picks.Id(kId);
      if (!row.id.empty()) row.customers.push_back(row.id);
      break;
    case StreamKind::kSubscriptions: {
      row.id = picks.Id(kId);
      row.order_key = picks.Number(kId);
      std::string customer = picks.Id(kCustomerDotId, kCustomerId);
      if (!customer.empty()) row.customers.push_back(std::move(customer));
      break;
    }
    case StreamKind::kComponents: {
      row.subscription = picks.Id(kSubscriptionId);
      const std::string component = picks.Id(kComponentId);
      if (!row.subscription.empty() && !component.empty()) {
        row.id = row.subscription + "-" + component;
      }
      row.order_key = picks.Number(kId);
      break;
    }
    case StreamKind::kInvoices: {
      row.id = picks.Id(kUid, kId);
      row.subscription = picks.Id(kSubscriptionId);
      std::string customer = picks.Id(kCustomerId, kCustomerChargifyId);
      if (!customer.empty()) row.customers.push_back(std::move(customer));
      break;
    }
    case StreamKind::kEvents:
      break;
  }
  if (row.id.empty()) return false;
  row.document = std::string(bytes);
  if (kind == StreamKind::kCustomers || kind == StreamKind::kInvoices) {
    // These lists are in the order of creation, which ties within a second.
    if (const auto created = picks.Time(kCreatedAt)) {
      row.order_key = created->utc.time_since_epoch().count();
    }
  }
  return true;
}

std::string Problem(std::string_view what, std::string_view bytes) {
  constexpr std::size_t kShown = 120;
  return std::string(what) + " in " + std::string(bytes.substr(0, kShown));
}

constexpr std::string_view kNoObject = "no object";
constexpr std::string_view kNoId = "no id";
constexpr std::string_view kNoEvent = "no id, key or created_at";

}  // namespace

std::string_view Name(StreamKind kind) { return TraitsOf(kind).name; }

std::optional<StreamKind> StreamKindOf(std::string_view name) {
  for (std::size_t i = 0; i < kTraits.size(); ++i) {
    if (kTraits[i].name == name) return static_cast<StreamKind>(i);
  }
  return std::nullopt;
}

absl::StatusOr<RowPage> ParseList(StreamKind kind, std::string_view body) {
  RowPage page;
  std::optional<ZonedTime> newest;
  const absl::Status status = json::ReadRows(
      body, ShapeOf(kind),
      [&](std::string_view bytes, bool is_object, std::span<const json::Pick> picks) {
        Row row;
        if (!is_object) {
          page.unreadable.push_back(Problem(kNoObject, bytes));
        } else if (!FillRow(kind, bytes, Picks(picks), newest, row)) {
          page.unreadable.push_back(Problem(kNoId, bytes));
        } else {
          page.rows.push_back(std::move(row));
        }
      });
  if (!status.ok()) return status;
  if (newest) page.offset_minutes = newest->offset_minutes;
  return page;
}

absl::StatusOr<Row> ParseSingle(StreamKind kind, std::string_view body) {
  std::optional<ZonedTime> newest;
  absl::StatusOr<Row> result = absl::InvalidArgumentError(std::string(kNoObject));
  const absl::Status status =
      json::ReadRow(body, ShapeOf(kind),
                    [&](std::string_view bytes, bool is_object, std::span<const json::Pick> picks) {
                      if (!is_object) return;
                      Row row;
                      if (FillRow(kind, bytes, Picks(picks), newest, row)) {
                        result = std::move(row);
                      } else {
                        result = absl::InvalidArgumentError(std::string(kNoId));
                      }
                    });
  if (!status.ok()) return status;
  return result;
}

absl::StatusOr<EventPage> ParseEvents(std::string_view body) {
  EventPage page;
  const absl::Status status =
      json::ReadRows(body, ShapeOf(StreamKind::kEvents),
                     [&](std::string_view bytes, bool is_object, std::span<const json::Pick> all) {
                       if (!is_object) {
                         page.unreadable.push_back(Problem(kNoEvent, bytes));
                         return;
                       }
                       const Picks picks(all);
                       const std::optional<std::int64_t> number = picks.Number(kId);
                       const std::optional<ZonedTime> created = picks.Time(kCreatedAt);
                       const std::optional<std::string_view> key = picks.Text(kKey);
                       if (!number || !created || !key) {
                         page.unreadable.push_back(Problem(kNoEvent, bytes));
                         return;
                       }
                       EventRow row;
                       row.id = picks.Id(kId);
                       row.number = *number;
                       row.key = std::string(*key);
                       row.created_at = created->utc;
                       row.customer = picks.Id(kCustomerId);
                       row.subscription = picks.Id(kSubscriptionId);
                       row.component = picks.Id(kEventComponentId);
                       row.invoice = picks.Id(kEventUid);
                       row.document = std::string(bytes);
                       if (!page.rows.empty() && page.rows.back().number >= row.number)
                         page.ascends = false;
                       page.rows.push_back(std::move(row));
                     });
  if (!status.ok()) return status;
  return page;
}

absl::StatusOr<EndpointCounts> ParseEndpoints(std::string_view body) {
  // The list has no wrappers, single ones have.
  static const json::RowShape kShape = {
      .member = "endpoints", .wrapper = "endpoint", .paths = {"id", "status"}};
  EndpointCounts counts;
  bool is_good = true;
  const absl::Status status = json::ReadRows(
      body, kShape, [&](std::string_view, bool is_object, std::span<const json::Pick> picks) {
        if (!is_object || picks[1].kind != json::Pick::Kind::kString) {
          is_good = false;
        } else if (picks[1].text == "enabled") {
          ++counts.enabled;
        } else if (picks[1].text == "paused") {
          ++counts.paused;
        } else if (picks[1].text == "disabled") {
          ++counts.disabled;
        } else {
          ++counts.other;
        }
      });
  if (!status.ok()) return status;
  if (!is_good) return absl::InvalidArgumentError("an endpoint without a status");
  return counts;
}

std::string ErrorText(std::string_view body) {
  constexpr std::size_t kShown = 300;
  std::string text = utf8::Cleaned(body, kShown);
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

}  // namespace tributary::extractor

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "libs/time/time.h"

// What Chargify's answers say, no more than the extractor needs of them. Documents are kept as the
// bytes that came.

namespace tributary::extractor {

/// What is read of a site, in the order in which it is shown.
enum class StreamKind : std::uint8_t {
  kSite,
  kCustomers,
  kSubscriptions,
  kComponents,
  kInvoices,
  kEvents,
};
inline constexpr std::size_t kStreamKinds = 6;
/// `site`, `customers`, …: the stream's name in cursors and status, and the kind of its entities.
std::string_view Name(StreamKind kind);
std::optional<StreamKind> StreamKindOf(std::string_view name);

/// One entity as the site showed it.
struct Row {
  std::string id;
  /// The wrapper removed.
  std::string document;
  std::optional<WallTime> updated_at;
  /// Its place in a list as we ask for it. None: not known.
  std::optional<std::int64_t> order_key;
  /// Customers that the document itself names.
  std::vector<std::string> customers;
  /// Of a component and an invoice: its subscription. Empty: none.
  std::string subscription;
};

struct RowPage {
  std::vector<Row> rows;
  /// What was no row, for people; each stands for one element.
  std::vector<std::string> unreadable;
  /// The site's offset from UTC, from the newest time seen. None: no time was seen.
  std::optional<std::int32_t> offset_minutes;
};

/// An answer of a list. kInvalidArgument: not what that list promises.
absl::StatusOr<RowPage> ParseList(StreamKind kind, std::string_view body);
/// An answer of a read by id, and of `/site.json`.
absl::StatusOr<Row> ParseSingle(StreamKind kind, std::string_view body);

struct EventRow {
  std::string id;
  std::int64_t number = 0;
  std::string key;
  WallTime created_at{};
  /// Empty: none.
  std::string customer;
  std::string subscription;
  std::string component;
  std::string invoice;
  std::string document;
};
struct EventPage {
  std::vector<EventRow> rows;
  std::vector<std::string> unreadable;
  /// Ids rise from row to row.
  bool ascends = true;
};
absl::StatusOr<EventPage> ParseEvents(std::string_view body);

/// How many webhook endpoints a site has, by what it says of them (trap 10).
struct EndpointCounts {
  std::int64_t enabled = 0;
  std::int64_t paused = 0;
  std::int64_t disabled = 0;
  /// In words that are not known.
  std::int64_t other = 0;
  friend bool operator==(const EndpointCounts&, const EndpointCounts&) = default;
};
/// An answer of `/endpoints.json`. kInvalidArgument: not such a list.
absl::StatusOr<EndpointCounts> ParseEndpoints(std::string_view body);

/// What an error body says, whichever of its dozen shapes it has; for people, one line of UTF-8,
/// cut.
std::string ErrorText(std::string_view body);

}  // namespace tributary::extractor

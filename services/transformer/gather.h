#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/changes/change_view.h"
#include "libs/eventlog/table.h"
#include "libs/json/tree.h"
#include "libs/mapping/view.h"
#include "services/transformer/waiting.h"
#include "tributary/v1/changes.pb.h"

// Private to the transformer.

namespace tributary::transformer {

inline constexpr std::string_view kCustomers = "customers";

/// Subscriptions, invoices, components.
inline constexpr std::size_t kListedKinds = 3;

/// All current entities of one customer, read for one derivation.
struct Gathered {
  mapping::View view;
  /// Of the newest valid change that names the customer, now or formerly. -1: none does.
  eventlog::Offset offset = -1;
  bool has_void = false;
  bool is_known = false;
  /// Known by a marker of being gone alone, and no other entity ever named it: the source may never
  /// have had this customer.
  bool is_bare = false;
  bool first_read = false;
  /// Of the newest change.
  std::string trace_id;
  std::optional<changes::TimeView> changed_at;
  /// A document that could not be parsed.
  std::string problem;
};

/// An entity of a view, with what sorts it.
struct Item {
  std::string_view id;
  /// The id, where it is one.
  std::optional<std::int64_t> number;
  json::Node document;
};

/// Reads customers from `changes`, one at a time, in memory that is used again for the next one.
class Gatherer {
 public:
  /// Lives until the next call, and as long as what is found in `changes`. No effects.
  const Gathered& Read(const eventlog::Table& changes, const Customer& customer);

 private:
  /// What a giant customer has used is given back.
  static constexpr std::size_t kKeptKeysMax = 64;
  using Lists = std::array<std::vector<Item>, kListedKinds>;

  void Take(const std::string& key, const changes::ChangeView& change, eventlog::Offset offset,
            const Customer& customer);

  Gathered gathered_;
  /// Of the newest change.
  const std::string* newest_key_ = nullptr;
  changes::ReadView newest_read_;
  json::Tree tree_;
  /// Of this customer's entities, and behind them what others have left.
  std::vector<std::string> keys_;
  /// Entries that had to be written anew to be looked at.
  std::deque<std::string> own_;
  Lists current_;
  Lists past_;
};

/// What a rule sees of an event, which outlives the view, as does the tree.
mapping::EventView ViewOf(const v1::SourceEvent& event, json::Tree& tree);

}  // namespace tributary::transformer

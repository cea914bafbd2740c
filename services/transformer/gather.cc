#include "services/transformer/gather.h"

#include <algorithm>
#include <charconv>

#include "libs/cel/timestamp.h"
#include "libs/ids/keys.h"
#include "services/transformer/stage.h"

// What the tables say of one customer, and what an event says of its own.

namespace tributary::transformer {
namespace {

using eventlog::TableEntryView;

std::optional<std::int64_t> NumberOf(std::string_view id) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), number);
  if (error != std::errc() || end != id.data() + id.size()) return std::nullopt;
  return number;
}

bool Holds(const changes::Names& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// `{"id": …}`, the id as it stands in documents: a number where it is one.
json::Node IdDocument(const std::string& id, json::Tree& tree) {
  const std::optional<std::int64_t> number = NumberOf(id);
  const bool is_number = number && std::to_string(*number) == id;
  const std::string_view text = tree.Keep(id);
  const json::Member member{"id",
                            is_number ? json::Node::OfNumber(text) : json::Node::OfString(text)};
  return json::Node::OfObject(tree.Keep(std::span(&member, 1)));
}

json::Node Sorted(std::vector<Item>& items, json::Tree& tree) {
  if (items.empty()) return json::Node::OfArray({});
  // Numbers by value, others by bytes behind them: the order of ids at the source.
  std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    if (a.number && b.number && *a.number != *b.number) return *a.number < *b.number;
    if (a.number.has_value() != b.number.has_value()) return a.number.has_value();
    return a.id < b.id;
  });
  std::vector<json::Node> documents;
  documents.reserve(items.size());
  for (const Item& item : items) documents.push_back(item.document);
  return json::Node::OfArray(tree.Keep(std::span<const json::Node>(documents)));
}

constexpr std::array<std::string_view, kListedKinds> kKinds = {"subscriptions", "invoices",
                                                               "components"};

// None: such entities are in no list.
std::optional<std::size_t> ListOf(std::string_view kind) {
  const auto at = std::find(kKinds.begin(), kKinds.end(), kind);
  if (at == kKinds.end()) return std::nullopt;
  return static_cast<std::size_t>(at - kKinds.begin());
}

}  // namespace

const Gathered& Gatherer::Read(const eventlog::Table& changes, const Customer& customer) {
  std::size_t count = 0;
  changes.ScanIndex(CustomerRow(customer), [&](std::string_view, std::string_view key) {
    if (count == keys_.size()) keys_.emplace_back();
    keys_[count++] = key;
    return true;
  });
  keys_.resize(std::max(count, std::min(keys_.size(), kKeptKeysMax)));
  gathered_ = Gathered();
  newest_key_ = nullptr;
  tree_.Clear();
  own_.clear();
  for (std::vector<Item>& items : current_) items.clear();
  for (std::vector<Item>& items : past_) items.clear();
  for (std::size_t i = 0; i < count; ++i) {
    const std::optional<TableEntryView> entry = changes.Find(keys_[i]);
    if (!entry) continue;
    if (entry->is_void) {
      gathered_.has_void = true;
      return gathered_;
    }
    const std::optional<changes::ChangeView> change =
        changes::ViewOf(entry->value, own_.emplace_back());
    if (own_.back().empty()) own_.pop_back();
    if (change) Take(keys_[i], *change, entry->offset, customer);
  }
  if (newest_key_ != nullptr) {
    gathered_.trace_id = ids::TraceId(ids::ChangeId(*newest_key_, newest_read_.generation,
                                                    newest_read_.offset, newest_read_.number));
  }
  // What else names it tells that the source had it.
  gathered_.is_bare = gathered_.is_bare && count == 1;
  gathered_.view.subscriptions = Sorted(current_[0], tree_);
  gathered_.view.invoices = Sorted(current_[1], tree_);
  gathered_.view.components = Sorted(current_[2], tree_);
  std::array<json::Member, kListedKinds> past;
  for (std::size_t i = 0; i < kListedKinds; ++i) past[i] = {kKinds[i], Sorted(past_[i], tree_)};
  gathered_.view.past = json::Node::OfObject(tree_.Keep(std::span<const json::Member>(past)));
  return gathered_;
}

void Gatherer::Take(const std::string& key, const changes::ChangeView& change,
                    eventlog::Offset offset, const Customer& customer) {
  if (offset > gathered_.offset) {
    gathered_.offset = offset;
    gathered_.first_read = change.first_read;
    newest_key_ = &key;
    newest_read_ = change.read;
  }
  const std::optional<changes::TimeView>& time =
      change.updated_at ? change.updated_at : change.read_at;
  // Nothing is earlier than every time.
  if (time > gathered_.changed_at) gathered_.changed_at = time;
  const bool is_itself = change.kind == kCustomers && change.id == customer.id;
  json::Node document;
  if (!change.document.empty()) {
    const absl::StatusOr<json::Node> parsed = tree_.Parse(change.document);
    if (!parsed.ok()) {
      gathered_.problem = key + ": " + std::string(parsed.status().message());
      return;
    }
    document = *parsed;
  }
  if (is_itself) {
    gathered_.is_known = true;
    gathered_.view.gone = change.gone;
    gathered_.is_bare = change.gone && document.is_null();
    gathered_.view.customer = document.is_null() ? IdDocument(customer.id, tree_) : document;
    return;
  }
  const std::optional<std::size_t> list = ListOf(change.kind);
  if (document.is_null() || !list) return;
  const bool is_current = !change.gone && Holds(change.customers, customer.id);
  (is_current ? current_ : past_)[*list].push_back({change.id, NumberOf(change.id), document});
}

mapping::EventView ViewOf(const v1::SourceEvent& event, json::Tree& tree) {
  mapping::EventView view;
  const absl::StatusOr<json::Node> document = tree.Parse(event.document());
  if (document.ok()) {
    view.event = *document;
  } else {
    const json::Member members[] = {*IdDocument(event.id(), tree).members().data(),
                                    {"key", json::Node::OfString(tree.Keep(event.key()))}};
    view.event = json::Node::OfObject(tree.Keep(members));
  }
  if (event.has_occurred_at()) {
    view.now =
        cel::ToText(cel::Timestamp{event.occurred_at().seconds(), event.occurred_at().nanos(), 0});
  }
  std::array<std::vector<Item>, kListedKinds> items;
  for (const v1::Entity& entity : event.entities()) {
    const bool is_customer = entity.kind() == kCustomers;
    if (is_customer && !event.customer().empty() && entity.id() != event.customer()) continue;
    // Also of one that was never read, and has no document.
    if (is_customer) view.gone = entity.gone();
    const absl::StatusOr<json::Node> parsed = tree.Parse(entity.document());
    if (!parsed.ok()) continue;
    if (is_customer) {
      view.customer = *parsed;
    } else if (const std::optional<std::size_t> list = ListOf(entity.kind())) {
      items[*list].push_back({entity.id(), NumberOf(entity.id()), *parsed});
    }
  }
  view.subscriptions = Sorted(items[0], tree);
  view.invoices = Sorted(items[1], tree);
  view.components = Sorted(items[2], tree);
  // The one that the event names, else the first.
  const auto pick = [&](const std::vector<Item>& of_kind, std::string_view path) -> json::Node {
    const json::Node* const named = view.event.FindPath(path);
    const bool is_id = named != nullptr && (named->kind() == json::Node::Kind::kNumber ||
                                            named->kind() == json::Node::Kind::kString);
    for (const Item& item : of_kind) {
      if (is_id &&
          (item.id == named->text() || item.id.ends_with("-" + std::string(named->text())))) {
        return item.document;
      }
    }
    return of_kind.empty() ? json::Node() : of_kind.front().document;
  };
  view.subscription = pick(items[0], "subscription_id");
  view.invoice = pick(items[1], "event_specific_data.uid");
  view.component = pick(items[2], "event_specific_data.component_id");
  return view;
}

}  // namespace tributary::transformer

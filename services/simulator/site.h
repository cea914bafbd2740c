#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "services/simulator/history.h"
#include "services/simulator/json_text.h"
#include "services/simulator/random.h"
#include "services/simulator/table.h"
#include "services/simulator/world.h"

// The billing site itself: its rows, how they change, and when readers come to see it. The HTTP
// face of it is chargify.h.

namespace tributary::simulator {

struct Customer {
  std::int64_t id = 0;
  std::int64_t created = 0;
  std::int64_t updated = 0;
  bool is_gone = false;
  std::string first_name;
  std::string last_name;
  std::string email;
  std::optional<std::string> organization;
  std::optional<std::string> phone;
  std::string reference;
  std::string address;
  std::string city;
  std::string state;
  std::string zip;
  std::string country;
  Extra extra;
};

struct Subscription {
  std::int64_t id = 0;
  std::int64_t created = 0;
  std::int64_t updated = 0;
  bool is_gone = false;
  std::uint32_t customer = 0;
  /// Place in the catalogue; -1: none.
  std::int32_t product = 0;
  std::string state;
  std::int64_t balance_in_cents = 0;
  std::int64_t revenue_in_cents = 0;
  std::int64_t period_started = 0;
  std::int64_t trial_ended = 0;
  std::int64_t canceled = 0;
  Extra extra;
};

/// A component of a subscription.
struct Allocation {
  std::int64_t id = 0;
  std::int64_t created = 0;
  std::int64_t updated = 0;
  bool is_gone = false;
  std::uint32_t subscription = 0;
  /// Place in the catalogue.
  std::int32_t component = 0;
  std::int64_t tenths = 0;
  Extra extra;
};

struct Invoice {
  /// The sequence number, which is the number too.
  std::int64_t id = 0;
  std::int64_t created = 0;
  std::int64_t updated = 0;
  bool is_gone = false;
  std::uint32_t customer = 0;
  std::uint32_t subscription = 0;
  std::string status;
  std::int64_t total_in_cents = 0;
  std::int64_t paid_in_cents = 0;
  std::int64_t due_date = 0;
  std::int64_t paid_date = 0;
  Extra extra;
};

struct Event {
  std::int64_t id = 0;
  std::int64_t created = 0;
  std::int64_t updated = 0;
  bool is_gone = false;
  std::string key;
  std::optional<std::uint32_t> subscription;
  std::optional<std::uint32_t> customer;
  /// JSON; empty: null.
  std::string data;
};

struct Product {
  std::int64_t id;
  const char* name;
  const char* handle;
  std::int64_t price_in_cents;
};

struct Component {
  std::int64_t id;
  const char* name;
  const char* handle;
  const char* unit;
  bool is_metered;
  /// Quantities are then texts.
  bool is_fractional;
};

class Site {
 public:
  explicit Site(const WorldOptions& options);

  /// Rate, visibility.
  void Advance(WallTime now);
  /// After a page of a list was answered.
  void PageWasRead(WallTime now);
  void StopMutating() { is_stopped_ = true; }
  void Mutate(WallTime now, std::int64_t count);
  absl::Status Set(WallTime now, std::string_view entity, std::string_view id,
                   std::string_view members_json);
  bool finished_mutating() const { return is_stopped_ || mutations_left() <= 0; }
  std::int64_t mutations() const { return mutations_; }

  const Table<Customer>& customers() const { return customers_; }
  const Table<Subscription>& subscriptions() const { return subscriptions_; }
  const Table<Allocation>& allocations() const { return allocations_; }
  const Table<Invoice>& invoices() const { return invoices_; }
  const Table<Event>& events() const { return events_; }
  /// Subscriptions that a customer ever had.
  const std::vector<std::uint32_t>& subscriptions_of(std::uint32_t customer) const {
    return subscriptions_of_[customer];
  }
  const std::vector<std::uint32_t>& allocations_of(std::uint32_t subscription) const {
    return allocations_of_[subscription];
  }
  static const std::vector<Product>& products();
  static const std::vector<Component>& components();

  /// The documents as the site writes them; of their members those in `only`, if it is not empty.
  using Names = std::span<const std::string_view>;
  void WriteCustomer(std::string& out, const Customer& customer, Names only = {}) const;
  void WriteSubscription(std::string& out, const Subscription& subscription, bool embeds_customer,
                         Names only = {}) const;
  void WriteAllocation(std::string& out, const Allocation& allocation, Names only = {}) const;
  void WriteInvoice(std::string& out, const Invoice& invoice, Names only = {}) const;
  void WriteEvent(std::string& out, const Event& event) const;
  void WriteProduct(std::string& out, const Product& product, Names only = {}) const;
  static std::string InvoiceUid(std::int64_t id);
  static std::optional<std::int64_t> InvoiceIdOf(std::string_view uid);
  std::string AllocationId(const Allocation& allocation) const;
  /// Lives until the next call.
  const std::string& Time(std::int64_t seconds) const;

  /// The site's own clock.
  std::int64_t Clock(WallTime now) const;
  std::int64_t site_id() const { return site_id_; }
  std::string subdomain() const { return options_.tenant; }

  using TruthVisitor = std::function<void(const History::Entry& entry)>;
  /// What was there from the beginning, as it was then. `only` shortens the documents: with a large
  /// site nobody wants to parse the members that he does not look at.
  /// `kind`: of this one alone; empty: of all.
  void ForEachBase(const TruthVisitor& visit, Names only = {}, std::string_view kind = {}) const;
  /// What happened since, in its order.
  const History& history() const { return history_; }

 private:
  struct TimeText {
    std::int64_t seconds = 0;
    std::string text;
  };
  std::int64_t mutations_left() const { return options_.mutations_total - scheduled_; }
  WallTime VisibleAt(WallTime now);

  void FillHistory();
  std::uint32_t NewCustomer(WallTime now, std::int64_t created, bool is_live);
  std::uint32_t NewSubscription(WallTime now, std::uint32_t customer, std::int64_t created,
                                bool is_live);
  void NewInvoice(WallTime now, std::uint32_t subscription, std::int64_t created, bool is_live);

  void MutateOnce(WallTime now);
  void ChangeCustomer(WallTime now, std::uint32_t index);
  void ChangeState(WallTime now, std::uint32_t index);
  void ChangeQuantity(WallTime now, std::uint32_t index);
  void ChangeProduct(WallTime now, std::uint32_t index);
  void IssueInvoice(WallTime now, std::uint32_t index);
  void SettleInvoice(WallTime now, std::uint32_t index);
  void MoveSubscription(WallTime now, std::uint32_t index);
  void PurgeSubscription(WallTime now, std::uint32_t index);
  void DeleteCustomer(WallTime now, std::uint32_t index);
  void AddEvent(WallTime now, std::int64_t created, std::string key,
                std::optional<std::uint32_t> subscription, std::optional<std::uint32_t> customer,
                std::string data, bool is_live);

  void Put(WallTime now, std::uint32_t index, Customer row);
  void Put(WallTime now, std::uint32_t index, Subscription row);
  void Put(WallTime now, std::uint32_t index, Allocation row);
  void Put(WallTime now, std::uint32_t index, Invoice row);
  void Tell(WallTime now, const Customer& row);
  void Tell(WallTime now, const Subscription& row);
  void Tell(WallTime now, const Allocation& row);
  void Tell(WallTime now, const Invoice& row);
  std::optional<std::uint32_t> AnyCustomer();
  std::optional<std::uint32_t> AnySubscription();

  const WorldOptions options_;
  Random random_;
  Random visibility_;
  std::int64_t site_id_;
  Table<Customer> customers_;
  Table<Subscription> subscriptions_;
  Table<Allocation> allocations_;
  Table<Invoice> invoices_;
  Table<Event> events_;
  std::vector<std::vector<std::uint32_t>> subscriptions_of_;
  std::vector<std::vector<std::uint32_t>> allocations_of_;
  std::vector<std::uint32_t> open_invoices_;
  std::int64_t next_customer_id_;
  std::int64_t next_subscription_id_;
  std::int64_t next_allocation_id_;
  std::int64_t next_invoice_id_ = 1;
  std::int64_t next_event_id_;
  std::int64_t email_serial_ = 0;
  std::int64_t mutations_ = 0;
  /// Of mutations_total, by rate or page.
  std::int64_t scheduled_ = 0;
  bool is_stopped_ = false;
  WallTime next_mutation_{};
  History history_;
  /// What was written last: few times stand in many documents.
  mutable std::array<TimeText, 256> times_;
};

}  // namespace tributary::simulator

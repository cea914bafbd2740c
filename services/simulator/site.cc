#include "services/simulator/site.h"

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "services/simulator/civil_time.h"

// How the site came to be and how it changes. Its documents are in site_documents.cc.

namespace tributary::simulator {
namespace {

constexpr std::int64_t kDay = 86'400;

constexpr std::array kFirstNames = {"Ada",  "Bruno", "Chloé", "Dmitri", "Esra", "Farah", "Goran",
                                    "Hana", "Ivo",   "Jun",   "Kaya",   "Lena", "Miloš", "Nadia",
                                    "Omar", "Pia",   "Quinn", "Rosa",   "Sven", "Tara"};
constexpr std::array kLastNames = {"Abel",   "Baker", "O'Connor", "Díaz",  "Evans", "Fischer",
                                   "García", "Huang", "Ito",      "Jones", "Kumar", "Lopez",
                                   "Müller", "Novak", "Okafor",   "Price", "Quist", "Rossi"};
constexpr std::array kCompanies = {"Acorn",  "Bluebird", "Cedar \"C\" Works", "Delta",
                                   "Ember",  "Foxglove", "Granite",           "Harbour & Sons",
                                   "Indigo", "Juniper"};
constexpr std::array kStreets = {"Oak Street", "Mill Lane", "High Street", "2nd Avenue",
                                 "Rue du Lac"};

struct Place {
  const char* city;
  const char* state;
  const char* zip;
  const char* country;
};
constexpr std::array<Place, 6> kPlaces = {{{"Boston", "MA", "02120", "US"},
                                           {"Boulder", "CO", "80302", "US"},
                                           {"Toronto", "ON", "M5V 2T6", "CA"},
                                           {"Leeds", "LDS", "LS1 4AP", "GB"},
                                           {"Lyon", "69", "69001", "FR"},
                                           {"Köln", "NW", "50667", "DE"}}};

struct Transition {
  const char* from;
  const char* to;
};
constexpr std::array<Transition, 27> kTransitions = {
    {{"trialing", "active"},     {"trialing", "active"},      {"trialing", "trial_ended"},
     {"trialing", "past_due"},   {"trialing", "canceled"},    {"trialing", "on_hold"},
     {"trial_ended", "active"},  {"trial_ended", "canceled"}, {"active", "past_due"},
     {"active", "canceled"},     {"active", "expired"},       {"active", "on_hold"},
     {"active", "assessing"},    {"assessing", "active"},     {"past_due", "active"},
     {"past_due", "unpaid"},     {"past_due", "canceled"},    {"past_due", "soft_failure"},
     {"soft_failure", "active"}, {"unpaid", "canceled"},      {"unpaid", "active"},
     {"expired", "canceled"},    {"canceled", "active"},      {"canceled", "trialing"},
     {"on_hold", "active"},      {"on_hold", "canceled"},     {"awaiting_signup", "active"}}};

template <typename Container>
auto& PickOf(Random& random, const Container& from) {
  return from[static_cast<std::size_t>(random.Below(static_cast<std::int64_t>(from.size())))];
}

bool EndsSubscription(std::string_view state) {
  return state == "canceled" || state == "expired" || state == "trial_ended";
}

}  // namespace

const std::vector<Product>& Site::products() {
  static const std::vector<Product> kProducts = {{4'501, "Starter", "starter", 1'900},
                                                 {4'502, "Team \"T\"", "team", 9'900},
                                                 {4'507, "Business", "business", 49'950},
                                                 {4'519, "Enterprise", "enterprise", 250'000}};
  return kProducts;
}

const std::vector<Component>& Site::components() {
  static const std::vector<Component> kComponents = {
      {71'001, "Seats", "seats", "seat", false, false},
      {71'004, "API calls", "api_calls", "call", true, false},
      {71'009, "Storage", "storage_gb", "GB", false, true}};
  return kComponents;
}

Site::Site(const WorldOptions& options)
    : options_(options),
      random_(options.seed, 1),
      visibility_(options.seed, 2),
      site_id_(30'000 + static_cast<std::int64_t>(HashText(options.tenant, 1) % 60'000)),
      next_customer_id_(14'000'000 + random_.Below(1'000'000)),
      next_subscription_id_(15'000'000 + random_.Below(1'000'000)),
      next_allocation_id_(52'000'000 + random_.Below(1'000'000)),
      next_event_id_(343'000'000'000 + random_.Below(1'000'000)) {
  FillHistory();
  customers_.BeginHistory();
  subscriptions_.BeginHistory();
  allocations_.BeginHistory();
  invoices_.BeginHistory();
  next_mutation_ = options_.start;
}

std::int64_t Site::Clock(WallTime now) const { return SecondsOf(now + options_.site_clock_offset); }

const std::string& Site::Time(std::int64_t seconds) const {
  TimeText& known = times_[static_cast<std::uint64_t>(seconds) % times_.size()];
  if (known.text.empty() || known.seconds != seconds) {
    known = {seconds, SiteTime(options_.zone, seconds)};
  }
  return known.text;
}

// The promise to readers is counted from the timestamp, which has whole seconds.
WallTime Site::VisibleAt(WallTime now) {
  if (!options_.switches.late_visibility) return now;
  const Duration since = now + options_.site_clock_offset - TimeOf(Clock(now));
  const std::int64_t room = (options_.visibility_lag - since).count();
  if (room <= 0 || visibility_.Chance(0.3)) return now;
  return now + Duration(visibility_.Below(room));
}

// Everything that grows by time is made in the order of time, as a site would have made it.
void Site::FillHistory() {
  const WallTime start = options_.start;
  const std::int64_t end = Clock(start) - 3'600;
  const std::int64_t begin = end - 400 * kDay;
  std::vector<std::int64_t> signups;
  for (std::int32_t i = 0; i < options_.customers; ++i) {
    // Imports put several customers into one second.
    const bool is_tie = !signups.empty() && random_.Chance(0.15);
    signups.push_back(is_tie ? signups.back() : random_.Between(begin, end));
  }
  std::sort(signups.begin(), signups.end());

  std::vector<std::pair<std::int64_t, std::uint32_t>> subscriptions;
  for (const std::int64_t created : signups) {
    const std::uint32_t customer = NewCustomer(start, created, false);
    if (options_.bare_customers) continue;
    const std::int64_t count = random_.Chance(0.1) ? 0 : random_.Chance(0.3) ? 2 : 1;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t when = i == 0 ? created : random_.Between(created, end);
      subscriptions.emplace_back(when, customer);
    }
  }
  std::stable_sort(subscriptions.begin(), subscriptions.end());
  std::vector<std::pair<std::int64_t, std::uint32_t>> invoices;
  for (const auto& [created, customer] : subscriptions) {
    const std::uint32_t index = NewSubscription(start, customer, created, false);
    const std::int64_t count = random_.Below(4);
    for (std::int64_t i = 0; i < count; ++i) {
      invoices.emplace_back(random_.Between(created, end), index);
    }
  }
  std::stable_sort(invoices.begin(), invoices.end());
  for (const auto& [created, subscription] : invoices) {
    NewInvoice(start, subscription, created, false);
  }

  if (options_.bare_customers) return;
  using Past = std::tuple<std::int64_t, int, std::uint32_t>;
  std::vector<Past> events;
  for (std::uint32_t i = 0; i < customers_.size(); ++i) {
    events.emplace_back(customers_.latest(i).created, 0, i);
  }
  for (std::uint32_t i = 0; i < subscriptions_.size(); ++i) {
    events.emplace_back(subscriptions_.latest(i).created, 1, i);
  }
  for (std::uint32_t i = 0; i < invoices_.size(); ++i) {
    events.emplace_back(invoices_.latest(i).created, 2, i);
  }
  std::sort(events.begin(), events.end());
  for (const auto& [created, what, index] : events) {
    if (what == 0) {
      AddEvent(start, created, "customer_create", std::nullopt, index, "", false);
    } else if (what == 1) {
      AddEvent(
          start, created, "signup_success", index, subscriptions_.latest(index).customer,
          R"({"product_id":4501,"account_transaction_id":)" + std::to_string(index + 900'001) + "}",
          false);
    } else {
      const Invoice& invoice = invoices_.latest(index);
      AddEvent(start, created, "payment_success", invoice.subscription, invoice.customer,
               R"({"product_id":4501,"account_transaction_id":)" +
                   std::to_string(index + 1'900'001) + "}",
               false);
    }
  }
}

std::uint32_t Site::NewCustomer(WallTime now, std::int64_t created, bool is_live) {
  Customer row;
  next_customer_id_ += random_.Between(1, 40);
  row.id = next_customer_id_;
  row.created = created;
  row.updated = is_live ? created : created + random_.Below(3'600);
  row.first_name = PickOf(random_, kFirstNames);
  row.last_name = PickOf(random_, kLastNames);
  ++email_serial_;
  row.email = "customer." + std::to_string(email_serial_) + "@example.com";
  if (options_.switches.shared_emails_per_mille > 0 && customers_.size() > 0 &&
      random_.Below(1'000) < options_.switches.shared_emails_per_mille) {
    row.email =
        customers_.latest(static_cast<std::uint32_t>(random_.Below(customers_.size()))).email;
  }
  if (random_.Chance(0.7)) {
    row.organization =
        std::string(PickOf(random_, kCompanies)) + " " + std::to_string(random_.Between(1, 999));
  } else if (random_.Chance(0.5)) {
    row.organization = row.first_name + " " + row.last_name;
  }
  if (random_.Chance(0.8)) {
    // One number for one person: free text with blanks, which targets rewrite.
    const std::string serial = std::to_string(2'000'000 + customers_.size());
    row.phone =
        "+1 555 " + serial.substr(0, serial.size() - 4) + "-" + serial.substr(serial.size() - 4);
  }
  if (random_.Chance(0.6)) row.reference = "ref-" + std::to_string(row.id);
  const Place& place = PickOf(random_, kPlaces);
  row.address = std::to_string(random_.Between(1, 199)) + " " + PickOf(random_, kStreets);
  row.city = place.city;
  row.state = place.state;
  row.zip = place.zip;
  row.country = place.country;
  const std::uint32_t index = customers_.Add(row, now, is_live ? VisibleAt(now) : now);
  subscriptions_of_.emplace_back();
  if (is_live) {
    Tell(now, row);
    AddEvent(now, created, "customer_create", std::nullopt, index, "", true);
  }
  return index;
}

std::uint32_t Site::NewSubscription(WallTime now, std::uint32_t customer, std::int64_t created,
                                    bool is_live) {
  Subscription row;
  next_subscription_id_ += random_.Between(1, 40);
  row.id = next_subscription_id_;
  row.created = created;
  row.updated = is_live ? created : created + random_.Below(3'600);
  row.customer = customer;
  row.product =
      static_cast<std::int32_t>(random_.Below(static_cast<std::int64_t>(products().size())));
  if (options_.switches.null_products && random_.Chance(0.03)) row.product = -1;
  static constexpr std::array kStates = {"active",   "active",         "active",  "trialing",
                                         "past_due", "canceled",       "on_hold", "unpaid",
                                         "expired",  "awaiting_signup"};
  row.state = is_live ? (random_.Chance(0.5) ? "trialing" : "active") : PickOf(random_, kStates);
  row.balance_in_cents =
      row.state == "past_due" || row.state == "unpaid" ? random_.Below(90'000) : 0;
  row.revenue_in_cents = random_.Below(500'000);
  row.period_started = created;
  if (EndsSubscription(row.state)) row.canceled = row.updated;
  const std::uint32_t index = subscriptions_.Add(row, now, is_live ? VisibleAt(now) : now);
  subscriptions_of_[customer].push_back(index);
  allocations_of_.emplace_back();
  if (is_live) {
    Tell(now, row);
    AddEvent(
        now, created, "signup_success", index, customer,
        R"({"product_id":4501,"account_transaction_id":)" + std::to_string(index + 900'001) + "}",
        true);
  }
  for (std::size_t i = 0; i < components().size(); ++i) {
    if (!random_.Chance(0.6)) continue;
    Allocation part;
    part.id = ++next_allocation_id_;
    part.created = created;
    part.updated = row.updated;
    part.subscription = index;
    part.component = static_cast<std::int32_t>(i);
    part.tenths = components()[i].is_fractional ? random_.Below(500) : random_.Below(50) * 10;
    const std::uint32_t place = allocations_.Add(part, now, is_live ? VisibleAt(now) : now);
    allocations_of_[index].push_back(place);
    if (is_live) Tell(now, part);
  }
  return index;
}

void Site::NewInvoice(WallTime now, std::uint32_t subscription, std::int64_t created,
                      bool is_live) {
  const Subscription& of = subscriptions_.latest(subscription);
  Invoice row;
  row.id = next_invoice_id_++;
  row.created = created;
  row.updated = is_live ? created : created + random_.Below(3'600);
  row.customer = of.customer;
  row.subscription = subscription;
  row.total_in_cents = random_.Between(100, 60'000);
  row.due_date = created + random_.Below(30) * kDay;
  row.status = "open";
  if (!is_live && random_.Chance(0.75)) {
    row.status = "paid";
    row.paid_in_cents = row.total_in_cents;
    row.paid_date = row.updated;
  }
  const bool is_open = row.status == "open";
  const std::uint32_t index = invoices_.Add(row, now, is_live ? VisibleAt(now) : now);
  if (is_open) open_invoices_.push_back(index);
  if (!is_live) return;
  Tell(now, row);
  std::string data;
  ObjectText object(data);
  object.Text("uid", InvoiceUid(row.id));
  object.Text("number", std::to_string(row.id));
  object.Text("role", "renewal");
  object.Text("due_date", SiteDate(options_.zone, row.due_date));
  object.Text("issue_date", SiteDate(options_.zone, row.created));
  object.Text("paid_date", "");
  const std::string cents = std::to_string(row.total_in_cents % 100);
  object.Text("due_amount", "$" + std::to_string(row.total_in_cents / 100) + "." +
                                (cents.size() == 1 ? "0" : "") + cents);
  object.Text("consolidation_level", "none");
  object.End();
  AddEvent(now, row.created, "invoice_issued", subscription, row.customer, std::move(data), true);
}

void Site::AddEvent(WallTime now, std::int64_t created, std::string key,
                    std::optional<std::uint32_t> subscription,
                    std::optional<std::uint32_t> customer, std::string data, bool is_live) {
  Event row;
  next_event_id_ += random_.Between(1, 30);
  row.id = next_event_id_;
  row.created = created;
  row.updated = created;
  row.key = std::move(key);
  row.subscription = subscription;
  row.customer = customer;
  row.data = std::move(data);
  events_.Add(row, now, is_live ? VisibleAt(now) : now);
  if (!is_live) return;
  std::string document;
  WriteEvent(document, row);
  history_.Append(now, History::Op::kEvent, "events", std::to_string(row.id), std::move(document));
}

void Site::Tell(WallTime now, const Customer& row) {
  std::string document;
  if (!row.is_gone) WriteCustomer(document, row);
  history_.Append(now, row.is_gone ? History::Op::kGone : History::Op::kPut, "customers",
                  std::to_string(row.id), std::move(document));
}

void Site::Tell(WallTime now, const Subscription& row) {
  std::string document;
  if (!row.is_gone) WriteSubscription(document, row, false);
  history_.Append(now, row.is_gone ? History::Op::kGone : History::Op::kPut, "subscriptions",
                  std::to_string(row.id), std::move(document));
}

void Site::Tell(WallTime now, const Allocation& row) {
  std::string document;
  if (!row.is_gone) WriteAllocation(document, row);
  history_.Append(now, row.is_gone ? History::Op::kGone : History::Op::kPut, "components",
                  AllocationId(row), std::move(document));
}

void Site::Tell(WallTime now, const Invoice& row) {
  std::string document;
  if (!row.is_gone) WriteInvoice(document, row);
  history_.Append(now, row.is_gone ? History::Op::kGone : History::Op::kPut, "invoices",
                  InvoiceUid(row.id), std::move(document));
}

void Site::Put(WallTime now, std::uint32_t index, Customer row) {
  row.updated = Clock(now);
  Tell(now, row);
  customers_.Put(index, std::move(row), now, VisibleAt(now));
}

void Site::Put(WallTime now, std::uint32_t index, Subscription row) {
  row.updated = Clock(now);
  Tell(now, row);
  subscriptions_.Put(index, std::move(row), now, VisibleAt(now));
}

void Site::Put(WallTime now, std::uint32_t index, Allocation row) {
  row.updated = Clock(now);
  Tell(now, row);
  allocations_.Put(index, std::move(row), now, VisibleAt(now));
}

void Site::Put(WallTime now, std::uint32_t index, Invoice row) {
  row.updated = Clock(now);
  Tell(now, row);
  invoices_.Put(index, std::move(row), now, VisibleAt(now));
}

void Site::Advance(WallTime now) {
  if (options_.mutation_rate > 0) {
    while (!finished_mutating() && next_mutation_ <= now) {
      const WallTime at = std::max(next_mutation_, options_.start);
      ++scheduled_;
      MutateOnce(at);
      const double seconds = (0.5 + random_.Fraction()) / options_.mutation_rate;
      next_mutation_ = at + Duration(static_cast<std::int64_t>(seconds * 1e6) + 1);
    }
  }
  customers_.Advance(now);
  subscriptions_.Advance(now);
  allocations_.Advance(now);
  invoices_.Advance(now);
  events_.Advance(now);
}

void Site::PageWasRead(WallTime now) {
  for (std::int32_t i = 0; i < options_.switches.mutations_per_page && !finished_mutating(); ++i) {
    ++scheduled_;
    MutateOnce(now);
  }
}

void Site::Mutate(WallTime now, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) MutateOnce(now);
}

std::optional<std::uint32_t> Site::AnyCustomer() {
  for (int attempt = 0; attempt < 50 && customers_.size() > 0; ++attempt) {
    const auto index = static_cast<std::uint32_t>(random_.Below(customers_.size()));
    if (!customers_.latest(index).is_gone) return index;
  }
  return std::nullopt;
}

std::optional<std::uint32_t> Site::AnySubscription() {
  for (int attempt = 0; attempt < 50 && subscriptions_.size() > 0; ++attempt) {
    const auto index = static_cast<std::uint32_t>(random_.Below(subscriptions_.size()));
    if (!subscriptions_.latest(index).is_gone) return index;
  }
  return std::nullopt;
}

void Site::MutateOnce(WallTime now) {
  ++mutations_;
  const std::int64_t dice = random_.Below(100);
  const auto customer = AnyCustomer();
  const auto subscription = AnySubscription();
  const bool comes_twice = options_.switches.same_second && random_.Chance(0.2);
  if (!customer || (dice >= 92 && dice < 97)) {
    const std::uint32_t index = NewCustomer(now, Clock(now), true);
    if (random_.Chance(0.9)) NewSubscription(now, index, Clock(now), true);
  } else if (!subscription || dice < 26) {
    ChangeCustomer(now, *customer);
    if (comes_twice) ChangeCustomer(now, *customer);
  } else if (dice < 46) {
    ChangeState(now, *subscription);
    if (comes_twice) ChangeState(now, *subscription);
  } else if (dice < 62) {
    ChangeQuantity(now, *subscription);
    if (comes_twice) ChangeQuantity(now, *subscription);
  } else if (dice < 72) {
    IssueInvoice(now, *subscription);
  } else if (dice < 84) {
    SettleInvoice(now, *subscription);
  } else if (dice < 88) {
    ChangeProduct(now, *subscription);
  } else if (dice < 92) {
    NewSubscription(now, *customer, Clock(now), true);
  } else if (dice == 97) {
    if (options_.switches.moves) {
      MoveSubscription(now, *subscription);
    } else {
      ChangeState(now, *subscription);
    }
  } else if (dice == 98) {
    if (options_.switches.deletions) {
      PurgeSubscription(now, *subscription);
    } else {
      ChangeCustomer(now, *customer);
    }
  } else {
    if (options_.switches.deletions && random_.Chance(0.5)) {
      DeleteCustomer(now, *customer);
    } else {
      // Something happened that no row shows.
      static constexpr std::array kNotices = {"expiring_card", "upcoming_renewal_notice",
                                              "trial_end_notice"};
      std::string key = PickOf(random_, kNotices);
      if (options_.switches.unknown_words && random_.Chance(0.5)) key = "usage_anomaly_detected";
      AddEvent(now, Clock(now), std::move(key), subscription,
               subscriptions_.latest(*subscription).customer, "", true);
    }
  }
}

void Site::ChangeCustomer(WallTime now, std::uint32_t index) {
  Customer row = customers_.latest(index);
  switch (random_.Below(5)) {
    case 0: {
      ++email_serial_;
      row.email = "customer." + std::to_string(email_serial_) + "@example.com";
      break;
    }
    case 1: {
      row.last_name = std::string(PickOf(random_, kLastNames)) + "-" + PickOf(random_, kLastNames);
      break;
    }
    case 2: {
      if (row.phone && random_.Chance(0.2)) {
        row.phone.reset();
        break;
      }
      const std::string serial = std::to_string(2'000'000 + index);
      row.phone = "+1 " + std::to_string(random_.Between(556, 989)) + " " +
                  serial.substr(0, serial.size() - 4) + "-" + serial.substr(serial.size() - 4);
      break;
    }
    case 3: {
      // Cleared, not only changed.
      if (row.organization && random_.Chance(0.2)) {
        row.organization.reset();
        break;
      }
      row.organization = std::string(PickOf(random_, kCompanies)) + " " +
                         std::to_string(random_.Between(1'000, 99'999));
      break;
    }
    default: {
      const Place& place = PickOf(random_, kPlaces);
      row.address = std::to_string(random_.Between(200, 9'999)) + " " + PickOf(random_, kStreets);
      row.city = place.city;
      row.state = place.state;
      row.zip = place.zip;
      row.country = place.country;
    }
  }
  Put(now, index, std::move(row));
  AddEvent(now, Clock(now), "customer_update", std::nullopt, index, "", true);
}

void Site::ChangeState(WallTime now, std::uint32_t index) {
  Subscription row = subscriptions_.latest(index);
  const std::string previous = row.state;
  std::vector<const char*> choices;
  for (const Transition& transition : kTransitions) {
    if (previous == transition.from) choices.push_back(transition.to);
  }
  row.state = choices.empty() ? "active" : PickOf(random_, choices);
  if (options_.switches.unknown_words && random_.Chance(0.02)) row.state = "pending_review";
  if (row.state == previous) row.state = previous == "active" ? "past_due" : "active";
  const std::int64_t clock = Clock(now);
  if (previous == "trialing") row.trial_ended = clock;
  row.canceled = EndsSubscription(row.state) ? clock : 0;
  if (row.state == "past_due") row.balance_in_cents += random_.Between(100, 9'000);
  if (row.state == "active") row.balance_in_cents = 0;
  std::string data;
  ObjectText object(data);
  object.Text("previous_subscription_state", previous);
  object.Text("new_subscription_state", row.state);
  object.End();
  const std::uint32_t customer = row.customer;
  Put(now, index, std::move(row));
  AddEvent(now, clock, "subscription_state_change", index, customer, std::move(data), true);
}

void Site::ChangeProduct(WallTime now, std::uint32_t index) {
  Subscription row = subscriptions_.latest(index);
  const auto count = static_cast<std::int32_t>(products().size());
  const std::int32_t previous = std::max(row.product, 0);
  row.product = static_cast<std::int32_t>((previous + random_.Between(1, count - 1)) % count);
  std::string data;
  ObjectText object(data);
  object.Integer("previous_product_id", products()[static_cast<std::size_t>(previous)].id);
  object.Integer("new_product_id", products()[static_cast<std::size_t>(row.product)].id);
  object.End();
  const std::uint32_t customer = row.customer;
  Put(now, index, std::move(row));
  AddEvent(
      now, Clock(now),
      options_.switches.new_event_keys ? "subscription_plan_change" : "subscription_product_change",
      index, customer, std::move(data), true);
}

void Site::ChangeQuantity(WallTime now, std::uint32_t index) {
  const std::vector<std::uint32_t>& parts = allocations_of_[index];
  if (parts.empty()) {
    ChangeState(now, index);
    return;
  }
  const std::uint32_t place = PickOf(random_, parts);
  Allocation row = allocations_.latest(place);
  const Component& component = components()[static_cast<std::size_t>(row.component)];
  const std::int64_t before = row.tenths;
  if (component.is_metered) {
    row.tenths += random_.Between(1, 90) * 10;
  } else {
    row.tenths = component.is_fractional ? random_.Below(5'000) : random_.Below(500) * 10;
    if (row.tenths == before) row.tenths += 10;
  }
  const auto decimal = [](std::int64_t tenths) {
    return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10);
  };
  std::string data;
  ObjectText object(data);
  if (component.is_metered) {
    // Text and integer in one object, as the site has it.
    object.Text("previous_unit_balance", decimal(before));
    object.Integer("new_unit_balance", row.tenths / 10);
    object.Integer("usage_quantity", (row.tenths - before) / 10);
  } else {
    object.Integer("previous_allocation", before / 10);
    object.Integer("new_allocation", row.tenths / 10);
    object.Integer("allocation_id", row.id * 10 + mutations_ % 10);
  }
  object.Integer("component_id", component.id);
  object.Text("component_handle", component.handle);
  object.Text("memo", "");
  object.End();
  const std::string key = component.is_metered               ? "metered_usage"
                          : options_.switches.new_event_keys ? "allocation_change"
                                                             : "component_allocation_change";
  Put(now, place, std::move(row));
  AddEvent(now, Clock(now), key, index, subscriptions_.latest(index).customer, std::move(data),
           true);
}

void Site::IssueInvoice(WallTime now, std::uint32_t index) {
  NewInvoice(now, index, Clock(now), true);
}

void Site::SettleInvoice(WallTime now, std::uint32_t index) {
  while (!open_invoices_.empty()) {
    const auto place =
        static_cast<std::size_t>(random_.Below(static_cast<std::int64_t>(open_invoices_.size())));
    const std::uint32_t chosen = open_invoices_[place];
    Invoice row = invoices_.latest(chosen);
    const bool pays_in_part = row.total_in_cents - row.paid_in_cents > 200 && random_.Chance(0.3);
    if (!pays_in_part) {
      open_invoices_[place] = open_invoices_.back();
      open_invoices_.pop_back();
    }
    if (row.is_gone) continue;
    const std::uint32_t subscription = row.subscription;
    const std::uint32_t customer = row.customer;
    if (pays_in_part) {
      row.paid_in_cents += random_.Between(1, 150);
    } else if (random_.Chance(0.8)) {
      row.status = "paid";
      row.paid_in_cents = row.total_in_cents;
      row.paid_date = Clock(now);
    } else {
      // Voided: no event of the feed tells.
      row.status = "voided";
      Put(now, chosen, std::move(row));
      return;
    }
    Put(now, chosen, std::move(row));
    AddEvent(now, Clock(now), "payment_success", subscription, customer,
             R"({"product_id":4501,"account_transaction_id":)" + std::to_string(mutations_) + "}",
             true);
    return;
  }
  IssueInvoice(now, index);
}

void Site::MoveSubscription(WallTime now, std::uint32_t index) {
  const auto target = AnyCustomer();
  Subscription row = subscriptions_.latest(index);
  if (!target || *target == row.customer) {
    ChangeState(now, index);
    return;
  }
  row.customer = *target;
  std::vector<std::uint32_t>& ever = subscriptions_of_[*target];
  if (std::find(ever.begin(), ever.end(), index) == ever.end()) ever.push_back(index);
  Put(now, index, std::move(row));
  AddEvent(now, Clock(now), "subscription_customer_change", index, target, "", true);
}

void Site::PurgeSubscription(WallTime now, std::uint32_t index) {
  for (const std::uint32_t part : allocations_of_[index]) {
    Allocation row = allocations_.latest(part);
    row.is_gone = true;
    Put(now, part, std::move(row));
  }
  Subscription row = subscriptions_.latest(index);
  row.is_gone = true;
  const std::uint32_t customer = row.customer;
  Put(now, index, std::move(row));
  AddEvent(now, Clock(now), "subscription_deletion", index, customer, "", true);
}

void Site::DeleteCustomer(WallTime now, std::uint32_t index) {
  for (const std::uint32_t subscription : subscriptions_of_[index]) {
    const Subscription& row = subscriptions_.latest(subscription);
    if (!row.is_gone && row.customer == index) PurgeSubscription(now, subscription);
  }
  Customer row = customers_.latest(index);
  row.is_gone = true;
  Put(now, index, std::move(row));
  AddEvent(now, Clock(now), "customer_delete", std::nullopt, index, "", true);
}

}  // namespace tributary::simulator

#include <charconv>
#include <utility>

#include "services/simulator/civil_time.h"
#include "services/simulator/site.h"

// The site's documents: which members there are, and in which of its many ways each is written.

namespace tributary::simulator {
namespace {

// Not padded to two places, as the site has it: 1200 is "12.0", 1250 is "12.5", 1234 is "12.34".
std::string Decimal(std::int64_t cents) {
  std::string text = std::to_string(cents / 100) + ".";
  const std::int64_t rest = cents % 100;
  text += std::to_string(rest / 10);
  if (rest % 10 != 0) text += std::to_string(rest % 10);
  return text;
}

std::optional<std::int64_t> Integer(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::string Site::InvoiceUid(std::int64_t id) {
  static constexpr std::string_view kDigits = "0123456789abcdefghijklmnopqrstuvwxyz";
  std::string text;
  for (std::int64_t rest = id; rest > 0; rest /= 36) {
    text.insert(text.begin(), kDigits[static_cast<std::size_t>(rest % 36)]);
  }
  return "inv_8h" + text;
}

std::optional<std::int64_t> Site::InvoiceIdOf(std::string_view uid) {
  if (uid.substr(0, 6) != "inv_8h" || uid.size() > 18) return std::nullopt;
  std::int64_t id = 0;
  const std::string_view digits = uid.substr(6);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), id, 36);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size()) {
    return std::nullopt;
  }
  return id;
}

std::string Site::AllocationId(const Allocation& allocation) const {
  return std::to_string(subscriptions_.latest(allocation.subscription).id) + "-" +
         std::to_string(components()[static_cast<std::size_t>(allocation.component)].id);
}

void Site::WriteCustomer(std::string& out, const Customer& customer, Names only) const {
  ObjectText object(out, &customer.extra, only);
  object.Text("first_name", customer.first_name);
  object.Text("last_name", customer.last_name);
  object.TextOrNull("organization", customer.organization ? &*customer.organization : nullptr);
  object.Text("email", customer.email);
  object.Null("cc_emails");
  object.TextOrNull("reference", customer.reference.empty() ? nullptr : &customer.reference);
  object.Integer("id", customer.id);
  object.Text("created_at", Time(customer.created));
  object.Text("updated_at", Time(customer.updated));
  object.Text("address", customer.address);
  object.Text("address_2", "");
  object.Text("city", customer.city);
  object.Text("state", customer.state);
  object.Text("zip", customer.zip);
  object.Text("country", customer.country);
  object.TextOrNull("phone", customer.phone ? &*customer.phone : nullptr);
  object.Boolean("verified", false);
  object.Null("portal_customer_created_at");
  object.Null("portal_invite_last_sent_at");
  object.Null("portal_invite_last_accepted_at");
  object.Boolean("tax_exempt", false);
  object.Null("vat_number");
  object.Null("parent_id");
  object.Null("locale");
  if (options_.switches.unknown_members) {
    object.Text("vat_status", "vat_unchecked");
    object.Raw("entity_identifier", R"({"kind":null,"value":[1,"2",null]})");
  }
  object.End();
}

void Site::WriteProduct(std::string& out, const Product& product, Names only) const {
  ObjectText object(out, nullptr, only);
  object.Integer("id", product.id);
  object.Text("name", product.name);
  object.Text("handle", product.handle);
  object.Text("description", "");
  object.Null("accounting_code");
  object.Integer("price_in_cents", product.price_in_cents);
  object.Integer("interval", 1);
  object.Text("interval_unit", "month");
  object.Null("initial_charge_in_cents");
  object.Null("trial_price_in_cents");
  object.Null("trial_interval");
  object.Null("archived_at");
  object.Boolean("taxable", false);
  object.Integer("version_number", 3);
  object.Text("product_price_point_name", "Original");
  object.Text("created_at", Time(1'500'000'000));
  object.Text("updated_at", Time(1'600'000'000));
  object.Raw(
      "product_family",
      R"({"id":527890,"name":"Plans","handle":"plans","accounting_code":null,"description":""})");
  object.Raw("public_signup_pages", "[]");
  object.End();
}

void Site::WriteSubscription(std::string& out, const Subscription& subscription,
                             bool embeds_customer, Names only) const {
  const auto time_or_null = [this](ObjectText& object, std::string_view name,
                                   std::int64_t seconds) {
    if (seconds == 0) {
      object.Null(name);
    } else {
      object.Text(name, Time(seconds));
    }
  };
  ObjectText object(out, &subscription.extra, only);
  const bool has_product = subscription.product >= 0;
  const Product& product =
      products()[static_cast<std::size_t>(has_product ? subscription.product : 0)];
  object.Integer("id", subscription.id);
  object.Text("state", subscription.state);
  object.Integer("balance_in_cents", subscription.balance_in_cents);
  object.Integer("total_revenue_in_cents", subscription.revenue_in_cents);
  object.Integer("product_price_in_cents", has_product ? product.price_in_cents : 0);
  object.Integer("product_version_number", 3);
  object.Text("current_period_ends_at", Time(subscription.period_started + 30 * 86'400));
  object.Text("next_assessment_at", Time(subscription.period_started + 30 * 86'400));
  object.Null("trial_started_at");
  time_or_null(object, "trial_ended_at", subscription.trial_ended);
  object.Text("activated_at", Time(subscription.created));
  object.Null("expires_at");
  object.Text("created_at", Time(subscription.created));
  object.Text("updated_at", Time(subscription.updated));
  object.Null("cancellation_message");
  object.Null("cancel_at_end_of_period");
  time_or_null(object, "canceled_at", subscription.canceled);
  object.Text("current_period_started_at", Time(subscription.period_started));
  object.Text("previous_state", subscription.state);
  object.Integer("signup_payment_id", 162'000'000 + subscription.id % 1'000'000);
  object.Text("signup_revenue", "0.00");
  object.Null("coupon_code");
  object.Null("snap_day");
  object.Text("payment_collection_method", "automatic");
  object.Text("currency", "USD");
  object.Raw("coupon_codes", "[]");
  if (object.Key("customer")) {
    if (embeds_customer) {
      WriteCustomer(out, customers_.embedded(subscription.customer));
    } else {
      out += "{\"id\":" + std::to_string(customers_.latest(subscription.customer).id) + "}";
    }
  }
  if (!has_product) {
    object.Null("product");
    object.Null("product_price_point_id");
  } else {
    if (object.Key("product")) WriteProduct(out, product, only);
    object.Integer("product_price_point_id", product.id * 10 + 1);
  }
  object.Null("credit_card");
  object.Null("group");
  object.Null("payment_type");
  object.Null("next_product_id");
  object.Null("reason_code");
  object.Null("on_hold_at");
  object.Integer("credit_balance_in_cents", 0);
  object.Integer("prepayment_balance_in_cents", 0);
  if (options_.switches.unknown_members) object.Raw("dunning_flags", R"({"a":[1,"2",null]})");
  object.End();
}

void Site::WriteAllocation(std::string& out, const Allocation& allocation, Names only) const {
  const Component& component = components()[static_cast<std::size_t>(allocation.component)];
  const Subscription& subscription = subscriptions_.embedded(allocation.subscription);
  // Quantities flip between integer and text.
  const bool is_text =
      component.is_fractional && (allocation.tenths % 10 != 0 || allocation.id % 2 == 0);
  const std::string whole = std::to_string(allocation.tenths / 10);
  const std::string quantity =
      is_text ? "\"" + whole + "." + std::to_string(allocation.tenths % 10) + "\"" : whole;
  ObjectText object(out, &allocation.extra, only);
  object.Integer("id", allocation.id);
  object.Text("name", component.name);
  object.Text("kind", component.is_metered ? "metered_component" : "quantity_based_component");
  object.Text("unit_name", component.unit);
  object.Boolean("enabled", true);
  object.Raw("unit_balance", component.is_metered ? quantity : "0");
  object.Raw("allocated_quantity", component.is_metered ? "0" : quantity);
  object.Text("currency", "USD");
  object.Text("pricing_scheme", "per_unit");
  object.Integer("component_id", component.id);
  object.Text("component_handle", component.handle);
  object.Integer("subscription_id", subscription.id);
  object.Boolean("recurring", !component.is_metered);
  object.Null("upgrade_charge");
  object.Null("downgrade_credit");
  object.Null("archived_at");
  object.Integer("price_point_id", component.id * 10 + 1);
  object.Text("price_point_handle", "original");
  object.Text("price_point_type", "default");
  object.Text("price_point_name", "Original");
  object.Integer("product_family_id", 527'890);
  object.Text("product_family_handle", "plans");
  object.Text("created_at", Time(allocation.created));
  object.Text("updated_at", Time(allocation.updated));
  object.Boolean("allow_fractional_quantities", component.is_fractional);
  object.End();
}

void Site::WriteInvoice(std::string& out, const Invoice& invoice, Names only) const {
  const Subscription& subscription = subscriptions_.embedded(invoice.subscription);
  const Customer& customer = customers_.embedded(invoice.customer);
  const bool is_voided = invoice.status == "voided";
  const std::int64_t due = is_voided ? 0 : invoice.total_in_cents - invoice.paid_in_cents;
  ObjectText object(out, &invoice.extra, only);
  object.Text("uid", InvoiceUid(invoice.id));
  object.Integer("site_id", site_id_);
  object.Integer("customer_id", customer.id);
  object.Integer("subscription_id", subscription.id);
  object.Text("number", std::to_string(invoice.id));
  object.Integer("sequence_number", invoice.id);
  object.Text("transaction_time", Time(invoice.created));
  object.Text("created_at", Time(invoice.created));
  object.Text("updated_at", Time(invoice.updated));
  object.Text("issue_date", SiteDate(options_.zone, invoice.created));
  object.Text("due_date", SiteDate(options_.zone, invoice.due_date));
  if (invoice.paid_date == 0) {
    object.Null("paid_date");
  } else {
    object.Text("paid_date", SiteDate(options_.zone, invoice.paid_date));
  }
  object.Text("status", invoice.status);
  object.Text("role", "renewal");
  object.Null("parent_invoice_id");
  object.Text("collection_method", "automatic");
  object.Text("currency", "USD");
  object.Text("consolidation_level", "none");
  object.Null("parent_invoice_uid");
  object.Null("parent_invoice_number");
  object.Null("group_primary_subscription_id");
  object.Text("product_name", subscription.product >= 0
                                  ? products()[static_cast<std::size_t>(subscription.product)].name
                                  : "");
  object.Text("product_family_name", "Plans");
  object.Text("subtotal_amount", Decimal(invoice.total_in_cents));
  object.Text("discount_amount", "0.0");
  object.Text("tax_amount", "0.0");
  object.Text("total_amount", Decimal(invoice.total_in_cents));
  object.Text("credit_amount",
              is_voided ? Decimal(invoice.total_in_cents - invoice.paid_in_cents) : "0.0");
  object.Text("refund_amount", "0.0");
  object.Text("paid_amount", Decimal(invoice.paid_in_cents));
  object.Text("due_amount", Decimal(due));
  if (object.Key("customer")) {
    ObjectText inner(out);
    inner.Integer("chargify_id", customer.id);
    inner.Text("first_name", customer.first_name);
    inner.Text("last_name", customer.last_name);
    inner.TextOrNull("organization", customer.organization ? &*customer.organization : nullptr);
    inner.Text("email", customer.email);
    inner.End();
  }
  object.Integer("net_terms", 0);
  object.Text("memo", "");
  object.End();
}

void Site::WriteEvent(std::string& out, const Event& event) const {
  ObjectText object(out);
  object.Integer("id", event.id);
  object.Text("key", event.key);
  std::string message = event.key;
  for (char& c : message) {
    if (c == '_') c = ' ';
  }
  if (event.customer) {
    const Customer& customer = customers_.latest(*event.customer);
    message += " for " + customer.first_name + " " + customer.last_name;
  }
  object.Text("message", message);
  if (event.subscription) {
    object.Integer("subscription_id", subscriptions_.latest(*event.subscription).id);
  } else {
    object.Null("subscription_id");
  }
  if (event.customer) {
    object.Integer("customer_id", customers_.latest(*event.customer).id);
  } else {
    object.Null("customer_id");
  }
  object.Text("created_at", Time(event.created));
  object.Raw("event_specific_data", event.data.empty() ? "null" : event.data);
  object.End();
}

absl::Status Site::Set(WallTime now, std::string_view entity, std::string_view id,
                       std::string_view members_json) {
  const auto members = json::Parse(members_json);
  if (!members.ok() || members->object() == nullptr) {
    return absl::InvalidArgumentError("set: an object of members is expected");
  }
  const auto apply = [&](auto& row) {
    for (const auto& [name, value] : *members->object()) {
      const std::string text = json::Write(value);
      bool is_known = false;
      for (auto& [key, old] : row.extra) {
        if (key != name) continue;
        old = text;
        is_known = true;
      }
      if (!is_known) row.extra.emplace_back(name, text);
    }
  };
  const auto missing = [&] {
    return absl::NotFoundError(std::string(entity) + " " + std::string(id) + ": no such entity");
  };
  std::uint32_t index = 0;
  if (entity == "customers") {
    const auto number = Integer(id);
    if (!number || !customers_.Find(*number, &index) || customers_.latest(index).is_gone) {
      return missing();
    }
    Customer row = customers_.latest(index);
    apply(row);
    ++mutations_;
    Put(now, index, std::move(row));
    AddEvent(now, Clock(now), "customer_update", std::nullopt, index, "", true);
    return absl::OkStatus();
  }
  if (entity == "subscriptions") {
    const auto number = Integer(id);
    if (!number || !subscriptions_.Find(*number, &index) || subscriptions_.latest(index).is_gone) {
      return missing();
    }
    Subscription row = subscriptions_.latest(index);
    apply(row);
    ++mutations_;
    Put(now, index, std::move(row));
    return absl::OkStatus();
  }
  if (entity == "invoices") {
    const auto number = InvoiceIdOf(id);
    if (!number || !invoices_.Find(*number, &index) || invoices_.latest(index).is_gone) {
      return missing();
    }
    Invoice row = invoices_.latest(index);
    apply(row);
    ++mutations_;
    Put(now, index, std::move(row));
    return absl::OkStatus();
  }
  if (entity == "components") {
    const std::size_t dash = id.find('-');
    const auto subscription = Integer(id.substr(0, dash));
    if (!subscription || !subscriptions_.Find(*subscription, &index)) return missing();
    for (const std::uint32_t part : allocations_of_[index]) {
      Allocation row = allocations_.latest(part);
      if (row.is_gone || AllocationId(row) != id) continue;
      apply(row);
      ++mutations_;
      Put(now, part, std::move(row));
      return absl::OkStatus();
    }
    return missing();
  }
  return absl::InvalidArgumentError(
      "entity: customers, subscriptions, components or invoices is expected");
}

void Site::ForEachBase(const TruthVisitor& visit, Names only, std::string_view wanted) const {
  const auto is_wanted = [wanted](std::string_view kind) {
    return wanted.empty() || kind == wanted;
  };
  const auto base = [&](std::string_view kind, const std::string& id, const std::string& document) {
    visit({0, options_.start, History::Op::kPut, kind, id, document});
  };
  std::string document;
  for (std::uint32_t i = 0; is_wanted("customers") && i < customers_.base_rows(); ++i) {
    const Customer& row = customers_.base(i);
    document.clear();
    WriteCustomer(document, row, only);
    base("customers", std::to_string(row.id), document);
  }
  for (std::uint32_t i = 0; is_wanted("subscriptions") && i < subscriptions_.base_rows(); ++i) {
    const Subscription& row = subscriptions_.base(i);
    document.clear();
    WriteSubscription(document, row, false, only);
    base("subscriptions", std::to_string(row.id), document);
  }
  for (std::uint32_t i = 0; is_wanted("components") && i < allocations_.base_rows(); ++i) {
    const Allocation& row = allocations_.base(i);
    document.clear();
    WriteAllocation(document, row, only);
    base("components", AllocationId(row), document);
  }
  for (std::uint32_t i = 0; is_wanted("invoices") && i < invoices_.base_rows(); ++i) {
    const Invoice& row = invoices_.base(i);
    document.clear();
    WriteInvoice(document, row, only);
    base("invoices", InvoiceUid(row.id), document);
  }
}

}  // namespace tributary::simulator

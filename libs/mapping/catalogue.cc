#include "libs/mapping/catalogue.h"

#include <initializer_list>
#include <string>

namespace tributary::mapping {
namespace {

using cel::Type;
using Names = std::initializer_list<const char*>;

Type Of(Type::Kind kind) { return {kind, nullptr, nullptr}; }

Type Document(Names strings, Names integers, Names booleans, Type::Fields others = {}) {
  Type::Fields fields = std::move(others);
  for (const char* name : strings) fields.emplace(name, Of(Type::Kind::kString));
  for (const char* name : integers) fields.emplace(name, Of(Type::Kind::kInt));
  for (const char* name : booleans) fields.emplace(name, Of(Type::Kind::kBool));
  return Type::MapOf(std::move(fields));
}

Type AddressType() {
  return Document({"street", "line2", "city", "state", "zip", "country"}, {}, {});
}

Type ProductType() {
  return Document(
      {"name", "handle", "description", "accounting_code", "expiration_interval_unit", "created_at",
       "updated_at", "interval_unit", "trial_interval_unit", "archived_at",
       "product_price_point_name", "product_price_point_handle", "tax_code", "item_category"},
      {"price_in_cents", "interval", "initial_charge_in_cents", "trial_price_in_cents",
       "trial_interval", "expiration_interval", "version_number"},
      {"request_credit_card", "require_credit_card", "taxable", "initial_charge_after_trial"},
      {{"product_family", Document({"name", "handle", "description", "accounting_code"}, {}, {})}});
}

}  // namespace

Type CustomerType() {
  return Document({"first_name",
                   "last_name",
                   "email",
                   "cc_emails",
                   "organization",
                   "reference",
                   "created_at",
                   "updated_at",
                   "address",
                   "address_2",
                   "city",
                   "state",
                   "state_name",
                   "zip",
                   "country",
                   "country_name",
                   "phone",
                   "portal_customer_created_at",
                   "portal_invite_last_sent_at",
                   "portal_invite_last_accepted_at",
                   "vat_number",
                   "locale",
                   "default_subscription_group_uid",
                   "salesforce_id",
                   "tax_exempt_reason",
                   "maxioid"},
                  {}, {"verified", "tax_exempt", "surcharging"});
}

Type SubscriptionType() {
  return Document(
      {"state",
       "current_period_ends_at",
       "next_assessment_at",
       "trial_started_at",
       "trial_ended_at",
       "activated_at",
       "expires_at",
       "created_at",
       "updated_at",
       "cancellation_message",
       "cancellation_method",
       "canceled_at",
       "current_period_started_at",
       "previous_state",
       "signup_revenue",
       "delayed_cancel_at",
       "coupon_code",
       "snap_day",
       "payment_collection_method",
       "payment_type",
       "referral_code",
       "next_product_handle",
       "reason_code",
       "automatically_resume_at",
       "product_price_point_type",
       "reference",
       "on_hold_at",
       "currency",
       "locale",
       "scheduled_cancellation_at"},
      {"balance_in_cents", "total_revenue_in_cents", "product_price_in_cents",
       "product_version_number", "current_billing_amount_in_cents", "credit_balance_in_cents",
       "prepayment_balance_in_cents", "coupon_use_count", "coupon_uses_allowed", "net_terms"},
      {"cancel_at_end_of_period", "prepaid_dunning", "dunning_communication_delay_enabled",
       "receives_invoice_emails"},
      {{"customer", CustomerType()},
       {"product", ProductType()},
       {"coupon_codes", Type::ListOf(Of(Type::Kind::kString))}});
}

Type InvoiceType() {
  const Type line = Document({"uid", "title", "description", "quantity", "unit_price",
                              "subtotal_amount", "discount_amount", "tax_amount", "total_amount",
                              "period_range_start", "period_range_end", "kind"},
                             {}, {"tax_included", "tiered_unit_price", "hide", "custom_item"});
  const Type payment =
      Document({"transaction_time", "memo", "original_amount", "applied_amount", "gateway_handle",
                "gateway_used", "gateway_transaction_id", "received_on", "uid"},
               {}, {"prepayment"});
  return Document({"uid",
                   "number",
                   "transaction_time",
                   "created_at",
                   "updated_at",
                   "issue_date",
                   "due_date",
                   "paid_date",
                   "status",
                   "role",
                   "collection_method",
                   "payment_instructions",
                   "currency",
                   "consolidation_level",
                   "parent_invoice_uid",
                   "product_name",
                   "product_family_name",
                   "memo",
                   "subtotal_amount",
                   "discount_amount",
                   "tax_amount",
                   "total_amount",
                   "credit_amount",
                   "debit_amount",
                   "refund_amount",
                   "paid_amount",
                   "due_amount",
                   "public_url",
                   "public_url_expires_on"},
                  {"sequence_number", "net_terms"}, {},
                  {{"billing_address", AddressType()},
                   {"shipping_address", AddressType()},
                   {"line_items", Type::ListOf(line)},
                   {"payments", Type::ListOf(payment)},
                   {"customer", Document({"first_name", "last_name", "organization", "email",
                                          "vat_number", "reference"},
                                         {}, {})}});
}

Type ComponentType() {
  return Document({"name", "kind", "unit_name", "currency", "pricing_scheme", "component_handle",
                   "upgrade_charge", "downgrade_credit", "archived_at", "price_point_handle",
                   "price_point_type", "price_point_name", "product_family_handle", "created_at",
                   "updated_at", "description", "interval_unit"},
                  {},
                  {"enabled", "recurring", "allow_fractional_quantities", "display_on_hosted_page"},
                  {{"subscription", Document({"state", "updated_at"}, {}, {})}});
}

Type EventType() {
  return Document({"key", "message", "created_at"}, {}, {},
                  {{"event_specific_data", Of(Type::Kind::kMap)}});
}

}  // namespace tributary::mapping

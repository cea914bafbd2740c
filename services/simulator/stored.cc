#include "services/simulator/stored.h"

#include <array>
#include <utility>

#include "services/simulator/random.h"

namespace tributary::simulator {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Fields by the entities that they come from. `status` is of both, so of neither.
bool BelongsTo(Part part, std::string_view path) {
  static constexpr std::array<std::string_view, 13> kCustomer = {
      "email",
      "firstName",
      "lastName",
      "phone",
      "address1",
      "city",
      "state",
      "postalCode",
      "country",
      "name",
      "organization",
      "client_id",
      "customFields.chargify_customer_id"};
  static constexpr std::array<std::string_view, 1> kCompany = {"companyName"};
  static constexpr std::array<std::string_view, 7> kSubscriptions = {
      "account.subscriptions",
      "account.states",
      "account.plans",
      "account.balance_in_cents",
      "customFields.chargify_plans",
      "customFields.chargify_states",
      "customFields.chargify_balance"};
  const auto holds = [&](const auto& names) {
    for (const std::string_view name : names) {
      if (name == path) return true;
    }
    return false;
  };
  switch (part) {
    case Part::kCustomer:
      return holds(kCustomer);
    case Part::kCompany:
      return holds(kCompany);
    case Part::kSubscriptions:
      return holds(kSubscriptions);
  }
  return false;
}

}  // namespace

std::string CanonicalDecimal(std::string_view text) {
  std::string_view rest = text;
  const bool is_negative = !rest.empty() && rest.front() == '-';
  if (is_negative) rest.remove_prefix(1);
  const std::size_t dot = rest.find('.');
  std::string_view whole = rest.substr(0, dot);
  std::string_view part = dot == std::string_view::npos ? std::string_view() : rest.substr(dot + 1);
  if (whole.empty() || (dot != std::string_view::npos && part.empty())) return std::string(text);
  for (const char c : whole) {
    if (!IsDigit(c)) return std::string(text);
  }
  for (const char c : part) {
    if (!IsDigit(c)) return std::string(text);
  }
  while (whole.size() > 1 && whole.front() == '0') whole.remove_prefix(1);
  while (!part.empty() && part.back() == '0') part.remove_suffix(1);
  std::string out(whole);
  if (!part.empty()) out += "." + std::string(part);
  return is_negative && out != "0" ? "-" + out : out;
}

std::string CanonicalText(const json::Value& value) {
  if (value.is_null()) return "";
  if (const bool* boolean = value.boolean(); boolean != nullptr) return *boolean ? "true" : "false";
  if (value.number() != nullptr) return CanonicalDecimal(value.number()->text);
  if (value.string() != nullptr) return *value.string();
  if (const json::Array* array = value.array(); array != nullptr) {
    std::string out;
    for (const json::Value& item : *array) {
      if (!out.empty()) out += ", ";
      out += CanonicalText(item);
    }
    return out;
  }
  return json::Write(value);
}

void Flatten(const std::string& path, const json::Value& value, Flat& out) {
  if (const json::Object* object = value.object(); object != nullptr) {
    for (const auto& [name, member] : *object) {
      Flatten(path.empty() ? name : path + "." + name, member, out);
    }
    return;
  }
  const std::string text = CanonicalText(value);
  if (!text.empty()) out[path] = text;
}

std::uint64_t HashOfPart(const Flat& flat, Part part) {
  std::uint64_t hash = 0;
  for (const auto& [path, text] : flat) {
    if (BelongsTo(part, path)) hash = HashText(text, HashText(path, hash));
  }
  return hash;
}

std::string PlainPhone(std::string_view phone) {
  std::string out;
  for (const char c : phone) {
    if (IsDigit(c) || (c == '+' && out.empty())) out.push_back(c);
  }
  return out;
}

}  // namespace tributary::simulator

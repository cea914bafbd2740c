#include "services/transformer/waiting.h"

#include <charconv>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>

namespace tributary::transformer {
namespace {

// 0: it is no number, or not as a number is written.
std::uint64_t NumberOf(std::string_view id) {
  constexpr std::size_t kDigitsMax = 18;
  if (id.empty() || id.size() > kDigitsMax || id.front() < '1' || id.front() > '9') return 0;
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), number);
  return error == std::errc() && end == id.data() + id.size() ? number : 0;
}

template <typename Numbers>
std::string TakeFirstOf(Numbers& numbers) {
  std::string id = std::to_string(*numbers.begin());
  numbers.erase(numbers.begin());
  return id;
}

}  // namespace

// `what` of the set that `id` is in, or would be.
template <typename Ids, typename What>
bool CustomerIds::In(Ids& ids, const std::string& id, What what) {
  const std::uint64_t number = NumberOf(id);
  if (number == 0) return what(ids.texts_, id);
  if (number > std::numeric_limits<std::uint32_t>::max()) return what(ids.large_numbers_, number);
  return what(ids.numbers_, static_cast<std::uint32_t>(number));
}

bool CustomerIds::Add(const std::string& id) {
  return In(*this, id, [](auto& set, const auto& value) { return set.insert(value).second; });
}

bool CustomerIds::Remove(const std::string& id) {
  return In(*this, id, [](auto& set, const auto& value) { return set.erase(value) != 0; });
}

bool CustomerIds::Contains(const std::string& id) const {
  return In(*this, id, [](auto& set, const auto& value) { return set.contains(value); });
}

std::string CustomerIds::TakeFirst() {
  if (!numbers_.empty()) return TakeFirstOf(numbers_);
  if (!large_numbers_.empty()) return TakeFirstOf(large_numbers_);
  return std::move(texts_.extract(texts_.begin()).value());
}

void CustomerIds::Merge(CustomerIds& from) {
  numbers_.merge(from.numbers_);
  large_numbers_.merge(from.large_numbers_);
  texts_.merge(from.texts_);
}

void WaitingCustomers::Names::Add(const Customer& customer) {
  if (by_tenant[customer.tenant][customer.connection].Add(customer.id)) ++count;
}

void WaitingCustomers::Names::Remove(const Customer& customer) {
  const auto tenant = by_tenant.find(customer.tenant);
  if (tenant == by_tenant.end()) return;
  const auto connection = tenant->second.find(customer.connection);
  if (connection == tenant->second.end()) return;
  if (connection->second.Remove(customer.id)) --count;
  if (connection->second.size() == 0) tenant->second.erase(connection);
  if (tenant->second.empty()) by_tenant.erase(tenant);
}

bool WaitingCustomers::Names::Contains(const Customer& customer) const {
  const auto tenant = by_tenant.find(customer.tenant);
  if (tenant == by_tenant.end()) return false;
  const auto connection = tenant->second.find(customer.connection);
  return connection != tenant->second.end() && connection->second.Contains(customer.id);
}

std::size_t WaitingCustomers::Names::CountOf(const std::string& tenant,
                                             const std::string& connection) const {
  const auto of_tenant = by_tenant.find(tenant);
  if (of_tenant == by_tenant.end()) return 0;
  const auto of_connection = of_tenant->second.find(connection);
  return of_connection == of_tenant->second.end() ? 0 : of_connection->second.size();
}

void WaitingCustomers::Add(const Customer& customer) {
  if (put_off_.count > 0) put_off_.Remove(customer);
  due_.Add(customer);
}

void WaitingCustomers::PutOff(const Customer& customer) {
  if (!due_.Contains(customer)) put_off_.Add(customer);
}

void WaitingCustomers::ReleasePutOff() {
  for (auto& [tenant, connections] : put_off_.by_tenant) {
    for (auto& [connection, ids] : connections) {
      due_.by_tenant[tenant][connection].Merge(ids);
    }
  }
  // None is in both.
  due_.count += put_off_.count;
  put_off_ = Names();
}

std::optional<Customer> WaitingCustomers::Take() {
  if (due_.by_tenant.empty()) return std::nullopt;
  auto tenant = due_.by_tenant.upper_bound(last_tenant_);
  if (tenant == due_.by_tenant.end()) tenant = due_.by_tenant.begin();
  last_tenant_ = tenant->first;
  const auto connection = tenant->second.begin();
  Customer customer{tenant->first, connection->first, connection->second.TakeFirst()};
  --due_.count;
  if (connection->second.size() == 0) tenant->second.erase(connection);
  if (tenant->second.empty()) due_.by_tenant.erase(tenant);
  return customer;
}

std::size_t WaitingCustomers::CountOf(const std::string& tenant,
                                      const std::string& connection) const {
  return due_.CountOf(tenant, connection) + put_off_.CountOf(tenant, connection);
}

}  // namespace tributary::transformer

#include "services/transformer/waiting.h"

namespace tributary::transformer {

void WaitingCustomers::Names::Add(const Customer& customer) {
  if (by_tenant[customer.tenant][customer.connection].insert(customer.id).second) ++count;
}

void WaitingCustomers::Names::Remove(const Customer& customer) {
  const auto tenant = by_tenant.find(customer.tenant);
  if (tenant == by_tenant.end()) return;
  const auto connection = tenant->second.find(customer.connection);
  if (connection == tenant->second.end()) return;
  count -= connection->second.erase(customer.id);
  if (connection->second.empty()) tenant->second.erase(connection);
  if (tenant->second.empty()) by_tenant.erase(tenant);
}

bool WaitingCustomers::Names::Contains(const Customer& customer) const {
  const auto tenant = by_tenant.find(customer.tenant);
  if (tenant == by_tenant.end()) return false;
  const auto connection = tenant->second.find(customer.connection);
  return connection != tenant->second.end() && connection->second.contains(customer.id);
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
      due_.by_tenant[tenant][connection].merge(ids);
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
  Customer customer{tenant->first, connection->first, *connection->second.begin()};
  due_.Remove(customer);
  return customer;
}

std::size_t WaitingCustomers::CountOf(const std::string& tenant,
                                      const std::string& connection) const {
  return due_.CountOf(tenant, connection) + put_off_.CountOf(tenant, connection);
}

}  // namespace tributary::transformer

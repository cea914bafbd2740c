#pragma once

#include <compare>
#include <cstddef>
#include <map>
#include <optional>
#include <string>

#include "absl/container/btree_set.h"

// Private to the transformer.

namespace tributary::transformer {

struct Customer {
  std::string tenant;
  std::string connection;
  std::string id;
  friend auto operator<=>(const Customer&, const Customer&) = default;
};

/// Customers of one partition that are to be derived, each once however often it is named.
class WaitingCustomers {
 public:
  /// As soon as possible; also one that was put off.
  void Add(const Customer& customer);
  /// With ReleasePutOff(), unless it is due anyway.
  void PutOff(const Customer& customer);
  void ReleasePutOff();

  /// One that is due. Tenants take turns.
  std::optional<Customer> Take();

  /// Due ones.
  std::size_t due() const { return due_.count; }
  std::size_t put_off() const { return put_off_.count; }
  /// Both.
  std::size_t size() const { return due_.count + put_off_.count; }
  std::size_t CountOf(const std::string& tenant, const std::string& connection) const;

 private:
  // No id stands beside the names of its tenant and connection: there may be many of them.
  struct Names {
    std::map<std::string, std::map<std::string, absl::btree_set<std::string>>> by_tenant;
    std::size_t count = 0;

    void Add(const Customer& customer);
    void Remove(const Customer& customer);
    bool Contains(const Customer& customer) const;
    std::size_t CountOf(const std::string& tenant, const std::string& connection) const;
  };

  Names due_;
  Names put_off_;
  std::string last_tenant_;
};

}  // namespace tributary::transformer

#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
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

/// Ids of customers, each once. What a source gives are numbers, most below 2^32, and as such one
/// takes a tenth of the memory of its text: a hundred thousand may wait.
class CustomerIds {
 public:
  /// False: it is there already.
  bool Add(const std::string& id);
  /// False: it is not there.
  bool Remove(const std::string& id);
  bool Contains(const std::string& id) const;
  /// The first, which there is: numbers by their value, then the others.
  std::string TakeFirst();
  /// All of `from`, which is left with those that are here too.
  void Merge(CustomerIds& from);
  std::size_t size() const { return numbers_.size() + large_numbers_.size() + texts_.size(); }

 private:
  template <typename Ids, typename What>
  static bool In(Ids& ids, const std::string& id, What what);

  absl::btree_set<std::uint32_t> numbers_;
  absl::btree_set<std::uint64_t> large_numbers_;
  absl::btree_set<std::string> texts_;
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
    std::map<std::string, std::map<std::string, CustomerIds>> by_tenant;
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

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/eventlog/table.h"
#include "tributary/v1/tenants.pb.h"

// What a service knows of its tenants: the newest snapshots of the partitions that it owns, and the
// mappings and connector files that they name. Folded from the `tenants` table; no I/O.

namespace tributary::tenants {

struct TenantState {
  eventlog::Partition partition = 0;
  v1::TenantSnapshot snapshot;
  /// Offset of the snapshot in `tenants`.
  eventlog::Offset offset = 0;
};

class Directory {
 public:
  /// Told of each entry that cannot be decoded; what was known of its key before stays.
  using OnUndecodable = std::function<void(eventlog::Partition partition, std::string_view key,
                                           const eventlog::TableEntry& entry)>;

  explicit Directory(OnUndecodable on_undecodable = {});
  ~Directory();

  /// Reads all snapshots of a partition at OnReady, but those of a log that was lost.
  void Load(eventlog::Partition partition, const eventlog::Table& tenants);
  /// Folds one entry of `tenants`. Returns the tenant whose snapshot changed; empty: none did.
  std::string OnEntry(eventlog::Partition partition, std::string_view key,
                      const std::optional<eventlog::TableEntry>& entry);
  void Forget(eventlog::Partition partition);

  const TenantState* Find(std::string_view tenant) const;
  const v1::Connection* FindConnection(std::string_view tenant, std::string_view connection) const;
  const v1::Sync* FindSync(std::string_view tenant, std::string_view sync) const;
  /// Revision of a sync: the offset in `tenants` in which its mapping, rules or connector file last
  /// changed; the snapshot's own offset where it says 0. None: no such sync.
  std::optional<eventlog::Offset> Revision(std::string_view tenant, std::string_view sync) const;
  /// Content of a blob by its hash. Null pointer: not known in that partition.
  const v1::Blob* FindBlob(eventlog::Partition partition, std::string_view sha256_hex) const;

  /// Visits every tenant, by name.
  void ForEach(const std::function<void(const TenantState&)>& visit) const;
  /// Undecodable snapshots seen: `tenants/<partition>@<offset>: …`.
  const std::vector<std::string>& problems() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tributary::tenants

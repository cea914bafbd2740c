#include "libs/tenants/directory.h"

#include <map>
#include <utility>

namespace tributary::tenants {
namespace {

constexpr std::string_view kBlobPrefix = "!b/";
/// Problems are for people; more of them say no more.
constexpr std::size_t kProblemsMax = 100;

}  // namespace

struct Directory::State {
  struct PartitionState {
    /// Tenants whose snapshots came from this partition.
    std::map<std::string, std::string, std::less<>> tenant_of_key;
    std::map<std::string, v1::Blob, std::less<>> blobs;
  };

  std::map<std::string, TenantState, std::less<>> tenants;
  std::map<eventlog::Partition, PartitionState> partitions;
  std::vector<std::string> problems;
  OnUndecodable on_undecodable;

  void Report(eventlog::Partition partition, std::string_view key,
              const eventlog::TableEntry& entry, std::string_view what) {
    if (on_undecodable) on_undecodable(partition, key, entry);
    if (problems.size() >= kProblemsMax) return;
    problems.push_back("tenants/" + std::to_string(partition) + "@" + std::to_string(entry.offset) +
                       ": " + std::string(what));
  }
};

Directory::Directory(OnUndecodable on_undecodable) : state_(std::make_unique<State>()) {
  state_->on_undecodable = std::move(on_undecodable);
}
Directory::~Directory() = default;

void Directory::Load(eventlog::Partition partition, const eventlog::Table& tenants) {
  Forget(partition);
  state_->partitions[partition];
  tenants.Scan("", "", [&](std::string_view key, const eventlog::TableEntry& entry) {
    // Control writes it again; its revisions are offsets of another log (rule 35).
    if (!tenants.IsOfLostLog(entry)) OnEntry(partition, key, entry);
    return true;
  });
}

std::string Directory::OnEntry(eventlog::Partition partition, std::string_view key,
                               const std::optional<eventlog::TableEntry>& entry) {
  State::PartitionState& owned = state_->partitions[partition];
  // Void is never state (rule 1): what was known before it stays until control has written anew.
  if (entry && entry->is_void) return {};

  if (key.starts_with(kBlobPrefix)) {
    const std::string hash(key.substr(kBlobPrefix.size()));
    if (!entry) {
      owned.blobs.erase(hash);
      return {};
    }
    v1::Blob blob;
    if (!blob.ParseFromString(entry->value)) {
      state_->Report(partition, key, *entry, "not a Blob");
      return {};
    }
    owned.blobs[hash] = std::move(blob);
    return {};
  }
  if (key.starts_with('!')) return {};

  if (!entry) {
    const auto known = owned.tenant_of_key.find(key);
    if (known == owned.tenant_of_key.end()) return {};
    std::string tenant = known->second;
    state_->tenants.erase(tenant);
    owned.tenant_of_key.erase(known);
    return tenant;
  }
  TenantState state;
  state.partition = partition;
  state.offset = entry->offset;
  if (!state.snapshot.ParseFromString(entry->value) || state.snapshot.tenant().empty()) {
    // The last good snapshot stays: half a tenant is worse than an old one.
    state_->Report(partition, key, *entry, "not a TenantSnapshot");
    return {};
  }
  const auto known = owned.tenant_of_key.find(key);
  if (known != owned.tenant_of_key.end()) {
    const auto old = state_->tenants.find(known->second);
    if (old != state_->tenants.end() && old->second.offset >= entry->offset) return {};
  }
  std::string tenant = state.snapshot.tenant();
  owned.tenant_of_key[std::string(key)] = tenant;
  state_->tenants[tenant] = std::move(state);
  return tenant;
}

void Directory::Forget(eventlog::Partition partition) {
  const auto owned = state_->partitions.find(partition);
  if (owned == state_->partitions.end()) return;
  for (const auto& [key, tenant] : owned->second.tenant_of_key) state_->tenants.erase(tenant);
  state_->partitions.erase(owned);
}

const TenantState* Directory::Find(std::string_view tenant) const {
  const auto found = state_->tenants.find(tenant);
  return found == state_->tenants.end() ? nullptr : &found->second;
}

const v1::Connection* Directory::FindConnection(std::string_view tenant,
                                                std::string_view connection) const {
  const TenantState* state = Find(tenant);
  if (state == nullptr) return nullptr;
  for (const v1::Connection& candidate : state->snapshot.connections()) {
    if (candidate.name() == connection) return &candidate;
  }
  return nullptr;
}

const v1::Sync* Directory::FindSync(std::string_view tenant, std::string_view sync) const {
  const TenantState* state = Find(tenant);
  if (state == nullptr) return nullptr;
  for (const v1::Sync& candidate : state->snapshot.syncs()) {
    if (candidate.name() == sync) return &candidate;
  }
  return nullptr;
}

std::optional<eventlog::Offset> Directory::Revision(std::string_view tenant,
                                                    std::string_view sync) const {
  const v1::Sync* found = FindSync(tenant, sync);
  if (found == nullptr) return std::nullopt;
  return found->revision() != 0 ? found->revision() : Find(tenant)->offset;
}

const v1::Blob* Directory::FindBlob(eventlog::Partition partition,
                                    std::string_view sha256_hex) const {
  const auto owned = state_->partitions.find(partition);
  if (owned == state_->partitions.end()) return nullptr;
  const auto found = owned->second.blobs.find(sha256_hex);
  return found == owned->second.blobs.end() ? nullptr : &found->second;
}

void Directory::ForEach(const std::function<void(const TenantState&)>& visit) const {
  for (const auto& [name, tenant] : state_->tenants) visit(tenant);
}

const std::vector<std::string>& Directory::problems() const { return state_->problems; }

}  // namespace tributary::tenants

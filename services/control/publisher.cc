#include "services/control/publisher.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include <google/protobuf/util/message_differencer.h>

#include "libs/eventlog/owner.h"
#include "libs/ids/keys.h"
#include "tributary/v1/tenants.pb.h"

namespace tributary::control {
namespace {

using eventlog::Offset;
using eventlog::Partition;
using eventlog::ProduceId;
using eventlog::TableEntry;
using eventlog::Topic;
using google::protobuf::util::MessageDifferencer;

constexpr std::string_view kBlobPrefix = "!b/";
// Of a record that cannot be decoded, in the log.
constexpr std::size_t kAsideBytesMax = 256;

const v1::Sync* FindSync(const v1::TenantSnapshot& snapshot, const std::string& name) {
  for (const v1::Sync& sync : snapshot.syncs()) {
    if (sync.name() == name) {
      return &sync;
    }
  }
  return nullptr;
}

std::string ConnectorFileOf(const v1::TenantSnapshot& snapshot, const std::string& connection) {
  for (const v1::Connection& candidate : snapshot.connections()) {
    if (candidate.name() == connection) {
      return candidate.connector_file();
    }
  }
  return "";
}

// Everything that a mapping's output depends on besides the entities (rule 35).
bool MapsTheSame(const v1::TenantSnapshot& a, const v1::Sync& sync_a, const v1::TenantSnapshot& b,
                 const v1::Sync& sync_b) {
  return sync_a.mapping() == sync_b.mapping() && sync_a.rules() == sync_b.rules() &&
         sync_a.source() == sync_b.source() && sync_a.target() == sync_b.target() &&
         // Withdrawn, and what comes after a revival, are versions too.
         (sync_a.state() == v1::SYNC_STATE_REMOVED) == (sync_b.state() == v1::SYNC_STATE_REMOVED) &&
         ConnectorFileOf(a, sync_a.target()) == ConnectorFileOf(b, sync_b.target()) &&
         ConnectorFileOf(a, sync_a.source()) == ConnectorFileOf(b, sync_b.source());
}

std::set<std::string> BlobsOf(const v1::TenantSnapshot& snapshot) {
  std::set<std::string> blobs;
  for (const v1::Connection& connection : snapshot.connections()) {
    blobs.insert(connection.connector_file());
  }
  for (const v1::Sync& sync : snapshot.syncs()) {
    blobs.insert(sync.mapping());
    blobs.insert(sync.rules());
  }
  blobs.erase("");
  return blobs;
}

// The newest snapshot of a tenant on the topic.
struct Published {
  v1::TenantSnapshot snapshot;
  Offset offset = 0;

  // As it reads once the offset is known.
  v1::TenantSnapshot WithRevisions() const {
    v1::TenantSnapshot filled = snapshot;
    for (v1::Sync& sync : *filled.mutable_syncs()) {
      if (sync.revision() == 0) {
        sync.set_revision(offset);
      }
    }
    return filled;
  }
};

class Publisher : public Stage, private eventlog::OwnerListener {
 public:
  Publisher(PublisherOptions options, ControlCore& core, const StagePorts& ports)
      : options_(std::move(options)),
        core_(core),
        logger_(ports.logger),
        owner_(
            {
                .service = "control",
                .instance = options_.instance,
                .writes = {Topic::kTenants},
                .min_compaction_lag = options_.min_compaction_lag,
                .delete_retention = options_.delete_retention,
                .predecessor_is_dead = true,
            },
            ports.log, ports.stores, ports.random, *this) {
    core_.set_on_changed([this](const std::string& tenant) {
      const Partition partition = PartitionOf(tenant);
      if (owner_.ready(partition)) {
        Publish(partition, tenant);
      }
      TellCore();
    });
    TellCore();
  }
  ~Publisher() override { core_.set_on_changed(nullptr); }

  void OnLog(Now now, const eventlog::Fact& fact) override {
    now_ = now;
    owner_.OnFact(now, fact);
    TellCore();
  }
  void OnHttp(Now, http::Completion) override {}
  void OnControl(Now, const v1::ToService&) override {}
  void OnTick(Now now) override {
    now_ = now;
    owner_.OnTick(now);
    core_.OnTick(now);
    TellCore();
  }
  Instant next_tick() const override { return std::min(owner_.next_tick(), core_.next_tick()); }
  bool MaySend(Now, http::RequestId) override { return false; }
  void Drain(Now now) override {
    now_ = now;
    owner_.ReleaseAll(now);
  }
  bool drained() const override { return owner_.partitions().empty(); }
  std::vector<std::string> not_ready_because() const override {
    std::vector<std::string> reasons = owner_.not_ready_because();
    if (reasons.empty() && !owner_.all_ready()) {
      reasons.emplace_back("partitions are being taken over");
    }
    return reasons;
  }
  std::string failure() const override { return owner_.failure(); }

 private:
  // Of one owned partition.
  struct Owned {
    // By tenant: what is durable on the topic.
    std::map<std::string, Published> published;
    // By tenant: what has been written and not acknowledged.
    std::map<std::string, v1::TenantSnapshot> writing;
    // Tenants that have changed since, or wait for a blob.
    std::set<std::string> waiting;
    // Tenants that are written although nothing of them has changed (rule 4).
    std::set<std::string> repaired;
    // Blobs that are durable on the topic, and those that are being written.
    std::set<std::string> blobs;
    std::set<std::string> blobs_writing;
  };
  struct Write {
    Partition partition = 0;
    // One of both is set.
    std::string tenant;
    std::string blob;
  };

  Partition PartitionOf(const std::string& tenant) const {
    return ids::PartitionOf(tenant, options_.partitions);
  }

  void OnReady(const eventlog::Takeover& takeover) override {
    Owned& owned = owned_[takeover.partition];
    owned = {};
    const eventlog::Table& table = *owner_.table(Topic::kTenants, takeover.partition);
    std::vector<std::pair<std::string, TableEntry>> broken;
    table.Scan("", "", [&](std::string_view key, const TableEntry& entry) {
      if (entry.is_void || table.IsOfLostLog(entry) || !IsReadable(key, entry.value)) {
        broken.emplace_back(key, entry);
      } else if (key.starts_with(kBlobPrefix)) {
        owned.blobs.emplace(key.substr(kBlobPrefix.size()));
      } else {
        Published& published = owned.published[TenantOf(key)];
        published.offset = entry.offset;
        published.snapshot.ParseFromString(entry.value);
      }
      return true;
    });
    for (const auto& [tenant, published] : owned.published) {
      if (!core_.WantedSnapshot(tenant)) {
        // A database that was lost must not switch tenants off.
        logger_.Log(Logger::Level::kWarning,
                    "A tenant is on the topic and not in the database; left as it is.",
                    {{"tenant", tenant}});
      }
    }
    for (const std::string& tenant : core_.tenant_names()) {
      if (PartitionOf(tenant) == takeover.partition) {
        Publish(takeover.partition, tenant);
      }
    }
    for (const auto& [key, entry] : broken) {
      Repair(takeover.partition, key, entry);
    }
  }

  void OnEntry(Topic topic, Partition partition, std::string_view key,
               const std::optional<TableEntry>& entry) override {
    if (topic == Topic::kTenants && entry && owned_.contains(partition) &&
        (entry->is_void || !IsReadable(key, entry->value))) {
      Repair(partition, key, *entry);
    }
  }
  void OnStreamRecord(const eventlog::Record&) override {}

  void OnWritten(ProduceId id, Offset offset) override {
    const auto entry = writes_.find(id);
    if (entry == writes_.end()) {
      return;
    }
    const Write write = std::move(entry->second);
    writes_.erase(entry);
    const auto found = owned_.find(write.partition);
    if (found == owned_.end()) {
      return;
    }
    Owned& owned = found->second;
    if (!write.blob.empty()) {
      owned.blobs_writing.erase(write.blob);
      owned.blobs.insert(write.blob);
    } else if (auto written = owned.writing.extract(write.tenant); !written.empty()) {
      owned.published[write.tenant] = {std::move(written.mapped()), offset};
      RemoveUnnamedBlobs(write.partition, owned);
    }
    const std::set<std::string> waiting = std::exchange(owned.waiting, {});
    for (const std::string& tenant : waiting) {
      Publish(write.partition, tenant);
    }
  }

  void OnGone(Partition partition) override {
    owned_.erase(partition);
    std::erase_if(writes_, [&](const auto& entry) { return entry.second.partition == partition; });
  }
  void OnRevoking(Partition partition, Instant) override { owner_.Release(partition); }

  // Empty: the key is none of a tenant.
  static std::string TenantOf(std::string_view key) {
    const std::optional<std::vector<std::string>> parts = ids::SplitKey(key);
    return parts && parts->size() == 1 ? parts->front() : "";
  }

  static bool IsReadable(std::string_view key, const std::string& value) {
    v1::Blob blob;
    v1::TenantSnapshot snapshot;
    return key.starts_with(kBlobPrefix)
               ? blob.ParseFromString(value)
               : snapshot.ParseFromString(value) && snapshot.tenant() == TenantOf(key);
  }

  // Rule 4: the newest entry of the key is void, or cannot be read. What is known is written again.
  void Repair(Partition partition, std::string_view key, const TableEntry& entry) {
    const bool is_readable = IsReadable(key, entry.value);
    if (!is_readable) {
      logger_.Log(Logger::Level::kError, "A record cannot be decoded and is set aside.",
                  {{"topic", std::string(eventlog::Name(Topic::kTenants))},
                   {"partition", std::to_string(partition)},
                   {"offset", std::to_string(entry.offset)},
                   {"key", std::string(key)},
                   {"sha256", ids::Sha256Hex(entry.value)},
                   {"bytes", ids::ToHex(entry.value.substr(0, kAsideBytesMax))}});
    }
    Owned& owned = owned_[partition];
    if (key.starts_with(kBlobPrefix)) {
      const std::string sha256(key.substr(kBlobPrefix.size()));
      owned.blobs.erase(sha256);
      if (core_.FindBlob(sha256) != nullptr) {
        WriteBlob(partition, owned, sha256);
        return;
      }
    } else if (const std::string tenant = TenantOf(key); core_.WantedSnapshot(tenant)) {
      // Not where that is under way already.
      if (owned.published.contains(tenant)) {
        owned.repaired.insert(tenant);
        Publish(partition, tenant);
      }
      return;
    }
    if (!is_readable) {
      // Nobody can make anything of it, and nothing else is lost with it.
      owner_.Write(Topic::kTenants, partition, key, std::nullopt);
      return;
    }
    logger_.Log(Logger::Level::kError,
                "The newest entry is of a dead control, and the database does not know it: apply "
                "the configuration again.",
                {{"key", std::string(key)}, {"offset", std::to_string(entry.offset)}});
  }

  // Brings the topic to what the core wants, as far as that can be done now.
  void Publish(Partition partition, const std::string& tenant) {
    Owned& owned = owned_[partition];
    std::optional<v1::TenantSnapshot> wanted = core_.WantedSnapshot(tenant);
    if (!wanted) {
      return;
    }
    if (owned.writing.contains(tenant)) {
      owned.waiting.insert(tenant);
      return;
    }
    const auto published = owned.published.find(tenant);
    if (published != owned.published.end()) {
      const v1::TenantSnapshot before = published->second.WithRevisions();
      for (v1::Sync& sync : *wanted->mutable_syncs()) {
        const v1::Sync* const same = FindSync(before, sync.name());
        sync.set_revision(
            same != nullptr && MapsTheSame(before, *same, *wanted, sync) ? same->revision() : 0);
      }
      if (MessageDifferencer::Equals(before, *wanted) && !owned.repaired.contains(tenant)) {
        return;
      }
    }
    if (!EnsureBlobs(partition, owned, *wanted)) {
      owned.waiting.insert(tenant);
      return;
    }
    const ProduceId id = owner_.Write(Topic::kTenants, partition, ids::JoinKey({tenant}),
                                      wanted->SerializeAsString());
    if (id == 0) {
      owned.waiting.insert(tenant);
      return;
    }
    writes_[id] = {.partition = partition, .tenant = tenant};
    owned.repaired.erase(tenant);
    owned.writing[tenant] = *std::move(wanted);
  }

  // True: all of them are durable. Else those that are missing are on their way.
  bool EnsureBlobs(Partition partition, Owned& owned, const v1::TenantSnapshot& snapshot) {
    bool is_complete = true;
    for (const std::string& sha256 : BlobsOf(snapshot)) {
      if (owned.blobs.contains(sha256)) {
        continue;
      }
      is_complete = false;
      if (core_.FindBlob(sha256) == nullptr) {
        logger_.Log(Logger::Level::kError, "A file that a snapshot names is not in the database.",
                    {{"tenant", snapshot.tenant()}, {"sha256", sha256}});
        continue;
      }
      WriteBlob(partition, owned, sha256);
    }
    return is_complete;
  }

  void WriteBlob(Partition partition, Owned& owned, const std::string& sha256) {
    if (owned.blobs_writing.contains(sha256)) {
      return;
    }
    const ProduceId id = owner_.Write(Topic::kTenants, partition, ids::BlobKey(sha256),
                                      core_.FindBlob(sha256)->SerializeAsString());
    if (id != 0) {
      writes_[id] = {.partition = partition, .blob = sha256};
      owned.blobs_writing.insert(sha256);
    }
  }

  // A blob is kept while a snapshot names it, on the topic or on its way there.
  void RemoveUnnamedBlobs(Partition partition, Owned& owned) {
    std::set<std::string> named;
    for (const auto& [tenant, published] : owned.published) {
      named.merge(BlobsOf(published.snapshot));
    }
    for (const auto& [tenant, snapshot] : owned.writing) {
      named.merge(BlobsOf(snapshot));
    }
    for (const std::string& tenant : owned.waiting) {
      if (const std::optional<v1::TenantSnapshot> wanted = core_.WantedSnapshot(tenant)) {
        named.merge(BlobsOf(*wanted));
      }
    }
    for (auto blob = owned.blobs.begin(); blob != owned.blobs.end();) {
      if (named.contains(*blob)) {
        ++blob;
        continue;
      }
      owner_.Write(Topic::kTenants, partition, ids::BlobKey(*blob), std::nullopt);
      blob = owned.blobs.erase(blob);
    }
  }

  void TellCore() {
    std::vector<std::string> unpublished;
    for (const std::string& tenant : core_.tenant_names()) {
      const auto owned = owned_.find(PartitionOf(tenant));
      if (owned == owned_.end() || owned->second.writing.contains(tenant) ||
          owned->second.waiting.contains(tenant)) {
        unpublished.push_back("tenant " + tenant);
      }
    }
    core_.set_unpublished(std::move(unpublished));
  }

  const PublisherOptions options_;
  ControlCore& core_;
  Logger& logger_;
  Now now_{};
  std::map<Partition, Owned> owned_;
  std::map<ProduceId, Write> writes_;
  // Last, because it calls back.
  eventlog::Owner owner_;
};

}  // namespace

std::unique_ptr<Stage> MakePublisher(PublisherOptions options, ControlCore& core,
                                     const StagePorts& ports) {
  return std::make_unique<Publisher>(std::move(options), core, ports);
}

}  // namespace tributary::control

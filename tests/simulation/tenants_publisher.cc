#include "tests/simulation/tenants_publisher.h"

#include <set>
#include <utility>

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "libs/eventlog/owner.h"
#include "libs/ids/keys.h"

namespace tributary::simulation {
namespace {

using eventlog::Partition;
using eventlog::Topic;

class TenantsPublisher : public Stage, private eventlog::OwnerListener {
 public:
  TenantsPublisher(eventlog::OwnerOptions options, std::int32_t partitions, const Orders& orders,
                   StagePorts ports)
      : partitions_(partitions),
        orders_(orders),
        owner_(std::move(options), ports.log, ports.stores, ports.random, *this) {}

  void OnLog(Now now, const eventlog::Fact& fact) override {
    owner_.OnFact(now, fact);
    PublishIfNew();
  }
  void OnHttp(Now, http::Completion) override {}
  void OnControl(Now, const v1::ToService&) override {}
  void OnTick(Now now) override {
    owner_.OnTick(now);
    PublishIfNew();
    looked_at_ = now.steady;
  }
  Instant next_tick() const override {
    return std::min(owner_.next_tick(), looked_at_ + std::chrono::seconds(1));
  }
  bool MaySend(Now, http::RequestId) override { return false; }
  void Drain(Now now) override { owner_.ReleaseAll(now); }
  bool drained() const override { return owner_.partitions().empty(); }
  std::vector<std::string> not_ready_because() const override { return owner_.not_ready_because(); }
  std::string failure() const override { return owner_.failure(); }

 private:
  void OnReady(const eventlog::Takeover& takeover) override {
    ready_.insert(takeover.partition);
    // Topics may have been made anew.
    written_[takeover.partition].clear();
    Publish(takeover.partition);
  }
  void OnEntry(Topic, Partition partition, std::string_view,
               const std::optional<eventlog::TableEntry>& entry) override {
    // Rule 4: what a dead publisher has left behind the fence is written again.
    if (entry && entry->is_void) Publish(partition);
  }
  void OnStreamRecord(const eventlog::Record&) override {}
  void OnWritten(eventlog::ProduceId, eventlog::Offset) override {}
  void OnGone(Partition partition) override { ready_.erase(partition); }
  void OnRevoking(Partition partition, Instant) override { owner_.Release(partition); }

  void PublishIfNew() {
    if (edition_ == orders_.edition) return;
    edition_ = orders_.edition;
    for (const Partition partition : ready_) Publish(partition);
  }

  void Publish(Partition partition) {
    const eventlog::Table* const table = owner_.table(Topic::kTenants, partition);
    std::map<std::string, std::string>& written = written_[partition];
    const auto write = [&](const std::string& key, std::string value) {
      // What was written last is not read back yet.
      const auto own = written.find(key);
      const std::optional<eventlog::TableEntry> entry = table->Get(key);
      // As control does.
      const bool is_void = entry && (entry->is_void || table->IsOfLostLog(*entry));
      if (own != written.end() && !is_void && own->second == value) return;
      if (own == written.end() && entry && !is_void && entry->value == value) return;
      written[key] = value;
      owner_.Write(Topic::kTenants, partition, key, std::move(value));
    };
    for (const auto& [name, tenant] : orders_.tenants) {
      if (ids::PartitionOf(name, partitions_) != partition) continue;
      // In front of the snapshot that names them.
      for (const auto& [hash, blob] : tenant.blobs) write(ids::BlobKey(hash), Serialize(blob));
      write(ids::JoinKey({name}), Serialize(tenant.snapshot));
    }
  }

  const std::int32_t partitions_;
  const Orders& orders_;
  eventlog::Owner owner_;
  std::set<Partition> ready_;
  std::map<Partition, std::map<std::string, std::string>> written_;
  std::int64_t edition_ = -1;
  Instant looked_at_{};
};

}  // namespace

std::string Serialize(const google::protobuf::Message& message) {
  std::string out;
  google::protobuf::io::StringOutputStream stream(&out);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return out;
}

std::unique_ptr<Stage> MakeTenantsPublisher(std::string instance, std::int32_t partitions,
                                            Duration min_compaction_lag, Duration delete_retention,
                                            const Orders& orders, StagePorts ports) {
  eventlog::OwnerOptions options;
  options.service = "control";
  options.instance = std::move(instance);
  options.writes = {Topic::kTenants};
  options.min_compaction_lag = min_compaction_lag;
  options.delete_retention = delete_retention;
  return std::make_unique<TenantsPublisher>(std::move(options), partitions, orders, ports);
}

}  // namespace tributary::simulation

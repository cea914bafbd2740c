#include "tests/unit/services/transformer/rig.h"

#include <algorithm>
#include <numeric>

#include "libs/http/message.h"
#include "libs/ids/keys.h"
#include "libs/stage/stage.h"

namespace tributary::transformer {
namespace {

using eventlog::Topic;

// Of the founding: `!g` is at 0, its released fence at 1.
eventlog::Headers FoundingToken() {
  return {{std::string(eventlog::kTokenHeader), eventlog::FormatToken({kGeneration, 1})}};
}

}  // namespace

class Rig::Ports : public http::ClientPort, public ControlPort, public Logger {
 public:
  explicit Ports(Rig& rig) : rig_(rig) {}
  void Send(http::RequestId, http::Request) override { std::abort(); }
  void Cancel(http::RequestId) override {}
  void Send(const v1::FromService& message) override { rig_.sent_.push_back(message); }
  void Log(Level, std::string_view message, const Fields& fields) override {
    std::string line(message);
    for (const auto& [name, value] : fields) line += " " + std::string(name) + "=" + value;
    rig_.log_lines.push_back(std::move(line));
  }

 private:
  Rig& rig_;
};

Rig::Rig(int partitions)
    : log({.partitions = partitions}, time, 1), disk_(eventlog::MakeMemoryStores()) {
  options.instance = "one";
  options.partitions = partitions;
  delays.request = {std::chrono::milliseconds(1), std::chrono::milliseconds(20)};
  delays.answer = {std::chrono::milliseconds(1), std::chrono::milliseconds(20)};
  log.Found(kGeneration);
}

Rig::~Rig() = default;

std::string Rig::PutBlob(v1::Blob::Kind kind, const std::string& content) {
  v1::Blob blob;
  blob.set_kind(kind);
  blob.set_content(content);
  blob.set_name("file.yaml");
  const std::string hash = ids::Sha256Hex(content);
  log.Append(Topic::kTenants, 0, ids::BlobKey(hash), blob.SerializeAsString(), FoundingToken());
  return hash;
}

std::int64_t Rig::PutSnapshot(const v1::TenantSnapshot& snapshot) {
  return log.Append(Topic::kTenants, 0, ids::JoinKey({snapshot.tenant()}),
                    snapshot.SerializeAsString(), FoundingToken());
}

std::int64_t Rig::PutSync(const std::string& mapping, const std::string& rules, v1::SyncState state,
                          std::int64_t revision) {
  v1::TenantSnapshot snapshot;
  snapshot.set_tenant("acme");
  v1::Sync& sync = *snapshot.add_syncs();
  sync.set_name("main");
  sync.set_source("billing");
  sync.set_target("crm");
  sync.set_state(state);
  sync.set_mapping(PutBlob(v1::Blob::KIND_MAPPING, mapping));
  if (!rules.empty()) sync.set_rules(PutBlob(v1::Blob::KIND_RULES, rules));
  sync.set_revision(revision);
  return PutSnapshot(snapshot);
}

std::int64_t Rig::Put(const Change& change) {
  v1::ChangeEvent event;
  event.set_first_read(change.first_read);
  v1::Entity& entity = *event.mutable_entity();
  entity.set_connection(change.connection);
  entity.set_kind(change.kind);
  entity.set_id(change.id);
  for (const std::string& customer : change.customers) entity.add_customers(customer);
  for (const std::string& customer : change.former) entity.add_former_customers(customer);
  if (change.updated_at != 0) entity.mutable_updated_at()->set_seconds(change.updated_at);
  entity.set_gone(change.gone);
  entity.set_document(change.document);
  return log.Append(Topic::kChanges, 0,
                    ids::ChangeKey(change.tenant, change.connection, change.kind, change.id),
                    event.SerializeAsString(), FoundingToken());
}

std::int64_t Rig::PutCustomer(const std::string& id, const std::string& document) {
  Change change;
  change.id = id;
  change.customers = {id};
  change.document = document;
  return Put(change);
}

std::int64_t Rig::PutEvent(const v1::SourceEvent& event, const std::string& tenant) {
  return log.Append(Topic::kEvents, 0, ids::JoinKey({tenant}), event.SerializeAsString());
}

std::int64_t Rig::PutVoid(Topic topic, const std::string& key, const std::string& value) {
  return log.Append(
      topic, 0, key, value,
      {{std::string(eventlog::kTokenHeader), eventlog::FormatToken({kGeneration, 0})}});
}

std::int64_t Rig::PutRaw(Topic topic, const std::string& key, const std::string& value) {
  return log.Append(topic, 0, key, value, FoundingToken());
}

void Rig::Start(bool keeps_disk) {
  if (!keeps_disk) disk_ = eventlog::MakeMemoryStores();
  member_ = log.Join("transformer", options.instance, delays);
  ports_ = std::make_unique<Ports>(*this);
  stage_ = MakeTransformer(options, StagePorts{*member_, *disk_, *ports_, *ports_, *ports_,
                                               [this] { return random_ += 0x9E3779B97F4A7C15; }});
  std::vector<eventlog::Partition> all(static_cast<std::size_t>(options.partitions));
  std::iota(all.begin(), all.end(), 0);
  log.Assign(*member_, all);
}

void Rig::Kill() {
  log.Kill(*member_);
  stage_.reset();
  member_.reset();
}

void Rig::Run(Duration duration) {
  const Instant end = time.now().steady + duration;
  while (time.now().steady < end) {
    if (stage_ != nullptr) {
      for (const eventlog::Fact& fact : member_->Poll()) {
        stage_->OnLog(time.now(), fact);
        if (after_step && after_step()) {
          Kill();
          return;
        }
      }
      if (stage_->next_tick() <= time.now().steady) {
        stage_->OnTick(time.now());
        if (after_step && after_step()) {
          Kill();
          return;
        }
      }
    }
    Instant next = std::min(end, time.next());
    if (stage_ != nullptr) next = std::min(next, stage_->next_tick());
    time.RunUntil(std::max(next, time.now().steady + std::chrono::milliseconds(1)));
  }
}

std::map<std::string, v1::Command> Rig::Commands() const {
  const std::unique_ptr<eventlog::LocalStores> stores = eventlog::MakeMemoryStores();
  eventlog::Table table({.topic = Topic::kCommands, .partition = 0},
                        *stores->Open(Topic::kCommands, 0));
  for (const eventlog::Record& record : log.records(Topic::kCommands, 0)) table.Apply(record);
  std::map<std::string, v1::Command> commands;
  table.Scan("", "", [&](std::string_view key, const eventlog::TableEntry& entry) {
    if (!entry.is_void) commands[std::string(key)].ParseFromString(entry.value);
    return true;
  });
  return commands;
}

v1::Command Rig::Command(const std::string& key) const { return Commands()[key]; }

std::vector<std::string> Rig::Actions() const {
  std::vector<std::string> keys;
  for (const auto& [key, command] : Commands()) {
    if (command.has_action()) keys.push_back(key);
  }
  return keys;
}

std::vector<std::pair<std::string, v1::Command>> Rig::CommandHistory() const {
  std::vector<std::pair<std::string, v1::Command>> history;
  for (const eventlog::Record& record : log.records(Topic::kCommands, 0)) {
    if (record.key.starts_with('!') || !record.value) continue;
    v1::Command command;
    command.ParseFromString(*record.value);
    history.emplace_back(record.key, std::move(command));
  }
  return history;
}

std::optional<eventlog::Offset> Rig::Committed(Topic topic) const {
  return log.committed("transformer", topic, 0);
}

std::string KeyOf(const std::string& customer, const std::string& object, const std::string& sync) {
  return ids::StateKey("acme", sync, object, "customers", customer);
}

std::string FieldOf(const v1::Command& command, const std::string& path) {
  for (const v1::Field& field : command.state().fields()) {
    if (field.path() != path) continue;
    const v1::FieldValue& value = field.value();
    if (value.has_decimal()) return value.decimal();
    if (value.has_text()) return value.text();
    if (value.has_null()) return "null";
    return value.ShortDebugString();
  }
  return "absent";
}

}  // namespace tributary::transformer

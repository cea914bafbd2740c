#include <algorithm>

#include "libs/ids/keys.h"
#include "services/transformer/stage.h"

// Syncs: compiled, mapped again at a new revision, withdrawn when they are removed.

namespace tributary::transformer {
namespace {

template <typename File>
std::optional<File> CompileOnce(std::map<std::string, File>& known, const std::string& hash,
                                const v1::Blob& blob, std::vector<std::string>& problems) {
  const std::string name = hash + "/" + blob.name();
  if (const auto found = known.find(name); found != known.end()) return found->second;
  std::optional<File> file = File::Compile(blob.name(), blob.content(), problems);
  if (known.size() >= CompiledFiles::kFilesMax) known.clear();
  if (file) known.emplace(name, *file);
  return file;
}

}  // namespace

using eventlog::Topic;

std::map<TransformerStage::SyncKey, std::set<std::string>> TransformerStage::SyncsInCommands(
    const PartitionWork& work, std::string_view tenant) const {
  std::map<SyncKey, std::set<std::string>> syncs;
  const std::string prefix = tenant.empty() ? "" : ids::JoinKey({tenant}) + "/";
  const eventlog::Table& commands = table(Topic::kCommands, work.partition);
  // One step for each object of a sync, and one for its actions: behind its last key the next one
  // begins.
  std::string from;
  for (;;) {
    std::string key;
    commands.Scan(prefix, from, [&](std::string_view found, const eventlog::TableEntry&) {
      key = std::string(found);
      return false;
    });
    if (key.empty()) return syncs;
    const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
    if (!parts) {
      from = key + '\x01';
      continue;
    }
    std::set<std::string>& objects = syncs[{parts->tenant, parts->sync}];
    switch (parts->kind) {
      case ids::CommandKey::Kind::kAction:
        from = ids::JoinKey({parts->tenant, parts->sync, "a"}) + "0";  // '0' is next to '/'
        break;
      case ids::CommandKey::Kind::kMapped:
        from = key + "0";
        break;
      case ids::CommandKey::Kind::kState:
        from = ids::JoinKey({parts->tenant, parts->sync, "s", parts->object}) + "0";
        objects.insert(parts->object);
        break;
    }
  }
}

std::int64_t TransformerStage::MappedRevision(const PartitionWork& work, const SyncKey& name) {
  const std::optional<eventlog::TableEntry> entry =
      table(Topic::kCommands, work.partition).Get(ids::MappedKey(name.first, name.second));
  // Void is as good as absent (rule 4).
  if (!entry || entry->is_void) return 0;
  v1::Command command;
  if (!command.ParseFromString(entry->value)) return 0;
  // An offset of a `tenants` that was lost comes again in the one that was made anew.
  return command.mapped().generation() == work.generation ? command.mapped().revision() : 0;
}

void TransformerStage::Refresh(PartitionWork& work, const std::string& tenant) {
  const tenants::TenantState* state = directory_.Find(tenant);
  // A removed tenant has a snapshot that says so. None is there only as long as control has not
  // written a `tenants` that was made anew: that says nothing of what is wanted.
  if (state == nullptr) return;
  std::set<std::string> listed;
  if (!state->snapshot.removed()) {
    for (const v1::Sync& sync : state->snapshot.syncs()) {
      if (sync.state() == v1::SYNC_STATE_REMOVED) continue;
      listed.insert(sync.name());
      const SyncKey name(tenant, sync.name());
      const bool is_new = !work.syncs.contains(name);
      SyncWork& known = work.syncs[name];
      const bool is_other = is_new || known.is_removed || !known.problem.empty() ||
                            known.sync.mapping() != sync.mapping() ||
                            known.sync.rules() != sync.rules();
      const bool is_elsewhere = !is_new && known.sync.source() != sync.source();
      known.sync = sync;
      known.is_removed = false;
      known.withdraw.clear();
      known.revision = directory_.Revision(tenant, sync.name()).value_or(0);
      if (is_new) known.mapped = MappedRevision(work, name);
      if (is_elsewhere) known.remapping = 0;
      if (is_other) Compile(work, known);
      if (known.problem.empty()) StartRemap(work, tenant, known);
    }
  }
  for (auto& [name, objects] : SyncsInCommands(work, tenant)) {
    SyncWork& sync = work.syncs[name];
    sync.objects.merge(objects);
    if (!listed.contains(name.second)) StartWithdrawal(work, tenant, sync);
  }
  for (auto& [name, sync] : work.syncs) {
    if (name.first != tenant || listed.contains(name.second)) continue;
    sync.sync.set_name(name.second);
    if (!sync.is_removed) StartWithdrawal(work, tenant, sync);
  }
}

void TransformerStage::Compile(PartitionWork& work, SyncWork& sync) {
  sync.mapping.reset();
  sync.rules.reset();
  sync.problem.clear();
  std::vector<std::string> problems;
  const v1::Blob* blob = directory_.FindBlob(work.partition, sync.sync.mapping());
  if (blob == nullptr) {
    problems.push_back("the mapping " + sync.sync.mapping() + " is not there");
  } else {
    sync.mapping = CompileOnce(compiled_->mappings, sync.sync.mapping(), *blob, problems);
    for (std::size_t i = 0; sync.mapping && i < sync.mapping->object_count(); ++i) {
      sync.objects.insert(sync.mapping->object(i));
    }
  }
  if (!sync.sync.rules().empty()) {
    const v1::Blob* rules = directory_.FindBlob(work.partition, sync.sync.rules());
    if (rules == nullptr) {
      problems.push_back("the rules " + sync.sync.rules() + " are not there");
    } else {
      sync.rules = CompileOnce(compiled_->rules, sync.sync.rules(), *rules, problems);
    }
  }
  for (const std::string& problem : problems) {
    if (!sync.problem.empty()) sync.problem += '\n';
    sync.problem += problem;
  }
  if (!sync.problem.empty()) {
    ports_.logger.Log(Logger::Level::kError, "A sync cannot be compiled.",
                      {{"sync", sync.sync.name()}, {"problem", sync.problem}});
  }
}

void TransformerStage::StartRemap(PartitionWork& work, const std::string& tenant, SyncWork& sync) {
  if (sync.revision == sync.mapped || sync.revision == sync.remapping) return;
  sync.remapping = sync.revision;
  sync.remap.clear();
  const std::string prefix = ConnectionRows(tenant, sync.sync.source());
  table(Topic::kChanges, work.partition)
      .ScanIndex(prefix, [&](std::string_view row, std::string_view) {
        row.remove_prefix(prefix.size());
        row.remove_suffix(1);
        const std::optional<std::string> id = ids::DecodePart(row);
        if (id && (sync.remap.empty() || sync.remap.back() != *id)) sync.remap.push_back(*id);
        return true;
      });
  ports_.logger.Log(Logger::Level::kInfo, "A revision maps every customer.",
                    {{"tenant", tenant},
                     {"sync", sync.sync.name()},
                     {"revision", std::to_string(sync.revision)},
                     {"customers", std::to_string(sync.remap.size())}});
}

void TransformerStage::StartWithdrawal(PartitionWork& work, const std::string& tenant,
                                       SyncWork& sync) {
  std::string name = sync.sync.name();
  if (name.empty()) {
    for (const auto& [key, known] : work.syncs) {
      if (&known == &sync) name = key.second;
    }
    sync.sync.set_name(name);
  }
  const v1::Sync* const listed = directory_.FindSync(tenant, name);
  if (listed != nullptr) sync.sync.set_source(listed->source());
  sync.is_removed = true;
  sync.mapping.reset();
  sync.rules.reset();
  sync.problem.clear();
  sync.remap.clear();
  sync.remapping = 0;
  sync.mapped = 0;
  sync.withdraw.clear();
  const std::string prefix = ids::JoinKey({tenant, name, "s"}) + "/";
  std::set<std::string> keys;
  table(Topic::kCommands, work.partition)
      .Scan(prefix, "", [&](std::string_view key, const eventlog::TableEntry&) {
        keys.emplace(key);
        return true;
      });
  for (const auto& [key, own] : work.own_states) {
    if (key.starts_with(prefix)) keys.insert(key);
  }
  sync.withdraw.assign(keys.begin(), keys.end());
}

void TransformerStage::FinishRemap(PartitionWork& work, const SyncKey& name, SyncWork& sync) {
  if (sync.is_removed || sync.remapping == 0 || sync.remapping == sync.mapped) return;
  if (!sync.problem.empty() || sync.mapped_under_way || sync.unacknowledged > 0 ||
      !sync.remap.empty()) {
    return;
  }
  for (const Customer& customer : work.held) {
    if (customer.tenant == name.first && customer.connection == sync.sync.source()) return;
  }
  // Rule 36: all outputs of the revision are acknowledged.
  v1::Command command;
  command.mutable_mapped()->set_revision(sync.remapping);
  command.mutable_mapped()->set_generation(work.generation);
  sync.mapped_under_way = sync.remapping;
  Put(work, ids::MappedKey(name.first, name.second), command, name);
}

void TransformerStage::ForgetMapped(PartitionWork& work, const SyncKey& name, SyncWork& sync) {
  if (sync.mapped == 0 || sync.mapped_under_way) return;
  // A customer was passed over: whoever can compile this again has to map everyone.
  v1::Command command;
  command.mutable_mapped()->set_revision(0);
  command.mutable_mapped()->set_generation(work.generation);
  sync.mapped = 0;
  sync.remapping = 0;
  Put(work, ids::MappedKey(name.first, name.second), command, name);
}

}  // namespace tributary::transformer

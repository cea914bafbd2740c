#include <algorithm>
#include <tuple>

#include "libs/ids/keys.h"
#include "libs/mapping/content_hash.h"
#include "services/transformer/stage.h"

// From a customer's view to its commands.

namespace tributary::transformer {

using eventlog::Topic;

std::strong_ordering Compare(const v1::Version& a, const v1::Version& b) {
  return std::tuple(a.generation(), a.offset(), a.revision()) <=>
         std::tuple(b.generation(), b.offset(), b.revision());
}

std::optional<StandingState> TransformerStage::Standing(const PartitionWork& work,
                                                        std::string_view key) {
  const auto own = work.own_states.find(key);
  if (own != work.own_states.end()) return own->second.state;
  const std::optional<eventlog::TableEntryView> entry =
      table(Topic::kCommands, work.partition).Find(key);
  if (!entry || entry->is_void) return std::nullopt;
  v1::Command command;
  const auto size = static_cast<int>(entry->value.size());
  if (!command.ParseFromArray(entry->value.data(), size) || !command.has_state()) {
    KeepAside(Topic::kCommands, work.partition, entry->offset, key, entry->value);
    return std::nullopt;
  }
  return StandingState{command.version(), command.state().presence(),
                       command.state().content_hash() + command.mapping_error()};
}

void TransformerStage::Derive(PartitionWork& work, const Customer& customer) {
  const Gathered& gathered = gatherer_.Read(table(Topic::kChanges, work.partition), customer);
  ++counters_.derived_customers;
  if (!gathered.has_void) work.held.erase(customer);
  for (auto at = work.syncs.lower_bound({customer.tenant, ""});
       at != work.syncs.end() && at->first.first == customer.tenant; ++at) {
    auto& [name, sync] = *at;
    if (sync.sync.source() != customer.connection) continue;
    if (!sync.is_removed) {
      DeriveFor(work, name, sync, customer, gathered);
      continue;
    }
    for (const std::string& key : KeysOf(work, name, sync, customer.id)) Withdraw(work, name, key);
  }
}

bool TransformerStage::IsThere(const PartitionWork& work, std::string_view key) const {
  return work.own_states.contains(key) ||
         table(Topic::kCommands, work.partition).Find(key).has_value();
}

std::vector<std::string> TransformerStage::KeysOf(const PartitionWork& work, const SyncKey& name,
                                                  const SyncWork& sync,
                                                  const std::string& customer) const {
  std::vector<std::string> keys;
  for (const std::string& object : sync.objects) {
    std::string key = ids::StateKey(name.first, name.second, object, kCustomers, customer);
    if (IsThere(work, key)) keys.push_back(std::move(key));
  }
  return keys;
}

void TransformerStage::DeriveFor(PartitionWork& work, const SyncKey& name, SyncWork& sync,
                                 const Customer& customer, const Gathered& gathered) {
  if (gathered.has_void) {
    work.held.insert(customer);
    return;
  }
  if (gathered.offset < 0) return;
  if (!sync.mapping) {
    ForgetMapped(work, name, sync);
    return;
  }
  commands_.Reset();
  const auto make = [&]() -> v1::Command& {
    auto& command = commands_.Make<v1::Command>();
    command.mutable_version()->set_generation(work.generation);
    command.mutable_version()->set_offset(gathered.offset);
    command.mutable_version()->set_revision(sync.revision);
    command.set_customer(customer.id);
    if (gathered.changed_at) {
      command.mutable_changed_at()->set_seconds(gathered.changed_at->seconds);
      command.mutable_changed_at()->set_nanos(gathered.changed_at->nanos);
    }
    command.set_trace_id(gathered.trace_id);
    return command;
  };

  // Else only other entities name this customer yet, or nothing but a marker of being gone does; or
  // a document of it cannot be read.
  const bool is_mapped = gathered.is_known && gathered.problem.empty() &&
                         !(gathered.is_bare && !WasEverWanted(work, name, sync, customer.id));
  const std::size_t objects = sync.mapping->object_count();
  for (std::size_t i = 0; i < objects; ++i) {
    v1::Command& command = make();
    v1::DesiredState& state = *command.mutable_state();
    std::string error;
    if (is_mapped) {
      error = sync.mapping->ApplyTo(gathered.view, i, state);
    } else {
      state.set_object(sync.mapping->object(i));
      error = gathered.problem;
      if (error.empty()) {
        state.set_presence(v1::DesiredState::PRESENCE_UNWANTED);
        state.set_content_hash(mapping::ContentHash(state));
      }
    }
    state.set_backfill(gathered.first_read);
    if (!error.empty()) {
      ++counters_.mapping_errors;
      state.set_presence(gathered.view.gone ? v1::DesiredState::PRESENCE_GONE
                                            : v1::DesiredState::PRESENCE_PRESENT);
      command.set_mapping_error(error);
    }
    const std::string key =
        ids::StateKey(name.first, name.second, state.object(), kCustomers, customer.id);
    PutState(work, key, command, name, Standing(work, key));
  }
  // Rule 10: what the derivation does not yield any more.
  const auto is_yielded = [&](const std::string& object) {
    for (std::size_t i = 0; i < objects; ++i) {
      if (sync.mapping->object(i) == object) return true;
    }
    return false;
  };
  for (const std::string& object : sync.objects) {
    if (is_yielded(object)) continue;
    const std::string key = ids::StateKey(name.first, name.second, object, kCustomers, customer.id);
    if (!IsThere(work, key)) continue;
    v1::Command& command = make();
    command.mutable_state()->set_object(object);
    command.mutable_state()->set_presence(v1::DesiredState::PRESENCE_WITHDRAWN);
    PutState(work, key, command, name, Standing(work, key));
  }
}

bool TransformerStage::WasEverWanted(const PartitionWork& work, const SyncKey& name,
                                     const SyncWork& sync, const std::string& customer) const {
  for (std::size_t i = 0; i < sync.mapping->object_count(); ++i) {
    const std::string key =
        ids::StateKey(name.first, name.second, sync.mapping->object(i), kCustomers, customer);
    const auto own = work.own_states.find(key);
    if (own != work.own_states.end()) {
      if (own->second.state.presence != v1::DesiredState::PRESENCE_UNWANTED) return true;
      continue;
    }
    // A void one tells as well that somebody wanted it.
    const std::optional<eventlog::TableEntry> entry =
        table(Topic::kCommands, work.partition).Get(key);
    v1::Command command;
    if (entry && command.ParseFromString(entry->value) && command.has_state() &&
        command.state().presence() != v1::DesiredState::PRESENCE_UNWANTED) {
      return true;
    }
  }
  return false;
}

void TransformerStage::PutState(PartitionWork& work, const std::string& key,
                                const v1::Command& command, const SyncKey& sync,
                                const std::optional<StandingState>& standing) {
  StandingState desired{command.version(), command.state().presence(),
                        command.state().content_hash() + command.mapping_error()};
  if (standing) {
    const std::strong_ordering order = Compare(standing->version, desired.version);
    if (order >= 0) {
      ++counters_.unchanged;
      // Of what is unwanted the content is nobody's, and says only whether its mapping was asked.
      const bool is_unwanted = desired.presence == v1::DesiredState::PRESENCE_UNWANTED;
      if (order == 0 && (standing->presence != desired.presence ||
                         (!is_unwanted && standing->content_hash != desired.content_hash))) {
        ++counters_.equal_version_conflicts;
        ports_.logger.Log(Logger::Level::kError, kEqualVersionsDiffer, {{"key", key}});
      }
      return;
    }
  }
  ++counters_.state_commands;
  const eventlog::ProduceId id = Put(work, key, command, sync);
  work.own_states.insert_or_assign(key, OwnState{std::move(desired), id, std::nullopt});
}

void TransformerStage::Withdraw(PartitionWork& work, const SyncKey& name, const std::string& key) {
  const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
  if (!parts) return;
  const std::optional<StandingState> standing = Standing(work, key);
  v1::Command command;
  if (standing) {
    if (standing->presence == v1::DesiredState::PRESENCE_WITHDRAWN) return;
    *command.mutable_version() = standing->version;
  } else if (const std::optional<eventlog::TableEntry> entry =
                 table(Topic::kCommands, work.partition).Get(key)) {
    // Only void entries are left, and what they say is a hint.
    v1::Command hint;
    if (hint.ParseFromString(entry->value)) *command.mutable_version() = hint.version();
  }
  v1::Version& version = *command.mutable_version();
  if (version.generation() < work.generation) {
    // Offsets and revisions of another generation would outbid what this one brings.
    version.Clear();
    version.set_generation(work.generation);
  }
  if (!standing) {
    // The valid command that a dead owner's older one has covered may have been of any change that
    // names the customer, and of none behind the newest (rule 35).
    const auto sync = work.syncs.find(name);
    const Customer customer{name.first,
                            sync != work.syncs.end() ? sync->second.sync.source() : std::string(),
                            parts->source_id};
    const Gathered& gathered = gatherer_.Read(table(Topic::kChanges, work.partition), customer);
    if (gathered.has_void) {
      // Which is the newest is not known before its repair (rule 2): Derive() comes back to it.
      work.held.insert(customer);
      return;
    }
    version.set_offset(std::max(version.offset(), gathered.offset));
  }
  // Behind every revision that the sync had before the snapshot that removed it, and in front of
  // every one that it can get: those are offsets too. So never counted up from what a predecessor
  // wrote: with each repair that would come nearer to the revision under which the sync is back,
  // which then has a version that is taken, or is older than its own withdrawal.
  version.set_revision(table(Topic::kTenants, work.partition).next_offset() - 1);
  command.set_customer(parts->source_id);
  command.mutable_state()->set_object(parts->object);
  command.mutable_state()->set_presence(v1::DesiredState::PRESENCE_WITHDRAWN);
  PutState(work, key, command, name, standing);
}

void TransformerStage::RepairCommand(PartitionWork& work, std::string_view key,
                                     const eventlog::TableEntry& entry) {
  const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
  if (!parts) return;
  const SyncKey name(parts->tenant, parts->sync);
  const auto sync = work.syncs.find(name);
  ++counters_.void_entries_repaired;
  switch (parts->kind) {
    case ids::CommandKey::Kind::kMapped:
      if (sync != work.syncs.end() && !sync->second.is_removed) {
        sync->second.mapped = 0;
        sync->second.remapping = 0;
        if (sync->second.problem.empty()) StartRemap(work, parts->tenant, sync->second);
      }
      break;
    case ids::CommandKey::Kind::kState:
      if (sync != work.syncs.end()) sync->second.objects.insert(parts->object);
      // What we wrote before is void with it, or below it: it counts for nothing.
      work.own_states.erase(std::string(key));
      if (sync == work.syncs.end() || sync->second.is_removed) {
        if (sync != work.syncs.end()) sync->second.withdraw.push_back(std::string(key));
      } else {
        work.waiting.Add({parts->tenant, sync->second.sync.source(), parts->source_id});
      }
      break;
    case ids::CommandKey::Kind::kAction: {
      v1::Command command;
      if (entry.value.empty() || !command.ParseFromString(entry.value)) break;
      Put(work, std::string(key), command, name);
      work.own_actions.insert(std::string(key));
      break;
    }
  }
}

}  // namespace tributary::transformer

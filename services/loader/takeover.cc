#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "services/loader/entries.h"
#include "services/loader/index_rows.h"
#include "services/loader/stage.h"

// Taking a partition over: what is in doubt (protocol rules 12 and 13), what waits, what was left
// behind.

namespace tributary::loader {

using eventlog::Partition;
using eventlog::Topic;

namespace {

// How far a source's clock and ours may be apart where what it says decides whether an action is
// looked up first: one of a machine that was set wrongly, too.
constexpr Duration kSourceClockMargin = std::chrono::minutes(5);

// Also where nothing says when it was.
bool IsOfEventBefore(const Lane& lane, WallTime time) {
  if (lane.desired == nullptr) return false;
  const v1::Action& action = lane.desired->action();
  return !action.has_event_time() || TimeOf(action.event_time()) < time;
}

// What `records` says of keys that come in their order, and of those in between. A piece is read
// ahead, which costs a fraction of looking up each.
class RecordsInOrder {
 public:
  /// Called once for each entry. What it returns counts.
  using Take = std::function<RecordHead(std::string_view key, const eventlog::TableEntryView&)>;
  using Alone = std::function<void(std::string_view key, const RecordHead& head)>;

  RecordsInOrder(const eventlog::Table& records, Take take)
      : records_(records), take_(std::move(take)) {}

  /// `key` is behind the last one. `alone` is told of those in between. Lives until the next call.
  const RecordHead& Of(std::string_view key, const Alone& alone) {
    static const RecordHead kNone;
    while (const Record* const record = First()) {
      const std::string_view found = KeyOf(*record);
      const int order = found.compare(key);
      if (order > 0) break;
      ++next_;
      if (order == 0) return record->head;
      alone(found, record->head);
    }
    return kNone;
  }

  void Rest(const Alone& alone) {
    for (; const Record* const record = First(); ++next_) alone(KeyOf(*record), record->head);
  }

 private:
  struct Record {
    std::size_t key_begin = 0;
    std::size_t key_size = 0;
    RecordHead head;
  };

  std::string_view KeyOf(const Record& record) const {
    return std::string_view(keys_).substr(record.key_begin, record.key_size);
  }

  const Record* First() {
    if (next_ == piece_.size() && !is_ended_) ReadPiece();
    return next_ < piece_.size() ? &piece_[next_] : nullptr;
  }

  void ReadPiece() {
    constexpr std::size_t kPieceEntries = 1024;
    piece_.clear();
    keys_.clear();
    next_ = 0;
    is_ended_ = true;
    const std::string from = std::exchange(next_from_, "");
    records_.ScanViews("", from, [&](std::string_view key, const eventlog::TableEntryView& entry) {
      if (piece_.size() == kPieceEntries) {
        is_ended_ = false;
        next_from_ = key;
        return false;
      }
      piece_.push_back({keys_.size(), key.size(), take_(key, entry)});
      keys_.append(key);
      return true;
    });
  }

  const eventlog::Table& records_;
  const Take take_;
  std::vector<Record> piece_;
  std::string keys_;
  std::size_t next_ = 0;
  std::string next_from_;
  bool is_ended_ = false;
};

// A key that ScanMore() would find, as far as the tables say.
bool IsOpen(const CommandHead& command, const RecordHead& record) {
  if (command.is_action) return !record.is_final || record.reason == v1::REASON_RECORD;
  return !record.resolved || *record.resolved < command.version.value_or(PlainVersion());
}

}  // namespace

void LoaderStage::OnReady(const eventlog::Takeover& takeover) {
  const Partition partition = takeover.partition;
  PartitionState& state = partitions_[partition];
  state = {};
  state.doubt_from = takeover.doubt_counts_from;
  state.lookups_from = takeover.began;
  if (const eventlog::Table* tenants = owner_->table(Topic::kTenants, partition)) {
    directory_.Load(partition, *tenants);
    tenants->Scan("", "", [&](std::string_view key, const eventlog::TableEntry& entry) {
      if (!entry.is_void && !IsTenantsEntry(key, entry.value)) {
        KeepAside(Topic::kTenants, partition, entry.offset, std::string(key), entry.value);
      }
      return true;
    });
  }
  std::vector<std::string> names;
  directory_.ForEach([&](const tenants::TenantState& tenant) {
    if (tenant.partition == partition) names.push_back(tenant.snapshot.tenant());
  });
  for (const std::string& name : names) RefreshTenant(name);
  LoadTables(takeover);
  Log(Logger::Level::kInfo, "Partition taken over.",
      {{"partition", std::to_string(partition)},
       {"unclean", takeover.unclean ? "true" : "false"},
       {"records_were_lost", state.records_were_lost ? "true" : "false"},
       {"in_doubt",
        std::to_string(std::count_if(lanes_.begin(), lanes_.end(), [&](const auto& lane) {
          return lane.second.partition == partition && lane.second.doubt != Doubt::kNone;
        }))}});
}

struct LoaderStage::FoundKeys {
  bool any_record = false;
  // Of `records`.
  std::vector<std::string> unknown;
  std::vector<std::string> in_doubt;
  std::vector<std::string> later;
  // Without a command.
  std::vector<std::string> actions_alone;
  // Of `commands`.
  std::vector<std::string> actions;
  // The scan of the difference finds keys in their order: what is more urgent than a backfill does
  // not wait for it.
  std::vector<std::string> live;
  // Where that scan begins for each target.
  std::map<TargetKey, std::string> first_open;
};

// Both tables are read once, side by side; lanes are made behind it, since a lane counts itself as
// the tables do.
void LoaderStage::LoadTables(const eventlog::Takeover& takeover) {
  const Partition partition = takeover.partition;
  const eventlog::Table* commands = owner_->table(Topic::kCommands, partition);
  const eventlog::Table* records = owner_->table(Topic::kRecords, partition);
  if (commands == nullptr || records == nullptr) return;
  PartitionState& state = partitions_[partition];
  state.records_were_lost = records->founded_after_loss();
  state.lost_events_until = now_.wall + kSourceClockMargin;

  FoundKeys found;
  RecordsInOrder in_order(*records,
                          [&](std::string_view key, const eventlog::TableEntryView& entry) {
                            return LookAtRecord(partition, key, entry, found);
                          });
  const RecordsInOrder::Alone without_command = [&](std::string_view key,
                                                    const RecordHead& record) {
    // It was refused, and will not come again by itself: its entry says what it was.
    if (!record.is_final && record.status == v1::RecordEntry::STATUS_WAITING &&
        ids::KindOfCommandKey(key) == ids::CommandKey::Kind::kAction) {
      found.actions_alone.emplace_back(key);
    }
    const bool is_parked = record.status == v1::RecordEntry::STATUS_PARKED;
    if (!is_parked && !record.is_shown) return;
    const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
    StatsOf(*parts).Add(ShareOf(parts->kind == ids::CommandKey::Kind::kAction, {}, record));
  };
  commands->ScanViews("", "", [&](std::string_view key, const eventlog::TableEntryView& entry) {
    if (!key.starts_with('!')) {
      LookAtCommand(partition, key, entry, in_order.Of(key, without_command), found);
    }
    return true;
  });
  in_order.Rest(without_command);

  LoadRecordLanes(partition, found);
  LoadCommandLanes(takeover, found);
  for (auto& [name, target] : targets_) {
    if (target.partition != partition) continue;
    const auto first = found.first_open.find(name);
    target.scanning = false;
    target.next_scan_from.reset();
    if (first != found.first_open.end()) target.ScanFrom(first->second);
    MarkDirty(&target);
  }
}

RecordHead LoaderStage::LookAtRecord(Partition partition, std::string_view key,
                                     const eventlog::TableEntryView& entry, FoundKeys& found) {
  if (key.starts_with('!')) return {};
  found.any_record = true;
  const std::optional<ids::CommandKey::Kind> kind = ids::KindOfCommandKey(key);
  // Nobody writes a record of `mapped`, and there is no lane for one.
  const bool has_lane = kind && *kind != ids::CommandKey::Kind::kMapped;
  std::optional<RecordHead> record = has_lane ? RecordHeadOf(entry.value) : std::nullopt;
  if (!record) KeepAside(Topic::kRecords, partition, entry.offset, std::string(key), entry.value);
  if (!record || entry.is_void) {
    found.unknown.emplace_back(key);
    return {};
  }
  if (record->event_time || record->compare_at) {
    const ids::CommandKey parts = *ids::ParseCommandKey(key);
    if (record->event_time) RememberEventTime(parts.tenant, *record->event_time);
    if (record->compare_at) NoteComparison(TargetOf(parts), std::string(key), record->compare_at);
  }
  if (record->in_doubt || (!record->is_final && record->has_intent)) {
    found.in_doubt.emplace_back(key);
  }
  if (record->has_retry_at) found.later.emplace_back(key);
  return *std::move(record);
}

void LoaderStage::LookAtCommand(Partition partition, std::string_view key,
                                const eventlog::TableEntryView& entry, const RecordHead& record,
                                FoundKeys& found) {
  const std::optional<ids::CommandKey::Kind> kind = ids::KindOfCommandKey(key);
  if (kind == ids::CommandKey::Kind::kMapped) return;
  const bool is_at_rest =
      record.resolved && !record.is_shown && record.status != v1::RecordEntry::STATUS_PARKED;
  if (kind == ids::CommandKey::Kind::kState && is_at_rest) {
    // Most of them. What lies below was read when it, or what is newer, was resolved.
    const std::optional<PlainVersion> version = StateVersionOf(entry.value);
    if (version && *version <= *record.resolved) return;
  }
  std::optional<CommandHead> head = CommandHeadOf(entry.value);
  if (!kind || !head || !head->IsOf(*kind)) {
    head.reset();
    if (!entry.is_void) {
      KeepAside(Topic::kCommands, partition, entry.offset, std::string(key), entry.value);
    }
  }
  if (!kind) return;
  const bool is_action = *kind == ids::CommandKey::Kind::kAction;
  const Share share = ShareOf(is_action, head, record);
  const bool is_valid = head && !entry.is_void;
  const bool is_open = is_valid && IsOpen(*head, record);
  const bool counts = share.is_pending || share.is_parked || share.is_shown;
  if (counts || is_open) {
    const ids::CommandKey parts = *ids::ParseCommandKey(key);
    if (counts) StatsOf(parts).Add(share);
    if (is_open) found.first_open.try_emplace(TargetOf(parts), key);
  }
  if (!is_valid) return;
  if (is_action) {
    found.actions.emplace_back(key);
  } else if (share.is_pending &&
             found.live.size() < static_cast<std::size_t>(options_.ready_keys_max) &&
             !IsBackfill(entry.value)) {
    found.live.emplace_back(key);
  }
}

void LoaderStage::LoadRecordLanes(Partition partition, const FoundKeys& found) {
  PartitionState& state = partitions_[partition];
  for (const std::string& key : found.unknown) RepairVoid(partition, key, state.doubt_from);
  for (const std::string& key : found.in_doubt) {
    Lane& lane = *LaneOf(key);
    lane.doubt = Doubt::kSettling;
    lane.settle_until = state.doubt_from + SettleOf(lane.target);
    Touch(lane);
  }
  for (const std::string& key : found.later) {
    Lane& lane = *LaneOf(key);
    const Duration left = TimeOf(lane.entry.retry_at()) - now_.wall;
    lane.not_before =
        now_.steady + std::clamp<Duration>(left, Duration::zero(), options_.retry_delay_max);
    Touch(lane);
  }
  for (const std::string& key : found.actions_alone) Touch(*LaneOf(key));
  // A record that a lost entry knew of can be found only when the index has caught up.
  if (state.records_were_lost || found.any_record) {
    Duration lag{};
    for (const auto& [key, target] : targets_) {
      if (target.partition == partition) lag = std::max(lag, target.index_lag);
    }
    state.lookups_from += lag;
  }
}

void LoaderStage::LoadCommandLanes(const eventlog::Takeover& takeover, const FoundKeys& found) {
  const eventlog::Table& records = *owner_->table(Topic::kRecords, takeover.partition);
  const bool were_lost = partitions_[takeover.partition].records_were_lost;
  // A generation is the time of its founding, or later.
  const WallTime lost_until =
      WallTime(std::chrono::seconds(records.generation().value_or(0))) + kSourceClockMargin;
  for (const std::string& key : found.actions) {
    Lane& action = *LaneOf(key);
    if (const v1::Command* const command = DesiredOf(action);
        command != nullptr && command->action().has_event_time()) {
      RememberEventTime(action.parts.tenant, TimeOf(command->action().event_time()));
    }
    // A key without an entry may have been sent. A clean predecessor has given one to each that it
    // saw (rule 13); what came behind it may tell of an event from before the loss once more.
    if (were_lost && !records.Find(key) &&
        (takeover.unclean || IsOfEventBefore(action, lost_until))) {
      TakeForSent(action);
    }
    Touch(action);
    // A final entry that was read back, and whose tombstone got lost with its owner.
    Tombstone(key);
  }
  for (const std::string& key : found.live) Touch(*LaneOf(key));
}

bool LoaderStage::MayHaveBeenDone(const Lane& lane) const {
  const auto state = partitions_.find(lane.partition);
  if (state == partitions_.end() || !state->second.records_were_lost) return false;
  if (lane.busy() || lane.acknowledged >= 0 || lane.desired == nullptr) return false;
  if (owner_->table(Topic::kRecords, lane.partition)->Find(lane.key)) return false;
  return IsOfEventBefore(lane, state->second.lost_events_until);
}

void LoaderStage::TakeForSent(Lane& lane) {
  lane.entry.set_in_doubt(true);
  lane.entry.set_status(v1::RecordEntry::STATUS_WAITING);
  lane.doubt = Doubt::kSettling;
  lane.settle_until = partitions_[lane.partition].doubt_from + SettleOf(lane.target);
  lane.repair_wanted = true;
}

void LoaderStage::RepairVoid(Partition partition, const std::string& key, Instant doubt_from,
                             const std::string& end) {
  Lane* existing = FindLane(key);
  if (const eventlog::Table* records = owner_->table(Topic::kRecords, partition);
      records != nullptr && existing != nullptr) {
    const std::optional<eventlog::TableEntry> covering = records->Get(key);
    existing->covered_at = covering ? covering->offset : records->next_offset() - 1;
  }
  if (existing != nullptr && (existing->acknowledged >= 0 || existing->entry.final())) {
    // Ours is newer than what covers it: the same again (rule 16, end). So is an end that we have
    // read; its command may be gone, and then nothing would find it again.
    existing->repair_wanted = true;
    Touch(*existing);
    return;
  }
  if (existing != nullptr && existing->busy()) {
    existing->repair_wanted = true;
    return;
  }
  v1::RecordEntry hint;
  if (const eventlog::Table* records = owner_->table(Topic::kRecords, partition)) {
    const std::optional<eventlog::TableEntry> entry = records->Get(key);
    if (entry && !hint.ParseFromString(entry->value)) hint.Clear();
  }
  Lane* const found = LaneOf(key);
  // Nobody's key: it is in sight, and there is nothing to write.
  if (found == nullptr) return;
  Lane& lane = *found;
  if (!end.empty() && ParseInto(end, lane.entry)) {
    lane.repair_wanted = true;
    Account(lane);
    Touch(lane);
    return;
  }
  // Of two that cover it the first may have been the intent, and all that says what the action was.
  const v1::Intent intent = hint.has_intent() ? hint.intent() : lane.entry.intent();
  const bool has_intent = hint.has_intent() || lane.entry.has_intent();
  const std::string action =
      ActionCommandOf(hint).empty() ? ActionCommandOf(lane.entry) : ActionCommandOf(hint);
  lane.entry.Clear();
  if (lane.parts.kind == ids::CommandKey::Kind::kAction && hint.final() &&
      DesiredOf(lane) == nullptr) {
    // Its command was ended, and an end is an end, whoever tells it.
    lane.entry = std::move(hint);
    lane.entry.set_status(v1::RecordEntry::STATUS_WAITING);
    lane.repair_wanted = true;
    Touch(lane);
    return;
  }
  // Unknown, not absent: nothing is resolved, and the id may serve as a hint.
  lane.entry.set_id(hint.id());
  lane.entry.set_sends(hint.sends());
  *lane.entry.mutable_tags() = hint.tags();
  if (lane.parts.kind == ids::CommandKey::Kind::kAction) {
    if (has_intent) {
      *lane.entry.mutable_intent() = intent;
    } else {
      lane.entry.set_action_command(action);
    }
    // It may be all that still says what the action was.
    lane.desired_is_read = false;
  }
  if (hint.has_event_time()) *lane.entry.mutable_event_time() = hint.event_time();
  lane.entry.set_in_doubt(true);
  lane.entry.set_status(v1::RecordEntry::STATUS_WAITING);
  UpdateHolds(lane);
  lane.doubt = Doubt::kSettling;
  lane.settle_until = doubt_from + SettleOf(lane.target);
  lane.looked_up = false;
  lane.repair_wanted = true;
  Account(lane);
  Touch(lane);
}

}  // namespace tributary::loader

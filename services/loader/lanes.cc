#include <algorithm>
#include <utility>

#include "services/loader/entries.h"
#include "services/loader/index_rows.h"
#include "services/loader/stage.h"

// Lanes: made when something of a key becomes open, told of what the tables say of it, forgotten
// when nothing is open any more. And who holds which record of a target (protocol rule 25).

namespace tributary::loader {
namespace {

using eventlog::Topic;

std::string HoldName(const TargetKey& target, const std::string& object, const std::string& id) {
  std::string name;
  name.reserve(target.first.size() + target.second.size() + object.size() + id.size() + 3);
  for (const std::string* part : {&target.first, &target.second, &object}) {
    name.append(*part).push_back('\0');
  }
  return name.append(id);
}

}  // namespace

Lane* LoaderStage::FindLane(std::string_view key) {
  // Debian builds Abseil with a string_view of its own.
  const auto found = lanes_.find(absl::string_view(key.data(), key.size()));
  return found == lanes_.end() ? nullptr : &found->second;
}

Lane* LoaderStage::LaneOf(const std::string& key) {
  if (Lane* lane = FindLane(key)) return lane;
  std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
  if (!parts || parts->kind == ids::CommandKey::Kind::kMapped) return nullptr;
  // What is being taken over may be half read: a lane made of that would be believed later.
  if (!partitions_.contains(PartitionOf(parts->tenant))) return nullptr;
  return &MakeLane(key, *std::move(parts));
}

Lane& LoaderStage::MakeLane(const std::string& key, ids::CommandKey parts) {
  Lane& lane = lanes_[key];
  lane.key = key;
  lane.parts = std::move(parts);
  lane.partition = PartitionOf(lane.parts.tenant);
  lane.target = TargetOf(lane.parts);
  lane.stats = &StatsOf(lane.parts);
  bool has_entry = false;
  if (const eventlog::Table* records = owner_->table(Topic::kRecords, lane.partition)) {
    const std::optional<eventlog::TableEntryView> entry = records->Find(key);
    has_entry = entry && !entry->is_void && ParseInto(entry->value, lane.entry);
    if (!has_entry) lane.entry.Clear();
  }
  // As it counts without a lane.
  if (lane.parts.kind == ids::CommandKey::Kind::kState) {
    if (const eventlog::Table* commands = owner_->table(Topic::kCommands, lane.partition)) {
      // One that cannot be read was set aside when it came.
      static_cast<void>(SetDesired(lane, commands->Find(key)));
    }
    lane.counted = ShareOf(false, lane.desired_head, HeadOf(lane.entry));
  } else {
    bool is_void = false;
    lane.counted = ShareOf(true, CommandHeadInTable(lane.parts, key, &is_void), HeadOf(lane.entry));
  }
  UpdateHolds(lane);
  // In doubt ends only with an entry; a lane in doubt is not forgotten before.
  if (!lane.entry.final() && (lane.entry.in_doubt() || lane.entry.has_intent())) {
    lane.doubt = Doubt::kSettling;
    lane.settle_until = now_.steady + SettleOf(lane.target);
    return lane;
  }
  const auto state = partitions_.find(lane.partition);
  if (!has_entry && lane.parts.kind == ids::CommandKey::Kind::kState &&
      state != partitions_.end() && state->second.records_were_lost) {
    // Rule 12: unknown, not absent.
    lane.settle_until = state->second.doubt_from + SettleOf(lane.target);
    lane.doubt = lane.settle_until > now_.steady ? Doubt::kSettling : Doubt::kSettled;
    lane.doubt_is_of_loss = true;
  }
  return lane;
}

std::vector<Lane*> LoaderStage::LanesOf(eventlog::Partition partition) {
  std::vector<Lane*> lanes;
  for (auto& [key, lane] : lanes_) {
    if (lane.partition == partition) lanes.push_back(&lane);
  }
  std::sort(lanes.begin(), lanes.end(),
            [](const Lane* a, const Lane* b) { return a->key < b->key; });
  return lanes;
}

bool LoaderStage::SetDesired(Lane& lane, const std::optional<eventlog::TableEntryView>& entry) {
  if (!entry || entry->is_void) {
    SetDesired(lane, nullptr, {});
    if (entry) {
      // A hint: what stands there waits until its writer has repaired it.
      lane.desired_head = CommandHeadOf(lane.parts.kind, entry->value);
      return true;
    }
    // An action that had its end, and a dead owner's entry is the last one of its key: as open as
    // any other, and the entry says what it was (rule 30).
    const std::string& bytes = ActionCommandOf(lane.entry);
    auto command = std::make_shared<v1::Command>();
    if (!bytes.empty() && !lane.entry.final() && command->ParseFromString(bytes)) {
      SetDesired(lane, std::move(command), bytes);
      lane.command_is_gone = true;
    }
    return true;
  }
  auto command = std::make_shared<v1::Command>();
  if (!ParseCommand(lane.parts.kind, entry->value, *command)) {
    SetDesired(lane, nullptr, {});
    return false;
  }
  SetDesired(lane, std::move(command), entry->value);
  return true;
}

void LoaderStage::SetDesired(Lane& lane, std::shared_ptr<const v1::Command> command,
                             std::string_view bytes) {
  lane.desired_is_read = true;
  lane.command_is_gone = false;
  lane.desired_head.reset();
  lane.desired_bytes.clear();
  if (command != nullptr) {
    lane.desired_head = HeadOf(*command);
    if (lane.parts.kind == ids::CommandKey::Kind::kAction) lane.desired_bytes = bytes;
  }
  lane.desired = std::move(command);
}

const v1::Command* LoaderStage::DesiredOf(Lane& lane) {
  if (lane.desired_is_read) return lane.desired.get();
  if (const eventlog::Table* commands = owner_->table(Topic::kCommands, lane.partition)) {
    const std::optional<eventlog::TableEntryView> entry = commands->Find(lane.key);
    // Set aside when it came, unless its head could be read.
    if (!SetDesired(lane, entry)) {
      KeepAside(Topic::kCommands, lane.partition, entry->offset, lane.key, entry->value);
    }
  }
  return lane.desired.get();
}

std::optional<v1::RecordEntry> LoaderStage::ReadBack(const std::string& key) const {
  const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
  const eventlog::Table* records = parts ? Table(Topic::kRecords, parts->tenant) : nullptr;
  if (records == nullptr) return std::nullopt;
  const std::optional<eventlog::TableEntryView> entry = records->Find(key);
  v1::RecordEntry record;
  if (!entry || entry->is_void || !ParseInto(entry->value, record)) return std::nullopt;
  return record;
}

void LoaderStage::ForgetIfIdle(Lane& lane) {
  if (lane.busy() || lane.is_touched || lane.intent_unsent || lane.repair_wanted) return;
  if (!lane.reached_by.empty()) return;
  if (lane.doubt != Doubt::kNone && !lane.doubt_is_of_loss) return;
  if (lane.not_before > now_.steady) return;
  // No scan finds it again.
  if (lane.command_is_gone && !lane.entry.final()) return;
  if (lane.is_unread()) return;
  lane.claim.clear();
  lane.entry.clear_id();
  UpdateHolds(lane);
  lanes_.erase(lane.key);
}

void LoaderStage::NoteEntry(Lane& lane, eventlog::Offset acknowledged, eventlog::Offset read_back) {
  if (lane.is_unread()) --unread_entries_;
  lane.acknowledged = acknowledged;
  lane.read_back = read_back;
  if (lane.is_unread()) ++unread_entries_;
}

void LoaderStage::WakeWhoWaitsForLog() {
  if (wait_for_log_.empty() || writes_.size() * 2 > open_writes_max() ||
      unread_entries_ * 2 > unread_entries_max()) {
    return;
  }
  for (const TargetKey& key : std::exchange(wait_for_log_, {})) MarkDirty(key);
}

void LoaderStage::SetTimer(Lane& lane, Instant at) {
  timers_.insert({std::max(at, now_.steady + Duration(1)), lane.key});
}

void LoaderStage::UpdateHolds(Lane& lane) {
  if (lane.parts.kind != ids::CommandKey::Kind::kState) return;
  const auto let_go_of = [&](const std::string& id) {
    const auto held = holders_.find(HoldName(lane.target, lane.parts.object, id));
    if (held == holders_.end()) return;
    // Once, also if it is held by both.
    const auto at = std::find(held->second.begin(), held->second.end(), &lane);
    if (at != held->second.end()) held->second.erase(at);
    if (held->second.empty()) holders_.erase(held);
  };
  const auto move_to = [&](std::string& held, const std::string& id) {
    if (id == held) return;
    if (!held.empty()) let_go_of(held);
    if (!id.empty()) holders_[HoldName(lane.target, lane.parts.object, id)].push_back(&lane);
    held = id;
  };
  move_to(lane.held_by_claim, lane.claim);
  move_to(lane.held_by_entry, lane.entry.id());
}

void LoaderStage::TakeTarget(Lane& lane) {
  TargetKey target = TargetOf(lane.parts);
  if (target == lane.target) return;
  // What it holds it holds by its target's name.
  std::string claim = std::exchange(lane.claim, "");
  std::string id = lane.entry.id();
  lane.entry.clear_id();
  UpdateHolds(lane);
  lane.target = std::move(target);
  lane.claim = std::move(claim);
  lane.entry.set_id(std::move(id));
  UpdateHolds(lane);
}

std::string LoaderStage::OpenHolderOf(const Lane& lane, const std::string& object,
                                      const std::string& id) const {
  const auto found = holders_.find(HoldName(lane.target, object, id));
  if (found == holders_.end()) return "";
  for (const Lane* other : found->second) {
    if (other != &lane) return other->key;
  }
  return "";
}

std::string LoaderStage::HolderOf(const Lane& lane, const std::string& object,
                                  const std::string& id) {
  if (std::string open = OpenHolderOf(lane, object, id); !open.empty()) return open;
  const eventlog::Table* records = owner_->table(Topic::kRecords, lane.partition);
  if (records == nullptr) return "";
  std::string holder;
  records->ScanIndex(ids::JoinKey({"i", lane.parts.tenant, object, id}) + "/",
                     [&](std::string_view, std::string_view found) {
                       if (found == lane.key) return true;
                       std::string key(found);
                       // An open one says itself what it holds now.
                       if (lanes_.contains(key)) return true;
                       const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(key);
                       if (!parts || TargetOf(*parts) != lane.target) return true;
                       holder = std::move(key);
                       return false;
                     });
  return holder;
}

}  // namespace tributary::loader

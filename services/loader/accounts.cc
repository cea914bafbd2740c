#include <algorithm>

#include "services/loader/entries.h"
#include "services/loader/stage.h"

// What waits, is retried or parked, by sync; for status, and for rule 18.

namespace tributary::loader {

using eventlog::Topic;

void LoaderStage::Account(Lane& lane) {
  static_cast<void>(DesiredOf(lane));
  lane.stats->Remove(lane.counted);
  lane.counted = ShareOf(lane.parts.kind == ids::CommandKey::Kind::kAction, lane.desired_head,
                         HeadOf(lane.entry));
  lane.stats->Add(lane.counted);
}

RecordHead LoaderStage::RecordHeadInTable(const std::string& tenant, std::string_view key) const {
  const eventlog::Table* records = Table(Topic::kRecords, tenant);
  if (records == nullptr) return {};
  const std::optional<eventlog::TableEntryView> entry = records->Find(key);
  if (!entry || entry->is_void) return {};
  return RecordHeadOf(entry->value).value_or(RecordHead());
}

std::optional<CommandHead> LoaderStage::CommandHeadInTable(const ids::CommandKey& parts,
                                                           std::string_view key,
                                                           bool* is_void) const {
  const eventlog::Table* commands = Table(Topic::kCommands, parts.tenant);
  if (commands == nullptr) return std::nullopt;
  const std::optional<eventlog::TableEntryView> entry = commands->Find(key);
  if (!entry) return std::nullopt;
  *is_void = entry->is_void;
  return CommandHeadOf(parts.kind, entry->value);
}

void LoaderStage::NoteNewest(SyncStats& stats, const std::string& key,
                             const std::optional<CommandHead>& before,
                             const std::optional<CommandHead>& now) {
  const auto known = stats.newest_seen.find(key);
  PlainVersion newest;
  if (known != stats.newest_seen.end()) newest = known->second;
  if (before && before->version) newest = std::max(newest, *before->version);
  if (now && now->version && *now->version >= newest) {
    if (known != stats.newest_seen.end()) stats.newest_seen.erase(known);
  } else if (newest != PlainVersion()) {
    stats.newest_seen.insert_or_assign(key, newest);
  }
}

std::optional<PlainVersion> LoaderStage::NewestSeen(const Lane& lane) {
  if (lane.stats->newest_seen.empty()) return std::nullopt;
  const auto found = lane.stats->newest_seen.find(lane.key);
  return found == lane.stats->newest_seen.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace tributary::loader

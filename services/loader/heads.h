#pragma once

#include <optional>
#include <string_view>

#include "libs/ids/keys.h"
#include "libs/time/time.h"
#include "services/loader/entries.h"
#include "tributary/v1/commands.pb.h"
#include "tributary/v1/records.pb.h"

// What an entry says at a glance, without reading what lies below: a million of them are looked at
// in a take-over, and two for each change.

namespace tributary::loader {

struct CommandHead {
  /// Of a state.
  std::optional<PlainVersion> version;
  bool is_action = false;
  bool is_mapped = false;
  /// The epoch: not known.
  WallTime changed_at{};

  bool IsOf(ids::CommandKey::Kind kind) const;
  friend bool operator==(const CommandHead&, const CommandHead&) = default;
};
/// None: parsing the whole refuses it too.
std::optional<CommandHead> CommandHeadOf(std::string_view entry);
/// The same of a key of that kind; none: of another kind too.
std::optional<CommandHead> CommandHeadOf(ids::CommandKey::Kind kind, std::string_view entry);
CommandHead HeadOf(const v1::Command& command);
/// The version alone, for one that has had its head looked at when it came: what lies below its
/// state is believed. None: parsing refuses it, or it is of another kind.
std::optional<PlainVersion> StateVersionOf(std::string_view entry);
/// Of a state that can be read.
bool IsBackfill(std::string_view entry);

struct RecordHead {
  std::optional<PlainVersion> resolved;
  std::optional<PlainVersion> status_version;
  v1::RecordEntry::Status status = v1::RecordEntry::STATUS_UNSPECIFIED;
  v1::Reason reason = v1::REASON_UNSPECIFIED;
  bool is_final = false;
  bool in_doubt = false;
  bool has_intent = false;
  bool has_retry_at = false;
  std::optional<WallTime> event_time;
  /// When it is to be compared with its target, if that was said.
  std::optional<WallTime> compare_at;
  /// The sweep found something of it that a person should know.
  bool is_shown = false;
  friend bool operator==(const RecordHead&, const RecordHead&) = default;
};
/// None: parsing the whole refuses it too.
std::optional<RecordHead> RecordHeadOf(std::string_view entry);
RecordHead HeadOf(const v1::RecordEntry& entry);
/// Of the field `comparison`. False: malformed.
bool ReadComparison(std::string_view message, std::optional<WallTime>* compare_at, bool* is_shown);

/// What one key counts for in its sync.
struct Share {
  /// Waits, and is not parked.
  bool is_pending = false;
  bool is_retrying = false;
  bool is_parked = false;
  /// And not parked.
  bool is_shown = false;
  /// Of the change that a pending key waits with; the epoch: not known.
  WallTime changed_at{};
};
/// `command` none: there is none, or it cannot be read.
Share ShareOf(bool is_action, const std::optional<CommandHead>& command, const RecordHead& record);

}  // namespace tributary::loader

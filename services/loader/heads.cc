#include "services/loader/heads.h"

#include <cstdint>

#include "services/loader/fields.h"
#include "services/loader/wire_shape.h"

namespace tributary::loader {
namespace {

std::optional<PlainVersion> VersionOf(std::string_view message) {
  PlainVersion version;
  const bool is_whole =
      ForEachField(message, [&](int field, std::string_view, std::uint64_t integer) {
        const auto value = static_cast<std::int64_t>(integer);
        if (field == v1::Version::kGenerationFieldNumber) version.generation = value;
        if (field == v1::Version::kOffsetFieldNumber) version.offset = value;
        if (field == v1::Version::kRevisionFieldNumber) version.revision = value;
      });
  return is_whole ? std::optional(version) : std::nullopt;
}

std::optional<WallTime> TimestampOf(std::string_view message) {
  google::protobuf::Timestamp timestamp;
  const bool is_whole =
      ForEachField(message, [&](int field, std::string_view, std::uint64_t integer) {
        using google::protobuf::Timestamp;
        if (field == Timestamp::kSecondsFieldNumber) {
          timestamp.set_seconds(static_cast<std::int64_t>(integer));
        }
        if (field == Timestamp::kNanosFieldNumber) {
          timestamp.set_nanos(static_cast<std::int32_t>(integer));
        }
      });
  return is_whole ? std::optional(TimeOf(timestamp)) : std::nullopt;
}

}  // namespace

bool ReadComparison(std::string_view message, std::optional<WallTime>* compare_at, bool* is_shown) {
  bool is_whole = true;
  is_whole &= ForEachField(message, [&](int field, std::string_view bytes, std::uint64_t) {
    if (field == v1::Comparison::kDueAtFieldNumber) {
      *compare_at = TimestampOf(bytes);
      is_whole &= compare_at->has_value();
    }
    if (field == v1::Comparison::kOthersFieldNumber ||
        field == v1::Comparison::kDifferingFieldNumber) {
      *is_shown = true;
    }
  });
  return is_whole;
}

bool CommandHead::IsOf(ids::CommandKey::Kind kind) const {
  switch (kind) {
    case ids::CommandKey::Kind::kState:
      return version.has_value() && !is_action && !is_mapped;
    case ids::CommandKey::Kind::kAction:
      return is_action;
    case ids::CommandKey::Kind::kMapped:
      return is_mapped;
  }
  return false;
}

std::optional<CommandHead> CommandHeadOf(std::string_view entry) {
  static const WireShape& shape = WireShape::Of(*v1::Command::descriptor());
  if (!shape.IsPlain(entry)) {
    v1::Command whole;
    if (!whole.ParseFromArray(entry.data(), static_cast<int>(entry.size()))) return std::nullopt;
    return HeadOf(whole);
  }
  CommandHead head;
  bool is_whole = true;
  is_whole &= ForEachField(entry, [&](int field, std::string_view bytes, std::uint64_t) {
    switch (field) {
      case v1::Command::kActionFieldNumber:
        head.is_action = true;
        break;
      case v1::Command::kMappedFieldNumber:
        head.is_mapped = true;
        break;
      case v1::Command::kVersionFieldNumber:
        head.version = VersionOf(bytes);
        is_whole &= head.version.has_value();
        break;
      case v1::Command::kChangedAtFieldNumber: {
        const std::optional<WallTime> time = TimestampOf(bytes);
        is_whole &= time.has_value();
        head.changed_at = time.value_or(WallTime());
        break;
      }
      default:
        break;
    }
  });
  return is_whole ? std::optional(head) : std::nullopt;
}

std::optional<CommandHead> CommandHeadOf(ids::CommandKey::Kind kind, std::string_view entry) {
  std::optional<CommandHead> head = CommandHeadOf(entry);
  if (head && !head->IsOf(kind)) head.reset();
  return head;
}

std::optional<PlainVersion> StateVersionOf(std::string_view entry) {
  static const WireShape& shape = WireShape::Of(*v1::Command::descriptor());
  if (!shape.IsPlainBut(v1::Command::kStateFieldNumber, entry)) {
    const std::optional<CommandHead> head = CommandHeadOf(ids::CommandKey::Kind::kState, entry);
    return head ? head->version : std::nullopt;
  }
  std::optional<PlainVersion> version;
  bool is_state = true;
  ForEachField(entry, [&](int field, std::string_view bytes, std::uint64_t) {
    if (field == v1::Command::kVersionFieldNumber) version = VersionOf(bytes);
    if (field == v1::Command::kActionFieldNumber || field == v1::Command::kMappedFieldNumber) {
      is_state = false;
    }
  });
  return is_state ? version : std::nullopt;
}

bool IsBackfill(std::string_view entry) {
  bool is_backfill = false;
  const auto look = [&](int field, std::string_view, std::uint64_t integer) {
    if (field == v1::DesiredState::kBackfillFieldNumber) is_backfill = integer != 0;
  };
  ForEachField(entry, [&](int field, std::string_view bytes, std::uint64_t) {
    if (field == v1::Command::kStateFieldNumber) ForEachField(bytes, look);
  });
  return is_backfill;
}

CommandHead HeadOf(const v1::Command& command) {
  CommandHead head;
  if (command.has_version()) head.version = PlainOf(command.version());
  head.is_action = command.has_action();
  head.is_mapped = command.has_mapped();
  if (command.has_changed_at()) head.changed_at = TimeOf(command.changed_at());
  return head;
}

std::optional<RecordHead> RecordHeadOf(std::string_view entry) {
  static const WireShape& shape = WireShape::Of(*v1::RecordEntry::descriptor());
  if (!shape.IsPlain(entry)) {
    v1::RecordEntry whole;
    if (!whole.ParseFromArray(entry.data(), static_cast<int>(entry.size()))) return std::nullopt;
    return HeadOf(whole);
  }
  RecordHead head;
  bool is_whole = true;
  const auto version = [&is_whole](std::string_view bytes) {
    const std::optional<PlainVersion> read = VersionOf(bytes);
    is_whole &= read.has_value();
    return read;
  };
  is_whole &= ForEachField(entry, [&](int field, std::string_view bytes, std::uint64_t integer) {
    switch (field) {
      case v1::RecordEntry::kResolvedFieldNumber:
        head.resolved = version(bytes);
        break;
      case v1::RecordEntry::kStatusVersionFieldNumber:
        head.status_version = version(bytes);
        break;
      case v1::RecordEntry::kStatusFieldNumber:
        head.status = static_cast<v1::RecordEntry::Status>(integer);
        break;
      case v1::RecordEntry::kReasonFieldNumber:
        head.reason = static_cast<v1::Reason>(integer);
        break;
      case v1::RecordEntry::kFinalFieldNumber:
        head.is_final = integer != 0;
        break;
      case v1::RecordEntry::kInDoubtFieldNumber:
        head.in_doubt = integer != 0;
        break;
      case v1::RecordEntry::kIntentFieldNumber:
        head.has_intent = true;
        break;
      case v1::RecordEntry::kRetryAtFieldNumber:
        head.has_retry_at = true;
        break;
      case v1::RecordEntry::kEventTimeFieldNumber:
        head.event_time = TimestampOf(bytes);
        is_whole &= head.event_time.has_value();
        break;
      case v1::RecordEntry::kComparisonFieldNumber:
        is_whole &= ReadComparison(bytes, &head.compare_at, &head.is_shown);
        break;
      default:
        break;
    }
  });
  return is_whole ? std::optional(head) : std::nullopt;
}

RecordHead HeadOf(const v1::RecordEntry& entry) {
  RecordHead head;
  if (entry.has_resolved()) head.resolved = PlainOf(entry.resolved());
  if (entry.has_status_version()) head.status_version = PlainOf(entry.status_version());
  head.status = entry.status();
  head.reason = entry.reason();
  head.is_final = entry.final();
  head.in_doubt = entry.in_doubt();
  head.has_intent = entry.has_intent();
  head.has_retry_at = entry.has_retry_at();
  if (entry.has_event_time()) head.event_time = TimeOf(entry.event_time());
  if (entry.has_comparison()) {
    const v1::Comparison& comparison = entry.comparison();
    if (comparison.has_due_at()) head.compare_at = TimeOf(comparison.due_at());
    head.is_shown = comparison.others_size() > 0 || comparison.differing_size() > 0;
  }
  return head;
}

Share ShareOf(bool is_action, const std::optional<CommandHead>& command, const RecordHead& record) {
  Share share;
  share.is_parked = record.status == v1::RecordEntry::STATUS_PARKED;
  share.is_shown = record.is_shown && !share.is_parked;
  if (!command) return share;
  const PlainVersion desired = command->version.value_or(PlainVersion());
  if (share.is_parked && !is_action && !StaysParked(record.reason) &&
      record.status_version.value_or(PlainVersion()) < desired) {
    share.is_parked = false;
  }
  const bool is_open =
      is_action ? !record.is_final : !record.resolved || *record.resolved < desired;
  share.is_pending = is_open && !share.is_parked;
  share.is_retrying = share.is_pending && record.status == v1::RecordEntry::STATUS_RETRYING;
  if (share.is_pending) share.changed_at = command->changed_at;
  return share;
}

}  // namespace tributary::loader

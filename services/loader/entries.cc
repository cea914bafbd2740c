#include "services/loader/entries.h"

#include "libs/ids/keys.h"

namespace tributary::loader {

PlainVersion PlainOf(const v1::Version& version) {
  return {version.generation(), version.offset(), version.revision()};
}

int Compare(const v1::Version& a, const v1::Version& b) {
  if (a.generation() != b.generation()) return a.generation() < b.generation() ? -1 : 1;
  if (a.offset() != b.offset()) return a.offset() < b.offset() ? -1 : 1;
  if (a.revision() != b.revision()) return a.revision() < b.revision() ? -1 : 1;
  return 0;
}

std::string TextOf(const v1::Version& version) {
  return std::to_string(version.generation()) + "." + std::to_string(version.offset()) + "." +
         std::to_string(version.revision());
}

std::string TraceParentOf(const std::string& key, const std::string& version_text,
                          const v1::Command* command) {
  const bool is_told = command != nullptr && command->trace_id().size() == ids::kTraceIdBytes;
  const std::string trace = is_told ? command->trace_id() : ids::TraceId(key + "/" + version_text);
  return ids::TraceParent(trace, ids::SpanId(trace, key));
}

void SetTime(WallTime time, google::protobuf::Timestamp* out) {
  const std::int64_t micros = time.time_since_epoch().count();
  std::int64_t seconds = micros / 1'000'000;
  if (micros % 1'000'000 < 0) --seconds;
  out->set_seconds(seconds);
  out->set_nanos(static_cast<std::int32_t>((micros - seconds * 1'000'000) * 1000));
}

WallTime TimeOf(const google::protobuf::Timestamp& timestamp) {
  return WallTime(std::chrono::seconds(timestamp.seconds()) +
                  std::chrono::microseconds(timestamp.nanos() / 1000));
}

void ClearStatus(v1::RecordEntry& entry) {
  entry.set_status(v1::RecordEntry::STATUS_WAITING);
  entry.clear_reason();
  entry.clear_detail();
  entry.clear_retry_at();
  entry.clear_since();
  entry.clear_attempts();
  entry.clear_kept_answer();
  entry.clear_status_version();
}

bool IsResolved(const v1::RecordEntry& entry, const v1::Version& version) {
  return entry.has_resolved() && Compare(entry.resolved(), version) >= 0;
}

const std::string& ActionCommandOf(const v1::RecordEntry& entry) {
  return entry.has_intent() ? entry.intent().action_command() : entry.action_command();
}

bool StaysParked(v1::Reason reason) {
  return reason == v1::REASON_IDENTITY_CONFLICT || reason == v1::REASON_CONNECTION ||
         reason == v1::REASON_PERSON;
}

std::string_view TextOf(v1::Outcome outcome) {
  switch (outcome) {
    case v1::OUTCOME_APPLIED:
      return "applied";
    case v1::OUTCOME_NOOP:
      return "noop";
    case v1::OUTCOME_SUPERSEDED:
      return "superseded";
    case v1::OUTCOME_RETRYING:
      return "retrying";
    case v1::OUTCOME_PARKED:
      return "parked";
    case v1::OUTCOME_DROPPED:
      return "dropped";
    case v1::OUTCOME_UNKNOWN:
      return "unknown";
    case v1::OUTCOME_LEFT:
      return "left";
    default:
      return "unspecified";
  }
}

std::string_view TextOf(v1::Reason reason) {
  switch (reason) {
    case v1::REASON_REFUSED:
      return "refused";
    case v1::REASON_MAPPING:
      return "mapping";
    case v1::REASON_IDENTITY_CONFLICT:
      return "identity_conflict";
    case v1::REASON_CONNECTION:
      return "connection";
    case v1::REASON_THROTTLED:
      return "throttled";
    case v1::REASON_UNKNOWN:
      return "unknown";
    case v1::REASON_MISSING:
      return "missing";
    case v1::REASON_UNREADABLE:
      return "unreadable";
    case v1::REASON_RECORD:
      return "record";
    case v1::REASON_TOO_OLD:
      return "too_old";
    case v1::REASON_UNSUPPORTED:
      return "unsupported";
    case v1::REASON_VOID:
      return "void";
    case v1::REASON_PERSON:
      return "person";
    case v1::REASON_DIFFERS:
      return "differs";
    case v1::REASON_SECOND:
      return "second";
    default:
      return "unspecified";
  }
}

std::string FixOf(v1::Reason reason, std::string_view key) {
  const std::string replay = "`tributary parked replay " + std::string(key) + "`";
  const std::string drop = "`tributary parked drop " + std::string(key) + "`";
  switch (reason) {
    case v1::REASON_REFUSED:
      return "correct the customer or the mapping: a newer version is tried by itself; or " +
             replay;
    case v1::REASON_MAPPING:
      return "correct the mapping and `tributary apply` it, or correct the customer that it fails "
             "for";
    case v1::REASON_IDENTITY_CONFLICT:
      return "let the two customers have different e-mail addresses at the source, or the two "
             "records be one at the target; then " +
             replay + ", or give it up: " + drop;
    case v1::REASON_CONNECTION:
      return "correct the connection, then " + replay;
    case v1::REASON_UNKNOWN:
    case v1::REASON_UNREADABLE:
      return "look at the target whether it was done; then " + replay + " or " + drop;
    case v1::REASON_MISSING:
      return "it was deleted or merged at the target; " + replay + " makes it anew, " + drop +
             " leaves it so";
    case v1::REASON_RECORD:
      return "its record is parked or does not exist; it goes on when the record does; or " + drop;
    case v1::REASON_UNSUPPORTED:
      return "the connector file does not describe this; correct the mapping, the rule or the file "
             "and `tributary apply` it";
    case v1::REASON_DIFFERS:
      return "somebody else writes these fields, or the target keeps them otherwise: let the "
             "mapping leave them to the target, then " +
             replay + " looks again";
    case v1::REASON_SECOND:
      return "delete or merge at the target what is too many, and keep what is named first; then " +
             replay + " looks again";
    default:
      return replay + " or " + drop;
  }
}

}  // namespace tributary::loader

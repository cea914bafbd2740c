#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "google/protobuf/timestamp.pb.h"

#include "libs/time/time.h"
#include "tributary/v1/commands.pb.h"
#include "tributary/v1/records.pb.h"
#include "tributary/v1/version.pb.h"

// Small facts about versions and entries.

namespace tributary::loader {

/// A version as plain numbers; compared in the order of its fields.
struct PlainVersion {
  std::int64_t generation = 0;
  std::int64_t offset = 0;
  std::int64_t revision = 0;
  friend auto operator<=>(const PlainVersion&, const PlainVersion&) = default;
};
PlainVersion PlainOf(const v1::Version& version);

/// <0, 0, >0 as a is older than, equal to, newer than b.
int Compare(const v1::Version& a, const v1::Version& b);
/// `generation.offset.revision`, for people and receipts.
std::string TextOf(const v1::Version& version);

/// What is written for a command belongs to the trace of its change, as the command itself does; a
/// null one, and one that names none, to a trace of its own.
std::string TraceParentOf(const std::string& key, const std::string& version_text,
                          const v1::Command* command);

void SetTime(WallTime time, google::protobuf::Timestamp* out);
WallTime TimeOf(const google::protobuf::Timestamp& timestamp);

/// Nothing waits any more, and nothing of why it did is kept.
void ClearStatus(v1::RecordEntry& entry);

/// The version is resolved, or a newer one is.
bool IsResolved(const v1::RecordEntry& entry, const v1::Version& version);

/// Of an action: the command for which an intent was recorded first, which decides its content.
/// Empty: none was.
const std::string& ActionCommandOf(const v1::RecordEntry& entry);

/// A newer version does not free what was parked for it (rule 22).
bool StaysParked(v1::Reason reason);

std::string_view TextOf(v1::Outcome outcome);
std::string_view TextOf(v1::Reason reason);
/// What a person can do about it, with the command to run.
std::string FixOf(v1::Reason reason, std::string_view key);

}  // namespace tributary::loader

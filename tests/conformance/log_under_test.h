#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "libs/eventlog/admin.h"
#include "libs/eventlog/log_member.h"

namespace tributary::conformance {

inline constexpr std::int32_t kPartitions = 3;
inline constexpr std::int64_t kRecordBytesMax = std::int64_t{2} << 20;

/// What Compact may append, since a log may leave alone what is written last.
inline constexpr std::string_view kFillerKey = "filler";

/// A log made for one test, with its topics but not founded, and what the suite must be able to do
/// to it.
class LogUnderTest {
 public:
  virtual ~LogUnderTest() = default;
  virtual absl::StatusOr<std::unique_ptr<eventlog::LogMember>> Join(
      const std::string& group, const std::string& instance) = 0;
  virtual std::unique_ptr<eventlog::LogAdmin> MakeAdmin() = 0;
  /// As if the process had been started anew. No member may be left.
  virtual void Reopen() = 0;
  /// Returns when every superseded entry of that partition has been removed, but for those that the
  /// log may keep (the last ones). May append kFillerKey to it.
  virtual void Compact(eventlog::Topic table, eventlog::Partition partition) = 0;
  /// What was appended before this call is old enough to be dropped by DropBefore.
  virtual void LetTimePass() = 0;
  /// Drops the records of a stream in front of that offset, as retention does.
  virtual void DropBefore(eventlog::Topic stream, eventlog::Partition partition,
                          eventlog::Offset offset) = 0;
};

/// By the file that brings the log under test. Null pointer, and a failed expectation, when it
/// cannot be had.
std::unique_ptr<LogUnderTest> MakeLogUnderTest();

}  // namespace tributary::conformance

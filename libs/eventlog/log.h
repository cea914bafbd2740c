#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "libs/time/time.h"

// The event log as one member of one group sees it: what it can ask (LogPort) and what it is told
// (Fact). Kafka, the embedded log and the simulated one implement it; owner.h builds tables, fences
// and take-over on top of it, once for all three.

namespace tributary::eventlog {

enum class Topic : std::uint8_t {
  kTenants,
  kNotifications,
  kChanges,
  kEvents,
  kCursors,
  kCommands,
  kRecords,
  kOutcomes,
};
inline constexpr std::array kAllTopics = {Topic::kTenants, Topic::kNotifications, Topic::kChanges,
                                          Topic::kEvents,  Topic::kCursors,       Topic::kCommands,
                                          Topic::kRecords, Topic::kOutcomes};

/// `tenants`, `changes`, …: the topic's name behind the prefix.
std::string_view Name(Topic topic);
/// True for compacted topics (tables), false for streams.
bool IsTable(Topic topic);

using Partition = std::int32_t;
using Offset = std::int64_t;

/// Names and values in their order, in one piece of memory: a record has up to six of them, and
/// hardly anybody looks at more than one. A view of one lives until its Headers change.
class Headers {
 public:
  using value_type = std::pair<std::string_view, std::string_view>;
  class const_iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = Headers::value_type;
    using difference_type = std::ptrdiff_t;
    using pointer = const value_type*;
    using reference = value_type;

    const_iterator() = default;
    explicit const_iterator(const char* at) : at_(at) {}
    value_type operator*() const;
    const_iterator& operator++();
    const_iterator operator++(int) {
      const const_iterator before = *this;
      ++*this;
      return before;
    }
    friend bool operator==(const const_iterator&, const const_iterator&) = default;

   private:
    const char* at_ = nullptr;
  };
  using iterator = const_iterator;

  Headers() = default;
  Headers(std::initializer_list<value_type> headers) {
    for (const auto& [name, value] : headers) emplace_back(name, value);
  }

  void emplace_back(std::string_view name, std::string_view value);
  /// Room for so many headers whose names and values have so many bytes together.
  void reserve(std::size_t count, std::size_t bytes) {
    bytes_.reserve(count * kPrefixBytes + bytes);
  }
  void clear();

  bool empty() const { return count_ == 0; }
  std::size_t size() const { return count_; }
  const_iterator begin() const { return const_iterator(bytes_.data()); }
  const_iterator end() const { return const_iterator(bytes_.data() + bytes_.size()); }
  friend bool operator==(const Headers&, const Headers&) = default;

 private:
  /// In front of each: the sizes of its name and its value.
  static constexpr std::size_t kPrefixBytes = 2 * sizeof(std::uint32_t);
  std::string bytes_;
  std::size_t count_ = 0;
};

/// The first header of that name. None: there is none.
std::optional<std::string_view> FindHeader(const Headers& headers, std::string_view name);

struct Record {
  Topic topic{};
  Partition partition = 0;
  Offset offset = 0;
  std::string key;
  /// None: a tombstone.
  std::optional<std::string> value;
  Headers headers;
  /// When the log took it, by the log's clock.
  WallTime appended_at{};
};

using ProduceId = std::uint64_t;

/// Brokers keep 4096 unless told otherwise.
inline constexpr std::size_t kMarkBytesMax = 200;

/// Non-blocking: each call queues, and its result comes as a Fact, exactly one for each id.
class LogPort {
 public:
  virtual ~LogPort() = default;

  /// Appends a record. Records of one partition are appended in the order of the calls, each at
  /// most once, and are durable when Produced says so. After a Produced with an error the port
  /// takes no more (protocol rule 6): the owner is to be discarded with it.
  virtual void Produce(ProduceId id, Topic topic, Partition partition, std::string key,
                       std::optional<std::string> value, Headers headers) = 0;

  /// Delivers records of a partition from `from` on, in order, as Fetched facts.
  virtual void StartReading(Topic topic, Partition partition, Offset from) = 0;
  /// No Fetched, CaughtUp or OutOfRange of that partition comes after this returns, until
  /// StartReading.
  virtual void StopReading(Topic topic, Partition partition) = 0;
  /// Stops and resumes delivery without moving the position; backpressure.
  virtual void PauseReading(Topic topic, Partition partition) = 0;
  virtual void ResumeReading(Topic topic, Partition partition) = 0;

  /// Asks for the first offset kept and the offset after the last: an EndSampled fact.
  virtual void SampleEnd(std::uint64_t id, Topic topic, Partition partition) = 0;
  /// Asks for the group's committed offset: a CommittedOffset fact.
  virtual void FetchCommitted(std::uint64_t id, Topic topic, Partition partition) = 0;
  /// Commits for the group that everything before `next` is done. `mark` is given back with it: of
  /// which log the position is (log_mark.h). At most kMarkBytesMax of printable ASCII; may be
  /// empty.
  virtual void Commit(std::uint64_t id, Topic topic, Partition partition, Offset next,
                      std::string mark) = 0;
  /// Renews the lease of all partitions of this member: a LeaseRenewed fact. It succeeds only
  /// while the group takes this member for the owner.
  virtual void RenewLease(std::uint64_t id) = 0;
  /// Ends a revocation after Revoking; the partitions may go to another member from now on.
  virtual void FinishRevoking() = 0;
};

/// The group has given these partitions to this member; perhaps none.
struct Assigned {
  std::vector<Partition> partitions;
};
/// The group wants these back. Finish what is open, then FinishRevoking().
struct Revoking {
  std::vector<Partition> partitions;
};
/// The group has given these to somebody else already. Stop at once.
struct Lost {
  std::vector<Partition> partitions;
};
struct Produced {
  ProduceId id = 0;
  Offset offset = 0;
  /// For people. Empty: durable at `offset`.
  std::string error;
};
struct Fetched {
  std::vector<Record> records;
};
/// Everything before `next` has been delivered, and nothing was behind it when this was noticed.
/// Comes at least whenever reading reaches an end whose last records compaction has removed, since
/// no Fetched can tell that.
struct CaughtUp {
  Topic topic{};
  Partition partition = 0;
  Offset next = 0;
};
/// The position asked for is no longer kept, or lies behind the end.
struct OutOfRange {
  Topic topic{};
  Partition partition = 0;
  Offset asked = 0;
  Offset begin = 0;
  Offset end = 0;
};
struct EndSampled {
  std::uint64_t id = 0;
  Topic topic{};
  Partition partition = 0;
  Offset begin = 0;
  /// Offset after the last.
  Offset end = 0;
  std::string error;
};
struct CommittedOffset {
  std::uint64_t id = 0;
  Topic topic{};
  Partition partition = 0;
  /// None: nothing was ever committed, or it has expired.
  std::optional<Offset> next;
  /// What was committed with it. Empty: nothing, or by version 0.1.
  std::string mark;
  std::string error;
};
struct CommitDone {
  std::uint64_t id = 0;
  std::string error;
};
struct LeaseRenewed {
  std::uint64_t id = 0;
  /// When the renewal was sent: the lease counts from here.
  Instant sent_at{};
  std::string error;
};
/// The log is unusable for this member: discard the owner, begin anew.
struct Failed {
  std::string error;
};

using Fact = std::variant<Assigned, Revoking, Lost, Produced, Fetched, CaughtUp, OutOfRange,
                          EndSampled, CommittedOffset, CommitDone, LeaseRenewed, Failed>;

/// W3C trace context.
inline constexpr std::string_view kTraceHeader = "traceparent";

/// What identifies a record of a stream, once, in its headers (CloudEvents, binary mode), and its
/// trace. Those of a table have EntryHeaders (table.h).
struct RecordMeta {
  std::string id;
  /// `/chargify/<tenant>/<connection>`, `/transformer`, …
  std::string source;
  /// `tributary.change.v1`, …
  std::string type;
  /// Empty: none.
  std::string traceparent;
};
/// Headers ce_specversion, ce_id, ce_source, ce_type and traceparent.
Headers ToHeaders(const RecordMeta& meta);
/// The same trace with another span: the first 16 of `hex_digits`.
std::string WithSpan(std::string traceparent, std::string_view hex_digits);
RecordMeta MetaOf(const Headers& headers);

}  // namespace tributary::eventlog

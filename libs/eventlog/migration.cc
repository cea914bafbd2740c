#include "libs/eventlog/migration.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "libs/eventlog/table.h"
#include "libs/ids/keys.h"
#include "tributary/v1/changes.pb.h"
#include "tributary/v1/log.pb.h"

namespace tributary::eventlog {
namespace {

constexpr std::array kCopiedTables = {Topic::kCursors, Topic::kChanges, Topic::kRecords,
                                      Topic::kCommands};
constexpr std::array kStreams = {Topic::kNotifications, Topic::kEvents, Topic::kOutcomes};
/// Of one call of Append.
constexpr std::size_t kBatchRecordsMax = 1000;
constexpr std::size_t kBatchBytesMax = std::size_t{4} << 20;

/// By partition.
using Tables = std::vector<std::unique_ptr<Table>>;

/// As it goes into the new topics: where a stream ends is another place there.
std::string ValueFor(Topic topic, const TableEntry& entry) {
  v1::Cursor cursor;
  if (topic != Topic::kCursors || !cursor.ParseFromString(entry.value) ||
      cursor.events_end() == 0) {
    return entry.value;
  }
  cursor.clear_events_end();
  return cursor.SerializeAsString();
}

/// One partition's `!g`.
absl::StatusOr<std::vector<v1::Founding>> FoundingsOf(LogAdmin& log, Topic table) {
  absl::StatusOr<std::vector<PartitionSetUp>> partitions = log.Inspect(table);
  if (!partitions.ok()) return partitions.status();
  std::vector<v1::Founding> foundings(partitions->size());
  for (std::size_t i = 0; i < partitions->size(); ++i) {
    const PartitionSetUp& partition = (*partitions)[i];
    if (partition.founding && !foundings[i].ParseFromString(*partition.founding)) {
      return absl::DataLossError(absl::StrCat("partition ", i, " of ", std::string(Name(table)),
                                              ": its founding cannot be read"));
    }
  }
  return foundings;
}

/// Which generation the source is of, and by which it is closed.
struct Source {
  std::int64_t generation = 0;
  std::vector<v1::Founding> tenants;
  /// None: it is open.
  std::optional<std::int64_t> closed_for;
};

absl::StatusOr<Source> LookAt(LogAdmin& log) {
  Source source;
  for (const Topic table : kCopiedTables) {
    absl::StatusOr<std::vector<v1::Founding>> foundings = FoundingsOf(log, table);
    if (!foundings.ok()) return foundings.status();
    for (const v1::Founding& founding : *foundings) {
      if (source.generation == 0) source.generation = founding.generation();
      if (founding.generation() == 0 || founding.generation() != source.generation) {
        return absl::FailedPreconditionError(
            absl::StrCat(std::string(Name(table)),
                         " is lost or of different foundings; mend that first: tributary topics "
                         "create --anew"));
      }
    }
  }
  absl::StatusOr<std::vector<v1::Founding>> tenants = FoundingsOf(log, Topic::kTenants);
  if (!tenants.ok()) return tenants.status();
  source.tenants = *std::move(tenants);
  for (const v1::Founding& founding : source.tenants) {
    if (founding.generation() == source.generation) continue;
    if (founding.generation() < source.generation ||
        (source.closed_for && *source.closed_for != founding.generation())) {
      return absl::FailedPreconditionError("tenants is lost or of different foundings");
    }
    source.closed_for = founding.generation();
  }
  return source;
}

NewRecord FoundingRecord(Partition partition, v1::Founding founding, std::int64_t generation) {
  founding.set_generation(generation);
  return {partition, "!g", founding.SerializeAsString(), {}};
}

/// Services ask that all tables are of one generation, so one that differs keeps all of them out.
absl::Status SetGenerationOfTenants(LogAdmin& log, const Source& source, std::int64_t generation) {
  std::vector<NewRecord> records;
  for (std::size_t i = 0; i < source.tenants.size(); ++i) {
    records.push_back(FoundingRecord(static_cast<Partition>(i), source.tenants[i], generation));
  }
  return log.Append(Topic::kTenants, records);
}

absl::StatusOr<Tables> Fold(LogAdmin& log, Topic topic, LocalStores& stores) {
  Tables tables(static_cast<std::size_t>(log.settings().partitions));
  for (std::size_t i = 0; i < tables.size(); ++i) {
    const auto partition = static_cast<Partition>(i);
    absl::StatusOr<std::unique_ptr<LocalStore>> store = stores.Open(topic, partition);
    if (!store.ok()) return store.status();
    tables[i] = std::make_unique<Table>(Table::Options{.topic = topic, .partition = partition},
                                        *std::move(store));
  }
  const absl::Status read = log.ReadAll(topic, [&](const Record& record) {
    tables[static_cast<std::size_t>(record.partition)]->Apply(record);
    return true;
  });
  if (!read.ok()) return read;
  for (const std::unique_ptr<Table>& table : tables) {
    if (!table->store_status().ok()) return table->store_status();
  }
  return tables;
}

/// Whoever ends well releases what it owns, and leaves no entry of a dead owner behind.
absl::Status CheckIsReleased(Topic topic, const Tables& tables) {
  for (std::size_t i = 0; i < tables.size(); ++i) {
    const std::string place = absl::StrCat("partition ", i, " of ", std::string(Name(topic)), " ");
    const std::optional<Token> fence = tables[i]->newest_fence();
    if (!fence || !tables[i]->released(*fence)) {
      return absl::FailedPreconditionError(
          place +
          "has an owner, or one that has not ended well: end every service by SIGTERM; one "
          "that was killed has to be started once more, to be ended well (on topics that are "
          "closed "
          "already, after --reopen)");
    }
    if (!tables[i]->void_keys().empty()) {
      return absl::FailedPreconditionError(
          place + "holds an entry of a dead owner: start the services and let them come to rest");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Partition> PartitionOf(std::string_view key, std::int32_t partitions) {
  const std::optional<std::vector<std::string>> parts = ids::SplitKey(key);
  if (!parts || parts->empty() || parts->front().empty()) {
    return absl::DataLossError("the key " + std::string(key) + " is of no tenant");
  }
  return ids::PartitionOf(parts->front(), partitions);
}

/// Gives records to the log in pieces that its buffers hold.
class Batches {
 public:
  Batches(LogAdmin& log, Topic topic) : log_(log), topic_(topic) {}

  absl::Status Add(NewRecord record) {
    bytes_ += record.key.size() + (record.value ? record.value->size() : 0);
    records_.push_back(std::move(record));
    return records_.size() >= kBatchRecordsMax || bytes_ >= kBatchBytesMax ? Flush()
                                                                           : absl::OkStatus();
  }
  absl::Status Flush() {
    if (records_.empty()) return absl::OkStatus();
    bytes_ = 0;
    return log_.Append(topic_, std::exchange(records_, {}));
  }

 private:
  LogAdmin& log_;
  const Topic topic_;
  std::vector<NewRecord> records_;
  std::size_t bytes_ = 0;
};

/// Every entry that is carried over, until an error.
absl::Status ForEach(
    const Tables& tables,
    const std::function<absl::Status(const std::string& key, const TableEntry& entry)>& visit) {
  absl::Status status;
  for (const std::unique_ptr<Table>& table : tables) {
    table->Scan("", "", [&](std::string_view key, const TableEntry& entry) {
      if (!key.starts_with('!')) status = visit(std::string(key), entry);
      return status.ok();
    });
    if (!status.ok()) return status;
  }
  return status;
}

/// The founding fences of a table by partition, which are the tokens of what is written behind
/// them.
absl::StatusOr<std::vector<Token>> FoundingTokens(LogAdmin& log, Topic topic,
                                                  std::int64_t generation) {
  std::vector<Token> tokens(static_cast<std::size_t>(log.settings().partitions));
  bool is_in_use = false;
  const absl::Status read = log.ReadAll(topic, [&](const Record& record) {
    v1::Fence fence;
    if (record.key.starts_with("!f/") && record.value && fence.ParseFromString(*record.value)) {
      is_in_use = is_in_use || !fence.founding();
      tokens[static_cast<std::size_t>(record.partition)] = {generation, record.offset};
    }
    return !is_in_use;
  });
  if (!read.ok()) return read;
  if (is_in_use) {
    return absl::FailedPreconditionError(
        "a service has owned " + std::string(Name(topic)) +
        " of the new topics: they are in use. Name others, or remove them");
  }
  return tokens;
}

absl::Status FoundTarget(LogAdmin& target, std::int64_t generation,
                         const MigrationOptions& options) {
  if (absl::Status made = target.EnsureTopics(); !made.ok()) return made;
  for (const Topic table : kCopiedTables) {
    absl::StatusOr<std::vector<v1::Founding>> foundings = FoundingsOf(target, table);
    if (!foundings.ok()) return foundings.status();
    for (const v1::Founding& founding : *foundings) {
      if (founding.generation() != 0 && founding.generation() != generation) {
        return absl::FailedPreconditionError(
            "the new topics are of another attempt, or of somebody else: name others, or remove "
            "them");
      }
    }
  }
  const absl::StatusOr<std::int64_t> founded =
      Found(target, {.now = WallTime(std::chrono::seconds(generation)), .random = options.random});
  if (!founded.ok()) return founded.status();
  if (*founded != generation) {
    return absl::InternalError(
        absl::StrCat("the new topics were founded as ", *founded, " instead of ", generation));
  }
  return absl::OkStatus();
}

absl::Status CopyTable(LogAdmin& target, Topic topic, std::int64_t generation, const Tables& tables,
                       std::int64_t& entries) {
  const absl::StatusOr<std::vector<Token>> tokens = FoundingTokens(target, topic, generation);
  if (!tokens.ok()) return tokens.status();
  const std::int32_t partitions = target.settings().partitions;
  Batches batches(target, topic);
  const bool was_lost = std::any_of(tables.begin(), tables.end(),
                                    [](const auto& table) { return table->founded_after_loss(); });
  if (was_lost) {
    v1::Founding founding;
    founding.set_partitions(partitions);
    founding.set_after_loss(true);
    for (Partition partition = 0; partition < partitions; ++partition) {
      if (absl::Status added = batches.Add(FoundingRecord(partition, founding, generation));
          !added.ok()) {
        return added;
      }
    }
  }
  const absl::Status copied =
      ForEach(tables, [&](const std::string& key, const TableEntry& entry) -> absl::Status {
        const absl::StatusOr<Partition> partition = PartitionOf(key, partitions);
        if (!partition.ok()) return partition.status();
        ++entries;
        return batches.Add(
            {*partition, key, ValueFor(topic, entry),
             EntryHeaders(FormatToken((*tokens)[static_cast<std::size_t>(*partition)]))});
      });
  return copied.ok() ? batches.Flush() : copied;
}

absl::Status CopyStream(LogAdmin& source, LogAdmin& target, Topic topic, std::int64_t& records) {
  Batches batches(target, topic);
  absl::Status status;
  const absl::Status read = source.ReadAll(topic, [&](const Record& record) {
    const absl::StatusOr<Partition> partition =
        PartitionOf(record.key, target.settings().partitions);
    status = partition.ok() ? batches.Add({*partition, record.key, record.value, record.headers})
                            : partition.status();
    ++records;
    return status.ok();
  });
  if (!status.ok()) return status;
  return read.ok() ? batches.Flush() : read;
}

/// The same keys with the values that belong there.
absl::Status Compare(Topic topic, const Tables& from, const Tables& to) {
  const auto count = [&](const Tables& tables) {
    std::int64_t entries = 0;
    (void)ForEach(tables, [&](const std::string&, const TableEntry&) {
      ++entries;
      return absl::OkStatus();
    });
    return entries;
  };
  const absl::Status same =
      ForEach(from, [&](const std::string& key, const TableEntry& entry) -> absl::Status {
        const absl::StatusOr<Partition> partition =
            PartitionOf(key, static_cast<std::int32_t>(to.size()));
        if (!partition.ok()) return partition.status();
        const std::optional<TableEntry> copy = to[static_cast<std::size_t>(*partition)]->Get(key);
        if (!copy || copy->is_void || copy->value != ValueFor(topic, entry)) {
          return absl::DataLossError(std::string(Name(topic)) + " " + key +
                                     " is not in the new topic as it was");
        }
        return absl::OkStatus();
      });
  if (!same.ok()) return same;
  if (count(from) != count(to)) {
    return absl::DataLossError(std::string(Name(topic)) + ": the new topic holds " +
                               std::to_string(count(to)) + " entries instead of " +
                               std::to_string(count(from)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<MigrationReport> Migrate(LogAdmin& source, LogAdmin& target,
                                        const MigrationOptions& options) {
  MigrationReport report;
  absl::StatusOr<Source> standing = LookAt(source);
  if (!standing.ok()) return standing.status();
  const auto unix_time =
      std::chrono::duration_cast<std::chrono::seconds>(options.now.time_since_epoch()).count();
  report.generation =
      standing->closed_for.value_or(std::max<std::int64_t>(standing->generation + 1, unix_time));

  options.say("reading what is there");
  const absl::StatusOr<Tables> tenants = Fold(source, Topic::kTenants, options.source_copies);
  if (!tenants.ok()) return tenants.status();
  if (absl::Status free = CheckIsReleased(Topic::kTenants, *tenants); !free.ok()) return free;
  std::map<Topic, Tables> tables;
  for (const Topic topic : kCopiedTables) {
    absl::StatusOr<Tables> folded = Fold(source, topic, options.source_copies);
    if (!folded.ok()) return folded.status();
    if (absl::Status free = CheckIsReleased(topic, *folded); !free.ok()) return free;
    tables.emplace(topic, *std::move(folded));
  }

  // Whoever starts now finds topics of different foundings, and owns nothing. Whoever was given
  // partitions between our reading and this has written a fence, which the second reading sees.
  options.say("closing the old topics");
  if (absl::Status closed = SetGenerationOfTenants(source, *standing, report.generation);
      !closed.ok()) {
    return closed;
  }
  for (const Topic topic : kCopiedTables) {
    std::vector<std::optional<Token>> fences(tables[topic].size());
    const absl::Status read = source.ReadAll(topic, [&](const Record& record) {
      if (record.key.starts_with("!f/") && record.value) {
        fences[static_cast<std::size_t>(record.partition)] = {standing->generation, record.offset};
      }
      return true;
    });
    if (!read.ok()) return read;
    for (std::size_t i = 0; i < fences.size(); ++i) {
      if (fences[i] && tables[topic][i]->newest_fence() < fences[i]) {
        return absl::FailedPreconditionError(
            "a service has started meanwhile: end it, and give the old topics back with "
            "--reopen before you begin again");
      }
    }
  }

  options.say("founding the new topics");
  if (absl::Status founded = FoundTarget(target, report.generation, options); !founded.ok()) {
    return founded;
  }
  for (const Topic topic : kCopiedTables) {
    options.say("copying " + std::string(Name(topic)));
    if (absl::Status copied =
            CopyTable(target, topic, report.generation, tables[topic], report.table_entries);
        !copied.ok()) {
      return copied;
    }
  }
  for (const Topic topic : kStreams) {
    options.say("copying " + std::string(Name(topic)));
    if (absl::Status copied = CopyStream(source, target, topic, report.stream_records);
        !copied.ok()) {
      return copied;
    }
  }
  options.say("comparing");
  for (const Topic topic : kCopiedTables) {
    const absl::StatusOr<Tables> copy = Fold(target, topic, options.target_copies);
    if (!copy.ok()) return copy.status();
    if (absl::Status same = Compare(topic, tables[topic], *copy); !same.ok()) return same;
  }
  return report;
}

absl::Status Reopen(LogAdmin& source) {
  absl::StatusOr<Source> standing = LookAt(source);
  if (!standing.ok()) return standing.status();
  if (!standing->closed_for) {
    return absl::FailedPreconditionError("these topics are not closed");
  }
  return SetGenerationOfTenants(source, *standing, standing->generation);
}

}  // namespace tributary::eventlog

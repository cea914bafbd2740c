#include "libs/eventlog/admin.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "libs/eventlog/restored.h"
#include "tributary/v1/log.pb.h"

namespace tributary::eventlog {
namespace {

constexpr std::string_view kFoundingKey = "!g";
constexpr std::string_view kFencePrefix = "!f/";

// `records` in front of `commands`: whoever finds a command must be able to tell whether it was
// already carried out.
constexpr std::array kFoundingOrder = {Topic::kTenants, Topic::kCursors, Topic::kChanges,
                                       Topic::kRecords, Topic::kCommands};

std::string RandomHex(const std::function<std::uint64_t()>& random) {
  std::array<char, 33> text{};
  std::snprintf(text.data(), text.size(), "%016llx%016llx",
                static_cast<unsigned long long>(random()),
                static_cast<unsigned long long>(random()));
  return text.data();
}

NewRecord FoundingRecord(Partition partition, std::int64_t generation, std::int32_t partitions,
                         bool after_loss) {
  v1::Founding founding;
  founding.set_generation(generation);
  founding.set_partitions(partitions);
  founding.set_after_loss(after_loss);
  return {partition, std::string(kFoundingKey), founding.SerializeAsString(), {}};
}

NewRecord FoundingFence(Partition partition, std::int64_t generation, std::string_view random) {
  v1::Fence fence;
  fence.set_generation(generation);
  fence.set_service("setup");
  fence.set_instance("founding");
  fence.set_founding(true);
  return {partition,
          absl::StrCat(std::string(kFencePrefix), "setup/founding/", std::string(random)),
          fence.SerializeAsString(),
          {}};
}

bool WasLost(const std::string& founding_bytes) {
  v1::Founding founding;
  return founding.ParseFromString(founding_bytes) && founding.after_loss();
}

std::string Place(Topic topic, std::size_t partition) {
  return absl::StrCat("partition ", partition, " of ", std::string(Name(topic)));
}

}  // namespace

Duration RetentionOf(Topic stream, const TopicSettings& settings) {
  switch (stream) {
    case Topic::kNotifications:
      return settings.notifications_retention;
    case Topic::kOutcomes:
      return settings.outcomes_retention;
    default:
      return settings.events_retention;
  }
}

absl::Status LogAdmin::CheckTopics() { return absl::OkStatus(); }

absl::Status LogAdmin::RemoveTopics() {
  return absl::UnimplementedError(
      "the topics of this log are removed with its directory, while nobody has it open");
}

void PartitionSetUp::Add(const Record& record) {
  if (record.key == kFoundingKey && record.value) {
    founding = record.value;
    return;
  }
  v1::Fence fence;
  if (record.key.starts_with(kFencePrefix) && record.value &&
      fence.ParseFromString(*record.value) && fence.founding()) {
    has_founding_fence = true;
    return;
  }
  has_others = true;
}

namespace {

absl::StatusOr<std::int64_t> FoundAs(LogAdmin& admin, const FoundOptions& options,
                                     bool is_restored) {
  std::vector<std::pair<Topic, std::vector<PartitionSetUp>>> tables;
  std::string lost;
  std::string other_generation;
  bool has_data = false;
  std::int64_t last = 0;
  for (const Topic table : kFoundingOrder) {
    absl::StatusOr<std::vector<PartitionSetUp>> found = admin.Inspect(table);
    if (!found.ok()) return found.status();
    for (std::size_t i = 0; i < found->size(); ++i) {
      const PartitionSetUp& partition = (*found)[i];
      has_data = has_data || partition.has_others;
      if (!partition.founding) {
        if (lost.empty()) lost = Place(table, i);
        continue;
      }
      v1::Founding founding;
      if (!founding.ParseFromString(*partition.founding)) {
        return absl::DataLossError(Place(table, i) + ": its founding cannot be read");
      }
      if (last != 0 && founding.generation() != last && other_generation.empty()) {
        other_generation = absl::StrCat(Place(table, i), " is of generation ",
                                        founding.generation(), ", not ", last);
      }
      last = std::max(last, founding.generation());
    }
    tables.emplace_back(table, *std::move(found));
  }

  // An interrupted founding leaves nothing but foundings behind; it is continued. `anew`
  // interrupted leaves two generations, and is continued by the same order.
  const bool is_lost = is_restored || (!lost.empty() && has_data) || !other_generation.empty();
  if (is_restored && last == 0) {
    return absl::FailedPreconditionError("the log was never founded");
  }
  if (is_lost && !options.anew && !is_restored) {
    return absl::FailedPreconditionError(
        !other_generation.empty()
            ? other_generation + ": topics of different foundings"
            : lost +
                  " has no founding, while the log holds data: it is lost. Founding anew is a "
                  "person's decision");
  }
  const auto unix_time =
      std::chrono::duration_cast<std::chrono::seconds>(options.now.time_since_epoch()).count();
  const bool is_new_generation = last == 0 || is_lost;
  const std::int64_t generation =
      is_new_generation ? std::max<std::int64_t>(last + 1, unix_time) : last;

  for (const auto& [table, partitions] : tables) {
    std::vector<NewRecord> records;
    for (std::size_t i = 0; i < partitions.size(); ++i) {
      const PartitionSetUp& partition = partitions[i];
      const auto number = static_cast<Partition>(i);
      if (!partition.founding || is_new_generation) {
        // Once lost, what the partition held stays lost through later foundings.
        const bool after_loss = is_restored || (partition.founding ? WasLost(*partition.founding)
                                                                   : is_lost && has_data);
        records.push_back(FoundingRecord(number, generation,
                                         static_cast<std::int32_t>(partitions.size()), after_loss));
      }
      // Where somebody has written already, their own fences are newer than set-up's. And what was
      // lost gets no released fence: its last owner may still live, so the next one waits.
      if (!is_lost && !partition.has_founding_fence && !partition.has_others) {
        records.push_back(FoundingFence(number, generation, RandomHex(options.random)));
      }
    }
    if (records.empty()) continue;
    if (absl::Status status = admin.Append(table, records); !status.ok()) return status;
  }
  return generation;
}

}  // namespace

absl::StatusOr<std::int64_t> Found(LogAdmin& admin, const FoundOptions& options) {
  return FoundAs(admin, options, /*is_restored=*/false);
}

absl::StatusOr<std::int64_t> FoundRestored(LogAdmin& admin, const FoundOptions& options) {
  return FoundAs(admin, options, /*is_restored=*/true);
}

}  // namespace tributary::eventlog
